"""The prediction log: one line per row, a score in [0, 1], and nothing else."""

import numpy as np
import pandas as pd
import pytest

from mlnb.fraud.model import payments_log, payments_log_violations
from mlnb.models.predictions import LOG_COLUMNS, PredictionError, log_violations, prediction_log

DIGEST = "0123456789abcdef" * 4
NAMES = ("id", "unit", "time")


@pytest.fixture
def scored():
    return pd.DataFrame(
        {
            "id": np.arange(100, 105),
            "unit": [1, 2, 2, 3, 1],
            "time": pd.date_range("2018-06-01", periods=5, freq="h").astype("datetime64[us]"),
            "amount": [1.0, 2.0, 3.0, 4.0, 5.0],
            "label": [0, 1, 0, 0, 0],
        },
        index=[9, 8, 7, 6, 5],
    )


def test_log_holds_its_columns_and_neither_label_nor_amount(scored):
    log = prediction_log(scored, np.linspace(0, 1, 5), DIGEST, "run-1", *NAMES)
    assert tuple(log.columns) == (*NAMES, *LOG_COLUMNS)
    assert log.index.tolist() == [0, 1, 2, 3, 4]
    assert log.id.tolist() == scored.id.tolist()
    assert log.score.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert log.time.dtype == "datetime64[us]" and log.score.dtype == "float64"
    assert set(log.model_digest) == {DIGEST} and set(log.scored_run) == {"run-1"}
    assert log_violations(log, *NAMES, scored) == []


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_log_score_outside_the_unit_interval_is_refused(scored, bad):
    with pytest.raises(PredictionError, match="1 scores are missing or outside"):
        prediction_log(scored, [0.1, 0.2, bad, 0.3, 0.4], DIGEST, "run-1", *NAMES)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": [1, 1, 2, 3, 4]}, "1 values of `id` occur more than once"),
        ({"unit": [1, None, 2, 3, 4]}, "1 rows lack `unit` or `time`"),
        ({"time": pd.NaT}, "5 rows lack `unit` or `time`"),
    ],
)
def test_log_of_broken_rows_is_refused(scored, changed, said):
    with pytest.raises(PredictionError, match=said):
        prediction_log(scored.assign(**changed), [0.1] * 5, DIGEST, "run-1", *NAMES)


@pytest.mark.parametrize(
    ("digest", "run", "said"),
    [
        ("", "run-1", "not SHA-256"),
        (DIGEST.upper(), "run-1", "not SHA-256"),
        (None, "run-1", "not SHA-256"),
        (DIGEST, "", "do not name their run"),
    ],
)
def test_log_without_model_or_run_is_refused(scored, digest, run, said):
    with pytest.raises(PredictionError, match=said):
        prediction_log(scored, [0.1] * 5, digest, run, *NAMES)


def test_log_of_another_length_is_refused(scored):
    with pytest.raises(PredictionError, match="4 scores for 5 rows"):
        prediction_log(scored, [0.1] * 4, DIGEST, "run-1", *NAMES)


def test_log_of_an_empty_window_is_empty(scored):
    log = prediction_log(scored.iloc[:0], np.array([]), DIGEST, "run-1", *NAMES)
    assert len(log) == 0 and tuple(log.columns) == (*NAMES, *LOG_COLUMNS)


def test_violations_foreign_and_missing_rows_are_counted(scored):
    log = prediction_log(scored, [0.1] * 5, DIGEST, "run-1", *NAMES)
    moved = scored.assign(id=scored.id + 2)
    assert log_violations(log, *NAMES, moved) == [
        "2 rows have no score",
        "2 scores belong to no row of the window",
    ]
    assert log_violations(log.drop(columns=["score", "scored_run"]), *NAMES) == [
        "columns are absent: score, scored_run"
    ]


def test_log_of_payments_is_the_general_one_under_their_columns(scored):
    payments = scored.rename(columns={"id": "TRANSACTION_ID", "unit": "CUSTOMER_ID", "time": "TX_DATETIME"})
    log, general = (
        payments_log(payments, [0.1] * 5, DIGEST, "run-1"),
        prediction_log(scored, [0.1] * 5, DIGEST, "run-1", *NAMES),
    )
    assert list(log.columns) == ["TRANSACTION_ID", "CUSTOMER_ID", "TX_DATETIME", *LOG_COLUMNS]
    pd.testing.assert_frame_equal(log, general.set_axis(log.columns, axis=1))
    assert payments_log_violations(log, payments[:4]) == ["1 scores belong to no row of the window"]
