"""A module of the project that somebody deleted is said to be gone, where it was, and how it comes back."""

import subprocess

import pytest
from plain_records import commit

from mlnb.notebook.pipeline import read_pipeline
from mlnb.store.settings import find_project, project_store


def git(root, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", root, *who, *words], check=True, capture_output=True)


@pytest.fixture
def shop(make_project):
    "Two stages that import one module, and a third that knows nothing of it."
    ours = "from mlnb import save"
    cells = {f"10_{n}.ipynb": [ours, "import prices", f"save('{n}', prices.PRICE)"] for n in ("a", "b")}
    return find_project(make_project(cells | {"20_c.ipynb": [ours, "save('c', 1)"]}).root)


def record(project, stage, **about):
    given = {"key": "0" * 64, "pipeline": "demo", "stage": stage, "run": "r1", "outputs": {}}
    about["parts"] = {"cells": []} | about.get("parts", {})
    commit(project_store(project), given | about)


def told(project):
    return [(p.rule, p.level, p.message, p.mend) for p in read_pipeline(project, "demo").problems]


RECORDED = [
    {"observed": {"places": {"prices": "nbs/prices.py"}}},
    {"parts": {"observed": {"files": {"nbs/prices.py": "1" * 64}}}},
    {"parts": {"observed": {"files": {"nbs/prices/__init__.py": "1" * 64}}}},
    {"observed": {"places": {"prices.sub": "nbs/prices/sub.py"}}},
]


@pytest.mark.parametrize("about", RECORDED)
def test_module_that_a_record_knows_is_gone_and_not_to_be_installed(shop, about):
    record(shop, "a", **about)
    problems = told(shop)
    assert [(rule, level) for rule, level, *_ in problems] == [("module-gone", "error")] * 2
    for _, _, message, mend in problems:
        assert "its module `prices` is gone (it was at nbs/prices" in message
        assert "put nbs/prices" in mend and "pip" not in mend


def test_run_and_check_say_so_and_the_file_put_back_ends_it(shop, asked):
    record(shop, "a", **RECORDED[0])
    for answer in (asked("check", cwd=shop.root), asked("run", "demo", cwd=shop.root)):
        assert answer.code == 2
        assert "gone (it was at nbs/prices.py)" in answer.stderr and "not installed" not in answer.stderr
    (shop.root / "nbs" / "prices.py").write_text("PRICE = 2")
    assert told(shop) == []


def test_module_that_nobody_knows_is_not_installed(shop):
    assert {rule for rule, *_ in told(shop)} == {"not-installed"}
    assert not shop.store.exists()


@pytest.mark.parametrize("committed", ["no", "staged", "yes"])
def test_mend_brings_back_what_git_has(shop, committed):
    (shop.root / "nbs" / "prices.py").write_text("PRICE = 2")
    git(shop.root, "init")
    git(shop.root, "add", "nbs")
    git(shop.root, "commit", "-m", "all")
    (shop.root / "nbs" / "prices.py").unlink()
    if committed != "no":
        git(shop.root, "add", "-A")
    if committed == "yes":
        git(shop.root, "commit", "-m", "none")
    _, _, message, mend = told(shop)[0]
    assert "is gone (it was at nbs/prices.py)" in message
    git(shop.root, *mend.split("`")[1].split()[1:])
    assert told(shop) == []


def test_module_that_is_elsewhere_now_is_not_gone(shop):
    record(shop, "b", observed={"places": {"prices": "lib/prices.py"}})
    (shop.root / "lib").mkdir()
    (shop.root / "lib" / "prices.py").write_text("PRICE = 2")
    _, _, message, mend = told(shop)[0]
    assert message.endswith("and Python no longer looks where it is (at lib/prices.py)")
    assert "`sys.path`" in mend


def test_damaged_record_hides_no_problem(shop):
    record(shop, "a", **RECORDED[0])
    next(shop.store.rglob("records/demo/a/*.json")).write_text("{")
    assert {rule for rule, *_ in told(shop)} == {"not-installed"}


# -- files that a stage runs


@pytest.mark.parametrize(
    ("cells", "level"),
    [
        (["%run set_up.py"], "error"),
        (["%run -i ../lib/set_up 5"], "error"),
        (["x = 1\n%run set_up.ipynb"], "error"),
        ([("raises-exception", "%run set_up.py")], "warning"),
        (["import os\nif os.name == 'posix':\n    %run set_up.py"], "warning"),
        (["def later():\n    %run set_up.py"], "warning"),
        (["%cd ..", "%run set_up.py"], "warning"),
        (["!make set", "%run set_up.py"], "warning"),
        (["import shutil\nshutil.copy('/x/set_up.py', '.')", "%run set_up.py"], "warning"),
        (["import runpy\nrunpy.run_path('set_up.py')"], "warning"),
        (["!python set_up.py"], "warning"),
        (["%%writefile set_up.py\nx = 1", "%run set_up.py"], None),
        (["%run $name"], None),
        ([("skip-execution", "%run set_up.py")], None),
    ],
)
def test_script_that_is_not_there_is_an_error_where_that_is_certain(make_project, cells, level):
    project = find_project(make_project({"10_a.ipynb": cells}).root)
    problems = [p for p in read_pipeline(project, "demo").problems if p.rule == "script-missing"]
    assert [p.level for p in problems] == ([level] if level else [])
    assert all(p.cell and p.mend and "there is no such file" in p.message for p in problems)


def test_script_that_is_gone_stops_its_stage_until_the_mend_brings_it_back(make_project, asked):
    cells = {"10_a.ipynb": ["%run set_up.py"], "20_b.ipynb": ["from mlnb import save", "save('b', 1)"]}
    root = make_project(cells).root
    script = root / "nbs" / "set_up.py"
    script.write_text("x = 1")
    git(root, "init")
    git(root, "add", "nbs")
    git(root, "commit", "-m", "all")
    assert asked("check", cwd=root).code == 0
    script.unlink()
    for answer in (asked("check", "--json", cwd=root), asked("run", "demo", "a", "--json", cwd=root)):
        (problem,) = answer.json["problems"]
        assert (answer.code, problem["rule"], problem["cell"]) == (2, "script-missing", 1)
    command = problem["mend"].split("`")[1]
    subprocess.run(command.split(), cwd=root, check=True, capture_output=True)
    assert script.is_file() and asked("check", cwd=root).code == 0


def test_script_that_another_stage_writes_is_only_warned_of(make_project):
    writes = ["import pathlib", "pathlib.Path('set_up.py').write_text('x = 1')"]
    project = find_project(make_project({"10_a.ipynb": writes, "20_b.ipynb": ["%run set_up.py"]}).root)
    assert [p.level for p in read_pipeline(project, "demo").problems if p.rule == "script-missing"] == [
        "warning"
    ]


def test_module_that_a_stage_made_says_who_and_its_mend_makes_it_again(make_project, mlnb):
    ours = "from mlnb import load, save"
    writes = "open('made.py', 'w').write('X = 1\\n')"
    cells = {
        "10_a.ipynb": [ours, writes, "save('a', 1)"],
        "20_b.ipynb": [ours, "load('a')", "import made", "save('b', made.X)"],
        "30_c.ipynb": [ours, "import made", "save('c', made.X)"],
    }
    root = make_project(cells).root
    assert mlnb("run", "demo", "b", cwd=root).code == 0
    (root / "nbs" / "made.py").unlink()
    where = "(it was at nbs/made.py, made by stage `a`)"
    (why,) = mlnb("why", "b", "--json", cwd=root).json["why"]
    assert why["message"] == f"module `made` is gone {where}"
    problems = mlnb("check", "--json", cwd=root).json["problems"]
    gone = [p for p in problems if p["rule"] == "module-gone"]
    assert [p["file"] for p in gone] == ["nbs/20_b.ipynb", "nbs/30_c.ipynb"]
    assert all(where in p["message"] for p in gone)
    command = gone[0]["mend"].split("`")[1].split()
    assert mlnb(*command[1:], cwd=root).code == 0
    assert (root / "nbs" / "made.py").is_file()
    assert mlnb("status", "--json", cwd=root).states["b"] == "fresh"
