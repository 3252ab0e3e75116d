"""Schema: what counts as a violation, and what `set_apart` does with every kind of bad table."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from mlnb.data.schema import SENSITIVITIES, Column, SchemaError, require_schema, schema_violations, set_apart
from mlnb.fraud.payments import TRANSACTIONS
from mlnb.fraud.simulator import simulate


@pytest.fixture(scope="module")
def stream():
    return simulate(n_days=10, n_customers=50, n_terminals=500)


def rules(frame, schema=TRANSACTIONS):
    return [(v.column, v.rule, v.count) for v in schema_violations(frame, schema)]


def test_violations_simulated_stream_has_no_violation(stream):
    assert schema_violations(stream, TRANSACTIONS) == []
    require_schema(stream, TRANSACTIONS)


def test_violations_column_order_is_free_and_set_apart_restores_it(stream):
    turned = stream[stream.columns[::-1]]
    assert schema_violations(turned, TRANSACTIONS) == []
    assert list(set_apart(turned, TRANSACTIONS).good) == list(TRANSACTIONS)


def test_violations_empty_table_with_right_columns_breaks_nothing(stream):
    empty = stream.iloc[:0]
    assert schema_violations(empty, TRANSACTIONS) == []
    good, bad, counts = set_apart(empty, TRANSACTIONS)
    assert len(good) == len(bad) == 0 and set(counts.values()) == {0}
    assert good.dtypes.equals(stream.dtypes) and bad["reason"].dtype == "str"


def test_violations_table_without_columns_misses_all_of_them():
    assert [(v.column, v.rule) for v in schema_violations(pd.DataFrame(), TRANSACTIONS)] == [
        (name, "missing_column") for name in TRANSACTIONS
    ]


@pytest.mark.parametrize(
    ("column", "values", "mend"),
    [
        ("TX_AMOUNT", lambda s: s.astype("str"), "convert it with `.astype('float64')`"),
        ("TX_AMOUNT", lambda s: s.astype("float32"), "convert it with `.astype('float64')`"),
        (
            "CUSTOMER_ID",
            lambda s: s.astype("float64").where(s.index != 3),
            "its 1 missing values made it float64",
        ),
        ("CUSTOMER_ID", lambda s: s.astype("Int64"), "convert it with `.astype('int64')`"),
        ("TX_DATETIME", lambda s: s.dt.tz_localize("UTC"), ".dt.tz_convert('UTC').dt.tz_localize(None)"),
        (
            "TX_DATETIME",
            lambda s: s.dt.tz_localize("Asia/Tokyo"),
            ".dt.tz_convert('UTC').dt.tz_localize(None)",
        ),
        ("TX_DATETIME", lambda s: s.astype("datetime64[ns]"), "convert it with `.astype('datetime64[us]')`"),
        ("TX_DATETIME", lambda s: s.astype("str"), "parse it with `pd.to_datetime"),
        ("TX_FRAUD", lambda s: s.astype("bool"), "convert it with `.astype('int64')`"),
    ],
)
def test_wrong_dtype_is_refused_with_column_and_mend(stream, column, values, mend):
    wrong = stream.assign(**{column: values(stream[column])})
    assert rules(wrong) == [(column, "wrong_dtype", 1)]
    with pytest.raises(SchemaError) as error:
        set_apart(wrong, TRANSACTIONS)
    assert f"`{column}`" in error.value.message and mend in error.value.mend and error.value.exit_code == 1


def test_dtype_mend_for_a_time_zone_gives_the_same_moments(stream):
    tokyo = stream["TX_DATETIME"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    mended = stream.assign(TX_DATETIME=tokyo.dt.tz_convert("UTC").dt.tz_localize(None))
    assert_frame_equal(mended, stream)


def test_missing_extra_and_duplicated_columns_are_all_named(stream):
    odd = pd.concat([stream.drop(columns="TX_FRAUD"), stream[["TX_AMOUNT"]]], axis=1).assign(CARD_NUMBER="x")
    assert rules(odd) == [
        ("TX_AMOUNT", "duplicated_column", 2),
        ("TX_FRAUD", "missing_column", 1),
        ("CARD_NUMBER", "extra_column", 1),
    ]
    with pytest.raises(SchemaError) as error:
        set_apart(odd, TRANSACTIONS)
    assert [v.column for v in error.value.violations] == ["TX_AMOUNT", "TX_FRAUD", "CARD_NUMBER"]
    for part in ("`TX_AMOUNT`", "`TX_FRAUD` is missing", "`CARD_NUMBER` is not in the schema"):
        assert part in str(error.value)


def test_rows_are_still_checked_beside_a_broken_column(stream):
    wrong = stream.assign(TX_FRAUD=stream["TX_FRAUD"].astype("float64"))
    wrong.loc[[2, 5], "TX_AMOUNT"] = [-1.0, np.inf]
    assert rules(wrong) == [
        ("TX_FRAUD", "wrong_dtype", 1),
        ("TX_AMOUNT", "not_finite", 1),
        ("TX_AMOUNT", "below_low", 1),
    ]


def test_set_apart_every_row_rule_once(stream):
    bad = stream.copy()
    bad.loc[1, "TX_AMOUNT"] = np.nan
    bad.loc[2, "TX_AMOUNT"] = -np.inf
    bad.loc[3, "TX_AMOUNT"] = -0.01
    bad.loc[4, "TX_AMOUNT"] = 50_000.01
    bad.loc[5, "TX_DATETIME"] = pd.NaT
    bad.loc[6, "TX_DATETIME"] = pd.Timestamp("2018-03-31 23:59:59")
    bad.loc[7, "TX_FRAUD"] = 2
    bad.loc[8, "TRANSACTION_ID"] = 0
    bad.loc[9, ["TX_FRAUD_SCENARIO", "TERMINAL_ID"]] = [4, -1]
    before = bad.copy()
    good, rows, counts = set_apart(bad, TRANSACTIONS)
    assert rows["reason"].tolist() == [
        "TX_AMOUNT:null",
        "TX_AMOUNT:not_finite",
        "TX_AMOUNT:below_low",
        "TX_AMOUNT:above_high",
        "TX_DATETIME:null",
        "TX_DATETIME:below_low",
        "TX_FRAUD:above_high",
        "TRANSACTION_ID:duplicate",
        "TERMINAL_ID:below_low, TX_FRAUD_SCENARIO:above_high",
    ]
    assert {rule: n for rule, n in counts.items() if n} == dict.fromkeys(
        [r for reason in rows["reason"] for r in reason.split(", ")], 1
    )
    assert_frame_equal(good, stream.drop(index=range(1, 10)).reset_index(drop=True))
    assert_frame_equal(bad, before)
    assert json.loads(json.dumps(counts)) == counts


def test_bounds_are_inclusive(stream):
    edge = stream.copy()
    edge.loc[[0, 1], "TX_AMOUNT"] = [0.0, 50_000.0]
    edge.loc[0, "TX_DATETIME"] = pd.Timestamp("2018-04-01")
    assert schema_violations(edge, TRANSACTIONS) == []


def test_repeated_rows_keep_the_first_whatever_the_index(stream):
    twice = pd.concat([stream, stream])
    good, bad, counts = set_apart(twice, TRANSACTIONS)
    assert_frame_equal(good, stream)
    assert_frame_equal(bad.drop(columns="reason"), stream)
    assert counts["TRANSACTION_ID:duplicate"] == len(stream)


def test_missing_values_of_a_unique_column_are_not_duplicates():
    schema = {"code": Column("str", "voucher", unique=True)}
    assert rules(pd.DataFrame({"code": pd.array(["a", None, None, "a"], dtype="str")}), schema) == [
        ("code", "null", 2),
        ("code", "duplicate", 1),
    ]


def test_nullable_integer_and_float_columns_are_checked_without_their_missing_values():
    schema = {
        "n": Column("Int64", "count", low=0, high=5, nullable=True),
        "x": Column("Float64", "share", low=0, high=1),
    }
    frame = pd.DataFrame(
        {"n": pd.array([1, None, 9], dtype="Int64"), "x": pd.array([0.5, None, 2.0], dtype="Float64")}
    )
    assert rules(frame, schema) == [("n", "above_high", 1), ("x", "null", 1), ("x", "above_high", 1)]


def test_the_customer_is_personal_and_nothing_here_is_card_data():
    assert TRANSACTIONS["CUSTOMER_ID"].sensitivity == "personal"
    assert {c.sensitivity for c in TRANSACTIONS.values()} <= set(SENSITIVITIES) - {"card"}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 4), st.one_of(st.none(), st.floats(width=32))), max_size=12))
def test_set_apart_splits_every_table_in_two_and_the_good_half_is_clean(rows):
    schema = {"id": Column("int64", "id", low=0, unique=True), "x": Column("float64", "x", low=-10, high=10)}
    frame = pd.DataFrame(
        {
            "id": np.array([r[0] for r in rows], dtype="int64"),
            "x": np.array([r[1] for r in rows], dtype="float64"),
        }
    )
    good, bad, counts = set_apart(frame, schema)
    assert len(good) + len(bad) == len(frame)
    assert schema_violations(good, schema) == []
    assert sum(len(reason.split(", ")) for reason in bad["reason"]) == sum(counts.values())
    assert {(v.column, v.rule): v.count for v in schema_violations(frame, schema)} == {
        tuple(rule.split(":")): n for rule, n in counts.items() if n
    }
