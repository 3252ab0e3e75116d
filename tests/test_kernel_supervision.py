"""Stages that do not end, take too much, start others and leave them, or fail only sometimes; and what a
killed run leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

OURS = "from mlnb import save\n"
SAVE = "save('{name}', 1)"
FLAKY = (
    "import os, pathlib\nseen = pathlib.Path('{flag}')\nn = int(seen.read_text()) if seen.exists() else 0\n"
    "seen.write_text(str(n + 1))\nif n < 2: os.kill(os.getpid(), 9)"
)
SPAWNS = {  # six ways to start a process that outlives its cell
    "plain": "import subprocess\nsubprocess.Popen(['sleep', '600'])",
    "session": "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)",
    "shell": "import os\nos.system('sleep 600 &')",
    "nohup": (
        "import subprocess\nsubprocess.run(['bash', '-c', 'nohup setsid sleep 600 >/dev/null 2>&1 & disown'])"
    ),
    "daemon": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import os, time\\nif os.fork() == "
        "0:\\n os.setsid()\\n if os.fork() == 0: time.sleep(600)\\n os._exit(0)'])"
    ),
    "fork": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)",
}


def family_of(root):
    """Processes that carry the context of a stage of this project in their environment, or work in its folder
    as a warm kernel does."""
    found = []
    for process in psutil.process_iter():
        try:
            is_stage = str(root) in process.environ().get("MLNB_STAGE", "") or process.cwd().startswith(
                f"{root}/"
            )
            if is_stage and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone_within(root, seconds):
    deadline = time.monotonic() + seconds
    while (left := family_of(root)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


@pytest.fixture(scope="module")
def supervised(make_shared_project, mlnb, tmp_path_factory):
    "One run of stages that each break a limit in their own way."
    flag = tmp_path_factory.mktemp("flag") / "n"
    cells = {
        "loop": ["#| timeout: 1s\n" + OURS, "while True: pass"],
        "swallow": [
            "#| timeout: 1s\n" + OURS,
            "import time\nwhile True:\n    try: time.sleep(1)\n    except KeyboardInterrupt: pass",
        ],
        "caught": [
            "#| timeout: 1s\n" + OURS,
            "import time\ntry: time.sleep(600)\nexcept KeyboardInterrupt: pass",
        ],
        "csleep": ["#| timeout: 1s\n" + OURS, "import ctypes\nctypes.CDLL(None).sleep(600)"],
        "blocked": ["#| timeout: 1s\n" + OURS, "import os\nos.read(os.pipe()[0], 1)"],
        "greedy": [
            "#| memory: 300MiB\n" + OURS,
            "import time\nkept = []\nwhile True:\n    kept.append(bytearray(30 * 2**20))\n"
            "    time.sleep(0.05)",
        ],
        "flaky": ["#| retries: 2\n" + OURS, FLAKY.format(flag=flag)],
        "wrong": ["#| retries: 2\n" + OURS, "1 / 0"],
        "ask": [OURS, "input('name? ')"],
        "secret": [OURS, "import getpass\ngetpass.getpass()"],
    }
    project = make_shared_project(
        {
            f"{n:02d}_{name}.ipynb": [*source, SAVE.format(name=name)]
            for n, (name, source) in enumerate(cells.items(), 10)
        }
    )
    return project, mlnb("run", "demo", "-k", "--json", cwd=project.root)


@pytest.mark.parametrize(
    ("name", "kind", "ename"),
    [
        ("loop", "timeout", "TimeoutError"),
        ("swallow", "timeout", "TimeoutError"),
        ("caught", "timeout", "TimeoutError"),
        ("csleep", "timeout", "TimeoutError"),
        ("blocked", "timeout", "TimeoutError"),
        ("greedy", "oom", "MemoryError"),
        ("wrong", "user_error", "ZeroDivisionError"),
        ("ask", "user_error", "StdinNotImplementedError"),
        ("secret", "user_error", "StdinNotImplementedError"),
    ],
)
def test_stage_that_breaks_a_limit_fails_for_that_reason(supervised, name, kind, ename):
    entry = supervised[1].stage(name)
    assert (entry["state"], entry["kind"], entry["error"]["ename"], entry["error"]["cell"]) == (
        "failed",
        kind,
        ename,
        2,
    )


def test_timeout_decides_the_exit_code(supervised):
    assert supervised[1].code == supervised[1].json["exit_code"] == 124


def test_fault_that_passes_is_retried_and_an_error_of_the_code_is_not(supervised):
    assert (supervised[1].stage("flaky")["state"], supervised[1].stage("flaky")["attempts"]) == (
        "committed",
        3,
    )
    assert supervised[1].stage("wrong")["attempts"] == 1


def test_question_in_a_run_says_what_to_do_instead(supervised):
    assert (
        supervised[1].stage("ask")["error"]["evalue"]
        == "nobody can answer `input` in a run: make it a parameter"
    )


def test_notebook_of_an_ended_stage_tells_the_truth_and_is_valid(supervised):
    for name in ("loop", "swallow", "greedy"):
        notebook = nbformat.read(supervised[1].stage(name)["notebook"], as_version=4)
        about = notebook.metadata["mlnb"]
        assert (about["state"], about["kind"], about["error"]["cell"]) == (
            "failed",
            supervised[1].stage(name)["kind"],
            2,
        )
        statuses = [
            c.metadata["papermill"]["status"]
            for c in notebook.cells
            if c.cell_type == "code" and "papermill" in c.metadata
        ]
        assert statuses == ["completed", "failed", "pending"]


def test_memory_of_a_stage_is_measured(supervised):
    assert supervised[1].stage("greedy")["peak_mib"] > 250
    assert 20 < supervised[1].stage("flaky")["peak_mib"] < 300


def test_nothing_of_an_ended_stage_is_left(supervised):
    assert gone_within(supervised[0].root, 10) == []


def test_events_tell_the_run_in_order(supervised, mlnb):
    project, done = supervised
    events = [
        json.loads(line)
        for line in (project.root / ".mlnb/runs" / done.json["run"] / "events.jsonl").read_text().splitlines()
    ]
    assert (events[0]["event"], events[-1]["event"], events[-1]["state"]) == ("start", "end", "failed")
    assert [e["state"] for e in events if e["event"] == "stage" and e["name"] == "flaky"] == [
        "running",
        "waiting",
        "running",
        "waiting",
        "running",
        "committed",
    ]
    followed = mlnb("show", done.json["run"], "--follow", cwd=project.root)
    assert (followed.code, "end: demo failed" in followed.stdout) == (0, True)


def test_processes_that_a_stage_starts_end_with_it(make_project, mlnb):
    project = make_project(
        {
            f"{n}0_{name}.ipynb": [OURS + spawn, SAVE.format(name=name)]
            for n, (name, spawn) in enumerate(SPAWNS.items(), 1)
        }
    )
    done = mlnb("run", "demo", "--json", cwd=project.root)
    assert (done.code, set(done.states.values())) == (0, {"committed"}), done.stderr
    assert gone_within(project.root, 5) == []


def test_killed_run_leaves_no_process_and_no_lock(make_project, mlnb):
    project = make_project(
        {
            "10_a.ipynb": [
                OURS,
                "import subprocess, time\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
                "open('started', 'w').close()\ntime.sleep(600)",
                SAVE.format(name="a"),
            ]
        }
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo"],
        cwd=project.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (project.root / "nbs" / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(family_of(project.root)) >= 2
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert gone_within(project.root, 30) == []
    assert mlnb("runs", "--json", cwd=project.root).json["runs"][0]["state"] == "cancelled"
    project.stage("nbs/10_a.ipynb", OURS, SAVE.format(name="a"))
    assert mlnb("run", "demo", "--no-wait", cwd=project.root).code == 0
