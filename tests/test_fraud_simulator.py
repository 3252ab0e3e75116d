"""Simulator: equal to a literal transcription of its definition, and to the published figures at full
size."""

import random

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from mlnb.data.schema import schema_violations
from mlnb.fraud.payments import TRANSACTIONS
from mlnb.fraud.simulator import (
    START,
    customers,
    mark_frauds,
    next_window,
    payments,
    simulate,
    terminals,
    terminals_in_reach,
)
from mlnb.store.errors import UsageError

SIZE = {"n_customers": 80, "n_terminals": 600}
DRAWN_FIRST = [
    "TRANSACTION_ID",
    "TX_DATETIME",
    "CUSTOMER_ID",
    "TERMINAL_ID",
    "TX_TIME_SECONDS",
    "TX_TIME_DAYS",
]


def simulate_by_definition(n_days, n_customers, n_terminals):
    "The definition, sentence by sentence: global generators, one draw at a time, `DataFrame.sample`."
    np.random.seed(0)
    people = []
    for _ in range(n_customers):
        x, y, mean = np.random.uniform(0, 100), np.random.uniform(0, 100), np.random.uniform(5, 100)
        people.append((x, y, mean, mean / 2, np.random.uniform(0, 4)))
    np.random.seed(1)
    places = [(np.random.uniform(0, 100), np.random.uniform(0, 100)) for _ in range(n_terminals)]
    rows = []
    for customer, (x, y, mean, std, rate) in enumerate(people):
        reach = [t for t, (tx, ty) in enumerate(places) if np.sqrt((x - tx) ** 2 + (y - ty) ** 2) < 5]
        random.seed(customer)
        np.random.seed(customer)
        for day in range(n_days):
            for _ in range(np.random.poisson(rate)):
                time = int(np.random.normal(43200, 20000))
                if 0 < time < 86400:
                    amount = np.random.normal(mean, std)
                    if amount < 0:
                        amount = np.random.uniform(0, 2 * mean)
                    amount = np.round(amount, 2)
                    if reach:
                        rows.append((time + 86400 * day, customer, random.choice(reach), amount, day))
    frame = pd.DataFrame(
        sorted(rows), columns=["TX_TIME_SECONDS", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_TIME_DAYS"]
    )
    frame["TX_FRAUD_SCENARIO"] = 0
    frame.loc[frame.TX_AMOUNT > 220, "TX_FRAUD_SCENARIO"] = 1
    for day in range(n_days - 1):
        hit = pd.DataFrame({"TERMINAL_ID": range(n_terminals)}).TERMINAL_ID.sample(n=2, random_state=day)
        frame.loc[
            frame.TX_TIME_DAYS.between(day, day + 27) & frame.TERMINAL_ID.isin(hit), "TX_FRAUD_SCENARIO"
        ] = 2
    for day in range(n_days - 1):
        hit = pd.DataFrame({"CUSTOMER_ID": range(n_customers)}).CUSTOMER_ID.sample(n=3, random_state=day)
        at_risk = frame[frame.TX_TIME_DAYS.between(day, day + 13) & frame.CUSTOMER_ID.isin(hit)]
        random.seed(day)
        stolen = random.sample(list(at_risk.index.values), k=int(len(at_risk) / 3))
        frame.loc[stolen, "TX_AMOUNT"] *= 5
        frame.loc[stolen, "TX_FRAUD_SCENARIO"] = 3
    frame["TRANSACTION_ID"] = frame.index.astype("int64")
    frame["TX_DATETIME"] = (
        pd.Timestamp("2018-04-01") + pd.to_timedelta(frame.TX_TIME_SECONDS, unit="s")
    ).astype("datetime64[us]")
    frame["TX_FRAUD"] = (frame.TX_FRAUD_SCENARIO > 0).astype("int64")
    return frame[list(TRANSACTIONS)]


@pytest.fixture(scope="module")
def stream():
    return simulate(n_days=40, **SIZE)


def test_simulate_small_equals_the_definition_row_for_row(stream):
    before = random.getstate(), np.random.get_state()
    try:
        expected = simulate_by_definition(40, **SIZE)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    assert_frame_equal(stream, expected, check_exact=True)
    assert set(stream["TX_FRAUD_SCENARIO"]) == {0, 1, 2, 3}


def test_first_customers_as_published():
    first = customers(2)
    assert_allclose(
        first.loc[0, ["x_customer_id", "y_customer_id", "mean_amount", "mean_nb_tx_per_day"]].to_numpy(
            dtype=float
        ),
        [54.881350, 71.518937, 62.262521, 2.179533],
        atol=5e-7,
    )
    assert first.loc[0, "std_amount"] == first.loc[0, "mean_amount"] / 2


def test_customers_and_terminals_shorter_lists_begin_longer_ones():
    assert_frame_equal(customers(10), customers(50).head(10))
    assert_frame_equal(terminals(10), terminals(50).head(10))


def test_columns_keep_the_schema(stream):
    assert schema_violations(stream, TRANSACTIONS) == []
    assert list(stream) == list(TRANSACTIONS)
    assert stream["TRANSACTION_ID"].tolist() == list(range(len(stream)))
    assert (
        stream["TX_DATETIME"] == START + stream["TX_TIME_SECONDS"].to_numpy().astype("timedelta64[s]")
    ).all()
    assert (stream["TX_TIME_DAYS"] == stream["TX_TIME_SECONDS"] // 86400).all()
    assert (stream["TX_FRAUD"] == (stream["TX_FRAUD_SCENARIO"] > 0)).all()


def test_simulate_neither_uses_nor_moves_the_callers_random_state():
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]
    first = simulate(n_days=3, **SIZE)
    assert (random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2]) == before
    random.seed(6)
    np.random.seed(6)
    assert_frame_equal(simulate(n_days=3, **SIZE), first)


@pytest.mark.parametrize("n_days", [1, 2, 14, 15, 30])
def test_longer_stream_changes_only_frauds_of_the_last_13_days(stream, n_days):
    short = simulate(n_days=n_days, **SIZE)
    prefix = stream[stream["TX_TIME_DAYS"] < n_days]
    assert_frame_equal(short[DRAWN_FIRST], prefix[DRAWN_FIRST])
    settled = short["TX_TIME_DAYS"] < n_days - 13
    assert_frame_equal(short[settled], prefix[settled])


def test_next_window_continues_ids_and_equals_the_longer_stream(stream):
    window = next_window(30, window_days=10, **SIZE)
    expected = stream[stream["TX_TIME_DAYS"] >= 30].reset_index(drop=True)
    assert_frame_equal(window, expected)
    assert window["TRANSACTION_ID"].iloc[0] == len(simulate(n_days=30, **SIZE))


def test_one_day_has_only_large_amounts_as_frauds():
    day = simulate(n_days=1)
    assert set(day["TX_FRAUD_SCENARIO"]) == {0, 1}
    assert (day["TX_FRAUD"] == (day["TX_AMOUNT"] > 220)).all()


def test_customers_without_a_terminal_pay_nothing():
    empty = simulate(n_days=5, n_customers=3, n_terminals=2)
    assert terminals_in_reach(customers(3), terminals(2)) == [[], [], []]
    assert len(empty) == 0 and schema_violations(empty, TRANSACTIONS) == []


def test_mark_frauds_leaves_its_input_alone():
    people = customers(60)
    paid = payments(people, terminals_in_reach(people, terminals(600)), 20)
    before = paid.copy()
    mark_frauds(paid, 20, 60, 600)
    assert_frame_equal(paid, before)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_days": 0}, "`n_days` is 0"),
        ({"n_customers": 2}, "three cards"),
        ({"n_terminals": 1}, "two terminals"),
        ({"n_days": -3}, "`n_days` is -3"),
    ],
)
def test_too_small_sizes_are_refused(sizes, said):
    with pytest.raises(UsageError, match=said):
        simulate(**sizes)


def test_next_window_of_no_days_is_refused():
    with pytest.raises(UsageError, match="`window_days` is 0"):
        next_window(10, window_days=0)
    with pytest.raises(UsageError, match="`n_days` is 0"):
        next_window(0)


@pytest.mark.slow
def test_full_size_gives_the_published_figures():
    full = simulate(n_days=183)
    assert len(full) == 1_754_155
    assert full["TX_FRAUD"].sum() == 14_681
    assert full["TX_FRAUD_SCENARIO"].value_counts().to_dict() == {0: 1_739_474, 1: 973, 2: 9_077, 3: 4_631}
    assert full["TX_AMOUNT"].max() == 2628.0
    assert full.loc[full["TX_TIME_DAYS"] == 0, "TX_FRAUD"].sum() == 3
    train = full["TX_DATETIME"].between("2018-07-25", "2018-07-31 23:59:59")
    assert (train.sum(), full.loc[train, "TX_FRAUD"].sum()) == (67_240, 598)
