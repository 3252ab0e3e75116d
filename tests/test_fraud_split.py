"""The time-based split against a slow reading of its definition, and against the published counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.model import train_on_payments
from mlnb.fraud.simulator import simulate
from mlnb.fraud.split import is_known, least_days, split
from mlnb.models.metrics import average_precision, card_precision, roc_auc
from mlnb.models.training import classifier, scores
from mlnb.store.errors import UsageError


def stream(n_days, n_cards, seed, fraud_share=0.1):
    draws = np.random.default_rng(seed)
    days = np.sort(np.append(draws.integers(0, n_days, 40 * n_days), [0, n_days - 1]))
    return pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(days)),
            "CUSTOMER_ID": draws.integers(0, n_cards, len(days)),
            "TX_TIME_DAYS": days,
            "TX_FRAUD": (draws.random(len(days)) < fraud_share).astype(int),
        }
    )


def kept_by_definition(features, train_start, train_days, test_start, test_days, delay_days):
    "Day by day, card by card, as the protocol is worded."
    window = features[features.TX_TIME_DAYS.between(train_start, train_start + train_days - 1)]
    known, kept = set(window[window.TX_FRAUD == 1].CUSTOMER_ID), []
    for k in range(test_days):
        reported = features[
            (test_start + k - delay_days - 1 == features.TX_TIME_DAYS) & (features.TX_FRAUD == 1)
        ]
        known |= set(reported.CUSTOMER_ID)
        today = features[test_start + k == features.TX_TIME_DAYS]
        kept += today[~today.CUSTOMER_ID.isin(known)].TRANSACTION_ID.tolist()
    return kept


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    train_days=st.integers(1, 9),
    delay_days=st.integers(0, 8),
    spare=st.integers(0, 5),
    fraud_share=st.sampled_from([0.0, 0.01, 0.2]),
)
def test_split_random_streams_equals_the_definition(seed, train_days, delay_days, spare, fraud_share):
    n_days = least_days(train_days, delay_days) + spare
    features = stream(n_days, 60, seed, fraud_share)
    for start in (None, train_days + delay_days):
        fold = split(features, train_days, delay_days, test_start_day=start)
        expected = kept_by_definition(
            features, fold.train_start_day, train_days, fold.test_start_day, 7, delay_days
        )
        assert fold.test.TRANSACTION_ID.tolist() == expected
        assert fold.train.TX_TIME_DAYS.between(
            fold.train_start_day, fold.train_start_day + train_days - 1
        ).all()
        assert (
            fold.n_train
            == (
                features.TX_TIME_DAYS.between(fold.train_start_day, fold.train_start_day + train_days - 1)
            ).sum()
        )


def test_split_shortest_stream_is_accepted_and_one_day_less_refused():
    assert split(stream(22, 30, 0), train_days=8).train_start_day == 0
    with pytest.raises(UsageError, match="at least 22") as caught:
        split(stream(21, 30, 0), train_days=8)
    assert "22" in caught.value.mend
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("start", [-1, 13, 24, 99])
def test_split_test_outside_the_stream_is_refused_with_the_possible_days(start):
    with pytest.raises(UsageError, match="from 14 to 23"):
        split(stream(30, 30, 0), test_start_day=start)


def test_split_stream_that_does_not_begin_at_day_zero_counts_its_own_days():
    features = stream(21, 30, 1)
    later = features.assign(TX_TIME_DAYS=features.TX_TIME_DAYS + 100)
    assert split(later).test_start_day == 114
    assert split(later).test.TRANSACTION_ID.tolist() == split(features).test.TRANSACTION_ID.tolist()


def test_split_foreign_index_and_order_keep_rows_and_columns():
    features = stream(25, 30, 2).set_index(pd.Index(np.arange(1000, 2002)[::-1], name="row"))
    fold = split(features)
    pd.testing.assert_frame_equal(fold.test, features.loc[fold.test.index])
    assert fold.test.TRANSACTION_ID.is_monotonic_increasing


def test_is_known_without_frauds_is_false_everywhere():
    features = stream(10, 5, 3, fraud_share=0.0)
    assert not is_known(features, 0).any()


@pytest.mark.slow
def test_split_published_stream_gives_published_counts_and_figures():
    features = add_features(simulate(183))
    fold = split(features, train_days=7, test_start_day=129)
    assert fold.train.TX_DATETIME.dt.strftime("%m-%d").agg(["min", "max"]).tolist() == ["07-25", "07-31"]
    assert fold.test.TX_DATETIME.dt.strftime("%m-%d").agg(["min", "max"]).tolist() == ["08-08", "08-14"]
    assert (fold.n_train, fold.train.TX_FRAUD.sum()) == (67_240, 598)
    assert (fold.n_test, fold.test.TX_FRAUD.sum()) == (58_264, 385)
    published = {
        ("logistic", None): (0.871, 0.606, 0.291),
        ("tree", 2): (0.763, 0.496, 0.241),
        ("tree", None): (0.788, 0.309, 0.243),
        ("forest", None): (0.867, 0.658, 0.287),
    }
    for (kind, depth), expected in published.items():
        model = train_on_payments(classifier(kind, max_depth=depth), fold.train, INPUTS, threads=2)
        judged = (fold.test.TX_FRAUD, scores(model, fold.test), fold.test.CUSTOMER_ID)
        found = [
            roc_auc(*judged, n_resamples=2).value,
            average_precision(*judged, n_resamples=2).value,
            card_precision(*judged, fold.test.TX_TIME_DAYS, n_resamples=2).value,
        ]
        np.testing.assert_allclose(found, expected, atol=0.004, err_msg=f"{kind} {depth}")
