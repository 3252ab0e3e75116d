"""Metrics against scikit-learn, against a slow reading of Card Precision@k, and their intervals against
theory."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, roc_auc_score

from mlnb.models.metrics import (
    Interval,
    MetricError,
    average_precision,
    card_precision,
    card_precision_by_day,
    interval,
    rank,
    roc_auc,
    weighted_average_precision,
    weighted_roc_auc,
)


def judged(seed, n=400, n_cards=60, n_levels=20, fraud_share=0.15, n_days=4):
    draws = np.random.default_rng(seed)
    labels = (draws.random(n) < fraud_share).astype(int)
    labels[:2] = 0, 1
    scores = np.round(np.clip(0.3 * labels + draws.random(n), 0, 1) * n_levels) / n_levels
    return labels, scores, draws.integers(0, n_cards, n), np.sort(draws.integers(0, n_days, n))


def card_precision_by_definition(labels, scores, cards, days, k):
    frame = pd.DataFrame({"label": labels, "score": scores, "card": cards, "day": days})
    caught, shares = set(), {}
    for day in sorted(set(days)):
        best = {}
        for row in frame[frame.day == day].itertuples():
            score, label = best.get(row.card, (-np.inf, 0))
            best[row.card] = (max(score, row.score), max(label, row.label))
        ranked = sorted(
            (card for card in best if card not in caught), key=lambda card: (-best[card][0], card)
        )[:k]
        hits = {card for card in ranked if best[card][1]}
        caught |= hits
        shares[day] = len(hits) / k
    return shares


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_levels=st.sampled_from([1, 2, 20, 10_000]))
def test_curves_random_card_weights_equal_sklearn_with_sample_weights(seed, n_levels):
    labels, scores, cards, _ = judged(seed, n_levels=n_levels)
    ranking = rank(labels, scores, cards)
    names, numbers = np.unique(cards, return_inverse=True)
    weights = np.random.default_rng(seed).integers(0, 4, len(names))
    drawn = weights[numbers]
    if len(set(labels[drawn > 0])) == 2:
        assert_allclose(
            weighted_roc_auc(ranking, weights), roc_auc_score(labels, scores, sample_weight=drawn), atol=1e-12
        )
        assert_allclose(
            weighted_average_precision(ranking, weights),
            average_precision_score(labels, scores, sample_weight=drawn),
            atol=1e-12,
        )
    else:
        assert np.isnan(weighted_roc_auc(ranking, weights)) and np.isnan(
            weighted_average_precision(ranking, weights)
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 70), n_levels=st.sampled_from([1, 3, 1000]))
def test_card_precision_random_days_equals_the_definition(seed, k, n_levels):
    labels, scores, cards, days = judged(seed, n_levels=n_levels)
    expected = card_precision_by_definition(labels, scores, cards, days, k)
    assert_allclose(card_precision_by_day(labels, scores, cards, days, k).to_numpy(), list(expected.values()))
    assert_allclose(
        card_precision(labels, scores, cards, days, k, n_resamples=2).value, np.mean(list(expected.values()))
    )


def test_card_precision_rows_in_another_order_gives_the_same():
    labels, scores, cards, days = judged(5)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    assert card_precision(labels, scores, cards, days, 5) == card_precision(
        labels[shuffled], scores[shuffled], cards[shuffled], days[shuffled], 5
    )


def test_figures_perfect_scores_reach_their_maximum():
    labels, _, cards, days = judged(1)
    assert roc_auc(labels, labels, cards) == Interval(1.0, 1.0, 1.0)
    assert average_precision(labels, labels, cards) == Interval(1.0, 1.0, 1.0)
    assert card_precision_by_day(labels, labels, cards, days, 1).iloc[0] == 1.0


def test_figures_same_seed_same_interval_and_other_seed_another():
    labels, scores, cards, _ = judged(2)
    assert roc_auc(labels, scores, cards, seed=1) == roc_auc(labels, scores, cards, seed=1)
    assert roc_auc(labels, scores, cards, seed=1) != roc_auc(labels, scores, cards, seed=2)


def test_interval_of_frauds_that_share_cards_is_wider_than_of_independent_rows():
    draws = np.random.default_rng(0)
    cards = np.repeat(np.arange(100), 20)
    labels = np.repeat((np.arange(100) < 20).astype(int), 20)
    scores = np.repeat(draws.random(100), 20) + 0.3 * labels
    by_card, by_row = roc_auc(labels, scores, cards), roc_auc(labels, scores, np.arange(2000))
    assert by_card.value == by_row.value
    assert by_card.high - by_card.low > 3 * (by_row.high - by_row.low)


def test_interval_covers_the_truth_about_as_often_as_promised():
    covered = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed).random(300) < 0.3
        found = interval(drawn.mean(), lambda w, drawn=drawn: np.average(drawn, weights=w), 300, seed=seed)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_interval_leaves_out_draws_without_a_figure():
    found = interval(0.5, lambda w: 0.5 if w[0] else float("nan"), n_units=2)
    assert found == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "figure", [roc_auc, average_precision, lambda *a: card_precision(*a, days=np.zeros(len(a[0])))]
)
@pytest.mark.parametrize(
    ("labels", "scores", "cards", "said"),
    [
        ([], [], [], "no rows"),
        ([0, 0], [0.1, 0.2], [1, 2], "all 2 labels are 0"),
        ([1, 1], [0.1, 0.2], [1, 2], "all 2 labels are 1"),
        ([0, 1], [0.1, np.nan], [1, 2], "1 of 2 scores are missing or infinite"),
        ([0, 1], [0.1, np.inf], [1, 2], "1 of 2 scores are missing or infinite"),
        ([0, 2], [0.1, 0.2], [1, 2], "neither 0 nor 1"),
        ([0, np.nan], [0.1, 0.2], [1, 2], "neither 0 nor 1"),
        ([0, 1], [0.1], [1, 2], "do not belong together"),
        ([0, 1], [0.1, 0.2], [1], "do not belong together"),
    ],
)
def test_figures_of_what_cannot_be_judged_say_why_and_what_to_do(figure, labels, scores, cards, said):
    with pytest.raises(MetricError, match=said) as caught:
        figure(labels, scores, cards)
    assert caught.value.mend


def test_figures_pandas_series_with_foreign_index_are_taken_by_position():
    labels, scores, cards, days = judged(3)
    index = pd.Index(np.arange(len(labels))[::-1])
    series = [pd.Series(values, index=index) for values in (labels, scores, cards, days)]
    assert card_precision(*series, k=5) == card_precision(labels, scores, cards, days, k=5)
    assert roc_auc(*series[:3]) == roc_auc(labels, scores, cards)
