"""A table of a source becomes the frame that pandas makes of it, and is in memory once."""

import datetime as dt
import hashlib
import io
import weakref
from collections import Counter
from decimal import Decimal
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlnb.sources import source, text_tables
from mlnb.sources.content import content_in_memory
from mlnb.sources.partition import Partition
from mlnb.sources.reading import FileReading, reading_marks
from mlnb.sources.source import frame_of_source, read_source
from mlnb.sources.table_files import Wish, read_table_file

COLUMNS = {
    "int": [1, 2, 3],
    "int_gap": [1, None, 3],
    "small": pa.array([1, None, 3], pa.int8()),
    "unsigned": pa.array([1, 2, 2**64 - 1], pa.uint64()),
    "float": [1.5, None, float("nan")],
    "half": pa.array(np.array([1, 2, 3], "f2")),
    "bool": [True, False, True],
    "bool_gap": [True, None, False],
    "text": ["a", None, "b"],
    "large_text": pa.array(["a", None, "b"], pa.large_string()),
    "category": pa.array(["x", None, "x"]).dictionary_encode(),
    "date": [dt.date(2020, 1, 1), None, dt.date.min],
    "second": pa.array([1, None, 3], pa.timestamp("s")),
    "nano": pa.array([1, 2, 3], pa.timestamp("ns")),
    "zone": pa.array([1, None, 3], pa.timestamp("us", "Europe/Berlin")),
    "time": [dt.time(1), None, dt.time.max],
    "lag": pa.array([1, None, 2], pa.duration("ms")),
    "money": [Decimal("1.5"), None, Decimal("2.5")],
    "nothing": pa.nulls(3),
    "list": [[1], None, [2, None]],
    "struct": [{"a": 1}, None, {"a": None}],
    "bytes": [b"x", None, b"y"],
}


@pytest.mark.parametrize("much", [0, 1 << 30])
@pytest.mark.parametrize("way", ["whole", "chunks", "empty", "one"])
def test_table_is_the_frame_that_pandas_makes_of_it(monkeypatch, much, way):
    monkeypatch.setattr(source, "_MUCH", much)
    whole = pa.table(COLUMNS)
    ways = {
        "chunks": pa.concat_tables([whole, whole.slice(1)]),
        "empty": whole.slice(0, 0),
        "one": whole[1:2],
    }
    table = ways.get(way, whole)
    plain, found = table.to_pandas(), frame_of_source(table)
    exactly = {"check_exact": True, "check_column_type": "exact", "check_index_type": "exact"}
    pd.testing.assert_frame_equal(plain, found, **exactly)
    assert type(plain.index) is type(found.index) and plain.columns.dtype == found.columns.dtype
    for name in (name for name in plain if plain[name].dtype == object):
        assert list(map(repr, plain[name])) == list(map(repr, found[name]))
        assert list(map(type, plain[name])) == list(map(type, found[name]))


def test_frame_of_a_table_with_an_index_of_pandas_has_it(monkeypatch):
    monkeypatch.setattr(source, "_MUCH", 0)
    frame = pd.DataFrame({"n": [1.0, 2.0]}, index=pd.Index([5, 6], name="id"))
    pd.testing.assert_frame_equal(frame_of_source(pa.Table.from_pandas(frame)), frame)


def csv_with(tmp_path, text, **said):
    "A pinned CSV, and how it is read."
    (tmp_path / "a.csv").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return [*reading_marks(FileReading(**said)), Partition("a.csv", len(text.encode()), digest)]


SCHEMA = (("id", "int64"), ("x", "float64"), ("shop", "str"))
HOW = {
    "infer": {"types": "infer"},
    "schema": {"types": "schema", "columns": SCHEMA},
    "text": {"types": "text"},
}


@pytest.mark.parametrize("block", [64, 1_000])
@pytest.mark.parametrize("chunk", [1, 500])
@pytest.mark.parametrize("how", HOW)
def test_table_does_not_depend_on_blocks_and_chunks(tmp_path, how, chunk, block):
    rows = [f"{n},{n / 7},s{n % 3}" for n in range(200)]
    given = csv_with(tmp_path, "\n".join(["id,x,shop", *rows, "7,,NA", ""]), **HOW[how])
    whole = read_source(tmp_path, given)
    small = mock.patch.multiple(text_tables, _FIRST_BLOCK=block, _CHUNK_BYTES=chunk)
    with small, mock.patch.object(text_tables.in_larger_blocks, "__defaults__", (block,)):
        pd.testing.assert_frame_equal(read_source(tmp_path, given), whole, check_exact=True)
        arrow = read_source(tmp_path, given, as_="arrow")
    assert arrow.to_pydict() == read_source(tmp_path, given, as_="arrow").to_pydict()
    assert arrow.validate(full=True) is None and whole["shop"].tolist()[-1] == "NA"


def test_columns_are_let_go_as_they_become_part_of_the_frame(monkeypatch):
    seen, refs, make = [], [], source._frame_of_columns
    monkeypatch.setattr(source, "_MUCH", 0)

    def table():
        whole = pa.table(COLUMNS)
        refs.append(weakref.ref(whole))
        return whole

    def look(columns, n_rows):
        seen.append(refs[0]())
        return make(columns, n_rows)

    monkeypatch.setattr(source, "_frame_of_columns", look)
    frame = frame_of_source(table())
    assert frame.shape == (3, len(COLUMNS)) and seen == [
        None
    ]  # nobody held the table while it was taken apart
    left = dict(zip("abc", table().columns, strict=False))
    assert [len(left) for _ in source._as_series(left)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("name", "data", "times"),
    [
        ("a.csv", b"n,m\n1,2\n", {"looked_at": 1, "opened": 1}),
        ("a.tsv", b"n\tm\n1\t2\n", {"looked_at": 1, "opened": 1}),
        ("a.jsonl", b'{"n": 1, "m": 2}\n', {"opened": 1}),
        ("a.parquet", None, {"searched": 1}),
    ],
)
@pytest.mark.parametrize("columns", [None, ["m"], ["day"], ["other"]])
def test_file_is_gone_through_once(name, data, times, columns):
    if data is None:
        pq.write_table(pa.table({"n": [1], "m": [2]}), buffer := io.BytesIO())
        data = buffer.getvalue()
    content, told = content_in_memory(f"day=07/{name}", data), Counter()

    def counted(way):
        told[way] += 1
        return getattr(content, way)()

    ways = {way: partial(counted, way) for way in ("looked_at", "opened", "searched")}
    found = read_table_file(content._replace(**ways), Wish(columns))
    assert found.names == ["n", "m", "day"] and found.table.num_rows == 1
    wanted = found.names if columns is None else [one for one in columns if one in found.names]
    assert found.table.column_names == wanted and told == times
