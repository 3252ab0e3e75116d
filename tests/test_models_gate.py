"""What a gate demands: each figure against a slow reading of its definition, verdicts in both directions, and
documents that come back as they were."""

import json
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlnb.models.bootstrap import DrawnValue
from mlnb.models.bounds import bounds_of, level_of_try, p_value
from mlnb.models.calibration import (
    LEAST_SCORE,
    calibration_checks,
    cumulative_error,
    log_odds,
    recalibration_slope,
    scored_rows,
)
from mlnb.models.capacity import CaseWork, money_sums
from mlnb.models.label_origin import LabelledRows, counted_rows, labels_check
from mlnb.models.learnt_inputs import LearntFrom, first_unseen_day, input_types, inputs_check
from mlnb.models.non_inferiority import Demand, better_in, non_inferiority, surely_above
from mlnb.models.simultaneous import drawn_weights
from mlnb.models.support import support_check
from mlnb.store.errors import UsageError
from mlnb.store.gate_checks import GateCheck, gate_check, gate_verdict, read_checks, refusing_checks
from mlnb.store.verdict import WORDS, Verdict

ROOT = Path(__file__).resolve().parents[1]
few = settings(max_examples=12, deadline=None)


# documents

figures = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40)
names = st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z")


@few
@given(names, st.sampled_from(WORDS), st.lists(figures, min_size=5, max_size=5), st.text(max_size=40))
def test_check_through_json_is_equal_in_type_and_value(name, word, numbers, reason):
    parts = ("value", "low", "high", "limit", "smallest_seen")
    made = gate_check(name, Verdict(word, reason), **dict(zip(parts, numbers, strict=True)))
    again = read_checks(json.loads(json.dumps([made.as_dict()])))
    assert again == [made]
    assert {type(getattr(made, part)) for part in parts} <= {float, type(None)}


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), np.nan, None])
def test_figure_that_is_no_number_is_left_out(odd):
    assert gate_check("x", Verdict("ok", ""), value=odd).value is None


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        "ok",
        [1],
        [{"name": "x"}],
        [{"name": "x", "verdict": "good"}],
        [{"name": "X y", "verdict": "ok"}],
        [{"name": "x", "verdict": "ok", "value": float("inf")}],
        [{"name": "x", "verdict": "ok", "value": "1"}],
        [{"name": "x", "verdict": "ok"}] * 2,
    ],
)
def test_checks_of_another_form_are_none(plain):
    with pytest.raises(UsageError, match=r"checks|check 1 of the gate"):
        read_checks(plain)


@few
@given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_gate_refuses_whatever_failed_or_was_not_computable_and_nothing_else(words):
    checks = [gate_check(f"n{place}", Verdict(word, "why")) for place, word in enumerate(words)]
    is_refused = not words or bool({"fail", "not_computable"} & set(words))
    assert (gate_verdict(checks).word == "fail") == is_refused
    assert bool(refusing_checks(checks)) == (is_refused and bool(words))
    assert gate_verdict(checks).word != "ok" or set(words) == {"ok"}


# bounds

draws_of = st.integers(0, 10_000).map(lambda seed: np.random.default_rng(seed).normal(size=200))


@few
@given(draws_of, st.floats(-5, 5), st.floats(0.001, 0.4))
def test_bounds_move_with_the_figure_and_hold_it(drawn, shift, level):
    one, moved = bounds_of(DrawnValue(0.0, drawn), level), bounds_of(DrawnValue(shift, drawn + shift), level)
    assert one.low <= 0 <= one.high or abs(drawn.mean()) > 0.1
    assert_allclose(moved[:3], np.array(one[:3]) + shift, atol=1e-9)
    assert bounds_of(DrawnValue(0.0, drawn), level / 2).low <= one.low
    turned = bounds_of(DrawnValue(0.0, -drawn), level)
    assert_allclose((turned.low, turned.high), (-one.high, -one.low), atol=1e-9)


@few
@given(draws_of, st.floats(-1, 5), st.floats(0.01, 1), st.sampled_from([0.05, 0.01]))
def test_challenger_passes_just_when_its_bound_is_above_the_margin(drawn, value, margin, level):
    difference = DrawnValue(value, drawn + value)
    check = non_inferiority(Demand("x", "x", margin), difference, level)
    assert (check.verdict == "ok") == (bounds_of(difference, level).low > -margin)
    assert check.limit == -margin and (check.smallest_seen is not None) == (check.verdict == "ok")
    assert surely_above(Demand("x", "x", -margin), difference, level).verdict == check.verdict


@few
@given(draws_of, st.floats(-1, 6))
def test_surely_better_by_holm_means_at_least_surely_better_alone(drawn, value):
    found = {"a": DrawnValue(value, drawn + value), "b": DrawnValue(0.0, drawn)}
    better = better_in(found, 0.05)
    assert all(p_value(found[name]) <= 0.05 for name in better) and "b" not in better


@pytest.mark.parametrize("tries", [1, 5, 20])
def test_tries_share_one_level(tries):
    assert_allclose(level_of_try(0.05, tries) * tries, 0.05)


# calibration


def payments(seed, n=3_000, n_cards=400):
    draws = np.random.default_rng(seed)
    scores = np.clip(np.round(draws.beta(0.3, 6, n), 3), 0, 1)
    labels = (draws.random(n) < np.clip(scores * draws.uniform(0.5, 1.5), 0, 1)).astype(int)
    labels[:2] = 0, 1
    return labels, scores, draws.integers(0, n_cards, n)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_slope_is_that_of_a_logistic_regression_and_its_draws_nearly_so(seed):
    from sklearn.linear_model import LogisticRegression

    rows = scored_rows(*payments(seed))
    weights = drawn_weights(rows.n_units, 20, seed)
    found = recalibration_slope(rows, weights)
    odds = log_odds(rows.scores)[:, None]

    def refitted(counts):
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        return model.fit(odds, rows.labels, counts[rows.units]).coef_[0, 0]

    assert_allclose(found.value, refitted(np.ones(rows.n_units)), rtol=1e-4)
    again = [refitted(one) for one in weights]
    assert np.abs(found.drawn - again).mean() < 0.2 * np.std(again)
    assert_allclose(found.drawn.std(), np.std(again), rtol=0.2)


@few
@given(st.integers(0, 10_000))
def test_cumulative_error_is_the_largest_gap_of_its_definition_in_any_order(seed):
    labels, scores, cards = payments(seed, n=200, n_cards=30)
    gaps = [
        abs((labels[scores <= cut] - scores[scores <= cut]).sum()) / labels.sum() for cut in np.unique(scores)
    ]
    order = np.random.default_rng(seed).permutation(200)
    once = np.ones((1, len(np.unique(cards))))
    for mixed in (np.arange(200), order):
        rows = scored_rows(labels[mixed], scores[mixed], cards[mixed])
        assert_allclose(cumulative_error(rows, once).value, max(gaps), atol=1e-9)


@pytest.mark.parametrize("constant", [0.0, LEAST_SCORE, 0.008, 0.5, 1.0])
def test_model_that_always_says_the_same_fails(constant):
    draws = np.random.default_rng(0)
    labels = (draws.random(6_000) < 0.02).astype(int)
    rows = scored_rows(labels, np.full(6_000, constant), draws.integers(0, 900, 6_000))
    assert "fail" in {check.verdict for check in calibration_checks(rows, n_resamples=50)}


# money


def sums_by_definition(rows, work):
    totals = dict.fromkeys(("at_stake", "found", "spent", "passed", "right", "vain"), 0.0)
    for _, of_day in rows.groupby("day"):
        best = of_day.groupby("unit")["score"].max()
        queue = sorted((-score, unit) for unit, score in best.items() if score >= work.threshold)
        worked = {unit for _, unit in queue[: work.cases_a_day]}
        for unit in worked:
            is_right = of_day.loc[of_day["unit"] == unit, "label"].any()
            totals["right" if is_right else "vain"] += 1
            totals["spent"] += work.case_cost
        for row in of_day.itertuples():
            is_declined = row.unit in worked and row.score >= work.threshold
            totals["at_stake"] += row.amount * row.label
            totals["found"] += row.amount * row.label * is_declined
            totals["spent"] += work.decline_cost * (is_declined and not row.label)
            totals["passed"] += row.amount * (not is_declined)
    return totals


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([0.0, 0.5, 0.9, float("inf")]))
def test_money_is_that_of_a_slow_reading_in_any_order(seed, cases, threshold):
    draws = np.random.default_rng(seed)
    rows = pd.DataFrame({"unit": draws.integers(0, 12, 60), "day": draws.integers(0, 3, 60)})
    rows = rows.assign(score=draws.integers(0, 11, 60) / 10, label=draws.integers(0, 2, 60))
    rows = rows.assign(amount=draws.integers(0, 100, 60).astype(float))
    rows.loc[:1, "label"] = [0, 1]
    work = CaseWork(threshold, cases, 3.0, 2.0)
    for mixed in (rows, rows.sample(frac=1, random_state=seed)):
        found = {name: one.sum() for name, one in money_sums(mixed, work)._asdict().items()}
        assert_allclose(list(found.values()), list(sums_by_definition(rows, work).values()))


# labels


@pytest.fixture(scope="module")
def labelled():
    draws = np.random.default_rng(0)
    champion = draws.beta(0.3, 8, 8_000)
    labels = (draws.random(8_000) < champion).astype(float)
    return labels, champion, float(np.sort(champion)[-80])


@pytest.mark.parametrize("hidden", ["nothing", "as honest", "as unknown", "left out"])
@pytest.mark.parametrize("origin", ["all_known", "control", "not_stopped"])
def test_labels_judge_only_where_no_champion_changed_them(labelled, origin, hidden):
    labels, champion, cut = labelled
    stopped = champion >= cut
    control = np.random.default_rng(1).random(len(labels)) < 0.2
    taken = stopped & ~control if origin == "control" else stopped
    kept = ~taken if hidden == "left out" else np.ones(len(labels), dtype=bool)
    replaced = {"as honest": 0.0, "as unknown": np.nan}.get(hidden)
    seen = labels if replaced is None else np.where(taken, replaced, labels)
    rows = LabelledRows(seen[kept], champion[kept], cut, control[kept])
    check = labels_check(rows, origin)
    is_fine = (origin, hidden) in {
        ("all_known", "nothing"),
        ("control", "nothing"),
        ("control", "as honest"),
        ("control", "as unknown"),
    }
    assert check.verdict == ("ok" if is_fine else "not_computable"), check.reason
    counted = counted_rows(rows, origin)
    assert check.value == counted.sum()
    if check.verdict == "ok":
        truth = labels[kept][counted]
        assert (rows.labels[counted] == truth).all()


def test_labels_without_a_champion_are_taken_as_they_are_said(labelled):
    labels, _, _ = labelled
    assert labels_check(LabelledRows(labels, None), "all_known").verdict == "ok"
    assert labels_check(LabelledRows(labels, None), "not_stopped").verdict == "not_computable"


# support and inputs


@pytest.mark.parametrize(
    ("n_rows", "n_units", "word"),
    [(100, 50, "ok"), (99, 50, "not_computable"), (100, 49, "not_computable"), (0, 0, "not_computable")],
)
def test_support_counts_positive_rows_and_their_units(n_rows, n_units, word):
    units = np.concatenate([np.arange(n_rows) % max(n_units, 1), 1_000 + np.arange(200)])
    labels = np.concatenate([np.ones(n_rows), np.zeros(200)])
    assert support_check(labels, units).verdict == word


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows, ""),
        (lambda rows: rows.assign(more="x"), ""),
        (lambda rows: rows[["n", "amount"]], ""),
        (lambda rows: rows.drop(columns="n"), "`n` is missing"),
        (lambda rows: rows.astype({"n": "float64"}), "`n` is float64 and was int64"),
        (lambda rows: rows.astype({"amount": "str"}), "`amount` is str"),
        (lambda rows: rows.assign(amount=[1.0, np.nan]), "`amount` has 1 holes"),
        (lambda rows: pd.concat([rows, rows["n"]], axis=1), "`n` stands there 2 times"),
    ],
)
def test_inputs_differ_only_in_what_a_model_needs(change, said):
    rows = pd.DataFrame({"amount": [1.0, 2.0], "n": [1, 2]})
    check = inputs_check(input_types(rows, ["amount", "n"]), change(rows))
    assert check.verdict == ("fail" if said else "ok") and said in check.reason


@few
@given(st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_first_unseen_day_is_after_all_that_was_seen(days):
    learnt = [LearntFrom(first_day=0, last_day=0, seen_until=day, inputs={}) for day in days]
    assert first_unseen_day(learnt) == max(days) + 1
    assert [LearntFrom.from_dict(json.loads(json.dumps(one.as_dict()))) for one in learnt] == learnt


# the gate of the fraud model


def parameter_lines(notebook):
    cells = json.loads((ROOT / "nbs/pipelines/fraud_gate" / notebook).read_text())["cells"]
    return next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))


def test_gate_gives_the_reason_that_the_model_is_declared_with():
    settings_ = ConfigParser(inline_comment_prefixes=(";",))
    settings_.read(ROOT / "settings.ini")
    word, reason = settings_["model.fraud"]["groups"].split(": ", 1)
    assert word == "none" and f'no_groups: str = "{reason}"' in parameter_lines("30_data.ipynb")


def test_check_was_never_made_is_no_check_in_order():
    assert GateCheck(name="fairness", verdict="warn", reason="not judged: why").verdict != "ok"
