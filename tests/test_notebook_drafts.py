"""A draft is no stage, and a stage that is broken stops nobody who does not need it: every kind of mistake
beside every verb."""

import re
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_records import commit

from mlnb.flow.plan import plan_pipeline, plan_step
from mlnb.flow.problems import check_of
from mlnb.flow.selection import select
from mlnb.history.graph import dag_of, svg_of
from mlnb.history.status import status_of
from mlnb.notebook.drafts import is_draft, stage_files
from mlnb.notebook.packages import installed_packages, list_path
from mlnb.notebook.pipeline import graph_order, read_pipeline, require_sound
from mlnb.notebook.soundness import broken_stages, sound_part
from mlnb.notebook.stage import stage_name
from mlnb.publish.freshness import answers_of
from mlnb.store.artifacts import put_value
from mlnb.store.errors import DefinitionError
from mlnb.store.names import is_name
from mlnb.store.objects import open_store
from mlnb.store.runs import run_ids
from mlnb.store.settings import project_store, read_project

OURS = "from mlnb import load, save"
SETTINGS = (
    "[mlnb]\n[pipeline.demo]\nnotebooks = nbs\n[pipeline.other]\nnotebooks = other\n"
    "[source.raw]\npath = raw.csv\n"
)
WITH_PROFILE = SETTINGS + "[profile.ci.demo]\ndepth = 7\n"
SOUND = {
    "10_ingest.ipynb": [("parameters", "n: int = 3"), OURS, "save('rows', n)"],
    "20_train.ipynb": [OURS, "save('model', load('rows'))"],
    "other/10_score.ipynb": [OURS, "save('score', load('demo/model'))"],
}
DRAFTS = [
    *(
        "Untitled.ipynb",
        "Untitled1.ipynb",
        "Untitled-1.ipynb",
        "20_train-Copy1.ipynb",
        "20_train-Copy12.ipynb",
    ),
    *("20_train copy.ipynb", "20_train copy 2.ipynb", "20_train - Copy.ipynb", "20_train - Copy (3).ipynb"),
    *("20_train (copy).ipynb", "20_train (1).ipynb", "20_train(12).ipynb", "Copy of 20_train.ipynb"),
    "20_train-Copy1-Copy1.ipynb",
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    "The list of installed packages, which takes half a second to read, as a store caches it."
    store = open_store(tmp_path_factory.mktemp("packages") / "store")
    installed_packages(store)
    return list_path(store.root)


@pytest.fixture
def opened(packages):
    "Open a project with a new store."

    def of(folder):
        (folder.root / "raw.csv").write_text("id\n7\n")
        project = read_project(folder.root)
        store = project_store(project, create=True)
        (store.root / "cache").mkdir(exist_ok=True)
        shutil.copy(packages, list_path(store.root))
        return project, store

    return of


def code(*texts):
    return {"90_bad.ipynb": [OURS, *texts]}


def parameters(text):
    return {"90_bad.ipynb": [("parameters", text), OURS]}


def option(text):
    return {"90_bad.ipynb": [f"{text}\n{OURS}"]}


def raw(text, name="90_bad.ipynb"):
    return lambda folder: (folder.root / "nbs" / name).write_text(text)


def foreign_kernel(folder):
    folder.stage(
        "nbs/90_bad.ipynb",
        "x = 1",
        metadata={"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}},
    )


def a_folder(folder):
    (folder.root / "nbs" / "90_bad.ipynb").mkdir()


# kind -> (notebooks to write, or what writes them; rules that are found; stages that are broken)
MISTAKES = {
    "torn file": (raw("{"), {"bad-notebook"}, {"bad"}),
    "empty file": (raw(""), {"bad-notebook"}, {"bad"}),
    "list instead of a notebook": (raw("[]"), {"bad-notebook"}, {"bad"}),
    "unreadable": (a_folder, {"bad-notebook"}, {"bad"}),
    "another language": (foreign_kernel, {"no-kernelspec"}, {"bad"}),
    "name of the file": ({"90_Bad Name.ipynb": [OURS]}, {"bad-name"}, {"Bad Name"}),
    "brackets in the name": ({"90_bad[x=1].ipynb": [OURS]}, {"bad-name"}, {"bad[x=1]"}),
    "syntax": (code("x = = 1"), {"syntax"}, {"bad"}),
    "open bracket": (code("save('x', load('rows')"), {"syntax"}, {"bad"}),
    "two parameters cells": (
        {"90_bad.ipynb": [("parameters", "a: int = 1"), ("parameters", "b: int = 1")]},
        {"two-parameters-cells"},
        {"bad"},
    ),
    "code among parameters": (parameters("a: int = 1\nprint(a)"), {"parameters-cell"}, {"bad"}),
    "type of a parameter": (parameters("a: set = 1"), {"parameters-cell"}, {"bad"}),
    "default": (parameters("a: int = 'x'"), {"bad-default"}, {"bad"}),
    "default out of range": (parameters("a: int = 9  # 1..5"), {"bad-default"}, {"bad"}),
    "unknown option": (option("#| theads: 1"), {"unknown-option"}, {"bad"}),
    "bad option": (option("#| threads: many"), {"bad-option"}, {"bad"}),
    "each without a parameter": (option("#| each: fold in 0..3"), {"bad-each"}, {"bad"}),
    "each that is no list": (option("#| each: fold of 3"), {"bad-option"}, {"bad"}),
    "option in a later cell": (code("#| threads: 2\nx = 1"), {"option-place"}, {"bad"}),
    "computed name": (code("load(str())"), {"computed-name"}, {"bad"}),
    "name of an artifact": (code("save('No Name', 1)"), {"bad-name"}, {"bad"}),
    "nobody saves it": (code("load('nobody')"), {"no-saver"}, {"bad"}),
    "no such pipeline": (code("load('none/x')"), {"no-saver"}, {"bad"}),
    "list that nobody saves": (parameters("#| each: k in nobody\nk: str = 'a'"), {"no-saver"}, {"bad"}),
    "list that is saved several times": (
        {
            "80_lists.ipynb": [("parameters", "#| each: i in 0..1\ni: int = 0"), OURS, "save('ks', ['a'])"],
            "90_bad.ipynb": [("parameters", "#| each: k in ks\nk: str = 'a'"), OURS],
        },
        {"bad-each"},
        {"bad"},
    ),
    "cycle": (code("save('own', load('own'))"), {"cycle"}, {"bad"}),
    "cycle of two": (
        {"80_a.ipynb": [OURS, "save('x', load('y'))"], "90_b.ipynb": [OURS, "save('y', load('x'))"]},
        {"cycle"},
        {"a", "b"},
    ),
    "two savers": (
        {"80_a.ipynb": [OURS, "save('x', 1)"], "90_b.ipynb": [OURS, "save('x', 2)"]},
        {"two-savers"},
        {"a", "b"},
    ),
    "saves a source": (code("save('raw', 1)"), {"two-savers"}, {"bad"}),
    "two stages of one name": (
        {"80_bad.ipynb": [OURS], "90_bad.ipynb": [OURS, "x = 1"]},
        {"two-stages"},
        {"bad"},
    ),
    "parameters that differ": (
        {"80_a.ipynb": [("parameters", "k: int = 1")], "90_b.ipynb": [("parameters", "k: float = 1.0")]},
        {"parameter-conflict"},
        {"a", "b"},
    ),
}


QUICK = {
    "torn file",
    "another language",
    "name of the file",
    "cycle of two",
    "two savers",
    "two stages of one name",
}


def slow_but(quick, kinds):
    "All kinds as parameters, those that are not quick marked slow."
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.slow) for kind in kinds]


@pytest.fixture(params=slow_but(QUICK, MISTAKES))
def mistaken(request, make_project):
    "A sound pipeline, another one that loads from it, and one kind of mistake beside them."
    made, rules, broken = MISTAKES[request.param]
    folder = make_project(SOUND | (made if isinstance(made, dict) else {}), WITH_PROFILE)
    if callable(made):
        made(folder)
    return folder, rules, broken


def test_mistake_breaks_its_own_stages_and_no_other(opened, mistaken):
    folder, rules, broken = mistaken
    project, store = opened(folder)
    read = read_pipeline(project, "demo")
    assert {p.rule for p in read.errors()} == rules
    assert broken_stages(read).keys() == broken
    for profile in ("default", "ci"):
        plan = plan_pipeline(project, store, "demo", profile)
        assert {"ingest", "train"} <= set(plan.steps) and not broken & set(plan.steps)
        status = {e.name: e for e in status_of([plan])}
        assert set(status) == set(read.order) and broken == {n for n, e in status.items() if e.problems}
        assert all(e.state == "never" and e.why for e in status.values())
        assert {unit for unit, answer in answers_of(plan).items() if answer is None} == broken
    assert plan_pipeline(project, store, "other", "default").steps.keys() == {"score"}
    assert svg_of(dag_of([read])).count("<rect") == len(read.order)
    require_sound(read, select(read, ["train"]).scope)
    with pytest.raises(DefinitionError) as error:
        require_sound(read, select(read).scope)
    assert error.value.problems == read.errors()
    assert {p.rule for p in check_of(project, ["demo"]) if p.level == "error"} >= rules


VERBS = [
    (("status", "demo"), 0),
    (("status",), 0),
    (("status", "other"), 0),
    (("why", "demo/train"), 0),
    (("why", "demo/{bad}"), 0),
    (("params",), 0),
    (("dag",), 0),
    (("dag", "demo", "--format", "svg"), 0),
    (("artifacts",), 0),
    (("check",), 2),
    (("check", "other"), 0),
    (("run", "demo", "train", "-n"), 0),
    (("run", "demo", "--to", "train", "-n"), 0),
    (("run", "demo", "--from", "ingest", "--to", "train", "-n"), 0),
    (("run", "demo", "--only", "ingest", "-n"), 0),
    (("run", "demo", "train", "-n", "--grid", "n=1,2"), 0),
    (("run", "demo", "-n"), 2),
    (("run", "demo", "-n", "--grid", "n=1,2"), 2),
    (("run", "demo", "{bad}", "-n"), 2),
    (("run", "demo", "--only", "{bad}", "-n"), 2),
]


@pytest.mark.slow
def test_every_verb_goes_on_beside_every_mistake(opened, mistaken, asked):
    folder, rules, broken = mistaken
    opened(folder)
    for words, exit_code in VERBS:
        words = [word.format(bad=min(broken)) for word in words]
        if words[0] != "dag":
            words.append("--json")
        result = asked(*words, cwd=folder.root)
        assert result.code == exit_code, (words, result.stderr)
        if words[0] == "run" and exit_code == 2:
            assert {p["rule"] for p in result.json["problems"]} == rules
        if words[0] == "run" and exit_code == 0:
            assert "left aside" in result.stderr and set(result.states) <= {"ingest", "train"}
        if words[0] == "why" and "train" not in words[1]:
            assert {p["rule"] for p in result.json["problems"]} == rules
        if words[:2] in (["status", "demo"], ["status", "--json"], ["params", "--json"]):
            assert "mlnb check demo" in result.stderr


def test_status_shows_broken_and_why_tells_all_of_it(opened, make_project, asked):
    folder = make_project(
        SOUND | code("x = = 1", "load(str())") | {"95_end.ipynb": [OURS, "load('late')"]}, SETTINGS
    )
    folder.stage("nbs/90_bad.ipynb", OURS, "x = = 1", "load(str())", "save('late', 1)")
    opened(folder)
    shown = asked("status", "demo", cwd=folder.root)
    rows = {line.split()[1]: line for line in shown.stdout.splitlines() if line.startswith("demo")}
    assert (shown.code, rows["train"].split()[2]) == (0, "never")
    assert " broken " in rows["bad"] and "is no Python" in rows["bad"]
    assert " broken " in rows["end"] and "end needs bad, which is broken" in rows["end"]
    assert "demo: broken, left aside: bad, end (`mlnb check demo` lists" in shown.stderr
    told = asked("why", "bad", cwd=folder.root).stdout
    assert "why demo/bad is broken" in told and "correct the cell" in told and "computed-name" in told


@pytest.mark.parametrize("name", slow_but({"Untitled.ipynb", "20_train-Copy1.ipynb"}, DRAFTS))
def test_draft_is_no_stage_and_check_says_how_to_make_it_one(opened, make_project, asked, name):
    folder = make_project(SOUND, SETTINGS)
    folder.stage(f"nbs/{name}", OURS, "save('model', 2)", "x = = 1")
    project, _ = opened(folder)
    assert [p.name for p in stage_files(project, "demo")] == ["10_ingest.ipynb", "20_train.ipynb"]
    read = read_pipeline(project, "demo")
    assert (read.errors(), read.savers["model"]) == ([], "train") and sound_part(read) is read
    (problem,) = read.problems
    assert (problem.rule, problem.level, problem.file) == ("draft", "warning", f"nbs/{name}")
    proposed = problem.mend.split("`")[1]
    (folder.root / "nbs" / name).rename(folder.root / "nbs" / proposed)
    assert {p.rule for p in read_pipeline(project, "demo").errors()} == {"syntax", "two-savers"}


def test_drafts_change_nothing_but_the_list_of_check(opened, make_project, asked):
    folder = make_project(SOUND, SETTINGS)
    opened(folder)
    words = [("status",), ("params",), ("dag",), ("run", "demo", "-n"), ("run", "demo", "--force", "-n")]
    before = [asked(*w, cwd=folder.root) for w in words]
    for name in DRAFTS:
        folder.stage(f"nbs/{name}", OURS, "save('model', 2)", "load('nobody')")
    after = [asked(*w, cwd=folder.root) for w in words]
    assert [(one.code, one.stdout) for one in after] == [(one.code, one.stdout) for one in before]
    assert after[1:] == before[1:] and after[0].stderr.startswith(f"{len(DRAFTS)} drafts left aside: nbs/")
    assert after[0].stderr.count("\n") == 1 and "`mlnb check` says more" in after[0].stderr
    found = asked("check", "--json", cwd=folder.root)
    assert (found.code, {p["rule"] for p in found.json["problems"]}) == (0, {"draft"})
    assert len(found.json["problems"]) == len(DRAFTS)


def test_name_that_only_a_draft_saves_is_told_and_the_mend_works(opened, make_project):
    folder = make_project(SOUND | {"30_end.ipynb": [OURS, "load('late')"]}, SETTINGS)
    folder.stage("nbs/Untitled.ipynb", OURS, "save('late', 2)")
    folder.stage("other/20_end.ipynb", OURS, "load('demo/late')")
    project, _ = opened(folder)
    for pipeline in ("demo", "other"):
        (problem,) = read_pipeline(project, pipeline).errors()
        assert problem.rule == "no-saver" and "nbs/Untitled.ipynb saves it and is a draft" in problem.mend
    (folder.root / "nbs/Untitled.ipynb").rename(folder.root / "nbs" / problem.mend.split("`")[1])
    assert [read_pipeline(project, p).problems for p in ("demo", "other")] == [(), ()]


@pytest.mark.parametrize("verb", [("run", "demo", "{}", "-n"), ("why", "demo/{}"), ("why", "{}")])
def test_stage_that_became_a_draft_is_found_again_by_what_the_mend_says(opened, make_project, asked, verb):
    folder = make_project(SOUND, SETTINGS)
    opened(folder)
    words = [word.format("train") for word in verb]
    whole = asked(*words, cwd=folder.root)
    (folder.root / "nbs/20_train.ipynb").rename(folder.root / "nbs/Untitled2.ipynb")
    lost = asked(*words, cwd=folder.root)
    assert lost.code == 2 and "rename nbs/Untitled2.ipynb, a draft and no stage" in lost.stderr
    proposed = re.findall(r"`(\d+_train.ipynb)`", lost.stderr)[0]
    (folder.root / "nbs/Untitled2.ipynb").rename(folder.root / "nbs" / proposed)
    assert asked(*words, cwd=folder.root) == whole


def test_folder_of_drafts_alone_stops_its_own_run_only(opened, make_project, asked):
    folder = make_project({"other/10_score.ipynb": [OURS]}, SETTINGS)
    folder.stage("nbs/Untitled.ipynb", "x = 1")
    opened(folder)
    assert asked("status", cwd=folder.root).code == 0
    refused = asked("run", "demo", "-n", "--json", cwd=folder.root)
    assert (refused.code, [p["mend"] for p in refused.json["problems"]]) == (
        2,
        ["rename Untitled.ipynb, e.g. `10_name.ipynb`"],
    )


def test_saver_that_cannot_be_read_is_named_and_hinders_only_who_needs_it(opened, make_project):
    folder = make_project(SOUND, SETTINGS)
    (folder.root / "nbs" / "20_train.ipynb").write_text("{")
    folder.stage("nbs/30_end.ipynb", OURS, "load('model')")
    project, store = opened(folder)
    read = read_pipeline(project, "demo")
    (lost,) = [p for p in read.errors() if p.rule == "no-saver"]
    assert lost.mend == "mend nbs/20_train.ipynb first, which may save it"
    assert list(sound_part(read).stages) == ["ingest"]
    assert read_pipeline(project, "other").errors() == []
    assert "demo/model" in plan_pipeline(project, store, "other", "default").missing


def test_values_for_a_broken_stage_are_no_mistake_and_misspelt_ones_are(opened, make_project):
    folder = make_project(
        SOUND | {"90_bad.ipynb": [("parameters", "depth: int = 5"), "x = = 1"]}, WITH_PROFILE
    )
    project, store = opened(folder)
    plan = plan_pipeline(project, store, "demo", "ci", {"depth": 3}, {"n": "4"})
    assert {name: v.value for name, v in plan.values.items()} == {"n": 4}
    with pytest.raises(DefinitionError) as error:
        plan_pipeline(project, store, "demo", "ci", {}, {"dpeth": "4"})
    assert [p.rule for p in error.value.problems] == ["syntax", "unknown-parameter"]


def test_profile_that_does_not_fit_blinds_no_other_pipeline(opened, make_project, asked):
    folder = make_project(SOUND, SETTINGS + "[profile.ci.demo]\nn = many\nm = 1\n")
    opened(folder)
    shown = asked("status", "--profile", "ci", "--json", cwd=folder.root)
    broken = {e["name"]: {p["rule"] for p in e["problems"]} for e in shown.json["stages"]}
    both = {"bad-value", "unknown-parameter"}
    assert (shown.code, broken) == (0, {"ingest": both, "train": both, "score": set()})
    assert "mlnb check demo" in shown.stderr
    assert asked("run", "demo", "train", "-n", "--profile", "ci", cwd=folder.root).code == 2
    assert asked("status", "-p", "n", "many", cwd=folder.root).code == 2
    assert asked("status", "--profile", "ci", "-p", "nn", "1", cwd=folder.root).code == 2


def commit_all(plan):
    "Commit a record for every step, as if it had run."
    for name in plan.pipeline.order:
        step = plan_step(plan, name)
        outputs = {n: put_value(plan.store, f"{n} {step.key}").as_dict() for n in step.stage.saves}
        about = {
            "pipeline": plan.pipeline.name,
            "stage": name,
            "each": None,
            "run": "20261123T100000000-aaaa",
        }
        result = {"key": step.key, "parts": step.parts, "outputs": outputs, "metrics": {}, "notebook": None}
        commit(plan.store, about | result)
        assert plan_step(plan, name).state == "cached"


def test_run_beside_a_broken_stage_moves_no_head_and_says_why(opened, make_project, asked):
    folder = make_project(SOUND | code("x = = 1"), SETTINGS)
    project, store = opened(folder)
    commit_all(plan_pipeline(project, store, "demo", "default"))
    stopped = asked("run", "demo", cwd=folder.root)
    assert stopped.code == 2 and run_ids(store) == []
    done = asked("run", "demo", "train", "--json", cwd=folder.root)
    assert done.code == 0, done.stdout
    assert (done.code, done.json["head"], done.states) == (0, False, {"ingest": "cached", "train": "cached"})
    assert done.stderr.count("demo: broken, left aside: bad") == 1
    assert "the head stays, because stages are left aside" in done.stderr
    (folder.root / "nbs/90_bad.ipynb").rename(folder.root / "nbs/bad-Copy1.ipynb")
    again = asked("run", "demo", "--json", cwd=folder.root)
    assert again.json["head"] and "aside" not in again.stderr


NAMES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "10_", "3-", "0010_"]),
    st.sampled_from(["c", "copy", "untitled", "copy_of"]),
    st.text("copyuntitled0123456789_", max_size=50),
)


@settings(max_examples=50)
@given(NAMES)
def test_no_name_of_a_stage_is_taken_for_a_draft(name):
    from pathlib import Path

    path = Path(f"{name}.ipynb")
    assert is_name(stage_name(path)) and not is_draft(path)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_order_keeps_savers_before_loaders_around_every_circle(pairs):
    from mlnb.notebook.pipeline import Edge, Pipeline

    names = [f"s{n}" for n in range(8)]
    edges = [Edge(f"s{a}", f"s{b}", "x") for a, b in pairs]
    order, cycles = graph_order(names, edges)
    assert sorted(order) == names
    pipeline = Pipeline("p", dict.fromkeys(names), tuple(order), tuple(edges))
    on_circle = {name for c in cycles for name in c.stages}
    behind = {n for n in names if pipeline.with_needs([n]) & on_circle}
    place = {name: n for n, name in enumerate(order)}
    assert all(place[e.saver] < place[e.loader] for e in edges if e.loader not in behind)
    ahead = {n for n in names if any(n in pipeline.with_needs(pipeline.upstream(n)) for _ in [0])}
    assert ahead <= behind and bool(ahead) == bool(cycles)
