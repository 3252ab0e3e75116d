"""What a source gave last: who asks, when again, what a run does without an answer, and that looking never
asks."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from source_kinds import KINDS, SETTINGS, HttpKind, Server, write_table

from mlnb.flow.asking import ask_sources, unread_source
from mlnb.flow.plan import make_plan
from mlnb.flow.selection import select
from mlnb.notebook.pipeline import read_pipeline
from mlnb.sources.content import copy_path
from mlnb.sources.last_pin import ask_source, last_pin, look_at, pin_path
from mlnb.store.errors import UsageError
from mlnb.store.names import parse_name
from mlnb.store.pins import forget_pins
from mlnb.store.settings import project_store, read_project
from mlnb.store.tombstones import ErasedError

# a state machine against a model


class Refreshing(RuleBasedStateMachine):
    "A folder served as a URL, asked under two profiles with one clock."

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.now, self.n, self.is_there, self.kept = 10_000.0, 0, True, {}

    def clock(self):
        return self.now

    def teardown(self):
        self.folder.cleanup()

    @initialize(refresh=st.sampled_from(["run", "90s", "1h", "manual"]))
    def begin(self, refresh):
        self.longest_s = {"run": 0, "90s": 90, "1h": 3600, "manual": float("inf")}[refresh]
        text = (
            f"{SETTINGS}[source.raw]\nurl = file://{self.root}/data\nrefresh = {refresh}\n[profile.ci.demo]\n"
        )
        (self.root / "settings.ini").write_text(text)
        (self.root / "data").mkdir()
        self.project = read_project(self.root)
        self.store = project_store(self.project)
        self.write()

    @rule()
    def write(self):
        self.n += 1
        if self.is_there:
            (self.root / "data" / "a.csv").write_text(f"n\n{self.n}\n")

    @rule(s=st.sampled_from([1, 60, 89, 90, 3600, 86400, -1, -100, -5000]))
    def wait(self, s):
        self.now += s

    @rule()
    def leave_or_come_back(self):
        place, away = self.root / "data", self.root / "away"
        if self.is_there:
            place.rename(away)
        else:
            away.rename(place)
        self.is_there = not self.is_there
        if self.is_there:
            self.write()

    @rule(profile=st.sampled_from(["default", "ci"]))
    def lose_the_copy(self, profile):
        if profile in self.kept:
            _, text, _ = self.kept[profile]
            for partition in last_pin(self.store, self.project, profile, "raw").partitions:
                copy_path(self.store, partition).unlink(missing_ok=True)
            self.kept = {p: (at, t, have and t != text) for p, (at, t, have) in self.kept.items()}

    @rule(profile=st.sampled_from(["default", "ci"]), damage=st.sampled_from([b"", b"{", b"null"]))
    def lose_the_pin(self, profile, damage):
        if profile in self.kept:
            pin_path(self.store, profile, "raw").write_bytes(damage)
            del self.kept[profile]

    @rule(profile=st.sampled_from(["default", "ci"]), is_forced=st.booleans())
    def run(self, profile, is_forced):
        at, text, is_kept = self.kept.get(profile, (None, None, False))
        is_young = at is not None and 0 <= self.now - at < self.longest_s
        if is_young and is_kept and not is_forced:
            assert ask_source(self.store, self.project, profile, "raw", is_forced, self.clock).at == at
            return
        if not self.is_there:
            with pytest.raises(UsageError, match="has nothing at"):
                ask_source(self.store, self.project, profile, "raw", is_forced, self.clock)
            return
        found = ask_source(self.store, self.project, profile, "raw", is_forced, self.clock)
        text = f"n\n{self.n}\n"
        assert copy_path(self.store, found.partitions[0]).read_text() == text
        self.kept = {p: (a, t, have or t == text) for p, (a, t, have) in self.kept.items()}
        self.kept[profile] = (self.now, text, True)

    @invariant()
    def looking_tells_what_was_asked_last(self):
        for profile in ("default", "ci") if hasattr(self, "store") else ():
            if profile in self.kept:
                (seen,) = look_at(self.store, self.project, profile, parse_name("raw"))
                assert seen.bytes == len(self.kept[profile][1])
                assert last_pin(self.store, self.project, profile, "raw").at == self.kept[profile][0]
            else:
                with pytest.raises(UsageError, match="never pinned"):
                    look_at(self.store, self.project, profile, parse_name("raw"))


class RefreshingLong(Refreshing):
    "The same, for the battery."


TestRefreshing = Refreshing.TestCase
TestRefreshing.settings = hypothesis_settings(max_examples=6, stateful_step_count=20, deadline=None)
TestRefreshingLong = pytest.mark.slow(RefreshingLong.TestCase)
TestRefreshingLong.settings = hypothesis_settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_answer_under_a_clock_before_1970_is_known_like_any_other():
    state = Refreshing()
    state.begin("1h")
    for seconds in (0, -5000, -5000, -5000, 3600, 86_400):
        state.wait(seconds)
        state.run("default", False)
        state.looking_tells_what_was_asked_last()
    state.teardown()


# kind of source x reachable or not x verb x selection


@pytest.fixture
def server():
    one = Server()
    yield one
    one.close()


STAGES = {
    "10_orders.ipynb": ["from mlnb import load, save\nsave('n_orders', len(load('raw')))"],
    "20_rates.ipynb": ["from mlnb import load, save\nsave('n_rates', len(load('rates')))"],
    "30_report.ipynb": ["from mlnb import load, save\nsave('report', load('n_orders'))"],
    "40_alone.ipynb": ["from mlnb import load, save\nsave('alone', load('n_rates'))"],
}


@pytest.fixture
def kind_of_source(request, make_project, server):
    project = make_project(STAGES)
    kind = request.param(project.root, server)
    (project.root / "rates.csv").write_text("n\n1\n")
    project.settings(f"{SETTINGS}[source.raw]\n{kind.text()}\n[source.rates]\npath = rates.csv\n")
    return kind


def parts_of(root):
    project = read_project(root)
    return project, project_store(project), read_pipeline(project, "demo")


LOOKING = [
    ("status",),
    ("status", "demo"),
    ("why", "orders"),
    ("params",),
    ("dag",),
    ("check",),
    ("run", "demo", "-n"),
    ("run", "demo", "orders", "-n"),
]


@pytest.mark.parametrize("kind_of_source", KINDS, indirect=True, ids=lambda kind: kind.__name__[:-4])
def test_looking_never_asks_whatever_is_in_reach(kind_of_source, asked):
    kind, root = kind_of_source, kind_of_source.root
    is_file = kind.state == "file"

    def look(state):
        before = kind.server.n_asked
        for verb in LOOKING:
            seen = asked(*verb, "--json", cwd=root)
            (about,) = [one for one in seen.json["sources"] if one["name"] == "raw"]
            assert (seen.code, about["state"]) == (0, state), (verb, seen.stderr)
        for verb in (("status",), ("run", "demo", "-n")):
            shown = asked(*verb, cwd=root)
            word = {"pinned": "raw (", "never pinned": "never pinned", "file": ""}[state]
            assert shown.code == 0 and word in shown.stderr + shown.stdout, verb
        assert kind.server.n_asked == before

    look("file" if is_file else "never pinned")
    kind.serve()
    look("file" if is_file else "never pinned")
    project, store, pipeline = parts_of(root)
    plan = make_plan(project, store, pipeline, "default", {})
    ask_sources(plan, select(pipeline))
    assert plan.missing == {} and plan.steps["orders"].state == "stale"
    look(kind.state)
    kind.remove()
    look(kind.state)


SELECTIONS = {
    "all": ({}, True),
    "the stage": ({"stages": ["orders"]}, True),
    "what needs it": ({"stages": ["report"]}, True),
    "from it on": ({"from_": "orders"}, True),
    "only it": ({"stages": ["orders"], "only": True}, True),
    "only what needs it": ({"stages": ["report"], "only": True}, False),
    "another": ({"stages": ["rates"]}, False),
    "behind another": ({"from_": "rates"}, False),
    "another to its end": ({"to": "alone"}, False),
}


@pytest.mark.parametrize("kind_of_source", KINDS, indirect=True, ids=lambda kind: kind.__name__[:-4])
@pytest.mark.parametrize("is_there", [True, False], ids=["in reach", "out of reach"])
def test_only_what_selected_stages_need_is_asked(kind_of_source, is_there):
    kind = kind_of_source
    kind.serve()
    if not is_there:
        kind.remove()
    project, store, pipeline = parts_of(kind.root)
    for name, (chosen, is_needed) in SELECTIONS.items():
        plan, selection = make_plan(project, store, pipeline, "default", {}), select(pipeline, **chosen)
        before = kind.server.n_asked
        ask_sources(plan, selection)
        has_asked = isinstance(kind, HttpKind) and kind.server.n_asked > before
        assert ("raw" in plan.asked) == (is_needed and not (kind.state == "file" and is_there)), name
        assert has_asked == (is_needed and isinstance(kind, HttpKind)), name
        fault = unread_source(plan, plan.steps["orders"])
        if is_needed:
            assert bool(fault) == (not is_there), name
        if fault and is_needed:
            assert fault.unread.source == "raw" and fault.unread.exit_code in (2, 69)
            assert fault.unread.mend and "raw" in fault.error.evalue
        assert unread_source(plan, plan.steps["rates"]) is None


def test_files_that_no_selected_stage_needs_are_not_read(make_project):
    project = make_project(STAGES)
    (project.root / "rates.csv").write_text("n\n1\n")
    (project.root / "raw.csv").write_text("n\n1\n")
    project.settings(f"{SETTINGS}[source.raw]\npath = raw.csv\n[source.rates]\npath = rates.csv\n")
    project, store, pipeline = parts_of(project.root)
    plan = make_plan(project, store, replace(pipeline, scope=("rates",)), "default", {})
    hints = json.loads((store.root / "cache" / "file-digests.json").read_text())
    assert len(hints) == 1 and "never looked at" in plan.missing["raw"].message
    make_plan(project, store, pipeline, "default", {})
    plan = make_plan(project, store, replace(pipeline, scope=("rates",)), "default", {})
    assert plan.missing == {}


# a run


@pytest.fixture
def shop(make_project):
    "Stage `orders` reads a database, `report` needs it; `rates` and `alone` need neither."
    project = make_project(STAGES)
    (project.root / "rates.csv").write_text("n\n1\n")
    text = "[source.raw]\nsql = SELECT n FROM t ORDER BY n\nconnection = env:SHOP\nrefresh = manual\n"
    project.settings(f"{SETTINGS}{text}[source.rates]\npath = rates.csv\n")
    return project


SECRET = "hunter2hunter2"
FAR = f"sqlite:////nowhere/{SECRET}.db?password={SECRET}"


def test_a_source_out_of_reach_stops_its_stages_and_no_others(shop, mlnb):
    done = mlnb("run", "demo", "--json", cwd=shop.root, SHOP=FAR)
    states = {"orders": "failed", "rates": "committed", "report": "skipped", "alone": "committed"}
    assert (done.code, done.states) == (2, states)
    orders = done.stage("orders")
    assert (orders["kind"], orders["unread"]["source"], orders["unread"]["exit_code"]) == (
        "user_error",
        "raw",
        2,
    )
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_manual_source_is_asked_once_and_then_when_it_is_named(shop, mlnb, asked):
    write_table(shop.root, 1, 2)
    here = {"cwd": shop.root, "SHOP": "sqlite:///shop.db"}
    again = mlnb("run", "demo", "--json", **here)
    assert (again.code, again.states["orders"]) == (0, "committed")
    write_table(shop.root, 1, 2, 3)
    assert mlnb("run", "demo", "--json", cwd=shop.root).states["orders"] == "cached"
    status = mlnb("status", cwd=shop.root)
    assert status.code == 0 and "--refresh raw" in status.stderr and "orders  fresh" in status.stdout
    assert "source raw (sql): asked" in asked("lineage", "raw", cwd=shop.root).stderr
    forced = mlnb("run", "demo", "--refresh", "raw", "--json", **here)
    assert (forced.code, forced.states["orders"]) == (0, "committed")
    lost = mlnb("run", "demo", "--refresh", "all", cwd=shop.root, SHOP=FAR)
    assert lost.code == 2 and "SHOP" not in lost.stdout and "orders failed" in lost.stdout
    after = mlnb("status", "--json", cwd=shop.root)
    assert after.json["stages"][0]["state"] == "fresh"
    assert SECRET not in status.stdout + lost.stdout + lost.stderr
    everything = b"".join(p.read_bytes() for p in (shop.root / ".mlnb").rglob("*") if p.is_file())
    assert SECRET.encode() not in everything


def test_refresh_of_what_is_not_needed_is_refused(shop, mlnb, asked):
    wrong = asked("run", "demo", "--refresh", "rwa", cwd=shop.root)
    assert wrong.code == 2 and "did you mean `raw`" in wrong.stderr
    beside = asked("run", "demo", "rates", "--refresh", "raw", cwd=shop.root)
    assert beside.code == 2 and "no selected stage loads a source `raw`" in beside.stderr
    dry = asked("run", "demo", "-n", "--refresh", "raw", cwd=shop.root)
    assert dry.code == 2 and "leave out --refresh" in dry.stderr
    assert "--refresh" in asked("run", "--help", cwd=shop.root).stdout


def test_a_grid_asks_a_source_once_for_all_its_runs(make_project, asked, server):
    cells = [("parameters", "depth: int = 1  # 1..9"), STAGES["10_orders.ipynb"][0] + "\ndepth"]
    project = make_project({"10_orders.ipynb": cells})
    project.settings(f"{SETTINGS}[source.raw]\nurl = {server.url}\n")
    server.mode = "gone"
    one = asked("run", "demo", "--json", cwd=project.root)
    n_one, server.n_asked = server.n_asked, 0
    grid = asked("run", "demo", "--grid", "depth=1,2,3", "--json", cwd=project.root)
    assert (one.code, grid.code, len(grid.json["grid"])) == (2, 2, 3) and n_one > 0
    assert server.n_asked == n_one


def test_every_part_of_a_fan_out_says_what_its_source_lacks(make_project, asked):
    cells = ["#| each: fold in 0..2\nfold: int = 0", STAGES["10_orders.ipynb"][0] + "\nfold"]
    project = make_project({"10_orders.ipynb": [("parameters", cells[0]), cells[1]]})
    project.settings(f"{SETTINGS}[source.raw]\npath = none\n")
    whole = asked("run", "demo", "--json", cwd=project.root)
    part = asked("run", "demo", "orders[fold=1]", "--json", cwd=project.root)
    assert [entry["state"] for entry in whole.json["stages"]] == ["failed"] * 3 and whole.code == 2
    assert [entry["each"] for entry in part.json["stages"]] == [{"fold": 1}] and part.code == 2


def test_a_run_that_fails_for_its_source_is_remembered_and_nothing_stays_locked(shop, asked, monkeypatch):
    monkeypatch.setenv("SHOP", FAR)
    done = asked("run", "demo", "report", cwd=shop.root)
    assert done.code == 2 and "orders failed (" in done.stdout and "mlnb run demo orders" in done.stdout
    status = asked("status", cwd=shop.root)
    assert status.code == 0 and "failed in run" in status.stdout and "source `raw`" in status.stdout
    assert asked("show", "latest", "--json", cwd=shop.root).json["stages"][0]["unread"]["source"] == "raw"
    again = asked("run", "demo", "report", "--no-wait", cwd=shop.root)
    assert again.code == 2 and SECRET not in done.stdout + status.stdout + again.stdout + again.stderr
    assert asked("verify", cwd=shop.root).code == 0


def test_gc_keeps_the_answer_of_a_last_pin_and_erase_is_for_good(make_project, asked):
    project = make_project(STAGES)
    text = "[source.raw]\nsql = SELECT 7 AS n\nrefresh = manual\n[source.rates]\npath = rates.csv\n"
    project.settings(SETTINGS + text)
    opened, store, _ = parts_of(project.root)
    first = ask_source(store, opened, "default", "raw")
    forget_pins()
    for _ in range(3):
        assert asked("gc", cwd=project.root).code == 0
    assert ask_source(store, opened, "default", "raw") == first
    assert asked("audit", "init", cwd=project.root).code == 0
    erased = asked("erase", first.partitions[0].digest, "--reason", "asked for", cwd=project.root)
    assert erased.code == 0, erased.stderr
    with pytest.raises(ErasedError):
        ask_source(store, opened, "default", "raw")
    assert asked("status", cwd=project.root).code == 0
    failed = asked("run", "demo", "orders", "--json", cwd=project.root)
    assert (failed.code, failed.stage("orders")["kind"]) == (6, "infra")
