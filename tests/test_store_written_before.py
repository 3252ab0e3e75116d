"""A store that an earlier commit wrote is still read: values, records, runs, log, remote
(tests/data/README.md says how it was made)."""

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from mlnb.cli import run_command

ARCHIVE = Path(__file__).parent / "data" / "store_before_rooms.tar.gz"
FRAME = pd.DataFrame({"day": range(5), "amount": [0.0, 0.25, 0.5, 0.75, 1.0]})


@pytest.fixture
def shop(tmp_path, monkeypatch):
    "The old project with its store, beside the remote that it pushed to; the working folder."
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (tmp_path / "shop" / ".mlnb").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def ask(capsys):
    "Exit code and document of a command."

    def answer(*arguments):
        capsys.readouterr()
        code = run_command([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return answer


@pytest.fixture
def runs(shop, ask):
    "Ids of its two runs, the older one first."
    return [run["run"] for run in reversed(ask("runs")[1]["runs"])]


def test_old_store_is_whole_and_its_log_is_signed(shop, ask):
    code, found = ask("verify")
    assert (code, found["clean"], found["objects"], found["tombstones"]) == (0, True, 19, [])
    code, log = ask("audit", "verify")
    assert (code, log["state"], log["entries"], log["signed_to"]) == (0, "ok", 4, 4)
    assert [event["event"] for event in ask("audit")[1]["events"]] == ["init", "run", "run", "push"]


def test_old_values_come_back_equal(shop, ask, runs):
    def value(name, suffix):
        assert ask("get", f"shop/{name}@{runs[0]}", "--out", f"{name}{suffix}")[0] == 0
        return shop / f"{name}{suffix}"

    pd.testing.assert_frame_equal(pd.read_parquet(value("rows", ".parquet")), FRAME)
    assert json.loads(value("about", ".json").read_text()) == {"a": "ä", "b": [1, 2.5, None]}
    from mlnb.flow.meaning import find_artifact
    from mlnb.store.artifacts import get_value
    from mlnb.store.settings import find_project, project_store

    project = find_project()
    store = project_store(project)
    model = find_artifact(store, project, f"shop/model@{runs[0]}", "default")
    assert get_value(store, model.value, shop).coef_ == pytest.approx([0.25])
    assert (model.record.stage, model.run) == ("model", runs[0])
    sizes = find_artifact(store, project, f"shop/size@{runs[0]}", "default").value
    assert (sizes.parameter, sizes.values) == ("fold", ("x", "y"))


def test_old_runs_answer_every_question(shop, ask, runs):
    assert ask("show", runs[0])[1]["stages"][0]["metrics"] == {"n_rows": 5}
    differs = ask("diff", *runs)[1]
    assert [(one["name"], one["a"], one["b"]) for one in differs["parameters"]] == [("days", 5, 7)]
    assert {stage["name"] for stage in ask("status")[1]["stages"]} == {"rows", "model", "part"}
    assert "never" not in {
        stage["state"] for stage in ask("status")[1]["stages"]
    }  # its records are found; packages may have moved on
    nodes = ask("lineage", "shop/model")[1]["nodes"]
    assert {"source", "partition", "stage", "artifact"} <= {node["kind"] for node in nodes}
    assert len(ask("artifacts", "shop/rows")[1]["artifacts"]) == 2


def test_old_remote_is_pulled_by_who_trusts_its_key(shop, ask, monkeypatch):
    fresh = shop.parent / "fresh"
    fresh.mkdir()
    (fresh / "settings.ini").write_text((shop / "settings.ini").read_text())
    monkeypatch.chdir(fresh)
    code, said = ask("pull")
    assert (code, said["records"], said["runs"], said["refused"]) == (0, 8, 2, [])
    assert ask("verify")[1]["clean"]


def test_old_remote_is_remembered_and_pushed_to_again(shop, ask):
    seen = shop / ".mlnb" / "refs" / "remotes" / "origin"
    assert [path.name for path in seen.rglob("*.json")] == ["00000001.json"]
    assert ask("pull")[1]["refused"] == []
    assert ask("audit", "verify")[1]["state"] == "ok"


def test_old_store_is_gone_on_with(shop, ask, runs):
    code, document = ask("run", "shop", "rows", "-p", "days", "3")
    assert (code, document["state"]) == (0, "committed")
    assert ask("runs")[1]["runs"][-1]["run"] == runs[0]
    assert ask("audit", "verify")[1]["state"] == "ok"
    assert ask("gc", "-n")[1]["moved"]["objects"] == 0
