"""Window features beside pandas `groupby().rolling()` and DuckDB windows on the same rows, values compared;
then the same features an event at a time."""

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from mlnb.data.online import new_state, update
from mlnb.data.windows import compute
from mlnb.fraud.features import handbook
from mlnb.fraud.payments import ID_COLUMN, TIME_COLUMN
from mlnb.fraud.simulator import simulate

SIZES = (5_000, 100_000, 1_754_155)  # rows, the last one the published stream
WINDOWS = (1, 7, 30)  # days
N_ONLINE = 200_000  # events
COLUMNS = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"]


def with_mlnb(stream: pd.DataFrame) -> pd.DataFrame:
    "The definition of the library, on one core."
    return pd.DataFrame(compute(stream, handbook(), ID_COLUMN, TIME_COLUMN))


def with_pandas(stream: pd.DataFrame) -> pd.DataFrame:
    "The usual formulation, as the Handbook has it: rolling windows over each group."
    columns = {}
    indexed = stream.set_index("TX_DATETIME")
    for key, value in (("CUSTOMER_ID", "TX_AMOUNT"), ("TERMINAL_ID", "TX_FRAUD")):
        groups = indexed.groupby(key)[value]
        place = np.argsort(stream[key].to_numpy(), kind="stable")
        delayed = (
            {what: getattr(groups.rolling("7D"), what)().to_numpy() for what in ("count", "sum")}
            if key == "TERMINAL_ID"
            else None
        )
        for days in WINDOWS:
            rolling = groups.rolling(f"{days + 7}D" if delayed else f"{days}D")
            count, total = rolling.count().to_numpy(), rolling.sum().to_numpy()
            if delayed:
                count, total = count - delayed["count"], total - delayed["sum"]
            names = (
                f"{key}_NB_TX_{days}DAY_WINDOW",
                f"{key}_{'RISK' if delayed else 'AVG_AMOUNT'}_{days}DAY_WINDOW",
            )
            for name, values in zip(
                names,
                (count, np.divide(total, count, out=np.zeros(len(count)), where=count > 0)),
                strict=True,
            ):
                columns[name] = np.empty(len(stream))
                columns[name][place] = values
    return pd.DataFrame(columns)[[f.name for f in handbook()]]


def duckdb_query() -> str:
    """The twelve features as SQL windows; times are whole microseconds, so that a window open at its left end
    can be said."""
    day, columns, windows = 86_400_000_000, [], []
    for days in WINDOWS:
        windows.append(
            f"c{days} AS (PARTITION BY CUSTOMER_ID ORDER BY t RANGE BETWEEN {days * day - 1} PRECEDING "
            "AND CURRENT ROW)"
        )
        windows.append(
            f"t{days} AS (PARTITION BY TERMINAL_ID ORDER BY t RANGE BETWEEN {(days + 7) * day - 1} "
            f"PRECEDING AND {7 * day} PRECEDING)"
        )
        columns += [
            f"count(*) OVER c{days} AS CUSTOMER_ID_NB_TX_{days}DAY_WINDOW",
            f"avg(TX_AMOUNT) OVER c{days} AS CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW",
            f"count(*) OVER t{days} AS TERMINAL_ID_NB_TX_{days}DAY_WINDOW",
            f"coalesce(avg(TX_FRAUD) OVER t{days}, 0) AS TERMINAL_ID_RISK_{days}DAY_WINDOW",
        ]
    return (
        f"SELECT TRANSACTION_ID, {', '.join(columns)} FROM (SELECT *, epoch_us(TX_DATETIME) AS t FROM "
        "stream) "
        f"WINDOW {', '.join(windows)} ORDER BY TRANSACTION_ID"
    )


def with_duckdb(stream: pd.DataFrame) -> pd.DataFrame:
    "SQL windows on all cores."
    import duckdb

    with duckdb.connect() as connection:
        connection.register("stream", stream)
        return connection.execute(duckdb_query()).df()[[f.name for f in handbook()]]


WAYS = {"mlnb": with_mlnb, "pandas": with_pandas, "duckdb": with_duckdb}


def difference(left: pd.DataFrame, right: pd.DataFrame, rows: np.ndarray) -> float:
    "Largest difference of two tables in the given rows, relative to the larger value or 1."
    a, b = left.to_numpy(dtype=float)[rows], right.to_numpy(dtype=float)[rows]
    return float((np.abs(a - b) / np.maximum(1, np.abs(a))).max())


def untied(stream: pd.DataFrame) -> np.ndarray:
    "Rows that share their second with no other of the same customer: SQL counts later rows of a second too."
    return ~stream.duplicated(["CUSTOMER_ID", "TX_DATETIME"], keep=False).to_numpy()


def peak_mib(way: str, path: Path) -> float:
    "Memory that one way needs above the rows themselves, in a process of its own [MiB]."
    done = subprocess.run(
        [sys.executable, __file__, way, str(path)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def resident_kib(name: str) -> int:
    "`VmRSS` or `VmHWM` of this process, as Linux has it [KiB]."
    return int(
        next(
            line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
        ).split()[1]
    )


def measure_peak(way: str, path: str) -> None:
    "Print how far the peak rises above what is there before (Linux)."
    stream = pd.read_parquet(path)
    WAYS[way](stream.head(1000))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_kib("VmRSS")
    WAYS[way](stream)
    print((resident_kib("VmHWM") - before) / 1024)


def batch(stream: pd.DataFrame, scratch: Path) -> None:
    "Time, memory and agreement of the three ways."
    rounds = 5 if len(stream) < 1_000_000 else 3
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    tables = {}
    for _ in range(rounds):  # in turns, so that a busy moment of the machine falls on all of them
        for way, run in WAYS.items():
            gc.collect()
            start = time.perf_counter()
            tables[way] = run(stream)
            times[way].append(time.perf_counter() - start)
    medians = {way: statistics.median(values) for way, values in times.items()}
    path = scratch / "stream.parquet"
    stream.to_parquet(path)
    rows = untied(stream)
    for way, seconds in medians.items():
        gap = difference(tables["mlnb"], tables[way], np.ones(len(stream), bool) if way == "pandas" else rows)
        assert gap < 1e-6, f"{way} differs by {gap}"
        print(
            f"{len(stream):>10,}  {way:8}{seconds:9.3f} s{len(stream) / seconds:12,.0f} "
            f"rows/s{seconds / medians['mlnb']:8.1f} x mlnb"
            f"{peak_mib(way, path):9,.0f} MiB   largest difference {gap:.1g}"
        )
    print(f"{'':12}{(~rows).sum():,} rows tied in time are left out of the comparison with SQL")


def online(stream: pd.DataFrame) -> None:
    "One event at a time, and whether it comes to the same."
    table, state = (
        compute(stream, handbook(), ID_COLUMN, TIME_COLUMN),
        new_state(handbook(), ID_COLUMN, TIME_COLUMN),
    )
    expected, seconds, worst = np.column_stack(list(table.values())), np.empty(len(stream)), 0.0
    for place, row in enumerate(stream.to_dict("records")):
        start = time.perf_counter()
        answer = update(state, row)
        seconds[place] = time.perf_counter() - start
        worst = max(worst, float(np.abs(np.array(list(answer.values())) - expected[place]).max()))
    assert worst < 1e-9, f"online differs by {worst}"
    print(
        f"online: {len(stream):,} events, median {np.median(seconds) * 1e6:.1f} µs, last tenth "
        f"{np.median(seconds[-len(stream) // 10 :]) * 1e6:.1f} µs, "
        f"99 % below {np.quantile(seconds, 0.99) * 1e6:.1f} µs, {len(stream) / seconds.sum():,.0f} "
        f"events/s, largest difference {worst:.1g}"
    )


def main() -> None:
    full = simulate(183)[COLUMNS]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; twelve window features")
    with tempfile.TemporaryDirectory() as folder:
        for n_rows in SIZES:
            batch(full.head(n_rows), Path(folder))
    online(full.head(N_ONLINE))


if __name__ == "__main__":
    measure_peak(*sys.argv[1:]) if len(sys.argv) > 1 else main()
