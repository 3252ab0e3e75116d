"""Status tells how a stage last ended, as long as that says something about it."""

import shutil

import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from plain_records import commit, write_run

from mlnb.flow.plan import plan_pipeline, plan_step
from mlnb.history.status import last_outcomes, status_of, tell_outcomes
from mlnb.notebook.packages import installed_packages, list_path
from mlnb.store.artifacts import put_value
from mlnb.store.objects import open_store
from mlnb.store.runs import hold_run
from mlnb.store.settings import project_store, read_project

OURS = "from mlnb import load, save"
STAGES = {
    "10_rows.ipynb": [("parameters", "n: int = 3"), OURS, "save('rows', n)"],
    "20_fit.ipynb": [
        ("parameters", "#| each: k in ['a', 'b']\nk: str = 'a'"),
        OURS,
        "save('fit', [k, load('rows')])",
    ],
}
ERROR = {"cell": 3, "cell_id": "c", "ename": "ValueError", "evalue": "no rows\nnone at all"}


class Told:
    "A project whose runs are pretended."

    def __init__(self, folder, packages, asked):
        self.folder, self.call = folder, asked
        self.project = read_project(folder.root)
        self.store = project_store(self.project, create=True)
        (self.store.root / "cache").mkdir(exist_ok=True)
        shutil.copy(packages, list_path(self.store.root))
        self.n = 0

    def run(self, profile="default", parameters=None, state="failed", **states):
        'Write the document of a run: `rows="failed"`, or `fit_a="failed"` for a part.'
        self.n += 1
        entries = []
        for name, ended in states.items():
            stage, _, value = name.partition("_")
            entry = {"name": stage, "each": {"k": value} if value else None, "state": ended, "kind": None}
            notebook = "ab" * 32 if ended == "committed" else None
            entries.append(entry | {"notebook": notebook, "error": ERROR if ended == "failed" else None})
        document = {
            "run": f"20261124T{self.n:09d}-aaaa",
            "pipeline": "demo",
            "profile": profile,
            "state": state,
        }
        values = {n: {"value": v, "origin": o, "type": "int"} for n, (v, o) in (parameters or {}).items()}
        write_run(
            self.store, document | {"started_utc": "2026-11-24", "stages": entries, "parameters": values}
        )
        return document["run"]

    def commit(self, unit, n=0):
        "Commit a record, as run number `n` would have."
        plan = plan_pipeline(self.project, self.store, "demo", "default")
        step = plan_step(plan, unit)
        outputs = {name: put_value(self.store, 1).as_dict() for name in step.stage.saves}
        about = {
            "pipeline": "demo",
            "stage": step.stage.name,
            "each": step.each,
            "run": f"20261124T{n:09d}-bbbb",
        }
        commit(self.store, about | {"key": step.key, "parts": step.parts, "outputs": outputs, "metrics": {}})

    def status(self):
        "Entries by name of the stage or part."
        plan = plan_pipeline(self.project, self.store, "demo", "default")
        entries = to_builtins(tell_outcomes(status_of([plan]), [plan]))
        return {e["name"] + (f"_{e['each']['k']}" if e["each"] else ""): e for e in entries}

    def row(self, unit):
        "State and reason that the table shows."
        shown = self.call("status", "demo", cwd=self.folder.root).stdout.splitlines()
        (line,) = [line for line in shown if line.split()[1:2] == [unit]]
        return line.split(None, 3)[2:]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    "The list of installed packages, as a store caches it."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return list_path(store.root)


@pytest.fixture
def told(make_project, packages, asked):
    return Told(make_project(STAGES), packages, asked)


def test_failure_of_a_stage_without_a_record_is_shown_and_told(told):
    run = told.run(rows="failed", fit_a="skipped", fit_b="skipped")
    said = f"failed in run {run}: ValueError: no rows"
    assert told.row("rows") == ["failed", said] and told.row("fit[k=a]") == ["never", "it never ran"]
    status = told.status()
    assert status["rows"]["last"] == {
        **{"run": run, "state": "failed", "kind": None, "error": ERROR, "started_utc": "2026-11-24"}
    }
    assert [(w["kind"], w["message"]) for w in status["rows"]["why"]] == [
        ("new", f"it was never committed: it {said}")
    ]
    assert (status["rows"]["state"], status["fit_a"]["last"]) == ("never", None)
    why = told.call("why", "rows", cwd=told.folder.root)
    assert why.code == 0 and said in why.stdout


def test_a_part_has_an_outcome_of_its_own(told):
    told.commit("rows")
    told.run(rows="committed", fit_a="failed", fit_b="cancelled")
    status = told.status()
    assert [status[n]["last"]["state"] for n in ("rows", "fit_a", "fit_b")] == [
        "committed",
        "failed",
        "cancelled",
    ]
    assert told.row("fit[k=a]")[0] == "failed" and told.row("rows") == ["fresh"]
    assert "it was cancelled in run" in told.row("fit[k=b]")[1]


def test_what_was_committed_later_hides_a_failure_and_what_failed_later_is_shown(told):
    told.run(rows="failed")
    told.commit("rows", n=2)
    assert told.row("rows") == ["fresh"] and told.status()["rows"]["last"]["state"] == "committed"
    told.folder.stage("nbs/10_rows.ipynb", ("parameters", "n: int = 3"), OURS, "save('rows', n + 1)")
    assert told.row("rows") == ["stale", "cell 3 changed"]
    told.n = 8
    run = told.run(rows="failed")
    assert told.row("rows")[0] == "failed" and run in told.row("rows")[1]
    assert told.status()["rows"]["why"][0]["kind"] == "cell"


@pytest.mark.parametrize(
    "other", [{"profile": "ci"}, {"parameters": {"n": (4, "option")}}, {"parameters": {"n": (4, "file")}}]
)
def test_other_profiles_and_experiments_say_nothing(told, other):
    run = told.run(rows="failed")
    told.run(rows="committed", **other)
    assert told.status()["rows"]["last"]["run"] == run
    told.run(rows="cached", parameters={"n": (4, "profile")})
    assert told.status()["rows"]["last"]["state"] == "cached"


def test_record_that_is_gone_is_not_called_never_run(told):
    told.run(rows="committed")
    assert "its record is gone" in told.row("rows")[1]


def test_running_killed_and_damaged_runs(told):
    failed = told.run(rows="failed")
    run = told.run(rows="running", state="running")
    with hold_run(told.store, run):
        assert told.status()["rows"]["last"]["run"] == failed
    assert told.status()["rows"]["last"]["state"] == "cancelled"
    (told.store.root / "runs" / run / "run.json").write_text("{")
    assert told.status()["rows"]["last"]["run"] == failed


def test_reading_stops_when_all_is_known_and_after_the_limit(told, monkeypatch):
    from mlnb.history import status

    read = []
    document_of = status.document_of
    monkeypatch.setattr(status, "document_of", lambda store, run: read.append(run) or document_of(store, run))
    monkeypatch.setattr(status, "MOST_DOCUMENTS", 9)
    told.run(rows="failed")
    for _ in range(9):
        told.run(fit_a="failed")
    wanted = {("demo", "default", "rows"), ("demo", "default", "fit[k=a]")}
    assert {unit for *_, unit in last_outcomes(told.store, wanted)} == {"fit[k=a]"}
    assert len(read) == 9
    (why,) = told.status()["rows"]["why"]
    assert why["message"] == "it was never committed, and the newest 9 runs of demo do not have it"
    read.clear()
    last_outcomes(told.store, {("demo", "default", "fit[k=a]")})
    assert len(read) == 1


def test_runs_of_another_pipeline_do_not_hide_a_failure(told, monkeypatch):
    from mlnb.history import status

    monkeypatch.setattr(status, "MOST_DOCUMENTS", 3)
    run = told.run(rows="failed")
    document = status.document_of(told.store, run)
    for _ in range(5):
        told.n += 1
        write_run(told.store, replace(document, run=f"20261124T{told.n:09d}-aaaa", pipeline="demo2"))
    assert told.status()["rows"]["last"]["run"] == run


def tried(n):
    return {"parameters": {"n": (n, "option")}}


def test_status_with_values_tells_how_runs_with_these_values_ended(told):
    own = told.run(rows="failed", parameters={"n": (3, "default")})
    other = told.run(rows="failed", **tried(4))
    last = told.run(rows="failed", fit_a="skipped", **tried(5))
    told.run(rows="committed", fit_a="failed", **tried(6))

    def ended(*options):
        shown = told.call("status", "demo", "--json", *options, cwd=told.folder.root).json["stages"]
        return {entry["name"]: entry["last"] and entry["last"]["run"] for entry in shown[:2]}

    assert ended() == {"rows": own, "fit": None}
    assert ended("-p", "n", "5") == {"rows": last, "fit": None}
    assert ended("-p", "n", "4") == {"rows": other, "fit": None}
    assert ended("-p", "n", "7") == {"rows": None, "fit": None}
    assert ended("-p", "n", "3") == {"rows": own, "fit": None}
    told.run(rows="committed", **tried(5))
    shown = told.call("status", "demo", "--json", "-p", "n", "5", cwd=told.folder.root).json["stages"]
    assert shown[0]["last"]["state"] == "committed"


def test_why_says_a_failure_once(told):
    told.run(rows="failed")
    shown = told.call("why", "rows", cwd=told.folder.root).stdout
    assert shown.count("ValueError: no rows") == 1


@pytest.mark.slow
def test_run_that_fails_for_real_is_told_until_it_is_mended(make_project, mlnb):
    folder = make_project({"10_rows.ipynb": [OURS, "raise ValueError('no rows')", "save('rows', 1)"]})
    failed = mlnb("run", "demo", "--json", cwd=folder.root).json
    (entry,) = mlnb("status", "--json", cwd=folder.root).json["stages"]
    assert (entry["last"]["run"], entry["last"]["kind"], entry["state"]) == (
        failed["run"],
        "user_error",
        "never",
    )
    assert "ValueError: no rows" in mlnb("status", cwd=folder.root).stdout
    folder.stage("nbs/10_rows.ipynb", OURS, "save('rows', 1)")
    assert mlnb("run", "demo", cwd=folder.root).code == 0
    (entry,) = mlnb("status", "--json", cwd=folder.root).json["stages"]
    assert (entry["last"]["state"], entry["state"], entry["why"]) == ("committed", "fresh", [])
