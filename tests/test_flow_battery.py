"""Runs that are killed at any moment, memory taken at once, launches in a row and side by side, models that
share two cores."""

import hashlib
import json
import random
import subprocess
import sys
import time

import psutil
import pytest

from mlnb.store.objects import get, has, open_store

OURS = "from mlnb import load, save\n"
NOTE = "import time\nopen('log', 'a').write('{name} %d\\n' % n)\ntime.sleep(0.1)"
SIX = {"a": [], "b": ["a"], "c": ["a"], "d": ["b"], "e": ["c"], "f": ["d", "e"]}  # stage -> what it loads


def processes_of(root):
    "Processes that carry the context of a stage of this project, or run `mlnb` in it."
    found = []
    for process in psutil.process_iter():
        try:
            is_stage = str(root) in process.environ().get("MLNB_STAGE", "") or process.cwd().startswith(
                f"{root}/"
            )
            if (
                is_stage or ("mlnb" in process.cmdline() and process.cwd() == str(root))
            ) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_after(root, seconds):
    deadline = time.monotonic() + seconds
    while (left := processes_of(root)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def damage_of(root):
    "What is not whole in a store: objects that are not what their name says, records without their objects."
    store = open_store(root / ".mlnb")
    wrong = []
    for path in (root / ".mlnb" / "records").rglob("*.json"):
        record = json.loads(path.read_text())
        digests = [
            d for output in record["outputs"].values() for d in (output["digest"], *output.get("parts", ()))
        ] + [record["notebook"], record["source"], *record["modules"].values()]
        for digest in digests:
            if not has(store, digest) or hashlib.sha256(get(store, digest)).hexdigest() != digest:
                wrong.append((path.name, digest))
    return wrong


def six_stages(make_project):
    def cells(name, inputs):
        value = " + ".join(["n", *(f"load('{i}')" for i in inputs)])
        return [("parameters", "n: int = 0"), OURS, NOTE.format(name=name), f"save('{name}', {value})"]

    return make_project(
        {f"{k}0_{name}.ipynb": cells(name, inputs) for k, (name, inputs) in enumerate(SIX.items(), 1)}
    )


def start(root, jobs, value, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "mlnb", "run", "demo", "-j", str(jobs), "-p", "n", str(value)],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_and_resume(make_project, mlnb, environment, kills, jobs, seconds):
    """Kill runs at random moments within so many seconds until so many were killed, finishing a value of the
    parameter before going to the next."""
    project, draw = six_stages(make_project), random.Random(kills)
    root, value, n_killed = project.root, 0, 0
    while n_killed < kills:
        run = start(root, jobs, value, environment)
        try:
            code = run.wait(timeout=draw.uniform(0.3, seconds))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            n_killed += 1
            assert left_after(root, 30) == []
            assert damage_of(root) == []
            continue
        assert code == 0
        value += 1
    last = mlnb("run", "demo", "-p", "n", str(value), "-j", jobs, "--json", cwd=root)
    assert last.code == 0, last.stderr
    assert set(last.states.values()) <= {"committed", "cached"}
    executions = (root / "nbs" / "log").read_text().splitlines()
    assert len(executions) <= len(SIX) * (value + 1) + kills * jobs
    for name in SIX:
        assert f"{name} {value}" in executions
    again = mlnb("run", "demo", "-p", "n", str(value), "--json", cwd=root)
    assert set(again.states.values()) == {"cached"}
    assert damage_of(root) == []
    assert [p for p in (root / ".mlnb").rglob("scratch/*")] == []


@pytest.mark.slow
def test_twenty_five_kills_repeat_at_most_one_stage_each(make_project, mlnb, outside_environment):
    kill_and_resume(make_project, mlnb, outside_environment(), kills=25, jobs=1, seconds=12)


@pytest.mark.slow
def test_kills_of_a_parallel_run_repeat_at_most_what_was_running(make_project, mlnb, outside_environment):
    kill_and_resume(make_project, mlnb, outside_environment(), kills=8, jobs=2, seconds=8)


def test_memory_taken_at_once_ends_the_stage_as_oom_and_the_rest_goes_on(make_project, mlnb):
    greedy = "import time\nkept = b'x' * (1200 * 2**20)\ntime.sleep(60)"
    project = make_project(
        {
            "10_greedy.ipynb": ["#| memory: 300MiB\n" + OURS, greedy, "save('greedy', 1)"],
            "20_modest.ipynb": ["#| memory: 300MiB\n" + OURS, "save('modest', len(b'x' * 2**20))"],
        }
    )
    result = mlnb("run", "demo", "-k", "--json", cwd=project.root)
    assert result.states == {"greedy": "failed", "modest": "committed"}, result.stderr
    assert (result.stage("greedy")["kind"], result.stage("greedy")["error"]["ename"]) == (
        "oom",
        "MemoryError",
    )
    assert "300 MiB" in result.stage("greedy")["error"]["evalue"]
    assert left_after(project.root, 30) == []


def test_memory_that_a_child_takes_counts_for_the_stage(make_project, mlnb):
    child = (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; kept = b\"x\" * (1200 "
        "* 2**20); time.sleep(60)'])"
    )
    project = make_project({"10_parent.ipynb": ["#| memory: 300MiB\n" + OURS, child, "save('parent', 1)"]})
    result = mlnb("run", "demo", "--json", cwd=project.root)
    assert (result.stage("parent")["state"], result.stage("parent")["kind"]) == ("failed", "oom"), (
        result.stderr
    )
    assert left_after(project.root, 30) == []


FOUR_EXITS = {  # each leaves the stage before it saves, in its own way
    "sys_exit": ("import sys\nsys.exit(0)", "missing_output"),
    "quit": ("quit()", "missing_output"),
    "os_exit": ("import os\nos._exit(0)", "kernel_died"),
    "signal": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nimport time\ntime.sleep(60)",
        "kernel_died",
    ),
}


def test_four_ways_of_exiting_early_are_never_a_success_and_only_a_lost_kernel_is_tried_again(
    make_project, mlnb
):
    project = make_project(
        {
            f"{k}0_{name}.ipynb": ["#| retries: 1\n" + OURS, code, f"save('{name}', 1)"]
            for k, (name, (code, _)) in enumerate(FOUR_EXITS.items(), 1)
        }
    )
    result = mlnb("run", "demo", "-k", "--json", cwd=project.root)
    assert {n: (result.stage(n)["state"], result.stage(n)["kind"]) for n in FOUR_EXITS} == {
        n: ("failed", kind) for n, (_, kind) in FOUR_EXITS.items()
    }
    assert {n: result.stage(n)["attempts"] for n in FOUR_EXITS} == {
        n: 2 if kind == "kernel_died" else 1 for n, (_, kind) in FOUR_EXITS.items()
    }
    assert not list((project.root / ".mlnb").rglob("records/*/*/*"))


@pytest.mark.slow
def test_forty_launches_in_a_row_and_eight_at_once_all_arrive(make_project, mlnb):
    def chain(n):
        return [OURS, f"save('v{n:02d}', " + (f"load('v{n - 1:02d}') + 1)" if n else "0)")]

    project = make_project({f"{n:02d}_s{n:02d}.ipynb": chain(n) for n in range(40)})
    row = mlnb("run", "demo", "-j", 1, "--json", cwd=project.root, timeout=600)
    assert (row.code, {(e["state"], e["attempts"]) for e in row.json["stages"]}) == (0, {("committed", 1)}), (
        row.stderr
    )
    assert mlnb("get", "v39", "--out", "v.json", cwd=project.root).code == 0
    assert json.loads((project.root / "v.json").read_text()) == 39
    for n in range(8):
        project.stage(f"wide/{n}0_w{n}.ipynb", OURS, "import time\ntime.sleep(1)", f"save('w{n}', {n})")
    project.settings("[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.wide]\nnotebooks = wide\n")
    wide = mlnb("run", "wide", "-j", 8, "--json", cwd=project.root)
    assert (wide.code, {(e["state"], e["attempts"]) for e in wide.json["stages"]}) == (
        0,
        {("committed", 1)},
    ), wide.stderr
    assert left_after(project.root, 30) == []


BOOSTED = """import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
X = np.random.default_rng(seed).normal(size=(60_000, 20))
y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
model = HistGradientBoostingClassifier(max_iter=150, random_state=0).fit(X, y)
save('{name}', float(model.score(X, y)))"""


@pytest.mark.slow
def test_boosted_trees_side_by_side_are_not_slower_than_one_after_the_other_and_come_out_the_same(
    make_project, mlnb
):
    cells = {
        name: [OURS, BOOSTED.format(name=name).replace("seed", str(k))]
        for k, name in enumerate(("left", "right"), 1)
    }
    project = make_project(
        {f"{k}0_{name}.ipynb": source for k, (name, source) in enumerate(cells.items(), 1)}
    )
    first = mlnb("run", "demo", "-j", 1, "--json", cwd=project.root)
    one, two = (mlnb("run", "demo", "--force", "-j", jobs, "--json", cwd=project.root) for jobs in (1, 2))
    assert [r.code for r in (first, one, two)] == [0, 0, 0], first.stderr + one.stderr + two.stderr
    assert "not reproducible" not in one.stderr + two.stderr
    assert two.json["seconds"] <= 1.3 * one.json["seconds"]
