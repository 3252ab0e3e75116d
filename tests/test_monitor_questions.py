"""Any question about any tables: an answer, or an error of usage; never `ok` for what nobody looked at."""

import json
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd
import pytest

from mlnb.monitor.domain import domain_drift
from mlnb.monitor.drift import Sampling, drift, figures
from mlnb.monitor.performance import performance
from mlnb.monitor.quality import quality
from mlnb.store.errors import UsageError

N = 80
DAYS = pd.date_range("2026-01-01", periods=N, freq="h")
WEEK = pd.DataFrame(
    {
        "id": np.arange(N),
        "amount": np.arange(N) / 7,
        "shop": ["a", "b"] * (N // 2),
        "at": DAYS,
        "card": np.arange(N) // 2,
        "y": [0, 1] * (N // 2),
        "p": np.arange(N) % 11 / 11,
    }
)
ODD = [
    "no such thing",
    "",
    0,
    -1,
    1.5,
    True,
    float("nan"),
    ["a"],
    [["a"]],
    (),
    {},
    object(),
    b"id",
    np.array([1, 2]),
]
QUESTIONS = {
    "drift": {
        "columns": lambda odd: drift(WEEK, WEEK, columns=odd),
        "reference": lambda odd: drift(odd, WEEK),
        "current": lambda odd: drift(WEEK, odd),
        "sampling": lambda odd: drift(WEEK, WEEK, sampling=odd),
        "cluster": lambda odd: drift(WEEK, WEEK, sampling=Sampling(cluster=odd)),
        "time": lambda odd: drift(WEEK, WEEK, sampling=Sampling(season="week", time=odd)),
        "season": lambda odd: drift(WEEK, WEEK, sampling=Sampling(season=odd, time="at")),
        "warn": lambda odd: drift(WEEK, WEEK, warn=odd),
        "fail": lambda odd: drift(WEEK, WEEK, fail=odd),
        "alpha": lambda odd: drift(WEEK, WEEK, alpha=odd),
    },
    "figures": {
        "columns": lambda odd: figures(WEEK, WEEK, odd),
        "names": lambda odd: figures(WEEK, WEEK, ["amount"], odd),
    },
    "quality": {
        "reference": lambda odd: quality(odd, WEEK),
        "current": lambda odd: quality(WEEK, odd),
        "key": lambda odd: quality(WEEK, WEEK, key=odd),
        "n_expected": lambda odd: quality(WEEK, WEEK, n_expected=odd),
        "columns": lambda odd: quality(WEEK, WEEK, columns=odd),
        "schema": lambda odd: quality(WEEK, WEEK, schema=odd),
    },
    "domain": {
        "reference": lambda odd: domain_drift(odd, WEEK),
        "cluster": lambda odd: domain_drift(WEEK, WEEK, odd),
        "warn": lambda odd: domain_drift(WEEK, WEEK, warn=odd),
        "fail": lambda odd: domain_drift(WEEK, WEEK, fail=odd),
        "seed": lambda odd: domain_drift(WEEK, WEEK, seed=odd),
        "columns": lambda odd: domain_drift(WEEK, WEEK, columns=odd),
    },
    "performance": {
        "reference": lambda odd: performance(odd, WEEK, "y", "p"),
        "current": lambda odd: performance(WEEK, odd, "y", "p"),
        "target": lambda odd: performance(WEEK, WEEK, odd, "p"),
        "score": lambda odd: performance(WEEK, WEEK, "y", odd),
        "cards": lambda odd: performance(WEEK, WEEK, "y", "p", odd),
        "n_resamples": lambda odd: performance(WEEK, WEEK, "y", "p", n_resamples=odd),
        "seed": lambda odd: performance(WEEK, WEEK, "y", "p", seed=odd),
    },
}
EVERY = [(check, what) for check, asked in QUESTIONS.items() for what in asked]
SENSIBLE = {("quality", "n_expected", 0), ("domain", "seed", 0), ("performance", "seed", 0)}


@pytest.mark.parametrize(("check", "what"), EVERY)
def test_odd_argument_is_an_error_of_usage_with_a_mend(check, what):
    for odd in ODD:
        if isinstance(odd, int) and (check, what, odd) in SENSIBLE:
            continue
        with pytest.raises(UsageError) as caught:
            print(check, what, odd, QUESTIONS[check][what](odd))
        assert caught.value.mend and "Error" not in caught.value.message, odd


def alike(value):
    return [value] * N


VALUES = {
    "numbers": np.arange(N) / 3,
    "whole": np.arange(N),
    "decimals": [Decimal(n) / 3 for n in range(N)],
    "signalling decimals": [Decimal("sNaN")] * N,
    "infinities": [np.inf, -np.inf] * (N // 2),
    "beyond floats": pd.Series([10**400 + n for n in range(N)], dtype=object),
    "nothing": alike(None),
    "not numbers": alike(np.nan),
    "no times": pd.Series([pd.NaT] * N),
    "truth": [True, False] * (N // 2),
    "truth with gaps": [True, None] * (N // 2),
    "labels": ["yes", "no"] * (N // 2),
    "ids": [f"c{n}" for n in range(N)],
    "empty texts": alike(""),
    "one value": alike(7),
    "bytes": [b"a", b"b"] * (N // 2),
    "times": DAYS,
    "times in a zone": DAYS.tz_localize("Europe/Rome"),
    "times of two zones": [DAYS[0], DAYS.tz_localize("UTC")[1]] * (N // 2),
    "dates": [date(2026, 1, 1 + n % 28) for n in range(N)],
    "far dates": [date(9999, 1, 1)] * N,
    "hours": [time(n % 24) for n in range(N)],
    "durations": [timedelta(days=n) for n in range(N)],
    "periods": pd.period_range("2026-01", periods=N, freq="D"),
    "lists": [[n, [n]] for n in range(N)],
    "dicts": [{"n": n} for n in range(N)],
    "sets": [{n} for n in range(N)],
    "arrays": [np.arange(n) for n in range(N)],
    "frames": [pd.DataFrame()] * N,
    "intervals": pd.interval_range(0, N),
    "categories": pd.Categorical(["a", "b"] * (N // 2), ["a", "b", "z"]),
    "complex": np.arange(N) * 1j,
    "mixed": [1, "a", None, 2.5] * (N // 4),
    "types": [int, str] * (N // 2),
    "29 units": np.minimum(np.arange(N), 28),
}
TIMES = {
    "times",
    "times in a zone",
    "times of two zones",
    "dates",
    "far dates",
    "durations",
    "hours",
    "periods",
}
NO_DISTRIBUTION = TIMES | {"lists", "dicts", "sets", "arrays", "frames", "ids", "nothing", "not numbers"}
NO_DISTRIBUTION |= {"no times", "signalling decimals"}
WINDOWS = {"as it is": slice(None), "no rows": slice(0, 0), "one row": slice(0, 1), "29 rows": slice(0, 29)}
ROLES = {
    "drift": lambda before, now: drift(before, now, ["odd"]),
    "cluster": lambda before, now: drift(before, now, ["amount"], sampling=Sampling("odd")),
    "time": lambda before, now: drift(before, now, ["y"], sampling=Sampling(None, "week", "odd")),
    "quality": quality,
    "key": lambda before, now: quality(before, now, "odd"),
    "target": lambda before, now: performance(before, now, "odd", "p", n_resamples=20),
    "score": lambda before, now: performance(before, now, "y", "odd", n_resamples=20),
    "cards": lambda before, now: performance(before, now, "y", "p", "odd", n_resamples=20),
}


def answer(role, before, now):
    "Verdict of a question, or `usage`; what is answered is strict JSON, what is refused has a mend."
    try:
        found = ROLES[role](before, now)
    except UsageError as error:
        assert error.mend and "Error" not in error.message
        return "usage"
    assert json.dumps(found, allow_nan=False)
    return found["verdict"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", VALUES)
def test_values_of_any_kind_have_an_answer_in_any_part(kind):
    frame, unseen = WEEK.assign(odd=VALUES[kind]), ("not_computable", "usage")
    for (name, rows), other in product(WINDOWS.items(), (frame, WEEK)):
        for before, now in ((other, frame[rows]), (frame[rows], other)):
            found = {role: answer(role, before, now) for role in ROLES}
            assert name == "as it is" or "ok" not in found.values(), (name, found)
            assert other is frame or found["drift"] != "ok", (name, found)
            assert kind not in NO_DISTRIBUTION or found["drift"] != "ok", (name, found)
            if kind in ("one value", "nothing", "29 units", "truth"):
                assert found["cluster"] in unseen and found["cards"] in unseen, (name, found)
            assert kind in TIMES or found["time"] != "ok", (name, found)
