"""Ten thousand stages and thousands of values: each is opened once, nothing is gone through for each of them,
and what is too much is refused alike by everybody."""

import json
import resource
import subprocess
import sys
from itertools import pairwise

import pytest
from plain_records import commit

from mlnb.flow.asking import sources_loaded
from mlnb.flow.fanout_parts import Parts
from mlnb.flow.parameter_values import resolve
from mlnb.flow.plan import make_plan, plan_stage
from mlnb.flow.selection import asked_units, is_forced, select
from mlnb.history.status import _tried_values
from mlnb.notebook.neighbours import Neighbour
from mlnb.notebook.pipeline import Concern, Edge, Pipeline, Surroundings, input_problems, read_pipeline
from mlnb.notebook.soundness import MOST_NEEDED, broken_stages
from mlnb.notebook.stage import Stage
from mlnb.store.artifacts import put_value
from mlnb.store.errors import Problem
from mlnb.store.objects import put
from mlnb.store.settings import DEFAULT_PROFILE, project_store, read_project

OURS = "from mlnb import load, save"


def planned(project, **options):
    pipeline = read_pipeline(project, "demo")
    return make_plan(
        project,
        project_store(project),
        pipeline,
        DEFAULT_PROFILE,
        resolve(project, pipeline, DEFAULT_PROFILE, {}, options),
    )


def commit_all(project, value=lambda step: 1):
    "A record for every stage and part, as runs would leave them."
    plan = planned(project)
    kept = put(plan.store, b"{}")
    for name in plan.pipeline.order:
        plan_stage(plan, name, {})
        for unit in plan.units[name]:
            step = plan.steps[unit]
            if step.key is None:
                continue
            made = put_value(plan.store, value(step)).as_dict()
            commit(
                plan.store,
                {
                    "key": step.key,
                    "parts": step.parts,
                    "pipeline": "demo",
                    "stage": name,
                    "each": step.each,
                    "run": "20261123T000000000-seed",
                    "metrics": {},
                    "notebook": kept,
                    "source": kept,
                    "file": step.stage.file,
                    "inputs": {},
                    "outputs": dict.fromkeys(step.stage.saves, made),
                    "modules": {},
                    "environment": {"packages": {}},
                    "seconds": 1.0,
                },
            )
        plan_stage(plan, name, {})
    return plan


def chain(make_project, n):
    cells = {
        f"{s:05d}_s{s}.ipynb": [OURS, f"x = load('s{s - 1}')" if s else "x = 0", f"save('s{s}', 1)"]
        for s in range(n)
    }
    return read_project(make_project(cells).root)


# one look at each file

COUNTED = """
import json, os, sys
opened = {}
def see(event, about):
    if event == "open" and isinstance(about[0], (str, os.PathLike)):
        name = os.fspath(about[0])
        if name.endswith(".ipynb") or "/records/" in name:
            opened[name] = opened.get(name, 0) + 1
sys.addaudithook(see)
from mlnb.cli import run_command
told = {}
for arguments in json.loads(sys.argv[1]):
    opened.clear()
    code = run_command(arguments)
    books = [n for name, n in opened.items() if name.endswith(".ipynb")]
    records = [n for name, n in opened.items() if "/records/" in name]
    told[" ".join(arguments)] = [code, len(books), sum(books), len(records), sum(records)]
print(json.dumps(told), file=sys.stderr)
"""


def test_each_command_opens_each_notebook_and_each_record_once(make_project, outside_environment):
    project = chain(make_project, 5)
    commit_all(project)
    commands = [["status"], ["run", "demo", "--dry-run"], ["run", "demo"], ["check"]]
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, json.dumps(commands)],
        cwd=project.root,
        env=outside_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(json.loads(done.stderr.splitlines()[-1]).values()) == [[0, 5, 5, 5, 5]] * 4


# nothing is gone through for each of many


class Unlisted(dict):
    "Names that can be asked for and not be gone through."

    def __iter__(self):
        raise AssertionError("gone through")

    keys = items = values = __iter__


def test_name_that_is_saved_is_found_without_going_through_all_names(make_project):
    project = chain(make_project, 3)
    stages = read_pipeline(project, "demo").stages
    savers = Unlisted({f"s{n}": f"s{n}" for n in range(3)})
    around = Surroundings(project, savers, lambda name: pytest.fail(f"looked into {name}"))
    assert [problem for stage in stages.values() for problem in input_problems(stage, around)] == []
    assert sources_loaded(project, [Pipeline("demo", stages, savers=savers)]) == {}


def test_stages_that_make_one_mistake_have_it_looked_up_once(make_project):
    project = chain(make_project, 3)
    looked = []

    def look(name):
        looked.append(name)
        return Neighbour()

    around = Surroundings(project, {}, look)
    stages = [
        Stage("demo", f"t{n}", None, f"t{n}.ipynb", cell_ids=("a",), loads={"lost": 1}) for n in range(9)
    ]
    found = [problem for stage in stages for problem in input_problems(stage, around)]
    assert [p.message for p in found] == [f"t{n} loads `lost`, which no stage saves" for n in range(9)]
    assert len(looked) == 1


def made_chain(n, broken):
    "A chain that nobody read from notebooks, some of its stages broken."
    names = [f"s{s}" for s in range(n)]
    stages = {name: Stage("demo", name, None, f"{name}.ipynb") for name in names}
    edges = tuple(Edge(a, b, a) for a, b in pairwise(names))
    concerns = tuple(
        Concern(Problem("syntax", f"{name} is no Python", "mend it"), (name,)) for name in broken
    )
    return Pipeline("demo", stages, tuple(names), edges, {name: name for name in names}, concerns)


@pytest.mark.parametrize("n", [1, 3_000])
def test_root_of_a_long_chain_is_broken_and_each_stage_behind_it_says_so_once(n):
    found = broken_stages(made_chain(n, ["s0"]))
    assert len(found) == n
    assert {len(problems) for problems in found.values()} == {1}


def test_chain_of_which_every_stage_is_broken_names_some_to_each_and_not_all():
    n = 300
    found = broken_stages(made_chain(n, [f"s{s}" for s in range(n)]))
    assert max(map(len, found.values())) == MOST_NEEDED + 1
    assert [len(found[f"s{s}"]) for s in range(4)] == [1, 2, 3, 4]
    assert found["s3"][1].message == "s3 needs s0, which is broken"


def test_values_that_are_tried_are_given_to_what_needs_them_and_to_nobody_else(make_project):
    folder = make_project(
        {
            "10_a.ipynb": [("parameters", "x: int = 1"), OURS, "save('a', x)"],
            "20_b.ipynb": [("parameters", "y: int = 1"), OURS, "save('b', load('a'))"],
            "30_c.ipynb": [("parameters", "z: int = 1"), OURS, "save('c', z)"],
        }
    )
    plan = planned(read_project(folder.root), x="2")
    assert _tried_values(plan) == {"a": {"x": 2}, "b": {"x": 2, "y": 1}, "c": {"z": 1}}


# fan-outs


def fan_out(make_project, n, listed="range({n})", settings=None):
    cells = {
        "10_lists.ipynb": [OURS, f"save('ks', list({listed.format(n=n)}))"],
        "20_part.ipynb": [("parameters", "#| each: k in ks\nk: int = 0  # which"), OURS, "save('x', k)"],
        "30_all.ipynb": [OURS, "save('z', len(load('x')))"],
    }
    return make_project(cells, settings) if settings else make_project(cells)


LIMITED = "[mlnb]\nmost_values = 5\n[pipeline.demo]\nnotebooks = nbs\n"
SAID = "there are 6 values of `k`, at most 5 are run"


def test_more_written_values_than_the_project_wants_are_refused_alike_by_check_dry_run_and_run(
    make_project, asked
):
    cells = {"10_part.ipynb": [("parameters", "#| each: k in 1..6\nk: int = 1"), OURS, "save('x', k)"]}
    folder = make_project(cells, LIMITED)
    for arguments in (["check"], ["run", "demo", "--dry-run"], ["run", "demo"]):
        done = asked(*arguments, cwd=folder.root)
        assert (done.code, SAID in done.stdout + done.stderr) == (2, True), arguments
        assert "most_values" in done.stdout + done.stderr
    assert not (folder.root / ".mlnb" / "runs").exists()
    (folder.root / "settings.ini").write_text(LIMITED.replace("= 5", "= 6"))
    assert [asked(*one, cwd=folder.root).code for one in (["check"], ["run", "demo", "--dry-run"])] == [0, 0]


def test_more_saved_values_than_the_project_wants_fail_in_a_dry_run_as_in_the_run(make_project, asked):
    folder = fan_out(make_project, 6, settings=LIMITED)
    commit_all(read_project(folder.root), lambda step: list(range(6)))
    dry, run = (asked("run", "demo", *more, "--json", cwd=folder.root) for more in (["--dry-run"], []))
    assert (dry.code, run.code) == (1, 1)
    errors = [
        {entry["name"]: entry["error"] and entry["error"]["evalue"] for entry in done.json["stages"]}
        for done in (dry, run)
    ]
    assert SAID in errors[0]["part"] and errors[0] == errors[1]
    assert "would fail" in asked("run", "demo", "--dry-run", cwd=folder.root).stdout


@pytest.mark.parametrize("said", ["0", "-1", "1e3", "100001", "many", "1000000000000000000000"])
def test_number_of_values_that_is_none_is_refused(make_project, asked, said):
    folder = make_project({}, LIMITED.replace("= 5", f"= {said}"))
    done = asked("status", cwd=folder.root)
    assert (done.code, "write a whole number, 1 to 100000" in done.stderr) == (2, True)


def test_parts_of_a_fan_out_are_put_together_once_for_all_that_load_them(make_project, monkeypatch):
    folder = fan_out(make_project, 30)
    folder.stage(
        "nbs/40_other.ipynb", ("parameters", "#| each: j in ks\nj: int = 0"), OURS, "save('y', load('x'))"
    )
    project = read_project(folder.root)
    commit_all(project, lambda step: list(range(30)))
    digests = []
    monkeypatch.setattr("mlnb.store.descriptions.digest_of", lambda value: digests.append(1) or "0" * 64)
    plan = planned(project)
    given = {id(plan.steps[unit].inputs["x"]) for unit in plan.units["other"]}
    assert isinstance(plan.steps["other[j=3]"].inputs["x"], Parts)
    assert (len(given), len(digests), len(plan.units["other"])) == (1, 1, 30)


def test_parts_that_were_asked_for_and_what_lies_behind_them(make_project):
    project = read_project(fan_out(make_project, 4).root)
    plan = commit_all(project, lambda step: list(range(4)))
    chosen = select(plan.pipeline, ["part[k=2]"], force=True)
    assert [unit for unit in plan.steps if is_forced(plan, chosen, unit)] == ["part[k=2]"]
    behind = select(plan.pipeline, from_="part[k=2]")
    assert asked_units(plan, behind) == ["part[k=2]", "all"]
    assert asked_units(plan, select(plan.pipeline, from_="lists")) == list(plan.steps)


# ten thousand


@pytest.mark.slow
def test_ten_thousand_stages_are_planned_and_found_fresh_in_half_a_gigabyte(make_project, mlnb, unflushed):
    n = 10_000
    project = chain(make_project, n)
    commit_all(project)
    for arguments in (["check"], ["status"], ["run", "demo", "--dry-run"], ["run", "demo"]):
        done = mlnb(*arguments, cwd=project.root)
        assert done.code == 0, done.stderr
    assert f"all {n} stages are fresh" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 500 * 1024


@pytest.mark.slow
def test_ten_thousand_values_are_planned_and_found_fresh(make_project, mlnb, unflushed):
    n = 10_000
    folder = fan_out(make_project, n)
    commit_all(
        read_project(folder.root), lambda step: list(range(n)) if step.each is None else step.each["k"]
    )
    assert f"all {n + 2} stages are fresh" in mlnb("run", "demo", cwd=folder.root).stdout
