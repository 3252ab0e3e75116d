"""Where output goes when nobody reads it, the disk is full, or it was closed; empty words; signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlnb.terminal.arguments import json_last

OURS = "from mlnb import load, save"
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@pytest.fixture(scope="module")
def fresh(make_shared_project, mlnb):
    project = make_shared_project({"10_a.ipynb": [OURS, "save('a', 1)"]})
    assert mlnb("run", "demo", cwd=project.root).code == 0
    return project


WAYS = {
    "nobody reads": "| head -c0; exit ${PIPESTATUS[0]}",
    "closed": ">&-",
    "full": ">/dev/full",
    "stderr closed": "2>&-",
    "stderr full": "2>/dev/full",
    "both full": ">/dev/full 2>&1",
    "all closed": "<&- >&- 2>&-",
    "read only": "1</dev/null",
}
LOST = ("full", "both full", "read only")  # ways in which an answer is lost


def through(words, way, cwd, is_buffered=True, **environment):
    "A command in a shell, with one of its streams spoilt."
    command = " ".join([sys.executable, "-m", "mlnb", *words])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLNB_")} | {"NO_COLOR": "1"}
    kept |= {} if is_buffered else {"PYTHONUNBUFFERED": "1"}
    shell = ["bash", "-c", f"{command} {WAYS[way]}"]
    return subprocess.run(shell, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=120)


def check(done, words, way, code):
    "A sane code, no traceback, and one sentence for what was lost."
    expected = 69 if code == 0 and way in LOST else code
    assert (done.returncode, "Traceback" in done.stderr) == (expected, False), (words, way, done.stderr)
    is_told = "the answer could not be written" in done.stderr
    assert is_told == (way in ("full", "read only") and (code == 0 or "--json" in words)), (words, way)


@pytest.mark.parametrize("way", ["nobody reads", "closed", "full"])
def test_answer_that_nobody_takes_changes_no_code(fresh, way):
    check(through(["status", "--json"], way, fresh.root, is_buffered=False), ["--json"], way, 0)


# command line -> exit code
VERBS = {
    "--help": 0,
    "--version": 0,
    "run --help": 0,
    "run demo": 0,
    "run demo --json": 0,
    "run demo --force": 0,
    "run nope": 2,
    "run nope --json": 2,
    "status": 0,
    "why a": 0,
    "why nope": 2,
    "params demo": 0,
    "dag demo": 0,
    "check": 0,
    "check --json": 0,
    "runs": 0,
    "show latest": 0,
    "diff latest latest": 0,
    "lineage a": 0,
    "artifacts --json": 0,
    "get a": 0,
    "gc --dry-run": 0,
    "verify": 0,
    "audit": 0,
    "audit events --json": 0,
    "publish": 0,
    "kernels": 0,
    "reproduce latest": 0,
    "nonsense": 2,
    "erase a": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_buffered", [True, False])
def test_every_verb_ends_with_its_code_whatever_becomes_of_its_output(fresh, way, is_buffered):
    for line, code in VERBS.items():
        words = line.split()
        done = through(words, way, fresh.root, is_buffered)
        expected = 69 if code == 0 and way in LOST else code
        assert done.returncode == expected, (line, way, done.stderr)
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, (line, way)


@pytest.mark.slow
def test_child_of_a_command_without_streams_writes_into_no_file_of_the_store(make_project, mlnb):
    project = make_project({"10_a.ipynb": [OURS, "import os\nos.system('echo stray')\nsave('a', 1)"]})
    for cold in ((), ("--cold",)):
        done = through(["run", "demo", "--force", *cold], "all closed", project.root)
        assert done.returncode == 0
        for path in (project.root / ".mlnb").rglob("*"):
            if path.is_file() and path.suffix != ".ipynb":
                assert not path.read_bytes().startswith(b"stray"), path
    assert mlnb("verify", cwd=project.root).code == 0


# -- empty words

BLANK = ["push ''", "pull ''", "push ' '", "get a --out ''", "get a --out=", "gc --remote ''", "run ''"]
BLANK += ["lineage ''", "show ''", "audit checkpoint --out ''", "runs --compare --figure ''", "init ''"]
BLANK += ["run demo -f ''", "run demo --profile ''", "erase a --reason ''", "verify --remote ''"]


@pytest.mark.parametrize("line", BLANK)
def test_empty_word_is_refused_and_nothing_is_written(fresh, asked, line):
    import shlex

    before = sorted(path for path in fresh.root.rglob("*"))
    done = asked(*shlex.split(line), cwd=fresh.root)
    assert done.code == 2 and "an empty word stands behind" in done.stderr and "leave it out" in done.stderr
    assert sorted(path for path in fresh.root.rglob("*")) == before


def test_empty_value_of_a_parameter_is_a_value(make_project, asked):
    project = make_project({"10_a.ipynb": [("parameters", 'name: str = "x"'), OURS, "save('a', name)"]})
    done = asked("params", "demo", "-p", "name", "", "--json", cwd=project.root)
    assert (done.code, done.json["parameters"][0]["value"]) == (0, "")


# -- `--json` in any place


@pytest.mark.parametrize(
    "line", ["audit --json events", "audit events --json", "audit --json", "--json audit events"]
)
def test_json_in_any_place_gives_the_document(fresh, asked, line):
    done = asked(*line.split(), cwd=fresh.root)
    assert done.code == 0 and done.json["events"][0]["event"] == "run"


def test_json_is_moved_and_nothing_else():
    assert json_last(["--json", "a", "--json", "b"]) == ["a", "b", "--json"]
    assert json_last(["a", "b"]) == ["a", "b"] and json_last([]) == []
    assert json_last(["a", "--", "--json", "b"]) == ["a", "--", "--json", "b"]


# -- a folder that is gone


@pytest.mark.parametrize("line", ["status", "run demo --json", "init shop", "publish"])
def test_deleted_working_folder_is_said_and_no_fault(tmp_path, line):
    from mlnb.cli import run_command

    here, gone = os.getcwd(), tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert run_command(line.split()) == 2
    finally:
        os.chdir(here)


# -- signals


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("pause_s", [0, 0.05, 0.5])
def test_signal_that_comes_twice_ends_a_run_once(make_project, mlnb, number, pause_s):
    project = make_project({"10_a.ipynb": [OURS, "import time\ntime.sleep(60)\nsave('a', 1)"]})
    command = [sys.executable, "-m", "mlnb", "run", "demo"]
    process = subprocess.Popen(
        command,
        cwd=project.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    events = project.root / ".mlnb" / "runs"
    for _ in range(600):
        if any('"running"' in path.read_text() for path in events.glob("*/changes.jsonl")):
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    time.sleep(pause_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    (run,) = mlnb("runs", "--json", cwd=project.root).json["runs"]
    assert run["state"] == "cancelled" and not list(events.glob("*/scratch"))
    assert (
        json.loads(mlnb("run", "demo", "--dry-run", "--json", cwd=project.root).stdout)["state"] == "planned"
    )


@pytest.mark.parametrize("command", [["-m", "mlnb"], [str(Path(sys.executable).with_name("mlnb"))]])
@pytest.mark.parametrize("word", ["status", "run", "--help"])
def test_ctrl_c_while_the_command_imports_what_it_needs_is_130_without_a_word(tmp_path, command, word):
    (tmp_path / "typer.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGINT)\n")
    told = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "capture_output": True, "cwd": tmp_path}
    done = subprocess.run([sys.executable, *command, word], **told, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_ctrl_c_is_left_to_a_process_that_only_imports_the_command_line(tmp_path):
    code = "import signal, mlnb.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
