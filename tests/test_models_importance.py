"""What a model would lose without an input, and how its score moves: against what can be worked out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from mlnb.models.importance import JudgedRows, Shuffling, importances, sample_of_units
from mlnb.models.metrics import MetricError
from mlnb.models.partial_dependence import Effort, ModelExplanation, dependence, explanation, points_of
from mlnb.models.training import scores
from mlnb.store.errors import UsageError

NAMES = ["a", "b", "<script>"]


@pytest.fixture(scope="module")
def judged():
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(draw.normal(size=(800, 3)), columns=NAMES)
    frame["twin"] = frame["a"]
    labels = (frame["a"] + 0.5 * frame["b"] + draw.normal(size=800) > 1.5).to_numpy().astype(int)
    return JudgedRows(frame, labels, np.arange(800) // 4)


@pytest.fixture(scope="module")
def linear(judged):
    return LogisticRegression().fit(judged.features[NAMES], judged.labels)


def by_name(found):
    return {one.name: one for one in found}


def test_what_a_model_does_not_use_is_worth_exactly_nothing(judged):
    model = LogisticRegression().fit(judged.features[NAMES], judged.labels)
    model.coef_[0, 2] = 0.0
    found = by_name(importances(model, judged, {name: [name] for name in NAMES}, Shuffling(n_resamples=20)))
    assert found["<script>"].as_dict() == {
        "name": "<script>",
        "inputs": ["<script>"],
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
    }
    assert found["a"].value > found["b"].value > 0


def test_without_anything_left_the_figure_is_that_of_chance(judged, linear):
    (all_of_it,) = importances(linear, judged, {"all": NAMES}, Shuffling(n_repeats=5, n_resamples=20))
    known = average_precision_score(judged.labels, scores(linear, judged.features))
    assert all_of_it.value == pytest.approx(known - judged.labels.mean(), abs=0.04)
    assert all_of_it.low < all_of_it.value < all_of_it.high


def test_single_inputs_agree_with_scikit_learn(judged, linear):
    ours = by_name(
        importances(
            linear, judged, {name: [name] for name in NAMES}, Shuffling("roc_auc", n_repeats=8, n_resamples=2)
        )
    )
    theirs = permutation_importance(
        linear, judged.features[NAMES], judged.labels, scoring="roc_auc", n_repeats=8, random_state=0
    )
    np.testing.assert_allclose([ours[name].value for name in NAMES], theirs.importances_mean, atol=0.02)


def test_the_same_seed_gives_the_same_figures_in_any_order_of_groups(judged, linear):
    quick = Shuffling(n_resamples=10)
    groups = {"one": ["a"], "two": ["b", "<script>"]}
    found = importances(linear, judged, groups, quick)
    assert found == importances(linear, judged, dict(reversed(groups.items())), quick)
    assert found != importances(linear, judged, groups, Shuffling(n_resamples=10, seed=1))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"one": ["aa"]}, {"one": ["a"]}),
        ({"one": []}, {}),
        ({"one": ["a"], "two": ["a"]}, {"one": ["a"]}),
        ({"one": ["a", "a"]}, {"one": ["a"]}),
    ],
)
def test_groups_that_make_no_sense_are_refused_and_the_mend_works(judged, linear, wrong, right):
    quick = Shuffling(n_repeats=1, n_resamples=1)
    with pytest.raises(UsageError) as caught:
        importances(linear, judged, wrong, quick)
    assert caught.value.mend
    assert [one.name for one in importances(linear, judged, right, quick)] == list(right)


def test_one_class_cannot_be_judged(judged, linear):
    with pytest.raises(MetricError, match="nothing to tell apart"):
        importances(linear, JudgedRows(judged.features, judged.labels * 0, judged.units), {"one": ["a"]})


@settings(max_examples=30)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 3))
def test_a_sample_holds_whole_units_in_order(units, most, seed):
    rows = JudgedRows(pd.DataFrame({"n": range(len(units))}), np.zeros(len(units)), np.array(units))
    taken = sample_of_units(rows, most, seed)
    kept = set(taken.units.tolist())
    assert taken.features["n"].tolist() == [n for n, unit in enumerate(units) if unit in kept]
    assert len(taken.labels) <= most or len(kept) == 1
    assert len(taken.labels) >= 1


# partial dependence


@settings(max_examples=50)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.integers(4, 12))
def test_points_are_values_that_occur_and_are_few(values, most):
    points = points_of(np.array(values), most)
    assert set(points.tolist()) <= {one + 0.0 for one in values}
    assert len(points) <= max(most, 4) and (np.diff(points) > 0).all()


@pytest.mark.parametrize("kind", ["linear", "forest", "vote"])
def test_curves_are_mean_scores_with_the_input_set(judged, kind):
    X = judged.features[NAMES]
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(X, judged.labels)
    linear = LogisticRegression().fit(X, judged.labels)
    vote = VotingClassifier([("f", FrozenEstimator(forest)), ("l", FrozenEstimator(linear))], voting="soft")
    model = {"linear": linear, "forest": forest, "vote": vote.fit(X, judged.labels)}[kind]
    curve = dependence(model, judged.features, "a", at=[-1.0, 0.0, 1.0, 50.0], most_rows=200)
    moved = judged.features.iloc[::4]
    expected = [scores(model, moved.assign(a=one)).mean() for one in curve.at]
    np.testing.assert_allclose(curve.score, expected, atol=1e-12)
    assert curve.share[-1] == 0.0 and sum(curve.share) <= 1.0


def test_whole_numbers_are_no_other_matter(judged):
    frame = judged.features.assign(a=judged.features["a"].round().astype("int64"))
    model = LogisticRegression().fit(frame[NAMES], judged.labels)
    curve = dependence(model, frame, "a")
    assert curve.at == sorted({float(one) for one in frame["a"]})
    assert sum(curve.share) == pytest.approx(1.0)


def test_an_explanation_is_what_it_is_when_read_again(judged, linear):
    effort = Effort(400, 2, Shuffling(n_repeats=1, n_resamples=5))
    made = explanation(linear, judged, {"one": ("a",), "two": ("b", "<script>")}, effort)
    assert (made.n_rows, made.n_cards, len(made.partial_dependence)) == (400, 100, 2)
    assert ModelExplanation.from_dict(made.as_dict()) == made
    assert made == explanation(linear, judged, {"two": ("b", "<script>"), "one": ("a",)}, effort)
    assert [one.value for one in made.importance] == sorted(
        (one.value for one in made.importance), reverse=True
    )


@pytest.mark.parametrize("n_rows", [0, 1, 4])
def test_rows_that_cannot_judge_explain_nothing_and_stop_nobody(judged, linear, n_rows):
    few = JudgedRows(judged.features.head(n_rows), np.zeros(n_rows, int), judged.units[:n_rows])
    made = explanation(linear, few, {"one": ("a",)})
    assert (made.n_rows, made.importance, made.partial_dependence) == (n_rows, [], [])
