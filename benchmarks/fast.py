"""One row scored by `predict_proba`, by the fast way of a scorer and, where `--onnx` names the Python of an
environment that has skl2onnx and onnxruntime, by ONNX runtime; then many rows, and from how many on
`predict_proba` is the faster one. Medians, in turns; the largest difference from `predict_proba` beside them.

Amounts have cents. The other environment fits the same model to the same rows, so that no model is handed
over; its scikit-learn must be of the same version."""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

DATA = """
import numpy as np
rng = np.random.default_rng(0)
money = np.round(rng.exponential(50, size=(20_000, 5)), 2)
rows = np.column_stack([money, rng.integers(0, 24, (20_000, 10))])
labels = (rows[:, 0] / 50 + rng.normal(size=20_000) > 2).astype(int)
from sklearn.ensemble import *
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
def member(seed):
    return HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, random_state=seed)
MODELS = {
    "forest of 100 trees behind scaling": make_pipeline(
        StandardScaler(), RandomForestClassifier(100, max_depth=8, random_state=0)
    ),
    "gradient boosting, 100 trees": GradientBoostingClassifier(random_state=0),
    "histogram boosting, 100 trees": member(0),
    "vote of five histogram boostings": VotingClassifier(
        [(f"m{k}", member(k)) for k in range(5)], voting="soft", flatten_transform=False
    ),
}
"""
ONNX = (
    DATA
    + """
import json, statistics, sys, time
import onnxruntime
from skl2onnx import to_onnx
name, n = sys.argv[1], int(sys.argv[2])
model = MODELS[name].fit(rows, labels)
kind = np.float32
onnx = to_onnx(model, rows[:1].astype(kind), options={"zipmap": False})
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(onnx.SerializeToString(), options)
given = session.get_inputs()[0].name
found = session.run(None, {given: rows.astype(kind)})[1][:, 1]
apart = float(np.abs(found - model.predict_proba(rows)[:, 1]).max())
times = []
for k in range(n):
    row = rows[k : k + 1].astype(kind)
    began = time.perf_counter()
    session.run(None, {given: row})
    times.append(time.perf_counter() - began)
print(json.dumps([statistics.median(times), apart]))
"""
)


def seconds(calls: dict[str, Callable[[int], Any]], n: int) -> dict[str, float]:
    "Median time of each call, all in turns."
    times: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(n):
        for name, call in calls.items():
            began = time.perf_counter()
            call(k)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def by_onnx(python: str | None, name: str, n: int) -> list[str]:
    "What ONNX runtime takes for one row, and how far off it is."
    if python is None:
        return []
    done = subprocess.run([python, "-c", ONNX, name, str(n)], capture_output=True, text=True)
    if done.returncode:
        return [f"ONNX: refused ({done.stderr.strip().splitlines()[-1][:80]})"]
    median, apart = json.loads(done.stdout)
    return [f"ONNX runtime {median * 1e6:,.0f} us, {apart:.1e} off"]


def ways(found: Any, some: np.ndarray) -> dict[str, Callable[[int], Any]]:
    "Both ways of scoring some rows."
    return {
        "fast": lambda _: found.fast_probabilities(some),
        "slow": lambda _: found.slow_probabilities(some),
    }


def crossover(found: Any, rows: np.ndarray) -> str:
    "From how many rows on `predict_proba` is the faster one."
    for n in (1, 10, 20, 50, 100, 200, 500, 1000):
        took = seconds(ways(found, rows[:n]), 7)
        if took["slow"] < took["fast"]:
            return f"{n} rows"
    return "more than 1,000 rows"


def line(name: str, model: Any, rows: np.ndarray, options: argparse.Namespace) -> str:
    "What scoring by a model takes, in one line."
    from mlnb.models.fast import scorer

    began = time.perf_counter()
    found = scorer(model, rows[:2000])
    built = time.perf_counter() - began
    lists = rows[: options.rows].tolist()
    calls = {
        "slow": lambda k: model.predict_proba(rows[k : k + 1]),
        "array": lambda k: found.score(rows[k : k + 1]),
        "list": lambda k: found.score(lists[k : k + 1]),
    }
    took = {way: 1e6 * median for way, median in seconds(calls, options.rows).items()}
    parts = [
        f"{name}: one row {took['slow']:,.0f} us by predict_proba, {took['array']:,.0f} us fast "
        f"({took['slow'] / took['array']:,.0f} times; {took['list']:,.0f} us from a list)",
        *by_onnx(options.onnx, name, options.rows),
        f"{found.how}, {found.largest_difference:.1e} off, compared in {built:.2f} s",
        f"predict_proba is faster from {crossover(found, rows)} on",
    ]
    return "; ".join(parts)


def main() -> None:
    from threadpoolctl import threadpool_limits

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300, help="single rows that are scored")
    parser.add_argument("--onnx", help="the Python of an environment with skl2onnx and onnxruntime")
    options = parser.parse_args()
    told: dict[str, Any] = {}
    exec(DATA, told)
    with threadpool_limits(1):
        for name, model in told["MODELS"].items():
            print(line(name, model.fit(told["rows"], told["labels"]), told["rows"], options))


if __name__ == "__main__":
    main()
