"""A process of the kernel server is stopped (`SIGSTOP`), and the server itself is not: who waits for it is
told to do without after some seconds, and nobody else is held up."""

import contextlib
import os
import subprocess
import sys
import time

import psutil
import pytest
from test_kernel_server_gone import Running, lines_about_loss, processes_of, servers_in, until

from mlnb.kernel.inherited import inherited_settings, said_of_itself
from mlnb.kernel.link import Presence, Question, ServerStatus, ask, can_serve, connect
from mlnb.kernel.process import kernel_environment
from mlnb.kernel.stopping import stop_servers
from mlnb.kernel.way import answers

pytestmark = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")
SOON = "from mlnb.kernel import server_process, stuck; stuck.STUCK_S = 0.3; server_process.serve()"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A server that looks soon whether a process of its own was stopped."
    address = tmp_path_factory.mktemp("one") / "s.sock"
    process = subprocess.Popen([sys.executable, "-c", SOON, str(address), "60"], env=kernel_environment())
    until(lambda: answers(address))
    until(lambda: template_of(address, ["papermill"]))
    yield psutil.Process(process.pid), address
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.resume()
    process.terminate()
    assert process.wait(30) == 0


def template_of(address, modules):
    "Process of the ready template with some modules."
    ready = [t for t in ask(address, Question("status"), ServerStatus).templates if t.state == "ready"]
    return next((t.pid for t in ready if t.modules == tuple(modules)), None)


def asked_for_kernel(address):
    client = connect(address, 30)
    handover = {"environment": {}, "folder": "/tmp", "settings": inherited_settings(), "connection": None}
    client.send({"do": "kernel", "environment": kernel_environment(), "modules": [], "handover": handover})
    return client


def asked_to_execute(address, n_bytes=10):
    client = connect(address, 30)
    places = {"in": "a.ipynb", "out": "b.ipynb", "folder": "/", "server": "s.sock", "caps": ["/", "a"]}
    client.send({"do": "execute", **places, "settings": said_of_itself(), "parameters": {"a": "x" * n_bytes}})
    return client


def hangs_up(client):
    with client.socket:
        return client.receive() is None


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [10, 3_000_000])
def test_command_that_waits_for_a_copy_of_a_stopped_template_is_hung_up_on(server, n_bytes):
    _, address = server
    stopped = psutil.Process(template_of(address, ["papermill"]))
    stopped.suspend()
    waiting = [asked_to_execute(address, n_bytes) for _ in range(2)]
    assert answers(address, within_s=1)
    assert all(map(hangs_up, waiting))
    until(lambda: not stopped.is_running() or stopped.status() == psutil.STATUS_ZOMBIE)
    until(lambda: template_of(address, ["papermill"]))
    assert ask(address, Question("status"), ServerStatus).uses == {}


@pytest.mark.slow
def test_kernel_of_a_stopped_template_is_started_cold_and_the_next_is_warm(server):
    _, address = server
    first = asked_for_kernel(address)
    leased = first.receive()
    template = psutil.Process(template_of(address, []))
    template.suspend()
    until(lambda: template.status() == psutil.STATUS_STOPPED)
    clients = [asked_for_kernel(address) for _ in range(4)]
    assert answers(address, within_s=1)
    said = [client.receive() for client in clients]
    assert {"cold": "a process of the kernel server was stopped"} in said
    assert psutil.Process(leased["pid"]).is_running()
    other = asked_for_kernel(address)
    assert "pid" in other.receive()
    for client in (first, other, *clients):
        client.close()
    until(lambda: not ask(address, Question("status"), ServerStatus).leases)


@pytest.mark.slow
def test_server_whose_base_is_stopped_says_so_keeps_kernels_and_ends_when_nobody_needs_it(tmp_path):
    address = tmp_path / "s.sock"
    process = subprocess.Popen([sys.executable, "-c", SOON, str(address), "60"], env=kernel_environment())
    until(lambda: answers(address) and template_of(address, ["papermill"]))
    held = asked_for_kernel(address)
    leased = held.receive()
    psutil.Process(process.pid).children()[0].suspend()
    late = connect(address, 30)
    handover = {"folder": "/tmp", "settings": inherited_settings()}
    late.send({"do": "kernel", "environment": {"A": "b"}, "modules": [], "handover": handover})
    assert late.receive() == {"cold": "a process of the kernel server was stopped"}
    assert ask(address, Question("ping"), Presence) == Presence(process.pid, is_stuck=True)
    again = asked_for_kernel(address)
    assert "cold" in again.receive() and psutil.Process(leased["pid"]).is_running()
    for client in (late, again, held):
        client.close()
    assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []


# runs

STAGES = {
    "10_a.ipynb": ["from mlnb import save\nsave('a', 1)"],
    "20_b.ipynb": ["from mlnb import load, save\nsave('b', load('a'))"],
    "30_c.ipynb": ["from mlnb import load, save\nsave('c', load('b'))"],
}


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("rt")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            process.resume()
    stop_servers(everywhere=True, force=True)
    until(lambda: all(p.pid == os.getpid() for p in processes_of(folder)), 20)


def own_processes(runtime):
    "The server's processes by what they are."
    (server,) = servers_in(runtime)
    (address,) = runtime.glob("mlnb-*/*.sock")
    templates = ask(address, Question("status"), ServerStatus).templates
    (base,) = server.children()
    papermill = [psutil.Process(t.pid) for t in templates if t.modules == ("papermill",) and t.pid]
    others = [psutil.Process(t.pid) for t in templates if t.modules != ("papermill",) and t.pid]
    spares = [child for template in others for child in template.children()]
    return {"base": [base], "papermill": papermill, "stages": others, "spares": spares}


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "3"])
@pytest.mark.parametrize("which", ["base", "papermill", "stages", "spares", "all"])
def test_run_after_a_process_of_the_server_was_stopped_ends_well_with_few_lines(
    make_project, outside_environment, runtime, which, jobs
):
    root = make_project(STAGES).root
    assert Running(root, outside_environment()).ended()[0] == 0
    time.sleep(2)
    found = own_processes(runtime)
    for process in [p for name, of in found.items() if which in (name, "all") for p in of]:
        process.suspend()
    begun = time.monotonic()
    code, document, said = Running(root, outside_environment(), "--force", "-j", jobs).ended()
    assert (code, {e["state"] for e in document["stages"]}) == (0, {"committed"}), said
    assert len(lines_about_loss(said)) <= 1, said
    assert time.monotonic() - begun < 100, said


def test_executor_that_is_stopped_before_its_first_cell_is_given_up_by_its_command(monkeypatch, tmp_path):
    import socket

    from mlnb.kernel import executor
    from mlnb.kernel.launch import Launch
    from mlnb.kernel.link import Link

    played = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    psutil.Process(played.pid).suspend()
    monkeypatch.setattr(executor, "STOPPED_S", 0.05)
    mine, theirs = map(Link, socket.socketpair())
    mine.socket.settimeout(0.02)
    theirs.send({"executor": played.pid})
    launch = Launch(tmp_path, {}, server=tmp_path / "none.sock", started=[executor.RemoteKernel()])
    with pytest.raises(ConnectionError, match="stopped"):
        executor._follow_execution(mine, launch, print)
    assert played.wait(10) < 0
    played.stdin.close()
    mine.close()
    theirs.close()


def test_stage_whose_executor_is_stopped_after_its_first_cell_began_is_waited_for(tmp_path):
    import socket
    import threading

    from mlnb.kernel import executor
    from mlnb.kernel.launch import Launch
    from mlnb.kernel.link import Link

    played = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    psutil.Process(played.pid).suspend()
    mine, theirs = map(Link, socket.socketpair())
    mine.socket.settimeout(0.02)
    kernel = executor.RemoteKernel()
    kernel.stopped_at = time.monotonic() - 60
    theirs.send({"executor": played.pid})
    theirs.send({"cell": 0, "total": 1, "kernel": 1, "notice": None})
    end = {"raised": None, "files": [], "replies": []}
    timer = threading.Timer(0.2, lambda: theirs.send(end))
    timer.start()
    launch = Launch(tmp_path, {}, server=tmp_path / "none.sock", started=[kernel])
    assert executor._follow_execution(mine, launch, print) is None
    timer.join()
    assert psutil.Process(played.pid).status() == psutil.STATUS_STOPPED
    played.kill()
    played.wait()
    played.stdin.close()
    mine.close()
    theirs.close()
