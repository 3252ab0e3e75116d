"""A kernel has no more rights than its caller, and sees what it sees: warm and cold, whatever confines it.
Its server gives nothing to whoever is confined otherwise; nothing listens on a port; what killed processes
leave is removed."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from mlnb.kernel.group_limits import Shown, group_limits
from mlnb.kernel.link import (
    SERVER_COMMAND,
    Presence,
    Question,
    ServerStatus,
    StopAnswer,
    ask,
    can_serve,
    connect,
)
from mlnb.kernel.passing_folders import MARK, passing_folder, tidy_folders
from mlnb.kernel.private_channels import FRAME_LIMIT
from mlnb.kernel.private_places import closed_folder, server_folder, socket_places
from mlnb.kernel.process import kernel_environment
from mlnb.kernel.surroundings import (
    Standing,
    differing_surroundings,
    is_freer,
    limits_around,
    surroundings_of,
)

SLOW = pytest.mark.slow
pytestmark = pytest.mark.skipif(not can_serve(), reason="the kernel server needs Linux")

CONFINE = f"{sys.executable} -S {Path(__file__).with_name('confine.py')}"
CONFINED = {  # what confines a process -> what differs then
    "setpriv --no-new-privs": "no_new_privs",
    "setpriv --bounding-set -all": "capabilities",
    "setpriv --groups 7,8": "further groups",
    "unshare -n": "network namespace",
    "unshare -m": "mount namespace",
    "unshare -u": "host name (UTS) namespace",
    "unshare -i": "IPC namespace",
    "unshare -C": "cgroup namespace",
    "unshare -U -r": "user namespace",
    "unshare -p -f": "PID namespace",
    "unshare -T": "time namespace",
    f"{CONFINE} no-acct": "system call filters",
    f"{CONFINE} node": "memory policy",
    f"{CONFINE} traced": "tracer",
    f"{CONFINE} no-root": "capabilities",
}
TAKEN = (  # what a copy of the server's takes over
    "nice -n 5",
    "taskset -c 0",
    "prlimit --nofile=400:500",
    "prlimit --core=0:0",
    "prlimit --stack=4000000:",
    "chrt -b 0",
    "chrt -f 5",
    "ionice -c 3",
    "ionice -c 1 -n 6",
    "nohup",
    *(
        f"{CONFINE} {way}"
        for way in ("ignored", "mdwe", "no-huge-pages", "slack", "merged-pages", "dump-all")
    ),
    "choom -n 300 --",
    "setarch -R",
    "sh -c 'umask 027; exec \"$@\"' sh",
)
SAID = {  # what only the process itself knows -> what is said of it
    f"{CONFINE} key": "keys in its session keyring"
}


def named(prefix):
    "A name for a way to confine something."
    return prefix.replace(CONFINE, "confine").replace('; exec "$@"', "")


def can_be(prefix):
    "Whether this machine lets us confine something so."
    return subprocess.run(f"{prefix} true", shell=True, capture_output=True).returncode == 0


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def short():
    "A private folder with a short path, for sockets."
    folder = Path(tempfile.mkdtemp(prefix="tk-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server():
    "The address of a server of our own."
    folder = Path(tempfile.mkdtemp(prefix="tk-", dir="/tmp"))
    process = subprocess.Popen([*SERVER_COMMAND, str(folder / "s.sock"), "60"], env=kernel_environment())
    until(lambda: ask(folder / "s.sock", Question("ping"), Presence))
    yield folder / "s.sock"
    ask(folder / "s.sock", Question("stop"), StopAnswer)
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


ASKING = """
import json, socket, struct, sys
def sight(asking):
    number = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    try:
        return open(f"/proc/{number}/fd/0").read(64)
    except OSError:
        return ""
for message in json.loads(sys.argv[2]):
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(sys.argv[1])
    message["sight"] = sight(asking)
    asking.sendall(json.dumps(message).encode() + b"\\n")
    print(asking.makefile().readline().strip())
"""
HANDOVER = {"environment": {}, "folder": "/", "settings": {"nice": -20}, "connection": None}
REQUESTS = [
    {"do": "prepare", "stages": []},
    {"do": "kernel", "environment": {}, "modules": [], "handover": HANDOVER},
    {
        "do": "execute",
        "in": "a.ipynb",
        "out": "b.ipynb",
        "folder": "/",
        "server": "s.sock",
        "caps": ["/", "a"],
        "settings": {},
    },
]


def answers_to(prefix, address, requests):
    "What a server answers to a process that is confined in a way, and may be hostile."
    program = f'{prefix} "$0" -S -c "$1" "$2" "$3"'
    command = ["sh", "-c", program, sys.executable, ASKING, str(address), json.dumps(requests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("prefix", CONFINED, ids=named)
def test_confined_caller_gets_no_process_of_the_server(prefix, server):
    if not can_be(prefix):
        pytest.skip(f"`{prefix}` is not possible here")
    answers = answers_to(prefix, server, REQUESTS)
    assert [list(answer) for answer in answers] == [["cold"]] * 3, answers
    assert all(CONFINED[prefix] in answer["cold"] for answer in answers), answers
    about = ask(server, Question("status"), ServerStatus)
    assert (about.leases, about.kernels_given, about.uses) == ((), 0, {})


def test_caller_beside_it_gets_what_it_asks_for(server):
    assert answers_to("", server, REQUESTS[:1]) == [{"prepared": 0}]
    assert answers_to("nice -n 3", server, REQUESTS[:1]) == [{"prepared": 0}]


def test_caller_in_another_root_is_refused(server):
    around = surroundings_of(os.getpid())
    other = msgspec.structs.replace(around, root=[*around.root[:2], around.root[2] + 1])
    assert differing_surroundings(around, other) == ["root folder"]


@pytest.mark.parametrize("name", Standing.__struct_fields__)
def test_surroundings_that_differ_in_one_part_are_others_in_both_directions(name):
    around = surroundings_of(os.getpid())
    assert differing_surroundings(around, around) == []
    for changed in (None, {}, [0, 0, 0], "another"):
        other = msgspec.structs.replace(around, **{name: changed})
        is_text = name in ("label", "groups")
        if isinstance(changed, str) != is_text and changed is not None:
            continue
        if isinstance(changed, list) != (name == "root") and isinstance(changed, list):
            continue
        if isinstance(changed, dict) and name not in ("namespaces", "rights"):
            continue
        both = differing_surroundings(around, other), differing_surroundings(other, around)
        assert all(both), (name, changed)
        assert not is_freer(around, other, limits_around(other)) or changed == {}


@pytest.mark.parametrize("name", surroundings_of(os.getpid()).rights or {})
def test_each_right_counts(name):
    around = surroundings_of(os.getpid())
    other = msgspec.structs.replace(around, rights=around.rights | {name: "7"})
    assert len(differing_surroundings(around, other)) == 1


def test_path_of_a_control_group_alone_never_differs(tmp_path):
    for name in ("a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "memory.max").write_text("1000")
    shown = [Shown(frozenset(), "/", tmp_path)]
    assert group_limits("0::/a", shown) == group_limits("0::/b/c", shown) == {"memory": 1000}
    (tmp_path / "b" / "memory.max").write_text("999")
    assert group_limits("0::/b/c", shown) == {"memory": 999}


def made_file(place):
    (place / "x").touch()


def made_link(place):
    (place / "x").symlink_to("/root")


def made_foreign(place):
    (place / "x").mkdir()
    os.chown(place / "x", 65534, 65534)


def made_open(place):
    (place / "x").mkdir()
    (place / "x").chmod(0o777)


def made_below_open(place):
    place.chmod(0o777)
    (place / "x").mkdir(mode=0o700)


HOSTILE = (made_file, made_foreign, made_open, made_below_open, lambda place: None)


@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_runtime_folder_is_passed_over(make, short, monkeypatch):
    if make is made_foreign and os.geteuid() != 0:
        pytest.skip("only the administrator can give a folder away")
    make(short)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "x"))
    assert str(short / "x") not in socket_places()
    assert short not in server_folder().parents
    assert stat.S_IMODE(server_folder().stat().st_mode) == 0o700
    assert not (short / "x").is_dir() or list((short / "x").iterdir()) == []


@pytest.mark.parametrize("make", (made_file, made_link, made_foreign, made_open))
def test_name_that_somebody_has_taken_is_no_folder_of_ours(make, short):
    if make is made_foreign and os.geteuid() != 0:
        pytest.skip("only the administrator can give a folder away")
    make(short)
    before = (short / "x").lstat()
    assert not closed_folder(short / "x")
    assert (short / "x").lstat() == before


def test_open_folder_of_ours_is_closed_unless_others_could_write(short, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    own = short / f"mlnb-{os.getuid()}"
    for mode in range(0o700, 0o1000):
        own.mkdir(exist_ok=True)
        own.chmod(mode)
        assert closed_folder(own) == (mode & 0o022 == 0), oct(mode)
        assert stat.S_IMODE(own.stat().st_mode) == (0o700 if mode & 0o022 == 0 else mode)


def test_left_folder_with_a_pipe_a_link_or_another_owner_holds_nobody_up(short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    program = (
        "import os; from mlnb.kernel.passing_folders import passing_folder\n"
        "print(passing_folder('mlnb-'), flush=True); os.kill(os.getpid(), 9)"
    )
    told = os.environ | {"TMPDIR": str(short)}
    left = Path(
        subprocess.run(
            [sys.executable, "-c", program], env=told, capture_output=True, text=True
        ).stdout.strip()
    )
    held = passing_folder("mlnb-", str(short))
    (short / "mlnb-pipe-own").mkdir()
    os.mkfifo(short / "mlnb-pipe-own" / MARK)
    (short / "mlnb-link-own").symlink_to(left)
    (short / "mlnb-deep-own").mkdir()
    (short / "mlnb-deep-own" / MARK).symlink_to(left / MARK)
    assert tidy_folders() == [left]
    assert held.exists() and not left.exists() and (short / "mlnb-link-own").is_symlink()
    shutil.rmtree(held)


SEEN = """
import ctypes, json, os, resource
calls, keys = ctypes.CDLL(None), (ctypes.c_int32 * 99)()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
names = "Umask Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Cpus_allowed".split()
seen = {name: status[name].strip() for name in names}
seen |= {f"ns/{name}": os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
limits = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
seen |= {name: list(resource.getrlimit(number)) for name, number in limits.items()}
seen |= {"nice": os.nice(0), "policy": os.sched_getscheduler(0)}
seen |= {"oom": open("/proc/self/oom_score_adj").read()}
seen |= {f"prctl {n}": calls.prctl(n, 0, 0, 0, 0) for n in (27, 30, 42, 66, 68)}
seen |= {"reading": calls.syscall(252, 1, 0), "dumped": open("/proc/self/coredump_filter").read()}
seen |= {name: int(status[name], 16) & ~0x381011002 for name in ("SigIgn", "SigBlk")}
seen |= {"policy of memory": open("/proc/self/numa_maps").readline().split()[1]}
n_keys = calls.syscall(250, 11, -3, ctypes.byref(keys), 396, 0) // 4
seen |= {"keys": len(set(keys[:n_keys]) - {calls.syscall(250, 0, -4, 0, 0, 0)})}
seen |= {"personality": open("/proc/self/personality").read(), "root": os.stat("/").st_ino}
"""
STAGE = {
    "10_a.ipynb": [("parameters", "k: int = 0"), "from mlnb import save\n" + SEEN + "save('seen', seen)"]
}


def seen_twice(project, prefix, environment, *options):
    "What a stage sees that is run under a prefix, what a process sees there, and what is said."
    (project.root / "seen.py").write_text(SEEN + "json.dump(seen, open('direct.json', 'w'))")
    run = " ".join([sys.executable, "-m", "mlnb", "run", "demo", "--force", "--replace", *options])
    script = f"{sys.executable} seen.py && exec {run}"
    command = ["sh", "-c", f'{prefix} sh -c "$0"', script]
    done = subprocess.run(
        command, cwd=project.root, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (project.root / "seen.json").unlink(missing_ok=True)
    got = [sys.executable, "-m", "mlnb", "get", "seen", "--out", "seen.json"]
    subprocess.run(got, cwd=project.root, env=environment, check=True, capture_output=True)
    files = [json.loads((project.root / name).read_text()) for name in ("seen.json", "direct.json")]
    return *files, done.stderr + done.stdout


@pytest.fixture(scope="module")
def beside(make_shared_project, outside_environment):
    "A project with a server that has run it."
    runtime = Path(tempfile.mkdtemp(prefix="tk-", dir="/tmp"))
    project = make_shared_project(STAGE)
    environment = outside_environment(XDG_RUNTIME_DIR=str(runtime))
    seen_twice(project, "", environment)
    yield project, environment, runtime
    stop = [sys.executable, "-m", "mlnb", "kernels", "stop", "--force"]
    subprocess.run(stop, cwd="/", env=environment, capture_output=True)
    shutil.rmtree(runtime, ignore_errors=True)


@SLOW
@pytest.mark.parametrize("options", [(), ("--cold",)], ids=["server", "cold"])
@pytest.mark.parametrize("prefix", [*CONFINED, *TAKEN, *SAID, "env"], ids=named)
def test_stage_sees_what_its_caller_sees(prefix, options, beside):
    if not can_be(prefix):
        pytest.skip(f"`{prefix}` is not possible here")
    project, environment, _ = beside
    seen, direct, said = seen_twice(project, prefix, environment, *options)
    assert {name: (value, direct[name]) for name, value in seen.items() if value != direct[name]} == {}
    why = (CONFINED | SAID).get(prefix, "")
    assert said.count("start cold") == (bool(why) and not options), said
    assert options or why in said, said


@SLOW
def test_limited_control_group_starts_cold_and_another_path_does_not(beside):
    tree = Path("/sys/fs/cgroup/memory")
    if not os.access(tree, os.W_OK) or not (tree / "memory.limit_in_bytes").exists():
        pytest.skip("no control group can be made here")
    project, environment, _ = beside
    own = next(
        line.split(":")[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if ":memory:" in line
    )
    group = tree / own.strip("/") / f"mlnb-test-{os.getpid()}"
    group.mkdir()
    enter = f"sh -c 'echo 0 > {group}/cgroup.procs; exec \"$@\"' sh"
    try:
        assert "cold" not in seen_twice(project, enter, environment)[2]
        (group / "memory.limit_in_bytes").write_text(str(3 << 30))
        assert "limit of memory" in seen_twice(project, enter, environment)[2]
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().split())
        group.rmdir()


@SLOW
def test_server_that_somebody_confined_has_started_is_for_nobody_else(
    make_project, outside_environment, short
):
    if not can_be("unshare -n"):
        pytest.skip("no namespace can be made here")
    project = make_project(STAGE)
    environment = outside_environment(XDG_RUNTIME_DIR=str(short))
    assert "cold" not in seen_twice(project, "unshare -n", environment)[2]
    servers = list(short.rglob("*.sock"))
    seen, direct, said = seen_twice(project, "", environment)
    assert (len(servers), seen["ns/net"], "cold" in said) == (1, direct["ns/net"], False)
    assert len(list(short.rglob("*.sock"))) == 2
    subprocess.run([sys.executable, "-m", "mlnb", "kernels", "stop", "--force"], cwd="/", env=environment)


@SLOW
def test_priority_below_the_servers_can_be_taken_back_by_a_server_of_its_own(
    make_project, outside_environment, short
):
    project = make_project(STAGE)
    environment = outside_environment(XDG_RUNTIME_DIR=str(short))
    for prefix in ("nice -n 7", "", "nice -n 9"):
        seen, direct, said = seen_twice(project, prefix, environment)
        assert (seen["nice"], "cold" in said) == (direct["nice"], False), (prefix, said)
    subprocess.run([sys.executable, "-m", "mlnb", "kernels", "stop", "--force"], cwd="/", env=environment)


LANDLOCKED = """
import ctypes, os, struct, sys
calls = ctypes.CDLL(None)
rules = calls.syscall(444, ctypes.create_string_buffer(struct.pack("QQ", 0, 1)), 16, 0)
if rules < 0 or calls.prctl(38, 1, 0, 0, 0) or calls.syscall(446, rules, 0):
    sys.exit(99)
os.execvp(sys.argv[1], sys.argv[1:])
"""  # binds no TCP port any more, by Landlock; gains no privileges


@SLOW
def test_landlock_that_the_server_cannot_see_starts_cold(make_project, outside_environment, short):
    program = short / "landlocked.py"
    program.write_text(LANDLOCKED)
    landlocked = f"{sys.executable} {program}"
    if not can_be(landlocked) or not can_be("setpriv --no-new-privs"):
        pytest.skip("there is no Landlock here")
    project = make_project(STAGE)
    environment = outside_environment(XDG_RUNTIME_DIR=str(short))
    assert "cold" not in seen_twice(project, "setpriv --no-new-privs", environment)[2]
    assert seen_twice(project, landlocked, environment)[2].count("(Landlock)") == 1
    subprocess.run([sys.executable, "-m", "mlnb", "kernels", "stop", "--force"], cwd="/", env=environment)


WAITING = {
    "10_a.ipynb": [
        "from mlnb import save\nimport os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))",
        "while not pathlib.Path('go').exists(): time.sleep(.05)\nsave('out', 1)",
    ]
}


def listening(folder):
    "Ports and sockets without a file that processes of a runtime folder have open for others."
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("XDG_RUNTIME_DIR") != str(folder):
                continue
            inet = [
                c.laddr
                for c in process.net_connections("inet")
                if c.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
            ]
            unix = [c.laddr for c in process.net_connections("unix") if str(c.laddr).startswith("@")]
            found += [(process.pid, where) for where in (*inet, *unix)]
        except psutil.Error:
            continue
    return found


@SLOW
@pytest.mark.parametrize("way", ["warm", "cold", "papermill"])
def test_run_listens_on_no_port(way, make_project, outside_environment, short):
    project = make_project(WAITING)
    environment = outside_environment(XDG_RUNTIME_DIR=str(short))
    mlnb_command = [sys.executable, "-m", "mlnb", "run", "demo", *(["--cold"] if way == "cold" else [])]
    by_hand = [sys.executable, "-m", "papermill", "--engine", "mlnb", "nbs/10_a.ipynb", "out.ipynb"]
    command = by_hand if way == "papermill" else mlnb_command
    run = subprocess.Popen(
        command, cwd=project.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    pid = project.root / "nbs" / "pid"
    until(lambda: pid.exists() and pid.read_text())
    assert (listening(short), psutil.pid_exists(int(pid.read_text()))) == ([], True)
    (project.root / "nbs" / "go").touch()
    assert run.wait(60) == 0, run.stdout.read()
    run.stdout.close()
    subprocess.run([sys.executable, "-m", "mlnb", "kernels", "stop", "--force"], cwd="/", env=environment)


@SLOW
def test_oversized_frame_is_refused_and_forked_children_are_heard(make_project, papermill, short, mlnb):
    cells = [
        "from mlnb import save\nimport os, zmq",
        "endpoint = get_ipython().kernel.parent.iopub_thread._pipe_port",
        f"pushing = zmq.Context().socket(zmq.PUSH)\npushing.linger = 2000\npushing.connect(endpoint)\n"
        f"pushing.send_multipart([b'x' * 16, bytes({FRAME_LIMIT + 1})])\npushing.close()",
        "from multiprocessing import get_context\n"
        "child = get_context('fork').Process(target=print, args=['from a child'])\n"
        "child.start()\nchild.join()",
        "print(endpoint.partition(':')[0], child.exitcode)",
    ]
    project = make_project({"10_a.ipynb": cells})
    told = {"XDG_RUNTIME_DIR": str(short)}
    options = ("--engine", "mlnb", "nbs/10_a.ipynb")
    code, said, made = papermill(*options, cwd=project.root, out=short / "out.ipynb", **told)
    printed = "".join("".join(o.get("text", "")) for cell in made["cells"] for o in cell.get("outputs", ()))
    assert (code, printed.split("\n")) == (0, ["from a child", "ipc 0", ""]), said
    mlnb("kernels", "stop", "--force", cwd="/", **told)


@SLOW
@pytest.mark.parametrize("victim", ["run", "kernel", "executor", "server"])
def test_folders_of_killed_processes_are_swept(victim, make_project, outside_environment, short, mlnb):
    project = make_project(WAITING)
    temporary = short / "t"
    temporary.mkdir()
    told = {"XDG_RUNTIME_DIR": str(short), "TMPDIR": str(temporary)}
    run = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo"],
        cwd=project.root,
        env=outside_environment(**told),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid = project.root / "nbs" / "pid"
    until(lambda: pid.exists() and pid.read_text())
    server = connect(next(short.rglob("*.sock")))
    about = ask(next(short.rglob("*.sock")), Question("status"), ServerStatus)
    server.close()
    kernel = int(pid.read_text())
    known = {kernel, about.pid, *(one.pid for one in about.templates)}
    others = [p for p in psutil.Process(about.pid).children(recursive=True) if p.pid not in known]
    chosen = {
        "run": [run.pid],
        "kernel": [kernel],
        "server": [about.pid],
        "executor": [p.pid for p in others],
    }
    for number in chosen[victim]:
        os.kill(number, signal.SIGKILL)
    (project.root / "nbs" / "go").touch()
    run.wait(120)
    assert mlnb("run", "demo", "--force", cwd=project.root, **told).code == 0
    until(lambda: not [p for p in (*short.glob("mlnb-*-own"), *temporary.iterdir()) if p.is_dir()], 20)
    mlnb("kernels", "stop", "--force", cwd="/", **told)
    assert sorted(p.name for p in short.iterdir()) == [f"mlnb-{os.getuid()}", "t"]
    assert list(temporary.iterdir()) == list((short / f"mlnb-{os.getuid()}").iterdir()) == []


@SLOW
@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator can mount")
@pytest.mark.parametrize("mount", ["-t tmpfs -o nr_inodes=1,mode=700", "-t tmpfs -o ro,mode=700"])
def test_full_or_read_only_runtime_folder_is_passed_over(mount, make_project, outside_environment, short):
    project = make_project(STAGE)
    (short / "x").mkdir()
    (short / "y").mkdir()
    environment = outside_environment(XDG_RUNTIME_DIR=str(short / "x"), TMPDIR=str(short / "y"))
    seen, direct, _ = seen_twice(
        project, f"unshare -m sh -c 'mount {mount} none {short}/x; exec \"$@\"' sh", environment
    )
    assert seen["ns/mnt"] == direct["ns/mnt"]
    assert list((short / "x").iterdir()) == []
    stop, told = (
        [sys.executable, "-m", "mlnb", "kernels", "stop", "--force"],
        {"XDG_RUNTIME_DIR": str(short / "y")},
    )
    assert subprocess.run(stop, cwd="/", env=environment | told).returncode == 0
    assert list(short.rglob("*.sock")) == []


def test_nobody_else_can_connect_to_the_server(server):
    if os.geteuid() != 0 or not can_be("setpriv --reuid 65534 --clear-groups"):
        pytest.skip("only the administrator can be somebody else")
    assert answers_to("setpriv --reuid 65534 --clear-groups", server, REQUESTS) == []
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(server))
