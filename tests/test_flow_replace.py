"""A second, different result of one key: it is told, one of the two holds, the other stays within reach, and
only `--force --replace` changes which."""

import os
import re
import shlex
import shutil
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from plain_records import as_record, as_run, commit, write_run

from mlnb.care.audit import audit, events, init_audit
from mlnb.care.erase import erase
from mlnb.care.exchanged import brought_back
from mlnb.care.gc import Retention, collect
from mlnb.care.signing import own_key, trust
from mlnb.care.verify import verify_store
from mlnb.care.vouched import signer
from mlnb.flow.heads import at_reference, result_in
from mlnb.flow.run_document import exit_code_of
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.store.crash_points import STEPS
from mlnb.store.documents import read_json, sealed
from mlnb.store.objects import get, has, open_store, put
from mlnb.store.pins import forget_pins
from mlnb.store.project_id import project_id, take_id
from mlnb.store.records import find_record, find_result, outcome_of, output_digests, record_at, results_of
from mlnb.store.refs import move_ref
from mlnb.store.run_entries import Entry, RunDocument, SecondResult

KEY = "1" * 64
OURS = "from mlnb import load, save"


@pytest.fixture
def store(tmp_path):
    yield open_store(tmp_path / "store")
    forget_pins()


def run_name(n):
    return f"202611{n:02d}T100000000-aaaa"


def made(store, text, n=1, stage="train", key=KEY, **inputs):
    "A record whose output is a text, made by run `n`."
    output = {"digest": put(store, text.encode()), "codec": "text", "type": "str", "bytes": len(text)}
    return as_record(
        {
            "key": key,
            "parts": {},
            "pipeline": "fraud",
            "stage": stage,
            "run": run_name(n),
            "inputs": {name: {"digest": one, "codec": "text", "bytes": 1} for name, one in inputs.items()},
            "outputs": {"model": output} if stage == "train" else {stage: output},
            "metrics": {},
            "notebook": put(store, f"notebook {n}".encode()),
        }
    )


def ended(store, record, n=None):
    "The document of the run that ended with a record."
    record = as_record(record)
    run = record.run if n is None else run_name(n)
    entry = {"name": record.stage, "state": "committed", "key": record.key}
    entry |= {"outputs": output_digests(record)}
    document = {
        "run": run,
        "pipeline": "fraud",
        "profile": "default",
        "state": "committed",
        "stages": [entry],
    }
    document |= {"keys": {record.stage: record.key}, "head": True, "parameters": {}}
    write_run(store, document, signer(store, "run"))
    return as_run(document)


def text_of(store, record):
    return get(store, as_record(record).outputs["model"].digest).decode()


def replaced(store):
    "A store in which a result took the place of another, and the documents of both runs."
    first, second = made(store, "first", 1), made(store, "second", 2)
    commit(store, first, sign=signer(store, "record"))
    before = ended(store, first)
    commit(store, second, replace=True, sign=signer(store, "record"))
    return before, ended(store, second)


# what holds, and what stays within reach


def test_run_before_a_replacement_finds_its_own_result_and_the_run_behind_it_the_new_one(store):
    before, after = replaced(store)
    assert text_of(store, find_record(store, "fraud", "train", KEY)) == "second"
    assert [text_of(store, find_result(store, one, "train", KEY)) for one in (before, after)] == [
        "first",
        "second",
    ]
    values = [result_in(store, one, "train", "model")[0].digest for one in (before, after)]
    assert [get(store, digest) for digest in values] == [b"first", b"second"]


def test_replaced_result_is_found_by_digest_and_by_a_ref_as_a_promoted_model_is(store):
    before, _ = replaced(store)
    digest = before.stages[0].outputs["model"]
    move_ref(store, "names/fraud/model/champion", digest, "promoted before it was replaced")
    for ref in (digest, digest[:8], "champion", run_name(1)):
        found = at_reference(store, "fraud", "model", ref)
        assert (found.value.digest, found.run) == (digest, run_name(1)), ref
    assert get(store, at_reference(store, "fraud", "model", run_name(2)).value.digest) == b"second"


def test_collection_keeps_a_replaced_result_as_long_as_the_record_that_took_its_place(store):
    before, _ = replaced(store)
    forget_pins()
    for _ in range(2):
        collect(store, Retention(1, 1))
    assert has(store, before.stages[0].outputs["model"])
    assert text_of(store, find_result(store, before, "train", KEY)) == "first"
    assert verify_store(store).damaged == []


def test_what_was_made_from_a_replaced_result_keeps_its_origin(store):
    before, _ = replaced(store)
    digest = before.stages[0].outputs["model"]
    commit(store, made(store, "behind", 1, "judge", "2" * 64, model=digest))
    forget_pins()
    for _ in range(2):
        collect(store, Retention(1, 1))
    assert get(store, digest) == b"first"


def test_second_result_made_from_a_replaced_one_never_held(store):
    before, _ = replaced(store)
    old = find_result(store, before, "train", KEY)
    again = made(store, "third", 3)
    assert not commit(
        store, structs.replace(old, outputs=again.outputs)
    ).is_reproduced  # as `reproduce` keeps it
    assert sorted(text_of(store, one) for one in results_of(store, "fraud", "train")) == ["first", "second"]


RESULTS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=10, deadline=None)
@given(RESULTS)
def test_holding_result_changes_only_by_replacing_and_every_one_that_held_is_found(tmp_path_factory, results):
    store = open_store(tmp_path_factory.mktemp("s") / "store")
    holds, told, held = None, None, set()
    for n, (text, replace) in enumerate(results, 1):
        record = made(store, text, n)
        done = commit(store, record, replace)
        assert done.is_reproduced == (holds in (None, text))
        assert (done.other is None) == done.is_reproduced
        if holds is None or replace:
            told = told or record.run
            holds = text
        assert text_of(store, done.record) == holds
        assert done.record.told_run == told  # the id that every notebook of this key was told
        held.add(holds)
    found = results_of(store, "fraud", "train")
    assert text_of(store, found[-1]) == holds
    assert sorted(text_of(store, one) for one in found) == sorted(held)
    for text in held:
        entry = Entry(name="train", state="committed", key=KEY, outputs=output_digests(made(store, text)))
        document = RunDocument(pipeline="fraud", state="committed", stages=(entry,))
        assert text_of(store, find_result(store, document, "train", KEY)) == text
    forget_pins()


@pytest.mark.parametrize("point", [f"{kind}.{step}" for kind in ("evidence", "record") for step in STEPS])
def test_replacing_killed_at_any_point_leaves_one_whole_result_and_can_be_done_again(store, point):
    first, second = made(store, "first", 1), made(store, "second", 2)
    commit(store, first)
    document = ended(store, first)
    child = os.fork()
    if child == 0:
        os.environ["MLNB_CRASH"] = point
        commit(store, second, replace=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, point
    for one in (first, second):
        holds = text_of(store, find_record(store, "fraud", "train", KEY))
        assert holds in ("first", "second")
        assert text_of(store, find_result(store, document, "train", KEY)) == "first"
        assert (
            sorted({text_of(store, r) for r in results_of(store, "fraud", "train")})
            in ([["first"], ["first", "second"]][holds == "second" :][:1])
        )
        commit(store, second, replace=True)
        assert one and text_of(store, find_record(store, "fraud", "train", KEY)) == "second"


# what a run ends with


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [
        ("set_aside", "committed", 5),
        ("replaced", "committed", 0),
        ("first_gone", "committed", 0),
        ("set_aside", "waiting", 0),  # an earlier try; its stage is made again
    ],
)
def test_exit_code_is_5_only_where_the_new_result_does_not_hold(outcome, state, code):
    entry = Entry(name="b", state=state, second_result=SecondResult(outcome, "", {}))
    fresh = Entry(name="a", state="cached")
    about = {"pipeline": "demo", "stages": (fresh, entry)}
    assert exit_code_of(RunDocument(**about, state="committed")) == code
    assert exit_code_of(RunDocument(**about, state="cancelled")) == 130


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--replace"], "nothing is forced"),
        (["--replace", "-n"], "nothing is forced"),
        (["--force", "--replace", "--grid", "x=1,2"], "each run of a grid would replace"),
    ],
)
def test_replace_that_makes_no_sense_is_refused_with_a_mend(options, said, make_project, asked):
    project = make_project({"10_a.ipynb": [("parameters", "x: int = 1"), OURS, "save('a', x)"]})
    result = asked("run", "demo", "a", *options, cwd=project.root)
    assert (result.code, said in result.stderr, "--force --replace`" in result.stderr) == (2, True, True)
    assert not (project.root / ".mlnb").exists()


CLOCK = "import time\nsave('now', time.time_ns())"


def command_in(message):
    "The command that a message ends with."
    return shlex.split(re.search(r"`mlnb ([^`]*)`$", message)[1])


@pytest.fixture(scope="module")
def forced(make_shared_project, mlnb):
    "A project whose first stage never gives the same; its runs, one behind the other."
    project = make_shared_project(
        {"10_clock.ipynb": [OURS, CLOCK], "20_behind.ipynb": [OURS, "save('twice', 2 * load('now'))"]}
    )
    runs = [mlnb("run", "demo", "--json", cwd=project.root)]
    runs.append(mlnb("run", "demo", "clock", "--force", "--json", cwd=project.root))
    mend = command_in(runs[1].stage("clock")["second_result"]["message"])
    runs.append(mlnb(*mend, "--json", cwd=project.root))
    runs.append(mlnb("run", "demo", "--json", cwd=project.root))
    return project.root, runs


def test_forced_stage_with_another_result_ends_with_5_and_the_first_one_stays(forced):
    _, (first, again, *_) = forced
    entry = again.stage("clock")
    assert (again.code, again.json["exit_code"], again.json["state"]) == (5, 5, "committed")
    assert (entry["state"], entry["is_reproduced"]) == ("committed", False)
    assert entry["outputs"] == first.stage("clock")["outputs"]
    assert entry["second_result"]["outcome"] == "set_aside"
    assert entry["second_result"]["outputs"]["now"]["before"] == entry["outputs"]["now"]
    assert "clock: not reproducible: " in again.stderr


def test_mend_followed_literally_takes_the_new_result(forced):
    _, (first, again, taken, after) = forced
    assert (taken.code, taken.states) == (0, {"clock": "committed"}), taken.stderr
    second = taken.stage("clock")["second_result"]
    assert second["outcome"] == "replaced"
    assert second["outputs"]["now"]["before"] == first.stage("clock")["outputs"]["now"]
    assert taken.stage("clock")["outputs"]["now"] == second["outputs"]["now"]["after"]
    assert taken.stage("clock")["key"] == first.stage("clock")["key"]
    assert (after.code, after.states) == (0, {"clock": "cached", "behind": "committed"})
    assert [why["kind"] for why in after.stage("behind")["why"]] == ["input"]
    assert again.stage("clock")["second_result"]["outputs"]["now"]["after"] not in taken.stdout


def test_replacement_is_an_audit_event_with_stage_key_and_both_results(forced):
    root, (first, _, taken, _) = forced
    (event,) = events(open_store(root / ".mlnb"), "replacement")
    said = event.about
    assert event.actor and event.outcome == "ok"
    assert (said["stage"], said["key"], said["run"]) == (
        "clock",
        first.stage("clock")["key"],
        taken.json["run"],
    )
    assert said["outputs"] == taken.stage("clock")["second_result"]["outputs"]
    assert event.object == said["outputs"]["now"]["after"]


def test_names_mean_the_new_result_and_runs_before_it_their_own(forced, asked):
    root, (first, again, _, after) = forced
    now = {}
    for name in ("now", f"now@{first.json['run']}", f"now@{again.json['run']}", f"now@{after.json['run']}"):
        got = asked("get", name, "--json", cwd=root)
        assert got.code == 0, got.stderr
        now[name] = got.json["digest"]
    was, new = first.stage("clock")["outputs"]["now"], after.stage("clock")["outputs"]["now"]
    assert list(now.values()) == [new, was, was, new]
    shown = asked("show", first.json["run"], "--json", cwd=root)
    assert shown.json["stages"][0]["outputs"]["now"] == was
    assert asked("verify", cwd=root).code == 0
    listed = asked("artifacts", "now", "--json", cwd=root).json
    versions = {one["digest"]: one["is_meant"] for one in listed["artifacts"]}
    assert versions == {new: True, was: False}


def exchange(evidence):
    "Put a record and a result that does not hold in each other's place, with perfect seals."
    record = evidence.with_name(f"{evidence.name[:64]}.json")
    holds, other = (read_json(path) for path in (record, evidence))
    aside = record.with_name(f"{record.stem}.{outcome_of(output_digests(record_at(record)))}.evidence")
    evidence.unlink()
    record.unlink()
    for path, said in ((record, other), (aside, holds)):
        path.write_bytes(sealed(path, {k: v for k, v in said.items() if k != "replaced_by"}))


def test_record_and_evidence_exchanged_are_damage_that_a_repair_mends(forced, asked, tmp_path):
    for n in range(2):
        root = tmp_path / str(n)
        shutil.copytree(forced[0], root, symlinks=True)
        exchange(sorted(root.glob(".mlnb/records/demo/clock/*.evidence"))[n])
        said = asked("verify", "--json", cwd=root)
        assert (said.code, [one["kind"] for one in said.json["damaged"]]) == (5, ["exchanged"]), said.stdout
        assert len(said.json["damaged"][0]["runs"]) == 2 and "records/demo/clock" in said.stdout
        if n == 0:
            assert asked("verify", "--repair", cwd=root).code == 0
            assert asked("verify", cwd=root).code == 0


def test_replaced_result_brought_back_without_a_trace_of_the_other_is_damage(forced, asked, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(forced[0], root, symlinks=True)
    first = forced[1][0].json["run"]
    files = sorted(root.glob(".mlnb/records/demo/clock/*.evidence"))
    (evidence,) = [path for path in files if record_at(path).run == first]
    exchange(evidence)
    for path in root.glob(".mlnb/records/demo/clock/*.evidence"):
        path.unlink()
    said = asked("verify", "--json", cwd=root)
    assert (said.code, [one["kind"] for one in said.json["damaged"]]) == (5, ["exchanged"]), said.stdout
    assert first in said.json["damaged"][0]["runs"]


def replaced_here(store):
    "A store whose log and runs tell that a result took the place of another: the first one, pushed before."
    init_audit(store)
    first, second = made(store, "first", 1), made(store, "second", 2)
    commit(store, first, sign=signer(store, "record"))
    ended(store, first)
    push(store, str(store.root.parent / "shared"))
    take_place(store, second)
    return first, second


def take_place(store, record):
    "Let a result take the place of the one that holds, as a run with `--replace` does."
    commit(store, record, replace=True, sign=signer(store, "record"))
    document = ended(store, record)
    second = SecondResult("replaced", "another", {})
    stages = tuple(structs.replace(one, second_result=second) for one in document.stages)
    write_run(store, structs.replace(document, stages=stages), signer(store, "run"))
    of_key = {"pipeline": "fraud", "stage": "train", "key": KEY}
    audit(store, "replacement", run=record.run, **of_key)


def emptied(store):
    for path in [*store.root.glob("records/*/*/*")]:
        path.unlink()


def pulled(store, name):
    "The same project in another store, after a pull."
    other = open_store(store.root.parent / name)
    init_audit(other)
    trust(other, "ana", own_key(store))
    take_id(other, project_id(store))
    push(store, str(store.root.parent / "shared"))
    assert pull(other, str(store.root.parent / "shared")).records == 1
    return other


def pulled_again(store):
    "What was collected is pulled: the remote has the first result."
    emptied(store)
    assert pull(store, str(store.root.parent / "shared")).records == 1
    return store


def replaced_twice(store):
    take_place(store, made(store, "third", 3))
    take_place(store, made(store, "first", 4))
    return store


def made_again(store):
    "The record was set aside by a repair, and the stage gave what it had given at first."
    emptied(store)
    commit(store, made(store, "first", 3), sign=signer(store, "record"))
    return store


def erased_since(store):
    erase(store, made(store, "second", 2).outputs["model"].digest, "asked for")
    commit(store, made(store, "first", 3), sign=signer(store, "record"))
    return store


def as_it_is(store):
    return store


def of_a_teammate(store):
    return pulled(store, "ben")


HONEST = (as_it_is, of_a_teammate, pulled_again, replaced_twice, made_again, erased_since, emptied)


@pytest.mark.parametrize("happen", HONEST)
def test_what_happens_honestly_after_a_replacement_is_no_damage(store, happen, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    replaced_here(store)
    assert brought_back(happen(store) or store) == []


@pytest.mark.parametrize("n", [1, 2])
def test_older_result_that_came_back_is_damage(store, n, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    older = replaced_here(store)
    take_place(store, made(store, "third", 3))
    emptied(store)
    commit(store, older[n - 1], sign=signer(store, "record"))
    (damage,) = brought_back(store)
    assert (damage.kind, damage.runs) == ("exchanged", [run_name(n), run_name(3)])


def test_forced_dry_run_writes_nothing(forced, asked):
    root, _ = forced
    before = sorted(path for path in (root / ".mlnb").rglob("*"))
    planned = asked("run", "demo", "clock", "-n", "--force", "--replace", "--json", cwd=root)
    assert (planned.code, planned.json["stages"][0]["state"]) == (0, "stale")
    assert sorted(path for path in (root / ".mlnb").rglob("*")) == before


@pytest.mark.slow
def test_forced_part_replaces_its_own_result_alone(make_project, mlnb):
    project = make_project(
        {"10_fit.ipynb": [("parameters", "#| each: kind in ['a', 'b']\nkind: str = 'a'"), OURS, CLOCK]}
    )
    first = mlnb("run", "demo", "--json", cwd=project.root)
    assert first.code == 0, first.stderr
    taken = mlnb("run", "demo", "fit[kind=b]", "--force", "--replace", "--json", cwd=project.root)
    assert taken.code == 0 and taken.json["stages"][0]["second_result"]["outcome"] == "replaced"
    again = mlnb("run", "demo", "--json", cwd=project.root)
    digests = [[one["outputs"]["now"] for one in run.json["stages"]] for run in (first, again)]
    assert [a == b for a, b in zip(*digests, strict=True)] == [True, False]
    aside = mlnb("run", "demo", "--force", "--json", cwd=project.root)
    assert aside.code == 5
    mends = [command_in(one["second_result"]["message"]) for one in aside.json["stages"]]
    assert [mend[2] for mend in mends] == ["fit[kind=a]", "fit[kind=b]"]


@pytest.mark.slow
def test_unforced_stages_never_replace_and_values_stand_in_the_mend(make_project, mlnb):
    project = make_project(
        {
            "10_clock.ipynb": [("parameters", "x: int = 1"), OURS, CLOCK],
            "20_next.ipynb": [OURS, "load('now')\nimport uuid\nsave('id', uuid.uuid4().hex)"],
        }
    )
    assert mlnb("run", "demo", "-p", "x", "5", cwd=project.root).code == 0
    aside = mlnb("run", "demo", "next", "--force", "-p", "x", "5", "--json", cwd=project.root)
    assert (aside.code, aside.states) == (5, {"clock": "cached", "next": "committed"})
    mend = command_in(aside.stage("next")["second_result"]["message"])
    assert mend == ["run", "demo", "next", "-p", "x", "5", "--force", "--replace"]
    grid = mlnb("run", "demo", "--force", "--grid", "x=5,6", "--json", cwd=project.root)
    assert (grid.code, [run["exit_code"] for run in grid.json["grid"]]) == (5, [5, 0])
    both = mlnb("run", "demo", "-p", "x", "5", "--force", "--replace", "-k", "--json", cwd=project.root)
    assert both.code == 0 and both.stage("clock")["second_result"]["outcome"] == "replaced"
    assert both.stage("next")["is_reproduced"]  # under the key of the new input it is the first


# others


def befriended(tmp_path):
    stores = []
    for name in ("ana", "ben"):
        stores.append(open_store(tmp_path / name))
        init_audit(stores[-1])
    ana, ben = stores
    trust(ben, "ana", own_key(ana))
    return ana, ben


def test_remote_and_teammates_keep_the_first_result_and_the_push_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    (ana, ben), url = befriended(tmp_path), str(tmp_path / "shared")
    first = made(ana, "first", 1)
    commit(ana, first, sign=signer(ana, "record"))
    ended(ana, first)
    assert push(ana, url).left_out == []
    commit(ana, second := made(ana, "second", 2), replace=True, sign=signer(ana, "record"))
    ended(ana, second)
    for _ in range(2):
        pushed = push(ana, url)
        assert (pushed.records, len(pushed.left_out)) == (0, 1)
        assert "keeps its first result" in pushed.left_out[0].message
    assert pull(ben, url).refused == []
    assert text_of(ben, find_record(ben, "fraud", "train", KEY)) == "first"
    entry = Entry(name="train", state="committed", key=KEY, outputs=output_digests(second))
    behind = RunDocument(pipeline="fraud", state="committed", stages=(entry,))
    assert find_result(ben, behind, "train", KEY) is None  # not here, rather than another one
    forget_pins()


def test_replaced_result_that_is_pushed_first_is_pulled_and_changes_nobodys_own(tmp_path, monkeypatch):
    monkeypatch.delenv("MLNB_SIGNING_KEY", raising=False)
    (ana, ben), url = befriended(tmp_path), str(tmp_path / "shared")
    replaced(ana)
    assert push(ana, url).left_out == []
    mine = made(ben, "mine", 3)
    commit(ben, mine, sign=signer(ben, "record"))
    pull(ben, url)
    assert text_of(ben, find_record(ben, "fraud", "train", KEY)) == "mine"
    other = open_store(tmp_path / "other")
    trust(other, "ana", own_key(ana))
    assert pull(other, url).refused == []
    assert text_of(other, find_record(other, "fraud", "train", KEY)) == "second"
    forget_pins()


# a variable that was taken away


ASKS = {
    "written": ("os.environ['RUN_MODE']", True),
    "popped": ("os.environ.pop('RUN_MODE')", True),
    "in_a_module": ("helper.mode()", True),
    "of_a_dict": ("{}['RUN_MODE']", False),
    "set_nowhere": ("os.environ['NOBODY_HAS_SET_THIS']", False),
}


def test_variable_that_was_taken_away_is_named_with_the_mend(make_project, mlnb):
    stages = {
        f"{n}_{name}.ipynb": [OURS, f"import os\nimport helper\nsave('{name}', {code})"]
        for n, (name, (code, _)) in enumerate(ASKS.items(), 10)
    }
    project = make_project(stages)
    (project.root / "nbs" / "helper.py").write_text(
        "import os\n\ndef mode(): return os.environ['RUN_MODE']\n"
    )
    result = mlnb("run", "demo", "-k", "--json", cwd=project.root, RUN_MODE="fast")
    assert result.code == 1
    mend = "write `#| env: RUN_MODE` at the top of the first code cell"
    told = {name: result.stage(name)["error"]["evalue"].endswith(mend) for name in ASKS}
    assert told == {name: is_told for name, (_, is_told) in ASKS.items()}
    assert result.stderr.count(mend) == 3
    (project.root / "nbs" / "10_written.ipynb").write_text(
        (project.root / "nbs" / "10_written.ipynb")
        .read_text()
        .replace("from mlnb", "#| env: RUN_MODE\\nfrom mlnb")
    )
    assert mlnb("run", "demo", "written", cwd=project.root, RUN_MODE="fast").code == 0


# determinism


@pytest.mark.slow
def test_stage_that_knows_its_kind_of_kernel_differs_between_warm_and_cold(make_project, mlnb):
    started = "open('/proc/self/cmdline').read()"  # a copy of the server has the server's command line
    project = make_project(
        {
            "10_kind.ipynb": [OURS, f"save('kind', 'mlnb.kernel.server_process' in {started})"],
            "20_b.ipynb": [OURS, "save('b', 1)"],
        }
    )
    sound = mlnb("run", "demo", "b", "--check-determinism", "--json", cwd=project.root)
    found = sound.json["determinism"]
    assert (sound.code, found["kernels"], found["said"]) == (0, ["warm", "cold"], None)
    odd = mlnb("run", "demo", "kind", "--check-determinism", cwd=project.root)
    assert odd.code == 5 and "warm and cold differ: only the cold one gave another result" in odd.stdout
    again = mlnb("run", "demo", "kind", "--check-determinism", "--cold", "--json", cwd=project.root)
    assert again.json["determinism"]["kernels"] == ["cold", "cold"]
    assert (again.json["determinism"]["state"], again.json["determinism"]["said"]) == ("differs", None)
