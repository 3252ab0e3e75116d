"""What it costs to compare two windows of thirty columns: mlnb beside Evidently, NannyML and frouros.

Each tool compares the same rows in a process of its own, with one statistic a column (Kolmogorov-Smirnov for
numbers, Jensen-Shannon for categories; frouros has the first only). Time is that of the comparison, without
imports, by the clock and of the processor, which neighbours on the machine change less; memory is what the
process had at most. *Apart* is the largest difference of a statistic from that of mlnb (Evidently: of
categories only, its logarithms are natural; NannyML: it bins many numbers). `--peers PYTHON` names an
interpreter that has NannyML and frouros, whose requirements fit no environment of ours; without it they are
left out. The second table merges a year of daily profiles and compares it with a day, beside reading the
year again; the third has many columns."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import distance

N_NUMBERS, N_CATEGORIES = 20, 10
QUIET = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
BEGIN = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
before, now = (pd.read_parquet(path) for path in sys.argv[1:3])
numbers, categories = ([name for name in before if name[0] == kind] for kind in "nc")
"""
START = """
start = time.perf_counter(), time.process_time()
"""
END = """
seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "processor": processor, "mib": most / 1024, "values": values()}))
"""
OF_OURS = """
def values():
    return {name: one["value"] for name, one in found["columns"].items()}
"""
TOOLS = {
    "mlnb": """
from mlnb.monitor.drift import drift
"""
    + START
    + """
found = drift(before, now)
"""
    + OF_OURS,
    "mlnb, by clusters": """
from mlnb.monitor.drift import Sampling, drift
"""
    + START
    + """
found = drift(before, now, sampling=Sampling("unit"))
"""
    + OF_OURS,
    "Evidently": """
import mlnb.monitor.evidently
import evidently, evidently.presets
before, now = (one.drop(columns="unit") for one in (before, now))
about = evidently.DataDefinition(numerical_columns=numbers, categorical_columns=categories)
"""
    + START
    + """
both = [evidently.Dataset.from_pandas(one, about) for one in (now, before)]
preset = evidently.presets.DataDriftPreset(num_method="ks", cat_method="jensenshannon")
text = evidently.Report([preset]).run(*both).json()

def values():
    measured = {one["config"].get("column"): one["value"] for one in json.loads(text)["metrics"]}
    return {name: measured[name] for name in categories}
""",
}
PEERS = {
    "NannyML": """
import nannyml
before, now = (one.astype(dict.fromkeys(categories, "category")) for one in (before, now))
"""
    + START
    + """
found = nannyml.UnivariateDriftCalculator(
    column_names=[*numbers, *categories], chunk_number=1,
    continuous_methods=["kolmogorov_smirnov"], categorical_methods=["jensen_shannon"],
)
result = found.fit(before).calculate(now)

def values():
    last = result.filter(period="analysis").to_df().iloc[-1]
    methods = dict.fromkeys(numbers, "kolmogorov_smirnov") | dict.fromkeys(categories, "jensen_shannon")
    return {name: float(last[name][method]["value"]) for name, method in methods.items()}
""",
    "frouros (numbers only)": """
from frouros.detectors.data_drift import KSTest
found = {}
"""
    + START
    + """
for name in numbers:
    detector = KSTest()
    detector.fit(before[name].to_numpy())
    found[name] = detector.compare(now[name].to_numpy())[0]

def values():
    return {name: float(one.statistic) for name, one in found.items()}
""",
}


def window(n_rows: int, seed: int, moved: float = 0.0) -> pd.DataFrame:
    "Thirty columns and the unit of each row."
    draw = np.random.default_rng(seed)
    numbers = {f"n{place}": draw.normal(moved, 1 + place / 9, n_rows) for place in range(N_NUMBERS)}
    categories = {f"c{place}": draw.choice(list("abcdefgh"), n_rows) for place in range(N_CATEGORIES)}
    return pd.DataFrame({**numbers, **categories, "unit": draw.integers(0, max(40, n_rows // 20), n_rows)})


def measured_once(python: str, code: str, files: list[Path]) -> dict[str, Any]:
    "What a tool took, and its statistics, in a fresh process."
    command, quiet = [python, "-c", BEGIN + code + END, *map(str, files)], os.environ | QUIET
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def measured(python: str, code: str, files: list[Path], rounds: int) -> dict[str, Any]:
    "Median times [s] and memory [MiB] of a tool, and its statistics."
    found = [measured_once(python, code, files) for _ in range(rounds)]
    medians = {key: statistics.median(one[key] for one in found) for key in ("seconds", "processor", "mib")}
    return medians | {"values": found[0]["values"]}


def apart(one: dict[str, float], other: dict[str, float]) -> str:
    "Largest difference of two tools over the columns that both have."
    shared = [name for name in one if name in other and name != "unit"]
    return f"{max(abs(one[name] - other[name]) for name in shared):.0e}"


def farthest_from_scipy(before: pd.DataFrame, now: pd.DataFrame) -> float:
    "Largest difference of a statistic from scipy's, over all columns."
    from mlnb.monitor.drift import drift

    columns, most = drift(before, now)["columns"], 0.0
    for name, found in columns.items():
        if name[0] == "n":
            expected = stats.ks_2samp(before[name], now[name], method="asymp").statistic
        elif name[0] == "c":
            counts = [one[name].value_counts().sort_index() for one in (before, now)]
            expected = distance.jensenshannon(counts[0], counts[1], base=2)
        else:
            continue
        most = max(most, abs(found["value"] - expected))
    return most


def compare_tools(n_rows: int, rounds: int, peers: str | None) -> None:
    "Print a table of one size."
    windows = window(n_rows, 0), window(n_rows, 1, moved=0.02)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.parquet" for name in ("before", "now")]
        for one, file in zip(windows, files, strict=True):
            one.to_parquet(file)
        of_peers = {name: (peers, code) for name, code in PEERS.items()} if peers else {}
        works = {name: (sys.executable, code) for name, code in TOOLS.items()} | of_peers
        found = {name: measured(*work, files, rounds) for name, work in works.items()}
    print(f"\n{n_rows:,} against {n_rows:,} rows, {N_NUMBERS + N_CATEGORIES} columns")
    ours = found["mlnb"]
    print(f"  {'':24} {'clock':>10} {'':>9} {'processor':>10} {'':>9} {'memory':>12} {'apart':>6}")
    for name, one in found.items():
        ratios = [one[key] / ours[key] for key in ("seconds", "processor")]
        times = f"{one['seconds']:8.2f} s {ratios[0]:8.1f}x {one['processor']:8.2f} s {ratios[1]:8.1f}x"
        print(f"  {name:24} {times} {one['mib']:8,.0f} MiB {apart(one['values'], ours['values']):>6}")
    print(f"  farthest from scipy: {farthest_from_scipy(*windows):.1e}")


def compare_profiles(n_days: int, n_rows: int) -> None:
    "Print what a year of daily profiles costs beside the rows of the year."
    from mlnb.monitor.drift import drift
    from mlnb.monitor.profiles import merged, profile_drift, profile_of

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{day}.parquet" for day in range(n_days)]
        for day, file in enumerate(files):
            window(n_rows, day).to_parquet(file)
        kept, today = [profile_of(pd.read_parquet(file)) for file in files], window(n_rows, 999, moved=0.1)
        start = time.perf_counter(), time.process_time()
        of_profiles = profile_drift(merged(kept), profile_of(today))
        of_rows = time.perf_counter(), time.process_time()
        exact = drift(pd.concat(map(pd.read_parquet, files), ignore_index=True), today)
        end = time.perf_counter(), time.process_time()
    columns = exact["columns"].items()
    apart = max(abs(of_profiles["columns"][name]["value"] - one["value"]) for name, one in columns)
    error = max(one["error"] for one in of_profiles["columns"].values())
    print(f"\n{n_days} days of {n_rows:,} rows against one")
    size_mb = len(json.dumps(kept[0])) / 1e6
    for place, what in enumerate(("clock", "processor")):
        profiles_s, rows_s = of_rows[place] - start[place], end[place] - of_rows[place]
        print(f"  {what}: profiles {profiles_s:.2f} s, all rows {rows_s:.2f} s, {rows_s / profiles_s:.1f}x")
    print(f"  {size_mb:.2f} MB a day")
    print(f"  farthest apart {apart:.1e}, stated error {error:.1e}")


def compare_widths(widths: list[int], rounds: int) -> None:
    "Print what many columns cost; linear is a ratio of times like that of the widths."
    from mlnb.monitor.drift import drift
    from mlnb.monitor.quality import quality

    draw, took = np.random.default_rng(0), {}
    for width in widths:
        both = [pd.DataFrame(draw.normal(size=(2000, width))).rename(columns=str) for _ in range(2)]
        for check in (drift, quality):
            took[check.__name__, width] = statistics.median(seconds_of(check, both) for _ in range(rounds))
    print(f"\n{' and '.join(f'{width:,}' for width in widths)} columns of 2,000 rows, processor time")
    for name in ("drift", "quality"):
        times = [took[name, width] for width in widths]
        print(
            f"  {name:24} "
            + ", ".join(f"{one:.2f} s" for one in times)
            + f", ratio {times[-1] / times[0]:.1f}"
        )


def seconds_of(check: Callable[..., Any], both: list[pd.DataFrame]) -> float:
    "Processor time of a check of two windows [s]."
    start = time.process_time()
    check(*both)
    return time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with NannyML and frouros")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--widths", type=int, nargs="*", default=[250, 2000])
    given = parser.parse_args()
    for n_rows in given.rows:
        compare_tools(n_rows, given.rounds, given.peers)
    if given.days:
        compare_profiles(given.days, 10_000)
    if given.widths:
        compare_widths(given.widths, given.rounds)
