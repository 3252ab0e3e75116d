"""A model gets its number when the head moves, and is the candidate; nothing about it makes a run fail."""

import re

from mlnb.store.settings import find_project, project_store
from mlnb.store.versions import read_versions, version_place

SETTINGS = """[mlnb]
[pipeline.demo]
notebooks = nbs
[pipeline.gate]
notebooks = gate
[model.demo]
artifact = demo/model
gate = gate
"""
TRAIN = """from mlnb import metric, save
from sklearn.linear_model import LogisticRegression
model = LogisticRegression(C=c).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
metric("accuracy", 1.0)
save("model", model)"""


def test_runs_register_what_becomes_the_head_and_leave_a_candidate_of_hand_alone(make_project, mlnb):
    project = make_project(
        {"10_train.ipynb": [("parameters", "c: float = 1.0  # 0..9"), TRAIN]}, settings=SETTINGS
    )

    def model():
        (found,) = mlnb("model", "demo", "--json", cwd=project.root).json["models"]
        return [one["version"] for one in found["versions"]], found["aliases"]

    first = mlnb("run", "demo", cwd=project.root)
    assert first.code == 0 and "registered demo@1: `demo@candidate` means it now" in first.stdout
    tried = mlnb("run", "demo", "-p", "c", "0.5", cwd=project.root)
    assert tried.code == 0 and "registered" not in tried.stdout and model() == ([1], {"candidate": 1})
    (command,) = re.findall("`mlnb (model register demo@.*)` makes it the candidate", tried.stdout)
    made = mlnb(*command.split(), "--json", cwd=project.root)
    assert (made.code, made.json["version"], made.json["is_new"]) == (0, 2, True)
    assert model() == ([2, 1], {"candidate": 2})
    assert "is no version" not in mlnb("run", "demo", "-p", "c", "0.5", cwd=project.root).stdout
    assert mlnb("run", "demo", cwd=project.root).code == 0 and model() == ([2, 1], {"candidate": 2})
    compared = mlnb("model", "diff", "demo@1", "demo@candidate", "--json", cwd=project.root).json
    assert compared["parameters"] == [{"name": "c", "a": 1.0, "b": 0.5}] and compared["data"] == []
    shown = mlnb("model", "show", "demo@1", "--json", cwd=project.root).json
    assert shown["about"]["declared"]["gate"] == "gate" and shown["metrics"] == {"accuracy": 1.0}
    events = mlnb("audit", "events", "--event", "version", "--json", cwd=project.root).json["events"]
    assert [one["outcome"] for one in events] == ["registered", "registered"]

    store = project_store(find_project(project.root))
    assert len(read_versions(store, "demo")) == 2
    place = store.root / version_place("demo", 1)
    place.chmod(0o600)
    place.write_bytes(place.read_bytes()[:-9])
    project.settings(SETTINGS + "[profile.ci.demo]\nc = 2.0\n")
    (store.root / "refs/names/demo/model/candidate").rename(store.root / "gone")
    run = mlnb("run", "demo", cwd=project.root)
    assert run.code == 0 and "[model.demo]" in run.stdout and "damaged" in run.stdout
    assert mlnb("verify", cwd=project.root).code == 5
