"""Folds against the published split, and what a longer training may and may not change."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.model import train_on_payments, weeks_of_payments
from mlnb.fraud.prequential import figures_of_week, fold, mean_figures, prequential, weeks_before, weeks_from
from mlnb.fraud.simulator import simulate
from mlnb.fraud.split import split
from mlnb.models.bootstrap import difference_intervals, mean_intervals, weighted_means
from mlnb.models.metrics import MetricError
from mlnb.models.training import classifier, scores
from mlnb.store.errors import UsageError


def stream(n_days, n_cards, seed):
    draws = np.random.default_rng(seed)
    days = np.sort(np.append(draws.integers(0, n_days, 40 * n_days), [0, n_days - 1]))
    return pd.DataFrame(
        {
            "CUSTOMER_ID": draws.integers(0, n_cards, len(days)),
            "TX_TIME_DAYS": days,
            "TX_FRAUD": (draws.random(len(days)) < 0.1).astype(int),
        }
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), train_days=st.integers(1, 20))
def test_fold_whatever_training_judges_the_same_transactions(seed, train_days):
    features = stream(40, 30, seed)
    part = fold(features, 33, train_days=train_days)
    pd.testing.assert_frame_equal(part.test, split(features, test_start_day=33).test)
    assert part.train.TX_TIME_DAYS.between(26 - train_days, 25).all()
    assert part.n_train == features.TX_TIME_DAYS.between(26 - train_days, 25).sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), n_days=st.integers(21, 40))
def test_fold_equal_lengths_is_the_published_split(seed, n_days):
    features = stream(n_days, 30, seed)
    ours, theirs = fold(features, n_days - 7), split(features)
    pd.testing.assert_frame_equal(ours.train, theirs.train)
    pd.testing.assert_frame_equal(ours.test, theirs.test)


@settings(max_examples=50, deadline=None)
@given(first=st.integers(60, 200), n_folds=st.integers(1, 6), delay=st.integers(0, 14))
def test_weeks_before_end_a_delay_before_the_test(first, n_folds, delay):
    weeks = weeks_before(first, n_folds, delay_days=delay)
    assert weeks[-1] + 7 + delay == first and len(weeks) == n_folds
    assert all(np.diff(weeks) == 7)


@pytest.mark.parametrize("start", [13, 34, -1])
def test_fold_outside_the_stream_is_refused(start):
    with pytest.raises(UsageError, match="cannot start"):
        fold(stream(40, 30, 0), start)


def test_prequential_training_never_sees_the_delay_or_the_test():
    seen = []
    prequential(
        stream(40, 30, 0),
        weeks_from(20, 2),
        lambda train: seen.append(train.TX_TIME_DAYS.max()),
        lambda model, test: np.arange(len(test)),
        10,
    )
    assert seen == [12, 19]


def test_mean_figures_are_the_plain_mean_of_weeks():
    features = stream(40, 30, 1)
    judged = prequential(
        features,
        weeks_from(19, 3),
        lambda train: None,
        lambda model, test: np.random.default_rng(0).random(len(test)),
    )
    assert mean_figures(judged)["roc_auc"] == pytest.approx(judged.roc_auc.mean())


def frames(seed=0, n=1500):
    draws = np.random.default_rng(seed)
    tests = [
        pd.DataFrame(
            {
                "CUSTOMER_ID": draws.integers(0, 200, n),
                "TX_TIME_DAYS": start + draws.integers(0, 7, n),
                "TX_FRAUD": (draws.random(n) < 0.03).astype(int),
            }
        )
        for start in (0, 7, 14)
    ]
    return tests, [test.TX_FRAUD.to_numpy() * 2 + draws.normal(size=n) for test in tests]


def test_bootstrap_with_every_card_once_is_the_mean_of_the_weeks():
    tests, scored = frames()
    weeks = weeks_of_payments(tests, scored)
    means = weighted_means(weeks, np.ones(weeks[0].n_units, dtype=int))
    expected = mean_figures(
        pd.DataFrame([figures_of_week(test, score) for test, score in zip(tests, scored, strict=True)])
    )
    np.testing.assert_allclose([means[name] for name in expected], list(expected.values()), rtol=1e-12)


def test_bootstrap_card_drawn_twice_counts_twice_in_every_week():
    tests, scored = frames()
    weeks = weeks_of_payments(tests, scored)
    weights = np.random.default_rng(1).integers(0, 3, weeks[0].n_units)
    names = np.unique(np.concatenate([test.CUSTOMER_ID for test in tests]))
    copies = [
        np.repeat(np.arange(len(test)), weights[np.searchsorted(names, test.CUSTOMER_ID)]) for test in tests
    ]
    expected = np.mean(
        [
            figures_of_week(test.iloc[rows], score[rows])["average_precision"]
            for test, score, rows in zip(tests, scored, copies, strict=True)
        ]
    )
    assert weighted_means(weeks, weights)["average_precision"] == pytest.approx(expected, rel=1e-12)


def test_bootstrap_same_seed_same_intervals_and_paired_difference_of_a_model_with_itself_is_zero():
    weeks = weeks_of_payments(*frames())
    assert mean_intervals(weeks, 20, seed=3) == mean_intervals(weeks, 20, seed=3)
    assert all(gain == (0.0, 0.0, 0.0) for gain in difference_intervals(weeks, weeks, 5).values())


def test_bootstrap_scores_of_other_length_are_refused():
    tests, scored = frames()
    with pytest.raises(MetricError, match="do not belong together"):
        weeks_of_payments(tests, [scored[0][:-1], *scored[1:]])


@pytest.mark.slow
def test_published_table_comes_back():
    features = add_features(simulate(183))
    part = fold(features, 129)
    loaded = features[features.TX_TIME_DAYS.between(115, 135)]
    assert (len(loaded), loaded.TX_FRAUD.sum()) == (201_295, 1_792)
    assert (part.n_train, part.train.TX_FRAUD.sum(), part.n_test, part.test.TX_FRAUD.sum()) == (
        67_240,
        598,
        58_264,
        385,
    )
    published = {
        ("logistic", None): (0.606, 0.291, 0.871),
        ("tree", 2): (0.496, 0.241, 0.763),
        ("tree", None): (0.309, 0.243, 0.788),
    }
    for (kind, depth), expected in published.items():
        found = figures_of_week(
            part.test,
            scores(train_on_payments(classifier(kind, max_depth=depth), part.train, INPUTS), part.test),
        )
        np.testing.assert_allclose(list(found.values()), expected, atol=0.003, err_msg=f"{kind} {depth}")
