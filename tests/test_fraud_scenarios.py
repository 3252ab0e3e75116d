"""Drift scenarios: only what they say they change, from their day on, the same for a day and for the whole
stream."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from mlnb.fraud.scenarios import (
    SCENARIOS,
    add_merchant_category,
    apply_scenarios,
    compromise_chain,
    delay_labels,
    inflate_amounts,
    known_labels,
    null_column,
)
from mlnb.fraud.simulator import simulate
from mlnb.store.errors import UsageError

CHANGED = {
    "compromise_chain": {"TX_FRAUD", "TX_FRAUD_SCENARIO"},
    "inflate_amounts": {"TX_AMOUNT"},
    "add_merchant_category": {"MERCHANT_CATEGORY"},
    "null_column": {"TX_AMOUNT"},
    "delay_labels": {"LABEL_DATETIME"},
}
OPTIONS = {name: {"column": "TX_AMOUNT"} if name == "null_column" else {} for name in SCENARIOS}


@pytest.fixture(scope="module")
def stream():
    return simulate(20, 150, 400)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_leaves_other_columns_and_earlier_days_alone(stream, name):
    before = stream.copy()
    changed = apply_scenarios(stream, {name: {"from_day": 12, **OPTIONS[name]}})
    assert_frame_equal(stream, before)
    same = [column for column in stream if column not in CHANGED[name]]
    assert_frame_equal(changed[same], stream[same], check_exact=True)
    assert set(changed) - set(stream) <= CHANGED[name]
    early = stream["TX_TIME_DAYS"] < 12
    known = [column for column in stream if column in CHANGED[name]]
    assert_frame_equal(changed.loc[early, known], stream.loc[early, known], check_exact=True)
    late = sorted(CHANGED[name] & set(stream))
    assert not late or not changed.loc[~early, late].equals(stream.loc[~early, late])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(SCENARIOS)), st.integers(0, 22), st.integers(0, 19))
def test_scenario_by_day_equals_scenario_at_once(stream, name, from_day, seed):
    options = {"from_day": from_day, **OPTIONS[name]} | ({} if name == "inflate_amounts" else {"seed": seed})
    days = [apply_scenarios(day, {name: options}) for _, day in stream.groupby("TX_TIME_DAYS")]
    assert_frame_equal(pd.concat(days), apply_scenarios(stream, {name: options}), check_exact=True)


def test_another_seed_hits_others(stream):
    assert not compromise_chain(stream, 0, 0.1, seed=1).equals(compromise_chain(stream, 0, 0.1, seed=2))
    assert_frame_equal(compromise_chain(stream, 0, 0.1, seed=1), compromise_chain(stream, 0, 0.1, seed=1))


def test_new_category_comes_from_moved_terminals_only(stream):
    changed = add_merchant_category(stream, 10, category="crypto", share=0.2)
    moved = changed.loc[changed["MERCHANT_CATEGORY"] == "crypto"]
    assert moved["TX_TIME_DAYS"].min() >= 10
    late = changed[changed["TX_TIME_DAYS"] >= 10]
    assert late.groupby("TERMINAL_ID")["MERCHANT_CATEGORY"].nunique().max() == 1


def test_labels_are_known_when_their_time_has_come(stream):
    late = delay_labels(stream, from_day=5, usual_days=7, further_days=10)
    at = pd.Timestamp("2018-04-18 12:00")
    seen = known_labels(late, at)
    assert (seen["TX_DATETIME"] <= at).all()
    expected = stream.loc[seen.index, "TX_FRAUD"].where(late.loc[seen.index, "LABEL_DATETIME"] <= at, 0)
    assert seen["TX_FRAUD"].tolist() == expected.tolist()
    waits = late["LABEL_DATETIME"] - late["TX_DATETIME"]
    assert waits.min() == pd.Timedelta(days=7)
    assert pd.Timedelta(days=16) < waits.max() < pd.Timedelta(days=17)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: compromise_chain(s, 1, share=1.5), "`share` is 1.5"),
        (lambda s: null_column(s, "TX_AMOUNT", 1, share=-1), "`share` is -1"),
        (lambda s: null_column(s, "NOTHING", 1), "there is no column `NOTHING`"),
        (lambda s: inflate_amounts(s, 1, factor=-2), "`factor` is -2"),
        (lambda s: delay_labels(s, 1, further_days=-1), "`further_days` is -1"),
        (lambda s: apply_scenarios(s, {"flood": {}}), "there is no scenario `flood`"),
    ],
)
def test_scenario_without_meaning_is_refused(stream, call, said):
    with pytest.raises(UsageError, match=said) as error:
        call(stream)
    assert error.value.mend
