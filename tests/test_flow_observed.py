"""A stage is fresh until something changes that it really used, also when its text does not name it; three
stages go many of the ways of `observed_ways`, every way alone is the slow battery's."""

import json
import os
from hashlib import sha256
from types import SimpleNamespace

import pytest
from observed_ways import HERE, SETTINGS, WAYS, World, cells_of

from mlnb.kernel.link import can_serve
from mlnb.store.objects import get, open_store
from mlnb.store.records import records_of

needs_watch = pytest.mark.skipif(not can_serve(), reason="reads of other processes are seen on Linux only")
WENT = {
    "code": ("append", "computed", "import_variable", "namespace", "load_ext", "own_by_computed_name"),
    "data": ("open", "beside_module", "fork_pool", "thread", "glob", "absent", "link_inside"),
    "native": ("subprocess_cat", "python_m"),
}
STAGE_OF = {name: stage for stage, names in WENT.items() for name in names}
WRITES = [
    "from mlnb import save",
    "%%writefile written_here.py\nX = 1",
    "import written_here\nwith open('table.txt', 'w') as file:\n    file.write('2')",
    "save('writes', written_here.X + int(open('table.txt').read()))",
]


@pytest.fixture(scope="module")
def done(make_shared_project, mlnb):
    "The project after its first run: its files, what the run said, and what its stages found."
    cells = {stage: [*cells_of(names), f"save('{stage}', got)"] for stage, names in WENT.items()}
    notebooks = {f"{HERE}/{n}_{stage}.ipynb": cells[stage] for n, stage in enumerate(WENT, 10)}
    project = make_shared_project(notebooks | {f"{HERE}/20_writes.ipynb": WRITES}, SETTINGS, HERE)
    world = World(project.root, project.root.parent / "outside")

    def run(n):
        for name in STAGE_OF:
            world.write(WAYS[name], n)
        result = mlnb("run", "demo", "--json", "-j", 1, cwd=world.root)
        assert result.code == 0, result.stderr
        store = open_store(world.root / ".mlnb")
        digests = [digest for s in WENT for digest in result.stage(s)["outputs"].values()]
        found = [json.loads(get(store, digest)) for digest in digests]
        return SimpleNamespace(result=result, found={n: v for part in found for n, v in part.items()})

    return SimpleNamespace(world=world, run=run, first=run(1), store=open_store(world.root / ".mlnb"))


@pytest.fixture
def stale(done, asked):
    "What is stale now: stage -> entries of `why`."

    def of():
        stages = asked("status", "--json", cwd=done.world.root).json["stages"]
        return {stage["name"]: stage["why"] for stage in stages if stage["state"] != "fresh"}

    return of


def record_of(done, stage):
    return records_of(done.store, "demo", stage)[0]


def test_stage_is_fresh_as_long_as_nothing_that_it_used_has_changed(done, stale):
    assert done.first.found == {name: WAYS[name].values[0] for name in STAGE_OF}
    assert stale() == {}
    for name in STAGE_OF:
        done.world.touch(WAYS[name])
    assert stale() == {}
    for place in (f"{HERE}/unrelated.txt", f"{HERE}/unrelated.py", "notes.txt"):
        done.world.at(place).write_text("nobody reads it")
    assert stale() == {}


@pytest.mark.parametrize("name", [n for n in STAGE_OF if not WAYS[n].is_native])
def test_edit_of_what_a_stage_used_makes_it_stale_and_the_way_back_fresh(done, stale, name):
    check_edit(done, stale, name)


@needs_watch
@pytest.mark.parametrize("name", WENT["native"])
def test_edit_of_what_another_process_read_makes_its_stage_stale(done, stale, name):
    check_edit(done, stale, name)


def check_edit(done, stale, name):
    way = WAYS[name]
    done.world.write(way, 2)
    told = stale()
    assert list(told) == [STAGE_OF[name]]
    (entry,) = told[STAGE_OF[name]]
    assert entry["kind"] in way.kinds and way.label in entry["name"] + entry["message"]
    done.world.write(way, 1)
    assert stale() == {}


def test_what_a_stage_wrote_itself_is_no_reason_to_run_it_again(done, stale):
    assert done.first.result.states["writes"] == "committed"
    for place in ("table.txt", "written_here.py"):
        done.world.at(f"{HERE}/{place}").unlink()
    assert stale() == {}


def test_record_names_what_was_used_with_its_digest(done):
    record = record_of(done, "data")
    files, folders = (record.parts["observed"][group] for group in ("files", "folders"))
    assert files[f"{HERE}/opened.txt"] == files[f"{HERE}/beside_it.txt"] == sha256(b"1").hexdigest()
    assert files[f"{HERE}/maybe.txt"] is None and list(folders) == [f"{HERE}/many"]
    assert record.observed.python == "observed"
    assert sha256(b"1").hexdigest() in record.observed.kept


def test_run_after_all_edits_gives_what_is_there_now_and_the_way_back_runs_nothing(done, stale):
    assert done.run(2).found == {name: WAYS[name].values[1] for name in STAGE_OF}
    assert stale() == {}
    again = done.run(1)
    assert set(again.result.states.values()) == {"cached"} and again.found == done.first.found


ODD = """import os
names = [b"caf\\xe9.txt", "new\\nline.txt", "here", "x" * 300, "a\\0b", "\\ud800", "fifo"]
for name in names:
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
    except (OSError, ValueError):
        pass
os.listdir("here")"""


@pytest.fixture(scope="module")
def odd(make_shared_project, mlnb):
    "A project whose stage asked for files of odd names, after a run."
    cells = ["from mlnb import save", ODD, "save('a', 1)"]
    project = make_shared_project({f"{HERE}/10_odd.ipynb": cells}, SETTINGS, HERE)
    place = project.root / HERE
    os.mkfifo(place / "fifo")
    (place / "here").mkdir()
    for name in (b"caf\xe9.txt", b"new\nline.txt", b"here/caf\xe9.txt"):
        (place / os.fsdecode(name)).write_text("1")
    result = mlnb("run", "demo", "--json", cwd=project.root)
    return SimpleNamespace(root=project.root, place=place, result=result)


def test_file_of_any_name_is_looked_for_without_a_fault(odd):
    assert odd.result.code == 0, odd.result.stderr


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"new\nline.txt"])
def test_file_of_an_odd_name_counts(odd, asked, name):
    path = odd.place / os.fsdecode(name)
    for text, state in (("2", "stale"), ("1", "fresh")):
        path.write_text(text)
        assert asked("status", "--json", cwd=odd.root).json["stages"][0]["state"] == state
