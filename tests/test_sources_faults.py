"""What goes wrong when a source is asked: each fault is one sentence with its mend, nothing wrong is kept,
and the pin of before still stands."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from source_kinds import SETTINGS, Server, write_table

from mlnb.sources import pinned_files
from mlnb.sources.last_pin import ask_source, last_pin, pin_path
from mlnb.store.errors import InputChangedError, StoreError, UsageError
from mlnb.store.settings import project_store, read_project


@pytest.fixture
def server():
    one = Server()
    yield one
    one.close()


@pytest.fixture
def source_of(tmp_path):
    "A project with one source `raw`; gives a function that asks it."

    def of(text):
        (tmp_path / "settings.ini").write_text(f"{SETTINGS}[source.raw]\n{text}\n")
        project = read_project(tmp_path)
        store = project_store(project)
        return lambda **how: ask_source(store, project, "default", "raw", **how)

    return of


def pin_of(tmp_path):
    project = read_project(tmp_path)
    return last_pin(project_store(project), project, "default", "raw")


def refused(call, kind, *words):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.mend and caught.value.exit_code == kind.exit_code
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.mark.slow
def test_a_locked_database_passes_and_a_wrong_query_does_not(tmp_path, source_of):
    fetch = source_of("sql = SELECT n FROM t\nconnection = sqlite:///shop.db?timeout=0.05")
    write_table(tmp_path, 1)
    first = fetch()
    holder = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert refused(fetch, StoreError, "locked", "nothing holds it").exit_code == 69
    holder.close()
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("ALTER TABLE t RENAME COLUMN n TO m")
    database.close()
    assert refused(fetch, UsageError, "no such column", "correct `sql`").exit_code == 2
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("DROP TABLE t")
    database.close()
    refused(fetch, UsageError, "no such table", "correct `sql`")
    (tmp_path / "shop.db").write_bytes(b"no database at all, but a text of some length")
    refused(fetch, StoreError, "not a database")
    assert pin_of(tmp_path) == first


def test_a_new_column_is_another_answer(tmp_path, source_of):
    fetch = source_of("sql = SELECT * FROM t\nconnection = sqlite:///shop.db")
    write_table(tmp_path, 1)
    first = fetch()
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("ALTER TABLE t ADD COLUMN m INTEGER")
    database.close()
    assert fetch().partitions != first.partitions


@pytest.mark.slow
def test_a_duckdb_file_that_another_process_writes_passes(tmp_path, source_of):
    import duckdb

    duckdb.connect(str(tmp_path / "shop.duckdb")).close()
    fetch = source_of("sql = SELECT 1 AS n\nconnection = duckdb:shop.duckdb")
    code = (
        "import duckdb, sys; c = duckdb.connect('shop.duckdb'); print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **pipes) as holder:
        holder.stdout.readline()
        refused(fetch, StoreError, "lock")
        holder.stdin.close()
    assert fetch().partitions
    refused(source_of("sql = SELECT * FROM 'none/*.csv'"), UsageError, "No files found")


@pytest.mark.parametrize(
    ("mode", "kind", "word"),
    [
        ("gone", UsageError, "has nothing at"),
        ("broken", StoreError, "cannot be read at"),
        ("partial", StoreError, "cannot be read at"),
        ("round", StoreError, "cannot be read at"),
    ],
)
def test_a_web_server_that_fails_leaves_the_pin_of_before(tmp_path, source_of, server, mode, kind, word):
    fetch = source_of(f"url = {server.url}")
    first = fetch()
    server.mode = mode
    refused(fetch, kind, word)
    assert pin_of(tmp_path) == first
    copies = [path.read_bytes() for path in (tmp_path / ".mlnb" / "cache" / "sources").rglob("*.csv")]
    assert copies == [b"n\n1\n"] and not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize("kind", ["url", "sql"])
def test_a_source_that_never_answers_is_given_up_and_named(tmp_path, source_of, server, kind):
    write_table(tmp_path, 1)
    texts = {
        "url": f"url = {server.url}",
        "sql": "sql = SELECT n FROM t\nconnection = sqlite:///shop.db?timeout=60",
    }
    fetch = source_of(f"{texts[kind]}\ntimeout = 1s")
    first = fetch()
    server.mode, holder = "mute", sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    error = refused(fetch, StoreError, "`raw` gave no answer within 1 s")
    holder.close()
    assert error.exit_code == 69 and "`timeout` in [source.raw]" in error.mend
    assert pin_of(tmp_path) == first


def test_a_redirect_is_followed(source_of, server):
    server.mode = "moved"
    assert [p.bytes for p in source_of(f"url = {server.url}")().partitions] == [4]


def test_a_folder_that_vanishes_while_it_is_read_is_said(tmp_path, source_of, monkeypatch):
    fetch = source_of("path = data")
    for name in ("a", "b"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.csv").write_text(f"{name}\n1\n")
    real = pinned_files.sha256_file

    def remove(path):
        shutil.rmtree(tmp_path / "data")
        return real(path)

    monkeypatch.setattr(pinned_files, "sha256_file", remove)
    refused(fetch, InputChangedError, "a.csv of source `raw` went away")
    monkeypatch.setattr(pinned_files, "sha256_file", real)
    refused(fetch, UsageError, "has no file at data")


def test_a_file_that_grows_while_it_is_hashed_is_never_pinned(tmp_path, source_of, monkeypatch):
    (tmp_path / "a.csv").write_text("n\n1\n")
    real, n_left = pinned_files.sha256_file, [5]

    def grow(path):
        digest = real(path)
        if n_left[0]:
            n_left[0] -= 1
            with open(path, "a") as file:
                file.write("2\n")
        return digest

    monkeypatch.setattr(pinned_files, "sha256_file", grow)
    fetch = source_of("path = a.csv")
    refused(fetch, InputChangedError, "changes while it is read")
    n_left[0] = 1
    (partition,) = fetch().partitions
    assert partition.digest == real(tmp_path / "a.csv")
    assert partition.bytes == (tmp_path / "a.csv").stat().st_size


@pytest.mark.parametrize(
    ("number", "kind"), [(13, UsageError), (5, StoreError), (116, StoreError), (2, InputChangedError)]
)
def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, source_of, monkeypatch, number, kind):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.csv").write_text("n\n1\n")
    fetch, real = source_of("path = data"), os.scandir
    assert len(fetch().partitions) == 2

    def refuse(path="."):
        if str(path).endswith("data/b"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused(fetch, kind, "raw")


def test_two_that_ask_at_once_leave_one_whole_pin(tmp_path, source_of):
    write_table(tmp_path, 1, 2, 3)
    fetch = source_of("sql = SELECT n FROM t\nconnection = sqlite:///shop.db")
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.partitions[0].digest for one in found}) == 1 and pin_of(tmp_path) in found


@pytest.mark.slow
@pytest.mark.parametrize("point", ["object.half", "object.named", "file.half", "file.flushed", "file.named"])
def test_killed_while_it_is_pinned_leaves_the_pin_of_before_or_the_new_one(tmp_path, source_of, point):
    write_table(tmp_path, 1)
    fetch = source_of("sql = SELECT n FROM t\nconnection = sqlite:///shop.db\nrefresh = manual")
    first = fetch()
    write_table(tmp_path, 2)
    code = (
        "from pathlib import Path; from mlnb.sources.last_pin import ask_source\n"
        "from mlnb.store.settings import project_store, read_project\n"
        "p = read_project(Path.cwd()); ask_source(project_store(p), p, 'default', 'raw', is_forced=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "MLNB_CRASH": point})
    assert done.returncode == -signal.SIGKILL
    assert (pin_of(tmp_path) == first) == (point != "file.named")
    assert fetch() == pin_of(tmp_path)
    assert fetch(is_forced=True).partitions != first.partitions


def test_a_pin_of_another_source_or_profile_is_none(tmp_path, source_of):
    fetch = source_of("sql = SELECT 1 AS n\nrefresh = manual\n[profile.ci.demo]\n")
    fetch()
    project = read_project(tmp_path)
    store = project_store(project)
    there = pin_path(store, "ci", "raw")
    there.parent.mkdir(parents=True)
    there.write_bytes(pin_path(store, "default", "raw").read_bytes())
    assert last_pin(store, project, "ci", "raw") is None
    assert last_pin(store, project, "default", "raw") is not None
