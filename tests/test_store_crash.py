"""A process may die at any point of a commit, and a disk may lose what was not flushed: the promise I1 to I6
holds all the same."""

import json
import os
import time
from pathlib import Path

import pytest
from conftest import write_project
from plain_records import commit, write_run

from mlnb.care.concerned import sound_records
from mlnb.care.gc import Retention, collect
from mlnb.care.verify import verify_store
from mlnb.store import crash_points
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.crash_points import POINTS, STEPS
from mlnb.store.descriptions import Artifact
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record, output_digests
from mlnb.store.refs import move_ref, read_ref
from mlnb.store.runs import hold_run

ROUNDS = int(os.environ.get("MLNB_BATTERY_ROUNDS", "20"))  # of each point, with the steps of a run alone
RUN_ROUNDS = int(
    os.environ.get("MLNB_BATTERY_RUN_ROUNDS", "1")
)  # of each point, with `mlnb run` and its kernels
STAGES = {
    "10_rows.ipynb": [
        "import os\nfrom pathlib import Path\nasked = Path.cwd().parent / 'crash'\n"
        "if asked.exists(): os.environ['MLNB_CRASH'] = asked.read_text()",
        "from mlnb import save\nsave('rows', [n * n for n in range(400)])",
    ],
    "20_total.ipynb": [
        "from mlnb import load, metric, save",
        "total = sum(load('rows'))\nmetric('total', total)\nsave('total', total)\n"
        "save('words', 'word ' * 500)",
    ],
}
IN_RUN = tuple(
    f"{kind}.{step}" for kind in ("object", "record", "ref", "run", "layout", "file") for step in STEPS
)  # points that a first run passes


def results(store):
    "What each committed stage came to."
    return {r.stage: (r.key, output_digests(r), r.metrics) for r in sound_records(store)}


def processes_of(folder):
    "Processes that were started for a project, this one and its own children left out."
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(f"MLNB_ROOT={folder}") in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def assert_nothing_is_left_running(folder, within_s=30):
    deadline = time.monotonic() + within_s
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []


@pytest.fixture(scope="module")
def uninterrupted(make_shared_project, mlnb):
    "The results of a run that nothing disturbed."
    project = make_shared_project(STAGES)
    done = mlnb("run", "demo", "--json", cwd=project.root)
    assert done.code == 0, done.stderr
    return results(open_store(project.root / ".mlnb"))


def crash_and_go_on(project, mlnb, uninterrupted, point, in_kernel=False):
    "Kill a first run at a point, look at what is there, run again: I1 to I6."
    if in_kernel:
        (project.root / "crash").write_text(point)
    died = mlnb("run", "demo", "--json", cwd=project.root, **({} if in_kernel else {"MLNB_CRASH": point}))
    (project.root / "crash").unlink(missing_ok=True)
    assert died.code == (1 if in_kernel else -9), (point, died)
    assert_nothing_is_left_running(project.root)  # I6
    store = open_store(project.root / ".mlnb", create=False)
    assert verify_store(store, set_aside=False).damaged == [], point  # I1, I2
    before = results(store)
    assert before.items() <= uninterrupted.items(), point  # I3
    again = mlnb("run", "demo", "--json", cwd=project.root)
    assert again.code == 0, (point, again.stderr)  # I4
    assert again.states == {name: "cached" if name in before else "committed" for name in uninterrupted}, (
        point
    )  # I5
    assert results(store) == uninterrupted, point  # I3
    assert read_ref(store, "heads/demo/default").target == again.json["run"] or before == uninterrupted, point
    collect(store)
    found = verify_store(store, set_aside=False)
    assert found.damaged == [] and found.temporaries == [], point  # I1
    assert_nothing_is_left_running(project.root)  # I6
    return died


def test_run_killed_between_flush_and_name_of_a_record_keeps_the_promise(make_project, mlnb, uninterrupted):
    crash_and_go_on(make_project(STAGES), mlnb, uninterrupted, "record.flushed")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["object.half", "object.flushed", "object.named"])
def test_run_whose_kernel_dies_at_a_crash_point_keeps_the_promise(make_project, mlnb, uninterrupted, point):
    died = crash_and_go_on(make_project(STAGES), mlnb, uninterrupted, point, in_kernel=True)
    assert died.stage("rows")["kind"] == "kernel_died"


@pytest.mark.slow
@pytest.mark.parametrize("point", IN_RUN)
def test_run_killed_at_every_crash_point_keeps_the_promise(
    tmp_path, mlnb, uninterrupted, record_property, point
):
    for round_ in range(RUN_ROUNDS):
        record_property("times", round_ + 1)
        visit = 1 if point.startswith(("layout", "ref", "file")) else 1 + round_ % 2
        crash_and_go_on(
            write_project(tmp_path / f"project{round_}", STAGES), mlnb, uninterrupted, f"{point}:{visit}"
        )


def test_run_with_an_unknown_crash_point_is_refused(make_project, mlnb):
    done = mlnb("run", "demo", cwd=make_project(STAGES).root, MLNB_CRASH="record.flushd")
    assert done.code == 2 and "did you mean `record.flushed`" in done.stderr


# the steps of a run alone: the same calls in the same order, in a forked process, without kernels


def small_run(root, run="20261123T100000000-aaaa"):
    """Commit three stages, each from the one before, and move the head; what is committed already is left
    alone."""
    store = open_store(root)
    with hold_run(store, run):
        document = {"run": run, "pipeline": "demo", "state": "running", "stages": [], "keys": {}}
        write_run(store, document)
        given, done = {}, []
        for n, stage in enumerate(("rows", "features", "model")):
            key = f"{n}" * 64
            record = find_record(store, "demo", stage, key)
            if record is None:
                output = put_value(store, {"stage": stage, "of": sorted(a.digest for a in given.values())})
                (root / "notebook").write_text(f"notebook of {stage}")
                notebook = put(store, root / "notebook")
                record = commit(
                    store,
                    {
                        "key": key,
                        "parts": {},
                        "pipeline": "demo",
                        "stage": stage,
                        "run": run,
                        "inputs": {name: one.as_dict() for name, one in given.items()},
                        "outputs": {"value": output.as_dict()},
                        "metrics": {"n": n},
                        "notebook": notebook,
                    },
                ).record
                done.append(stage)
            given = record.outputs
            document["keys"][stage] = key
            write_run(store, document)
        document["state"] = "committed"
        write_run(store, document)
        if (head := read_ref(store, "heads/demo/default")) is None or head.target != run:
            move_ref(store, "heads/demo/default", run, "every stage is committed")
    return done


def in_child(work, point=None):
    """Exit code of `work` in a forked process that dies at a crash point; what it returned is written to a
    pipe."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            crash_points.visits.clear()
            os.environ["MLNB_CRASH"] = point or ""
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), json.loads(said) if said else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "Results of three stages that nothing disturbed."
    root = tmp_path_factory.mktemp("whole") / "store"
    small_run(root)
    forget_pins()
    return results(open_store(root))


def crash_steps(root, whole, point):
    "Kill the steps of a run at a point, look, go on; whether the point was reached at all."
    code, said = in_child(lambda: small_run(root), point)
    assert code in (-9, 0), said
    if (root / "format").exists():
        store = open_store(root, create=False)
        found = verify_store(store, set_aside=False)
        assert found.damaged == [], (point, found.damaged)
        before = results(store)
        assert before.items() <= whole.items(), point
    else:
        before = {}
    code_again, done = in_child(lambda: small_run(root, "20261123T110000000-bbbb"))
    assert code_again == 0, done
    assert done == [stage for stage in ("rows", "features", "model") if stage not in before], point
    store = open_store(root)
    assert (
        results(store) == whole and read_ref(store, "heads/demo/default").target == "20261123T110000000-bbbb"
    )
    for _ in range(2):
        in_child(lambda: collect(store).as_dict())
    found = verify_store(store, set_aside=False)
    assert found.damaged == [] and found.temporaries == [] and results(store) == whole
    return code == -9


@pytest.mark.parametrize("point", IN_RUN[: -len(STEPS)])
def test_steps_killed_at_every_crash_point_keep_the_promise(tmp_path, whole, point):
    assert crash_steps(tmp_path / "store", whole, point)


VISITS = {"object": 6, "record": 3, "ref": 1, "run": 5, "layout": 1}  # that the small run pays to each step


@pytest.mark.slow
@pytest.mark.parametrize("point", IN_RUN[: -len(STEPS)])
def test_steps_killed_at_every_visit_of_every_crash_point_keep_the_promise(
    tmp_path, whole, record_property, point
):
    for round_ in range(ROUNDS):
        record_property("times", round_ + 1)
        visit = 1 + round_ % VISITS[point.partition(".")[0]]
        assert crash_steps(tmp_path / f"{round_}", whole, f"{point}:{visit}"), visit


# a folder is put and given back in batches


def put_a_folder(root):
    "Keep a folder of 200 files in a store: more than a batch holds, some of them equal."
    folder, store = root.parent / "folder", open_store(root)
    folder.mkdir(exist_ok=True)
    for n in range(200):
        (folder / f"{n}").write_text(f"{n % 190}")
    return put_value(store, folder).as_dict()


@pytest.mark.parametrize("visit", [1, 150])
@pytest.mark.parametrize("step", STEPS)
def test_folder_killed_at_a_crash_point_while_it_is_put_leaves_whole_objects(tmp_path, step, visit):
    root = tmp_path / "store"
    code, said = in_child(lambda: put_a_folder(root), f"object.{step}:{visit}")
    assert code == -9, said
    store = open_store(root)
    assert verify_store(store, set_aside=False).damaged == []
    code, described = in_child(lambda: put_a_folder(root))
    assert code == 0, described
    for _ in range(2):
        in_child(lambda: collect(store, dry_run=False).as_dict())
    assert verify_store(store, set_aside=False).temporaries == []


@pytest.mark.parametrize("step", ["begun", "half", "written", "flushed", "named", "kept"])
def test_folder_killed_while_it_is_given_back_is_given_back_whole_the_next_time(tmp_path, step):
    store = open_store(tmp_path / "store")
    described = Artifact.from_dict(put_a_folder(store.root))
    forget_pins()
    code, _ = in_child(lambda: str(get_value(store, described, tmp_path / "files")), f"file.{step}:130")
    assert code == -9
    back = get_value(store, described, tmp_path / "files")
    found = {path.name: path.read_text() for path in back.iterdir() if not path.name.startswith(".tmp-")}
    assert found == {f"{n}": f"{n % 190}" for n in range(200)}


# collecting, setting aside and migrating are killed too


def garbage_store(root):
    store = open_store(root)
    small_run(root)
    digests = [put(store, f"garbage {n}".encode()) for n in range(4)]
    return store, digests


@pytest.mark.parametrize("visit", [1, 2, 3])
@pytest.mark.parametrize("point", ["gc.listed", "gc.moved", "gc.looked", "gc.emptied"])
def test_collection_killed_at_a_crash_point_loses_nothing_that_is_reachable(tmp_path, whole, point, visit):
    store, _ = garbage_store(tmp_path / "store")
    forget_pins()
    died = False
    for _ in range(3):
        code, said = in_child(lambda: collect(store, Retention(runs=0)).as_dict(), f"{point}:{visit}")
        died |= code == -9
        assert code in (-9, 0), said
        assert results(store) == whole and verify_store(store).damaged == []
    assert died or (visit > 1 and point in ("gc.listed", "gc.looked"))
    for _ in range(2):
        assert in_child(lambda: collect(store).as_dict())[0] == 0
    assert verify_store(store).objects == 6 and not list((store.root / "trash").rglob("*.*"))


def test_quarantine_killed_in_the_middle_leaves_the_object_missing_and_it_is_made_again(tmp_path, whole):
    root = tmp_path / "store"
    store = open_store(root)
    small_run(root)
    digest = whole["features"][1]["value"]
    path_of(store, digest).chmod(0o600)
    path_of(store, digest).write_bytes(b"damaged")
    assert in_child(lambda: get(store, digest) and None, "quarantine.moved")[0] == -9
    assert not has(store, digest)
    assert in_child(lambda: small_run(root))[1] == ["features"]
    assert verify_store(store).clean and results(store) == whole


def test_points_are_all_passed_by_some_test():
    passed = {*IN_RUN, *(f"{kind}.{step}" for kind in ("evidence", "document", "version") for step in STEPS)}
    assert {p for p in POINTS if p not in passed} == {
        "gc.listed",
        "gc.moved",
        "gc.looked",
        "gc.emptied",
        "quarantine.moved",
        "audit.closed",
        "audit.exchanged",
    }
