"""A store that several machines see: what another one holds is left alone and named, whatever locks tell."""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_records import write_run

from mlnb.care.audit import audit, events, verify_log
from mlnb.care.gc import QUIET_S, collect
from mlnb.care.verify import verify_store
from mlnb.flow.ending import sweep
from mlnb.flow.lock import StageLock
from mlnb.notebook import packages
from mlnb.notebook.packages import InstalledPackage, installed_packages, list_path
from mlnb.store import holders, hosts
from mlnb.store.disk import time_at, write_durably
from mlnb.store.errors import LockedError
from mlnb.store.holders import SILENT_S, beat, holder_of
from mlnb.store.hosts import NOBODY_KNOWN, Mark, Place, here, mark_line, own_mark, read_mark, uptime_s
from mlnb.store.objects import get, has, open_store, put
from mlnb.store.pins import forget_pins, pinned, protect
from mlnb.store.runs import dead_scratch, hold_run, is_alive, read_run, run_folder, scratch_folders
from mlnb.terminal.past import run_summary

RUN = "20261123T100000000-aaaa"
OTHER = Mark("ws2", Place("another machine", "another start", "pid:[1]"), 7, 99, "2026-11-23T10:00:00+00:00")


@pytest.fixture
def store(tmp_path):
    yield open_store(tmp_path / "project" / ".mlnb")
    forget_pins()


def heard_of(store, mark, ago_s=0.0):
    "The place of a mark showed itself some time ago, by the time of the disk."
    beat(store.root)
    path = store.root / "hosts" / mark.place.tag
    path.write_text(mark_line(mark))
    now = time_at(store.root)
    os.utime(path, (now - ago_s, now - ago_s))


# every kind of mark, on every kind of file, before every verb


def text_of(kind, store, dead):
    "What stands in a file, and what else is there of who wrote it."
    mine = own_mark()
    rebooted = mine._replace(place=here()._replace(boot="another start"), host="same name")
    contained = mine._replace(place=here()._replace(space="pid:[1]"), host="container")
    if kind in ("clone", "rebooted"):
        heard_of(store, rebooted, uptime_s() + SILENT_S + 60 if kind == "rebooted" else 1)
    if kind in ("contained", "container silent"):
        heard_of(store, contained, 1 if kind == "contained" else SILENT_S + 1)
    if kind in ("other", "other silent"):
        heard_of(store, OTHER, 1 if kind == "other" else QUIET_S + 60)
    return {
        "own": mark_line(mine),
        "own, killed": mark_line(mine._replace(pid=dead)),
        "own, number used again": mark_line(mine._replace(started=mine.started + 1)),
        "rebooted": mark_line(rebooted),
        "clone": mark_line(rebooted),
        "contained": mark_line(contained),
        "container silent": mark_line(contained),
        "other": mark_line(OTHER),
        "other silent": mark_line(OTHER),
        "other never heard of": mark_line(OTHER),
        "no mark": "",
        "zeros": "\0" * 80,
        "cut": mark_line(OTHER)[:50],
        "noise": "\ufffd\x07 noise",
    }[kind]


HELD = {
    "own": "here",
    "own, killed": "nobody",
    "own, number used again": "nobody",
    "rebooted": "nobody",
    "clone": "elsewhere",
    "contained": "here",
    "container silent": "nobody",
    "other": "elsewhere",
    "other silent": "elsewhere",
    "other never heard of": "elsewhere",
    "no mark": "nobody",
    "zeros": "nobody",
    "cut": "elsewhere",
    "noise": "elsewhere",
}
AT_WORK = ("clone", "other")  # another machine within the last hour


@pytest.fixture(scope="module")
def dead():
    "The number of a process that has ended."
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.fixture(params=HELD)
def world(request, store, dead):
    "A store in which somebody left a run under way, with scratch, and a pin."
    text = text_of(request.param, store, dead)
    write_run(store, {"run": RUN, "pipeline": "p", "state": "running", "stages": []})
    (run_folder(store, RUN) / "scratch").mkdir()
    alive = run_folder(store, RUN) / "alive"
    alive.write_text(text)
    digest = put(store, b"saved, in no record yet")
    forget_pins()
    pin = store.root / "pins" / "theirs.pin"
    pin.write_text(f"{text}\n{digest}\n")
    about = {
        "digest": digest,
        "pin": pin,
        "alive": alive,
        "text": text,
        "is_at_work": request.param in AT_WORK,
    }
    return SimpleNamespace(store=store, held=HELD[request.param], **about)


def test_what_only_looks_tells_the_same_of_a_run_as_what_removes_its_scratch(world):
    scratch, is_elsewhere = world.alive.with_name("scratch"), world.held == "elsewhere"
    document, planned = read_run(world.store, RUN), collect(world.store, dry_run=True)
    assert document.state == ("cancelled" if world.held == "nobody" else "running")
    assert bool(document.held_by) == is_elsewhere
    assert len(planned.others) == world.is_at_work and world.pin.exists()
    assert dead_scratch(world.store) == ([scratch] if world.held == "nobody" else [])
    said = sweep(world.store)
    assert [path for path, _ in scratch_folders(world.store)] == ([] if world.held == "nobody" else [scratch])
    assert len(said) == is_elsewhere
    assert all(f"remove {world.alive}" in line and "held by host" in line for line in said)


@pytest.mark.parametrize("told", [{}, {"host": "x"}, {"host": "x", "file": "/home/ana"}])
def test_who_holds_a_run_is_seen_and_never_read(tmp_path, told):
    store = open_store(tmp_path / "store")
    for run, state in (("r1", "committed"), ("r2", "running")):
        write_run(store, {"run": run, "pipeline": "p", "state": state, "stages": [], "held_by": told})
        document = read_run(store, run)
        assert not document.held_by and "/home/ana" not in run_summary(document)


def test_gc_keeps_what_others_may_have_pinned_and_refuses_while_they_work(world):
    if world.is_at_work:
        with pytest.raises(LockedError, match="was at work in this store") as caught:
            collect(world.store)
        assert caught.value.exit_code == 75 and "--force" in caught.value.mend
        assert world.pin.exists() and has(world.store, world.digest)
    found = collect(world.store, force=world.is_at_work)
    is_kept = world.held != "nobody"
    assert (has(world.store, world.digest), world.pin.exists()) == (
        True,
        is_kept,
    )  # or taken back from the trash
    assert found.moved.objects == (0 if is_kept else 1)
    files = [str(world.alive), str(world.pin)] if world.held == "elsewhere" else []
    assert [one.file for one in found.held] == files
    assert len(found.others) == world.is_at_work


@pytest.mark.parametrize("kind", HELD)
def test_lock_of_a_stage_waits_for_whoever_may_be_at_it(store, dead, kind):
    lock = StageLock(SimpleNamespace(store=store, pipeline=SimpleNamespace(name="p")), "train", RUN)
    lock.path.write_text(f"ada, run r0, process 7\n{text_of(kind, store, dead)}")
    is_near = HELD[kind] == "here" or kind in AT_WORK
    assert lock.take() == (not is_near)
    assert ("run r0" in lock.holder(), RUN in lock.holder()) == (is_near, not is_near)
    assert lock.holder().endswith("on host ws2") == (kind == "other")
    lock.release()
    assert is_near or lock.path.read_bytes() == b""


def test_removing_the_file_that_is_named_frees_what_a_host_held_that_is_gone(world):
    for one in collect(world.store, force=True).held:
        os.unlink(one.file)
    if world.held == "elsewhere":
        assert read_run(world.store, RUN).state == "cancelled"
        assert (sweep(world.store), scratch_folders(world.store)) == ([], [])
        assert collect(world.store, force=True).moved.objects == 1


@pytest.mark.parametrize("name", ["own", "own, killed", "elsewhere", "elsewhere, long ago", "before"])
def test_temporary_file_of_another_place_is_left_alone_for_a_day(store, dead, name):
    started = own_mark().started
    named = {"own": (here(), os.getpid()), "own, killed": (here(), dead)}.get(name, (OTHER.place, 7))
    tag = f"{named[0].tag}-{named[1]}-{started}-" if name != "before" else ""
    path = store.root / f".tmp-{tag}{'0' * 32}"
    path.write_bytes(b"half")
    if name == "elsewhere, long ago":
        os.utime(path, (0, time_at(store.root) - 90_000))
    is_left = name in ("own", "elsewhere")
    assert [one.file for one in verify_store(store).temporaries] == ([] if is_left else [path.name])
    assert collect(store).temporaries.files == (not is_left) and path.exists() == is_left


# locks that tell nothing


@pytest.fixture
def no_locks_pass(monkeypatch):
    "As if this process looked through another mount: it never sees a lock that another process has."
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: None)


def forked(work):
    "A child that does something, says so, and waits; its number."
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kept = [work()]
            os.write(writing, b"x" * len(kept))
            time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(reading, 1) == b"x"
    return pid


def test_living_process_is_seen_and_a_killed_one_too_where_locks_do_not_pass(store, no_locks_pass):
    def work():
        digest = put(store, b"pinned by a child")
        return hold_run(store, RUN), digest

    pid = forked(work)
    pinned_by_it = pinned(store.root)
    assert is_alive(store, RUN) and len(pinned_by_it) == 1
    assert collect(store).moved.objects == 0
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie, which holds nothing
    assert not is_alive(store, RUN) and pinned(store.root) == set()
    os.waitpid(pid, 0)
    assert collect(store).moved.objects == 1


def test_second_collection_is_refused_where_locks_do_not_pass(store, no_locks_pass):
    from mlnb.care.gc import collecting

    def work():
        one = collecting(store)
        return one, one.__enter__()

    pid = forked(work)
    with pytest.raises(LockedError, match="collected already"):
        collect(store)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert collect(store).moved.objects == 0


def test_audit_log_stays_one_chain_when_writers_see_no_locks_of_one_another(store, no_locks_pass):
    def write():
        if (pid := os.fork()) == 0:
            for _ in range(8):
                audit(store, "gc", moved={})
            os._exit(0)
        return pid

    children = [write() for _ in range(3)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 3
    assert [one.n for one in events(store)] == list(range(1, 25)) and verify_log(store).state == "ok"
    assert not (store.root / "audit" / "writing").exists()


def test_released_run_and_pins_hold_nothing_although_the_process_lives(store, no_locks_pass):
    with hold_run(store, RUN):
        digest = put(store, b"content")
        assert is_alive(store, RUN) and pinned(store.root) == {digest}
    forget_pins()
    assert not is_alive(store, RUN) and pinned(store.root) == set()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_file_system_without_locks_is_one_to_work_on(store, monkeypatch, number):
    def refuse(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_durably(store.root / "file", b"all of it")
    with hold_run(store, RUN):
        digest = put(store, b"content")
        assert is_alive(store, RUN) and pinned(store.root) == {digest} and get(store, digest) == b"content"
        assert collect(store).moved.objects == 0
    audit(store, "gc", moved={})
    assert [one.event for one in events(store)] == ["gc"]
    (store.root / "format").write_text("1\n")
    assert verify_store(open_store(store.root)).clean and not is_alive(store, RUN)


def test_forked_process_lets_go_of_nothing_that_its_parent_holds(store):
    digest = put(store, b"content")
    pid = forked(lambda: protect(store.root, "ab" * 32))
    assert pinned(store.root) == {digest, "ab" * 32}
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert pinned(store.root) == {digest}


def test_pin_file_that_was_removed_is_made_anew(store):
    first = put(store, b"first")
    shutil.rmtree(store.root / "pins")
    second = put(store, b"second")
    assert pinned(store.root) == {second} and has(store, first)


# time


@pytest.mark.parametrize("off_s", [-400 * 86_400, 400 * 86_400])
def test_wrong_clock_of_this_machine_decides_nothing(store, monkeypatch, off_s):
    real, contained = time.time, own_mark()._replace(place=here()._replace(space="pid:[1]"))
    monkeypatch.setattr(time, "time", lambda: real() + off_s)
    path = store.root / "file"
    path.write_text(mark_line(contained))
    heard_of(store, contained, 1)
    assert holder_of(store.root, path) is not None
    heard_of(store, contained, SILENT_S + 1)
    assert holder_of(store.root, path) is None
    heard_of(store, OTHER, 1)
    with pytest.raises(LockedError):
        collect(store)


def test_run_shows_again_and_again_that_it_lives(store, monkeypatch):
    monkeypatch.setattr(holders, "BEAT_S", 0.01)
    with hold_run(store, RUN):
        path = store.root / "hosts" / here().tag
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_store_that_cannot_be_written_needs_no_heartbeat(tmp_path):
    (tmp_path / "hosts").write_text("a file stands where the folder would be")
    beat(tmp_path)
    assert holders.silent_s(tmp_path, here()) == float("inf")


def test_places_that_were_silent_for_long_are_forgotten_by_gc(store):
    heard_of(store, OTHER, 31 * 86_400)
    (store.root / "cache").mkdir()
    (store.root / "cache" / "packages.json").write_text("{}")
    collect(store)
    assert [path.name for path in (store.root / "hosts").iterdir()] == [here().tag]
    assert not (store.root / "cache" / "packages.json").exists()


# what is read


@settings(max_examples=40)
@given(
    st.text()
    | st.text().map(lambda text: "{" + text)
    | st.dictionaries(st.text(), st.integers()).map(json.dumps)
)
def test_any_text_is_a_mark_of_nobody_known_or_none(text):
    assert read_mark(text) in (None, NOBODY_KNOWN)


VALUES = st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@settings(max_examples=40)
@given(st.sampled_from(["host", "machine", "boot", "space", "pid", "started", "since_utc"]), VALUES)
def test_mark_with_a_field_of_another_kind_never_becomes_a_process_here(field, value):
    mark = read_mark(json.dumps(json.loads(mark_line(OTHER)) | {field: value}))
    assert mark is not None and mark.pid >= 0 and mark.host.isprintable()
    assert mark == NOBODY_KNOWN or isinstance(mark.pid, int)


@settings(max_examples=20)
@given(st.builds(OTHER._replace, pid=st.integers(1, 2**31), started=st.integers(0, 2**63)))
def test_mark_is_read_as_it_was_written(mark):
    assert read_mark("ada, run r1, process 7\n" + mark_line(mark)) == mark


# lists of packages


def test_environments_in_turns_keep_their_lists_of_packages(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "none"))
    read, one = [], {"a": InstalledPackage()}
    monkeypatch.setattr(packages, "read_packages", lambda: read.append(sys.prefix) or one)
    others = [tmp_path / "one", tmp_path / "two"]
    for prefix in others:
        prefix.mkdir()
    for prefix in others * 3:
        packages._cached_packages.cache_clear()
        monkeypatch.setattr(sys, "prefix", str(prefix))
        assert installed_packages(store) == one
    assert read == [str(prefix) for prefix in others]
    others[0].rmdir()
    list_path(store.root).unlink()
    packages._cached_packages.cache_clear()
    installed_packages(store)
    assert [path for path in (store.root / "cache").iterdir()] == [list_path(store.root)]
    packages._cached_packages.cache_clear()


# two that look at the same instant

N_LOOKS = 40


def take_as(host, root, start, took):
    "On a machine of its own, whose locks nobody else sees: take one lock after the other."
    place = here()._replace(machine=f"machine {host}", boot=f"start {host}")
    for module in (hosts, holders):
        module.here = lambda: place
    holders.try_lock = lambda *given: True
    beat(root)
    plan = SimpleNamespace(store=open_store(root), pipeline=SimpleNamespace(name="p"))
    locks = [StageLock(plan, f"s{n}", f"run-{host}") for n in range(N_LOOKS)]
    for n, lock in enumerate(locks):
        start.wait(60)
        took[n] += lock.take()


def test_two_machines_that_do_not_see_each_other_s_locks_never_take_one_together(store):
    context = multiprocessing.get_context("fork")
    start, took = context.Barrier(2), [context.Array("i", N_LOOKS) for _ in range(2)]
    both = [context.Process(target=take_as, args=(n, store.root, start, took[n])) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [a + b for a, b in zip(*took, strict=True)] == [1] * N_LOOKS
    assert not list((store.root / "locks").glob("*.turn"))


# the command line


def test_gc_says_what_forcing_risks_and_what_it_left_alone(make_project, asked):
    root = make_project({"10_a.ipynb": ["from mlnb import save", 'save("a", 1)']}).root
    store = open_store(root / ".mlnb")
    heard_of(store, OTHER, 60)
    write_run(store, {"run": RUN, "pipeline": "demo", "state": "running", "stages": []})
    (run_folder(store, RUN) / "alive").write_text(mark_line(OTHER))
    refused = asked("gc", cwd=root)
    assert refused.code == 75 and "host ws2 was at work" in refused.stderr and "--force" in refused.stderr
    forced = asked("gc", "--force", cwd=root)
    alive = run_folder(store, RUN) / "alive"
    assert forced.code == 0 and f"left alone: {alive} is held by host ws2" in forced.stdout
    found = asked("gc", "-n", "--json", cwd=root)
    assert found.code == 0 and [one["host"] for one in found.json["others"]] == ["ws2"]


# two mounts of one project, two hosts: for real


STAGE = [
    "from pathlib import Path\nimport time\nfrom mlnb import save",
    ("parameters", "seconds: float = 6.0  # to wait"),
]
STAGE += ["time.sleep(seconds)", 'save("a", [1, 2])']


@pytest.fixture
def two_mounts(make_project, tmp_path):
    "One project, seen through two mounts that pass no locks to one another."
    if not shutil.which("bindfs") or os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("two mounts need bindfs, /dev/fuse and root")
    root, mounts = make_project({"10_a.ipynb": STAGE}).root, [tmp_path / "one", tmp_path / "two"]
    made = []
    for mount in mounts:
        mount.mkdir()
        done = subprocess.run(["bindfs", "--no-allow-other", root, mount], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("this machine lets nobody mount by bindfs")
        made.append(mount)
    yield mounts
    for mount in made:
        subprocess.run(["fusermount", "-u", "-z", mount], check=False)


def start_run(folder, environment, host=None, tmp=None):
    "A cold run in the background, on this host or as if on another one."
    command = [sys.executable, "-m", "mlnb", "run", "demo", "--cold", "--json"]
    if host:
        (tmp / host).write_text(f"{host}-boot")
        inside = f'hostname {host} && mount --bind {tmp / host} /proc/sys/kernel/random/boot_id && exec "$@"'
        command = [
            "unshare",
            "-m",
            "-u",
            "-p",
            "-f",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            inside,
            "sh",
            *command,
        ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def until_in_scratch(folder, n=1):
    deadline = time.monotonic() + 60
    while len(list(folder.glob(".mlnb/runs/*/scratch/*/in.ipynb"))) < n and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("host", [None, "ws2"])
def test_living_run_of_another_mount_is_neither_swept_nor_called_cancelled(
    two_mounts, mlnb, outside_environment, tmp_path, host
):
    one, two = two_mounts
    first = start_run(one, outside_environment(), host, tmp_path)
    until_in_scratch(two)
    second = mlnb("run", "demo", "--no-wait", cwd=two)
    assert second.code == 75 and "a is being run by" in second.stderr
    assert ("held by host ws2" in second.stdout + second.stderr) == (host is not None)
    assert [one["state"] for one in mlnb("runs", "--json", cwd=two).json["runs"]] == ["cancelled", "running"]
    assert mlnb("gc", cwd=two).code == (75 if host else 0)
    assert mlnb("gc", "--force", cwd=two).code == 0
    said, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert json.loads(said)["state"] == "committed"
    assert mlnb("verify", cwd=two).code == 0 and mlnb("run", "demo", "--json", cwd=two).states == {
        "a": "cached"
    }


@pytest.mark.slow
def test_run_killed_on_another_host_keeps_its_scratch_until_a_person_says_it_is_gone(
    two_mounts, mlnb, outside_environment, tmp_path
):
    one, two = two_mounts
    first = start_run(one, outside_environment(), "ws2", tmp_path)
    until_in_scratch(two)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    (alive,) = two.glob(".mlnb/runs/*/alive")
    assert "held by host ws2" in mlnb("run", "demo", "-p", "seconds", 0, "--no-wait", cwd=two).stdout + str(
        mlnb("run", "demo", "--no-wait", cwd=two).stderr
    )
    assert alive.with_name("scratch").exists()
    alive.unlink()
    for mark in (two / ".mlnb" / "locks").glob("*.lock"):
        mark.unlink()
    assert mlnb("run", "demo", "-p", "seconds", 0, cwd=two).code == 0
    assert not alive.with_name("scratch").exists()


@pytest.mark.slow
def test_two_hosts_that_run_one_stage_at_once_agree_on_its_result(
    two_mounts, mlnb, outside_environment, tmp_path
):
    "Where neither lock nor mark is seen in time, the stage runs twice: work is lost, nothing else."
    runs = [
        start_run(mount, outside_environment(), host, tmp_path)
        for mount, host in zip(two_mounts, ("ws1", "ws2"), strict=True)
    ]
    ends = [run.communicate(timeout=200) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ends
    documents = [json.loads(said) for said, _ in ends]
    assert {d["stages"][0]["state"] for d in documents} <= {"committed", "cached"}
    assert documents[0]["stages"][0]["outputs"] == documents[1]["stages"][0]["outputs"]
    one = two_mounts[0]
    assert len(list(one.glob(".mlnb/records/demo/a/*.json"))) == 1 and mlnb("verify", cwd=one).code == 0
    assert mlnb("run", "demo", "--json", cwd=one).states == {"a": "cached"}
    assert list(one.glob(".mlnb/runs/*/scratch")) == []
