"""A stage is done only if every cell that had to run was answered, and allowed its answer, whatever its
outputs show; and what a stage had saved before it failed stays under its run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlnb.care.gc import collect
from mlnb.care.roots import Retention
from mlnb.care.verify import verify_store
from mlnb.kernel.engine import Reply
from mlnb.kernel.judgement import Evidence, judge
from mlnb.store.objects import get, has, open_store, path_of
from mlnb.store.pins import forget_pins

OURS = "from mlnb import load, metric, require, save"
GROUP = """import asyncio
async def check(part):
    raise ValueError(f"part {part} is bad")
async with asyncio.TaskGroup() as group:
    group.create_task(check(2))"""
HOOK = "get_ipython().events.register('{}', lambda *_: {})"
RAISE = "raise ValueError('hidden')"
WITHOUT_WORDS = "class Silent(Exception):\n    def __str__(self): raise KeyError('none')\nraise Silent"
WITHOUT_SHOW = "class Hidden:\n    def __repr__(self): raise ValueError('hidden')\nHidden()"

PUBLISH = """shell = get_ipython()
error = {"ename": "KeyError", "evalue": "'a'", "traceback": ["KeyError: 'a'"]}
shell.kernel.send_response(shell.kernel.iopub_socket, "error", error)"""
WAYS = {  # to fail: cells of which the last fails, class of the error, part of its text
    "task_group": ([GROUP], "ExceptionGroup", "TaskGroup (1 sub-exception)"),
    "group": (["raise ExceptionGroup('two files', [KeyError('a')])"], "ExceptionGroup", "two files"),
    "line_magic": (["%no_such_magic 1"], "UsageError", "%no_such_magic"),
    "cell_magic": (["%%bigquery\nselect 1"], "UsageError", "%%bigquery"),
    "own_handler": (
        [
            "def quietly(shell, kind, error, trace, tb_offset=None): print('handled')\n"
            "get_ipython().set_custom_exc((ValueError,), quietly)",
            RAISE,
        ],
        "ValueError",
        "hidden",
    ),
    "rich": (["import rich.traceback\nrich.traceback.install()", RAISE], "ValueError", "hidden"),
    "cleared": (
        ["from IPython.display import clear_output\n" + HOOK.format("post_execute", "clear_output()"), RAISE],
        "ValueError",
        "hidden",
    ),
    "show_replaced": (
        ["get_ipython().showtraceback = lambda *_, **__: print('mine')", RAISE],
        "ValueError",
        "",
    ),
    "interrupt": (["raise KeyboardInterrupt('stop')"], "KeyboardInterrupt", ""),
    "exit": (["import sys\nsys.exit('bye')"], "SystemExit", "bye"),
    "base": (["raise type('Stop', (BaseException,), {})('far')"], "Stop", "far"),
    "awaited": (["import asyncio\nawait asyncio.sleep(0)\n" + RAISE], "ValueError", "hidden"),
    "without_words": ([WITHOUT_WORDS], None, ""),
    "without_show": ([WITHOUT_SHOW], "ValueError", "hidden"),
    "captured": (["%%capture\n1 / 0"], "ZeroDivisionError", "division by zero"),
    "captured_group": (
        ["%%capture\nraise ExceptionGroup('two files', [KeyError('a')])"],
        "ExceptionGroup",
        "two files",
    ),
    "captured_magic": (["%%capture\n%no_such_magic 1"], "UsageError", "%no_such_magic"),
    "captured_exit": (["%%capture\nexit()"], "SystemExit", ""),
    "other_file": ([f"%%writefile bad.py\n{RAISE}", "%run bad.py"], "ValueError", "hidden"),
    "published": ([PUBLISH], "KeyError", "'a'"),
    "hook": ([HOOK.format("post_run_cell", "1 / 0")], "ZeroDivisionError", "division by zero"),
    "inner_run": (["get_ipython().run_cell('1 / 0')"], "ZeroDivisionError", "division by zero"),
    "no_traceback": (
        ["class Stop(Exception):\n    def _render_traceback_(self): return []\nraise Stop('far')"],
        "Stop",
        "far",
    ),
    "unanswered": (["get_ipython().user_expressions = None"], "NoReplyError", "without an answer"),
}
FINE = {  # what fails nobody: cells in front of the last save
    "allowed": [("raises-exception", GROUP), ("raises-exception", "%no_such_magic"), "n = 1"],
    "skipped": [("skip-execution", RAISE), "", " \n", ("md", "# Between"), "n = 1"],
    "awaits": ["import asyncio", "await asyncio.sleep(0)", "async def one():\n    return 1\nawait one()"],
    "awaits_behind": [("raises-exception", WITHOUT_SHOW), "import asyncio\nawait asyncio.sleep(0)"],
    "thread": ["import threading\nlost = threading.Thread(target=lambda: 1 / 0)\nlost.start()\nlost.join()"],
    "script": ["%%script --no-raise-error false\nx"],
}


def stage_cells(name, fails, is_saved):
    save = f"save('{name}', 'made by {name}')"
    return [OURS, save, *fails, "require(False, 'never run')"] if is_saved else [OURS, *fails, save]


def failing_stages(ways):
    "Each way to fail in two stages: behind the last save, and in front of it."
    told = {f"{way}_{place}": (way, place == "behind") for way in ways for place in ("behind", "before")}
    cells = {name: stage_cells(name, WAYS[way][0], is_saved) for name, (way, is_saved) in told.items()}
    return told, {f"{n}_{name}.ipynb": cells[name] for n, name in enumerate(cells, 10)}


def check_failure(entry, way, is_saved):
    "A failed stage names its cell and the real error, and keeps what it saved."
    fails, ename, text = WAYS[way]
    is_missing = ename == "SystemExit" and not is_saved
    position = 1 + is_saved + len(fails)
    assert (entry["state"], entry["kind"]) == ("failed", "missing_output" if is_missing else "user_error")
    assert (entry["error"]["cell"], entry["error"]["cell_id"]) == (position, f"cell-{position}")
    assert ename is None or entry["error"]["ename"] == ename
    assert text in entry["error"]["evalue"]
    assert list(entry["saved"]) == [entry["name"]] * is_saved and entry["outputs"] == {}


def check_notebook(entry):
    "The failing cell is marked, those in front of it are done, those behind it never ran."
    cells = json.loads(Path(entry["notebook"]).read_text())["cells"]
    told = [cell for cell in cells if "papermill" in cell["metadata"] and cell["cell_type"] == "code"]
    statuses = [cell["metadata"]["papermill"]["status"] for cell in told]
    assert statuses == sorted(statuses, key=["completed", "failed", "pending"].index)
    marked = [cell["id"] for cell in told if "mlnb-failed" in cell["metadata"].get("tags", [])]
    assert marked == [entry["error"]["cell_id"]] and statuses.count("failed") == 1


def check_all(result, told):
    assert result.code == 1, result.stderr
    for name, (way, is_saved) in told.items():
        check_failure(result.stage(name), way, is_saved)
        check_notebook(result.stage(name))


@pytest.fixture(scope="module")
def quick(make_shared_project, mlnb):
    "Some ways to fail, and some to be fine, on warm kernels."
    told, notebooks = failing_stages(["task_group", "captured"])
    fine = {"50_allowed.ipynb": [OURS, *FINE["allowed"], "save('allowed', 1)"]}
    project = make_shared_project(notebooks | fine)
    return project, told, mlnb("run", "demo", "-k", "-j", 2, "--json", cwd=project.root)


def test_failure_without_an_error_output_is_a_failure_in_its_cell(quick):
    _, told, result = quick
    check_all(result, told)
    assert "task_group_before failed in cell 2" in result.stderr and "part 2 is bad" in result.stderr


def test_error_that_a_tag_allows_fails_nothing(quick):
    _, _, result = quick
    assert (result.states["allowed"], result.stage("allowed")["error"]) == ("committed", None)


def test_what_a_failed_stage_saved_stays_as_long_as_its_run(quick):
    project, _, result = quick
    store, saved = open_store(project.root / ".mlnb"), result.stage("task_group_behind")["saved"]
    digest = saved["task_group_behind"]["digest"]
    for _ in range(2):
        collect(store, Retention(records=0))
        forget_pins()
    assert b"task_group_behind" in get(store, digest)
    path_of(store, digest).unlink()
    assert verify_store(store).damaged == []
    collect(store, Retention(records=0, runs=0))
    assert not has(store, digest)


CELLS = st.lists(st.sampled_from(["plain", "tagged", "skipped", "empty", "text"]), max_size=6)
ANSWERS = st.sampled_from(["ok", "error", "aborted", "exit", "lost"])


def a_cell(n, kind):
    tags = {"tagged": ["raises-exception"], "skipped": ["skip-execution"]}.get(kind, [])
    of = {"cell_type": "markdown" if kind == "text" else "code", "source": "" if kind == "empty" else "x"}
    return of | {"id": f"c{n}", "metadata": {"mlnb_cell": n, "tags": tags}, "outputs": []}


@given(CELLS, st.data())
def test_only_a_full_row_of_allowed_answers_is_a_success(kinds, data):
    cells = [a_cell(n, kind) for n, kind in enumerate(kinds, 1)]
    due = [(n, kind) for n, kind in enumerate(kinds, 1) if kind in ("plain", "tagged")]
    answers = [(n, kind, data.draw(ANSWERS)) for n, kind in due]
    status = {"exit": "error", "lost": None}
    enames = {"error": "ValueError", "exit": "SystemExit"}
    replies = [
        Reply(n, f"c{n}", status.get(said, said), enames.get(said, ""))
        for n, _, said in answers
        if said != "lost"
    ]
    is_fine = all(said == "ok" or (said == "error" and kind == "tagged") for _, kind, said in answers)
    failure = judge(Evidence({"cells": cells}, replies))
    assert (failure is None) == is_fine
    assert failure is None or failure.error.cell in [n for n, _, said in answers if said != "ok"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--cold",)])
def test_every_way_to_fail_is_told_warm_and_cold(make_project, mlnb, how):
    told, notebooks = failing_stages(WAYS)
    project = make_project(notebooks)
    check_all(mlnb("run", "demo", "-k", "-j", 2, "--json", *how, cwd=project.root), told)


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--cold",)])
def test_what_fails_nobody_is_committed_warm_and_cold(make_project, mlnb, how):
    notebooks = {
        f"{n}_{name}.ipynb": [OURS, *cells, f"save('{name}', 1)"]
        for n, (name, cells) in enumerate(FINE.items(), 10)
    }
    project = make_project(notebooks)
    result = mlnb("run", "demo", "-k", "-j", 2, "--json", *how, cwd=project.root)
    assert result.states == dict.fromkeys(FINE, "committed"), result.stderr
    assert [entry for entry in result.json["stages"] if entry.get("saved")] == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["task_group", "cell_magic", "captured", "unanswered"])
def test_papermill_by_hand_ends_with_1(make_project, outside_environment, way):
    project = make_project({"10_a.ipynb": [OURS, *WAYS[way][0], "n = 1"]})
    command = [sys.executable, "-m", "papermill", "--engine", "mlnb", "nbs/10_a.ipynb", "out.ipynb"]
    done = subprocess.run(
        command, cwd=project.root, env=outside_environment(), capture_output=True, timeout=120
    )
    assert done.returncode == 1, done.stderr


@pytest.mark.slow
def test_page_of_a_failed_run_shows_an_error_that_the_notebook_does_not(make_project, mlnb):
    project = make_project({"10_a.ipynb": stage_cells("a", WAYS["own_handler"][0], True)})
    run = mlnb("run", "demo", "--json", cwd=project.root).json["run"]
    assert mlnb("publish", cwd=project.root).code == 0
    page = (project.root / "reports" / "demo" / run / "a.html").read_text()
    assert "ValueError: hidden" in page and page.count("This cell failed") == 1
    before, after = page.split("This cell failed")
    assert "set_custom_exc" in before and "never run" in after
