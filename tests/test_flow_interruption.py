"""Signals, threads and callbacks that come at the worst moment: before what they name is there, or after it
is gone."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from msgspec import Struct, structs

from mlnb.flow import attempt as attempts
from mlnb.flow import ending as endings
from mlnb.flow.lock import StageLock
from mlnb.flow.plan import plan_pipeline
from mlnb.flow.progress import LiveProgress
from mlnb.flow.run import end_all, run_pipeline
from mlnb.flow.run_document import stage_error
from mlnb.flow.selection import select
from mlnb.kernel.inherited import inherited_settings
from mlnb.kernel.launch import Launch, kernel_pid
from mlnb.kernel.link import (
    SERVER_COMMAND,
    Question,
    ServerStatus,
    StopAnswer,
    ask,
    can_serve,
    connect,
    start_server,
)
from mlnb.kernel.process import kernel_environment
from mlnb.store.artifacts import put_value
from mlnb.store.errors import StoreError
from mlnb.store.objects import open_store, path_of
from mlnb.store.run_entries import Entry, RunDocument, StageFailure
from mlnb.store.settings import project_store, read_project

needs_server = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")
AT_A_MOMENT = """
import os, signal, sys
import mlnb.kernel.server_process as process
name, when = sys.argv.pop(1), sys.argv.pop(1)
do = getattr(process, name)
def at_that_moment(*given):
    if when == "before": os.kill(os.getpid(), signal.SIGTERM)
    done = do(*given)
    if when == "after": os.kill(os.getpid(), signal.SIGTERM)
    return done
setattr(process, name, at_that_moment)
process.serve()
"""


def processes_with(word):
    "Ids of the children of this process in whose command line a word stands."
    return [child.pid for child in psutil.Process().children() if word in child.cmdline()]


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def silent_server(address):
    "A socket at which somebody listens who never answers."
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen()
        yield listener


@pytest.fixture
def begin_server(tmp_path):
    """Begin a server as mlnb does, with SIGTERM blocked until there is a handler; nothing may be written to
    its stderr."""
    with open(tmp_path.parent / f"{tmp_path.name}.errors", "w+") as errors:

        def begin(address):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            try:
                return subprocess.Popen(
                    [*SERVER_COMMAND, str(address), "60"], env=kernel_environment(), stderr=errors
                )
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

        yield begin
        errors.seek(0)
        assert errors.read() == ""


def order_of_kernel(folder):
    handover = {
        "environment": {},
        "folder": str(folder),
        "settings": inherited_settings(),
        "connection": None,
    }
    return {"do": "kernel", "environment": kernel_environment(), "modules": [], "handover": handover}


def leased(address):
    "A connection to a server that is starting, and the kernel that it holds."
    until(address.exists)
    link = connect(address, timeout_s=60)
    link.send(order_of_kernel(address.parent))
    return link, psutil.Process(link.receive()["pid"])


def is_gone(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# SIGTERM and the kernel server


@needs_server
@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        "take_lock",
        "remove_remains",
        "retire_predecessors",
        "start_base",
        "listen_at",
        "begin_builds",
        "tidy_server",
        "close_server",
    ],
)
def test_sigterm_at_any_step_of_a_server_ends_it_cleanly(tmp_path, name, when):
    for suffix in (".lock", ".log"):
        (tmp_path / f"killed{suffix}").touch()
    idle_s = (
        "1" if name == "close_server" else "60"
    )  # it closes when idle; a server that forgets the signal must not end by itself
    command = [sys.executable, "-c", AT_A_MOMENT, name, when, str(tmp_path / "s.sock"), idle_s]
    done = subprocess.run(command, env=kernel_environment(), capture_output=True, text=True, timeout=45)
    assert (done.returncode, done.stderr, [p.name for p in tmp_path.iterdir()]) == (0, "", [])


@needs_server
def test_sigterm_while_a_predecessor_does_not_answer_ends_the_server_cleanly(tmp_path, begin_server):
    with silent_server(tmp_path / "before.sock") as listener:
        server = begin_server(tmp_path / "s.sock")
        connection, _ = listener.accept()  # it asks
        server.terminate()
        assert server.wait(30) == 0
        assert connection.recv(100) == b'{"do": "status"}\n'
        connection.close()
    assert [p.name for p in tmp_path.iterdir()] == ["before.sock"]


@needs_server
def test_sigterm_while_predecessors_are_asked_leaves_them_serving(tmp_path, begin_server):
    predecessor = begin_server(tmp_path / "before.sock")
    until(lambda: ask(tmp_path / "before.sock", Question("status"), ServerStatus))
    held = connect(tmp_path / "before.sock")  # a client, so that it goes on even when it is to retire
    command = [sys.executable, "-c", AT_A_MOMENT, "retire_predecessors", "before", str(tmp_path / "s.sock")]
    done = subprocess.run(command, env=kernel_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    about = ask(tmp_path / "before.sock", Question("status"), ServerStatus)
    assert (about.pid, about.is_retiring) == (predecessor.pid, False)
    assert ask(tmp_path / "before.sock", Question("stop"), StopAnswer).stopped
    held.close()
    assert (predecessor.wait(30), list(tmp_path.iterdir())) == (0, [])


@needs_server
def test_sigterm_while_a_server_is_being_imported_is_heeded_as_soon_as_it_can_be(tmp_path):
    start_server(tmp_path / "s.sock")
    begun = partial(processes_with, str(tmp_path / "s.sock"))
    until(begun)  # a child has the name of its parent's command for a moment
    (pid,) = begun()
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


@needs_server
def test_sigterm_while_a_kernel_is_in_use_ends_both(tmp_path, begin_server):
    server = begin_server(tmp_path / "s.sock")
    link, kernel = leased(tmp_path / "s.sock")
    server.terminate()
    assert (server.wait(30), list(tmp_path.iterdir())) == (0, [])
    link.close()
    until(lambda: is_gone(kernel))


@needs_server
def test_child_of_a_server_is_gone_when_the_server_is(tmp_path):
    program = """
import subprocess
import mlnb.kernel.server_process as p
def begin(server):
    print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
    server.is_over = True
p.retire_predecessors = begin
p.serve()"""
    command = [sys.executable, "-c", program, str(tmp_path / "s.sock")]
    done = subprocess.run(command, env=kernel_environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])
    assert not psutil.pid_exists(int(done.stdout))


@needs_server
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_sigterm_while_kernels_are_being_prepared_leaves_no_file(tmp_path, begin_server, after_s):
    server = begin_server(tmp_path / "s.sock")
    until(lambda: (tmp_path / "s.sock").exists())
    link = connect(tmp_path / "s.sock")
    stages = [
        {"environment": kernel_environment(), "modules": [module]}
        for module in ("plistlib", "wave", "zipapp")
    ]
    link.send({"do": "prepare", "stages": stages * 8})
    assert link.receive() == {"prepared": 24}
    time.sleep(after_s)
    server.terminate()
    assert (server.wait(30), list(tmp_path.iterdir())) == (0, [])
    link.close()


# kernels on lease


@needs_server
def test_kernel_in_use_survives_its_template_and_ends_with_its_server(tmp_path, begin_server):
    server = begin_server(tmp_path / "s.sock")
    link, kernel = leased(tmp_path / "s.sock")
    template = kernel.ppid()
    assert template != server.pid
    os.kill(template, signal.SIGKILL)
    until(lambda: kernel.ppid() == server.pid)
    time.sleep(1.5)  # a kernel looks at its parents twice a second
    assert not is_gone(kernel)
    assert ask(tmp_path / "s.sock", Question("status"), ServerStatus).leases == (kernel.pid,)
    server.kill()
    server.wait(30)
    until(lambda: is_gone(kernel))
    link.close()


@needs_server
@pytest.mark.parametrize("more", ["status", "kernel", "fly"])
def test_kernel_whose_holder_is_hung_up_on_ends(tmp_path, begin_server, more):
    server = begin_server(tmp_path / "s.sock")
    link, kernel = leased(tmp_path / "s.sock")
    link.send(order_of_kernel(tmp_path) | {"do": more})
    assert "ended" not in link.receive()  # it is answered, and hung up on
    assert link.receive() is None
    link.close()
    until(lambda: is_gone(kernel))
    until(lambda: ask(tmp_path / "s.sock", Question("status"), ServerStatus).leases == ())
    server.terminate()
    assert (server.wait(30), list(tmp_path.iterdir())) == (0, [])


HANDOVER = {"folder": "/", "settings": inherited_settings()}


@needs_server
@pytest.mark.parametrize(
    "message",
    [
        {"do": "prepare", "stages": [{"environment": {}, "modules": [1]}]},
        {"do": "kernel", "environment": {}, "modules": [1], "handover": HANDOVER},
        {"do": "kernel", "environment": None, "modules": [], "handover": HANDOVER},
        {"do": "kernel", "environment": {"A=B": "C"}, "modules": [], "handover": HANDOVER},
    ],
)
def test_stage_that_no_process_can_be_prepared_for_is_refused(tmp_path, begin_server, message):
    server = begin_server(tmp_path / "s.sock")
    until(lambda: (tmp_path / "s.sock").exists())
    link = connect(tmp_path / "s.sock")
    link.send(message)
    assert list(link.receive()) == ["error"]
    link.close()
    about = ask(tmp_path / "s.sock", Question("status"), ServerStatus)
    assert [t.modules for t in about.templates] == [("papermill",)]
    server.terminate()
    assert (server.wait(30), list(tmp_path.iterdir())) == (0, [])


@needs_server
def test_server_that_breaks_keeps_its_log_and_the_next_one_removes_it(tmp_path, begin_server):
    program = (
        "import mlnb.kernel.server_process as p\np.retire_predecessors = lambda server: 1 / 0\np.serve()"
    )
    with open(tmp_path / "s.log", "w") as log:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "s.sock")], stderr=log, timeout=60
        )
    assert (done.returncode, "ZeroDivisionError" in (tmp_path / "s.log").read_text()) == (1, True)
    other = begin_server(tmp_path / "other.sock")
    until(lambda: (tmp_path / "other.sock").exists())
    assert not (tmp_path / "s.log").exists()
    other.terminate()
    assert (other.wait(30), list(tmp_path.iterdir())) == (0, [])


@needs_server
def test_servers_that_begin_while_another_ends_never_serve_two_at_once(tmp_path, begin_server):
    """Lock files are removed when a server ends, so the file that somebody opened may be gone when he gets
    the lock."""
    held = [begin_server(tmp_path / "s.sock") for _ in range(3)]
    until(lambda: ask(tmp_path / "s.sock", Question("status"), ServerStatus))
    first = ask(tmp_path / "s.sock", Question("status"), ServerStatus).pid
    os.kill(first, signal.SIGTERM)
    held += [begin_server(tmp_path / "s.sock") for _ in range(3)]
    until(lambda: sum(server.poll() is None for server in held) <= 1)
    for server in held:
        server.terminate()
    assert {server.wait(30) for server in held} == {0}
    assert list(tmp_path.iterdir()) == []


# temporary folders


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM] * 2, [signal.SIGINT] * 2, [signal.SIGTERM, signal.SIGHUP]]
)
def test_reproduce_that_is_interrupted_twice_leaves_no_folder(
    make_project, mlnb, outside_environment, tmp_path_factory, numbers
):
    code = "import os, time\nwhile not os.path.exists('go'): time.sleep(.05)"
    project = make_project({"10_a.ipynb": [code, "from mlnb import save\nsave('a', 1)"]})
    (project.root / "nbs" / "go").touch()
    assert mlnb("run", "demo", cwd=project.root).code == 0
    (project.root / "nbs" / "go").unlink()
    place = tmp_path_factory.mktemp("tmp")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "reproduce", "latest"],
        cwd=project.root,
        env=outside_environment(TMPDIR=str(place), XDG_RUNTIME_DIR=""),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(lambda: list(place.glob("mlnb-reproduce-*/attempt-*/out.ipynb")))
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    assert process.wait(60) == 130
    assert [path for path in place.iterdir() if path.name != f"mlnb-{os.getuid()}"] == []


# threads of a run


def test_lines_are_drawn_while_a_stage_begins_to_run():
    "Another thread draws them, so it may come between any two statements of whoever changes what is drawn."
    live, drawn = LiveProgress(StringIO()), []

    class Redrawn(dict):
        def __setitem__(self, name, value):
            super().__setitem__(name, value)
            drawn.append(str(live.lines()))

    entry = Entry(name="train", state="waiting")
    live("start", document=RunDocument(pipeline="demo", state="running", stages=(entry,)))
    live.entries, live.since = Redrawn(live.entries), Redrawn(live.since)
    live("stage", stage="train", entry=structs.replace(entry, state="running"))
    assert "train        starting" in drawn


def test_kernel_of_a_try_that_is_forgotten_meanwhile_is_none():
    class Vanishing(list):
        def __len__(self):  # whoever looks whether there is one, then finds none
            n = super().__len__()
            self.clear()
            return n

    launch = Launch(Path("."), {}, started=Vanishing([SimpleNamespace(mlnb_pid=4711)]))
    assert bool(launch.started) and kernel_pid(launch) is None


def test_attempt_whose_thread_began_at_the_moment_of_an_interrupt_is_cancelled_too():
    launch = Launch(Path("."), {})
    run = SimpleNamespace(attempts={"train": SimpleNamespace(launch=launch)}, state={})
    end_all(run, running={})
    assert launch.cancelled.is_set()


def test_stages_are_announced_as_planned_whatever_the_run_does_to_its_plan(monkeypatch):
    class Plan(Struct):
        steps: dict

    has_changed, seen = threading.Event(), []

    def announce(plan, stages, server):
        has_changed.wait(10)
        seen.extend(plan.steps[name] for name in stages)

    monkeypatch.setattr(attempts, "announce", announce)
    plan = Plan({"judge": "a step"})
    with attempts.announced(plan, ["judge"], Path("s.sock")):
        del plan.steps["judge"]  # parts are put in its place
        has_changed.set()
        until(lambda: seen, 10)
    assert seen == ["a step"]


# what an attempt leaves


def test_attempt_that_found_damage_leaves_no_lock_and_no_scratch_folder_while_its_input_is_made_again(
    make_project, monkeypatch
):
    "It is looked at when the maker runs again: what the attempt wrote may be as large as the disk."
    code = "from mlnb import load, save"
    stages = {
        "10_rows.ipynb": [code, "save('rows', 1)"],
        "20_total.ipynb": [code, "save('total', load('rows'))"],
    }
    project = read_project(make_project(stages).root)
    store, seen = project_store(project), []
    plan = plan_pipeline(project, store, "demo", "default")
    made = {name: put_value(store, name) for name in ("rows", "total")}

    def attempt_without_kernel(attempt, values, declared, about, *_):
        attempt.notebook.write_text("{}")
        if about.stage == "total" and about.attempt == 1:
            path_of(store, made["rows"].digest).unlink()  # as reading sets it aside
            attempt.kind, attempt.error = "infra", stage_error("IntegrityError", "`rows` is damaged")
            return attempt
        attempt.outputs = {name: put_value(store, name) for name in declared}
        return attempt

    def look(event, **about):
        if event == "stage" and about["entry"].state == "running":
            (scratch,) = store.root.glob("runs/*/scratch")
            lock = StageLock(plan, "total" if about["stage"] == "rows" else "rows", "another run")
            seen.append(([path.name for path in scratch.iterdir()], lock.take()))
            lock.release()

    monkeypatch.setattr(attempts, "run_attempt", attempt_without_kernel)
    done = run_pipeline(plan, select(plan.pipeline), tell=look)
    assert [entry.state for entry in done.stages] == ["committed", "committed"]
    assert seen == [([name], True) for name in ("rows-1", "total-1", "rows-2", "total-2")]
    assert list(store.root.glob("runs/*/scratch")) == []


@pytest.mark.parametrize("kind", [None, "oom", "require"])
def test_attempt_whose_ending_cannot_be_kept_leaves_no_lock_and_no_scratch_folder(
    tmp_path, monkeypatch, kind
):
    "The disk is full when the record, the next try or the executed notebook is written down."
    scratch, released = tmp_path / "scratch", []
    scratch.mkdir()
    options = SimpleNamespace(retries=1)
    step = SimpleNamespace(name="train", stage=SimpleNamespace(name="train", options=options), each=None)
    step.inputs = step.sources = {}
    run = SimpleNamespace(
        plan=SimpleNamespace(
            steps={"train": step}, store=open_store(tmp_path / "store"), project=None, profile="default"
        ),
        entry=lambda name: Entry(name=name, state="running", attempts=1),
        settings=SimpleNamespace(replace=False),
        locks={"train": SimpleNamespace(release=lambda: released.append("train"))},
        id="r1",
        made_again=set(),
        not_before={},
    )
    error = None if kind is None else StageFailure(1, "c", "MemoryError", "x")
    attempt = attempts.Attempt(scratch, Launch(tmp_path, {}), kind=kind, error=error)

    def no_room(*_, **__):
        raise StoreError("no room left on the disk")

    run.tell = run.set = no_room
    monkeypatch.setattr(endings, "refuse_changed_code", lambda *_: None)
    monkeypatch.setattr(endings, "record_of", no_room)
    monkeypatch.setattr(endings, "run_folder", no_room)
    with pytest.raises(StoreError, match="no room"):
        endings.finish(run, "train", attempt)
    assert (released, scratch.exists()) == (["train"], False)
