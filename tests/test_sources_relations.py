"""A relation of DuckDB over pinned files holds what `load` gives without it, and nothing is copied."""

import gzip

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlnb.sources.pinned_files import pin
from mlnb.sources.reading import FileReading, reading_marks
from mlnb.sources.source import read_source
from mlnb.store.errors import InputChangedError, UsageError
from mlnb.store.objects import open_store


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def both(root, pattern, reading=None, **options):
    "What a source gives as a table and as a relation."
    store = open_store(root / "store")
    pinned = [*reading_marks(reading or FileReading()), *pin(store, root, pattern, "raw")]
    given = [read_source(root, pinned, as_=form, store=store, **options) for form in ("arrow", "duckdb")]
    return given[0], given[1].to_arrow_table()


def parquet(**columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


SOURCES = {
    "csv": {"d/a.csv": 'id,note\n007,"two\r\nlines"\nNA,\n', "d/b.csv": "note,id\nx,1\n"},
    "keys": {"d/day=07/a.csv": "n,m\n1,2\n", "d/day=08/a.csv": "n,m\n3,4\n"},
    "gzip": {"d/a.csv.gz": gzip.compress(b"n,m\n1,2\n")},
    "tsv": {"d/a.tsv": "n\tm\n1\t2\n"},
    "parquet": {"d/a.parquet": parquet(n=[1, 2], s=["x", None]), "d/b.parquet": parquet(s=["y"], n=[3])},
    "keys of parquet": {"d/day=07/a.parquet": parquet(n=[1]), "d/day=08/a.parquet": parquet(n=[2])},
    "a key that is repeated": {"d/day=07/a.parquet": parquet(n=[1], day=["07"])},
    "a new column": {"d/a.parquet": parquet(n=[1]), "d/b.parquet": parquet(n=[2], m=[0.5])},
}


@pytest.mark.parametrize("situation", SOURCES)
def test_a_relation_holds_what_the_table_holds(tmp_path, situation):
    write(tmp_path, SOURCES[situation])
    table, relation = both(tmp_path, "d")
    assert relation.column_names == table.column_names and relation.to_pylist() == table.to_pylist()
    last = table.column_names[-1]
    assert both(tmp_path, "d", columns=[last])[1].to_pylist() == table.select([last]).to_pylist()


CELLS = st.text(st.sampled_from('a ,;"\r\n\té'), max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4))
def test_a_relation_of_text_has_every_cell_as_it_is(tmp_path, rows):
    lines = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [["a", "b"], *rows])
    write(tmp_path, {"a.csv": "\n".join(lines) + "\n"})
    table, relation = both(tmp_path, "a.csv")
    assert relation.to_pylist() == table.to_pylist() == [dict(zip("ab", row, strict=True)) for row in rows]


def test_a_relation_has_the_types_of_a_schema(tmp_path):
    write(tmp_path, {"a.csv": "n;price;at;ok;s\n7;1,5;2026-11-23 10:00:00;true;007\n;;;;\n"})
    columns = {"n": "Int64", "price": "float64", "at": "datetime64[us]", "ok": "boolean", "s": "str"}
    reading = FileReading("csv", ";", decimal=",", types="schema", columns=tuple(columns.items()))
    table, relation = both(tmp_path, "a.csv", reading)
    assert relation.to_pylist() == table.to_pylist()
    assert relation.schema.types[:4] == table.schema.types[:4]


def test_a_relation_is_asked_by_name_and_reads_the_files_themselves(tmp_path):
    write(tmp_path, {"a.parquet": parquet(n=[1, 2])})
    store = open_store(tmp_path / "store")
    payments = read_source(tmp_path, pin(store, tmp_path, "a.parquet", "raw"), as_="duckdb", store=store)
    assert duckdb.sql("SELECT sum(n) AS total FROM payments").fetchall() == [(3,)]
    assert not (store.root / "cache" / "sources").exists() and payments.columns == ["n"]


def test_a_relation_over_what_changed_is_refused(tmp_path):
    write(tmp_path, {"a.csv": "n,m\n1,2\n"})
    store = open_store(tmp_path / "store")
    pinned = pin(store, tmp_path, "a.csv", "raw")
    write(tmp_path, {"a.csv": "n,m\n1,3\n"})
    with pytest.raises(InputChangedError):
        read_source(tmp_path, pinned, as_="duckdb", store=store)


@pytest.mark.parametrize(
    ("files", "reading"),
    [
        ({"a.jsonl": '{"n": 1}\n'}, FileReading()),
        ({"a.csv": "n,m\n1,2\n"}, FileReading(types="infer")),
        ({"a.csv": "n,é\n1,2\n".encode("latin-1")}, FileReading(encoding="iso8859-1")),
        ({"a.csv": "n\n1\n\n2\n"}, FileReading()),
        ({"a[1].csv": "n,m\n1,2\n"}, FileReading()),
    ],
    ids=["JSON lines", "guessed types", "latin-1", "one column", "a pattern"],
)
def test_what_duckdb_reads_otherwise_is_refused_and_the_mend_helps(tmp_path, files, reading):
    write(tmp_path, files)
    store = open_store(tmp_path / "store")
    pinned = [*reading_marks(reading), *pin(store, tmp_path, "a*", "raw")]
    with pytest.raises(UsageError) as caught:
        read_source(tmp_path, pinned, as_="duckdb", store=store)
    (call,) = [part for part in caught.value.mend.split("`") if "=" in part]
    assert call == 'as_="arrow"' and read_source(tmp_path, pinned, as_="arrow", store=store).num_rows


def test_other_kinds_are_no_relation(tmp_path):
    write(tmp_path, {"a.json": "1", "a.bin": "x"})
    store = open_store(tmp_path / "store")
    for name in ("a.json", "a.bin"):
        with pytest.raises(UsageError, match="are for tables"):
            read_source(tmp_path, pin(store, tmp_path, name, "raw"), as_="duckdb", store=store)
    days = {"d/a.parquet": parquet(n=[1]), "d/b.parquet": parquet(n=["x"])}
    write(tmp_path, days)
    with pytest.raises(UsageError, match=r"column `n` is int64 in d/a\.parquet and string in d/b\.parquet"):
        read_source(tmp_path, pin(store, tmp_path, "d", "raw"), as_="duckdb", store=store)


LARGE = 2**53 + 1
OTHERWISE = {
    "blank lines above the header": {"d/a.csv": "\n\nn,m\n1,2\n"},
    "quote without end": {"d/a.csv": 'n,m\n1,2\n"3,4\n'},
    "quote without end, packed": {"d/a.csv.gz": gzip.compress(b'n,m\n1,2\n"3,4\n')},
    "quote in a cell": {"d/a.csv": 'n,m\n1",2\n'},
    "no name": {"d/a.csv": ",m\n1,2\n"},
    "no name in parquet": {"d/a.parquet": parquet(**{"": [1], "n": [2]})},
    "capitals": {"d/a.csv": "n,N\n1,2\n"},
    "capitals in parquet": {"d/a.parquet": parquet(n=[1], N=[2])},
    "capitals in two files": {"d/a.parquet": parquet(n=[1]), "d/b.parquet": parquet(N=[2], n=[3])},
    "duration": {"d/a.parquet": parquet(n=pa.array([1], pa.duration("us")))},
    "durations in a list": {"d/a.parquet": parquet(n=pa.array([[1]], pa.list_(pa.duration("s"))))},
    "many digits": {"d/a.parquet": parquet(n=pa.array([1], pa.decimal256(50, 2)))},
    "rounded": {"d/a.parquet": parquet(n=[LARGE]), "d/b.parquet": parquet(n=[0.5])},
    "rounded negative": {"d/a.parquet": parquet(n=[0.5]), "d/b.parquet": parquet(n=[-LARGE, 1])},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_a_file_holds_that_duckdb_reads_otherwise_is_refused(tmp_path, name):
    write(tmp_path, OTHERWISE[name])
    pinned = pin(open_store(tmp_path / "store"), tmp_path, "d", "raw")
    with pytest.raises(UsageError):
        read_source(tmp_path, pinned, as_="duckdb")
    try:
        found = read_source(tmp_path, pinned, as_="arrow")
        assert len(found)
    except UsageError as error:  # what no reader takes
        assert "quote" in name or "rounded" in name
        assert "a.csv" in error.message or "and not all of" in error.message


def test_whole_numbers_and_fractions_of_two_files_are_one_column_where_it_is_exact(tmp_path):
    none = pa.array([None, None], pa.int64())
    write(tmp_path, {"d/a.parquet": parquet(n=[2**53, -7]), "d/b.parquet": parquet(n=[0.5])})
    write(tmp_path, {"d/c.parquet": parquet(n=none), "d/e.parquet": parquet(n=pa.array([], pa.int64()))})
    table, relation = both(tmp_path, "d")
    assert relation["n"].to_pylist() == table["n"].to_pylist() == [2.0**53, -7, 0.5, None, None]
