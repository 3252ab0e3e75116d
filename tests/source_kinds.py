"""Kinds of sources for tests: how each is declared, served, and put out of reach."""

import http.server
import sqlite3
import threading

import pytest

SETTINGS = "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n"


def write_table(root, *rows, columns="n"):
    (root / "shop.db").unlink(missing_ok=True)
    with sqlite3.connect(root / "shop.db") as database:
        database.execute(f"CREATE TABLE t ({columns})")
        database.executemany("INSERT INTO t VALUES (?)", [(row,) for row in rows])
    database.close()


class Server:
    "A web server whose answers are chosen; counts how often it is asked."

    def __init__(self):
        self.mode, self.body, self.n_asked, owner = "ok", b"n\n1\n", 0, self
        self.is_over = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.n_asked += 1
                getattr(owner, owner.mode)(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/a.csv"

    def send(self, handler, state, length=None, **headers):
        handler.send_response(state)
        handler.send_header("Content-Length", str(len(self.body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET" and state == 200:
            handler.wfile.write(self.body)

    def ok(self, handler):
        self.send(handler, 200)

    def gone(self, handler):
        self.send(handler, 404, 0)

    def broken(self, handler):
        self.send(handler, 500, 0)

    def partial(self, handler):
        self.send(handler, 200, len(self.body) + 100)

    def moved(self, handler):
        if handler.path.endswith("/new.csv"):
            self.send(handler, 200)
        else:
            self.send(handler, 302, 0, Location="/new.csv")

    def round(self, handler):
        self.send(handler, 302, 0, Location=handler.path)

    def mute(self, handler):
        self.is_over.wait(60)

    def close(self):
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()


class Kind:
    "How a source of some kind is declared, served, and put out of reach."

    def __init__(self, root, server):
        self.root, self.server = root, server


class SqliteKind(Kind):
    state = "pinned"

    def text(self):
        return "sql = SELECT n FROM t ORDER BY n\nconnection = sqlite:///shop.db"

    def serve(self):
        write_table(self.root, 1, 2)

    def remove(self):
        (self.root / "shop.db").unlink()


class DuckdbKind(SqliteKind):
    def text(self):
        return "sql = SELECT n FROM t ORDER BY n\nconnection = duckdb:shop.duckdb"

    def serve(self):
        import duckdb

        with duckdb.connect(str(self.root / "shop.duckdb")) as database:
            database.execute("CREATE TABLE t AS SELECT 1 AS n")

    def remove(self):
        (self.root / "shop.duckdb").unlink()


class HttpKind(Kind):
    state = "pinned"

    def text(self):
        return f"url = {self.server.url}"

    def serve(self):
        self.server.mode = "ok"

    def remove(self):
        self.server.mode = "broken"


class FolderUrlKind(Kind):
    state = "pinned"

    def text(self):
        return f"url = file://{self.root}/lake"

    def serve(self):
        (self.root / "lake").mkdir()
        (self.root / "lake" / "a.csv").write_text("n\n1\n")

    def remove(self):
        (self.root / "lake").rename(self.root / "elsewhere")


class FileKind(FolderUrlKind):
    state = "file"

    def text(self):
        return "path = lake/a.csv"


class FolderKind(FileKind):
    def text(self):
        return "path = lake"


KINDS = [
    SqliteKind,
    FileKind,
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in (DuckdbKind, HttpKind, FolderUrlKind, FolderKind)
    ),
]  # the first two stand for all when time is short
