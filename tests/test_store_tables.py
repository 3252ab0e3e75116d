"""Frames of every kind come back equal in type and value, equal ones have equal bytes, and other
programs read their files."""

import datetime as dt
import enum
import io
import json
import lzma
import subprocess
import sys
import tarfile
import threading
import uuid
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.store.artifacts import get_value, put_value
from mlnb.store.codecs import decode, encode
from mlnb.store.errors import IntegrityError, UsageError, ValueRefusedError
from mlnb.store.objects import open_store
from mlnb.store.table_axes import axis_differs, same_cells
from mlnb.store.table_notes import NOTES_KEY, FrameNotes
from mlnb.store.value_limits import ValueLimits
from tests.test_store_codecs import ROUND, SERIES

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def objects(*cells):
    "A series of objects of Python, each as it is."
    return pd.Series(np.fromiter(cells, dtype=object, count=len(cells)), dtype=object)


def as_python(name):
    "The name of a series; NumPy's numbers become Python's, also in a tuple."
    if type(name) is tuple:
        return tuple(map(as_python, name))
    return name.item() if isinstance(name, np.generic) else name


def assert_same(a, b):
    "Equal in the type of everything and in value; objects cell by cell."
    assert type(a) is type(b)
    if isinstance(a, pd.Series):
        assert same_cells(as_python(a.name), as_python(b.name))
        a, b = a.to_frame("v"), b.to_frame("v")
    assert (axis_differs(a.index, b.index), axis_differs(a.columns, b.columns)) == ("", "")
    for n in range(a.shape[1]):
        one, other = a.iloc[:, n], b.iloc[:, n]
        assert one.dtype == other.dtype
        if one.dtype == object:
            assert all(map(same_cells, one, other))
        else:
            pd.testing.assert_series_equal(one, other, check_exact=True)
    assert (a.attrs == b.attrs or same_cells(a.attrs, b.attrs)) and a.flags == b.flags


def comes_back(value):
    "Whatever comes back is the same and gives the same bytes; the file is given back."
    stored = encode(value)
    again = decode(stored.codec, stored.data)
    assert_same(again, value)
    assert encode(again).data == stored.data
    return stored.data


# labels

NAMES = st.text(st.characters(codec="utf-8"), max_size=3)
LABELS = st.one_of(
    NAMES,
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.booleans(),
    st.dates(),
    st.tuples(NAMES, st.integers(0, 3)),
    st.none(),
    st.binary(max_size=2),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
)


def days(n, zone=None):
    return pd.date_range("2018-03-24", periods=n, freq="D", tz=zone)


def axes(n):
    "Indexes of n different labels, of every kind that pandas has."
    unique = st.lists(LABELS, min_size=n, max_size=n, unique_by=lambda label: (label == 1, label))
    return st.one_of(
        st.just(pd.RangeIndex(3, 3 + 2 * n, 2)),
        st.just(pd.Index([7 * i for i in range(n)])),
        st.just(pd.Index(np.arange(n) / 2)),
        st.just(days(n)),
        st.just(days(n, "Europe/Berlin")),
        st.just(days(n)[::-1]),
        st.just(days(n).as_unit("s")),
        st.just(pd.timedelta_range("1h", periods=n, freq="h")),
        st.just(pd.period_range("2018-01", periods=n, freq="M")),
        st.just(pd.interval_range(0, n, closed="both")),
        st.just(pd.interval_range(pd.Timestamp("2018-04-01"), periods=n)),
        st.just(pd.CategoricalIndex([f"c{i}" for i in range(n)], [f"c{n - i}" for i in range(n + 1)], True)),
        st.just(pd.cut(np.arange(n) + 0.5, np.arange(n + 1)).sort_values()).map(pd.CategoricalIndex),
        st.just(pd.Index(pd.array(range(n), dtype="Int64"))),
        st.just(pd.Index([f"s{i}" for i in range(n)], dtype="string[python]")),
        st.just(pd.MultiIndex.from_tuples([("a", 2020 + i) for i in range(n)], names=[None, "year"])),
        st.just(pd.MultiIndex.from_product([["a"], range(n)])),
        st.just(pd.MultiIndex.from_arrays([days(n), list("xyz" * n)[:n]], names=["day", 5])),
        unique.map(lambda labels: pd.Index(np.fromiter(labels, dtype=object, count=n), dtype=object)),
    )


@pytest.mark.slow
@FEW
@given(axes(3), axes(2), st.sampled_from([None, "x", 2018, ("a", 1)]))
def test_frame_with_labels_of_any_kind_comes_back_equal(columns, rows, name):
    columns, rows = (index.rename(name) if index.nlevels == 1 else index for index in (columns, rows))
    frame = pd.DataFrame([[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]], index=rows, columns=columns)
    data = comes_back(frame)
    comes_back(frame.iloc[:, 0])
    wanted = [frame.columns[2], frame.columns[0]]
    some = frame.iloc[:, [2, 0]].set_axis(columns.take([2, 0]), axis=1)
    assert_same(decode("frame", data, columns=wanted), some)
    names = decode("frame", data, as_="arrow").column_names[:3]
    assert len(set(names)) == 3 and pq.read_table(pa.BufferReader(data)).column_names[:3] == names


def test_column_is_asked_for_by_its_label_and_an_unknown_one_is_refused():
    pivot = pd.DataFrame({"g": ["a", "b"], "y": [2020, 2021], "v": [1.0, 2.0]}).pivot_table(
        index="g", columns="y", values=["v"]
    )
    data = comes_back(pivot)
    assert_same(decode("frame", data, columns=[("v", 2021)]), pivot[[("v", 2021)]])
    with pytest.raises(UsageError, match=r"there is no column `\('v', 2022\)`: did you mean"):
        decode("frame", data, columns=[("v", 2022)])
    for odd in ([["v"]], [{}], [None]):
        with pytest.raises(UsageError, match="there is no column"):
            decode("frame", data, columns=odd)


ARROW = {
    "texts": pd.array(["a", "b"], dtype=pd.ArrowDtype(pa.string())),
    "large texts": pd.array(["a", None], dtype=pd.ArrowDtype(pa.large_string())),
    "numbers": pd.array([3, None], dtype="int64[pyarrow]"),
    "bools": pd.array([True, False], dtype="bool[pyarrow]"),
    "strings": pd.array(["a", None], dtype="string"),
    "strings of Python": pd.array(["a", "b"], dtype=pd.StringDtype("python")),
    "nullable": pd.array([1, None], dtype="Int64"),
}


@pytest.mark.parametrize("name", ARROW)
def test_labels_of_every_dtype_that_a_backend_gives_come_back(name):
    labels = pd.Index(ARROW[name], name="k")
    values = np.arange(4.0).reshape(2, 2)
    for index in (labels, pd.MultiIndex.from_arrays([labels, [1, 2]])):
        comes_back(pd.DataFrame(values, columns=index))
        comes_back(pd.DataFrame(values, index=index))
    comes_back(pd.DataFrame({"c": pd.Categorical.from_codes([0, 0], categories=labels.dropna())}))


INDEXES = {
    "intervals": pd.interval_range(0, 2),
    "intervals of days": pd.interval_range(pd.Timestamp("2018"), periods=2),
    "cut": pd.CategoricalIndex(pd.cut([1, 5], [0, 4, 8])),
    "periods": pd.period_range("2018-04", periods=2, freq="M"),
    "pairs": pd.MultiIndex.from_arrays([pd.interval_range(0, 2), ["a", "b"]], names=["age", None]),
    "structs": pd.Index(pd.array([{"a": 1}, None], dtype=pd.ArrowDtype(pa.struct([("a", pa.int8())])))),
    "lists": pd.Index(pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8())))),
    "texts": pd.Index(["a", "b"], name="n"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_some_columns_come_with_an_index_of_any_kind(name):
    frame = pd.DataFrame({"n": [1, 2], "m": [0.5, 1.5], "s": ["x", None]}, index=INDEXES[name])
    data = comes_back(frame)
    for wanted in (["m"], ["s", "n"], []):
        assert_same(decode("frame", data, columns=wanted), frame[wanted])


def test_pivot_of_a_frame_with_arrow_columns_comes_back():
    long = pd.DataFrame({"k": ["a", "b"], "day": [1, 2], "n": [1.5, 2.5]}).convert_dtypes(
        dtype_backend="pyarrow"
    )
    comes_back(long.pivot(index="k", columns="day", values="n"))
    comes_back(long.pivot(index="day", columns="k", values="n"))
    comes_back(long.convert_dtypes().set_index(["k", "day"]))


UNKNOWN_LABELS = {
    "dates": pd.array([dt.date(2018, 4, 1)] * 1, dtype="date32[pyarrow]"),
    "times": pd.array([pd.Timestamp("2018")], dtype="timestamp[us][pyarrow]"),
    "not a number": pd.arrays.ArrowExtensionArray(pa.array([float("nan")])),
}


@pytest.mark.parametrize("name", UNKNOWN_LABELS)
def test_labels_that_cannot_be_kept_are_refused_until_the_mend_is_followed(name):
    frame = pd.DataFrame([[1.0]], columns=pd.Index(UNKNOWN_LABELS[name]))
    with pytest.raises(ValueRefusedError, match="the labels of the columns") as caught:
        encode(frame)
    exec(caught.value.mend.split("`")[1], {"frame": frame})
    comes_back(frame)


@pytest.mark.parametrize("kind", ["interval", "levels"])
def test_labels_that_are_only_counted_do_not_fill_the_memory(kind):
    parts = [{"kind": "range", "values": [n, 1_000_000 + n, 1]} for n in (0, 1)] * (
        1 if kind == "interval" else 9
    )
    axis = {"kind": kind, "closed": "right", "parts": parts}
    names = [f"c{n}" for n in range(200)]
    cells = {name: {"kind": "category", "texts": ["x"], "categories": axis} for name in names}
    table = pa.table({name: ["x"] for name in names})
    notes = json.dumps({"n_columns": 200, "cells": cells})
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({NOTES_KEY: notes}), sink)
    with pytest.raises(IntegrityError, match=r"the labels of a table .* would grow to"):
        decode("frame", sink.getvalue())


def test_table_whose_notes_are_of_another_one_is_refused_until_the_mend_is_followed():
    stored = encode(pd.DataFrame({"v": [np.ones(2)], "n": [1]}, index=[7]))
    table = decode("frame", stored.data, as_="arrow")
    assert decode("arrow", encode(table).data).equals(table)
    changed = [
        table.set_column(0, "v", pa.array(["one"])),
        table.replace_schema_metadata({NOTES_KEY: b"garbage"}),
        table.replace_schema_metadata({NOTES_KEY: b"{}"}),
    ]
    for other in changed:
        with pytest.raises(ValueRefusedError, match="notes another table") as caught:
            encode(other)
        mended = eval(caught.value.mend.split("`")[1], {"table": other})
        assert decode("arrow", encode(mended).data).equals(mended)
    text = table.set_column(0, "v", table["v"].cast(pa.list_(pa.string())))
    assert decode("arrow", encode(text).data).equals(text)


def test_map_of_arrow_is_refused_until_the_mend_is_followed():
    cells = pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8()))
    with pytest.raises(ValueRefusedError, match="cast it to lists of structs"):
        encode(pa.table({"m": cells}))
    mended = pa.table({"m": cells.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.int8())])))})
    assert decode("arrow", encode(mended).data).equals(mended)


def test_levels_that_count_are_those_that_list():
    counted = pd.DataFrame(np.zeros((2, 6)), columns=pd.MultiIndex.from_product([["a", "b"], range(3)]))
    listed = counted.set_axis(pd.MultiIndex.from_tuples(list(counted.columns)), axis=1)
    assert comes_back(counted) == comes_back(listed)
    assert encode(counted.T).data == encode(listed.T).data
    single = counted[["a"]].set_axis(pd.MultiIndex.from_product([["a"], range(3)]), axis=1)
    again = single.set_axis(pd.MultiIndex.from_tuples(list(single)), axis=1)
    assert encode(single).data == encode(again).data


def test_file_of_a_pivot_has_names_that_other_programs_can_ask_for():
    pivot = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("amount", 2020), ("n", "")]))
    assert pd.read_parquet(io.BytesIO(encode(pivot).data)).columns.tolist() == ["amount_2020", "n"]


# cells

ONE_KIND = {
    "text": ["a", "ä\n", ""],
    "bools": [True, False, True],
    "ints": [1, -(2**63), 2**63 - 1],
    "large_ints": [1, 2**200, -3],
    "floats": [0.5, -0.0, float("inf")],
    "bytes": [b"", b"\x00\xff", b"x"],
    "dates": [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2018, 4, 1)],
    "moments": [dt.datetime(1, 1, 1), dt.datetime(2018, 4, 1, 12, 30, 0, 1), dt.datetime(9999, 12, 31)],
    "aware": [dt.datetime(2018, 4, 1, tzinfo=dt.UTC)] * 3,
    "folded": [dt.datetime(2018, 10, 28, 2, 30, fold=1)] * 3,
    "times": [dt.time(), dt.time(23, 59, 59, 999999), dt.time(12)],
    "durations": [dt.timedelta(microseconds=-1), dt.timedelta(days=3), dt.timedelta()],
    "decimals": [Decimal("1.50"), Decimal("-0.01"), Decimal("123456789012345678901234567890.12")],
    "mixed_decimals": [Decimal("1.5"), Decimal("1.50"), Decimal("-0")],
    "odd_decimals": [Decimal("Infinity"), Decimal("1E+5"), Decimal(10) ** -60],
    "uuids": [uuid.UUID(int=n) for n in (0, 1, 2**128 - 1)],
    "stamps": [pd.Timestamp("2018-04-01"), pd.Timestamp("2018-04-02 12:00"), pd.Timestamp("1970-01-01")],
    "zones": [pd.Timestamp("2018-04-01", tz=zone) for zone in ("UTC", "Asia/Tokyo", "UTC")],
    "periods": [pd.Period("2018-04", "M"), pd.Period("2018-05", "M"), pd.Period("1969-05", "M")],
    "intervals": [pd.Interval(0, 1), pd.Interval(0.5, 2.5), pd.Interval(1, 2)],
    "numpy": [np.int8(1), np.int8(-3), np.int8(0)],
    "vectors": [np.array([0.5, np.nan]), np.array([1.0, -0.0]), np.array([2.0, 3.0])],
    "ragged": [np.array([1, 2], "i4"), np.array([], "i4"), np.array([3], "i4")],
    "matrices": [np.full((2, 3), n, "f4") for n in range(3)],
    "masks": [np.array([True, False])] * 3,
    "halves": [np.array([1, 2], "f2")] * 3,
    "lists": [[1.5, 2.5], [], [float("nan")]],
    "tags": [["a", None], ["b"], []],
    "tuples": [(1, 2), (), (3,)],
    "mixed_lists": [[1, "a"], [[2]], [(3,)]],
    "dicts": [{"b": 1, "a": (2,)}, {}, {3: {4}}],
    "sets": [{1, 2}, set(), {"x"}],
    "mixed": [1, "x", 2.5],
    "bool_and_one": [True, 1, 1.0],
    "nothing": [None, None, None],
}
MISSING = {"none": None, "nan": float("nan"), "nat": pd.NaT, "na": pd.NA}


@pytest.mark.parametrize("gap", MISSING)
def test_columns_of_all_kinds_of_objects_come_back_equal(gap):
    frame = pd.DataFrame({name: objects(*cells, MISSING[gap]) for name, cells in ONE_KIND.items()})
    data = comes_back(frame)
    assert_same(decode("frame", data, columns=["sets", "text"]), frame[["sets", "text"]])


EQUAL_TO_PYTHON = {
    "scales": [Decimal("1.5"), Decimal("1.50")],
    "negative zero": [Decimal("-0"), Decimal("1")],
    "exponents": [Decimal("1E+3"), Decimal("7")],
    "small and plain": [Decimal("1E-40"), Decimal("1.5")],
    "no number": [Decimal("sNaN"), Decimal("NaN"), Decimal("-Infinity")],
    "whole ends": [pd.Interval(1, 2), pd.Interval(2, 3)],
    "ends of two types": [pd.Interval(1, 2), pd.Interval(2.0, 3.5)],
    "units": [pd.Timestamp("2018").as_unit("s"), pd.Timestamp("2018").as_unit("ns")],
}


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("name", EQUAL_TO_PYTHON)
def test_cells_that_python_calls_equal_to_others_come_back_as_they_were(name, gap):
    cells = [*EQUAL_TO_PYTHON[name], *([None] if gap else [])]
    back = decode("frame", encode(pd.DataFrame({"c": objects(*cells)})).data)["c"]
    assert list(map(repr, back)) == list(map(repr, cells)) and str(back.dtype) == "object"
    assert encode(pd.DataFrame({"c": back})).data == encode(pd.DataFrame({"c": objects(*cells)})).data


@FEW
@given(st.lists(st.decimals(places=None) | st.decimals(-9, 9, places=2), min_size=1, max_size=3))
def test_decimals_keep_every_digit_and_sign(cells):
    back = decode("series", encode(objects(*cells)).data)
    assert list(map(repr, back)) == list(map(repr, cells))


@pytest.mark.slow
@pytest.mark.parametrize("gap", ["", *MISSING])
@pytest.mark.parametrize("name", ONE_KIND)
def test_objects_of_a_kind_come_back_equal_with_and_without_gaps(name, gap):
    cells = [*ONE_KIND[name], *([MISSING[gap]] * 2 if gap else [])]
    frame = pd.DataFrame({"n": range(len(cells)), "cells": objects(*cells)})
    data = comes_back(frame)
    comes_back(frame["cells"].rename(None))
    assert_same(decode("frame", data, columns=["cells"]), frame[["cells"]])
    assert pd.read_parquet(io.BytesIO(data)).shape == frame.shape
    comes_back(frame.iloc[:0])


@pytest.mark.slow
@FEW
@given(st.lists(st.sampled_from(sorted(ONE_KIND)), min_size=1, max_size=3), st.randoms())
def test_objects_of_mixed_kinds_come_back_equal(names, random):
    cells = [cell for name in names if name != "odd" for cell in ONE_KIND[name]] + [None, float("nan")]
    random.shuffle(cells)
    arrays = [cell for cell in cells if isinstance(cell, np.ndarray)]
    rest = [cell for cell in cells if not isinstance(cell, np.ndarray)]
    comes_back(pd.DataFrame({"mixed": objects(*rest)}))
    if arrays:
        with pytest.raises(ValueRefusedError):
            encode(pd.DataFrame({"mixed": objects(*arrays, "x")}))


def test_summaries_that_mix_times_and_numbers_come_back_equal():
    frame = pd.DataFrame(
        {"day": days(4), "x": [0.5, 1.5, 2.5, 3.5], "g": list("aabb"), "ok": [True, False] * 2}
    )
    comes_back(frame.describe())
    comes_back(frame.describe(include="all"))
    comes_back(frame.head(2).T)
    comes_back(
        pd.DataFrame(
            {"c": objects(np.int8(3), "x", np.str_("y"), np.bool_(True), 3, None, np.uint64(2**64 - 1))}
        )
    )
    with pytest.raises(ValueRefusedError, match="numbers of NumPy") as refused:
        encode(pd.DataFrame({"c": objects("x", *[np.int8(1)] * 10_001)}))
    assert "astype('str')" in refused.value.mend
    comes_back(pd.DataFrame({"c": objects("x", *[np.int8(1)] * 10_001)}).astype("str"))


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([object()], r"`c\[0\]` is a `object`"),
        ([1, len], r"`c\[1\]` is a `builtin"),
        ([pd.DataFrame()], r"`c\[0\]`"),
        ([np.zeros(1), np.zeros(1, "i4")], r"`c\[0\]` is a `ndarray`"),
        (["\ud800"], "surrogate"),
    ],
)
def test_cell_that_cannot_be_kept_is_refused_with_its_place(cells, what):
    with pytest.raises(ValueRefusedError, match=what) as refused:
        encode(pd.DataFrame({"c": objects(*cells)}))
    assert refused.value.mend


class Colour(enum.Enum):
    RED = "red"


def test_member_of_an_enum_is_refused_wherever_it_stands_until_its_value_is_taken():
    for place, frame in {
        r"`c\[1\]`": lambda red: pd.DataFrame({"c": objects("blue", red)}),
        r"`labels\[1\]`": lambda red: pd.DataFrame([[1, 2]], columns=pd.Index(objects("a", red))),
        r"`index_0\[1\]`": lambda red: pd.DataFrame({"a": [1, 2]}, index=pd.Index(objects("a", red))),
        r"`attrs.colour`": lambda red: with_attrs(pd.DataFrame({"a": [1]}), colour=red),
        r"`name\[0\]`": lambda red: pd.Series([1], name=red),
    }.items():
        with pytest.raises(ValueRefusedError, match=place) as refused:
            encode(frame(Colour.RED))
        assert "use its `.value`" in refused.value.mend
        comes_back(frame(Colour.RED.value))


def with_attrs(frame, **attrs):
    "A frame with notes of its own."
    frame.attrs = attrs
    return frame


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u8", "bool"])
@pytest.mark.parametrize("shape", [(3,), (2, 2), (0,)])
def test_loaded_vectors_can_be_written_to_and_are_nobody_elses(dtype, shape):
    cells = [np.zeros(shape, dtype), None, np.zeros(shape, dtype)]
    frame = pd.DataFrame({"e": objects(*cells), "same": objects(*cells), "n": range(len(cells))})
    data = encode(frame).data
    found = decode("frame", data)
    first, second = (cell for cell in found["e"] if cell is not None)
    first[...] = 1
    assert second.tolist() == cells[-1].tolist()
    assert_same(found[["same", "n"]], frame[["same", "n"]])
    assert_same(decode("frame", data), frame)
    del found, first
    assert second.base is not None and encode(frame).data == data  # it outlives the frame


def test_arrow_table_of_a_frame_of_vectors_is_not_written_to():
    data = encode(pd.DataFrame({"e": objects(np.zeros(2), np.zeros(2))})).data
    table = decode("frame", data, as_="arrow")
    decode("frame", data)["e"][0][0] = 5
    decode("arrow", encode(table).data, as_="pandas")["e"][0][0] = 5
    assert table["e"].to_pylist() == [[0, 0], [0, 0]]


# columns of pandas' own types

AMOUNTS = pd.Series([1, 5, 9, 30])
TYPED = {
    "cut": pd.cut(AMOUNTS, [0, 4, 10, 40]),
    "qcut": pd.qcut(AMOUNTS, 2),
    "cut_labels": pd.cut(AMOUNTS, 2, labels=[1, 2]),
    "int_categories": pd.Series(pd.Categorical([2, 1, None, 2], categories=[3, 2, 1], ordered=True)),
    "float_categories": pd.Series(pd.Categorical([0.5, 1.5, 0.5, None])),
    "bool_categories": pd.Series(pd.Categorical([True, False, None, True])),
    "date_categories": pd.Series(pd.Categorical(days(4))),
    "mixed_categories": pd.Series(pd.Categorical([1, "1", None, (2,)], categories=objects(1, "1", (2,)))),
    "object_categories": pd.Series(pd.Categorical([*"aba", None], pd.Index(["b", "a"], dtype=object))),
    "no_category": pd.Series(pd.Categorical([None] * 4)),
    "unused": pd.Series(pd.Categorical([None] * 4, categories=["b", "a"])),
    "intervals": pd.Series(pd.IntervalIndex.from_breaks(range(5))),
    "time_intervals": pd.Series(pd.interval_range(pd.Timestamp("2018-04-01"), periods=4)),
    "seconds": pd.Series(days(4).as_unit("s")),
    "zoned_seconds": pd.Series(days(4, "Asia/Tokyo").as_unit("s")),
    "big_endian": pd.Series(np.array([1.5, np.nan, -0.0, 2], ">f8")),
    "big_ints": pd.Series(np.array([1, 2, 3, 4], ">i4")),
    "complex": pd.Series([1 + 2j, complex("nan"), 0, 1]),
    "complex64": pd.Series(np.array([1 + 2j, 2, 0, 1], "c8")),
    "python_text": pd.Series(["a", None, "b", ""], dtype="string[python]"),
    "python_str": pd.Series(["a", None, "b", ""], dtype=pd.StringDtype("python", na_value=np.nan)),
    "arrow_text": pd.Series(["a", None, "b", ""], dtype=pd.ArrowDtype(pa.string())),
    "arrow_large": pd.Series(["a", None, "b", ""], dtype=pd.ArrowDtype(pa.large_string())),
    "arrow_lists": pd.Series([[1.0], None, [], [2.0]], dtype=pd.ArrowDtype(pa.list_(pa.float32()))),
    "arrow_decimals": pd.Series([Decimal("1.50"), None] * 2, dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
    "arrow_structs": pd.Series([{"a": 1}, None] * 2, dtype=pd.ArrowDtype(pa.struct([("a", pa.int64())]))),
    "arrow_dates": pd.Series([dt.date(2018, 4, 1), None] * 2, dtype=pd.ArrowDtype(pa.date32())),
    "arrow_bytes": pd.Series([b"x", None] * 2, dtype=pd.ArrowDtype(pa.binary())),
    "arrow_ints": pd.Series([1, None] * 2, dtype="int64[pyarrow]"),
    "periods": pd.Series(pd.period_range("2018-01", periods=4, freq="M")),
}


@pytest.mark.parametrize("n", [4, 0])
def test_columns_of_all_types_come_back_equal(n):
    comes_back(pd.DataFrame(TYPED).iloc[:n].copy())


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_column_of_a_type_comes_back_equal_also_without_rows(name):
    frame = pd.DataFrame({"n": [1.0, 2.0, 3.0, 4.0], "c": TYPED[name]})
    rows = frame.iloc[1:3].set_axis([True, False])
    for part in (frame, frame.iloc[:0], frame[["c"]], frame.set_index("c"), rows):
        data = comes_back(part)
        assert len(pd.read_parquet(io.BytesIO(data))) == len(part)
    comes_back(frame["c"])
    if "big" not in name:  # of which pandas cannot take rows
        assert encode(frame[frame.n > 2]).data == encode(frame.iloc[2:].copy()).data


@pytest.mark.slow
def test_more_categories_than_a_page_holds_come_back_in_their_order():
    comes_back(pd.DataFrame({"c": pd.Categorical([f"{'x' * 40}{n}" for n in range(40_000)][::-1])}))


def test_other_programs_see_categories_as_text():
    data = encode(pd.DataFrame({"band": TYPED["cut"]})).data
    assert pq.read_table(pa.BufferReader(data)).column("band").to_pylist()[:2] == ["(0, 4]", "(4, 10]"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame(index=range(3, 9, 2)),
        pd.DataFrame(index=["a", "b"]),
        pd.DataFrame(index=days(3)),
        pd.DataFrame({"id": [1, 2], "kind": pd.Categorical(["a", "b"])}).iloc[:0],
        pd.DataFrame({"id": [1]}).set_flags(allows_duplicate_labels=False),
    ],
    ids=["nothing", "no_rows", "rows", "named_rows", "days", "empty_day", "flag"],
)
def test_frame_without_rows_or_columns_comes_back_equal(frame):
    comes_back(frame)


def test_notes_of_a_frame_come_back_with_any_types():
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "EUR", "window": (dt.date(2018, 4, 1), {1, 2}), "limit": float("nan")}
    comes_back(frame)
    comes_back(frame["a"])


# refused

HOLIDAYS = pd.date_range("2018", periods=1, freq=pd.offsets.CDay(holidays=["2018-01-03"]))
REFUSED = {
    "sparse": (
        pd.DataFrame({"m": pd.arrays.SparseArray([0, 1])}),
        lambda f: f.assign(m=f.m.sparse.to_dense()),
    ),
    "two_of_a_name": (pd.DataFrame([[1, 2]], columns=["a", "a"]), lambda f: f.set_axis(["a", "b"], axis=1)),
    "two_numbers": (pd.DataFrame([[1, 2]], columns=[3, 3]), lambda f: f.set_axis([3, 4], axis=1)),
    "holidays": (pd.DataFrame({"a": [1]}, HOLIDAYS), lambda f: f.set_axis(f.index._with_freq(None))),
    "wide": (pd.DataFrame([[0] * 100_001]), lambda f: f.T),
    "objects_by_the_million": (
        pd.DataFrame({"a": objects(*[1, "x"] * 500_001)}),
        lambda f: f.assign(a=f.a.astype("str")),
    ),
    "nan_in_nullable": (
        pd.DataFrame({"m": pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, True]))}),
        lambda f: f.assign(m=f.m.astype("float64")),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_frame_that_is_refused_is_kept_once_its_mend_was_followed(name):
    frame, mended = REFUSED[name]
    with pytest.raises(ValueRefusedError) as refused:
        encode(frame)
    assert refused.value.mend
    comes_back(mended(frame))


# files of before, of others, and of nobody who means well

BEFORE = Path(__file__).parent / "data" / "tables_before_notes.tar.xz"


def tables_before():
    "Codec, name and bytes of tables that were written before there were notes."
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(BEFORE.read_bytes()))) as archive:
        for member in archive:
            codec, name = member.name.removesuffix(".parquet").split("/")
            yield codec, name, archive.extractfile(member).read()


def is_of_these_versions(data):
    "Whether a file was written by the versions of pyarrow and pandas that are installed."
    file = pq.ParquetFile(pa.BufferReader(data))
    pandas = json.loads(file.schema_arrow.metadata[b"pandas"])["pandas_version"]
    return file.metadata.created_by.endswith(pa.__version__) and pandas == pd.__version__


def test_tables_that_were_written_before_are_read_and_keep_their_bytes():
    for codec, name, data in tables_before():
        value = (ROUND if codec == "frame" else SERIES)[name]
        assert_same(decode(codec, data), value)
        assert encode(value).data == data or not is_of_these_versions(data), name


MAKE = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from tests.test_store_tables import ONE_KIND, TYPED, days, encode, objects, pd
kinds = pd.DataFrame({name: objects(*cells) for name, cells in ONE_KIND.items()}, index=days(3))
values = [kinds, pd.DataFrame(TYPED), pd.DataFrame([[1, 2]], columns=[("a", 1), ("a", 2)])]
print([hashlib.sha256(encode(value).data).hexdigest() for value in values])
"""


@pytest.mark.slow
def test_bytes_are_the_same_in_another_process_with_another_hash_seed():
    root = str(Path(__file__).parent.parent)
    said = {
        subprocess.run(
            [sys.executable, "-c", MAKE, root],
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(said) == 1 and next(iter(said)).count("'") == 6


def with_notes(data, notes):
    "A file with other notes."
    table = pq.read_table(pa.BufferReader(data))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, NOTES_KEY: notes}), sink)
    return sink.getvalue()


HOSTILE = [
    {},
    {"n_columns": -1},
    {"n_columns": 2, "columns": {"kind": "pickle"}},
    {"n_columns": 2, "columns": {"kind": "range", "values": [0, 10**15, 1]}},
    {"n_columns": 2, "columns": {"kind": "range", "values": [0, 2, 0]}},
    {"n_columns": 2, "columns": {"kind": "plain", "values": [1, 2], "dtype": "O"}},
    {
        "n_columns": 2,
        "columns": {"kind": "time", "values": [1, 2], "dtype": "datetime64[us, dateutil//etc/x]"},
    },
    {"n_columns": 2, "columns": {"kind": "levels", "parts": []}},
    {"n_columns": 2, "cells": {"c": {"kind": "pickle"}}},
    {"n_columns": 2, "cells": {"c": {"kind": "typed"}}},
    {"n_columns": 2, "cells": {"c": {"kind": "uuids"}}},
    {"n_columns": 2, "cells": {"c": {"kind": "text", "missing": "x"}}},
    {"n_columns": 2, "cells": {"c": {"kind": "arrays", "dtype": "float64", "shape": [2, 10**9]}}},
    {"n_columns": 2, "cells": {"c": {"kind": "category", "texts": ["y"]}}},
    {"n_columns": 2, "cells": {"n": {"kind": "lists"}}},
    {"n_columns": 2, "cells": {"c": {"kind": "text", "numbers": {"int8": ["x"]}}}},
    {"n_columns": 2, "index": ["away"]},
    {"n_columns": 2, "freq": "D"},
    {"n_columns": 2, "rows": [0, 1, 1]},
]


@pytest.mark.parametrize("notes", HOSTILE, ids=lambda notes: json.dumps(notes)[:60])
def test_notes_that_make_no_sense_are_damage(notes):
    data = encode(pd.DataFrame({"n": [1, 2], "c": ["x", "z"]})).data
    for found in (json.dumps(notes).encode(), json.dumps(notes).encode()[:-1]):
        with pytest.raises(IntegrityError):
            decode("frame", with_notes(data, found))


def test_typed_cells_that_would_fill_the_memory_are_refused():
    data = encode(pd.DataFrame({"n": [1, 2], "c": ["[" + "[]," * 40_000 + "0]", "0"]})).data
    notes = json.dumps({"n_columns": 2, "cells": {"c": {"kind": "typed"}}}).encode()
    with pytest.raises(IntegrityError, match="would grow to"):
        decode("frame", with_notes(data, notes), limits=ValueLimits(memory=1 << 20))
    assert len(decode("frame", with_notes(data, notes))["c"][0]) == 40_001


def test_document_of_notes_survives_whatever_it_holds():
    plain = FrameNotes(2, attrs={"!tuple": [1]}, rows=(0, 2, 1), freq="D").as_dict()
    assert FrameNotes.from_dict(json.loads(json.dumps(plain))).as_dict() == plain


# a frame that another thread changes


def test_frame_that_another_thread_changes_is_kept_as_it_was_at_one_moment():
    frame = pd.DataFrame({"a": np.zeros(50_000), "b": ["x"] * 50_000, "k": pd.Categorical(["u"] * 50_000)})
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            n += 1
            frame["a"] = np.full(50_000, float(n))
            frame[f"new{n % 5}"] = n
            frame.drop(columns=f"new{n % 5}", inplace=True)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            try:
                found = decode("frame", encode(frame).data)
            except ValueRefusedError as refused:
                assert refused.mend
            else:
                assert found["a"].nunique() == 1 and len(found) == 50_000
    finally:
        stop.set()
        thread.join()


# what a table may grow to


def test_vectors_and_tags_are_counted_by_what_becomes_of_them():
    vectors = np.random.default_rng(0).random((20_000, 64)).astype("f4")
    words = [[f"w{n % 90}", "x" * 300] for n in range(20_000)]
    frame = pd.DataFrame({"n": range(20_000), "e": objects(*vectors), "tags": objects(*words)})
    data = encode(frame).data
    room = ValueLimits(memory=25 << 20)
    assert len(decode("frame", data, columns=["e", "n"], limits=room)) == 20_000
    with pytest.raises(IntegrityError, match="would grow to"):
        decode("frame", data, limits=ValueLimits(memory=4 << 20))
    with pytest.raises(IntegrityError, match="a column of arrays"):
        decode(
            "frame",
            encode(pd.DataFrame({"e": objects(*[np.zeros(0)] * 20_000)})).data,
            limits=ValueLimits(1 << 20),
        )


def test_index_that_comes_along_with_the_columns_is_counted():
    frame = pd.DataFrame({"n": range(1_000)}, index=pd.Index([f"{n}{'x' * 2_000}" for n in range(1_000)]))
    with pytest.raises(IntegrityError, match="would grow to"):
        decode("frame", encode(frame).data, columns=["n"], limits=ValueLimits(memory=1 << 20))


def test_parts_with_and_without_notes_are_joined_and_an_empty_day_is_one(tmp_path):
    store = open_store(tmp_path / ".mlnb")

    def days_of(*parts):
        return get_value(store, put_value(store, iter(parts)), tmp_path)

    kinds = pd.CategoricalDtype(["b", "a"])
    full = pd.DataFrame({"id": [1, 2], "kind": pd.Categorical(["a", "b"], dtype=kinds)})
    assert_same(days_of(full.iloc[:0], full, full.iloc[:0]), full)
    assert_same(days_of(full, full.iloc[:0]), full)
    vectors = pd.DataFrame({2018: objects(np.zeros(2), None), "cut": pd.cut([1, 5], [0, 4, 8])})
    assert_same(days_of(vectors, vectors), pd.concat([vectors, vectors], ignore_index=True))
    with pytest.raises(ValueRefusedError, match="the type of column `2018`"):
        put_value(store, iter([vectors, vectors.assign(**{"cut": vectors["cut"]}).astype({2018: "str"})]))


def test_other_programs_read_vectors_tags_and_pivots(tmp_path):
    frame = pd.DataFrame({"e": objects(*np.arange(6.0).reshape(3, 2)), "tags": objects(["a"], [], None)})
    frame[2018] = pd.cut([1, 2, 3], [0, 1, 4])
    (tmp_path / "frame.parquet").write_bytes(comes_back(frame))
    query = f"SELECT e, tags, \"2018\"::VARCHAR FROM '{tmp_path / 'frame.parquet'}'"
    rows = [([0.0, 1.0], ["a"], "(0, 1]"), ([2.0, 3.0], [], "(1, 4]"), ([4.0, 5.0], None, "(1, 4]")]
    assert duckdb.sql(query).fetchall() == rows
    read = pl.read_parquet(tmp_path / "frame.parquet")
    assert read["e"].to_list() == [row[0] for row in rows]
    table = decode("frame", encode(frame).data, as_="arrow")
    assert_same(decode("arrow", encode(table).data, as_="pandas"), frame)
