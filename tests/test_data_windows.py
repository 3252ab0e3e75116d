"""Windows: equal to their definition row by row for any definition, blind to the future, exact, and not
slowed by one large key."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from mlnb.data.definition import AGGREGATIONS, DAY_S, WITHOUT_COLUMN, Feature, from_plain, to_plain
from mlnb.data.out_of_core import compute_days
from mlnb.data.schema import SchemaError
from mlnb.data.windows import compute
from mlnb.fraud.features import handbook
from mlnb.fraud.payments import ID_COLUMN, TIME_COLUMN
from mlnb.fraud.simulator import simulate
from mlnb.store.errors import InputChangedError, UsageError

HALF_DAY_S = DAY_S // 2
STREAM = (ID_COLUMN, TIME_COLUMN)


def events_of(rows):
    "Events from (half days, customer, terminal, amount, fraud), in order of time."
    rows = sorted(rows, key=lambda row: row[0])
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
    at = np.datetime64("2018-04-01", "us") + np.array(columns[0], dtype="int64") * np.timedelta64(
        HALF_DAY_S, "s"
    )
    return pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(rows)),
            "TX_DATETIME": at,
            "CUSTOMER_ID": np.array(columns[1], dtype="int64"),
            "TERMINAL_ID": np.array(columns[2], dtype="int64"),
            "TX_AMOUNT": np.array(columns[3], dtype="float64"),
            "TX_FRAUD": np.array(columns[4], dtype="int64"),
        }
    )


def value_by_definition(feature, events, place):
    "One value, from a look at every event before."
    now = events[place]
    until = now.TX_DATETIME - pd.Timedelta(seconds=feature.delay_s)
    seen = [
        e
        for e in events[: place + (feature.current and not feature.delay_s)]
        if getattr(e, feature.key) == getattr(now, feature.key)
        and until >= e.TX_DATETIME
        and (feature.window_s is None or until - pd.Timedelta(seconds=feature.window_s) < e.TX_DATETIME)
    ]
    values = [Fraction(getattr(e, feature.column)) for e in seen] if feature.column else []
    if feature.aggregation == "count":
        return len(seen)
    if feature.aggregation == "sum":
        return float(sum(values))
    if not seen:
        return np.nan if feature.empty is None else feature.empty
    if feature.aggregation in ("mean", "share"):
        return float(sum(values) / len(values))
    return (
        float(values[-1])
        if feature.aggregation == "last"
        else (now.TX_DATETIME - seen[-1].TX_DATETIME).total_seconds()
    )


@st.composite
def features(draw, name="F"):
    aggregation = draw(st.sampled_from(AGGREGATIONS))
    column = (
        None
        if aggregation in WITHOUT_COLUMN
        else "TX_FRAUD"
        if aggregation == "share"
        else draw(st.sampled_from(["TX_AMOUNT", "TX_FRAUD"]))
    )
    delay = draw(st.sampled_from([0, 0, 1, 4]))
    return Feature(
        name,
        draw(st.sampled_from(["CUSTOMER_ID", "TERMINAL_ID"])),
        aggregation,
        column,
        draw(st.sampled_from([None, 1, 2, 14])) and draw(st.integers(1, 20)) * HALF_DAY_S,
        delay * HALF_DAY_S,
        draw(st.booleans()) and (delay > 0 or aggregation not in ("last", "time_since")),
        draw(st.sampled_from([None, 0.0, -1.0])),
    )


definitions = st.lists(features(), min_size=1, max_size=5).map(
    lambda fs: from_plain([{**row, "name": f"F{n}"} for n, row in enumerate(to_plain(fs))])
)
amounts = st.one_of(st.integers(-30_000, 30_000).map(lambda n: n / 100), st.floats(-1e9, 1e9))
streams = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 2), st.integers(0, 2), amounts, st.integers(0, 1)),
    max_size=25,
).map(events_of)


@settings(max_examples=60, deadline=None)
@given(streams, definitions)
def test_any_definition_equals_a_look_at_every_event(events, definition):
    computed, rows = compute(events, definition, *STREAM), list(events.itertuples())
    for feature in definition:
        expected = [value_by_definition(feature, rows, place) for place in range(len(rows))]
        assert_allclose(computed[feature.name], np.array(expected, dtype=float), rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def stream():
    return simulate(45, 60, 300)


@pytest.fixture(scope="module")
def whole(stream):
    return compute(stream, handbook(), *STREAM)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_features_of_the_past_do_not_change_with_the_future(stream, whole, share, seed):
    at = stream["TX_DATETIME"].iloc[0] + share * (
        stream["TX_DATETIME"].iloc[-1] - stream["TX_DATETIME"].iloc[0]
    )
    n_past, rng = int((stream["TX_DATETIME"] <= at).sum()), np.random.default_rng(seed)
    future = stream.iloc[n_past:]
    shuffled = {
        name: rng.permutation(future[name].to_numpy())
        for name in ("CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")
    }
    changed = pd.concat([stream.iloc[:n_past], future.assign(**shuffled)])
    for cut in (stream.iloc[:n_past], changed):
        for name, values in compute(cut, handbook(), *STREAM).items():
            assert_array_equal(values[:n_past], whole[name][:n_past])


def test_sums_do_not_depend_on_history_or_on_large_amounts_before():
    small = events_of([(n, 0, 0, 0.1, 0) for n in range(20)])
    large = events_of([(0, 0, 0, 1e13, 0)] + [(n, 0, 0, 0.1, 0) for n in range(1, 20)])
    total = (Feature("S", "CUSTOMER_ID", "sum", "TX_AMOUNT", window_s=2 * HALF_DAY_S),)
    assert_array_equal(compute(large, total, *STREAM)["S"][3:], compute(small, total, *STREAM)["S"][3:])


def test_one_customer_with_a_million_payments_equals_running_totals():
    n = 1_000_000
    events = pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(n),
            "TX_DATETIME": np.datetime64("2018-04-01", "us") + np.arange(n) * np.timedelta64(5, "s"),
            "CUSTOMER_ID": 7,
            "TERMINAL_ID": 3,
            "TX_AMOUNT": np.arange(n) % 100 / 4,
            "TX_FRAUD": np.arange(n) % 2,
        }
    )
    computed = compute(events, handbook(), *STREAM)
    in_30_days = np.minimum(np.arange(n) + 1, 30 * DAY_S // 5)
    assert_array_equal(computed["CUSTOMER_ID_NB_TX_30DAY_WINDOW"], in_30_days)
    totals = np.concatenate([[0], np.cumsum(np.arange(n) % 100)])
    assert_allclose(
        computed["CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"],
        (totals[1:] - totals[np.arange(1, n + 1) - in_30_days]) / 4 / in_30_days,
        rtol=1e-15,
    )
    assert computed["TERMINAL_ID_RISK_30DAY_WINDOW"][-1] == 0.5


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.iloc[::-1], "`TRANSACTION_ID` repeats or goes back"),
        (lambda s: pd.concat([s, s.tail(1)]), "`TRANSACTION_ID` repeats or goes back 1 times"),
        (lambda s: s.assign(TX_DATETIME=s["TX_DATETIME"].to_numpy()[::-1]), "`TX_DATETIME` goes back"),
        (
            lambda s: s.assign(TX_DATETIME=s["TX_DATETIME"].where(s.index != 5)),
            "1 values of `TX_DATETIME` are missing",
        ),
        (lambda s: s.assign(TX_DATETIME=s["TX_DATETIME"].dt.tz_localize("Europe/Rome")), "Europe/Rome"),
        (
            lambda s: s.assign(CUSTOMER_ID=s["CUSTOMER_ID"].where(s.index != 5)),
            "1 missing values made it float64",
        ),
        (lambda s: s.drop(columns="TERMINAL_ID"), "column `TERMINAL_ID` is missing"),
        (
            lambda s: s.assign(TX_AMOUNT=s["TX_AMOUNT"].where(s.index != 5)),
            "1 values of `TX_AMOUNT` are missing",
        ),
        (lambda s: s.assign(TX_AMOUNT=-np.inf), "are infinite"),
        (lambda s: s.assign(TX_AMOUNT=s["TX_AMOUNT"].astype(str)), "`TX_AMOUNT` is str"),
        (lambda s: s.assign(TX_FRAUD=-1), "`TX_FRAUD` are below"),
    ],
)
def test_table_that_would_give_a_wrong_window_is_refused(stream, spoil, said):
    with pytest.raises(SchemaError, match=said) as error:
        compute(spoil(stream), handbook(), *STREAM)
    assert error.value.mend


def test_new_columns_unknown_keys_and_refunds_are_no_errors(stream, whole):
    wider = stream.assign(CHANNEL="web", TX_AMOUNT=-stream["TX_AMOUNT"])
    computed = compute(wider, handbook(), *STREAM)
    assert_array_equal(
        computed["CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW"], -whole["CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW"]
    )
    stranger = stream.assign(CUSTOMER_ID=stream["CUSTOMER_ID"].where(stream.index != len(stream) - 1, 10**9))
    assert compute(stranger, handbook(), *STREAM)["CUSTOMER_ID_NB_TX_30DAY_WINDOW"][-1] == 1


def test_text_keys_give_the_same_windows(stream, whole):
    computed = compute(
        stream.assign(CUSTOMER_ID="c" + stream["CUSTOMER_ID"].astype(str)), handbook(), *STREAM
    )
    assert_array_equal(
        computed["CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"], whole["CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"]
    )


def test_amounts_beyond_exact_sums_are_refused(stream):
    with pytest.raises(UsageError, match="give the column in a larger unit"):
        compute(stream.assign(TX_AMOUNT=1e14), handbook(), *STREAM)


# out of core


def days_of(stream):
    return [day.reset_index(drop=True) for _, day in stream.groupby("TX_TIME_DAYS")]


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), definitions)
def test_out_of_core_equals_the_table_bit_for_bit(stream, n_parts, definition):
    stream = stream[stream["TX_TIME_DAYS"] < 12]
    computed = pd.concat(
        compute_days(lambda: days_of(stream), definition, *STREAM, n_parts), ignore_index=True
    )
    for name, values in compute(stream, definition, *STREAM).items():
        assert_array_equal(computed[name].to_numpy(), values)


def test_out_of_core_takes_empty_days_and_text_keys(stream, whole):
    named = stream.assign(CUSTOMER_ID="c" + stream["CUSTOMER_ID"].astype(str))
    days = [day for full in days_of(named) for day in (full.head(0), full)]
    computed = pd.concat(compute_days(lambda: days, handbook(), *STREAM, 3), ignore_index=True)
    for name, values in whole.items():
        assert_array_equal(computed[name].to_numpy(), values)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (lambda days: days[:-1], "45 days at the first reading and 44"),
        (lambda days: [*days, days[-1]], "day 45 of the stream is not what it was"),
        (
            lambda days: [days[0].assign(TX_AMOUNT=days[0]["TX_AMOUNT"] + 0.01), *days[1:]],
            "day 0 of the stream is not what it was",
        ),
        (
            lambda days: [days[0].drop(columns="TX_FRAUD"), *days[1:]],
            "day 0 of the stream is not what it was",
        ),
        (lambda days: [days[0].iloc[::-1], *days[1:]], "day 0 of the stream is not what it was"),
    ],
)
def test_out_of_core_stream_that_changes_between_readings_is_refused(stream, second, said):
    readings = iter([days_of(stream), second(days_of(stream))])
    with pytest.raises(InputChangedError, match=said):
        list(compute_days(lambda: next(readings), handbook(), *STREAM, 2))


def test_out_of_core_days_in_wrong_order_or_twice_are_refused(stream):
    days = days_of(stream)
    for wrong in ([days[1], days[0]], [days[0], days[0]], [days[0], days[0].head(0), days[0].tail(1)]):
        with pytest.raises(SchemaError, match="`TRANSACTION_ID` repeats or goes back 1 times"):
            list(compute_days(lambda wrong=wrong: wrong, handbook(), *STREAM, 2))


def test_scratch_of_out_of_core_is_empty_afterwards(stream, tmp_path):
    days = compute_days(lambda: days_of(stream), handbook(), *STREAM, 2, scratch=tmp_path)
    next(days)
    assert list(tmp_path.iterdir())
    days.close()
    assert list(tmp_path.iterdir()) == []
