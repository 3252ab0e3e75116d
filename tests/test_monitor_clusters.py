"""Clusters of two windows: a card of both is one that was looked at twice, and chance keeps to its level."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlnb.monitor.clusters import Clusters, clusters_in, noise_of_categories, sizes_of_numbers
from mlnb.monitor.drift import Sampling, drift
from mlnb.monitor.measures import Rows, number_distance
from mlnb.monitor.oddities import far_beyond


def payments(seed, cards, n_rows=8):
    "Rows of some cards, each with a habit that is its own in every window."
    draw, habits = np.random.default_rng(seed), np.random.default_rng(0).normal(size=1000)
    card = np.repeat(cards, n_rows)
    rate = draw.poisson(5, len(cards)).repeat(n_rows) / 5
    return pd.DataFrame({"card": card, "amount": habits[card] + draw.normal(size=len(card)) / 3 + rate / 20})


SAME = np.arange(120), np.arange(120)
OTHERS = np.arange(120), np.arange(120, 240)


def moved(cards, seed, sampling):
    frames = [payments([seed, place], one) for place, one in enumerate(cards)]
    return drift(*frames, ["amount"], sampling=sampling)["columns"]["amount"]


def test_cards_of_both_windows_are_less_of_an_accident_than_other_cards():
    same, others = (moved(cards, 0, Sampling("card")) for cards in (SAME, OTHERS))
    assert same["smallest_seen"] < others["smallest_seen"] and same["noise"] < others["noise"] / 1.5


@pytest.mark.parametrize("cards", [SAME, OTHERS], ids=["same", "others"])
def test_chance_stays_within_its_level_by_cards(cards):
    p_values = [moved(cards, seed, Sampling("card"))["p_value"] for seed in range(20)]
    assert sum(p < 0.05 for p in p_values) <= 4  # more has a probability of .003


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 9))
def test_effective_sizes_are_between_one_and_all_rows(seed, n_clusters, n_levels):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(40, 90, 2)
    clusters = [clusters_in(pd.DataFrame({"c": draw.integers(0, n_clusters, size)}), "c") for size in sizes]
    levels = [draw.integers(0, n_levels, size) for size in sizes]
    numbers = sizes_of_numbers([one.astype(float) for one in levels], clusters)
    noise = noise_of_categories(levels, n_levels, clusters)
    for n, m in (numbers, noise[:2]):
        assert np.all(np.array([n, m]) <= sizes + 1e-9) and min(n, m) > 0
        assert_allclose(n / m, sizes[0] / sizes[1])
    assert 0 < noise.freedom <= n_levels - 1 + 1e-9


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_names_without_a_match_are_as_good_as_none(seed):
    draw = np.random.default_rng(seed)
    values = [draw.normal(size=60), draw.normal(size=80)]
    codes = [draw.integers(0, 9, 60), draw.integers(0, 9, 80)]
    bare = [Clusters(one, 9) for one in codes]
    named = [one._replace(names=pd.Index([f"{at}{n}" for n in range(9)])) for at, one in enumerate(bare)]
    assert sizes_of_numbers(values, bare) == sizes_of_numbers(values, named)


def test_rows_without_a_name_are_never_the_same_card():
    frame = pd.DataFrame({"card": [None] * 40 + [*range(40)], "amount": [1.0] * 40 + [2.0] * 40})
    found = drift(frame, frame, ["amount"], sampling=Sampling("card"))["columns"]["amount"]
    nobody = drift(frame, frame, ["amount"])["columns"]["amount"]
    assert found["noise"] > 2 * nobody["noise"]


def test_rows_that_count_equally_count_once():
    frame = payments(0, np.arange(60))
    rows = [Rows(clusters_in(frame, "card")), Rows(clusters_in(frame.assign(card=frame.card + 60), "card"))]
    halved = rows[0]._replace(weights=np.full(len(frame), 0.5))
    sizes = [number_distance(frame.amount, frame.amount, [one, rows[1]])[2:4] for one in (rows[0], halved)]
    assert_allclose(*sizes)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from([1.0, 1e-300, 1e300, 1e308]))
def test_far_beyond_is_the_same_at_both_ends_and_in_every_unit(seed, unit):
    draw = np.random.default_rng(seed)
    before, now = draw.normal(size=50), np.append(draw.normal(size=45), draw.normal(size=5) * 100)
    ends = [far_beyond([before * one, now * one], [Rows(), Rows()]) for one in (unit / 1e3, -unit / 1e3)]
    plain = far_beyond([before, now], [Rows(), Rows()])
    assert {one.distance for one in ends} == {plain.distance} and ends[0].p_value == plain.p_value


def test_heavy_tails_are_far_beyond_no_more_often_than_is_stated():
    draw = np.random.default_rng(0)
    windows = [(draw.standard_cauchy(60), draw.standard_cauchy(40)) for _ in range(400)]
    p_values = np.array([far_beyond(both, [Rows(), Rows()]).p_value for both in windows])
    assert all((p_values <= level).mean() <= level for level in (0.2, 0.05, 0.01))
