"""What notebooks of declared models and their gates must have: each fault beside `mlnb check`, `mlnb run` and
`--json`; its mend, followed, leaves none; and no pipeline is stopped that has nothing to do with it."""

from typing import NamedTuple

import pytest
from conftest import write_project

from mlnb.notebook.pipeline import read_pipeline, require_sound
from mlnb.store.errors import DefinitionError
from mlnb.store.settings import read_project

OURS = "from mlnb import load, require, save"
SETTINGS = """[mlnb]
[pipeline.shop]
notebooks = shop
[pipeline.gate]
notebooks = gate
[pipeline.alone]
notebooks = alone
[model.shop]
artifact = shop/model
threshold = shop/limit
gate = gate
"""
JUDGE = "save('checks', [load('shop/model@candidate')])"
DECIDE = "require(load('checks'), 'no')"
EACH = ("parameters", "#| each: depth in [1, 2]\ndepth: int = 1")
SOUND = {
    "shop/10_train.ipynb": [OURS, "save('model', 1)"],
    "shop/20_limit.ipynb": [OURS, "save('limit', load('model'))"],
    "gate/10_judge.ipynb": [OURS, JUDGE],
    "gate/90_decide.ipynb": [OURS, DECIDE],
    "alone/10_a.ipynb": [OURS, "save('a', 1)"],
}


class Case(NamedTuple):
    "A fault, whom it stops, what is said, and the notebooks or settings that the mend leads to."

    pipeline: str  # that cannot be run
    rule: str
    file: str  # where it is
    stages: dict  # notebooks that are other than in a sound project; None = there is none
    mend: str  # part of it
    mended: dict  # notebooks after it was followed
    cell: int | None = None  # where it stands in that file
    settings: str = SETTINGS  # with the fault


FAULTS = {
    "no stage saves the artifact": Case(
        "shop",
        "no-saver",
        "settings.ini",
        {
            "shop/10_train.ipynb": [OURS, "save('other', 1)"],
            "shop/20_limit.ipynb": [OURS, "save('limit', 1)"],
        },
        'save it in a stage, `save("model", …)`, or correct `artifact` in [model.shop]',
        {"shop/10_train.ipynb": [OURS, "save('model', 1)"]},
    ),
    "the artifact has another name": Case(
        "shop",
        "no-saver",
        "settings.ini",
        {},
        "did you mean `model`? If not, save it",
        {},
        settings=SETTINGS.replace("shop/model", "shop/modell"),
    ),
    "a draft saves it": Case(
        "shop",
        "no-saver",
        "settings.ini",
        {"shop/20_limit.ipynb": None, "shop/Untitled.ipynb": [OURS, "save('limit', 1)"]},
        "shop/Untitled.ipynb saves it and is a draft: rename it",
        {"shop/Untitled.ipynb": None, "shop/50_name.ipynb": [OURS, "save('limit', 1)"]},
    ),
    "no stage saves the threshold": Case(
        "shop",
        "no-saver",
        "settings.ini",
        {"shop/20_limit.ipynb": None},
        'save it in a stage, `save("limit", …)`, or correct `threshold` in [model.shop]',
        {"shop/20_limit.ipynb": [OURS, "save('limit', 1)"]},
    ),
    "the threshold is another pipeline's": Case(
        "shop",
        "bad-setting",
        "settings.ini",
        {"alone/10_a.ipynb": [OURS, "save('limit', 1)"]},
        "save it there, and write `threshold = shop/limit`",
        {},
        settings=SETTINGS.replace("shop/limit", "alone/limit"),
    ),
    "a model for each value": Case(
        "shop",
        "fanned-out",
        "shop/10_train.ipynb",
        {"shop/10_train.ipynb": [EACH, OURS, "save('model', depth)"]},
        "save it under another name there, and let a stage that runs once save `model`",
        {
            "shop/10_train.ipynb": [EACH, OURS, "save('tried', depth)"],
            "shop/15_choose.ipynb": [OURS, "save('model', load('tried'))"],
        },
        cell=3,
    ),
    "a threshold for each value": Case(
        "shop",
        "fanned-out",
        "shop/20_limit.ipynb",
        {"shop/20_limit.ipynb": [EACH, OURS, "save('limit', depth)"]},
        "let a stage that runs once save `limit`",
        {
            "shop/20_limit.ipynb": [EACH, OURS, "save('limits', depth)"],
            "shop/25_one.ipynb": [OURS, "save('limit', load('limits'))"],
        },
        cell=3,
    ),
    "the gate is its own pipeline": Case(
        "shop",
        "own-gate",
        "settings.ini",
        {},
        "make a pipeline for the gate, and write its name as `gate` in [model.shop]",
        {},
        settings=SETTINGS.replace("gate = gate", "gate = shop"),
    ),
    "no checks": Case(
        "gate",
        "no-saver",
        "settings.ini",
        {"gate/10_judge.ipynb": [OURS, "load('shop/model@candidate')"], "gate/90_decide.ipynb": [OURS]},
        'save it in a stage, `save("checks", …)`, or correct `gate` in [model.shop]',
        {"gate/10_judge.ipynb": [OURS, JUDGE], "gate/90_decide.ipynb": [OURS, DECIDE]},
    ),
    "checks for each value": Case(
        "gate",
        "fanned-out",
        "gate/10_judge.ipynb",
        {"gate/10_judge.ipynb": [EACH, OURS, JUDGE]},
        "let a stage that runs once save `checks`",
        {
            "gate/10_judge.ipynb": [EACH, OURS, JUDGE.replace("checks", "parts")],
            "gate/20_all.ipynb": [OURS, "save('checks', load('parts'))"],
        },
        cell=3,
    ),
    "a stage that judges requires": Case(
        "gate",
        "early-require",
        "gate/10_judge.ipynb",
        {"gate/10_judge.ipynb": [OURS, JUDGE, "def f():\n    require(1, '')"]},
        "require it in the stage `decide`, which loads them, and not here",
        {"gate/10_judge.ipynb": [OURS, JUDGE]},
        cell=3,
    ),
    "decide judges": Case(
        "gate",
        "early-require",
        "gate/90_decide.ipynb",
        {"gate/10_judge.ipynb": None, "gate/90_decide.ipynb": [OURS, JUDGE, "require(1, '')"]},
        "save `checks` in a stage of its own",
        {"gate/10_judge.ipynb": [OURS, JUDGE], "gate/90_decide.ipynb": [OURS, DECIDE]},
        cell=3,
    ),
    "nobody decides": Case(
        "gate",
        "no-decide",
        "settings.ini",
        {"gate/90_decide.ipynb": None},
        "add a notebook `90_decide.ipynb`, which loads `checks` and requires",
        {"gate/90_decide.ipynb": [OURS, DECIDE]},
    ),
    "decide does not look": Case(
        "gate",
        "no-checks",
        "gate/90_decide.ipynb",
        {"gate/90_decide.ipynb": [OURS, "require(True, '')"]},
        'write `load("checks")` there, and require what they say',
        {"gate/90_decide.ipynb": [OURS, DECIDE]},
    ),
    "it decides for each value": Case(
        "gate",
        "fanned-out",
        "gate/90_decide.ipynb",
        {"gate/90_decide.ipynb": [EACH, OURS, DECIDE]},
        "remove its option `each`",
        {"gate/90_decide.ipynb": [("parameters", "depth: int = 1"), OURS, DECIDE]},
    ),
    "no candidate": Case(
        "gate",
        "no-candidate",
        "settings.ini",
        {"gate/10_judge.ipynb": [OURS, "save('checks', [])"]},
        'write `load("shop/model@candidate")` in one',
        {"gate/10_judge.ipynb": [OURS, JUDGE]},
    ),
}


def laid_out(root, stages, settings):
    "A project of a sound one's notebooks, and others in their place."
    whole = {name: cells for name, cells in {**SOUND, **stages}.items() if cells is not None}
    return write_project(root, whole, settings=settings, under=".").root


def errors(root):
    "What is wrong, by pipeline."
    project = read_project(root)
    return {name: read_pipeline(project, name).errors() for name in project.pipelines}


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_models_and_gates_with_a_fault_are_refused_where_it_is_and_their_mends_work(case, tmp_path):
    root = laid_out(tmp_path / "broken", case.stages, case.settings)
    found = errors(root)
    assert not found["alone"] and bool(found["shop"]) == (case.pipeline == "shop")
    (problem,) = {one for one in found[case.pipeline] if one.rule == case.rule}
    assert problem.file == case.file and case.mend in problem.mend
    assert (problem.cell, problem.cell_id) == (
        (case.cell, f"cell-{case.cell}") if case.cell else (None, None)
    )
    project = read_project(root)
    with pytest.raises(DefinitionError):
        require_sound(read_pipeline(project, case.pipeline))
    require_sound(read_pipeline(project, "alone"))
    mended = laid_out(tmp_path / "mended", {**case.stages, **case.mended}, SETTINGS)
    assert not any(errors(mended).values())


@pytest.mark.slow
@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_every_verb_says_what_is_wrong_with_a_model_and_others_run(case, tmp_path, mlnb):
    root = laid_out(tmp_path / "broken", case.stages, case.settings)
    (problem,) = {one for one in errors(root)[case.pipeline] if one.rule == case.rule}
    checked = mlnb("check", "--json", cwd=root)
    assert checked.code == 2 and problem.message in [one["message"] for one in checked.json["problems"]]
    assert problem.message in mlnb("check", case.pipeline, cwd=root).stderr
    refused = mlnb("run", case.pipeline, "--json", cwd=root)
    assert refused.code == 2 and problem.message in str(refused.json)
    assert mlnb("run", case.pipeline, "-n", cwd=root).code == 2
    assert mlnb("run", "alone", cwd=root).code == 0 and mlnb("status", cwd=root).code == 0
    assert mlnb("check", "alone", cwd=root).code == 0


def test_of_a_notebook_that_cannot_be_read_nothing_is_said_to_be_missing(tmp_path):
    broken = {"shop/20_limit.ipynb": [OURS, "save('limit'"], "gate/10_judge.ipynb": [OURS, "save("]}
    found = errors(laid_out(tmp_path, broken, SETTINGS))
    assert [[one.rule for one in found[name]] for name in ("shop", "gate")] == [
        ["syntax"],
        ["syntax", "no-saver"],
    ]
    project = read_project(tmp_path)
    require_sound(read_pipeline(project, "shop"), ["train"])


def test_a_gate_of_several_models_is_judged_for_each_of_them(tmp_path):
    second = SETTINGS + "[model.alone]\nartifact = alone/a\ngate = gate\n"
    root = laid_out(tmp_path / "one", {}, second)
    assert [one.rule for one in errors(root)["gate"]] == ["no-candidate"]
    both = JUDGE.replace("]", ", load('alone/a@candidate')]")
    assert not any(errors(laid_out(tmp_path / "two", {"gate/10_judge.ipynb": [OURS, both]}, second)).values())
