"""Sources in a run: pinned once, refused when they change, read in batches, and never with a password in the
store."""

import gc
import http.server
import json
import sqlite3
import threading

import pytest

from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan
from mlnb.flow.run import check_inputs, run_pipeline
from mlnb.flow.selection import select
from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.errors import DefinitionError
from mlnb.store.settings import project_store, read_project

# nbclient leaves the event loop of each thread, and its sockets, to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:Exception ignored in. <{what}")
    for what in ("function BaseEventLoop.__del__", "socket.socket fd", "zmq.")
]
READ = "from mlnb import load, metric\npaths = load('raw', as_='path')"
SAVE = (
    "metric('total', sum(int(p.read_text().split()[1]) for p in paths))\n"
    "metric('days', int(''.join(p.parent.name[4:] for p in paths) or 0))"
)
SQL = (
    "from mlnb import load, metric\nrows = load('raw', as_='arrow')['n'].to_pylist()\n"
    "metric('total', sum(rows))\nmetric('first', rows[0])"
)


def settings(source, more=""):
    return f"[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[source.raw]\n{source}\n{more}"


def write_day(root, day, n):
    (root / "data" / f"day={day}").mkdir(parents=True, exist_ok=True)
    (root / "data" / f"day={day}" / "a.csv").write_text(f"n\n{n}\n")


def run(folder, profile="default"):
    "Run pipeline `demo` in this process; its stage `sum`, and the lines that were said."
    project = read_project(folder.root)
    pipeline = require_sound(read_pipeline(project, "demo"))
    plan = make_plan(
        project, project_store(project), pipeline, profile, resolve(project, pipeline, profile, {}, {})
    )
    selection = select(pipeline)
    check_inputs(plan, selection)
    document = run_pipeline(plan, selection)
    gc.collect()
    return document.stages[0].as_dict(), "\n".join(plan.lines)


def everything_in(folder):
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("open(p, 'w').write('n\\n9\\n')", marks=pytest.mark.slow),
        pytest.param("os.remove(p)", marks=pytest.mark.slow),
        "open(p.replace('a.csv', 'b.csv'), 'w').write('n\\n9\\n')",
        "s = os.stat(p); open(p, 'w').write('n\\n9\\n'); os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))",
    ],
    ids=["rewritten", "removed", "joined by another", "rewritten with the same size and time"],
)
def test_source_that_changes_after_it_was_loaded_fails_the_stage_and_is_not_cached(make_project, change):
    project = make_project(
        {"10_sum.ipynb": [READ, f"import os\np = '../data/day=1/a.csv'\n{change}", SAVE]},
        settings("path = data"),
    )
    write_day(project.root, 1, 1)
    write_day(project.root, 2, 2)
    stage, _ = run(project)
    assert (stage["state"], stage["kind"]) == ("failed", "input_changed")
    assert "changed while the stage ran" in stage["error"]["evalue"]
    assert not list((project.root / ".mlnb" / "records").rglob("*.json"))


def test_source_that_changes_before_it_is_loaded_fails_the_stage(make_project, mlnb):
    project = make_project(
        {"10_sum.ipynb": ["open('../data/day=1/a.csv', 'w').write('n\\n9\\n')", READ, SAVE]},
        settings("path = data"),
    )
    write_day(project.root, 1, 1)
    failed = mlnb("run", "demo", "--json", cwd=project.root)
    assert (failed.code, failed.stage("sum")["kind"]) == (1, "input_changed")


def test_record_says_which_partitions_were_read(make_project):
    project = make_project({"10_sum.ipynb": [READ, SAVE]}, settings("path = data"))
    write_day(project.root, 1, 1)
    write_day(project.root, 2, 2)
    assert run(project)[0]["metrics"] == {"total": 3, "days": 12}
    (record,) = [json.loads(p.read_text()) for p in (project.root / ".mlnb" / "records").rglob("*.json")]
    assert [p[0] for p in record["sources"]["raw"]] == ["data/day=1/a.csv", "data/day=2/a.csv"]


def test_incremental_source_gives_each_partition_once_and_reports_what_moved(make_project):
    project = make_project({"10_sum.ipynb": [READ, SAVE]}, settings("path = data\nincremental = true"))

    def expect(state, days):
        stage, lines = run(project)
        assert (stage["state"], stage["metrics"]["days"]) == (state, days)
        return lines

    write_day(project.root, 1, 1)
    write_day(project.root, 2, 2)
    expect("committed", 12)
    expect("cached", 12)
    write_day(project.root, 4, 4)
    expect("committed", 4)
    write_day(project.root, 3, 3)
    write_day(project.root, 1, 10)
    lines = expect("committed", 13)
    assert "day=3/a.csv came late" in lines and "day=1/a.csv was changed" in lines
    expect("cached", 13)
    project.stage("nbs/10_sum.ipynb", READ, SAVE, "1 + 1")
    expect("committed", 13)


def test_incremental_failed_stage_gets_its_batch_again(make_project):
    project = make_project(
        {"10_sum.ipynb": [READ, "assert 'day=2' not in str(paths), 'bad day'", SAVE]},
        settings("path = data\nincremental = true"),
    )
    write_day(project.root, 1, 1)
    assert run(project)[0]["state"] == "committed"
    write_day(project.root, 2, 2)
    assert run(project)[0]["state"] == "failed"
    write_day(project.root, 3, 3)
    project.stage("nbs/10_sum.ipynb", READ, SAVE)
    assert run(project)[0]["metrics"]["days"] == 23


def make_table(root, *rows):
    with sqlite3.connect(root / "shop.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in rows])
    database.close()


@pytest.mark.slow
def test_sql_source_password_is_nowhere(make_project, mlnb):
    project = make_project(
        {"10_sum.ipynb": [SQL]}, settings("sql = SELECT n FROM t WHERE n < 100\nconnection = env:WAREHOUSE")
    )
    make_table(project.root, 3, 1, 2)
    secret = "hunter2hunter2"
    done = mlnb("run", "demo", "--json", cwd=project.root, WAREHOUSE=f"sqlite:///shop.db?password={secret}")
    missing = mlnb("run", "demo", cwd=project.root, WAREHOUSE=f"postgresql://ana:{secret}@127.0.0.1:9/none")
    unset = mlnb("run", "demo", cwd=project.root)
    assert missing.code != 0
    assert unset.code == 2 and "WAREHOUSE" in unset.stdout
    shown = "".join(r.stdout + r.stderr for r in (done, missing, unset))
    assert secret not in shown and secret.encode() not in everything_in(project.root / ".mlnb")


def test_sql_source_runs_in_an_order_and_follows_the_table(make_project, monkeypatch):
    project = make_project(
        {"10_sum.ipynb": [SQL]}, settings("sql = SELECT n FROM t\nconnection = env:WAREHOUSE")
    )
    monkeypatch.setenv("WAREHOUSE", "sqlite:///shop.db")
    make_table(project.root, 3, 1, 2)
    assert (run(project)[0]["state"], run(project)[0]["metrics"]) == ("committed", {"total": 6, "first": 1})
    assert run(project)[0]["state"] == "cached"
    make_table(project.root, 4)
    stage, _ = run(project)
    assert (stage["state"], stage["metrics"]) == ("committed", {"total": 10, "first": 1})


@pytest.fixture
def served():
    "A web server: `/change` changes what it serves."
    content = [b"n\n1\n"]

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/change"):
                content[0] = b"n\n7\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content[0])))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[0])

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_url_source_is_copied_and_a_change_during_the_stage_fails_it(make_project, monkeypatch, served):
    secret = "hunter2hunter2"
    change = f"from urllib.request import urlopen\n_ = urlopen('http://{served}/change').read()"
    project = make_project(
        {"10_sum.ipynb": [READ, "metric('total', int(paths[0].read_text().split()[1]))", change]},
        settings("url = env:LAKE"),
    )
    monkeypatch.setenv("LAKE", f"http://ana:{secret}@{served}/day.csv?se=2026&sig={secret}#{secret}")
    assert run(project)[0]["kind"] == "input_changed"
    stage, _ = run(project)
    assert (stage["state"], stage["metrics"]) == ("committed", {"total": 7})
    monkeypatch.setenv("LAKE", f"http://ana:{secret}@127.0.0.1:9/day.csv?se=2026&sig={secret}")
    stage, _ = run(project)
    assert (stage["state"], stage["kind"], stage["unread"]["exit_code"]) == ("failed", "infra", 69)
    assert secret not in json.dumps(stage)
    assert secret.encode() not in everything_in(project.root / ".mlnb")


def test_source_with_a_digest_must_have_it(make_project):
    project = make_project(
        {"10_sum.ipynb": ["from mlnb import load\nload('raw@0123456789ab')"]}, settings("path = data")
    )
    write_day(project.root, 1, 1)
    stage, _ = run(project)
    assert (stage["state"], stage["kind"], stage["unread"]["exit_code"]) == ("failed", "user_error", 2)
    assert "not 0123456789ab" in stage["error"]["evalue"]


def test_settings_of_a_source_that_are_wrong_are_all_said_at_once(make_project, mlnb):
    project = make_project(
        {"10_a.ipynb": ["1"]},
        settings(
            "path = a.csv\nurl = sftp://ana:pw@host/a.csv\nincremental = yes",
            "[source.other]\nurl = data/a.csv\n",
        ),
    )
    done = mlnb("check", "--json", cwd=project.root)
    assert done.code == 2 and sorted(p["rule"] for p in done.json["problems"]) == [
        "bad-setting",
        "bad-setting",
        "secret",
        "two-places",
    ]
    assert "pw" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("path = a.csv\nurl = s3://b/a.csv", "two-places"),
        ("url = sftp://ana:pw@host/a.csv", "secret"),
        ("sql = SELECT 1\nconnection = postgresql://ana:pw@db/x", "secret"),
        ("sql = SELECT 1\nincremental = true", "bad-setting"),
        ("path = a.csv\nincremental = yes", "bad-setting"),
        ("path = a.csv\nconnection = env:X", "bad-setting"),
        ("path = a.csv\nrefresh = 1d", "bad-setting"),
        ("sql = SELECT 1\nrefresh = daily", "bad-setting"),
        ("url = s3://b/a.csv\nrefresh = 0s", "bad-setting"),
        ("sql = SELECT 1\nrefresh =", "empty-value"),
        ("path = a.csv\ntimeout = 1h", "bad-setting"),
        ("sql = SELECT 1\ntimeout = manual", "bad-setting"),
        ("sql = SELECT 1\nrefreh = 1d", "unknown-key"),
        ("url = data/a.csv", "bad-setting"),
        ("conection = env:X\nsql = SELECT 1", "unknown-key"),
        ("", "missing-key"),
        ("sql = ", "empty-value"),
    ],
)
def test_settings_of_a_source_that_are_wrong_are_definition_errors(make_project, source, rule):
    project = make_project({}, settings(source))
    with pytest.raises(DefinitionError) as caught:
        read_project(project.root)
    assert rule in [p.rule for p in caught.value.problems]
    assert "pw" not in str(caught.value)


def test_profile_replaces_the_place_of_a_source(make_project):
    project = make_project(
        {"10_sum.ipynb": [READ, SAVE]},
        settings("sql = SELECT 1 AS n\nconnection = env:NOT_SET", "[profile.ci.source.raw]\npath = data\n"),
    )
    write_day(project.root, 1, 5)
    assert run(project, "ci")[0]["metrics"] == {"total": 5, "days": 1}
    stage, _ = run(project)
    assert (stage["state"], stage["unread"]["exit_code"]) == ("failed", 2)
    assert "NOT_SET" in stage["error"]["evalue"]
