"""Money saved by a threshold, against counting payment by payment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.models.metrics import MetricError
from mlnb.models.threshold import best_threshold, savings, worth
from mlnb.store.errors import UsageError

payments = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.integers(0, 1), st.integers(0, 400).map(float)),
    min_size=1,
    max_size=40,
)


def saved_by_counting(rows, threshold, cost):
    return sum(amount * label - cost for score, label, amount in rows if score >= threshold)


@settings(max_examples=100, deadline=None)
@given(rows=payments, cost=st.integers(0, 50))
def test_savings_equal_counting_payment_by_payment(rows, cost):
    table = savings(*map(np.array, zip(*rows, strict=True)), n_days=2, cost=cost)
    assert table.saved.tolist() == pytest.approx(
        [saved_by_counting(rows, threshold, cost) for threshold in table.threshold]
    )
    assert table.alerts_per_day.tolist() == [
        sum(row[0] >= threshold for row in rows) / 2 for threshold in table.threshold
    ]


@settings(max_examples=100, deadline=None)
@given(rows=payments, cost=st.integers(0, 50), most=st.integers(0, 20))
def test_best_threshold_is_never_beaten_within_its_limit(rows, cost, most):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    chosen = best_threshold(savings(*columns, n_days=1, cost=cost), most_alerts=most)
    found = worth(chosen, *columns, n_days=1, cost=cost)
    assert found["alerts_per_day"] <= most and found["saved"] >= 0
    allowed = [
        saved_by_counting(rows, score, cost)
        for score in {row[0] for row in rows}
        if sum(row[0] >= score for row in rows) <= most
    ]
    assert found["saved"] == pytest.approx(max([0.0, *allowed]))


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [np.nan, 0.1]},
        {"labels": [0, 2]},
        {"amounts": [-1.0, 2.0]},
        {"amounts": [np.inf, 2.0]},
        {"scores": [0.1]},
    ],
)
def test_savings_of_bad_payments_are_refused(change):
    good = {"scores": [0.9, 0.1], "labels": [1, 0], "amounts": [10.0, 5.0]}
    with pytest.raises(MetricError):
        savings(**{name: np.array(values) for name, values in (good | change).items()}, n_days=1)


@pytest.mark.parametrize("wrong", [{"n_days": 0}, {"n_days": 1, "cost": -1.0}])
def test_savings_of_no_time_or_negative_cost_are_refused(wrong):
    with pytest.raises(UsageError):
        savings(np.array([0.9]), np.array([1]), np.array([10.0]), **wrong)
