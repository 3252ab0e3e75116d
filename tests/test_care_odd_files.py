"""What has a file's place in a store and is none, a pipe, a folder, a circle of links, neither holds a
collection up nor breaks it; it is named and left alone, and nothing that is needed goes."""

import json
import os
import socket

import pytest
from plain_records import commit, write_run

from mlnb.care.gc import collect, odd_files
from mlnb.care.months import close_month
from mlnb.care.roots import Retention
from mlnb.care.signing import key_path
from mlnb.care.verify import verify_store
from mlnb.flow.events import follow, recorded
from mlnb.flow.journal import read_journal
from mlnb.flow.lock import StageLock
from mlnb.flow.session import session_of_run
from mlnb.publish.site import changed_pages
from mlnb.store.disk import OddFileError
from mlnb.store.errors import IntegrityError
from mlnb.store.objects import get, has, open_store, path_of, put
from mlnb.store.opened import OPENED_FOLDER, is_opened
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
    places = [place for place in PLACES if place != f"runs/{OTHER}" and not place.startswith("refs/")]
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
    assert has(store, kept) and has(store, lost) == place.startswith("refs/")
    assert found.unread == ([place] if place.startswith("refs/") else [])  # nobody knows what it pointed to
    assert path.lstat().st_ino == before


NEEDED = [
    f"records/a/train/{KEY}.json",
    f"runs/{RUN}/run.json",
    "refs/heads/a/default/00000001.json",
]  # what leads to the result
HALF = {"half": lambda path: path.write_bytes(b'{"x":')}


def check_nothing_goes(store, place, kind, retention):
    "What leads to a result cannot be read: it is named, nothing goes; put back, all is as before."
    store, kept, lost = store
    path = store.root / place
    path.rename(store.root / "away")
    (KINDS | HALF)[kind](path)
    verified = verify_store(store)
    assert [one.file for one in verified.damaged if one.kind == "document"] == [place]
    for _ in range(3):
        found = collect(store, retention)
        assert found.unread == [place] and not found.moved.objects and not found.deleted.objects
    assert has(store, kept) and has(store, lost)
    path.rmdir() if kind == "folder" else path.unlink()
    (store.root / "away").rename(path)
    assert verify_store(store).clean
    collect(store, retention)
    assert collect(store, retention).unread == [] and has(store, kept) and not has(store, lost)


@pytest.mark.parametrize("place, kind", [*((place, "half") for place in NEEDED), (NEEDED[0], "pipe")])
def test_while_what_leads_to_a_result_cannot_be_read_nothing_goes(store, place, kind):
    check_nothing_goes(store, place, kind, Retention(records=0, runs=0))


@pytest.mark.slow
@pytest.mark.parametrize("retention", [Retention(), Retention(records=0, runs=0)])
@pytest.mark.parametrize("kind", KINDS | HALF)
@pytest.mark.parametrize("place", NEEDED)
def test_nothing_goes_whatever_stands_there(store, place, kind, retention):
    check_nothing_goes(store, place, kind, retention)


def test_what_the_document_of_a_head_mentions_outlives_its_record(store):
    store, kept, lost = store
    stages = [{"name": "train", "key": KEY, "state": "committed", "outputs": {"n": kept}}]
    write_run(store, {"run": RUN, "pipeline": "a", "state": "committed", "stages": stages})
    (store.root / NEEDED[0]).unlink()
    collect(store, Retention(records=0, runs=0))
    collect(store, Retention(records=0, runs=0))
    assert has(store, kept) and not has(store, lost)


@pytest.mark.parametrize("kind", KINDS)
def test_object_that_is_no_file_is_damage_and_is_made_again(store, kind):
    store, kept, _ = store
    path = path_of(store, kept)
    path.unlink()
    KINDS[kind](path)
    assert [(d.digest, d.kind) for d in verify_store(store).damaged] == [(kept, "altered")]
    assert [(d.digest, d.kind) for d in verify_store(store).damaged] == [(kept, "missing")]
    assert put(store, b"kept") == kept and verify_store(store).clean


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


def replace_by(kind, path):
    "Let something that is no file stand in the place of a file."
    path.unlink()
    KINDS[kind](path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_nobody_waits_for_a_key_a_run_or_a_notebook_that_is_no_file(make_project, asked, kind):
    root = make_project({"10_a.ipynb": ["n = 1"]}).root
    assert asked("audit", "init", cwd=root).code == 0
    store = open_store(root / ".mlnb")
    write_run(store, {"run": RUN, "pipeline": "demo", "state": "failed"})
    key = key_path(store)
    replace_by(kind, key)
    said = asked("run", "demo", cwd=root)
    assert said.code == 2 and f"{key} is no file" in said.stderr and "mend: move it away" in said.stderr
    assert asked("status", cwd=root).code == 0
    replace_by(kind, store.root / "runs" / RUN / "run.json")
    assert asked("status", cwd=root).code == 0
    (notebook,) = root.rglob("10_a.ipynb")
    replace_by(kind, notebook)
    said = asked("status", cwd=root)
    assert said.code == 0 and "10_a.ipynb is no file" in said.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_object_that_is_no_file_is_set_aside_by_who_reads_it(store, kind):
    store, kept, _ = store
    replace_by(kind, path_of(store, kept))
    with pytest.raises(IntegrityError) as caught:
        get(store, kept)
    assert caught.value.digest == kept
    assert put(store, b"kept") == kept and get(store, kept) == b"kept"


def test_nobody_waits_for_a_file_of_a_run_a_log_or_a_site_that_is_a_pipe(tmp_path):
    pipe = tmp_path / "closed" / "00000001-00000009.2025-01.jsonl"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    refused = {
        "events, read": lambda: next(follow(pipe, lambda: False)),
        "events, written": lambda: recorded(pipe, print).__enter__(),
        "journal": lambda: read_journal(pipe),
        "context": lambda: session_of_run(pipe),
        "month, closed": lambda: close_month(pipe, 0, 0o700),
    }
    for what, read in refused.items():
        with pytest.raises(OddFileError, match="is no file"):
            read()
            pytest.fail(what)
    os.mkfifo(tmp_path / "index.html")
    assert changed_pages({"index.html": "x"}, tmp_path) == ("index.html",)
    (tmp_path / OPENED_FOLDER).mkdir()
    os.mkfifo(tmp_path / OPENED_FOLDER / ".gitignore")
    assert not is_opened(tmp_path / OPENED_FOLDER)
