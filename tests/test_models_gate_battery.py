"""How often a gate is wrong, in worlds where it is known how good the models are. All of it is slow."""

import gate_battery as battery
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from mlnb.models.calibration import calibration_checks, scored_rows
from mlnb.models.non_inferiority import Demand, surely_above

pytestmark = pytest.mark.slow
SURE = 0.999  # of a share that is no more than it should be


def most(n, alpha):
    "More than these are surely too many."
    return binom.ppf(SURE, n, alpha) / n


@pytest.fixture(scope="module")
def passed():
    return battery.shares_that_pass(200)


def test_inferior_challenger_at_its_margin_passes_in_no_more_than_alpha(passed):
    assert max(passed.at_margin.values()) <= most(200, battery.ALPHA), passed.at_margin
    assert np.mean(list(passed.at_margin.values())) <= battery.ALPHA + 0.01
    assert passed.one_at_margin <= most(200, battery.ALPHA)


def test_equal_challenger_passes_ten_figures_more_often_than_not(passed):
    assert passed.equal >= 0.5
    assert battery.share_of_normal_figures(1_000) >= 0.5  # .537 where standard errors are known


def test_ten_tries_on_one_window_find_a_lucky_one_in_no_more_than_alpha():
    assert battery.share_with_a_lucky_try(300) <= most(300, battery.ALPHA)


@pytest.fixture(scope="module")
def censored():
    return battery.censored_world()


@pytest.mark.parametrize("name", ["counted as honest", "left out"])
def test_challenger_trained_on_censored_labels_is_refused_and_such_labels_are_noticed(censored, name):
    assert battery.censored_challengers(censored, name, 100) == (100, 100)


@pytest.mark.parametrize("constant", [0.0, "share of frauds", 0.5])
def test_constant_model_is_refused_by_ranking_and_by_calibration(censored, constant):
    score = censored["label"].mean() if isinstance(constant, str) else constant
    frame = censored.assign(constant=score)
    found = battery.drawn(frame, "constant", battery.ranked_figures, 100)
    floor = Demand("roc_auc", "ROC AUC", 0.7)
    assert surely_above(floor, found["roc_auc"], 0.01).verdict == "fail"
    rows = scored_rows(frame["label"], frame["constant"], frame["unit"])
    assert "fail" in {check.verdict for check in calibration_checks(rows, n_resamples=50)}


def test_windows_are_drawn_with_whole_cards():
    frame = pd.DataFrame({"unit": [1, 1, 2, 3], "x": [0, 1, 2, 3]})
    for window in battery._drawn_windows(frame, 5):
        assert {tuple(one) for _, one in window.groupby("unit")["x"]} <= {(0, 1), (2,), (3,)}
