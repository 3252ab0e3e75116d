"""URLs and queries: what is pinned is what is read, in every back end, and no password gets anywhere."""

import http.server
import re
import sqlite3
import threading

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlnb.sources.content import copy_path
from mlnb.sources.source import read_source
from mlnb.sources.sql import bare_query, has_order, is_query, pin_sql
from mlnb.sources.url import pin_url
from mlnb.store.errors import InputChangedError, IntegrityError, StoreError, UsageError
from mlnb.store.objects import open_store
from mlnb.store.url import shown_url


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def lake():
    "A folder in fsspec's memory."
    memory = fsspec.filesystem("memory")
    memory.pipe(
        {
            "/lake/day=1/a.csv": b"n\n1\n",
            "/lake/day=2/a.csv": b"n\n2\n",
            "/lake/.hidden/a.csv": b"n\n9\n",
            "/lake/_SUCCESS": b"",
        }
    )
    yield memory
    memory.rm("/lake", recursive=True)


# URLs


@pytest.mark.parametrize(
    ("url", "numbers"),
    [
        ("memory://lake", ["1", "2"]),
        ("memory://lake/day=*/*.csv", ["1", "2"]),
        ("memory://lake/day=2", ["2"]),
        ("memory://lake/day=1/a.csv", ["1"]),
    ],
)
def test_url_file_folder_and_pattern(store, tmp_path, lake, url, numbers):
    assert read_source(tmp_path, pin_url(store, url, "raw"), store=store)["n"].tolist() == numbers


def test_url_folder_of_partitions_has_a_column_for_each_key(store, tmp_path, lake):
    assert read_source(tmp_path, pin_url(store, "memory://lake", "raw"), store=store).to_dict("list") == {
        "n": ["1", "2"],
        "day": ["1", "2"],
    }


def test_url_of_a_file_and_as_path(store, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    pinned = pin_url(store, f"file://{tmp_path}/a.bin", "raw")
    (tmp_path / "a.bin").write_bytes(b"\2")
    (path,) = read_source(tmp_path, pinned, store=store)
    assert path.read_bytes() == b"\0\1" and path.name == "a.bin"
    assert pin_url(store, f"file://{tmp_path}/a.bin", "raw") != pinned


def test_altered_copy_is_never_read_and_fetched_again(store, tmp_path, lake):
    pinned = pin_url(store, "memory://lake/day=1/a.csv", "raw")
    copy = copy_path(store, pinned[0])
    copy.chmod(0o600)
    copy.write_bytes(b"n\n7\n")
    for as_ in (None, "arrow", "path"):
        with pytest.raises((IntegrityError, StoreError)):
            read_source(tmp_path, pinned, as_=as_, store=store)
    assert pin_url(store, "memory://lake/day=1/a.csv", "raw") == pinned
    assert read_source(tmp_path, pinned, store=store)["n"].tolist() == ["1"]


def test_overlay_reads_the_copy_of_the_store_below(store, tmp_path, lake):
    overlay = open_store(tmp_path / "overlay", below=store)
    pinned = pin_url(store, "memory://lake", "raw")
    assert read_source(tmp_path, pinned, store=overlay)["n"].tolist() == ["1", "2"]


def test_url_without_a_store_is_pinned_and_nothing_is_written(tmp_path, lake):
    store = open_store(tmp_path / "none", create=False)
    assert len(pin_url(store, "memory://lake", "raw")) == 2 and not (tmp_path / "none").exists()


@pytest.mark.parametrize("state", [404, 403, 500])
def test_server_that_refuses_is_said_without_the_password(store, state):
    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(state)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UsageError if state == 404 else StoreError) as caught:
            pin_url(store, f"http://ana:hunter2@127.0.0.1:{server.server_port}/a.csv?token=hunter2", "raw")
    finally:
        server.shutdown()
        server.server_close()
    assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None and caught.value.mend


def test_file_that_changes_while_it_is_fetched_is_refused(store):
    class Restless(http.server.BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self):
            type(self).asked += 1
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.send_header("ETag", f'"{self.asked}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"n\n1\n")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Restless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputChangedError, match="changes while it is read"):
            pin_url(store, f"http://127.0.0.1:{server.server_port}/a.csv", "raw")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("memory://nowhere/*.csv", "has nothing at"),
        ("xyz://a", "unknown kind of URL"),
        ("memory://nowhere", "has nothing at"),
    ],
)
def test_url_without_data_is_a_usage_error(store, url, error):
    with pytest.raises(UsageError, match=error):
        pin_url(store, url, "raw")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/a.csv?t=p#p", "https://h/a.csv"),
        ("sftp://u:p@h:22/a b.csv", "sftp://h:22/a b.csv"),
        ("s3://bucket/a@b/c.csv", "s3://bucket/a@b/c.csv"),
        ("ftp://u:p@ss@h/a", "ftp://h/a"),
    ],
)
def test_shown_url_has_no_secret(url, shown):
    assert shown_url(url) == shown


@pytest.mark.slow
def test_bucket_behind_a_real_s3_server_is_pinned_by_content_and_fetched_once(store, tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.config.set_conf_env(fsspec.config.conf)
    try:
        bucket = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket.mkdir("lake")
        for day in (1, 2):
            with bucket.open(f"lake/payments/day={day}/a.parquet", "wb") as file:
                pq.write_table(pa.table({"n": [day]}), file)
        pinned = pin_url(store, "s3://lake/payments", "raw")
        assert read_source(tmp_path, pinned, store=store).to_dict("list") == {"n": [1, 2], "day": ["1", "2"]}
        before = {p.path: copy_path(store, p).stat().st_ino for p in pinned}
        assert pin_url(store, "s3://lake/payments", "raw") == pinned
        assert {p.path: copy_path(store, p).stat().st_ino for p in pinned} == before
        with bucket.open("lake/payments/day=2/a.parquet", "wb") as file:
            pq.write_table(pa.table({"n": [7]}), file)
        assert [
            a == b
            for a, b in zip(pinned, pin_url(store, "s3://lake/payments/*/*.parquet", "raw"), strict=True)
        ] == [True, False]
    finally:
        fsspec.config.conf.pop("s3", None)
        server.stop()


# queries


@pytest.fixture
def shop(tmp_path):
    "A SQLite file with three rows."
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE t (n INTEGER, shop TEXT, amount REAL, at TIMESTAMP)")
        database.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(3, "NA", 1.5, "2026-11-23"), (1, None, None, None), (2, "007", 2.5, None)],
        )
    database.close()
    return "sqlite:///shop.db"


def test_sql_without_order_is_the_same_whatever_the_order_of_rows(store, tmp_path, shop):
    first = pin_sql(store, tmp_path, "SELECT n, shop, amount FROM t", shop, "raw")
    with sqlite3.connect(tmp_path / "shop.db") as database:
        rows = database.execute("SELECT * FROM t ORDER BY n").fetchall()
        database.execute("DELETE FROM t")
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    database.close()
    assert pin_sql(store, tmp_path, "SELECT n, shop, amount FROM t", shop, "raw") == first
    ordered = pin_sql(store, tmp_path, "SELECT n FROM t ORDER BY n DESC", shop, "raw")
    assert read_source(tmp_path, ordered, store=store)["n"].tolist() == [3, 2, 1]


def test_duckdb_and_sqlite_give_equal_tables(store, tmp_path, shop):
    (tmp_path / "t.csv").write_text("n,shop,amount\n3,NA,1.5\n1,,\n2,007,2.5\n")
    other = pin_sql(
        store,
        tmp_path,
        "SELECT n, shop, amount FROM read_csv('t.csv', types = {'n': 'BIGINT', 'shop': 'VARCHAR', "
        "'amount': 'DOUBLE'})",
        None,
        "raw",
    )
    first = pin_sql(store, tmp_path, "SELECT n, shop, amount FROM t", shop, "raw")
    assert (
        read_source(tmp_path, first, as_="arrow", store=store).to_pylist()
        == read_source(tmp_path, other, as_="arrow", store=store).to_pylist()
    )


@pytest.mark.parametrize(
    "types",
    [
        "1::HUGEINT AS x",
        "1.5::DECIMAL(9, 2) AS x",
        "TIMESTAMPTZ '2026-01-01 00:00:00+02' AS x",
        "uuid '00000000-0000-0000-0000-000000000001' AS x",
        "[1, 2] AS x",
        "true AS x",
        "'b'::ENUM('a', 'b') AS x",
        "NULL AS x",
        "DATE '2026-01-01' AS x",
        "TIME '10:00' AS x",
        "'a'::BLOB AS x",
        "{'a': 1} AS x",
    ],
)
def test_duckdb_types_are_kept_in_equal_bytes(store, tmp_path, types):
    first, second = (pin_sql(store, tmp_path, f"SELECT {types}", None, "raw") for _ in range(2))
    assert first == second and read_source(tmp_path, first, as_="arrow", store=store).num_rows == 1


def test_answers_that_cannot_be_kept_are_refused_by_column(store, tmp_path, shop):
    with pytest.raises(UsageError, match=r"`x`.* of the types int and str") as caught:
        pin_sql(store, tmp_path, "SELECT n AS x FROM t UNION ALL SELECT 'a'", shop, "raw")
    assert "CAST" in caught.value.mend
    with pytest.raises(UsageError, match="the column `n` twice"):
        pin_sql(store, tmp_path, "SELECT n, n FROM t", shop, "raw")
    with pytest.raises(UsageError, match=r"cannot be kept"):
        pin_sql(store, tmp_path, "SELECT INTERVAL 1 DAY AS x", None, "raw")


def test_empty_answer_is_an_empty_table(store, tmp_path, shop):
    table = read_source(
        tmp_path,
        pin_sql(store, tmp_path, "SELECT n, shop FROM t WHERE n > 9", shop, "raw"),
        as_="arrow",
        store=store,
    )
    assert (table.num_rows, table.column_names) == (0, ["n", "shop"])


@pytest.mark.parametrize(
    ("query", "ordered", "reads"),
    [
        ("SELECT * FROM t ORDER BY 1", True, True),
        ("select 1 -- order by x", False, True),
        ("select 1 /* order by */", False, True),
        ("select ';' as x", False, True),
        ("WITH a AS (SELECT 1 ORDER BY 1) SELECT * FROM a", False, True),
        ("select row_number() over (order by n) from t", False, True),
        ("SELECT 'it''s order by' AS x", False, True),
        ("INSERT INTO t VALUES (1)", False, False),
        ("select 1; drop table t", False, False),
        ("copy t to 'x'", False, False),
        ("", False, False),
        ("FROM t", False, True),
    ],
)
def test_query_is_known_by_its_own_words(query, ordered, reads):
    assert (has_order(query), is_query(query)) == (ordered, reads), bare_query(query)


@pytest.mark.parametrize(
    "connection",
    [
        "sqlite:///shop.db?password=hunter2",
        "postgresql://ana:hunter2@127.0.0.1:9/x",
        "nodialect://ana:hunter2@h/x",
        "duckdb:hunter2.duckdb",
    ],
)
def test_connection_that_fails_keeps_its_password(store, tmp_path, monkeypatch, connection):
    monkeypatch.setenv("WAREHOUSE", connection)
    with pytest.raises((UsageError, StoreError)) as caught:
        pin_sql(store, tmp_path, "SELECT * FROM nowhere", "env:WAREHOUSE", "raw")
    if "duckdb" not in connection:
        assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_sql_never_changes_a_database(store, tmp_path, shop):
    before = (tmp_path / "shop.db").read_bytes()
    for query in ("DELETE FROM t", "SELECT 1 AS n; DELETE FROM t", "WITH x AS (SELECT 1) DELETE FROM t"):
        with pytest.raises(UsageError, match="not one statement that reads"):
            pin_sql(store, tmp_path, query, shop, "raw")
    assert (tmp_path / "shop.db").read_bytes() == before


def test_query_that_is_refused_is_asked_once_its_mend_is_followed(store, tmp_path):
    mends = {"SELECT 1 AS n; SELECT 2": "leave one statement", "SELEC 1 AS n": "begin it with SELECT"}
    for query, mend in mends.items():
        with pytest.raises(UsageError, match=mend):
            pin_sql(store, tmp_path, query, "duckdb:", "raw")
    pin_sql(store, tmp_path, "SELECT 1 AS n", "duckdb:", "raw")
    with pytest.raises(UsageError) as caught:
        pin_sql(store, tmp_path, "SELECT MAP {'k': 1} AS m", "duckdb:", "raw")
    [cast] = re.findall("`?(CAST\\(m AS TEXT\\))`?", caught.value.mend)
    pin_sql(store, tmp_path, f"SELECT {cast} AS m FROM (SELECT MAP {{'k': 1}} AS m)", "duckdb:", "raw")


def test_duckdb_file_is_asked_read_only_from_the_project_folder(store, tmp_path):
    import duckdb

    with duckdb.connect(str(tmp_path / "shop.duckdb")) as database:
        database.execute("CREATE TABLE t AS SELECT i AS n FROM range(3) r(i)")
    for connection in ("duckdb:shop.duckdb", "duckdb:///shop.duckdb", f"duckdb:{tmp_path}/shop.duckdb"):
        pinned = pin_sql(store, tmp_path, "SELECT n FROM t", connection, "raw")
        assert read_source(tmp_path, pinned, store=store)["n"].tolist() == [0, 1, 2]
