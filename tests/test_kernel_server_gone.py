"""The kernel server is killed, stopped, or loses its files: every stage ends right, none waits for a server
that nobody starts, the user hears of it once, and nothing stays."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mlnb.kernel.inherited import inherited_settings
from mlnb.kernel.link import (
    SERVER_COMMAND,
    Link,
    Presence,
    Question,
    RunningKernel,
    ServerStatus,
    ask,
    can_serve,
    connect,
    start_server,
)
from mlnb.kernel.private_places import server_folder
from mlnb.kernel.process import kernel_environment
from mlnb.kernel.provisioner import Lease
from mlnb.kernel.stopping import stop_servers
from mlnb.kernel.way import ServerWay, answers, lose, reach_server

pytestmark = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")

CODE = "from mlnb import load, save"
CHAIN = {
    "10_a.ipynb": [CODE, "save('a', 1)"],
    "20_b.ipynb": [
        CODE,
        "import pathlib, time\npathlib.Path('b.begun').touch()",
        "while not pathlib.Path('b.go').exists(): time.sleep(.05)",
        "save('b', load('a') + 1)",
    ],
    "30_c.ipynb": [CODE, "save('c', load('b') + 1)"],
    "40_d.ipynb": [CODE, "save('d', load('c') + 1)"],
}
FAN_OUT = {
    "10_a.ipynb": [CODE, "save('a', 1)"],
    "15_list.ipynb": [CODE, "save('kinds', ['x', 'y', 'z'])"],
    "20_b.ipynb": [
        ("parameters", "#| each: kind in kinds\nkind: str = 'x'"),
        CODE,
        "import pathlib, time\npathlib.Path('b.begun').touch()",
        "while not pathlib.Path('b.go').exists(): time.sleep(.05)",
        "save('b', load('a') + 1)",
    ],
    "40_d.ipynb": [CODE, "save('d', sum(load('b').values()) - 2)"],
}


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(folder):
    "Processes that were started for a runtime folder."
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XDG_RUNTIME_DIR") == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def servers_in(runtime):
    "Processes of kernel servers, without their copies."
    named = [p for p in processes_of(runtime) if "kernel.server_process" in " ".join(p.cmdline())]
    pids = {p.pid for p in named}
    return [p for p in named if p.ppid() not in pids]


class Running:
    "A run as a process of its own, whose stderr is read as it comes."

    def __init__(self, root, environment, *options):
        self.root, self.lines = root, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlnb", "run", "demo", "--json", *options],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        self.lines.extend(self.process.stderr)

    def is_in_b(self):
        return (self.root / "nbs" / "b.begun").exists()

    def go_on(self):
        (self.root / "nbs" / "b.go").touch()

    def ended(self):
        with self.process.stdout as stdout, self.process.stderr:
            out = stdout.read()
            self.reader.join(30)
        return self.process.wait(30), json.loads(out), "".join(self.lines)


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    "A folder for kernel servers, in this process's environment too; nothing of it may be left."
    folder = tmp_path_factory.mktemp("rt")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    for process in servers_in(folder):
        process.resume()
    stop_servers(everywhere=True, force=True)
    until(lambda: not processes_of_others(folder), 20)


def processes_of_others(folder):
    return [p for p in processes_of(folder) if p.pid != os.getpid()]


@pytest.fixture
def begin(make_project, runtime, outside_environment):
    "Begin a run of a chain of stages."

    def of(stages, *options):
        return Running(make_project(stages).root, outside_environment(), *options)

    return of


def server_of(runtime):
    (found,) = servers_in(runtime)
    return found


def address_in(runtime):
    (found,) = runtime.glob("mlnb-*/*.sock")
    return found


def kill(runtime):
    server_of(runtime).kill()


def stop(runtime):
    server_of(runtime).suspend()


def remove_socket(runtime):
    address_in(runtime).unlink()


def remove_folder(runtime):
    shutil.rmtree(address_in(runtime).parent)


def remove_folder_of_kernels(runtime):
    shutil.rmtree(address_in(runtime).with_suffix(""))


def kill_base(runtime):
    server_of(runtime).children()[0].kill()


def kill_templates(runtime):
    "The base has the other templates as its children."
    (base, *_) = server_of(runtime).children()
    for template in base.children():
        template.kill()


def kill_executor(runtime):
    "The process that holds a kernel's lease has a connection of a command; it is a copy of a template."
    server = server_of(runtime)
    lease = ask(address_in(runtime), Question("status"), ServerStatus).leases
    templates = {t.pid for t in ask(address_in(runtime), Question("status"), ServerStatus).templates}
    (executors,) = [
        [child for child in psutil.Process(t.pid).children()]
        for t in ask(address_in(runtime), Question("status"), ServerStatus).templates
        if t.modules == ("papermill",)
    ]
    assert lease and templates and server
    executors[0].kill()


FAULTS = {
    "killed": kill,
    "stopped": stop,
    "no socket": remove_socket,
    "no folder": remove_folder,
    "no folder of kernels": remove_folder_of_kernels,
    "no base": kill_base,
    "no templates": kill_templates,
    "no executor": kill_executor,
}
LOST = ("kernel server", "was lost")


def lines_about_loss(said):
    return [line for line in said.splitlines() if any(word in line for word in LOST)]


# what a way does, without a run


@contextlib.contextmanager
def one_answer(address, reply):
    "A server that answers its first client with some bytes, or never."

    def serve():
        client, _ = listener.accept()
        with client:
            if reply is None:
                client.recv(100)
                over.wait(10)
            else:
                client.sendall(reply)

    over = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen()
        serving = threading.Thread(target=serve)
        serving.start()
        yield
        over.set()
        serving.join()


@pytest.mark.parametrize(
    "reply", [None, b"", b"\n", b"[1]\n", b"not json\n", b'{"pid": ', b"[" * 100_000 + b"\n"]
)
def test_server_that_does_not_answer_rightly_is_none(tmp_path, reply):
    with one_answer(tmp_path / "s.sock", reply):
        assert not answers(tmp_path / "s.sock", within_s=0.1)


def test_many_stages_that_lose_a_server_at_once_start_one_and_say_it_once(tmp_path, monkeypatch):
    started, said = [], []
    monkeypatch.setattr("mlnb.kernel.way.start_server", lambda address: started.append(address))
    way = ServerWay(tmp_path / "s.sock", was_up=True)
    threads = [threading.Thread(target=lose, args=(way, said.append, 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(started), len(said), way.why) == (1, 1, None)
    lose(way, said.append, 0)
    assert (len(started), len(said)) == (1, 1) and "went away" in way.why
    assert reach_server(way, said.append) is None and len(said) == 1


def test_folder_that_nobody_may_write_closes_the_way_at_once(tmp_path):
    said = []
    way = ServerWay(tmp_path / "gone" / "s.sock", was_up=True)
    assert reach_server(way, said.append) is None
    assert len(said) == 1 and "cannot be started" in way.why


def test_line_of_many_megabytes_is_read_in_linear_time():
    "Each byte is looked at a few times at most, and not again for each piece that comes."

    def work(size):
        class Counting(bytearray):
            n_looked = 0

            def find(self, what, begin=0):
                Counting.n_looked += len(self) - begin
                return super().find(what, begin)

        class Pieces:
            left = b'"' + b"x" * size + b'"\n'

            def recv(self, most):
                piece, self.left = self.left[:4096], self.left[4096:]
                return piece

        link = Link(Pieces())
        link.buffer = Counting()
        link.receive()
        return Counting.n_looked

    assert work(1_000_000) < 4 * 1_000_000


def test_a_line_nested_too_deeply_is_nonsense_like_any_other():
    here, there = socket.socketpair()
    here.sendall(b"[" * 100_000 + b"\n[\n")
    there.settimeout(1)
    link = Link(there)
    for _ in range(2):
        with pytest.raises(ValueError):
            link.receive()
    here.sendall(b"[" * 100_000 + b"\n")
    lease = Lease(link, RunningKernel(1, {}))
    assert (lease.look(), lease.is_lost) == (False, True)
    here.close()
    there.close()


# a server in a process of its own


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A server that serves, and its address."
    address = tmp_path_factory.mktemp("one") / "s.sock"
    process = subprocess.Popen([*SERVER_COMMAND, str(address), "60"], env=kernel_environment())
    until(lambda: answers(address))
    yield process, address
    process.terminate()
    assert process.wait(30) == 0


def test_slow_and_deaf_clients_hold_nobody_up(server):
    _, address = server
    half, deaf = connect(address), connect(address)
    half.socket.sendall(b'{"do": "sta')
    deaf.socket.settimeout(0.2)
    with contextlib.suppress(OSError):
        for _ in range(5_000):
            deaf.send({"do": "prepare", "stages": []})
    assert answers(address, within_s=5)
    half.socket.sendall(b'tus"}\n')
    assert half.receive()["address"] == str(address)
    half.close()
    deaf.close()


def test_endless_line_ends_its_own_connection_only(server):
    _, address = server
    endless = connect(address)
    with pytest.raises(OSError, match=r"pipe|reset"):
        for _ in range(64):
            endless.socket.sendall(b"x" * (1 << 20))
    endless.close()
    assert answers(address)


def test_server_whose_socket_was_removed_listens_anew(server):
    process, address = server
    address.unlink()
    until(lambda: answers(address))
    assert ask(address, Question("ping"), Presence).pid == process.pid


def files_of(process):
    "Where the descriptors of a process lead; none of one that ended."
    with contextlib.suppress(OSError):
        return {os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    return set()


def test_no_copy_of_a_server_holds_its_lock(server):
    process, address = server
    lock, copies = str(address.with_suffix(".lock")), lambda: psutil.Process(process.pid).children(True)
    assert lock in files_of(process)
    until(lambda: len(copies()) > 1)
    until(lambda: not any(lock in files_of(copy) for copy in copies()))


@pytest.mark.slow
def test_server_whose_folder_was_removed_makes_place_for_the_next_and_leaves_its_files_alone(tmp_path):
    folder = tmp_path / "rt"
    folder.mkdir()
    command = [*SERVER_COMMAND, str(folder / "s.sock"), "60"]
    first = subprocess.Popen(command, env=kernel_environment())
    until(lambda: answers(folder / "s.sock"))
    shutil.rmtree(folder)
    folder.mkdir()
    second = subprocess.Popen(command, env=kernel_environment())
    assert first.wait(30) == 0
    until(lambda: answers(folder / "s.sock"))
    assert ask(folder / "s.sock", Question("ping"), Presence).pid == second.pid
    assert (folder / "s").is_dir()
    second.terminate()
    assert (second.wait(30), list(folder.iterdir())) == (0, [])


def test_stop_leaves_what_is_in_use_and_what_is_of_others(runtime, asked, monkeypatch):
    start_server(server_folder() / "a.sock")
    until(lambda: answers(server_folder() / "a.sock"))
    held = connect(server_folder() / "a.sock")
    held.send({"do": "prepare", "stages": []})
    held.receive()
    said = asked("kernels", "stop", cwd="/")
    assert said.code == 0 and "in use (1 run)" in said.stderr and "mlnb kernels stop --force" in said.stderr
    held.close()
    monkeypatch.setattr(sys, "prefix", "/another/environment")
    said = asked("kernels", "stop", cwd="/").stderr
    assert "mend:" not in said and "`mlnb kernels stop --all` ends all that are yours" in said
    (left,) = asked("kernels", "stop", "--json", cwd="/").json["left"]
    assert left["mend"] == "mlnb kernels stop --all" and "another environment" in left["why"]
    assert len(asked("kernels", "stop", "--all", "--json", cwd="/").json["servers"]) == 1
    nothing = asked("kernels", "stop", "--all", "--json", cwd="/").json
    assert (nothing["servers"], nothing["left"]) == ([], [])


# runs


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("stages", [CHAIN, FAN_OUT], ids=["chain", "fan-out"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_during_a_stage_of_a_run_costs_seconds_and_one_line(begin, runtime, fault, stages, jobs):
    running = begin(stages, "-j", jobs)
    until(running.is_in_b)
    begun = time.monotonic()
    FAULTS[fault](runtime)
    time.sleep(0.5)
    running.go_on()
    code, document, said = running.ended()
    assert (code, {e["state"] for e in document["stages"]}) == (0, {"committed"}), said
    assert len(lines_about_loss(said)) <= 1, said
    assert time.monotonic() - begun < 60, said  # half a minute for each stage would be more


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed", "stopped", "no folder"])
def test_fault_before_a_run_is_none_of_its_business(begin, runtime, mlnb, make_project, fault):
    project = make_project(CHAIN)
    (project.root / "nbs" / "b.go").touch()
    assert mlnb("run", "demo", "--to", "a", cwd=project.root).code == 0
    FAULTS[fault](runtime)
    done = mlnb("run", "demo", "--json", cwd=project.root, timeout=60)
    assert (done.code, set(done.states.values())) == (0, {"committed", "cached"}), done.stderr
    assert len(lines_about_loss(done.stderr)) <= 1, done.stderr


@pytest.mark.slow
def test_server_that_dies_again_after_it_was_started_again_leaves_a_cold_run(begin, runtime):
    running = begin(CHAIN, "-j", "1")
    until(running.is_in_b)
    first, address = server_of(runtime), address_in(runtime)
    (running.root / "nbs" / "b.begun").unlink()
    first.kill()
    until(lambda: answers(address))
    psutil.Process(ask(address, Question("ping"), Presence).pid).kill()
    until(running.is_in_b)
    running.go_on()
    code, document, said = running.ended()
    assert (code, [e["state"] for e in document["stages"]]) == (0, ["committed"] * 4), said
    assert len(lines_about_loss(said)) == 1 and not answers(address), said


@pytest.mark.slow
@pytest.mark.parametrize("log", ["full", "a folder"])
def test_log_that_cannot_be_written_is_no_reason_to_wait(make_project, mlnb, runtime, log):
    project = make_project(CHAIN)
    (project.root / "nbs" / "b.go").touch()
    assert mlnb("run", "demo", "--to", "a", cwd=project.root).code == 0
    address = address_in(runtime)
    assert [one for one in stop_servers(force=True) if not one.stopped] == []
    if log == "full":
        address.with_suffix(".log").symlink_to("/dev/full")
    else:
        address.with_suffix(".log").mkdir()
    done = mlnb("run", "demo", "--json", cwd=project.root, timeout=60)
    assert (done.code, set(done.states.values())) == (0, {"committed", "cached"}), done.stderr
    assert done.stderr.count("cold") == (0 if log == "full" else 1), done.stderr


# cells that take their answer away


@pytest.mark.parametrize("options", [[], pytest.param(["--cold"], marks=pytest.mark.slow)])
def test_cell_that_cancels_the_tasks_of_its_kernel_is_answered(make_project, mlnb, options):
    cancel = "import asyncio\nawait asyncio.sleep(0)\n_ = [t.cancel() for t in asyncio.all_tasks()]"
    stages = {
        "10_all.ipynb": [cancel],
        "20_allowed.ipynb": [("raises-exception", cancel), CODE, "save('x', 1)"],
    }
    done = mlnb("run", "demo", "-k", "--json", *options, cwd=make_project(stages).root, timeout=60)
    assert done.states == {"all": "failed", "allowed": "committed"}, done.stderr
    error = done.stage("all")["error"]
    assert (error["ename"], error["cell"]) == ("CancelledError", 1) and "its own kernel" in error["evalue"]
    assert done.stage("all")["kind"] == "user_error"


@pytest.mark.slow
def test_widget_that_catches_errors_never_hangs_a_stage(make_project, mlnb):
    "nbclient writes to the kernel while it awaits an answer on that socket; the stock one hangs at times."
    caught = "for k in range(20):\n    with out:\n        raise ValueError('x')"
    cells = [
        "import ipywidgets as widgets",
        CODE,
        "out = widgets.Output()\nout",
        *[caught] * 20,
        "save('a', 1)",
    ]
    project = make_project({"10_a.ipynb": cells})
    for _ in range(8):
        done = mlnb("run", "demo", "--force", "--json", cwd=project.root, timeout=100)
        assert done.code == 0, done.stderr


# what an ended kernel left behind, and what is none of that


@pytest.mark.slow
def test_executor_whose_template_died_survives_the_end_of_another_kernel(begin, runtime):
    running = begin(CHAIN, "-j", "1")
    until(running.is_in_b)
    kill_templates(runtime)
    address, held = address_in(runtime), connect(address_in(runtime), timeout_s=60)
    handover = {"environment": {}, "folder": "/tmp", "settings": inherited_settings(), "connection": None}
    held.send({"do": "kernel", "environment": kernel_environment(), "modules": [], "handover": handover})
    assert held.receive()["pid"]
    held.close()
    until(lambda: len(ask(address, Question("status"), ServerStatus).leases) == 1)
    running.go_on()
    code, _, said = running.ended()
    assert (code, lines_about_loss(said)) == (0, []), said
