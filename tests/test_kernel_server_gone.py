"""The kernel server is killed, stopped, or loses its files: every stage ends right, none waits for a server
that nobody starts, the user hears of it once, and nothing stays."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import psutil
import pytest

from mlnb.kernel.link import ask, can_serve
from mlnb.kernel.stopping import stop_servers
from mlnb.kernel.way import answers

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
    lease = ask(address_in(runtime), {"do": "status"})["leases"]
    templates = {t["pid"] for t in ask(address_in(runtime), {"do": "status"})["templates"]}
    (executors,) = [
        [child for child in psutil.Process(t["pid"]).children()]
        for t in ask(address_in(runtime), {"do": "status"})["templates"]
        if t["modules"] == ["papermill"]
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
    psutil.Process(ask(address, {"do": "ping"})["pid"]).kill()
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
    assert stop_servers(force=True)["left"] == []
    if log == "full":
        address.with_suffix(".log").symlink_to("/dev/full")
    else:
        address.with_suffix(".log").mkdir()
    done = mlnb("run", "demo", "--json", cwd=project.root, timeout=60)
    assert (done.code, set(done.states.values())) == (0, {"committed", "cached"}), done.stderr
    assert done.stderr.count("cold") == (0 if log == "full" else 1), done.stderr
