"""Online features: equal to the table, at any moment, after any restart, with events late, twice or wrong."""

import datetime
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mlnb.data.definition import DAY_S, Feature
from mlnb.data.online import (
    EventConflictError,
    EventError,
    LateEventError,
    correct,
    forget,
    from_frame,
    new_state,
    to_frame,
    update,
)
from mlnb.data.windows import compute
from mlnb.fraud.features import handbook
from mlnb.fraud.payments import ID_COLUMN, TIME_COLUMN
from mlnb.fraud.simulator import simulate
from mlnb.store.codecs import decode, encode

COLUMNS = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"]
C, T = "CUSTOMER_ID", "TERMINAL_ID"
STREAM = (ID_COLUMN, TIME_COLUMN)
MIXED = (
    Feature("EVER", T, "share", "TX_FRAUD", delay_s=3 * DAY_S),
    Feature("SUM", C, "sum", "TX_AMOUNT", window_s=2 * DAY_S),
    Feature("N", C, "count"),
    Feature("USUAL", C, "mean", "TX_AMOUNT", current=False),
    Feature("LAST", C, "last", "TX_AMOUNT", current=False),
    Feature("LAST_KNOWN", T, "last", "TX_FRAUD", delay_s=2 * DAY_S, empty=-1.0),
    Feature("PAUSE", C, "time_since", window_s=5 * DAY_S, current=False),
    Feature("FRAUDS", T, "sum", "TX_FRAUD", window_s=9 * DAY_S, delay_s=DAY_S),
    Feature("LONG", T, "mean", "TX_AMOUNT", window_s=20 * DAY_S),
)


def stream_of(n_days, n_customers, n_terminals):
    return simulate(n_days, n_customers, n_terminals)[COLUMNS]


def answers(state, rows):
    return pd.DataFrame([update(state, row) for row in rows])


def assert_equal_to_table(given_, stream, definition):
    for name, values in compute(stream, definition, *STREAM).items():
        assert_allclose(given_[name].to_numpy(), values, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("definition", [handbook(), MIXED], ids=["handbook", "mixed"])
def test_stream_of_20_000_equals_the_table(definition):
    stream = stream_of(60, 230, 300).head(20_000)
    assert len(stream) == 20_000
    assert_equal_to_table(
        answers(new_state(definition, *STREAM), stream.to_dict("records")), stream, definition
    )


@pytest.mark.slow
def test_stream_of_200_000_of_the_full_size_equals_the_table():
    stream = stream_of(60, 5000, 10_000).tail(-200_000).head(200_000)
    assert len(stream) == 200_000
    assert_equal_to_table(
        answers(new_state(handbook(), *STREAM), stream.to_dict("records")), stream, handbook()
    )


@pytest.fixture(scope="module")
def stream():
    return stream_of(40, 12, 150)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.sampled_from([handbook(), MIXED]), st.booleans())
def test_state_saved_and_restored_at_any_moment_answers_as_before(stream, cuts, definition, sweeps):
    rows, state, given_ = stream.to_dict("records"), new_state(definition, *STREAM), []
    places = sorted({int(cut * len(rows)) for cut in cuts} | {0, len(rows)})
    for start, stop in pairwise(places):
        given_ += [update(state, row) for row in rows[start:stop]]
        if sweeps:
            forget(state)
        state = from_frame(decode("frame", encode(to_frame(state)).data))
    assert pd.DataFrame(given_).equals(answers(new_state(definition, *STREAM), rows))


def test_saved_states_of_one_stream_are_equal_bytes(stream):
    rows, saved = stream.to_dict("records"), []
    for _ in range(2):
        state = new_state(MIXED, *STREAM)
        answers(state, rows)
        saved.append(encode(to_frame(state)).data)
    assert saved[0] == saved[1]


@settings(max_examples=8, deadline=None)
@given(st.data(), st.sampled_from([handbook(), MIXED]))
def test_late_and_repeated_events_leave_the_rest_equal_to_the_table(stream, data, definition):
    stream = stream.head(250)
    rows = stream.to_dict("records")
    held_up = data.draw(st.sets(st.integers(0, len(rows) - 30), max_size=8))
    delivery = sorted(
        range(len(rows)),
        key=lambda place: place + (data.draw(st.integers(1, 25)) + 0.5 if place in held_up else 0),
    )
    table, state, seen = (
        compute(stream, definition, *STREAM),
        new_state(definition, *STREAM, lateness_s=40 * DAY_S),
        set(),
    )
    for place in delivery:
        answer = update(state, rows[place])
        if seen >= set(range(place)):  # everything before it has arrived: the table is the answer
            for name, value in answer.items():
                assert_allclose(value, table[name][place], rtol=1e-9, atol=1e-9)
        seen.add(place)
        if data.draw(st.booleans()):
            repeated = rows[data.draw(st.sampled_from(sorted(seen)))]
            first, second = update(state, repeated), update(state, repeated)
            assert pd.DataFrame([first]).equals(pd.DataFrame([second]))
    for place in range(len(rows)):  # all has arrived: every event, asked again, gives the table
        answer = update(state, rows[place])
        assert_allclose(list(answer.values()), [table[name][place] for name in answer], rtol=1e-9, atol=1e-9)


def test_labels_put_in_before_the_delay_is_over_give_the_table(stream):
    state, waiting, given_ = new_state(handbook(), *STREAM), [], []
    for row in stream.to_dict("records"):
        while waiting and waiting[0]["TX_DATETIME"] <= row["TX_DATETIME"] - pd.Timedelta(days=6):
            correct(state, waiting.pop(0))
        given_.append(update(state, {**row, "TX_FRAUD": 0}))
        waiting += [row] * row["TX_FRAUD"]
    assert stream["TX_FRAUD"].sum() > 5
    assert_equal_to_table(pd.DataFrame(given_), stream, handbook())


def paid(number, day, amount=10.0, customer=1, fraud=0, **other):
    at = datetime.datetime(2024, 1, 1) + datetime.timedelta(days=day)
    return {
        "TRANSACTION_ID": number,
        "TX_DATETIME": at,
        C: customer,
        T: 5,
        "TX_AMOUNT": amount,
        "TX_FRAUD": fraud,
        **other,
    }


@pytest.mark.parametrize(
    ("row", "error", "said"),
    [
        (paid(9, 2.5), LateEventError, "43,200 s earlier"),
        (paid(2, 3, 11.0), EventConflictError, "other values"),
        (paid(1, 4), EventConflictError, "its id is not higher"),
        (paid(2, 3, customer=2), EventConflictError, "other values"),
        (paid(3, 9), EventError, "in the future"),
        (paid(3, 4, math.nan), EventError, "no finite number"),
        (paid(3, 4, math.inf), EventError, "no finite number"),
        (paid(3, 4, None), EventError, "no finite number"),
        (paid(3, 4, "7"), EventError, "no finite number"),
        (paid(3, 4, fraud=2), EventError, "0 and 1"),
        (paid(3, 4, fraud=math.nan), EventError, "0 and 1"),
        (paid(3, 4, customer=None), EventError, "has the key None"),
        (paid(3, 4, customer=math.nan), EventError, "has the key nan"),
        (paid("3", 4), EventError, "is no whole number"),
        (paid(3, 4, TX_DATETIME=pd.Timestamp("2024-01-05", tz="Europe/Rome")), EventError, "has a time zone"),
        (paid(3, 4, TX_DATETIME=pd.NaT), EventError, "is no time"),
        (paid(3, 4, TX_DATETIME="2024-01-05"), EventError, "is no time"),
        ({"TRANSACTION_ID": 3}, EventError, "the event has no"),
    ],
)
def test_wrong_event_is_refused_and_leaves_the_state_alone(row, error, said):
    state = new_state(handbook(), *STREAM, lateness_s=3600)
    answers(state, [paid(1, 0), paid(2, 3)])
    before = encode(to_frame(state)).data
    with pytest.raises(error, match=said) as raised:
        update(state, row, now=datetime.datetime(2024, 1, 6))
    assert raised.value.mend
    assert encode(to_frame(state)).data == before


def test_refund_new_column_and_unknown_key_are_no_errors():
    state = new_state(handbook(), *STREAM)
    answers(state, [paid(1, 0)])
    assert update(state, paid(2, 1.5, -4.0, CHANNEL="web"))["CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW"] == 3.0
    assert update(state, paid(3, 2, customer="a stranger"))["CUSTOMER_ID_NB_TX_7DAY_WINDOW"] == 1.0


def test_text_keys_come_back_as_text():
    state = new_state(handbook(), *STREAM)
    answers(state, [paid(1, 0, customer="1"), paid(2, 1, customer=1)])
    again = from_frame(to_frame(state))
    assert update(again, paid(3, 2, customer="1"))["CUSTOMER_ID_NB_TX_7DAY_WINDOW"] == 2.0
    assert sorted(map(str, again.logs[0])) == ["1", "1"]


def test_correction_of_what_is_forgotten_is_refused_only_where_it_matters():
    bounded, endless = new_state(handbook(), *STREAM), new_state(MIXED, *STREAM)
    for state in (bounded, endless):
        answers(state, [paid(number, number) for number in range(80)])
        forget(state)
    correct(bounded, paid(1, 1, fraud=1))
    with pytest.raises(LateEventError, match="is forgotten"):
        correct(endless, paid(1, 1, fraud=1))
    with pytest.raises(EventConflictError, match="is not known"):
        correct(bounded, paid(200, 78.5))


def test_one_customer_with_many_payments_stays_exact_and_forgets():
    n = 20_000
    events = pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(n),
            "TX_DATETIME": np.datetime64("2018-04-01", "us") + np.arange(n) * np.timedelta64(600, "s"),
            C: 7,
            T: 3,
            "TX_AMOUNT": np.arange(n) % 997 / 100,
            "TX_FRAUD": np.arange(n) % 2,
        }
    )
    state = new_state(handbook(), *STREAM)
    assert_equal_to_table(answers(state, events.to_dict("records")), events, handbook())
    assert forget(state) == 31 * DAY_S // 600 + 38 * DAY_S // 600


def test_amounts_of_any_size_lose_nothing():
    rows = [paid(0, 0, 1e15), *(paid(number, number, 0.1) for number in range(1, 4))]
    state = new_state((Feature("SUM", C, "sum", "TX_AMOUNT", window_s=2 * DAY_S),), *STREAM)
    assert answers(state, rows)["SUM"].tolist() == [1e15, 1e15 + 0.1, 0.2, 0.2]
