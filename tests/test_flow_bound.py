"""A plan binds names of models to the versions under judgement, whatever their aliases mean now."""

import json

import pytest

from mlnb.flow.aliases import digest_named
from mlnb.flow.plan import make_plan
from mlnb.notebook.pipeline import read_pipeline
from mlnb.store.errors import UsageError
from mlnb.store.names import Name
from mlnb.store.settings import find_project, project_store

SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs
[pipeline.gate]
notebooks = gate
[model.demo]
artifact = demo/model
threshold = demo/threshold
gate = gate
"""
TRAIN = """from mlnb import save
from sklearn.linear_model import LogisticRegression
save("model", LogisticRegression(C=c).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]))
save("threshold", {"score": c})"""
JUDGE = """from mlnb import load, save
model, champion = load("demo/model@candidate"), load("demo/model@champion", default=None)
score = load("demo/threshold@candidate")["score"]
save("against", {"c": model.C, "of": champion and champion.C, "score": score})
save("checks", [])"""


@pytest.fixture
def project(make_project, mlnb):
    made = make_project(
        {"10_train.ipynb": [("parameters", "c: float = 1.0  # 0..9"), TRAIN]}, settings=SETTINGS
    )
    made.stage("gate/10_judge.ipynb", JUDGE)
    made.stage("gate/20_decide.ipynb", "from mlnb import load, require\nrequire(load('checks') == [], 'no')")
    assert mlnb("run", "demo", cwd=made.root).code == 0
    assert mlnb("run", "demo", "-p", "c", "2", cwd=made.root).code == 0
    assert mlnb("model", "register", "demo@latest", cwd=made.root).code == 0
    return made


def test_bound_names_mean_what_they_are_bound_to_and_thresholds_follow_their_models(project, mlnb):
    found = find_project(project.root)
    store = project_store(found)

    def value(name):
        out = project.root / f"{name.replace('/', '_')}.json"
        assert mlnb("get", name, "--out", out, cwd=project.root).code == 0
        return json.loads(out.read_text())

    first, second = (digest_named(store, "demo/model", number) for number in "12")
    assert digest_named(store, "demo/model", "candidate") == second
    assert mlnb("run", "gate", cwd=project.root).code == 0
    assert value("gate/against") == {"c": 2, "of": None, "score": 2}

    def inputs(bound):
        plan = make_plan(found, store, read_pipeline(found, "gate"), "default", {}, bound)
        return plan, {name: one.digest for name, one in plan.steps["judge"].inputs.items()}

    names = [Name("demo", "model", ref) for ref in ("candidate", "champion")]
    plan, given = inputs({names[0]: first, names[1]: second})
    assert given["demo/model@candidate"] == first and given["demo/model@champion"] == second
    assert given["demo/threshold@candidate"] == digest_named(store, "demo/threshold", "candidate")
    plan, given = inputs({names[0]: first, names[1]: None, Name("demo", "threshold", "candidate"): None})
    assert "demo/model@champion" not in given and isinstance(
        plan.missing["demo/threshold@candidate"], UsageError
    )
    assert "default=None" in plan.missing["demo/threshold@candidate"].mend
    assert plan.steps["judge"].state == "unknown"
    asked = mlnb("get", "demo/threshold@champion", cwd=project.root)
    assert asked.code == 2 and "`mlnb promote demo`" in asked.stderr
    assert value("demo/threshold@1") == {"score": 1}
