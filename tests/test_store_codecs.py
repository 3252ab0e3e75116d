"""Codecs give equal bytes for equal values and refuse what would not come back equal."""

import datetime as dt
import decimal
import enum
import json
import os
import subprocess
import sys
from collections import OrderedDict, defaultdict

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlnb.store import codecs
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.codecs import SUFFIXES, Svg, decode, encode
from mlnb.store.errors import IntegrityError, UsageError, ValueRefusedError
from mlnb.store.objects import open_store
from mlnb.store.table_changes import is_surely_faithful

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def back(value):
    stored = encode(value)
    return decode(stored.codec, stored.data)


def assert_same(a, b):
    "Stricter than pandas: the types of Python objects and `attrs` count."
    assert type(a) is type(b)
    check = pd.testing.assert_frame_equal if isinstance(a, pd.DataFrame) else pd.testing.assert_series_equal
    check(a, b, check_exact=True, check_index_type="exact", check_freq=True, check_flags=True)
    frame_a, frame_b = (a, b) if isinstance(a, pd.DataFrame) else (a.to_frame("v"), b.to_frame("v"))
    assert type(frame_a.columns) is type(frame_b.columns)
    for name in frame_a:
        if frame_a[name].dtype == object:
            assert [type(x) for x in frame_a[name]] == [type(x) for x in frame_b[name]]
    assert [type(x) for x in frame_a.index] == [type(x) for x in frame_b.index]
    assert a.attrs == b.attrs


# frames


def days(unit="us"):
    return pd.to_datetime(["2020-01-01", "2020-01-02"]).astype(f"datetime64[{unit}]")


ROUND = {
    "numbers": pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, np.nan],
            "b": [True, False],
            "s": ["x", None],
            "u": np.array([0, 2**64 - 1], "u8"),
        }
    ),
    "float16": pd.DataFrame({"a": np.array([1, 2], "f2")}),
    "times": pd.DataFrame({unit: days(unit) for unit in ("ms", "us", "ns")}),
    "zones": pd.DataFrame({"b": days().tz_localize("Europe/Berlin"), "u": days().tz_localize("UTC")}),
    "fixed_zone": pd.DataFrame({"a": days().tz_localize(dt.timezone(dt.timedelta(hours=2)))}),
    "durations": pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}),
    "category": pd.DataFrame({"a": pd.Categorical(["b", None], categories=["c", "b", "a"], ordered=True)}),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "f": pd.array([1.5, None], dtype="Float64"),
            "s": pd.array(["x", None], dtype="string"),
        }
    ),
    "arrow_dtype": pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]")}),
    "bytes_or_none": pd.DataFrame({"a": pd.Series([b"x", None], dtype=object)}),
    "dates": pd.DataFrame({"a": [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]}),
    "decimals": pd.DataFrame({"a": [decimal.Decimal("1.50"), decimal.Decimal("2.25")]}),
    "periods": pd.DataFrame({"a": pd.period_range("2020-01", periods=2, freq="M")}),
    "intervals": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "range_index": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(3, 7, 2, name="i")),
    "int_index": pd.DataFrame({"a": [1, 2]}, index=[0, 1]),
    "text_index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["u", "v"], name="k")),
    "time_index": pd.DataFrame({"a": [1, 2]}, index=pd.DatetimeIndex(days())),
    "multi_index": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None])
    ),
    "index_named_as_column": pd.DataFrame({"a": [1, 2]}, index=pd.Index([5, 6], name="a")),
    "column_named_as_index": pd.DataFrame({"__index_level_0__": [1, 2]}, index=pd.Index([5, 6])),
    "columns_name": pd.DataFrame({"a": [1]}).rename_axis(columns="k"),
    "empty_name": pd.DataFrame({"": [1], "ä.b": [2]}),
    "no_rows": pd.DataFrame({"a": [1], "s": ["x"]}).iloc[:0],
    "all_missing": pd.DataFrame({"a": [np.nan] * 2, "s": pd.Series([None] * 2, dtype="str")}),
}
ATTRS = pd.DataFrame({"a": [1]})
ATTRS.attrs = {"unit": "EUR", "n": [1, 2]}
ROUND["attrs"] = ATTRS


@pytest.mark.parametrize("name", ROUND)
def test_frame_of_a_kind_comes_back_equal_and_canonical(name):
    stored = encode(ROUND[name])
    again = decode("frame", stored.data)
    assert_same(again, ROUND[name])
    assert encode(again).data == stored.data


REFUSED = {
    "sparse": (pd.DataFrame({"m": pd.arrays.SparseArray([0, 1])}), "`m`"),
    "nan_in_nullable": (
        pd.DataFrame({"m": pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))}),
        "`m`",
    ),
    "two_of_a_name": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named `a`"),
    "objects": (pd.DataFrame({"ok": [1, 2], "m": [object(), 1]}), r"`m\[0\]`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_frame_that_parquet_would_change_is_refused_with_its_place(name):
    frame, place = REFUSED[name]
    with pytest.raises(ValueRefusedError, match=place) as refused:
        encode(frame)
    assert refused.value.mend


COLUMN = st.one_of(
    hnp.arrays(st.sampled_from(["i1", "i8", "u8", "f4", "f8", "?"]), 5),
    hnp.arrays(st.sampled_from(["M8[ms]", "M8[us]", "M8[ns]"]), 5),
    st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=4), min_size=5, max_size=5).map(
        lambda v: pd.array(v, dtype="str")
    ),
)
NAME = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(
    ["__index_level_0__", "a.b", "a", "index"]
)


@FEW
@given(st.dictionaries(NAME, COLUMN, min_size=1, max_size=4), st.none() | NAME)
def test_frame_of_the_dtypes_that_skip_reading_back_comes_back_equal(columns, index_name):
    frame = pd.DataFrame(columns)
    frame.columns = pd.Index(list(columns), dtype="str")
    frame = frame.rename_axis(index=index_name)
    assert is_surely_faithful(frame)
    stored = encode(frame)
    assert_same(decode("frame", stored.data), frame)
    assert encode(pd.concat([frame.iloc[:2], frame.iloc[2:]]).set_axis(frame.index)).data == stored.data
    some = list(columns)[::-1][:2]
    assert_same(decode("frame", stored.data, columns=some), frame[some])


def test_frame_columns_are_chosen_in_the_order_asked_with_their_index():
    frame = pd.DataFrame({"a": [1], "a.b": [2], "c": [3]}, index=pd.Index(["k"], name="key"))
    data = encode(frame).data
    assert_same(decode("frame", data, columns=["c", "a"]), frame[["c", "a"]])
    assert_same(decode("frame", data, columns=["a.b"]), frame[["a.b"]])
    assert decode("frame", data, columns=["c", "a"], as_="arrow").column_names[:2] == ["c", "a"]
    with pytest.raises(UsageError, match=r"did you mean `a\.b`"):
        decode("frame", data, columns=["a.c.b"])
    with pytest.raises(UsageError, match="list of names"):
        decode("frame", data, columns="a")
    with pytest.raises(UsageError, match="no form"):
        decode("frame", data, as_="polars")


def test_loaded_frame_can_be_written_to():
    frame = back(pd.DataFrame({"a": [1.0, 2.0]}))
    frame.loc[0, "a"] = 5.0
    assert frame["a"].tolist() == [5.0, 2.0]


def test_view_of_a_larger_frame_gives_the_bytes_of_a_copy():
    frame = pd.DataFrame({"a": np.arange(10), "s": list("abcdefghij")})
    part = frame[frame.a > 6].reset_index(drop=True)
    assert encode(part).data == encode(pd.DataFrame({"a": np.arange(7, 10), "s": list("hij")})).data


def test_flipped_bit_in_a_parquet_page_is_noticed():
    data = bytearray(encode(pd.DataFrame({"a": np.random.default_rng(0).random(1000)})).data)
    data[4000] ^= 1
    with pytest.raises(IntegrityError):
        decode("frame", bytes(data))


SERIES = {
    "named": pd.Series([1.0, np.nan], name="x"),
    "unnamed": pd.Series(["a", None]),
    "empty_name": pd.Series([1], name=""),
    "index_same_name": pd.Series([1, 2], index=pd.Index(["u", "v"], name="x"), name="x"),
    "named_value": pd.Series([1], name="value"),
    "multi": pd.Series([1, 2], index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
    "no_rows": pd.Series([], dtype="float64"),
}


@pytest.mark.parametrize("name", SERIES)
def test_series_comes_back_equal_and_canonical(name):
    stored = encode(SERIES[name])
    assert (stored.codec, stored.type) == ("series", "pandas.Series")
    assert_same(decode("series", stored.data), SERIES[name])
    assert encode(back(SERIES[name])).data == stored.data


def test_series_that_would_change_is_refused():
    with pytest.raises(ValueRefusedError, match=r"`x\[0\]`"):
        encode(pd.Series([object()], name="x"))


def test_series_name_is_part_of_its_bytes():
    assert len({encode(pd.Series([1], name=name)).data for name in (None, "value", "x")}) == 3


# arrow


def test_arrow_table_comes_back_equal_whatever_its_chunks():
    whole = pa.table(
        {
            "n": [1, 2, None],
            "l": [[1], [], None],
            "d": pa.array(["a", "b", "a"]).dictionary_encode(),
            "z": [{"k": 1}] * 3,
        }
    )
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    stored = encode(parts)
    assert decode("arrow", stored.data).equals(whole, check_metadata=True)
    assert encode(whole).data == stored.data
    assert isinstance(decode("arrow", stored.data, as_="pandas"), pd.DataFrame)


def test_column_with_a_dot_is_not_a_field_of_another_column():
    table = pa.table({"a": [{"b": 1, "c": {"d": 2}}], "a.b": [3], "a.c.d": [4], "a.c": [[5]]})
    frame = pd.DataFrame({"a": [{"b": 1}], "a.b": [3], "t": pd.date_range("2018", periods=1, tz="UTC")})
    for value, names in ((table, table.column_names), (frame, list(frame))):
        stored = encode(value)
        for wanted in ([name] for name in names):
            found = decode(stored.codec, stored.data, columns=wanted, as_="arrow")
            whole = decode(stored.codec, stored.data, as_="arrow")
            assert found.to_pylist() == whole.select(wanted).to_pylist()


@pytest.mark.parametrize("make", [pa.table, pl.DataFrame])
def test_whole_numbers_that_pandas_would_round_are_refused_until_the_mend_is_followed(make):
    for cells in ([2**53 + 1, None], [[2**53 + 1, None]]):
        stored = encode(make({"n": cells}))
        with pytest.raises(UsageError, match="pandas would round") as caught:
            decode(stored.codec, stored.data, as_="pandas")
        assert caught.value.mend == 'load it with `as_="arrow"`'
        assert decode(stored.codec, stored.data, as_="arrow")["n"].to_pylist() == cells
    stored = encode(
        pd.DataFrame({"n": pd.array([2**53 + 1, None], dtype="Int64"), "x": [[2**60, None], [1]]})
    )
    assert decode(stored.codec, stored.data)["n"][0] == 2**53 + 1


def test_arrow_table_keeps_metadata_and_pandas_index():
    table = pa.Table.from_pandas(ROUND["text_index"]).append_column(
        pa.field("m", pa.int8(), nullable=False, metadata={"unit": "d"}), pa.array([1, 2], pa.int8())
    )
    assert decode("arrow", encode(table).data).equals(table, check_metadata=True)


@pytest.mark.parametrize(
    "table",
    [
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table({"a": pa.array([1], pa.timestamp("s"))}),
        pa.table({"a": pa.array([None], pa.month_day_nano_interval())}),
    ],
    ids=["two_of_a_name", "seconds", "no_parquet_type"],
)
def test_arrow_table_that_would_change_is_refused(table):
    with pytest.raises(ValueRefusedError):
        encode(table)


# arrays


@FEW
@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes(),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
)
def test_array_comes_back_equal_and_column_order_does_not_count(array):
    stored = encode(array)
    again = decode("array", stored.data)
    assert type(again) is np.ndarray and again.dtype == array.dtype and again.shape == array.shape
    assert again.tobytes() == array.tobytes() and again.flags.writeable
    assert encode(np.asfortranarray(array).reshape(array.shape, order="F")).data == stored.data


@FEW
@given(st.binary(min_size=48, max_size=48), st.binary(min_size=48, max_size=48))
def test_array_of_records_does_not_depend_on_its_padding(one, other):
    inner = np.dtype({"names": ["k", "v"], "formats": ["u1", "i4"], "offsets": [0, 4], "itemsize": 8})
    record = np.dtype(
        {"names": ["a", "b", "c"], "formats": ["u1", inner, "u2"], "offsets": [1, 8, 20], "itemsize": 24}
    )
    a, b = np.frombuffer(one, record).copy(), np.frombuffer(other, record).copy()
    for name in ("a", "c"):
        b[name] = a[name]
    for name in ("k", "v"):
        b["b"][name] = a["b"][name]
    assert encode(a).data == encode(b).data
    assert decode("array", encode(a).data).tolist() == a.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, None]),
        np.ma.masked_array([1, 2], [True, False]),
        np.rec.array([(1, 2.0)]),
        np.array(["a"], dtype=np.dtypes.StringDType()),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})),
    ],
    ids=["object", "masked", "recarray", "StringDType", "overlapping"],
)
def test_array_that_would_change_is_refused(array):
    with pytest.raises(ValueRefusedError):
        encode(array)


def test_array_file_that_asks_for_pickle_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError):
        decode("array", (tmp_path / "bomb.npy").read_bytes())
    assert not (tmp_path / "ran").exists()


# plain values

EQUAL_VALUES = [  # pairs of equal values of one type, made in different ways
    ({"b": 1, "a": [1.0, None]}, dict([("b", 1), ("a", [1.0, None])])),
    ("päivä", "".join(["päi", "vä"])),
    ([True, 2], [True, 2, 3][:2]),
    (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    (np.arange(3), np.arange(6)[:3]),
    (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2, 3]}).iloc[:2]),
    (pd.Series(["x", "y"], name="s"), pd.Series(["x", "y", "z"], name="s").head(2)),
    (pa.table({"a": [1, 2]}), pa.table({"a": pa.chunked_array([[1], [2]])})),
    (set("abcdef"), set("fedcba")),
    ({(1, 2): {"x", "y"}}, {tuple([1, 2]): {"y", "x"}}),
    (np.datetime64("2026-11-02", "ns"), pd.Timestamp("2026-11-02").as_unit("ns").to_datetime64()),
    (
        pd.Timestamp("2026-11-02", tz="UTC"),
        pd.Timestamp(pd.Timestamp("2026-11-02", tz="UTC").value, tz="UTC", unit="ns").as_unit("us"),
    ),
]


@pytest.mark.parametrize("one, other", EQUAL_VALUES, ids=lambda value: type(value).__name__)
def test_equal_values_have_equal_bytes(one, other):
    assert encode(one).data == encode(other).data


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def types_of(value):
    if isinstance(value, dict):
        return {k: types_of(v) for k, v in value.items()}
    return [types_of(v) for v in value] if isinstance(value, list) else type(value)


def order_of(value):
    if isinstance(value, dict):
        return [(k, order_of(v)) for k, v in value.items()]
    return [order_of(v) for v in value] if isinstance(value, list) else None


@FEW
@given(PLAIN)
def test_plain_value_comes_back_equal_with_the_order_of_its_keys(value):
    again = back(value)
    assert again == value and types_of(again) == types_of(value) and order_of(again) == order_of(value)
    assert encode(again).data == encode(value).data and encode(value).codec in ("json", "text")
    if not isinstance(value, str):
        json.loads(encode(value).data, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.float32(0.1), float(np.float32(0.1))),
    ],
)
def test_numpy_scalar_becomes_the_python_value(value, plain):
    again = back(value)
    assert again == plain and type(again) is type(plain) and encode(value).type == type(plain).__name__
    assert back({"a": [value]}) == {"a": [plain]}


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        np.longdouble(1) / 3,
        OrderedDict(a=1),
        defaultdict(int),
        Colour.RED,
        Text("x"),
        "\ud800",
        {"\ud800": 1},
        object(),
        len,
        iter([]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_that_would_change_is_refused_alone_and_inside(value):
    with pytest.raises(ValueRefusedError) as alone:
        encode(value)
    with pytest.raises(ValueRefusedError) as inside:
        encode({"evaluation": {"folds": [0, 1, value]}})
    assert alone.value.mend and inside.value.mend
    assert "evaluation.folds[2]" in inside.value.message


def test_number_of_too_many_digits_is_refused():
    with pytest.raises(ValueRefusedError, match="too long"):
        encode({"n": 10**5000})


def test_value_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueRefusedError, match="`\\[0\\]` is the list that it stands in"):
        encode(loop)


def test_path_of_a_key_that_is_no_name_is_quoted():
    with pytest.raises(ValueRefusedError, match=r"by_day\['2018-04-01'\]\.n"):
        encode({"by_day": {"2018-04-01": {"n": {len}}}})


@FEW
@given(st.text())
def test_text_comes_back_equal_or_is_refused(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueRefusedError):
            encode(text)
    else:
        assert back(text) == text


@pytest.mark.parametrize(
    "value",
    [
        pd.Index([1]),
        pd.array([1]),
        type("Sub", (pd.DataFrame,), {})({"a": [1]}),
        np.zeros(1).view(np.recarray),
    ],
    ids=["index", "extension", "subclass", "recarray"],
)
def test_value_without_codec_is_refused_with_a_mend(value):
    with pytest.raises(ValueRefusedError) as refused:
        encode(value)
    assert refused.value.mend


PARTS_OF_ARROW = {
    "array": lambda: pa.array([1, None]),
    "nested array": lambda: pa.array([{"a": [1]}]),
    "chunked array": lambda: pa.chunked_array([["a"], [None]]),
    "scalar": lambda: pa.scalar(dt.date(2018, 4, 1)),
    "schema": lambda: pa.schema([("a", pa.int8())]),
    "batch": lambda: pa.record_batch({"a": [1]}),
    "reader": lambda: pa.table({"a": [1]}).to_reader(),
    "relation": lambda: duckdb.sql("select 1 as a"),
}


@pytest.mark.parametrize("name", PARTS_OF_ARROW)
def test_part_of_arrow_is_refused_until_the_mend_is_followed(name, tmp_path):
    store, value = open_store(tmp_path), PARTS_OF_ARROW[name]()
    with pytest.raises(ValueRefusedError) as caught:
        put_value(store, value)
    mended = eval(caught.value.mend.split("`")[1], {"value": value, "batch": value, "pyarrow": pa})
    kept = get_value(store, put_value(store, mended), tmp_path / "files")
    assert kept == mended or kept.equals(mended)


# figures


@pytest.fixture
def figure():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3))
    axes.set_title("a < b & c")
    yield figure
    plt.close(figure)


def test_figure_gives_the_same_svg_twice_and_loads_as_svg(figure):
    figure.axes[0].plot([1, 2, 3])
    stored = encode(figure)
    picture = decode("figure", stored.data)
    assert stored == encode(figure) and type(picture) is Svg and picture._repr_svg_().startswith("<svg")
    assert encode(picture).data == stored.data and type(back(picture)) is Svg
    assert set(part.split('"')[0] for part in picture.split("http://")[1:]) <= {
        "www.w3.org/2000/svg",
        "www.w3.org/1999/xlink",
    }


@pytest.mark.parametrize("kind", ["scatter", "mesh", "dots"])
def test_dense_figure_is_a_picture_inside_the_svg_and_is_left_as_it_was(figure, kind):
    rng, axes = np.random.default_rng(0), figure.axes[0]
    if kind == "scatter":
        axes.scatter(rng.random(30_000), rng.random(30_000))
    if kind == "mesh":
        axes.pcolormesh(rng.random((80, 80)), edgecolors="k")
    if kind == "dots":
        axes.plot(rng.random(20_000), ".")
    stored = encode(figure)
    assert len(stored.data) < 1 << 20 and b"<image" in stored.data
    assert not any(artist.get_rasterized() for artist in (*axes.lines, *axes.collections, *axes.patches))


# all together


def test_every_codec_has_a_suffix_and_a_way_back():
    assert (
        set(SUFFIXES)
        == set(codecs._ENCODERS)
        == set(codecs._TABLE_DECODERS) | set(codecs._DECODERS) | {"estimator"}
    )


@pytest.mark.parametrize("codec", SUFFIXES)
@pytest.mark.parametrize("data", [b"\xff\xfe", b"\xff" * 200], ids=["short", "long"])
def test_garbage_is_an_integrity_error(codec, data):
    with pytest.raises(IntegrityError):
        decode(codec, data)


def test_unknown_codec_is_named_with_a_suggestion():
    with pytest.raises(UsageError, match="did you mean `frame`"):
        decode("frames", b"")


MAKE = """
import hashlib, sys
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt, numpy as np, pandas as pd
from mlnb.store.codecs import encode
columns = {"a": np.arange(5.0), "c": pd.Categorical(list("xyxyx")), "s": list("abcde")}
frame = pd.DataFrame(columns, index=pd.Index(list("vwxyz")))
frame.attrs = {k: 1 for k in "pqrs"}
figure, axes = plt.subplots(layout="constrained")
axes.plot([1, 3, 2], label="l")
axes.legend()
axes.fill_between([0, 1], [0, 1])
days = {pd.Timestamp("2026-11-02"), pd.NaT, (1, "x"), "y", 2.5, None}
values = [frame, frame["s"], figure, {"n": {"a", "b", "c", "d"}, "days": days}, np.arange(3)]
print([hashlib.sha256(encode(v).data).hexdigest() for v in values])
"""


def test_bytes_are_the_same_in_another_process_with_another_hash_seed():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    ]
    one, other = (process.communicate()[0] for process in processes)
    assert one == other and one.count("'") == 10


def test_plain_values_import_no_heavy_library():
    code = (
        "import sys; from mlnb.store.codecs import encode, decode; decode('json', encode({'a': 1}).data); "
        "print({'numpy', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
