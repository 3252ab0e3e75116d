"""The prediction log: one row per transaction, a score in [0, 1], and nothing else."""

import numpy as np
import pandas as pd
import pytest

from mlnb.models.predictions import COLUMNS, PredictionError, check, prediction_log

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def scored():
    return pd.DataFrame({
        "TRANSACTION_ID": np.arange(100, 105),
        "CUSTOMER_ID": [1, 2, 2, 3, 1],
        "TX_DATETIME": pd.date_range("2018-06-01", periods=5, freq="h").astype("datetime64[us]"),
        "TX_AMOUNT": [1.0, 2.0, 3.0, 4.0, 5.0],
        "TX_FRAUD": [0, 1, 0, 0, 0],
    }, index=[9, 8, 7, 6, 5])


def test_log_holds_its_columns_and_neither_label_nor_amount(scored):
    log = prediction_log(scored, np.linspace(0, 1, 5), DIGEST, "run-1")
    assert tuple(log.columns) == COLUMNS
    assert log.index.tolist() == [0, 1, 2, 3, 4]
    assert log.TRANSACTION_ID.tolist() == scored.TRANSACTION_ID.tolist()
    assert log.score.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert log.TX_DATETIME.dtype == "datetime64[us]" and log.score.dtype == "float64"
    assert set(log.model_digest) == {DIGEST} and set(log.scored_run) == {"run-1"}
    assert check(log, scored) == []


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_log_score_outside_the_unit_interval_is_refused(scored, bad):
    with pytest.raises(PredictionError, match="1 scores are missing or outside"):
        prediction_log(scored, [0.1, 0.2, bad, 0.3, 0.4], DIGEST, "run-1")


@pytest.mark.parametrize(("changed", "said"), [
    ({"TRANSACTION_ID": [1, 1, 2, 3, 4]}, "1 transactions occur more than once"),
    ({"CUSTOMER_ID": [1, None, 2, 3, 4]}, "1 rows lack a customer or a time"),
    ({"TX_DATETIME": pd.NaT}, "5 rows lack a customer or a time"),
])
def test_log_of_broken_transactions_is_refused(scored, changed, said):
    with pytest.raises(PredictionError, match=said):
        prediction_log(scored.assign(**changed), [0.1] * 5, DIGEST, "run-1")


@pytest.mark.parametrize(("digest", "run", "said"), [
    ("", "run-1", "not SHA-256"), (DIGEST.upper(), "run-1", "not SHA-256"), (None, "run-1", "not SHA-256"), (DIGEST, "", "do not name their run"),
])
def test_log_without_model_or_run_is_refused(scored, digest, run, said):
    with pytest.raises(PredictionError, match=said):
        prediction_log(scored, [0.1] * 5, digest, run)


def test_log_of_another_length_is_refused(scored):
    with pytest.raises(PredictionError, match="4 scores for 5 transactions"):
        prediction_log(scored, [0.1] * 4, DIGEST, "run-1")


def test_log_of_an_empty_window_is_empty(scored):
    log = prediction_log(scored.iloc[:0], np.array([]), DIGEST, "run-1")
    assert len(log) == 0 and tuple(log.columns) == COLUMNS


def test_check_foreign_and_missing_transactions_are_counted(scored):
    log = prediction_log(scored, [0.1] * 5, DIGEST, "run-1")
    moved = scored.assign(TRANSACTION_ID=scored.TRANSACTION_ID + 2)
    assert check(log, moved) == ["2 transactions have no score", "2 scores belong to no transaction of the window"]
    assert check(log.drop(columns=["score", "scored_run"])) == ["columns are absent: score, scored_run"]
