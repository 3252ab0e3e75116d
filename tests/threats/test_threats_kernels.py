"""Stages that are killed, overflow, hang or are cancelled as often as the list of threats says, and how soon
each of them is over."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

OURS = "import os, time\nfrom mlnb import load, save\n"
DIES = "open(f'died-{k}', 'w').write(str(time.time()))\nos.kill(os.getpid(), 9)"


def each(last, code="", options=""):
    "Cells of a stage that is run for every number up to the last."
    return [("parameters", f"#| each: k in 1..{last}\n{options}k: int = 0"), OURS + code, "save('x', k)"]


def events_of(root, run):
    lines = (root / ".mlnb/runs" / run / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def processes_below(root):
    "Processes whose environment or working folder is of this project."
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = str(root) in process.environ().get("MLNB_STAGE", "") or Path(
                process.cwd()
            ).is_relative_to(root)
            if is_ours and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_after(root, seconds):
    deadline = time.monotonic() + seconds
    while (left := processes_below(root)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def killed_kernels(make_project, mlnb, n):
    "Every kernel of n is seen to be dead within ten seconds, leaves nothing, and stops what needs it only."
    behind, apart = [OURS, "save('y', load('x'))"], [OURS, "save('z', 1)"]
    root = make_project(
        {"10_dies.ipynb": each(n, DIES), "20_behind.ipynb": behind, "30_apart.ipynb": apart}
    ).root
    done = mlnb("run", "demo", "-k", "-j", 2, "--json", cwd=root)
    dead = [e for e in done.json["stages"] if e["name"] == "dies"]
    assert (done.code, len(dead)) == (1, n)
    assert {(e["state"], e["kind"], len(e["outputs"])) for e in dead} == {("failed", "kernel_died", 0)}
    assert (done.states["behind"], done.states["apart"]) == ("skipped", "committed")
    assert not (root / ".mlnb/records/demo/dies").exists()
    seen = {
        e["each"]["k"]: datetime.fromisoformat(e["at_utc"]).timestamp()
        for e in events_of(root, done.json["run"])
        if e["event"] == "stage" and e["name"] == "dies" and e["state"] == "failed"
    }
    late = [k for k, at in seen.items() if at - float((root / f"nbs/died-{k}").read_text()) > 10]
    assert (len(seen), late) == (n, [])


def test_three_killed_kernels_are_three_failures_without_a_result(make_project, mlnb):
    killed_kernels(make_project, mlnb, 3)


@pytest.mark.slow
def test_fifty_killed_kernels_are_fifty_failures_without_a_result(make_project, mlnb):
    killed_kernels(make_project, mlnb, 50)


def most_of_command(process):
    "Largest resident memory of the command itself until it ends [bytes]."
    most, command = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, command.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.05)
    return most


@pytest.mark.slow
def test_twenty_stages_over_their_memory_are_twenty_failures_and_the_command_stays_small(
    make_project, outside_environment
):
    root = make_project({}).root
    most, states = {}, {}
    for name, taken in (("modest", 1), ("greedy", 1200)):
        code = f"kept = b'x' * ({taken} * 2**20)\ntime.sleep({'60' if taken > 1 else '0'})\n"
        cells = [("parameters", "#| each: k in 1..20\n#| memory: 300MiB\nk: int = 0"), OURS + code]
        folder = make_project({f"10_{name}.ipynb": [*cells, "save('x', k)"]}).root
        (folder / "out.json").touch()
        with (folder / "out.json").open("w") as out:
            command = [sys.executable, "-m", "mlnb", "run", "demo", "-k", "--json"]
            process = subprocess.Popen(
                command, cwd=folder, env=outside_environment(), stdout=out, stderr=subprocess.DEVNULL
            )
            most[name] = most_of_command(process)
            process.wait()
        stages = json.loads((folder / "out.json").read_text())["stages"]
        states[name] = [(e["state"], e["kind"]) for e in stages if e["name"] == name]
        (folder / f"nbs/10_{name}.ipynb").unlink()
    assert states == {"modest": [("committed", None)] * 20, "greedy": [("failed", "oom")] * 20}
    assert most["greedy"] - most["modest"] < 50 * 2**20
    assert left_after(root / "nbs", 10) == []


ENDLESS = {
    "loop": "while True: pass",
    "swallows": "while True:\n    try: time.sleep(1)\n    except KeyboardInterrupt: pass",
    "csleep": "import ctypes\nctypes.CDLL(None).sleep(600)",
    "blocked": "os.read(os.pipe()[0], 1)",
}


@pytest.mark.slow
def test_endless_stages_end_ten_seconds_after_their_time_and_questions_at_once(make_project, mlnb):
    stages = {name: ["#| timeout: 2s\n" + OURS, code] for name, code in ENDLESS.items()}
    stages |= {
        "plain": [OURS],
        "ask": [OURS, "input('who? ')"],
        "secret": [OURS, "import getpass\ngetpass.getpass()"],
    }
    made = {f"{n}_{name}.ipynb": cells for n, (name, cells) in enumerate(stages.items(), 10)}
    done = mlnb("run", "demo", "-k", "-j", 1, "--json", cwd=make_project(made).root)
    entries = {e["name"]: e for e in done.json["stages"]}
    assert {entries[name]["kind"] for name in ENDLESS} == {"timeout"}
    assert {name: e["seconds"] for name, e in entries.items() if name in ENDLESS and e["seconds"] > 12} == {}
    for name in ("ask", "secret"):
        assert entries[name]["kind"] == "user_error"
        assert "make it a parameter" in entries[name]["error"]["evalue"]
        assert entries[name]["seconds"] <= entries["plain"]["seconds"] + 2


@pytest.mark.slow
def test_two_hundred_launches_of_eight_at_once_all_arrive(make_project, mlnb):
    root = make_project(
        {"10_many.ipynb": each(200), "20_sum.ipynb": [OURS, "save('n', len(load('x')))"]}
    ).root
    done = mlnb("run", "demo", "-j", 8, "--json", cwd=root, timeout=900)
    entries = done.json["stages"]
    assert (done.code, len(entries)) == (0, 201), done.stderr[-2000:]
    assert {(e["state"], e["attempts"]) for e in entries} == {("committed", 1)}
    assert left_after(root / "nbs", 10) == []


def cancel_runs(make_project, mlnb, environment, times):
    "Runs that a signal ends at any moment are cancelled, leave nothing, and the next one goes on."
    code = "while not os.path.exists('go'): time.sleep(0.02)\nsave('y', 1)"
    cells = {"10_a.ipynb": [OURS, "save('x', 1)"], "20_b.ipynb": [OURS, "load('x')\n" + code]}
    root, draw = make_project(cells).root, random.Random(4)
    mlnb("run", "demo", "--to", "a", cwd=root)
    for n in range(times):
        process = subprocess.Popen(
            [sys.executable, "-m", "mlnb", "run", "demo"],
            cwd=root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        before = len(list((root / ".mlnb/runs").iterdir()))
        deadline = time.monotonic() + 60
        while len(list((root / ".mlnb/runs").iterdir())) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.5))
        number = (signal.SIGINT, signal.SIGTERM)[n % 2]
        process.send_signal(number)
        assert process.wait(15) == 130
        assert left_after(root / "nbs", 10) == []
    states = [run["state"] for run in mlnb("runs", "--json", cwd=root).json["runs"]]
    assert states[:times] == ["cancelled"] * times
    (root / "nbs/go").touch()
    assert mlnb("run", "demo", "--no-wait", "--json", cwd=root).states == {"a": "cached", "b": "committed"}


def test_cancelled_runs_leave_nothing_and_the_next_goes_on(make_project, mlnb, outside_environment):
    cancel_runs(make_project, mlnb, outside_environment(), 2)


@pytest.mark.slow
def test_fifty_cancelled_runs_leave_nothing_and_the_next_goes_on(make_project, mlnb, outside_environment):
    cancel_runs(make_project, mlnb, outside_environment(), 50)
