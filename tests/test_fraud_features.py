"""Features: equal to their definition row by row, blind to the future, the same for a part of the stream."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from mlnb.data.schema import SchemaError
from mlnb.fraud.features import INPUTS, NEEDED, add_features, feature_names, features_for_window
from mlnb.fraud.simulator import simulate
from mlnb.store.errors import UsageError

DAY_S = 86_400


def stream_of(seconds, customers, terminals, amounts, frauds):
    at = pd.Timestamp("2018-04-01").to_datetime64().astype("datetime64[us]") + np.array(
        seconds, dtype="timedelta64[s]"
    )
    return pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(seconds)),
            "TX_DATETIME": at,
            "CUSTOMER_ID": np.array(customers, dtype="int64"),
            "TERMINAL_ID": np.array(terminals, dtype="int64"),
            "TX_AMOUNT": np.array(amounts, dtype="float64"),
            "TX_FRAUD": np.array(frauds, dtype="int64"),
        }
    )


def features_by_definition(stream, windows_days, delay_days):
    "The definition with two nested loops."
    day = pd.Timedelta(days=1)
    rows, payments = [], list(stream.itertuples())
    for i, now in enumerate(payments):
        t = now.TX_DATETIME
        values = [int(t.weekday() >= 5), int(t.hour <= 6)]
        past = payments[: i + 1]
        for n in windows_days:
            mine = [
                p.TX_AMOUNT for p in past if p.CUSTOMER_ID == now.CUSTOMER_ID and t - n * day < p.TX_DATETIME
            ]
            values += [len(mine), sum(mine) / len(mine)]
        for n in windows_days:
            labels = [
                p.TX_FRAUD
                for p in past
                if p.TERMINAL_ID == now.TERMINAL_ID
                and t - (delay_days + n) * day < p.TX_DATETIME <= t - delay_days * day
            ]
            values += [len(labels), sum(labels) / len(labels) if labels else 0]
        rows.append(values)
    return np.array(rows, dtype=float).reshape(len(stream), 2 + 4 * len(windows_days))


half_days = st.integers(0, 90).map(
    lambda n: n * DAY_S // 2
)  # a coarse grid, so that ties and exact window ends are common
streams = st.lists(
    st.tuples(
        half_days,
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 30_000).map(lambda n: n / 100),
        st.integers(0, 1),
    ),
    max_size=25,
).map(lambda rows: stream_of(*([r[i] for r in sorted(rows, key=lambda r: r[0])] for i in range(5))))


@settings(max_examples=60, deadline=None)
@given(streams, st.sampled_from([((1, 7, 30), 7), ((2,), 1), ((5, 1), 3)]))
def test_features_equal_the_definition(stream, setting):
    added = add_features(stream, *setting)[list(feature_names(setting[0]))]
    assert_allclose(added.to_numpy(dtype=float), features_by_definition(stream, *setting), rtol=1e-12, atol=0)


def test_features_of_a_simulated_stream_equal_the_definition():
    stream = simulate(n_days=45, n_customers=8, n_terminals=400)
    assert 300 < len(stream) < 1200
    assert_allclose(
        add_features(stream)[list(feature_names())].to_numpy(dtype=float),
        features_by_definition(stream, (1, 7, 30), 7),
        rtol=1e-12,
        atol=0,
    )


@pytest.fixture(scope="module")
def stream():
    return simulate(n_days=50, n_customers=150, n_terminals=300)


@pytest.fixture(scope="module")
def features(stream):
    return add_features(stream)


def test_features_equal_pandas_rolling_windows(stream, features):
    one = stream.set_index("TX_DATETIME")
    for n in (1, 7, 30):
        rolling = one.groupby("CUSTOMER_ID")["TX_AMOUNT"].rolling(f"{n}D")
        ids = one.groupby("CUSTOMER_ID")["TRANSACTION_ID"].apply(lambda s: s).to_numpy()
        assert (
            features[f"CUSTOMER_ID_NB_TX_{n}DAY_WINDOW"].to_numpy()[ids] == rolling.count().to_numpy()
        ).all()
        assert_allclose(
            features[f"CUSTOMER_ID_AVG_AMOUNT_{n}DAY_WINDOW"].to_numpy()[ids],
            rolling.mean().to_numpy(),
            rtol=1e-9,
        )
        at_terminal = one.groupby("TERMINAL_ID")["TX_FRAUD"]
        ids = one.groupby("TERMINAL_ID")["TRANSACTION_ID"].apply(lambda s: s).to_numpy()
        wide, late = at_terminal.rolling(f"{n + 7}D"), at_terminal.rolling("7D")
        n_tx, n_frauds = (wide.count() - late.count()).to_numpy(), (wide.sum() - late.sum()).to_numpy()
        assert (features[f"TERMINAL_ID_NB_TX_{n}DAY_WINDOW"].to_numpy()[ids] == n_tx).all()
        assert_allclose(
            features[f"TERMINAL_ID_RISK_{n}DAY_WINDOW"].to_numpy()[ids],
            np.divide(n_frauds, n_tx, out=np.zeros(len(n_tx)), where=n_tx > 0),
            atol=1e-9,
        )


def test_columns_order_and_dtypes_as_the_contract_says(stream, features):
    assert list(features) == [*stream, *feature_names()]
    assert feature_names()[:4] == (
        "TX_DURING_WEEKEND",
        "TX_DURING_NIGHT",
        "CUSTOMER_ID_NB_TX_1DAY_WINDOW",
        "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    )
    assert feature_names()[8:10] == ("TERMINAL_ID_NB_TX_1DAY_WINDOW", "TERMINAL_ID_RISK_1DAY_WINDOW")
    assert [str(features[name].dtype) for name in INPUTS] == ["float64", "int64", "int64", *["float64"] * 12]
    assert_frame_equal(features[list(stream)], stream)
    assert features["TERMINAL_ID_RISK_30DAY_WINDOW"].max() > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000), st.randoms(use_true_random=False))
def test_features_never_see_the_future(stream, features, cut, rng):
    cut = min(cut, len(stream) - 1)
    changed = stream.copy()
    later = np.arange(len(stream)) >= cut
    changed.loc[later, "TX_AMOUNT"] = rng.random() * 1000
    changed.loc[later, ["CUSTOMER_ID", "TERMINAL_ID"]] = rng.randrange(100)
    changed.loc[later, "TX_FRAUD"] = rng.randrange(2)
    assert_frame_equal(add_features(changed).head(cut), features.head(cut))
    assert_frame_equal(add_features(stream.head(cut)), features.head(cut))


def test_features_never_see_a_label_younger_than_the_delay(stream, features):
    last = stream["TX_DATETIME"].iloc[-1]
    young = stream["TX_DATETIME"] > last - pd.Timedelta(days=7)
    flipped = stream.assign(TX_FRAUD=stream["TX_FRAUD"].where(~young, 1 - stream["TX_FRAUD"]))
    assert_frame_equal(add_features(flipped)[list(INPUTS)], features[list(INPUTS)])
    old = stream.assign(TX_FRAUD=1 - stream["TX_FRAUD"])
    assert not add_features(old)[list(INPUTS)].equals(features[list(INPUTS)])


@pytest.mark.parametrize("first_day", [0, 1, 10, 43, 49, 50])
def test_features_for_window_equal_the_whole_stream_bit_for_bit(stream, features, first_day):
    is_new = stream["TX_TIME_DAYS"] >= first_day
    assert_frame_equal(
        features_for_window(stream[~is_new], stream[is_new]), features[is_new], check_exact=True
    )


def test_features_for_window_takes_a_history_with_features_and_a_window_index_of_its_own(stream, features):
    is_new = stream["TX_TIME_DAYS"] >= 45
    window = stream[is_new].set_index(np.arange(is_new.sum()) * 10)
    assert_frame_equal(
        features_for_window(features[~is_new], window),
        features[is_new].set_index(window.index),
        check_exact=True,
    )


def test_features_for_window_refuses_overlap_and_bad_history(stream):
    is_new = stream["TX_TIME_DAYS"] >= 45
    with pytest.raises(SchemaError, match="`TRANSACTION_ID` repeats or goes back"):
        features_for_window(stream, stream[is_new])
    with pytest.raises(SchemaError, match="`TX_FRAUD` is missing"):
        features_for_window(stream[~is_new].drop(columns="TX_FRAUD"), stream[is_new])
    with pytest.raises(SchemaError, match="`TERMINAL_ID` is float64"):
        features_for_window(stream[~is_new], stream[is_new].astype({"TERMINAL_ID": float}))


def test_empty_stream_gives_empty_features_with_the_same_dtypes(stream, features):
    empty = add_features(stream.head(0))
    assert len(empty) == 0 and empty.dtypes.equals(features.dtypes)


def test_input_is_not_changed_and_index_is_kept(stream):
    odd = stream.set_index(pd.Index(np.arange(len(stream)) * 3, name="row"))
    before = odd.copy()
    assert add_features(odd).index.equals(odd.index)
    assert_frame_equal(odd, before)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.iloc[::-1], "`TRANSACTION_ID` repeats or goes back"),
        (lambda s: s.assign(TRANSACTION_ID=0), "`TRANSACTION_ID` repeats or goes back"),
        (lambda s: s.assign(TX_DATETIME=s["TX_DATETIME"].to_numpy()[::-1]), "`TX_DATETIME` goes back"),
        (
            lambda s: s.drop(columns=["TX_AMOUNT", "TERMINAL_ID"]),
            "column `TERMINAL_ID` is missing; column `TX_AMOUNT` is missing",
        ),
        (
            lambda s: s.assign(TX_AMOUNT=s["TX_AMOUNT"].where(s.index != 4)),
            "1 values of `TX_AMOUNT` are missing",
        ),
        (lambda s: s.assign(TX_AMOUNT=np.inf), "are infinite"),
        (lambda s: s.assign(TX_FRAUD=2), "`TX_FRAUD` are above"),
        (
            lambda s: s.assign(TX_DATETIME=s["TX_DATETIME"].dt.tz_localize("UTC")),
            "`TX_DATETIME` is datetime64",
        ),
        (lambda s: pd.concat([s, s[["CUSTOMER_ID"]]], axis=1), "2 columns are called `CUSTOMER_ID`"),
    ],
)
def test_input_that_would_shift_a_window_is_refused(stream, spoil, said):
    with pytest.raises(SchemaError, match=said) as error:
        add_features(spoil(stream))
    assert error.value.mend


@pytest.mark.parametrize("windows_days", [(), (0,), (7, 7), (-1, 3)])
def test_windows_without_meaning_are_refused(stream, windows_days):
    with pytest.raises(UsageError, match="windows_days"):
        add_features(stream, windows_days)
    with pytest.raises(UsageError, match="windows_days"):
        features_for_window(stream.head(0), stream, windows_days)


def test_needed_columns_do_not_include_what_is_only_for_people():
    assert set(NEEDED) == {
        "TRANSACTION_ID",
        "TX_DATETIME",
        "CUSTOMER_ID",
        "TERMINAL_ID",
        "TX_AMOUNT",
        "TX_FRAUD",
    }
