"""What cannot be read of a process is proved or counts as different; limits of control groups are effective
ones; what a caller says of itself gives it nothing."""

import ctypes
import os
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_kernel_confined import (
    CONFINE,
    HANDOVER,
    REQUESTS,
    SLOW,
    STAGE,
    answers_to,
    can_be,
    seen_twice,
    until,
)

from mlnb.kernel.group_limits import shown_here
from mlnb.kernel.group_rules import BPF_NUMBERS, group_rules
from mlnb.kernel.inherited import NOT_GIVEN_UP, beyond_reach, floor_of, inherited_settings, said_of_itself
from mlnb.kernel.link import SERVER_COMMAND, Presence, Question, StopAnswer, ask, can_serve
from mlnb.kernel.process import kernel_environment

pytestmark = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")
FILTER = f"{CONFINE} no-acct"


@contextmanager
def serving(prefix=""):
    "A server of our own that was started under a prefix; gives its address."
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as folder:
        address = Path(folder, "s.sock")
        command = [*prefix.split(), *SERVER_COMMAND, str(address), "60"]
        with subprocess.Popen(command, env=kernel_environment()):
            until(lambda: ask(address, Question("ping"), Presence))
            try:
                yield address
            finally:
                ask(address, Question("stop"), StopAnswer)


@pytest.fixture(scope="module")
def server():
    "The address of a server that nothing confines."
    with serving() as address:
        yield address


def test_as_many_filters_of_another_content_are_no_match():
    if not can_be(FILTER):
        pytest.skip("no filter can be made here")
    others = (f"{CONFINE} no-sethostname", FILTER, f"{FILTER} {FILTER}")
    with serving(FILTER) as address, ThreadPoolExecutor() as pool:
        for answer in pool.map(lambda prefix: answers_to(prefix, address, REQUESTS[:1])[0], others):
            assert "system call filters" in answer["cold"]


STARTING = """
import os, subprocess, sys
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
from mlnb.kernel.link import *
address = Path(sys.argv[1])
process = start_server(address)
link = wait_for_server(address)
link.send({"do": "prepare", "stages": []})
print(link.receive(), flush=True)
if os.fork() == 0:
    other = connect(address)
    other.send({"do": "prepare", "stages": []})
    print(list(other.receive()), flush=True)
    os._exit(0)
os.wait()
"""


def test_server_with_filters_is_for_who_started_it_and_ends_with_it():
    if not can_be(FILTER):
        pytest.skip("no filter can be made here")
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as folder:
        address = Path(folder, "s.sock")
        root = str(Path(__file__).resolve().parent.parent)
        command = [*FILTER.split(), sys.executable, "-c", STARTING, str(address), root]
        done = subprocess.run(command, env=kernel_environment(), capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines() == ["{'prepared': 0}", "['cold']"], done.stderr
        until(lambda: not address.exists(), 20)


def test_caller_that_landlock_confines_is_refused_though_it_asks_by_itself():
    if not can_be(f"{CONFINE} landlock"):
        pytest.skip("there is no Landlock here")
    with serving("setpriv --no-new-privs") as address:
        assert answers_to("setpriv --no-new-privs", address, REQUESTS[:1]) == [{"prepared": 0}]
        answers = answers_to(f"{CONFINE} landlock", address, REQUESTS)
    assert all("(Landlock)" in answer["cold"] for answer in answers[:1])
    assert [list(answer) for answer in answers] == [["cold"]] * 3


def test_caller_that_says_little_of_itself_gets_nothing(server):
    said, requests = said_of_itself(), []
    for left_out in (*said, None):
        told = {name: value for name, value in said.items() if name != left_out}
        settings = told if left_out else told | {"keys": "none"}
        requests.append(REQUESTS[1] | {"handover": HANDOVER | {"settings": settings}})
    assert all("of itself" in answer["cold"] for answer in answers_to("", server, requests))


@pytest.mark.parametrize("name", NOT_GIVEN_UP)
def test_what_a_process_cannot_give_up_tells_servers_apart(name):
    floor = floor_of(inherited_settings())
    other = floor | {name: [1] if name == "blocked" else floor[name] + 1}
    assert beyond_reach(floor, floor) == []
    assert len(beyond_reach(floor, other)) == 1
    assert len(beyond_reach(other, floor)) == (name != "mdwe")


def group_of(controller):
    "The folder of this process's group in a hierarchy, and how it is written of."
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    path = next((path for _, names, path in lines if controller in (names or "unified").split(",")), None)
    shown = [one for one in shown_here() if controller in (one.controllers or {"unified"})]
    return shown[0].folder / path.strip("/") if shown and path is not None else None


@pytest.fixture
def made_group():
    "Makes a control group below that of this process; gives its folder."
    made = []

    def make(controller):
        own = group_of(controller)
        if own is None or not os.access(own, os.W_OK) or os.geteuid():
            pytest.skip(f"no group can be made here for {controller}")
        made.append(own / f"mlnb-test-{os.getpid()}")
        made[-1].mkdir()
        return made[-1]

    yield make
    for folder in made:
        until(lambda folder=folder: not (folder / "cgroup.procs").read_text().split(), 20)
        folder.rmdir()


def entering(group):
    "A prefix that puts a process into a control group."
    return f"sh -c 'echo 0 > {group}/cgroup.procs; exec \"$@\"' sh"


LIMITED = {  # controller, file, what is written there -> what is said
    ("blkio", "blkio.throttle.read_bps_device", "DEVICE 1048576"): "limit of reading (",
    ("blkio", "blkio.throttle.write_iops_device", "DEVICE 100"): "limit of writes (",
    ("cpu", "cpu.shares", "100"): "limit of share of the processors",
    ("pids", "pids.max", "5000"): "limit of processes",
    ("memory", "memory.kmem.tcp.limit_in_bytes", "1048576"): "limit of memory of connections",
}


@pytest.mark.parametrize("limit", LIMITED, ids=lambda limit: limit[1])
def test_limit_of_a_control_group_starts_cold_and_another_path_does_not(limit, server, made_group):
    controller, file, text = limit
    group = made_group(controller)
    if not (group / file).exists():
        pytest.skip(f"there is no {file} here")
    device = os.stat(__file__).st_dev
    assert answers_to(entering(group), server, REQUESTS[:1]) == [{"prepared": 0}]
    (group / file).write_text(text.replace("DEVICE", f"{os.major(device)}:{os.minor(device)}"))
    assert LIMITED[limit] in answers_to(entering(group), server, REQUESTS[:1])[0]["cold"]


def test_group_of_devices_starts_cold_because_what_it_forbids_is_not_told(server, made_group):
    group = made_group("devices")
    for text in ("", "c 1:5 rwm"):
        if text:
            (group / "devices.deny").write_text(text)
        assert "rules for devices" in answers_to(entering(group), server, REQUESTS[:1])[0]["cold"]


def test_limit_of_huge_pages_starts_cold(server, made_group):
    group = made_group("unified")
    control = group.parent / "cgroup.subtree_control"
    before = control.read_text()
    if "hugetlb" not in (group.parent / "cgroup.controllers").read_text():
        pytest.skip("huge pages are not limited here")
    control.write_text("+hugetlb")
    try:
        assert answers_to(entering(group), server, REQUESTS[:1]) == [{"prepared": 0}]
        next(group.glob("hugetlb.*.max")).write_text("0")
        assert "limit of huge pages (" in answers_to(entering(group), server, REQUESTS[:1])[0]["cold"]
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().split(), 20)
        control.write_text("" if "hugetlb" in before else "-hugetlb")


LOAD, ATTACH, DEVICES, DEVICE_PROGRAM = 5, 8, 6, 15


def bpf(command, about):
    "Ask the system for something about its programs; negative when it refuses."
    asked = ctypes.create_string_buffer(about.ljust(128, b"\0"), 128)
    calls = ctypes.CDLL(None, use_errno=True)
    return calls.syscall(BPF_NUMBERS[os.uname().machine], command, asked, 128)


def attach_rule(group):
    "Attach a program to a group that lets nobody open a device."
    steps = struct.pack("BBhi", 0xB7, 0, 0, 0) + struct.pack("BBhi", 0x95, 0, 0, 0)
    code, licence = ctypes.create_string_buffer(steps), ctypes.create_string_buffer(b"GPL")
    about = struct.pack("IIQQ", DEVICE_PROGRAM, 2, ctypes.addressof(code), ctypes.addressof(licence))
    program = bpf(LOAD, about)
    folder = os.open(group, os.O_RDONLY)
    attached = -1 if program < 0 else bpf(ATTACH, struct.pack("IIII", folder, program, DEVICES, 0))
    os.close(folder)
    return attached


def test_rule_that_is_attached_to_a_group_starts_cold_and_another_path_does_not(server, made_group):
    group = made_group("unified")
    assert answers_to(entering(group), server, REQUESTS[:1]) == [{"prepared": 0}]
    if attach_rule(group) < 0:
        pytest.skip("no program can be attached to a group here")
    text = f"0::/{group.relative_to(group.parent)}"
    assert list(group_rules(text)) == ["rules for devices and connections"]
    assert "limit of rules for devices" in answers_to(entering(group), server, REQUESTS[:1])[0]["cold"]


@SLOW
def test_run_under_a_filter_has_a_server_of_its_own_for_as_long_as_it_runs(
    make_project, outside_environment, tmp_path
):
    if not can_be(FILTER):
        pytest.skip("no filter can be made here")
    project = make_project(STAGE)
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as runtime:
        environment = outside_environment(XDG_RUNTIME_DIR=runtime)
        for prefix in (FILTER, f"{CONFINE} no-sethostname", FILTER):
            seen, direct, said = seen_twice(project, prefix, environment)
            assert (seen, "cold" in said) == (direct, False), said
        until(lambda: not list(Path(runtime).rglob("*.sock")), 30)


@SLOW
def test_mend_that_is_said_gives_the_confined_a_server(make_project, outside_environment):
    if not can_be("unshare -n"):
        pytest.skip("no namespace can be made here")
    project = make_project(STAGE)
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as runtime:
        environment = outside_environment(XDG_RUNTIME_DIR=runtime)
        seen_twice(project, "", environment)
        assert "`mlnb kernels stop`" in seen_twice(project, "unshare -n", environment)[2]
        stop = [sys.executable, "-m", "mlnb", "kernels", "stop"]
        subprocess.run(stop, cwd="/", env=environment, check=True, capture_output=True)
        assert "cold" not in seen_twice(project, "unshare -n", environment)[2]
        subprocess.run([*stop, "--force"], cwd="/", env=environment, check=True, capture_output=True)


PRELOADED = {
    "10_a.ipynb": [
        "#| env: LD_PRELOAD\nfrom mlnb import save",
        "save('seen', 'libBrokenLocale' in open('/proc/self/maps').read())",
    ]
}


@SLOW
@pytest.mark.parametrize("options", [(), ("--cold",)], ids=["server", "cold"])
def test_variable_that_a_process_reads_when_it_starts_is_obeyed(options, make_project, outside_environment):
    library = next(Path("/").glob("usr/lib*/*/libBrokenLocale.so.1"), None)
    if library is None:
        pytest.skip("there is no library here that does nothing")
    project = make_project(PRELOADED)
    with tempfile.TemporaryDirectory(prefix="tk-", dir="/tmp") as runtime:
        environment = outside_environment(XDG_RUNTIME_DIR=runtime, LD_PRELOAD=str(library))
        mlnb = [sys.executable, "-m", "mlnb"]
        done = subprocess.run(
            [*mlnb, "run", "demo", *options],
            cwd=project.root,
            env=environment,
            capture_output=True,
            text=True,
        )
        got = [*mlnb, "get", "seen", "--out", "seen.json"]
        subprocess.run(got, cwd=project.root, env=environment, check=True, capture_output=True)
        assert ((project.root / "seen.json").read_text().strip(), done.returncode) == ("true", 0)
        assert (done.stderr + done.stdout).count("LD_PRELOAD") == (not options), done.stderr
        subprocess.run([*mlnb, "kernels", "stop", "--force"], cwd="/", env=environment, capture_output=True)
