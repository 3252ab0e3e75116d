"""The prequential weeks of the fraud pipeline: a fan-out over a list that a stage publishes, small here and
at full size in the slow part."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.model import train_on_payments
from mlnb.fraud.prequential import figures_of_week, fold, weeks_before, weeks_from
from mlnb.fraud.simulator import simulate
from mlnb.models.threshold import best_threshold, savings
from mlnb.models.training import classifier, scores

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = {
    "days": 49,
    "n_customers": 300,
    "n_terminals": 400,
    "n_weeks": 2,
    "champion_days": 7,
    "n_estimators": 5,
    "models": '["forest", "champion"]',
}
WEEKS = [14, 21, 35, 42]


def options(**values):
    return [text for name, value in values.items() for text in ("-p", name, value)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("weeks")
    shutil.copy(REPOSITORY / "settings.ini", root)
    shutil.copytree(
        REPOSITORY / "nbs" / "pipelines",
        root / "nbs" / "pipelines",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    return root


@pytest.fixture(scope="module")
def small(project, mlnb):
    result = mlnb("run", "fraud", "--json", *options(**SMALL), cwd=project)
    assert result.code == 0, result.stderr + result.stdout
    return result


@pytest.fixture(scope="module")
def read(project, mlnb, tmp_path_factory):
    "Read an artifact of a run through `get`."

    def of(result, name):
        out = tmp_path_factory.mktemp("out") / "value"
        assert mlnb("get", f"fraud/{name}@{result.json['run']}", "--out", out, cwd=project).code == 0
        return json.loads(out.read_text()) if out.read_bytes()[:4] != b"PAR1" else pd.read_parquet(out)

    return of


def units(result):
    return {(e["name"], e["each"]["week"] if e["each"] else None): e["state"] for e in result.json["stages"]}


def test_weeks_are_run_one_by_one_and_gathered(small, read):
    assert {each for name, each in units(small) if name == "judge"} == set(WEEKS) and set(
        units(small).values()
    ) == {"committed"}
    assert read(small, "weeks") == WEEKS == [*weeks_before(35, 2), *weeks_from(35, 2)]
    figures = read(small, "week_figures")
    assert (
        figures["week"].tolist() == [week for week in WEEKS for _ in range(2)]
        and figures["model"].tolist() == ["forest", "champion"] * 4
    )
    assert list(read(small, "week_scores").columns) == [
        "TRANSACTION_ID",
        "CUSTOMER_ID",
        "TX_TIME_DAYS",
        "TX_AMOUNT",
        "TX_FRAUD",
        "forest",
        "champion",
        "week",
    ]


def test_weeks_are_judged_as_by_hand(small, read):
    features, scored, figures = (
        add_features(simulate(49, 300, 400)),
        read(small, "week_scores"),
        read(small, "week_figures"),
    )
    for week in WEEKS:
        part, mine = fold(features, week), scored[scored["week"] == week]
        assert mine["TRANSACTION_ID"].tolist() == part.test["TRANSACTION_ID"].tolist()
        expected = scores(
            train_on_payments(classifier("forest", n_estimators=5, max_depth=20), part.train, INPUTS),
            part.test,
        )
        assert mine["forest"].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
        row = figures[(figures["week"] == week) & (figures["model"] == "forest")].iloc[0]
        assert (row["n_train"], row["n_test"]) == (part.n_train, part.n_test)
        assert {name: row[name] for name in figures_of_week(part.test, expected)} == pytest.approx(
            figures_of_week(part.test, expected)
        )


def test_summary_chooses_on_validation_weeks_and_judges_on_the_test(small, read):
    found, figures, scored = (
        read(small, "prequential"),
        read(small, "week_figures"),
        read(small, "week_scores"),
    )
    assert (found["validation"], found["test"]) == (WEEKS[:2], WEEKS[2:])
    means = {
        stage: figures[figures["week"].isin(weeks)].groupby("model")["average_precision"].mean()
        for stage, weeks in (("validation", WEEKS[:2]), ("test", WEEKS[2:]))
    }
    assert found["chosen"] == means["validation"].idxmax()
    for name, model in found["models"].items():
        sure = model["test"]["average_precision"]
        assert (model["validation"]["average_precision"], sure["value"]) == pytest.approx(
            (means["validation"][name], means["test"][name])
        )
        assert sure["low"] < sure["value"] < sure["high"]
    before, after = (scored[scored["week"].isin(weeks)] for weeks in (WEEKS[:2], WEEKS[2:]))
    assert found["money"]["threshold"] == best_threshold(
        savings(before[found["chosen"]], before["TX_FRAUD"], before["TX_AMOUNT"], 14, 5.0)
    )
    assert (
        found["money"]["alerts_per_day"] == (after[found["chosen"]] >= found["money"]["threshold"]).sum() / 14
    )
    assert found["money"]["saved_per_day"] <= found["money"]["best_saved_per_day"]
    assert (
        small.stage("prequential")["metrics"]["average_precision"]
        == found["models"][found["chosen"]]["test"]["average_precision"]["value"]
    )


def test_second_run_runs_nothing_and_a_cost_concerns_only_the_summary(small, project, mlnb):
    again = mlnb("run", "fraud", "--json", *options(**SMALL), cwd=project)
    assert set(units(again).values()) == {"cached"}
    dearer = mlnb("run", "fraud", "-n", "--json", *options(**SMALL, alert_cost=9), cwd=project)
    assert {name for (name, _), state in units(dearer).items() if state != "cached"} == {
        "evaluate",
        "prequential",
    }
    fewer = mlnb("run", "fraud", "-n", "--json", *options(**SMALL | {"models": '["forest"]'}), cwd=project)
    assert {
        each for (name, each), state in units(fewer).items() if name == "judge" and state == "stale"
    } == set(WEEKS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_weeks": 3}, "the weeks need days -14 to 48"),
        ({"champion_days": 8}, "the weeks need days -1 to 48"),
        ({"first_week": 42}, "the weeks need days 7 to 55"),
    ],
)
def test_weeks_that_do_not_fit_into_the_stream_stop_the_pipeline(small, project, mlnb, changed, said):
    result = mlnb("run", "fraud", "--to", "weeks", "--json", *options(**SMALL | changed), cwd=project)
    assert (result.code, result.stage("weeks")["kind"]) == (3, "require")
    assert (
        said in result.stage("weeks")["error"]["evalue"]
        and "simulate a longer stream" in result.stage("weeks")["error"]["evalue"]
    )


@pytest.mark.parametrize(
    ("name", "value"), [("models", '["boosting"]'), ("n_weeks", 9), ("alert_cost", -1), ("first_week", 43)]
)
def test_bad_values_are_refused_before_a_kernel_starts(project, mlnb, name, value):
    result = mlnb("run", "fraud", "--json", *options(**SMALL | {name: value}), cwd=project)
    assert result.code == 2 and f"`{name}`" in result.json["problems"][0]["message"]


@pytest.mark.slow
def test_profile_full_is_the_published_stream_and_beats_the_published_means(project, mlnb, read):
    result = mlnb("run", "fraud", "--profile", "full", "--json", cwd=project, timeout=3 * 360)
    assert (result.code, result.json["head"]) == (0, True), result.stderr
    transactions, features = read(result, "transactions"), read(result, "features")
    assert (
        len(transactions) == len(features) == 1_754_155
        and list(features.columns[:9]) == list(transactions.columns)
        and list(features.columns[9:23]) == list(INPUTS[1:])
    )
    assert transactions["TX_FRAUD_SCENARIO"].value_counts().drop(0).sort_index().tolist() == [
        973,
        9_077,
        4_631,
    ]
    figures = read(result, "week_figures").query("model == 'forest' and week >= 129")
    assert figures[["n_train", "n_test", "n_test_frauds"]].iloc[0].tolist() == [67_240, 58_264, 385]
    assert figures["n_test"].tolist() == [58_264, 57_937, 58_337, 57_604]
    found = read(result, "prequential")
    assert (found["validation"], found["test"], found["chosen"]) == (
        [94, 101, 108, 115],
        [129, 136, 143, 150],
        "champion",
    )
    published = {"logistic": 0.623, "forest": 0.678, "tree_2": 0.542, "tree_3": 0.579, "tree": 0.334}
    assert {
        name: found["models"][name]["test"]["average_precision"]["value"] for name in published
    } == pytest.approx(published, abs=0.003)
    champion = found["models"]["champion"]["test"]
    assert champion["average_precision"]["low"] > 0.687
    assert [
        champion[name]["value"] > best
        for name, best in (("average_precision", 0.687), ("card_precision", 0.305), ("roc_auc", 0.879))
    ] == [True] * 3
    assert found["money"]["saved_per_day"] > 0.99 * found["money"]["best_saved_per_day"]
    assert max(e["peak_mib"] for e in result.json["stages"]) < 3 * 4096
