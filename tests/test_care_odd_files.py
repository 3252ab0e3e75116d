"""What has a file's place in a store and is none, a pipe, a folder, a circle of links, neither holds a
collection up nor breaks it; it is named and left alone, and nothing that is needed goes."""

import json
import os
import socket

import pytest
from plain_records import commit, write_run

from mlnb.care.gc import collect, odd_files
from mlnb.care.roots import Retention
from mlnb.flow.lock import StageLock
from mlnb.store.disk import OddFileError
from mlnb.store.objects import has, open_store, put
from mlnb.store.pins import forget_pins, protect
from mlnb.store.refs import move_ref
from mlnb.store.runs import hold_run

KEY, RUN, OTHER = "ab" * 32, "20261123T120000000-0001", "20261123T120000000-0002"
PLACES = [
    "pins/x.pin",
    "hosts/abcdefabcdef",
    "locks/a.train.lock",
    "quarantine/" + "cd" * 32,
    f"objects/cd/{'cd' * 32}",
    f"records/a/train/{'cd' * 32}.json",
    f"records/a/train/{'cd' * 32}.0.evidence",
    "refs/heads/a/default/00000009.json",
    "refs/models/a/00000009.json",
    f"tombstones/cd/{'cd' * 32}.json",
    f"runs/{OTHER}",
    f"runs/{OTHER}/alive",
    f"runs/{OTHER}/run.json",
    f"runs/{RUN}/x.json",
    "sources/default/x.json",
    "pins/.tmp-0",
]


def listen(path):
    "A socket; its address may not be long."
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name[:90])
        os.rename(path.name[:90], path.name)
    finally:
        os.chdir(here)


KINDS = {
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "circle": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("nowhere")),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": listen,
}


@pytest.fixture
def store(tmp_path):
    "A store with a result that a head leads to, a run that is under way, and an object that nobody needs."
    store = open_store(tmp_path / ".mlnb")
    kept, lost = put(store, b"kept"), put(store, b"lost")
    record = {"pipeline": "a", "stage": "train", "key": KEY, "run": RUN}
    commit(store, record | {"outputs": {"n": {"digest": kept, "bytes": 4, "codec": "bytes"}}})
    stages = [{"name": "train", "key": KEY, "state": "committed"}]
    write_run(store, {"run": RUN, "pipeline": "a", "state": "committed", "stages": stages})
    move_ref(store, "heads/a/default", RUN, "a run")
    forget_pins()
    with hold_run(store, RUN):
        yield store, kept, lost
    forget_pins()


def test_all_kinds_at_all_places_at_once_are_named(store):
    store, kept, lost = store
    places = [place for place in PLACES if place != f"runs/{OTHER}"]
    for n, place in enumerate(places):
        (store.root / place).parent.mkdir(parents=True, exist_ok=True)
        list(KINDS.values())[n % len(KINDS)](store.root / place)
    for _ in range(2):
        assert collect(store, Retention(records=0, runs=0)).odd == sorted(places)
    assert has(store, kept) and not has(store, lost)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_named_and_nothing_else_happens(store, place, kind):
    store, kept, lost = store
    path = store.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](path)
    before = path.lstat().st_ino
    for dry in (True, False, False):
        found = collect(store, Retention(records=0, runs=0), dry_run=dry)
        assert (place in found.odd) is not (kind == "folder" and place == f"runs/{OTHER}")
    assert has(store, kept) and not has(store, lost)
    assert path.lstat().st_ino == before


@pytest.mark.parametrize("kind", ["folder", "circle", "pipe"])
def test_lock_that_is_no_file_is_said_in_words(store, kind):
    store, kept, _ = store
    path = store.root / "locks" / "gc.lock"
    path.parent.mkdir(exist_ok=True)
    KINDS[kind](path)
    with pytest.raises(OddFileError, match=r"gc\.lock is no file"):
        collect(store)
    assert has(store, kept)


def test_lock_of_a_stage_that_is_no_file_is_said_in_words(store):
    from types import SimpleNamespace

    store, _, _ = store
    (store.root / "locks").mkdir(exist_ok=True)
    os.mkfifo(store.root / "locks" / "a.train.lock")
    plan = SimpleNamespace(store=store, pipeline=SimpleNamespace(name="a"))
    with pytest.raises(OddFileError, match=r"a\.train\.lock is no file"):
        StageLock(plan, "train", RUN).take()


def test_pins_beside_what_is_no_file_protect_as_always(store):
    store, _, lost = store
    os.mkfifo(store.root / "pins" / "0.pin")
    protect(store.root, lost)
    collect(store)
    collect(store)
    assert has(store, lost)


def test_links_to_folders_and_files_are_no_fault(store, tmp_path):
    store, kept, _ = store
    (store.root / "records").rename(tmp_path / "elsewhere")
    (store.root / "records").symlink_to(tmp_path / "elsewhere")
    (path,) = (tmp_path / "elsewhere").glob("a/train/*.json")
    path.rename(tmp_path / "record.json")
    path.symlink_to(tmp_path / "record.json")
    assert odd_files(store.root) == []
    collect(store, Retention(records=0))
    collect(store, Retention(records=0))
    assert has(store, kept)


def test_command_names_what_is_no_file(make_project, asked):
    root = make_project({"10_a.ipynb": ["n = 1"]}).root
    (root / ".mlnb" / "pins").mkdir(parents=True, exist_ok=True)
    asked("gc", cwd=root)
    os.mkfifo(root / ".mlnb" / "pins" / "x.pin")
    said = asked("gc", cwd=root)
    assert said.code == 0 and "pins/x.pin is no file, and was left alone: move it away" in said.stdout
    assert json.loads(json.dumps(asked("gc", "--json", cwd=root).json))["odd"] == ["pins/x.pin"]
