"""Stages run for real: how each ends, what is kept, and what a second run, an interruption or damage comes
to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlnb.store.objects import open_store, path_of

OURS = "from mlnb import load, metric, require, save"


def wait_for(condition, seconds=60):
    "Wait until a condition holds; a deadline, not a measurement."
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def damage(root, digest):
    path = path_of(open_store(root / ".mlnb"), digest)
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# every way to end

ENDS = {  # stage -> (cells, state, kind, position of the cell, ename, part of the error)
    "fine": ([OURS, "save('fine', 1)"], "committed", None, None, None, ""),
    "raises": (
        [("md", "# A"), OURS, "x = 1", "raise ValueError('no rows')", "save('raised', 1)"],
        "failed",
        "user_error",
        4,
        "ValueError",
        "no rows",
    ),
    "behind": ([OURS, "save('behind', load('raised'))"], "skipped", None, None, None, ""),
    "far_behind": ([OURS, "load('behind')"], "skipped", None, None, None, ""),
    "refuses": (
        [OURS, "save('refused', 1)\nrequire(1 > 2, 'one must be more than two')"],
        "failed",
        "require",
        2,
        "RequireError",
        "one must be more than two",
    ),
    "forgets": (
        [OURS, "if False: save('forgotten', 1)"],
        "failed",
        "missing_output",
        None,
        "MissingOutput",
        "`forgotten`",
    ),
    "dies": (
        [OURS, "import os", "os.kill(os.getpid(), 9)", "save('dead', 1)"],
        "failed",
        "kernel_died",
        3,
        None,
        "",
    ),
    "leaves": ([OURS, "save('left', 1)\nimport os\nos._exit(0)"], "failed", "kernel_died", 2, None, ""),
    "sys_exit": (
        [OURS, "import sys\nsys.exit(0)", "save('never', 1)"],
        "failed",
        "missing_output",
        2,
        "SystemExit",
        "`never`",
    ),
    "exits": ([OURS, "save('exited', 1)", "exit()"], "failed", "user_error", 3, "SystemExit", ""),
    "quits": (["quit()"], "failed", "user_error", 1, "SystemExit", ""),
    "loads_more": (
        ["import mlnb", "getattr(mlnb, 'load')('fine')"],
        "failed",
        "user_error",
        2,
        "StageError",
        "was not found when the notebook was read",
    ),
    "saves_more": (
        ["import mlnb", "getattr(mlnb, 'save')('more', 1)"],
        "failed",
        "user_error",
        2,
        "StageError",
        "was not found when the notebook was read",
    ),
    "saves_twice": (
        [OURS, "for n in range(2): save('twice', n)"],
        "failed",
        "user_error",
        2,
        "ValueRefusedError",
        "saved before",
    ),
    "saves_keys": (
        [OURS, "save('keys', {len: 2})"],
        "failed",
        "user_error",
        2,
        "ValueRefusedError",
        "list(value)[0]",
    ),
    "full": (
        [OURS, "raise OSError(28, 'No space left on device')"],
        "failed",
        "infra",
        2,
        "OSError",
        "No space left",
    ),
    "allowed": (
        [OURS, ("raises-exception", "1 / 0"), "save('allowed', 1)"],
        "committed",
        None,
        None,
        None,
        "",
    ),
    "skips": (
        [
            OURS,
            ("skip-execution", "raise ValueError"),
            "metric('m', 1, low=0.5, high=1.5)\nsave('skipped', None)",
        ],
        "committed",
        None,
        None,
        None,
        "",
    ),
}


@pytest.fixture(scope="module")
def ends(make_shared_project, mlnb):
    "One run of all of them, going on after failures."
    project = make_shared_project(
        {f"{n}_{name}.ipynb": spec[0] for n, (name, spec) in enumerate(ENDS.items(), 10)}
    )
    return project, mlnb("run", "demo", "-k", "-j", 2, "--json", cwd=project.root)


@pytest.mark.parametrize("name", ENDS)
def test_stage_ends_as_it_did_and_not_as_papermill_says(ends, name):
    _, state, kind, cell, ename, text = ENDS[name]
    entry = ends[1].stage(name)
    assert (entry["state"], entry["kind"]) == (state, kind)
    if state != "failed":
        assert entry["error"] is None and bool(entry["outputs"]) == (state == "committed")
        return
    assert entry["error"]["cell"] == cell and text in entry["error"]["evalue"]
    assert ename is None or entry["error"]["ename"] == ename
    assert entry["outputs"] == {} and entry["attempts"] == 1
    assert cell is None or entry["error"]["cell_id"] == f"cell-{cell}"


def test_failed_stages_keep_a_notebook_that_tells_the_truth(ends):
    project, result = ends
    for entry in result.json["stages"]:
        if entry["state"] != "failed":
            continue
        path = Path(entry["notebook"])
        notebook = json.loads(path.read_text())
        assert path.stat().st_mode & 0o077 == 0
        assert (notebook["metadata"]["mlnb"]["state"], notebook["metadata"]["mlnb"]["kind"]) == (
            "failed",
            entry["kind"],
        )
        assert str(project.root) not in json.dumps(notebook["metadata"])
        failed = [c["id"] for c in notebook["cells"] if "mlnb-failed" in c["metadata"].get("tags", [])]
        assert failed == ([entry["error"]["cell_id"]] if entry["error"]["cell"] else [])
        statuses = [
            c["metadata"]["papermill"]["status"]
            for c in notebook["cells"]
            if c["cell_type"] == "code" and "papermill" in c["metadata"]
        ]
        assert statuses == sorted(statuses, key=["completed", "failed", "pending"].index)


def test_failure_message_names_cell_error_notebook_and_command(ends):
    _, result = ends
    assert "raises failed in cell 4 of nbs/11_raises.ipynb [user_error]" in result.stderr
    assert "ValueError: no rows" in result.stderr
    assert "mlnb run demo raises" in result.stderr and "executed notebook:" in result.stderr


def test_run_with_failures_of_several_kinds_ends_with_the_store_s_code_and_moves_no_head(ends, mlnb):
    project, result = ends
    assert (result.code, result.json["exit_code"], result.json["state"]) == (69, 69, "failed")
    assert mlnb("runs", "--json", cwd=project.root).json["runs"][0]["head"] is False
    assert not (project.root / ".mlnb" / "refs" / "heads").exists()


def test_run_leaves_no_scratch_and_no_kernel_behind(ends):
    project, _ = ends
    assert [
        p
        for p in (project.root / ".mlnb").rglob("*")
        if p.name in ("scratch", "context.json", "journal.jsonl") or p.name.startswith(".tmp-")
    ] == []
    assert sorted(p.name for p in (project.root / "nbs").iterdir()) == sorted(
        f"{n}_{name}.ipynb" for n, name in enumerate(ENDS, 10)
    )


def test_values_of_failed_and_committed_stages_can_be_asked_for_or_not(ends, mlnb):
    project, result = ends
    assert result.stage("skips")["metrics"] == {"m": 1, "m_low": 0.5, "m_high": 1.5}
    assert (
        mlnb("get", "fine", "--json", cwd=project.root).json["digest"]
        == result.stage("fine")["outputs"]["fine"]
    )
    missing = mlnb("get", "left", "--json", cwd=project.root)
    assert missing.code == 2 and missing.json["problems"][0]["mend"]


def test_failure_without_keep_going_skips_the_rest_and_require_alone_is_3(make_project, mlnb):
    project = make_project({"10_a.ipynb": [OURS, "require(False, 'not today')"], "20_b.ipynb": ["x = 1"]})
    result = mlnb("run", "demo", "-j", 1, "--json", cwd=project.root)
    assert (result.code, result.states) == (3, {"a": "failed", "b": "skipped"})


# parameters and surroundings

DECLARED = """from typing import Literal
i: int = 0
f: float = 0.0
whole: float = 0.5
b: bool = False
s: str = ""
n: int | None = 5
o: str | None = None
li: list[int] = []
lf: list[float] = []
ds: dict[str, list[str]] = {}
kind: Literal["a", "b", 3] = "a"
untouched: float = 1e300"""
GIVEN = {
    "i": "-12345678901234567890",
    "f": "1e-7",
    "whole": "3",
    "b": "true",
    "s": 'it\'s "5" \\n\u20ac {x} # no',
    "n": "None",
    "o": "12",
    "li": "[1, -2]",
    "lf": "[1, 2.5]",
    "ds": '{"a\'b": ["\\u0000", ""]}',
    "kind": "3",
}
ARRIVED = {
    "i": -12345678901234567890,
    "f": 1e-7,
    "whole": 3.0,
    "b": True,
    "s": 'it\'s "5" \\n€ {x} # no',
    "n": None,
    "o": "12",
    "li": [1, -2],
    "lf": [1.0, 2.5],
    "ds": {"a'b": ["\0", ""]},
    "kind": 3,
    "untouched": 1e300,
}
LOOK = """import os, random, sys, time
told = os.environ.get
around = {"folder": os.path.basename(os.getcwd()), "zone": time.tzname[0], "seed": told("PYTHONHASHSEED"),
          "secret": told("SECRET_OF_THE_SHELL"), "region": told("REGION"), "threads": told("OMP_NUM_THREADS"),
          "encoding": sys.stdout.encoding.lower(), "track": told("DO_NOT_TRACK"),
          "executable": sys.executable, "draws": [random.random(), random.random()],
          "order": list({"a", "b", "c", "d"}), "own": __import__("own").NAME}"""


def test_parameters_arrive_exactly_and_surroundings_are_fixed(make_project, mlnb):
    project = make_project(
        {
            "10_see.ipynb": [
                ("parameters", "#| threads: 2\n#| env: REGION\n" + DECLARED),
                OURS + "\n" + LOOK,
                "save('seen', repr([" + ", ".join(ARRIVED) + "]))",
                "save('around', around)",
            ]
        }
    )
    (project.root / "own.py").write_text("NAME = 'root'\n")
    options = [word for name, text in GIVEN.items() for word in ("-p", name, text)]
    result = mlnb(
        "run",
        "demo",
        *options,
        "--json",
        cwd=project.root,
        SECRET_OF_THE_SHELL="x",
        REGION="north",
        OMP_NUM_THREADS="7",
        TZ="Asia/Tokyo",
        PYTHONHASHSEED="5",
        LC_ALL="C",
    )
    assert result.code == 0, result.stderr
    run = result.json["run"]
    first = mlnb("get", f"around@{run}", "--out", "around.json", cwd=project.root)
    assert first.code == 0 and mlnb("get", "seen", "--out", "seen.txt", cwd=project.root).code == 0
    assert (project.root / "seen.txt").read_text() == repr(list(ARRIVED.values()))
    around = json.loads((project.root / "around.json").read_text())
    assert {
        k: around[k]
        for k in ("folder", "zone", "seed", "secret", "region", "threads", "encoding", "track", "own")
    } == {
        "folder": "nbs",
        "zone": "UTC",
        "seed": "0",
        "secret": None,
        "region": "north",
        "threads": "2",
        "encoding": "utf-8",
        "track": "1",
        "own": "root",
    }
    assert around["executable"] == sys.executable
    again = mlnb(
        "run",
        "demo",
        *options,
        "--force",
        "--json",
        cwd=project.root,
        REGION="north",
        SECRET_OF_THE_SHELL="y",
        TZ="UTC",
    )
    assert (
        again.code == 0
        and again.stage("see")["outputs"] == result.stage("see")["outputs"]
        and "not reproducible" not in again.stderr
    )


# again, and again


def test_force_keeps_the_first_result_and_says_that_it_is_not_reproducible(make_project, mlnb):
    project = make_project({"10_clock.ipynb": [OURS, "import time\nsave('now', time.time_ns())"]})
    first = mlnb("run", "demo", "--json", cwd=project.root)
    forced = mlnb("run", "demo", "--force", "--json", cwd=project.root)
    assert (forced.code, forced.states) == (5, {"clock": "committed"})
    assert forced.stage("clock")["outputs"] == first.stage("clock")["outputs"]
    assert [w["kind"] for w in forced.stage("clock")["why"]] == ["forced"]
    assert "not reproducible" in forced.stderr
    kept = list((project.root / ".mlnb/records/demo/clock").iterdir())
    assert len(kept) == 2 and len([p for p in kept if p.suffix == ".evidence"]) == 1
    assert mlnb("run", "demo", "--json", cwd=project.root).states == {"clock": "cached"}


def start(*arguments, cwd, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "mlnb", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # a shell in the background hands on an ignored SIGINT


def test_interrupted_and_killed_runs_are_resumed_without_repeating_what_was_committed(
    make_project, mlnb, outside_environment
):
    slow = (
        "import os, time\nfrom pathlib import Path\nPath('pid').write_text(str(os.getpid()))\n"
        "Path('ready').touch()\nwhile not Path('go').exists(): time.sleep(0.05)"
    )
    project = make_project(
        {
            "10_quick.ipynb": [OURS, "open('log', 'a').write('quick\\n')\nsave('x', 1)"],
            "20_slow.ipynb": [OURS, slow, "save('y', load('x'))"],
            "30_last.ipynb": [OURS, "load('y')"],
        }
    )
    nbs = project.root / "nbs"

    def begin():
        process = start("run", "demo", "--json", cwd=project.root, environment=outside_environment())
        wait_for((nbs / "ready").exists)
        return process, int((nbs / "pid").read_text())

    process, kernel = begin()
    busy = mlnb("run", "demo", "--no-wait", "--json", cwd=project.root)
    assert (busy.code, busy.json["exit_code"]) == (75, 75) and "process" in busy.json["problems"][0][
        "message"
    ]
    assert mlnb("run", "demo", "--wait", "0.3", cwd=project.root).code == 75
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    document = json.loads(out)
    assert (process.returncode, document["exit_code"], document["state"]) == (130, 130, "cancelled"), err
    assert {e["name"]: e["state"] for e in document["stages"]} == {
        "quick": "committed",
        "slow": "cancelled",
        "last": "cancelled",
    }
    wait_for(lambda: not is_alive(kernel), 30)
    assert mlnb("show", document["run"], "--json", cwd=project.root).json["state"] == "cancelled"

    (nbs / "ready").unlink()
    process, kernel = begin()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: not is_alive(kernel), 30)
    (nbs / "go").touch()
    result = mlnb("run", "demo", "--json", cwd=project.root)
    assert (result.code, result.states) == (0, {"quick": "cached", "slow": "committed", "last": "committed"})
    assert (nbs / "log").read_text() == "quick\n"


def test_two_runs_at_once_execute_each_stage_once(make_project, outside_environment):
    note = "import time\nopen('log', 'a').write('{}\\n')\ntime.sleep(0.5)"
    project = make_project(
        {
            "10_a.ipynb": [OURS, note.format("a"), "save('x', 1)"],
            "20_b.ipynb": [OURS, note.format("b"), "save('y', load('x'))"],
        }
    )
    processes = [
        start("run", "demo", "--json", cwd=project.root, environment=outside_environment()) for _ in range(2)
    ]
    results = [p.communicate(timeout=120) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    states = [{e["name"]: e["state"] for e in json.loads(out)["stages"]} for out, _ in results]
    assert sorted((project.root / "nbs/log").read_text().split()) == ["a", "b"]
    for name in ("a", "b"):
        assert sorted(s[name] for s in states) == ["cached", "committed"]


def test_damaged_input_is_made_again_inside_the_run_and_get_never_starts_a_kernel(make_project, mlnb):
    project = make_project(
        {
            "10_a.ipynb": [OURS, "open('log', 'a').write('a')\nsave('x', 'a text of some length')"],
            "20_b.ipynb": [("parameters", "n: int = 1"), OURS, "save('y', load('x') * n)"],
        }
    )
    first = mlnb("run", "demo", "--json", cwd=project.root)
    digest = first.stage("a")["outputs"]["x"]
    damage(project.root, digest)
    result = mlnb("run", "demo", "-p", "n", "2", "--json", cwd=project.root)
    assert (result.code, result.states) == (0, {"a": "committed", "b": "committed"}), result.stderr
    assert result.stage("a")["outputs"]["x"] == digest and "damaged" in result.stderr
    assert [p.name.split("-")[0] for p in (project.root / ".mlnb/quarantine").iterdir()] == [digest]
    assert (project.root / "nbs/log").read_text() == "aa"
    damage(project.root, digest)
    refused = mlnb("get", "x", "--out", "x.txt", "--json", cwd=project.root)
    assert (refused.code, refused.json["exit_code"]) == (5, 5) and refused.json["problems"][0]["mend"]
    assert not (project.root / "x.txt").exists()
    assert (project.root / "nbs/log").read_text() == "aa"
    assert mlnb("run", "demo", "-n", "--json", cwd=project.root).states["a"] == "stale"


def test_store_without_room_is_69_and_says_so(make_project, mlnb):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    project = make_project(
        {"10_big.ipynb": [OURS, "import random\nsave('big', random.randbytes(3_000_000).hex())"]}
    )
    small = project.root / ".mlnb"
    small.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        result = mlnb("run", "demo", "--json", cwd=project.root)
        assert (result.code, result.json["exit_code"]) == (69, 69), result.stderr
        assert (result.stage("big")["state"], result.stage("big")["kind"]) == ("failed", "infra")
        assert [p for p in small.rglob(".tmp-*")] == []
    finally:
        subprocess.run(["umount", small], check=True)
