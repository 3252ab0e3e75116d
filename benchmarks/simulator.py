"""Rows a second of the simulator: a literal one-draw-at-a-time loop, the stream at once, and day by day into
Parquet partitions, with peak memory."""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mlnb.data.partitions import read_days, write_days
from mlnb.fraud.daily import simulate_days
from mlnb.fraud.payments import TIME_COLUMN
from mlnb.fraud.simulator import START, customers, simulate, terminals

ROUNDS = 3
PUBLISHED = {"n_days": 183, "n_customers": 5000, "n_terminals": 10_000}
PEER = {"n_days": 183, "n_customers": 250, "n_terminals": 10_000}  # a twentieth: the loop is slow


def literally(n_days: int, n_customers: int, n_terminals: int) -> int:
    "Payments drawn sentence by sentence from the definition, without frauds; number of rows."
    rows, places = [], terminals(n_terminals)[["x_terminal_id", "y_terminal_id"]].to_numpy()
    for who in customers(n_customers).itertuples():
        reach = list(
            np.flatnonzero(np.sqrt(((places - [who.x_customer_id, who.y_customer_id]) ** 2).sum(axis=1)) < 5)
        )
        random.seed(who.CUSTOMER_ID)
        np.random.seed(who.CUSTOMER_ID)
        for day in range(n_days):
            for _ in range(np.random.poisson(who.mean_nb_tx_per_day)):
                second = int(np.random.normal(43200, 20000))
                if 0 < second < 86400:
                    amount = np.random.normal(who.mean_amount, who.std_amount)
                    amount = np.round(amount if amount >= 0 else np.random.uniform(0, who.mean_amount * 2), 2)
                    if reach:
                        rows.append((second + 86400 * day, who.CUSTOMER_ID, random.choice(reach), amount))
    return len(sorted(rows))


def measured(run, *args, **options) -> tuple[float, int]:
    "Median time [s] and what the last call returned."
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = run(*args, **options)
        times.append(time.perf_counter() - start)
    return statistics.median(times), found


def peak_mib(what: str) -> float:
    "Peak memory of a process that makes the published stream in one way [MiB]."
    done = subprocess.run([sys.executable, __file__, what], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_peak(what: str) -> None:
    "Print the peak of this process."
    if what == "at once":
        simulate(**PUBLISHED)
    if what == "by day":
        for _ in simulate_days(**PUBLISHED):
            pass
    status = Path(
        "/proc/self/status"
    ).read_text()  # Linux; `ru_maxrss` would count the parent before the start of this process
    print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def main() -> None:
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; peak memory includes "
        f"{peak_mib('imports'):.0f} MiB of imports"
    )
    seconds, n_rows = measured(literally, **PEER)
    literal = n_rows / seconds
    print(f"{'one draw at a time':24}{n_rows:>10,} rows{seconds:8.2f} s{literal:12,.0f} rows/s     1.0 x")
    n_rows = len(simulate(**PUBLISHED))
    seconds, _ = measured(simulate, **PUBLISHED)
    print(
        f"{'at once':24}{n_rows:>10,} rows{seconds:8.2f} s{n_rows / seconds:12,.0f} "
        f"rows/s{n_rows / seconds / literal:8.1f} x{peak_mib('at once'):8,.0f} MiB"
    )
    seconds, _ = measured(lambda: sum(map(len, simulate_days(**PUBLISHED))))
    print(
        f"{'by day':24}{n_rows:>10,} rows{seconds:8.2f} s{n_rows / seconds:12,.0f} "
        f"rows/s{n_rows / seconds / literal:8.1f} x{peak_mib('by day'):8,.0f} MiB"
    )
    times = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            paths = write_days(simulate_days(**PUBLISHED), Path(folder), START, TIME_COLUMN)
            times.append(time.perf_counter() - start)
            n_bytes, n_read = (
                sum(path.stat().st_size for path in paths),
                sum(map(len, read_days(Path(folder), TIME_COLUMN))),
            )
    assert n_read == n_rows == 1_754_155
    seconds = statistics.median(times)
    print(
        f"{'into daily Parquet':24}{n_rows:>10,} rows{seconds:8.2f} s{n_rows / seconds:12,.0f} "
        f"rows/s{n_rows / seconds / literal:8.1f} x   {len(paths)} partitions, {n_bytes / 2**20:.0f} "
        "MiB"
    )


if __name__ == "__main__":
    measure_peak(sys.argv[1]) if len(sys.argv) > 1 else main()
