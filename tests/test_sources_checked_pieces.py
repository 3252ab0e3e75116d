"""Any part of a pinned file is what was pinned, whatever is written to the file meanwhile, and a Parquet
file is never held whole."""

import hashlib
import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.sources import checked_pieces
from mlnb.sources.checked_pieces import PieceFile, compared_pieces
from mlnb.sources.content import pinned_content
from mlnb.sources.partition import Partition
from mlnb.sources.source import read_source
from mlnb.sources.table_files import Wish, read_table_file
from mlnb.store.errors import InputChangedError, UsageError


def altered():
    return InputChangedError("it changed", "run again")


@settings(max_examples=30, deadline=None)
@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 70), st.integers(-1, 70), st.sampled_from([0, 1, 2])), max_size=8),
    st.integers(1, 20),
)
def test_pieces_are_read_as_a_file_is(data, steps, size):
    own, checked_pieces._PIECE_SIZE = checked_pieces._PIECE_SIZE, size
    try:
        plain, pieces = io.BytesIO(data), PieceFile(io.BytesIO(data), altered)
        assert pieces.digest() == hashlib.sha256(data).hexdigest()
        for offset, n, whence in steps:
            offset = -offset if whence == 2 else offset
            assert pieces.seek(offset, whence) == plain.seek(offset, whence)
            assert pieces.read(n) == plain.read(n) and pieces.tell() == plain.tell()
    finally:
        checked_pieces._PIECE_SIZE = own


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.data(), st.integers(1, 20))
def test_what_was_written_meanwhile_is_never_given(data, drawn, size):
    own, checked_pieces._PIECE_SIZE = checked_pieces._PIECE_SIZE, size
    try:
        later, at = bytearray(data), drawn.draw(st.integers(0, len(data) - 1))
        later[at] ^= drawn.draw(st.integers(1, 255))
        cut = drawn.draw(st.sampled_from([bytes(later), data[:at], bytes(later) + b"x"]))
        file = io.BytesIO(data)
        with compared_pieces(lambda: file, hashlib.sha256(data).hexdigest(), altered) as pieces:
            file.seek(0)
            file.truncate()
            file.write(cut)
            for begin in range(len(data)):
                pieces.seek(begin)
                try:
                    assert pieces.read(1) == data[begin : begin + 1]
                except InputChangedError:
                    assert begin // size >= at // size
    finally:
        checked_pieces._PIECE_SIZE = own


def wide(path, n=200_000):
    "A Parquet file of eight columns that do not pack, and what is pinned of it."
    numbers = np.random.default_rng(0)
    pq.write_table(
        pa.table({f"c{k}": numbers.random(n) for k in range(8)}),
        path,
        row_group_size=n // 8,
        use_dictionary=False,
    )
    return Partition(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


def test_parquet_that_is_written_to_after_its_names_were_read_is_refused(tmp_path, monkeypatch):
    given_, read = wide(tmp_path / "a.parquet", 8_000), pq.ParquetFile.read

    def read_late(self, *how):
        data = bytearray((tmp_path / "a.parquet").read_bytes())
        data[1_000] ^= 1
        with (tmp_path / "a.parquet").open("r+b") as file:
            file.write(data)
        return read(self, *how)

    monkeypatch.setattr(pq.ParquetFile, "read", read_late)
    with pytest.raises(InputChangedError, match=r"a\.parquet changed after the plan"):
        read_source(tmp_path, [given_])


@pytest.mark.parametrize("as_", [None, "arrow"])
def test_parquet_with_a_page_that_is_damaged_is_refused_by_name(tmp_path, as_):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(1_000)}), path, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    pinned = Partition("a.parquet", len(data), hashlib.sha256(data).hexdigest())
    with pytest.raises(UsageError, match=r"a\.parquet cannot be read: could not verify page"):
        read_source(tmp_path, [pinned], as_=as_)


def test_columns_of_a_parquet_file_are_read_without_the_others(tmp_path):
    pinned = wide(tmp_path / "a.parquet")
    pool = pa.default_memory_pool()
    read_table_file(pinned_content(tmp_path, pinned), Wish(["c1"]))  # what is imported counts for nobody
    tracemalloc.start()
    before = pool.bytes_allocated()
    try:
        table = read_table_file(pinned_content(tmp_path, pinned), Wish(["c1"])).table
        top = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pool.bytes_allocated() - before < 2 * table.nbytes
    assert top < table.nbytes < pinned.bytes // 7  # of what Python holds, pieces and their states too


@pytest.mark.parametrize("columns", [None, ["s"], ["d", "a.b"], ["missing", "s"]])
def test_parquet_is_what_pyarrow_reads(tmp_path, columns):
    whole = pa.table(
        {
            "a.b": [1, 2, 3],
            "s": [{"x": 1, "y": [1, None]}, None, {"x": 2, "y": []}],
            "d": pa.array(["u", None, "u"]).dictionary_encode(),
            "missing": pa.nulls(3),
        }
    )
    pq.write_table(whole, tmp_path / "a.parquet", row_group_size=2)
    data = (tmp_path / "a.parquet").read_bytes()
    pinned = Partition("a.parquet", len(data), hashlib.sha256(data).hexdigest())
    found = read_source(tmp_path, [pinned], columns, "arrow")
    assert found.equals(pq.read_table(tmp_path / "a.parquet", columns=columns).select(found.column_names))
    assert found.column_names == (whole.column_names if columns is None else columns)
