"""A folder with a log of its own is told for what it is, and never read as the files that lie in it."""

import json

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlnb.sources.pinned_files import pin
from mlnb.sources.source import read_source
from mlnb.sources.url import pin_url
from mlnb.store.errors import InputChangedError, UsageError
from mlnb.store.objects import open_store


def has_reader(kind):
    "Whether DuckDB has a reader for a kind of table, without fetching it."
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as database:
        try:
            database.execute(f"LOAD {kind}")
        except duckdb.Error:
            return False
    return True


def commit(folder, version, *actions):
    "Write a version of a Delta table."
    (folder / "_delta_log").mkdir(parents=True, exist_ok=True)
    lines = "\n".join(map(json.dumps, actions)) + "\n"
    (folder / "_delta_log" / f"{version:020}.json").write_text(lines)


def added(folder, name, *rows):
    "Write a file of a Delta table, and the action that says so."
    pq.write_table(pa.table({"n": pa.array(rows, pa.int64())}), folder / name)
    size = (folder / name).stat().st_size
    return {
        "add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True}
    }


@pytest.fixture
def delta(tmp_path):
    "A Delta table whose second version replaced the rows of the first."
    folder = tmp_path / "lake"
    folder.mkdir()
    field = {"name": "n", "type": "long", "nullable": True, "metadata": {}}
    about = {
        "id": "a",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": [field]}),
        "partitionColumns": [],
        "configuration": {},
        "createdTime": 0,
    }
    protocol = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}
    commit(folder, 0, protocol, {"metaData": about}, added(folder, "a.parquet", 1, 2))
    removed = {"remove": {"path": "a.parquet", "deletionTimestamp": 0, "dataChange": True}}
    commit(folder, 1, removed, added(folder, "b.parquet", 3))
    return folder


@pytest.fixture
def iceberg(tmp_path):
    "What an Iceberg table looks like from outside."
    (tmp_path / "ice" / "metadata").mkdir(parents=True)
    (tmp_path / "ice" / "data").mkdir()
    (tmp_path / "ice" / "metadata" / "v1.metadata.json").write_text("{}")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "ice" / "data" / "a.parquet")
    return tmp_path / "ice"


def read(root, place, **options):
    store = open_store(root / "store")
    return read_source(root, pin(store, root, place, "raw"), store=store, **options)


@pytest.mark.parametrize(("kind", "place"), [("delta", "lake"), ("iceberg", "ice")])
@pytest.mark.parametrize("as_", [None, "arrow", "duckdb"])
def test_a_lake_table_without_its_reader_is_said_to_be_one(tmp_path, delta, iceberg, kind, place, as_):
    if has_reader(kind):
        pytest.skip("its reader is installed")
    with pytest.raises(UsageError, match=f"{place} is an? {kind.title()} table") as caught:
        read(tmp_path, place, as_=as_)
    assert f"duckdb.sql('INSTALL {kind}')" in caught.value.mend


def test_a_lake_table_is_pinned_whole_and_given_as_paths(tmp_path, delta):
    names = [path.relative_to(delta).as_posix() for path in read(tmp_path, "lake", as_="path")]
    log = [f"_delta_log/{version:020}.json" for version in (0, 1)]
    assert names == [*log, "a.parquet", "b.parquet"]
    store = open_store(tmp_path / "store")
    before = pin(store, tmp_path, "lake", "raw")
    commit(delta, 2, added(delta, "c.parquet", 4))
    assert pin(store, tmp_path, "lake", "raw") != before
    (delta / "a.parquet").write_bytes(b"changed")
    with pytest.raises(InputChangedError):
        read_source(tmp_path, before, as_="path", store=store)


@pytest.mark.parametrize(
    ("name", "kind"), [("_delta_log/0.json", "delta"), ("metadata/v1.metadata.json", "iceberg")]
)
def test_a_lake_table_at_a_url_is_refused_with_the_query_that_reads_it(tmp_path, name, kind):
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{kind}/{name}", b"{}")
    memory.pipe(f"/{kind}/a.parquet", b"PAR1")
    with pytest.raises(UsageError, match=f"is an? {kind.title()} table") as caught:
        pin_url(open_store(tmp_path / "store"), f"memory://{kind}", "raw")
    assert f"sql = SELECT * FROM {kind}_scan('memory:///{kind}')" in caught.value.mend


@pytest.mark.skipif(not has_reader("delta"), reason="DuckDB's reader of Delta tables is not installed")
def test_a_delta_table_has_the_rows_of_its_newest_version(tmp_path, delta):
    assert read(tmp_path, "lake")["n"].tolist() == [3]
    assert read(tmp_path, "lake", as_="arrow").to_pydict() == {"n": [3]}
    assert read(tmp_path, "lake", columns=["n"], as_="duckdb").fetchall() == [(3,)]
    with pytest.raises(UsageError, match="no column `m`"):
        read(tmp_path, "lake", columns=["m"])
