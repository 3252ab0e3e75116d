"""Files of many days are one table by one rule: what may change a value is refused by name."""

import datetime
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.sources.one_table import FileTable, common_type, one_table
from mlnb.sources.pinned_files import pin
from mlnb.sources.source import read_source
from mlnb.store.errors import UsageError
from mlnb.store.objects import open_store

D = pd.DataFrame


@pytest.fixture
def read(tmp_path):
    "Write frames or tables as a file a day, and read them as one source."
    store = open_store(tmp_path / "store")

    def of(*days, folder="daily", **options):
        for n, day in enumerate(days):
            path = tmp_path / folder / f"day{n}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            day.to_parquet(path) if isinstance(day, D) else pq.write_table(day, path)
        return read_source(tmp_path, pin(store, tmp_path, folder, "daily"), store=store, **options)

    return of


def at(*texts, unit="us"):
    return pd.Series(pd.to_datetime(list(texts))).dt.as_unit(unit)


HARMLESS = {
    "column order": (D({"a": [1], "b": [2]}), D({"b": [4], "a": [3]}), D({"a": [1, 3], "b": [2, 4]})),
    "an all-null day": (D({"n": ["x"]}), D({"n": [None]}), D({"n": ["x", None]}).astype("str")),
    "an all-null first day": (D({"n": [None]}), D({"n": ["x"]}), D({"n": [None, "x"]}).astype("str")),
    "a day of gaps only": (D({"n": ["x"]}), D({"n": [np.nan]}), D({"n": ["x", None]}).astype("str")),
    "an int gains a gap": (D({"n": [1]}), D({"n": [2, None]}), D({"n": [1.0, 2.0, np.nan]})),
    "a new column": (D({"a": [1]}), D({"a": [2], "b": ["x"]}), D({"a": [1, 2], "b": [None, "x"]})),
    "a column less": (D({"a": [1], "b": [0.5]}), D({"a": [2]}), D({"a": [1, 2], "b": [0.5, np.nan]})),
    "ns, then us": (
        D({"t": at("2026-01-01", unit="ns")}),
        D({"t": at("2026-01-02")}),
        D({"t": at("2026-01-01", "2026-01-02", unit="ns")}),
    ),
    "a narrower integer": (D({"n": [1]}), D({"n": [2]}, dtype="int8"), D({"n": [1, 2]})),
    "a narrower float": (D({"n": [0.5]}), D({"n": [0.25]}, dtype="float32"), D({"n": [0.5, 0.25]})),
    "a day without rows": (D({"n": [1]}), D({"n": []}), D({"n": [1]})),
    "categories": (
        D({"n": ["x"]}, dtype="category"),
        D({"n": ["y"]}).astype("str"),
        D({"n": ["x", "y"]}).astype("str"),
    ),
}


@pytest.mark.parametrize("situation", HARMLESS)
def test_days_that_differ_without_harm_are_one_table(read, situation):
    first, second, both = HARMLESS[situation]
    found = read(first, second)
    missing = found.isna()
    pd.testing.assert_frame_equal(missing, both.isna())
    for name in both:
        assert found[name].dtype == both[name].dtype or both[name].dtype == "object"
        assert found[name][~missing[name]].tolist() == both[name][~missing[name]].tolist()


def test_csv_days_with_a_new_column_are_one_table(tmp_path):
    (tmp_path / "1.csv").write_text("b,a\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c,b\n3,4,5\n")
    found = read_source(tmp_path, pin(open_store(tmp_path / "store"), tmp_path, "*.csv", "raw"), as_="arrow")
    assert found.to_pydict() == {"b": ["1", "5"], "a": ["2", "3"], "c": [None, "4"]}


def arrow(kind, *values):
    return pa.table({"n": pa.array(values, kind)})


REFUSED = {
    "text and number": (arrow(pa.int64(), 1), arrow(pa.string(), "x"), "int64", "string"),
    "number and truth value": (arrow(pa.int64(), 1), arrow(pa.bool_(), True), "int64", "bool"),
    "time and text": (
        arrow(pa.timestamp("us"), datetime.datetime(2026, 1, 1)),
        arrow(pa.string(), "2026"),
        "timestamp[us]",
        "string",
    ),
    "two zones": (
        arrow(pa.timestamp("us", "UTC"), datetime.datetime(2026, 1, 1)),
        arrow(pa.timestamp("us", "Europe/Berlin"), datetime.datetime(2026, 1, 1)),
        "timestamp[us, tz=UTC]",
        "timestamp[us, tz=Europe/Berlin]",
    ),
    "an integer beyond floats": (arrow(pa.int64(), 2**53 + 1), arrow(pa.float64(), 0.5), "int64", "double"),
    "a time beyond nanoseconds": (
        arrow(pa.timestamp("us"), datetime.datetime(9999, 1, 1)),
        arrow(pa.timestamp("ns"), datetime.datetime(2026, 1, 1)),
        "timestamp[us]",
        "timestamp[ns]",
    ),
    "an integer beyond integers": (arrow(pa.uint64(), 2**64 - 1), arrow(pa.int64(), -1), "uint64", "int64"),
    "structs of other fields": (
        arrow(pa.struct({"a": pa.int64()}), {"a": 1}),
        arrow(pa.struct({"b": pa.int64()}), {"b": 1}),
        "struct<a: int64>",
        "struct<b: int64>",
    ),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_days_that_do_not_fit_are_refused_with_file_column_and_types_and_the_mend_helps(
    read, tmp_path, situation
):
    first, second, *kinds = REFUSED[situation]
    with pytest.raises(UsageError) as caught:
        read(first, second)
    for said in ("`n`", "daily/day0.parquet", "daily/day1.parquet", *kinds):
        assert said in caught.value.message
    assert caught.value.mend.startswith("write one of them with the type of the other")
    assert read(first, first, as_="arrow").num_rows == 2


def test_a_renamed_column_is_refused_and_other_columns_are_read(read):
    days = D({"a": [1], "b": [2]}), D({"a": [3], "c": [4]})
    with pytest.raises(UsageError, match=r"no file has all columns: `c` of .*day1\.parquet") as caught:
        read(*days)
    assert "give it one name" in caught.value.mend
    assert read(*days, columns=["a"])["a"].tolist() == [1, 3]
    with pytest.raises(UsageError, match="no file has all columns"):
        read(*days, columns=["a", "b"])
    assert read(days[0], days[1].rename(columns={"c": "b"}))["b"].tolist() == [2, 4]


def test_an_index_that_some_days_keep_is_refused_and_the_mend_helps(read, tmp_path):
    days = D({"a": [1]}), D({"a": [1, 2, 3, 4]})[lambda day: day["a"] != 3]
    with pytest.raises(UsageError, match=r"day1\.parquet keeps an index") as caught:
        read(*days)
    (call,) = [part for part in caught.value.mend.split("`") if "=" in part]
    eval(f"day.to_parquet(path, {call})", {"day": days[1], "path": tmp_path / "daily" / "day1.parquet"})
    assert read()["a"].tolist() == [1, 1, 2, 4]


def test_columns_are_chosen_where_some_days_lack_them(read):
    days = D({"a": [1]}), D({"b": [0.5], "a": [2]})
    assert read(*days, columns=["b", "a"]).to_dict("list")["a"] == [1, 2]
    assert list(read(columns=["b", "a"])) == ["b", "a"] and len(read(columns=["b"])) == 2
    with pytest.raises(UsageError, match="did you mean `a`"):
        read(columns=["aa"])


def test_whole_numbers_that_a_gap_would_round_are_refused(read):
    days = pa.table({"n": [2**53 + 1]}), pa.table({"n": pa.array([None], pa.int64())})
    with pytest.raises(UsageError, match="pandas would round") as caught:
        read(*days)
    (call,) = [part for part in caught.value.mend.split("`") if "=" in part]
    assert eval(f"read({call})", {"read": read})["n"].to_pylist() == [2**53 + 1, None]


LARGE = 2**53 + 1
NESTED = {
    "list": [[LARGE, None]],
    "lists": [[LARGE], [None]],
    "struct": [{"a": LARGE}, {"a": None}],
    "list of structs": [[{"a": LARGE}], [{"a": None}]],
    "struct of lists": [{"a": [-LARGE, None]}],
}


@pytest.mark.parametrize("name", NESTED)
def test_whole_numbers_inside_of_a_column_are_refused_where_pandas_would_round_them(read, name):
    with pytest.raises(UsageError, match="pandas would round") as caught:
        read(pa.table({"n": NESTED[name]}))
    (call,) = [part for part in caught.value.mend.split("`") if "=" in part]
    assert eval(f"read({call})", {"read": read})["n"].to_pylist() == NESTED[name]


def test_whole_numbers_inside_of_a_column_without_gaps_are_exact(read):
    values = [[LARGE, 7], None, [LARGE + 1]]
    found = read(pa.table({"n": values, "small": [[1, None], [2], None]}))["n"]
    assert [None if one is None else one.tolist() for one in found] == values


KINDS = {
    pa.int8(): st.integers(-128, 127),
    pa.uint8(): st.integers(0, 255),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(st.sampled_from("aé0"), max_size=3),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ms"): st.datetimes().map(lambda t: t.replace(microsecond=0)),
    pa.decimal128(6, 2): st.integers(-9999, 9999).map(lambda n: decimal.Decimal(n).scaleb(-2)),
    pa.null(): st.none(),
}
COLUMNS = st.sampled_from(sorted(KINDS, key=str)).flatmap(
    lambda kind: st.lists(st.none() | KINDS[kind], max_size=3).map(lambda values: pa.array(values, kind))
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(st.lists(COLUMNS, min_size=1, max_size=3))
def test_joined_files_hold_every_value_as_it_was_or_are_refused(columns):
    files = [FileTable(f"{n}", pa.table({"n": column}), ["n"]) for n, column in enumerate(columns)]
    try:
        found = one_table(files)["n"].to_pylist()
    except UsageError as error:
        assert "column `n`" in error.message and error.mend
        return
    assert found == [value for column in columns for value in column.to_pylist()]


@given(st.sampled_from(sorted(KINDS, key=str)), st.sampled_from(sorted(KINDS, key=str)))
def test_common_type_of_two_does_not_depend_on_their_order(a, b):
    assert common_type(a, b) == common_type(b, a)
    assert common_type(a, a) == a


SAID = {
    "2026-11-23": [datetime.date(2026, 11, 23), datetime.datetime(2026, 11, 23), "2026-11-23"],
    "2026-11-23 10%3A00%3A00": [datetime.datetime(2026, 11, 23, 10)],
    "2026-11-23T10%3A00%3A00Z": [datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC)],
    "2026-11-22T23%3A00": [datetime.datetime(2026, 11, 22, 23, tzinfo=datetime.UTC)],
    "True": [True, "True"],
    "false": [False],
    "1": [True, 1, 1.0, decimal.Decimal("1.00")],
    "07": [7, "07"],
    "1.50": [1.5, decimal.Decimal("1.5"), decimal.Decimal("1.500")],
    "__HIVE_DEFAULT_PARTITION__": [None],
}
UNSAID = {
    "2026-11-23": [datetime.datetime(2026, 11, 23, 1), datetime.date(2026, 11, 22), "2026-11-22", None],
    "True": [False, 0, "true"],
    "x": [1, True, datetime.date(2026, 11, 23), datetime.datetime(2026, 11, 23)],
    "07": ["7", 8],
    "__HIVE_DEFAULT_PARTITION__": ["x", 1],
}


def keyed(tmp_path, text, value):
    kind = pa.int64() if value is None else None
    path = tmp_path / "lake" / f"key={text}" / "a.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"key": pa.array([value, value], kind)}), path)
    pinned = pin(open_store(tmp_path / "store"), tmp_path, "lake", "lake")
    return read_source(tmp_path, pinned, as_="arrow")["key"].to_pylist()


@pytest.mark.parametrize(("text", "value"), [(text, one) for text, own in SAID.items() for one in own])
def test_a_key_that_the_file_repeats_in_its_own_type_is_the_same(tmp_path, text, value):
    assert keyed(tmp_path, text, value) == [value, value]


@pytest.mark.parametrize(("text", "value"), [(text, one) for text, own in UNSAID.items() for one in own])
def test_a_key_that_the_file_contradicts_is_refused(tmp_path, text, value):
    with pytest.raises(UsageError, match="does not say what its folder"):
        keyed(tmp_path, text, value)


def test_a_key_of_many_rows_and_categories_is_compared(tmp_path):
    path = Path(tmp_path, "lake", "shop=a", "x.parquet")
    path.parent.mkdir(parents=True)
    D({"shop": pd.Categorical(["a"] * 1000)}).to_parquet(path)
    store = open_store(tmp_path / "store")
    assert len(read_source(tmp_path, pin(store, tmp_path, "lake", "lake"))) == 1000
