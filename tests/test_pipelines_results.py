"""What the repository's own pipelines leave behind after one run under profile `ci`."""

import json

import nbformat
import pandas as pd
import pytest
from conftest import REPOSITORY
from jupyter_client.manager import start_new_kernel
from numpy.testing import assert_allclose
from stage_lives import OVERLAY, printed, truth

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns
from mlnb.monitor.fairness_change import fairness_change
from mlnb.store.artifacts import get_value
from mlnb.store.records import records_of
from mlnb.store.settings import project_store, read_project

TRANSACTIONS = {
    "TRANSACTION_ID": "int64",
    "TX_DATETIME": "datetime64[us]",
    "CUSTOMER_ID": "int64",
    "TERMINAL_ID": "int64",
    "TX_AMOUNT": "float64",
    "TX_TIME_SECONDS": "int64",
    "TX_TIME_DAYS": "int64",
    "TX_FRAUD": "int64",
    "TX_FRAUD_SCENARIO": "int64",
}
FEATURES = (
    {"TX_DURING_WEEKEND": "int64", "TX_DURING_NIGHT": "int64"}
    | {f"CUSTOMER_ID_{what}_{n}DAY_WINDOW": "float64" for n in (1, 7, 30) for what in ("NB_TX", "AVG_AMOUNT")}
    | {f"TERMINAL_ID_{what}_{n}DAY_WINDOW": "float64" for n in (1, 7, 30) for what in ("NB_TX", "RISK")}
)
FIGURES = ("roc_auc", "average_precision", "card_precision_100")
MONEY = {"alerts_per_day", "saved_per_day", "saved_share"}
WEEKS = ("weeks", "judge", "prequential")
ERROR_RATES = ("true_positive_rate", "false_positive_rate")
AGES = ("16 to 24", "25 to 34", "35 to 44", "45 to 54", "55 to 64", "65 or older")
VERDICTS = ("ok", "warn", "fail", "not_computable")


@pytest.fixture(scope="module")
def value(demo_project, tmp_path_factory):
    "Read an artifact of the run, once."
    store, read, files = project_store(read_project(demo_project.root)), {}, tmp_path_factory.mktemp("files")

    def of(written):
        if written not in read:
            pipeline, name = written.split("/")
            output = next(
                r.outputs[name]
                for stage in demo_project.runs[pipeline].json["stages"]
                for r in records_of(store, pipeline, stage["name"])
                if name in r.outputs
            )
            read[written] = get_value(store, output, files)
        return read[written]

    return of


@pytest.mark.parametrize(
    ("pipeline", "saved"),
    [
        (
            "fraud",
            {
                "ingest": {"raw_transactions", "stream"},
                "validate": {"transactions", "quarantined", "validation"},
                "features": {"features"},
                "train": {"model", "training"},
                "evaluate": {"evaluation", "threshold"},
                "weeks": {"weeks", "protocol", "week_features"},
                "judge": set(),
                "prequential": {"prequential"},
            },
        ),
        (
            "score",
            {
                "window": {"scored_transactions"},
                "features": {"scored_features"},
                "predict": {"predictions"},
                "explain": {"explanations"},
            },
        ),
        (
            "monitor",
            {
                "windows": {"reference", "current"},
                "quality": {"quality"},
                "drift": {"drift", "drift_report"},
                "performance": {"performance", "performance_report"},
            },
        ),
        (
            "employment",
            {
                "people": {"answers"},
                "validate": {"people", "quarantined", "validation"},
                "drift": {"drift"},
                "performance": {"performance"},
                "fairness": {"fairness", "fairness_changes"},
                "answer": {"answer"},
            },
        ),
    ],
)
def test_stages_commit_the_artifacts_of_the_contract(demo_project, pipeline, saved):
    document = demo_project.runs[pipeline].json
    assert (document["state"], document["exit_code"], document["head"]) == ("committed", 0, True)
    assert {e["name"]: set(e["outputs"]) for e in document["stages"]} == saved


def test_definitions_have_no_problem(demo_project, mlnb):
    result = mlnb("check", "--json", cwd=demo_project.root)
    assert (result.code, [p for p in result.json["problems"] if p["level"] == "error"]) == (0, [])


@pytest.mark.parametrize("name", ["fraud/transactions", "score/scored_transactions"])
def test_transactions_have_the_reference_columns(value, name):
    frame = value(name)
    assert frame.dtypes.astype(str).to_dict() == TRANSACTIONS and list(frame.columns) == list(TRANSACTIONS)
    assert (
        not frame.isna().any().any()
        and frame["TRANSACTION_ID"].is_monotonic_increasing
        and frame["TRANSACTION_ID"].is_unique
    )
    assert (
        frame["TX_DATETIME"]
        == pd.Timestamp("2018-04-01") + pd.to_timedelta(frame["TX_TIME_SECONDS"], unit="s")
    ).all()
    assert (frame["TX_TIME_DAYS"] == frame["TX_TIME_SECONDS"] // 86400).all()
    assert (frame["TX_FRAUD"] == (frame["TX_FRAUD_SCENARIO"] > 0)).all() and set(
        frame["TX_FRAUD_SCENARIO"]
    ) == {0, 1, 2, 3}
    assert frame["TX_AMOUNT"].ge(0).all() and frame.index.equals(pd.RangeIndex(len(frame)))


def test_transactions_are_the_stream_of_35_days_from_its_first(value):
    frame = value("fraud/transactions")
    assert (frame["TX_TIME_DAYS"].min(), frame["TX_TIME_DAYS"].max()) == (0, 34)
    assert frame["TRANSACTION_ID"].tolist() == list(range(len(frame)))
    assert len(frame) + len(value("fraud/quarantined")) == len(value("fraud/raw_transactions"))
    first = frame.iloc[0]
    assert (
        frame["CUSTOMER_ID"].nunique() > 4900,
        frame["TERMINAL_ID"].nunique() > 9000,
        str(first["TX_DATETIME"].date()),
    ) == (True, True, "2018-04-01")


@pytest.mark.parametrize(
    ("name", "rows"),
    [("fraud/features", "fraud/transactions"), ("score/scored_features", "score/scored_transactions")],
)
def test_features_are_the_same_rows_and_columns_and_then_the_fourteen(value, name, rows):
    frame, base = value(name), value(rows)
    columns = list(frame.columns)
    assert columns[:9] == list(TRANSACTIONS) and set(columns[9:23]) == set(FEATURES)
    assert {c: str(frame[c].dtype) for c in FEATURES} == FEATURES
    pd.testing.assert_frame_equal(
        frame[list(TRANSACTIONS)].reset_index(drop=True), base.reset_index(drop=True)
    )
    assert frame[list(FEATURES)].notna().all().all() and frame[list(FEATURES)].ge(0).all().all()
    for n in (1, 7, 30):
        assert (
            frame[f"CUSTOMER_ID_NB_TX_{n}DAY_WINDOW"].ge(1).all()
            and frame[f"TERMINAL_ID_RISK_{n}DAY_WINDOW"].le(1).all()
        )


def test_model_takes_the_fifteen_inputs_and_gives_probabilities(value):
    model, features = value("fraud/model"), value("fraud/features")
    inputs = ["TX_AMOUNT", *FEATURES]
    assert sorted(model.feature_names_in_) == sorted(inputs)
    probabilities = model.predict_proba(features[list(model.feature_names_in_)].head(50))
    assert probabilities.shape == (50, 2) and (abs(probabilities.sum(axis=1) - 1) < 1e-9).all()


def test_evaluation_and_metrics_carry_the_same_names_and_values(demo_project, value):
    names = (
        {f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")}
        | {"n_train", "n_test"}
        | MONEY
    )
    evaluation = value("fraud/evaluation")
    assert set(evaluation) == names
    assert demo_project.runs["fraud"].stage("evaluate")["metrics"] == evaluation
    for figure in FIGURES:
        assert 0 <= evaluation[f"{figure}_low"] <= evaluation[figure] <= evaluation[f"{figure}_high"] <= 1


def test_evaluation_of_the_forest_is_far_better_than_chance(value):
    evaluation, features = value("fraud/evaluation"), value("fraud/features")
    base_rate = features.loc[features["TX_TIME_DAYS"] >= 28, "TX_FRAUD"].mean()
    assert evaluation["average_precision_low"] > 10 * base_rate and evaluation["roc_auc_low"] > 0.8
    assert (
        evaluation["n_test"] < (features["TX_TIME_DAYS"] >= 28).sum()
        and evaluation["n_train"] == features["TX_TIME_DAYS"].between(14, 20).sum()
    )


def test_threshold_was_chosen_on_the_week_before_training_and_judged_on_the_test(value):
    from mlnb.fraud.split import split
    from mlnb.models.alerts import is_alert
    from mlnb.models.training import scores

    chosen, evaluation, test = (
        value("fraud/threshold"),
        value("fraud/evaluation"),
        split(value("fraud/features")).test,
    )
    assert (chosen["days"], chosen["alert_cost"], chosen["most_alerts"]) == ([7, 13], 5.0, None)
    alert = is_alert(scores(value("fraud/model"), test), chosen["score"])
    saved = (test["TX_AMOUNT"] * test["TX_FRAUD"])[alert].sum() - 5.0 * alert.sum()
    assert [evaluation["alerts_per_day"], evaluation["saved_per_day"]] == pytest.approx(
        [alert.sum() / 7, saved / 7]
    )


def test_no_prequential_weeks_cost_no_run_and_give_a_valid_answer(demo_project, value):
    assert (value("fraud/weeks"), value("fraud/protocol")) == (
        [],
        {"validation": [], "test": [], "train_days": 7, "champion_days": 28},
    )
    assert value("fraud/prequential") == {
        "validation": [],
        "test": [],
        "models": {},
        "chosen": None,
        "money": None,
    }
    judge = demo_project.runs["fraud"].stage("judge")
    assert (judge["each"], judge["attempts"], judge["outputs"]) == (None, 0, {})


def test_scored_window_follows_the_stream(value):
    history, window = value("fraud/transactions"), value("score/scored_transactions")
    assert (window["TX_TIME_DAYS"].min(), window["TX_TIME_DAYS"].max()) == (35, 41)
    assert window["TRANSACTION_ID"].min() > history["TRANSACTION_ID"].max()


def test_nothing_is_scored_before_the_gate_let_a_model_into_production(demo_project):
    said = demo_project.unpromoted
    assert said.code == 2 and "`mlnb promote fraud --profile ci`" in said.stderr
    promoted = demo_project.promotion.json
    assert (promoted["state"], promoted["version"], promoted["against"]) == ("promoted", 1, None)
    assert promoted["digest"] == demo_project.runs["fraud"].stage("train")["outputs"]["model"]


def test_predictions_are_a_log_of_what_was_scored_with_what_and_when(demo_project, value):
    predictions, window = value("score/predictions"), value("score/scored_transactions")
    assert list(predictions.columns) == [
        "TRANSACTION_ID",
        "CUSTOMER_ID",
        "TX_DATETIME",
        "score",
        "model_digest",
        "scored_run",
    ]
    assert predictions["TRANSACTION_ID"].tolist() == window["TRANSACTION_ID"].tolist()
    assert predictions["score"].between(0, 1).all() and predictions["score"].nunique() > 100
    assert set(predictions["model_digest"]) == {demo_project.runs["fraud"].stage("train")["outputs"]["model"]}
    assert set(predictions["scored_run"]) == {demo_project.runs["score"].json["run"]}
    inputs = value("fraud/model").feature_names_in_
    expected = value("fraud/model").predict_proba(value("score/scored_features")[list(inputs)].head(500))[
        :, 1
    ]
    assert predictions["score"].head(500).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_scores_tell_frauds_apart_in_the_scored_window(value):
    joined = value("score/predictions").merge(
        value("score/scored_transactions")[["TRANSACTION_ID", "TX_FRAUD"]], on="TRANSACTION_ID"
    )
    assert (
        joined.loc[joined["TX_FRAUD"] == 1, "score"].mean()
        > 5 * joined.loc[joined["TX_FRAUD"] == 0, "score"].mean()
    )


@pytest.mark.parametrize(
    "name",
    [f"monitor/{name}" for name in ("quality", "drift", "performance")]
    + [f"employment/{name}" for name in ("drift", "performance", "fairness", "fairness_changes")],
)
def test_answers_of_checks_have_verdict_reason_and_columns(value, name):
    found = value(name)
    assert {"verdict", "reason", "columns"} <= set(found)
    assert found["verdict"] in VERDICTS and isinstance(found["reason"], str) and found["reason"]
    assert found["columns"] and all(c["verdict"] in VERDICTS for c in found["columns"].values())
    json.dumps(found, allow_nan=False)


def test_monitoring_windows_are_the_test_week_and_the_scored_window(value):
    reference, current, features = (
        value("monitor/reference"),
        value("monitor/current"),
        value("fraud/features"),
    )
    assert (
        reference["TRANSACTION_ID"].tolist()
        == features.loc[features["TX_TIME_DAYS"] >= 28, "TRANSACTION_ID"].tolist()
    )
    assert current["TRANSACTION_ID"].tolist() == value("score/predictions")["TRANSACTION_ID"].tolist()
    assert {"score", "TX_FRAUD", "TX_AMOUNT", *FEATURES} <= set(reference.columns) & set(current.columns)
    assert reference["score"].between(0, 1).all()


@pytest.mark.parametrize("name", ["drift_report", "performance_report"])
def test_monitoring_reports_are_pages_of_evidently(value, name):
    page = value(f"monitor/{name}")
    text = page.read_text()
    assert page.suffix == ".html" and "<html" in text and "root_metric_" in text and len(text) > 1_000_000


# real people (data/README.md has their known answers)


def by_year(found):
    return [found["columns"][year] for year in ("2016", "2017", "2018")]


def rates(report, **group):
    "Selection rate, true and false positive rate of a group of a report."
    metrics = next(one["metrics"] for one in report["groups"] if one["group"] == group)
    return [metrics[name]["value"] for name in ("selection_rate", *ERROR_RATES)]


def test_drift_by_year_is_the_known_one_and_no_column_drifts(value):
    found = value("employment/drift")
    moved = {
        "AGEP": [0.0064, 0.0085, 0.0166],
        "SCHL": [0.0125, 0.0192, 0.0266],
        "ANC": [0.0297, 0.0402, 0.0504],
    }
    for name, expected in moved.items():
        assert_allclose([year["columns"][name]["value"] for year in by_year(found)], expected, atol=0.0001)
    assert (found["verdict"], found["reference"]) == ("ok", "2015")
    assert [(len(year["columns"]), year["drifted_share"]) for year in by_year(found)] == [(19, 0.0)] * 3


def test_performance_by_year_is_the_known_one_and_nothing_is_lost(value):
    found = value("employment/performance")
    areas = [year["columns"]["roc_auc"]["current"]["value"] for year in by_year(found)]
    assert_allclose(areas, [0.9020, 0.9051, 0.9057], atol=0.0001)
    base_rates = [year["rows"]["current"]["base_rate"] for year in by_year(found)]
    assert_allclose(base_rates, [0.5010, 0.5032, 0.5051], atol=0.0001)
    first = by_year(found)[0]
    assert_allclose(first["columns"]["roc_auc"]["reference"]["value"], 0.9034, atol=0.0001)
    assert_allclose(first["rows"]["reference"]["base_rate"], 0.4958, atol=0.0001)
    assert found["verdict"] == "ok"


def test_rates_by_sex_are_the_known_ones_and_small_groups_say_so(value):
    found = value("employment/fairness")["columns"]
    known = {
        ("2015", "male"): (0.5391, 0.8743, 0.1833),
        ("2015", "female"): (0.5374, 0.8627, 0.2394),
        ("2018", "male"): (0.5386, 0.8660, 0.1784),
        ("2018", "female"): (0.5340, 0.8555, 0.2281),
    }
    for (year, sex), expected in known.items():
        assert_allclose(rates(found[f"sex and disability, {year}"], SEX=sex), expected, atol=0.0001)
    races = {one["group"]["RAC1P"]: one for one in found["race, 2018"]["groups"]}
    assert races["Alaska Native"]["why"] == "n = 1" and races["Pacific Islander"]["why"] == "n = 27"
    assert set(races["Pacific Islander"]["metrics"].values()) == {None} and races["White"]["why"] is None
    assert {one["group"]["age"] for one in found["age, 2018"]["groups"]} == {*AGES}


def test_answer_is_not_to_retrain_and_not_to_decide_about_people(value):
    assert {
        name: value(f"employment/{name}")["verdict"] for name in ("validation", "fairness", "answer")
    } == {"validation": "ok", "fairness": "fail", "answer": "fail"}
    answer = value("employment/answer")
    assert (answer["retrain"], answer["decides_alone"]) == (False, False)
    assert answer["reason"].startswith("No reason to retrain: nothing is lost. Do not let it decide")


def test_codes_became_words_of_the_same_people(value):
    people, answers = value("employment/people"), value("employment/answers")
    codes = pd.read_csv(REPOSITORY / "data" / "acs_employment_codes.csv")
    assert len(people) == len(answers) == 277_677 and len(value("employment/quarantined")) == 0
    for name, of_column in codes.groupby("column"):
        words = dict(zip(of_column.code, of_column.meaning, strict=True))
        assert (people[name].astype("object") == answers[name].map(words)).all() and len(words) == len(
            {*words.values()}
        )
    assert (
        people.age.isna().sum() == 0
        and (people.AGEP[people.age == "16 to 24"].agg(["min", "max"]) == [16, 24]).all()
    )


def test_swapped_labels_of_one_group_are_seen_by_its_fairness_and_by_no_other(value):
    people = value("employment/people").query("year != 2016 and year != 2017")
    swapped = people.employed.where(people.NATIVITY != "foreign born", 1 - people.employed)
    first, sound = people[people.year == 2015], people[people.year == 2018]
    asked = FairnessColumns("employed", ["NATIVITY"], "prediction")
    before, now, wrong = (
        fairness(rows, asked, n_resamples=200) for rows in (first, sound, sound.assign(employed=swapped))
    )
    gaps = (
        {(gap.metric, gap.kind): gap.verdict for gap in now.gaps},
        {(gap.metric, gap.kind): gap.verdict for gap in wrong.gaps},
    )
    assert [one["true_positive_rate", "difference"] for one in gaps] == ["ok", "fail"]
    assert fairness_change(before, now).verdict == "ok"
    moved = fairness_change(before, wrong)
    assert moved.verdict == "fail"
    failed = {(one.group["NATIVITY"], one.metric) for one in moved.changes if one.verdict == "fail"}
    assert failed == {("foreign born", name) for name in ERROR_RATES}


def test_another_first_year_makes_stale_what_looks_at_years(demo_project, mlnb):
    asked = ("run", "employment", "--profile", "ci", "-p", "first_year", "2016", "-n", "--json")
    result = mlnb(*asked, cwd=demo_project.root)
    stale = {name for name, state in result.states.items() if state != "cached"}
    assert stale == {"drift", "performance", "fairness", "answer"}


# the notebooks that were run


def test_notebooks_of_the_record_hold_outputs_and_no_path_of_the_machine(demo_project):
    from mlnb.store.objects import get

    store = project_store(read_project(demo_project.root))
    for pipeline, result in demo_project.runs.items():
        for entry in result.json["stages"]:
            if entry["key"] is None:
                continue  # a fan-out without values runs no notebook
            (record,) = records_of(store, pipeline, entry["name"])
            executed = get(store, record.notebook).decode()
            assert str(demo_project.root) not in json.dumps(json.loads(executed)["metadata"])
            assert any(c.get("outputs") for c in json.loads(executed)["cells"])
            assert get(store, record.source) == (demo_project.root / record.file).read_bytes()


def test_second_run_runs_nothing(demo_project, mlnb):
    for pipeline in demo_project.runs:
        again = mlnb("run", pipeline, "--profile", "ci", "--json", cwd=demo_project.root)
        assert (again.code, set(again.states.values())) == (0, {"cached"})


def test_editing_prose_and_comments_of_every_stage_runs_nothing(demo_project, mlnb):
    originals = {p: p.read_bytes() for p in (demo_project.root / "nbs/pipelines").rglob("*.ipynb")}
    try:
        for path, data in originals.items():
            notebook = json.loads(data)
            for cell in notebook["cells"]:
                text = "".join(cell["source"])
                cell["source"] = text + (
                    "\n# a remark" if cell["cell_type"] == "code" else "\n\nAnother sentence."
                )
            path.write_text(json.dumps(notebook))
        found = mlnb("status", "--profile", "ci", "--json", cwd=demo_project.root).json["stages"]
        stale = [s for s in found if s["state"] != "fresh" and s["pipeline"] in demo_project.runs]
        assert {(s["pipeline"], s["name"]): s["why"] for s in stale} == {}
    finally:
        for path, data in originals.items():
            path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "text", "stale"),
    [
        ("max_depth", "3", {"train", "evaluate"}),
        ("train_days", "8", {"train", "evaluate", *WEEKS}),
        ("min_lift", "2.5", {"evaluate"}),
        ("alert_cost", "6", {"evaluate", "prequential"}),
        ("days", "36", {"ingest", "validate", "features", "train", "evaluate", *WEEKS}),
        ("max_bad_share", "0.02", {"validate", "features", "train", "evaluate", *WEEKS}),
    ],
)
def test_changing_a_parameter_makes_stale_exactly_what_uses_it(demo_project, mlnb, name, text, stale):
    result = mlnb("run", "fraud", "--profile", "ci", "-p", name, text, "-n", "--json", cwd=demo_project.root)
    assert (result.code, {n for n, s in result.states.items() if s != "cached"}) == (0, stale)


def test_changing_max_depth_runs_train_and_evaluate_and_going_back_runs_nothing(demo_project, mlnb):
    result = mlnb(
        "run",
        "fraud",
        "--profile",
        "ci",
        "-p",
        "max_depth",
        "3",
        "-p",
        "n_estimators",
        "10",
        "--json",
        cwd=demo_project.root,
    )
    assert result.code == 0, result.stderr
    assert result.states == {
        "ingest": "cached",
        "validate": "cached",
        "features": "cached",
        "train": "committed",
        "evaluate": "committed",
        **dict.fromkeys(WEEKS, "cached"),
    }
    assert result.json["head"] is False
    assert (
        result.stage("evaluate")["metrics"]["average_precision"]
        != demo_project.runs["fraud"].stage("evaluate")["metrics"]["average_precision"]
    )
    assert set(
        mlnb("run", "score", "--profile", "ci", "-n", "--json", cwd=demo_project.root).states.values()
    ) == {"cached"}
    assert set(mlnb("run", "fraud", "--profile", "ci", "--json", cwd=demo_project.root).states.values()) == {
        "cached"
    }


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-p", "days", "20"), "21"),
        (("-p", "days", "40", "-p", "train_days", "28"), "42"),
        (("-p", "days", "184"), "183"),
        (("-p", "train_days", "0"), "1"),
    ],
)
def test_too_few_days_are_refused_with_the_least_number(demo_project, mlnb, arguments, word):
    result = mlnb("run", "fraud", *arguments, "--json", cwd=demo_project.root)
    assert result.code == 2 and word in result.json["problems"][0]["message"]


# other lives of their stages


def test_repository_stage_by_plain_papermill(demo_project, papermill, mlnb, tmp_path):
    before = truth(demo_project.root)
    code, said, notebook = papermill(
        "--cwd",
        demo_project.root / "nbs/pipelines/monitor",
        demo_project.root / "nbs/pipelines/monitor/20_quality.ipynb",
        cwd=demo_project.root,
        out=tmp_path / "out.ipynb",
        MLNB_PROFILE="ci",
    )
    assert code == 0, said
    run = demo_project.runs["monitor"].json["run"]
    for name in ("reference", "current"):
        assert f"{name}: from run {run} of monitor" in printed(notebook)
    assert "quality: kept in your overlay" in printed(notebook)
    mine = json.loads((demo_project.root / OVERLAY / "monitor/quality.json").read_text())
    assert mine["digest"] == demo_project.runs["monitor"].stage("quality")["outputs"]["quality"]
    assert truth(demo_project.root) == before


def test_repository_stage_in_the_stock_kernel_as_jupyterlab_starts_it(demo_project, outside_environment):
    folder = demo_project.root / "nbs/pipelines/score"
    before = truth(demo_project.root)
    notebook = nbformat.read(folder / "30_predict.ipynb", 4)
    manager, client = start_new_kernel(
        kernel_name="python3", cwd=str(folder), env=outside_environment(MLNB_PROFILE="ci")
    )
    said = []
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                reply = client.execute_interactive(
                    cell.source, timeout=300, output_hook=lambda m: said.append(m["content"].get("text", ""))
                )
                assert reply["content"]["status"] == "ok", (cell.source, reply["content"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    text = "".join(said)
    assert f"fraud/model@champion: from run {demo_project.runs['fraud'].json['run']} of fraud" in text
    assert f"scored_features: from run {demo_project.runs['score'].json['run']} of score" in text
    assert "predictions: kept in your overlay" in text
    assert (demo_project.root / OVERLAY / "score/predictions.json").exists()
    assert truth(demo_project.root) == before


def test_gate_shows_what_its_candidate_looks_at(demo_project, tmp_path):
    from mlnb.fraud.features import INPUTS
    from mlnb.models.partial_dependence import ModelExplanation

    store = project_store(read_project(demo_project.root))
    output = records_of(store, "fraud_gate", "explanation")[0].outputs["explanation"]
    told = ModelExplanation.from_dict(get_value(store, output, tmp_path))
    assert sorted(name for one in told.importance for name in one.inputs) == sorted(INPUTS)
    assert [one.value for one in told.importance] == sorted(
        (one.value for one in told.importance), reverse=True
    )
    assert {told.importance[0].name, told.importance[1].name} == {"amount", "terminal_frauds"}
    assert told.importance[0].low > 0 and 100 < told.n_cards < told.n_rows <= 8_000
    assert all(0 <= score <= 1 for one in told.partial_dependence for score in one.score)


def test_ten_alerts_are_explained_in_words_that_add_up_to_their_scores(value):
    from mlnb.models.reason_codes import ExplainedAlerts

    told = ExplainedAlerts.from_dict(value("score/explanations"))
    predictions = value("score/predictions").set_index("TRANSACTION_ID")["score"]
    assert (told.why_not, len(told.alerts)) == ("", 10)
    assert [one.score for one in told.alerts] == sorted(predictions, reverse=True)[:10]
    for one in told.alerts:
        reasons = [*one.reasons.raising, *one.reasons.lowering]
        assert one.score == predictions[one.id] >= told.threshold and one.reasons.raising
        whole = one.reasons.base + sum(reason.part for reason in reasons) + one.reasons.rest
        assert whole == pytest.approx(one.score, abs=1e-9)
        assert all(reason.words and "no words" not in reason.words for reason in reasons)
