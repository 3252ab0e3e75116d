"""Power cuts, full disks, races, clocks and odd names: the store loses nothing and says what is the
matter."""

import fcntl
import itertools
import json
import multiprocessing
import os
import random
import stat
import subprocess
import unicodedata
from functools import partial
from pathlib import Path

import pytest
from conftest import write_project
from plain_records import commit, write_run

from mlnb.care.concerned import sound_records
from mlnb.care.gc import Retention, collect
from mlnb.care.verify import verify_store
from mlnb.store import objects
from mlnb.store.artifacts import get_value, put_value
from mlnb.store.descriptions import Artifact
from mlnb.store.disk import remove_abandoned, write_durably
from mlnb.store.errors import LockedError, MlnbError, StoreError, UsageError, ValueRefusedError
from mlnb.store.objects import get, has, open_store, put
from mlnb.store.pins import forget_pins
from mlnb.store.records import find_record, is_whole, output_digests
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.runs import read_run, run_ids

RUN = "20261123T100000000-aaaa"


# power cuts: everything a disk may show after it lost what was not flushed


class Recorder:
    "Writes down what a piece of work tells the operating system, with the content at each flush."

    def __init__(self, root):
        self.root, self.operations, self.inodes, self.contents = root, [], itertools.count(), {}

    def inside(self, path):
        return os.fspath(path).startswith(os.fspath(self.root))

    def note(self, kind, *what):
        "Write down an operation when the path it ends with, or its only one, lies inside."
        if self.inside(what[1] if kind in ("rename", "link") else what[0]):
            self.operations.append((kind, *map(os.fspath, what)))

    def opened(self, real, path, flags, *args, **kwargs):
        is_new = self.inside(path) and flags & os.O_CREAT and not os.path.exists(path)
        handle = real(path, flags, *args, **kwargs)
        if is_new:
            self.operations.append(("create", os.fspath(path), next(self.inodes)))
        return handle

    def flushed(self, real, handle):
        real(handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        if self.inside(path):
            is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
            self.operations.append(
                ("flush folder", path) if is_folder else ("flush", path, Path(path).read_bytes())
            )

    def named(self, kind, real, a, b, **kwargs):
        real(a, b, **kwargs)
        self.note(kind, a, b)

    def removed(self, real, path, **kwargs):
        real(path, **kwargs)
        self.note("unlink", path)

    def made(self, real, path, *args, **kwargs):
        real(path, *args, **kwargs)
        self.note("mkdir", path)

    def install(self, monkeypatch):
        for name, work in {
            "open": self.opened,
            "fsync": self.flushed,
            "replace": partial(self.named, "rename"),
            "rename": partial(self.named, "rename"),
            "link": partial(self.named, "link"),
            "unlink": self.removed,
            "mkdir": self.made,
        }.items():
            monkeypatch.setattr(os, name, partial(work, getattr(os, name)))


def open_questions(prefix):
    "Positions of operations that a power cut may undo, and files whose content it may lose."
    undecided, contents = set(), {}
    for n, operation in enumerate(prefix):
        kind, path = operation[0], operation[1]
        if kind in ("create", "unlink", "mkdir", "rename", "link"):
            undecided.add(n)
        if kind == "create":
            contents[operation[2]] = path
        elif kind == "flush folder":
            undecided -= {
                m
                for m in undecided
                if prefix[m][0] != "create"
                and os.path.dirname(prefix[m][-1] if prefix[m][0] in ("rename", "link") else prefix[m][1])
                == path
            }
            undecided -= {
                m for m in undecided if prefix[m][0] == "create" and os.path.dirname(prefix[m][1]) == path
            }
    return sorted(undecided)


class Disk:
    "What is on a disk after some operations, when a power cut undid some of their names."

    def __init__(self):
        self.inode_of, self.names, self.content, self.folders = {}, {}, {}, set()

    def create(self, stays, path, inode):
        self.inode_of[path], self.content[inode] = inode, None
        if stays:
            self.names[path] = inode

    def flush(self, stays, path, content):
        if path in self.inode_of:
            self.content[self.inode_of[path]] = content

    def mkdir(self, stays, path):
        if stays:
            self.folders.add(path)

    def link(self, stays, path, new):
        self.inode_of[new] = self.inode_of[path]
        if stays:
            self.names[new] = self.inode_of[path]

    def rename(self, stays, path, new):
        self.link(stays, path, new)
        self.unlink(stays, path)

    def unlink(self, stays, path):
        if stays:
            self.names.pop(path, None)


def state_after(prefix, undone, lose):
    """What is on the disk: path -> content; None is a folder. `lose(content)` is what is left of a file that
    was not flushed."""
    disk = Disk()
    for n, (kind, *what) in enumerate(prefix):
        if kind != "flush folder":
            getattr(disk, kind)(n not in undone, *what)

    def stands(path, root):
        parents = [p for p in Path(path).parents if p != root and p.is_relative_to(root)]
        return all(os.fspath(p) in disk.folders for p in parents)

    contents = {p: lose() if disk.content[i] is None else disk.content[i] for p, i in disk.names.items()}
    return disk.folders, contents, stands


def commit_of_a_stage(root, n_stages=1):
    "What a run does when its stages succeed one after the other."
    store, keys = open_store(root), {}
    write_run(store, {"run": RUN, "pipeline": "demo", "state": "running", "stages": []})
    for n, stage in enumerate(("rows", "features", "model", "report")[:n_stages]):
        output = put_value(store, {"rows": [1, 2, 3], "n": n})
        (root.parent / "notebook").write_text("executed notebook" + n * "!")
        notebook = put(store, root.parent / "notebook")
        keys[stage] = f"{n}" * 64
        commit(
            store,
            {
                "key": keys[stage],
                "parts": {},
                "pipeline": "demo",
                "stage": stage,
                "run": RUN,
                "inputs": {},
                "outputs": {stage: output.as_dict()},
                "metrics": {"n": n},
                "notebook": notebook,
            },
        )
        write_run(store, {"run": RUN, "pipeline": "demo", "state": "running", "keys": keys, "stages": []})
    write_run(store, {"run": RUN, "pipeline": "demo", "state": "committed", "keys": keys, "stages": []})
    move_ref(store, "heads/demo/default", RUN, "every stage is committed")


def states(operations, most_subsets, chooser):
    "Every prefix, with every legal loss where there are few, else a sample of them."
    for end in range(len(operations) + 1):
        prefix = operations[:end]
        undecided = open_questions(prefix)
        subsets = (
            [set(s) for size in range(len(undecided) + 1) for s in itertools.combinations(undecided, size)]
            if len(undecided) <= 6
            else [
                set(),
                set(undecided),
                *({n for n in undecided if chooser.random() < 0.5} for _ in range(most_subsets)),
            ]
        )
        for undone in subsets:
            for lose in (lambda: b"", lambda: b"\0" * 64, lambda: b'{"half', lambda: b'{"sha256": "'):
                yield end, undone, lose


def build(root, original, prefix, undone, lose):
    folders, files, stands = state_after(prefix, undone, lose)
    base = original.parent
    for path in sorted(folders, key=len):
        if stands(path, base):
            (root / Path(path).relative_to(original)).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, data in files.items():
        if stands(path, base):
            (root / Path(path).relative_to(original)).write_bytes(data)


@pytest.mark.parametrize(
    "n_stages, every, least",
    [
        (1, 3, 50),
        pytest.param(1, 1, 150, marks=pytest.mark.slow),
        pytest.param(4, 1, 500, marks=pytest.mark.slow),
    ],
)
def test_power_cut_at_any_operation_of_a_commit_keeps_what_was_reported(
    tmp_path, monkeypatch, record_property, n_stages, every, least
):
    original = tmp_path / "original" / "store"
    original.parent.mkdir()
    recorder = Recorder(original)
    with monkeypatch.context() as patch:
        recorder.install(patch)
        commit_of_a_stage(original, n_stages)
    forget_pins()
    operations = recorder.operations
    assert {o[0] for o in operations} == {
        "create",
        "flush",
        "flush folder",
        "rename",
        "link",
        "unlink",
        "mkdir",
    }
    whole = {r.stage: output_digests(r) for r in sound_records(open_store(original))}
    seen, n_committed = set(), 0
    all_states = [*states(operations, 12, random.Random(0))]
    for n, (end, undone, lose) in enumerate([*all_states[::every], all_states[-1]]):
        root = tmp_path / f"state-{n}"
        build(root, original, operations[:end], undone, lose)
        shape = json.dumps(
            sorted(
                (p.relative_to(root).as_posix(), p.read_bytes().hex() if p.is_file() else "")
                for p in root.rglob("*")
            )
        )
        if shape in seen or not (root / "format").exists():
            seen.add(shape)
            continue
        seen.add(shape)
        store = open_store(root)
        found = verify_store(store, set_aside=False)
        assert found.damaged == [], (end, sorted(undone), found.damaged)  # I1, I2
        committed = {r.stage: output_digests(r) for r in sound_records(store)}
        assert committed.items() <= whole.items()  # I3
        for record in sound_records(store):
            assert all(
                is_whole(store, o)
                and get_value(store, o, root) == {"rows": [1, 2, 3], "n": record.metrics["n"]}
                for o in record.outputs.values()
            )
        if (head := read_ref(store, "heads/demo/default")) is not None:
            keys = read_run(store, head.target).keys
            assert len(keys) == n_stages and all(
                find_record(store, "demo", stage, key) for stage, key in keys.items()
            )
        n_committed += bool(committed)
    assert len(seen) >= least and n_committed >= 10
    record_property("times", len(seen))
    assert find_record(store, "demo", "rows", "0" * 64)  # the last state: everything was flushed


def commit_of_a_folder(root):
    "What a run does that saves a folder of small files, two of them equal, and then a record of it."
    folder, store = root.parent / "folder", open_store(root)
    (folder / "deep").mkdir(parents=True)
    for n, name in enumerate(("a", "b", "deep/c", "deep/d")):
        (folder / name).write_text(f"content {min(n, 2)}")
    output = put_value(store, folder)
    record = {"key": "0" * 64, "parts": {}, "pipeline": "demo", "stage": "rows", "run": RUN, "inputs": {}}
    record |= {"outputs": {"rows": output.as_dict()}, "metrics": {}, "notebook": output.digest}
    commit(store, record)
    return output


def test_power_cut_at_any_operation_of_a_folder_leaves_whole_objects_and_no_record_before_them(
    tmp_path, monkeypatch
):
    original, recorder = tmp_path / "original" / "store", Recorder(tmp_path / "original" / "store")
    original.parent.mkdir()
    with monkeypatch.context() as patch:
        recorder.install(patch)
        output = commit_of_a_folder(original)
    forget_pins()
    n_whole, chooser = 0, random.Random(0)
    every = [*states(recorder.operations, 4, chooser)]
    for n, (end, undone, lose) in enumerate([*every[:: max(1, len(every) // 120)], every[-1]]):
        root = tmp_path / f"state-{n}"
        build(root, original, recorder.operations[:end], undone, lose)
        if not (root / "format").exists():
            continue
        store = open_store(root)
        assert verify_store(store, set_aside=False).damaged == [], end
        if find_record(store, "demo", "rows", "0" * 64):
            back = get_value(store, output, tmp_path / f"files-{n}")
            assert {p.name: p.read_text() for p in back.rglob("*") if p.is_file()} == {
                "a": "content 0",
                "b": "content 1",
                "c": "content 2",
                "d": "content 2",
            }
            n_whole += 1
    assert n_whole >= 1


def test_power_cut_checker_finds_a_commit_that_flushes_nothing(tmp_path, monkeypatch):
    "The checker itself: without flushing, some state must show a broken promise."
    original = tmp_path / "original" / "store"
    original.parent.mkdir()
    recorder = Recorder(original)
    with monkeypatch.context() as patch:
        recorder.install(patch)
        commit_of_a_stage(original)
    forget_pins()
    unflushed = [o for o in recorder.operations if not (o[0] == "flush folder" and "/objects" in o[1])]

    def is_broken(number):
        root = tmp_path / f"bad-{number}"
        undone = {
            n
            for n in open_questions(unflushed)
            if "/objects/" in unflushed[n][-1 if unflushed[n][0] == "rename" else 1]
            and unflushed[n][0] == "rename"
        }
        build(root, original, unflushed, undone, lambda: b"")
        return not verify_store(open_store(root), set_aside=False).clean

    assert is_broken(0)


# full disks


def limited(folder, kib):
    "A file system of so many KiB; skips where nobody may mount one."
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    folders = []
    yield lambda kib: folders.append(limited(tmp_path / f"disk-{kib}-{len(folders)}", kib)) or folders[-1]
    forget_pins()
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


def fill_up(folder, leave):
    "Take all room but `leave` bytes."
    free = os.statvfs(folder)
    size = max(0, free.f_bavail * free.f_frsize - leave)
    with open(folder / "ballast", "wb") as file:
        file.write(b"\0" * size)


BIG = "x" * 30_000


def big_file(path):
    "A file on the large disk, with content that no store has."
    path.write_bytes(os.urandom(60_000))
    return path


WRITERS = {
    "object": lambda store: put(store, os.urandom(60_000)),
    "file": lambda store: put_value(store, big_file(store.root.parents[1] / "big")),
    "record": lambda store: commit(
        store,
        {
            "key": "1" * 64,
            "pipeline": "demo",
            "stage": "rows",
            "run": RUN,
            "inputs": {},
            "outputs": {},
            "metrics": {},
            "parts": {"note": BIG},
        },
    ),
    "ref": lambda store: move_ref(store, "heads/demo/default", RUN, BIG),
    "run": lambda store: write_run(store, {"run": RUN, "pipeline": "demo", "state": "failed", "actor": BIG}),
    "page": lambda store: write_durably(store.root / "page.html", BIG.encode()),
}


@pytest.mark.parametrize("room_kib", [0, 4, 8, 16, 24])
@pytest.mark.parametrize("what", WRITERS)
def test_full_disk_is_said_clearly_keeps_what_was_there_and_passes(small_disk, what, room_kib):
    disk = small_disk(1024)
    store = open_store(disk / "store")
    commit_of_a_stage(store.root)
    write_durably(store.root / "page.html", b"old page")
    before = {
        p.relative_to(disk): p.read_bytes()
        for p in store.root.rglob("*")
        if p.is_file() and "pins" not in p.parts
    }
    fill_up(disk, room_kib * 1024)
    with pytest.raises(StoreError, match="no room left") as caught:
        WRITERS[what](store)
    assert caught.value.exit_code == 69 and caught.value.mend
    assert {
        p.relative_to(disk): p.read_bytes()
        for p in store.root.rglob("*")
        if p.is_file() and "pins" not in p.parts
    } == before
    (disk / "ballast").unlink()
    WRITERS[what](store)
    assert verify_store(store).clean


FULL = {
    "10_rows.ipynb": ["import os\nfrom mlnb import save\nsave('rows', [n * n for n in range(400)])"],
    "20_big.ipynb": [
        "from pathlib import Path\nfrom mlnb import load, save\nn = len(load('rows'))\n"
        "save('big', 'word ' * 20_000)"
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("room_kib", [16, 32, 64, 80, 96])
def test_run_on_a_full_disk_ends_with_69_and_goes_on_when_there_is_room(small_disk, mlnb, room_kib):
    disk = small_disk(4096)
    project = write_project(disk / "project", FULL)
    fill_up(disk, room_kib * 1024)
    full = mlnb("run", "demo", "--json", cwd=project.root)
    assert full.code == 69, (full.stdout, full.stderr)
    assert "room" in full.stdout + full.stderr and "Traceback" not in full.stderr
    (disk / "ballast").unlink()
    again = mlnb("run", "demo", "--json", cwd=project.root)
    assert again.code == 0, again.stderr
    assert verify_store(open_store(disk / "project" / ".mlnb")).damaged == []


# races


def race(work, n):
    "Run `work(number)` in n processes that start at one moment."
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(n), context.Queue()

    def process(number):
        barrier.wait()
        queue.put(work(number))

    processes = [context.Process(target=process, args=(number,)) for number in range(n)]
    for p in processes:
        p.start()
    found = [queue.get(timeout=120) for _ in processes]
    for p in processes:
        p.join(60)
    assert [p.exitcode for p in processes] == [0] * n
    return found


def one_race(root, n):
    "Processes commit the same and different results, move one head and collect garbage, all at once."
    store = open_store(root)
    start = move_ref(store, "heads/demo/default", "r0", "start").number

    def work(number):
        shared, own = put(store, b"shared"), put(store, f"own {number}".encode())
        first = commit(
            store,
            {
                "key": "0" * 64,
                "pipeline": "demo",
                "stage": "rows",
                "run": f"r{number}",
                "inputs": {},
                "metrics": {},
                "outputs": {
                    "rows": {"digest": shared, "codec": "text", "bytes": 6},
                    "own": {"digest": own, "codec": "text", "bytes": len(f"own {number}")},
                },
            },
        ).is_first
        try:
            moved = move_ref(store, "heads/demo/default", f"r{number}", "race", after=start).number
        except LockedError:
            moved = None
        if number == 0:
            try:
                collect(store, Retention(records=1))
            except LockedError:
                return None
        forget_pins()
        return first, moved

    found = race(work, n)
    assert sum(first for first, _ in found) == 1 and sum(moved is not None for _, moved in found) == 1
    history = ref_history(store, "heads/demo/default")
    assert [v.number for v in history] == [1, 2]
    record = find_record(store, "demo", "rows", "0" * 64)
    assert record is not None and all(get(store, o.digest) for o in record.outputs.values())
    assert verify_store(store).clean


@pytest.mark.parametrize("n, rounds", [(2, 5), (8, 1)])
def test_races_have_one_winner_and_lose_nothing(tmp_path, n, rounds):
    for round_ in range(rounds):
        one_race(tmp_path / f"{round_}", n)


@pytest.mark.slow
@pytest.mark.parametrize("n, rounds", [(2, 100), (8, 20)])
def test_many_races_have_one_winner_and_lose_nothing(tmp_path, record_property, n, rounds):
    for round_ in range(rounds):
        one_race(tmp_path / f"{round_}", n)
        record_property("times", round_ + 1)


# clocks


@pytest.mark.parametrize("shift", ["-400 days", "+400 days"])
def test_clock_set_wrong_changes_no_answer(tmp_path, monkeypatch, shift):
    "Every time that Python or the file system could be asked for is wrong; what the store decides is not."
    import time

    store = open_store(tmp_path / "store")
    commit_of_a_stage(store.root)
    seconds = int(shift.split()[0]) * 86_400
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    for path in store.root.rglob("*"):
        os.utime(path, (now + seconds, now + seconds))
    forget_pins()
    garbage = put(store, b"garbage")
    forget_pins()
    record = find_record(store, "demo", "rows", "0" * 64)
    assert record and move_ref(store, "heads/demo/default", RUN, "again").number == 2
    assert collect(store).moved.objects == 1 and collect(store).deleted.objects == 1
    assert not has(store, garbage) and is_whole(store, record.outputs["rows"]) and verify_store(store).clean


def test_run_ids_that_go_back_in_time_do_not_move_a_ref_back(tmp_path):
    store = open_store(tmp_path / "store")
    for run in ("20300101T000000000-aaaa", "20200101T000000000-bbbb"):
        write_run(store, {"run": run, "pipeline": "demo", "state": "committed"})
        move_ref(store, "heads/demo/default", run, "clock was set back")
    assert read_ref(store, "heads/demo/default").target == "20200101T000000000-bbbb"
    assert run_ids(store)[0] == "20300101T000000000-aaaa"
    collect(store, Retention(runs=1))
    assert "20200101T000000000-bbbb" in run_ids(store)  # the head is kept although its id is the older one


# odd surroundings and odd names


def test_read_only_store_is_read_and_verified_and_refuses_the_rest(small_disk):
    disk = small_disk(1024)
    store = open_store(disk / "store")
    commit_of_a_stage(store.root)
    forget_pins()
    if subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True).returncode:
        pytest.skip("this machine lets nobody remount")
    store = open_store(disk / "store")
    record = find_record(store, "demo", "rows", "0" * 64)
    assert get(store, record.notebook) == b"executed notebook" and verify_store(store).clean
    assert put(store, b"executed notebook") == record.notebook  # it is there: nothing is to be written
    for work in (
        lambda: put(store, b"new"),
        lambda: collect(store),
        lambda: move_ref(store, "x", "y", "z"),
        lambda: write_run(store, {"run": "r", "pipeline": "demo", "state": "committed"}),
    ):
        with pytest.raises(StoreError, match="read-only"):
            work()
    assert collect(store, dry_run=True).moved.objects == 0


def test_no_home_and_umask_077_change_nothing(make_project, mlnb, monkeypatch):
    monkeypatch.delenv("HOME")
    before = os.umask(0o077)
    try:
        project = make_project({"10_rows.ipynb": ["from mlnb import save\nsave('rows', [1, 2])"]})
        done = mlnb("run", "demo", "--json", cwd=project.root)
    finally:
        os.umask(before)
    assert done.code == 0, done.stderr
    store = open_store(project.root / ".mlnb")
    assert verify_store(store).clean
    assert not [p for p in store.root.rglob("*") if stat.S_IMODE(p.lstat().st_mode) & 0o077]


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
ODD = [
    "../../outside",
    "..",
    ".",
    "a/../../b",
    "/etc/passwd",
    "nul\0name",
    "x" * 255,
    COMPOSED,
    DECOMPOSED,
    "a b\nc",
    "-rf",
    "",
    "😀",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_work_or_are_refused_in_one_line_and_touch_nothing_outside(tmp_path, name):
    root = tmp_path / "inner" / "store"
    store = open_store(root)
    outside = sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(root))
    for work in (
        lambda: objects.path_of(store, name),
        lambda: get(store, name),
        lambda: has(store, name),
        lambda: read_run(store, name),
    ):
        with pytest.raises((MlnbError, ValueError)) as caught:
            work()
        assert "\n" not in str(caught.value)
    from mlnb.store.names import is_name, parse_name

    assert not is_name(name)
    with pytest.raises(UsageError) as refused:
        parse_name(f"{name}/x@..")
    assert refused.value.mend
    assert sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(root)) == outside


@pytest.mark.parametrize("name", ["x" * 255, COMPOSED, DECOMPOSED, "a .b", "-rf", "😀", "console.txt"])
def test_files_with_odd_names_come_back_under_their_own_name(tmp_path, name):
    store = open_store(tmp_path / "store")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"content")
    back = get_value(store, put_value(store, tmp_path / "folder"), tmp_path / "files")
    assert [p.name for p in back.iterdir()] == [name] and (back / name).read_bytes() == b"content"


@pytest.mark.parametrize("name", ["a b\nc", "con.txt", "a\\b", "\u202egnp.exe"])
def test_files_whose_names_other_machines_cannot_take_are_refused_with_a_mend(tmp_path, name):
    store = open_store(tmp_path / "store")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_bytes(b"content")
    for path in (tmp_path / "folder", tmp_path / "folder" / name):
        with pytest.raises(ValueRefusedError) as refused:
            put_value(store, path)
        assert "rename the file" in refused.value.mend


@pytest.mark.parametrize("name", ["../outside", "..", "/outside", "a/b"])
def test_artifact_whose_record_names_a_file_outside_is_refused(tmp_path, name):
    store = open_store(tmp_path / "store")
    artifact = Artifact("file", put(store, b"content"), 7, "pathlib.Path", name)
    with pytest.raises(MlnbError):
        get_value(store, artifact, tmp_path / "files")
    assert not (tmp_path / "outside").exists()


# a collection beside a writer


@pytest.mark.parametrize("n_times", [1, 3])
def test_file_that_is_collected_before_its_writer_locked_it_is_written_all_the_same(
    tmp_path, monkeypatch, n_times
):
    "A writer may be held up before locking; earlier versions take its file for a dead one's and remove it."
    lock, removed = fcntl.flock, []

    def collected_first(handle, how):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if len(removed) < n_times:
            monkeypatch.setattr(fcntl, "flock", lock)
            assert not remove_abandoned(path)
            monkeypatch.setattr(fcntl, "flock", collected_first)
            path.unlink()
            removed.append(True)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", collected_first)
    write_durably(tmp_path / "kept.json", b"all of it")
    assert removed == [True] * n_times
    assert (tmp_path / "kept.json").read_bytes() == b"all of it"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
