"""Simulated days: the same stream in pieces of any size, on disk as it was, in memory that does not grow with
it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from mlnb.data.partitions import read_days, write_days
from mlnb.data.schema import schema_violations
from mlnb.fraud.daily import simulate_days
from mlnb.fraud.payments import TIME_COLUMN, TRANSACTIONS
from mlnb.fraud.simulator import START, simulate
from mlnb.store.errors import UsageError


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 30), st.integers(3, 40), st.integers(2, 400), st.sampled_from([1, 50, 333, 100_000]))
def test_days_in_pieces_of_any_size_equal_the_stream_at_once(n_days, n_customers, n_terminals, piece_rows):
    days = list(simulate_days(n_days, n_customers, n_terminals, piece_rows))
    assert len(days) == n_days
    assert all((day["TX_TIME_DAYS"] == number).all() for number, day in enumerate(days))
    assert_frame_equal(
        pd.concat(days, ignore_index=True), simulate(n_days, n_customers, n_terminals), check_exact=True
    )


def test_days_keep_the_schema_and_have_an_index_from_0():
    for day in simulate_days(3, 200, 1000, piece_rows=200):
        assert schema_violations(day, TRANSACTIONS) == []
        assert list(day) == list(TRANSACTIONS)
        assert day.index.equals(pd.RangeIndex(len(day)))


def test_scratch_is_empty_when_the_iterator_ends_or_is_closed(tmp_path):
    days = simulate_days(5, 100, 500, piece_rows=100, scratch=tmp_path)
    next(days)
    assert list(tmp_path.iterdir())
    days.close()
    assert list(tmp_path.iterdir()) == []
    list(simulate_days(5, 100, 500, scratch=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"n_days": 0}, "`n_days` is 0"),
        ({"n_customers": 2}, "three cards"),
        ({"n_terminals": 1}, "two terminals"),
        ({"piece_rows": 0}, "`piece_rows` is 0"),
    ],
)
def test_sizes_without_meaning_are_refused_before_the_first_day(sizes, said):
    with pytest.raises(UsageError, match=said):
        simulate_days(**sizes)


@pytest.mark.slow
def test_full_size_in_daily_partitions_gives_the_published_figures(tmp_path):
    write_days(simulate_days(183), tmp_path / "payments", START, TIME_COLUMN)
    full = pd.concat(read_days(tmp_path / "payments", TIME_COLUMN), ignore_index=True)
    assert len(full) == 1_754_155
    assert full["TX_FRAUD_SCENARIO"].value_counts().to_dict() == {0: 1_739_474, 1: 973, 2: 9_077, 3: 4_631}
    assert full["TX_AMOUNT"].max() == 2628.0
    assert_frame_equal(full, simulate(183), check_exact=True)


def peak_mib(n_customers: int) -> float:
    "Peak memory of a process that takes 40 days of so many customers one by one [MiB]."
    code = (
        "from mlnb.fraud.daily import simulate_days; n = sum(len(day) for day in simulate_days(40, "
        f"{n_customers}, 1000, piece_rows=50_000)); "
        "print(n, next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n_rows, kib = map(int, done.stdout.split())
    assert n_rows > n_customers * 40
    return kib / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_stream():
    assert peak_mib(16_000) - peak_mib(2_000) < 25  # 1.1 million rows more, 80 MB as a frame
