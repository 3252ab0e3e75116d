"""The pipeline `employment` on a tenth of its people, with a fault put into them: what must stop it does, and
what must be told is told."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.slow
CHECKS = ("validation", "drift", "performance", "fairness", "fairness_changes")


def unknown_code(people):
    return people.assign(RAC1P=people.RAC1P.where(people.index % 50 != 0, 10).astype("int8"))


def shifted_codes(people):
    return people.assign(MIL=((people.MIL + 1) % 5).astype("int8"))


def no_column(people):
    return people.drop(columns="NATIVITY")


def swapped_labels(people):
    is_meant = (people.year == 2018) & (people.NATIVITY == 2)
    return people.assign(employed=people.employed.where(~is_meant, 1 - people.employed))


def worn_model(people):
    "The scores of two in five people of 2018 are those of somebody else: a loss without drift."
    draws = np.random.default_rng(0)
    is_meant = (people.year == 2018) & (draws.random(len(people)) < 0.4)
    scores = people.predicted_probability.where(~is_meant, draws.permutation(people.predicted_probability))
    return people.assign(predicted_probability=scores, prediction=(scores >= 0.5).astype("int8"))


def other_people(people):
    "Nine in ten of 2018 who named one ancestry name several."
    is_meant = (people.year == 2018) & (people.ANC == 1) & (people.index % 10 != 0)
    return people.assign(ANC=people.ANC.where(~is_meant, 2).astype("int8"))


@pytest.fixture
def run_with(tmp_path, mlnb):
    "Run the pipeline with a fault in its people; gives the result and a reader of artifacts."
    shutil.copy(REPOSITORY / "settings.ini", tmp_path)
    shutil.copytree(REPOSITORY / "nbs/pipelines/employment", tmp_path / "nbs/pipelines/employment")
    for other in ("fraud", "score", "monitor"):
        (tmp_path / "nbs/pipelines" / other).mkdir()
    shutil.copytree(REPOSITORY / "data", tmp_path / "data")
    file = tmp_path / "data/acs_employment_ma.parquet"
    people = pd.read_parquet(file)[::10].reset_index(drop=True)

    def read(name):
        out = tmp_path / f"{name}.json"
        result = mlnb("get", f"employment/{name}", "--profile", "ci", "--out", out, cwd=tmp_path)
        assert result.code == 0, result.stderr
        return json.loads(out.read_text())

    def run(fault):
        fault(people).to_parquet(file)
        return mlnb("run", "employment", "--profile", "ci", "--json", cwd=tmp_path), read

    return run


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        (unknown_code, 3, "break at least one of"),
        (shifted_codes, 3, "MIL = 0 below 17 does not hold"),
        (no_column, 1, "column `NATIVITY` is missing"),
    ],
)
def test_people_that_cannot_be_right_stop_the_pipeline(run_with, fault, code, said):
    result, _ = run_with(fault)
    assert result.code == code and said in result.stdout
    assert {name for name, state in result.states.items() if state == "skipped"} == {
        "drift",
        "performance",
        "fairness",
        "answer",
    }


@pytest.mark.parametrize(
    ("fault", "alarms", "said"),
    [
        (lambda people: people, set(), "No reason to retrain: nothing is lost. Do not let"),
        (swapped_labels, {"performance", "fairness_changes"}, "that has changed over the years"),
        (worn_model, {"performance", "fairness_changes"}, "Look into retraining: the model may have lost"),
        (other_people, {"drift"}, "No reason to retrain: nothing is lost, although columns drifted"),
    ],
    ids=["as they are", "swapped labels", "worn model", "other people"],
)
def test_answer_follows_from_what_the_checks_found(run_with, fault, alarms, said):
    result, read = run_with(fault)
    assert result.code == 0, result.stderr
    found = {name: read(name)["verdict"] for name in CHECKS}
    assert {name for name, verdict in found.items() if verdict != "ok"} == alarms | {"fairness"}, found
    answer = read("answer")
    assert said in answer["reason"]
    assert answer["retrain"] == ("performance" in alarms)
