"""A part of a stage is asked for by the name that is printed for it, whatever stands in its value."""

import shlex
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_records import as_run, commit

from mlnb.flow.parameter_values import command_again
from mlnb.flow.plan import make_plan, plan_pipeline, plan_step
from mlnb.flow.progress import failure_lines
from mlnb.flow.selection import asked_units, is_forced, named_units, scope_units, select
from mlnb.flow.steps import Plan, Step
from mlnb.history.reproduce import records_of_run
from mlnb.notebook.each import unit_name
from mlnb.notebook.options import Options
from mlnb.notebook.packages import installed_packages, list_path
from mlnb.notebook.pipeline import Edge, Pipeline, read_pipeline
from mlnb.notebook.stage import Stage
from mlnb.store.artifacts import put_value
from mlnb.store.errors import UsageError
from mlnb.store.objects import Store, open_store
from mlnb.store.run_entries import Entry, RunDocument, StageFailure
from mlnb.store.settings import Project, project_store, read_project

OURS = "from mlnb import load, metric, save"
KINDS = ["forest", "a b", "x]y", "p/q", "it's", "1", "tr[kind=1]"]


def each(*code, values=f"{KINDS!r}", parameter="kind: str = ''"):
    return [("parameters", f"#| each: {parameter.split(':')[0]} in {values}\n{parameter}"), OURS, *code]


STAGES = {
    "10_rows.ipynb": [OURS, "save('rows', 1)"],
    "20_prep.ipynb": each("save('prepared', [kind, load('rows')])"),
    "30_train.ipynb": each("save('model', load('prepared'))"),
    "40_best.ipynb": [OURS, "save('best', list(load('model').items()))"],
}
LISTED = {
    "10_find.ipynb": [OURS, "save('kinds', ['a', 'b'])"],
    "20_fit.ipynb": each("save('fit', kind)", values="kinds"),
    "30_all.ipynb": [OURS, "save('all', len(load('fit')))"],
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    "The list of installed packages, as a store caches it."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return list_path(store.root)


@pytest.fixture(scope="module")
def fan(make_shared_project, packages):
    "A project with a fan-out, nothing run."
    folder = make_shared_project(STAGES)
    store = project_store(read_project(folder.root), create=True)
    (store.root / "cache").mkdir(exist_ok=True)
    shutil.copy(packages, list_path(store.root))
    return folder


@pytest.fixture(scope="module")
def plan(fan):
    project = read_project(fan.root)
    return plan_pipeline(project, project_store(project), "demo", "default")


def part(stage, kind):
    return unit_name(stage, {"kind": kind})


def pretend(plan, unit, **values):
    "Commit a record for a step, as if it had run."
    step = plan_step(plan, unit)
    outputs = {name: put_value(plan.store, value).as_dict() for name, value in values.items()}
    about = {
        "pipeline": "demo",
        "stage": step.stage.name,
        "each": step.each,
        "run": "20261123T100000000-aaaa",
    }
    result = {"key": step.key, "parts": step.parts, "outputs": outputs, "metrics": {}, "notebook": None}
    commit(plan.store, about | result)
    assert plan_step(plan, unit).state == "cached"


@pytest.mark.parametrize("kind", KINDS)
def test_every_printed_name_is_taken_and_means_that_part_with_its_needs(plan, kind):
    train, prep = part("train", kind), part("prep", kind)
    needed = ["rows", prep, train]
    chosen = select(plan.pipeline, [train], force=True)
    assert (asked_units(plan, chosen), scope_units(plan, chosen)) == ([train], needed)
    assert [unit for unit in plan.steps if is_forced(plan, chosen, unit)] == [train]
    assert scope_units(plan, select(plan.pipeline, to=train)) == needed
    assert scope_units(plan, select(plan.pipeline, [train], only=True)) == [train]
    assert asked_units(plan, select(plan.pipeline, from_=prep)) == [prep, train, "best"]
    assert asked_units(plan, select(plan.pipeline, from_=prep, to=train)) == [prep, train]
    both = select(plan.pipeline, [train, "best"])
    assert scope_units(plan, both) == scope_units(plan, select(plan.pipeline))


@pytest.mark.parametrize("kind", ["forest", "it's", "p/q"])
def test_command_line_takes_a_part_wherever_it_takes_a_stage(fan, asked, kind):
    train = part("train", kind)

    def planned(*arguments):
        result = asked("run", "demo", "-n", "--json", *arguments, cwd=fan.root)
        assert result.code == 0, result.stderr
        return [unit_name(e["name"], e["each"]) for e in result.json["stages"]]

    assert planned(train) == planned("--to", train) == ["rows", part("prep", kind), train]
    assert planned("--from", train)[-1] == "best"
    words = shlex.split(command_again("demo", [train], "default", {}))
    assert words == ["mlnb", "run", "demo", train] and planned(*words[3:])[-1] == train
    for word in (train, f"demo/{train}"):
        found = asked("why", word, "--json", cwd=fan.root)
        assert (found.code, found.json["name"], found.json["each"]) == (0, "train", {"kind": kind})


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train[kind=forrest]", "did you mean `train[kind=forest]`?"),
        ("train[]", "train[kind="),
        ("rows[kind=forest]", "write `rows`"),
        ("trian[kind=forest]", "did you mean `train`?"),
        ("train[kind=forest", "did you mean `train`?"),
    ],
)
def test_part_that_is_not_there_is_2_and_names_those_that_are(fan, asked, word, said):
    for verb in (("run", "demo", "-n", word), ("run", "demo", "-n", "--from", word), ("why", f"demo/{word}")):
        result = asked(*verb, "--json", cwd=fan.root)
        assert result.code == 2, verb
        (problem,) = result.json["problems"]
        assert said in problem["mend"], problem


def test_only_a_part_without_its_input_names_the_command_that_makes_it(fan, asked):
    result = asked("run", "demo", "--only", part("train", "it's"), "--json", cwd=fan.root)
    (problem,) = result.json["problems"]
    assert result.code == 2 and problem["message"].startswith(
        "train[kind=it's] needs `prepared`, which prep[kind=it's]"
    )
    command = problem["mend"].split("`")[1]
    assert shlex.split(command) == ["mlnb", "run", "demo", "prep[kind=it's]"]
    assert asked(*shlex.split(command)[1:], "-n", cwd=fan.root).code == 0


def test_failed_part_is_run_again_by_the_command_that_is_printed():
    error = StageFailure(2, None, "ValueError", "no")
    about = {"kind": "user_error", "file": "t.ipynb", "error": error}
    entry = Entry(name="train", each={"kind": "a b"}, state="failed", **about)
    line = failure_lines(entry, RunDocument(pipeline="demo", state="failed"))[-1]
    assert shlex.split(line.partition(": ")[2]) == ["mlnb", "run", "demo", "train[kind=a b]"]


def test_part_of_a_list_to_be_made_makes_the_list_first(make_project, packages, asked):
    folder = make_project(LISTED)
    project = read_project(folder.root)
    store = project_store(project, create=True)
    (store.root / "cache").mkdir(exist_ok=True)
    shutil.copy(packages, list_path(store.root))
    plan = plan_pipeline(project, store, "demo", "default")
    chosen = select(plan.pipeline, ["fit[kind=b]"], force=True)
    assert (scope_units(plan, chosen), is_forced(plan, chosen, "fit")) == (["find", "fit"], True)
    pretend(plan, "find", kinds=["a", "b"])
    plan = make_plan(project, store, read_pipeline(project, "demo"), "default", plan.values)
    assert scope_units(plan, chosen) == ["find", "fit[kind=b]"]
    with pytest.raises(UsageError, match="fit has no part `fit\\[kind=c\\]`"):
        named_units(plan, "fit[kind=c]")
    for kind in "ab":
        pretend(plan, f"fit[kind={kind}]", fit=kind)
    done = asked("run", "demo", "fit[kind=b]", "--json", cwd=folder.root)
    assert (done.code, [e["each"] for e in done.json["stages"]], done.json["head"]) == (
        0,
        [None, {"kind": "b"}],
        False,
    )
    (again,) = records_of_run(store, as_run(done.json), ["fit[kind=b]"])
    assert again.each == {"kind": "b"} and len(records_of_run(store, as_run(done.json), ["fit", "find"])) == 2
    pretend(make_plan(project, store, read_pipeline(project, "demo"), "default", plan.values), "all", all=2)
    assert asked("run", "demo", "fit[kind=b]", "--json", cwd=folder.root).json["head"]


@pytest.mark.slow
def test_parts_are_run_and_forced_for_real(make_project, mlnb):
    folder = make_project(LISTED | {"15_prep.ipynb": each("save('prepared', kind)", values="kinds")})
    folder.stage("nbs/20_fit.ipynb", *each("save('fit', load('prepared'))", values="kinds"))

    def run(*words, code=0):
        result = mlnb("run", "demo", *words, "--json", cwd=folder.root)
        assert result.code == code, result.stderr
        return {unit_name(e["name"], e["each"]): e["state"] for e in result.json["stages"]}

    wanted = ["find", "prep[kind=b]", "fit[kind=b]"]
    assert run("fit[kind=b]") == dict.fromkeys(wanted, "committed")
    assert run("fit[kind=b]", "--force") == dict.fromkeys(wanted, "cached") | {"fit[kind=b]": "committed"}
    assert run("--only", "prep[kind=a]") == {"prep[kind=a]": "committed"}
    assert run("--from", "prep[kind=a]")["all"] == "committed"
    assert set(run().values()) == {"cached"}
    checked = mlnb("run", "demo", "fit[kind=b]", "--check-determinism", "--json", cwd=folder.root)
    assert checked.code == 0 and checked.json["determinism"]["state"] == "deterministic"
    folder.stage("nbs/10_find.ipynb", OURS, "save('kinds', ['a', 'c'])")
    lost = mlnb("run", "demo", "fit[kind=b]", "--json", cwd=folder.root)
    assert lost.code == 2 and "fit has no part `fit[kind=b]`" in lost.stderr + lost.stdout


VALUES = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from(KINDS)), min_size=1, max_size=6, unique=True
)


@settings(max_examples=60)
@given(VALUES)
def test_any_value_is_found_again_by_the_name_that_is_printed(values):
    stage = Stage("p", "fit", None, "fit.ipynb", options=Options(each=f"kind in {values!r}"))
    pipeline = Pipeline("p", {"fit": stage, "other": stage}, ("fit", "other"), (Edge("fit", "other", "x"),))
    plan = Plan(Project(*[None] * 3), Store(None), pipeline, "default", {})
    parts = {unit_name("fit", {"kind": value}): ("fit", {"kind": value}) for value in values}
    plan.parts, plan.units = parts, {"fit": tuple(parts)}
    plan.steps = {unit: Step(stage, given) for unit, (_, given) in parts.items()}
    for unit in parts:
        chosen = select(pipeline, [unit])
        assert (chosen.selected, asked_units(plan, chosen)) == (("fit",), [unit])
        assert shlex.split(command_again("p", [unit], "default", {}))[-1] == unit
