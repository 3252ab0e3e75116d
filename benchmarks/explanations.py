"""What it costs to explain a decision, and many of them: mlnb beside shap where both are right.

Models of the fraud example, trained on simulated payments: the champion (a vote of four boosted models of 150
trees), one of its members, and forests of 100 trees of several depths behind their scaling. One decision is
explained with the score that was decided with and without it, and many rows in one batch, all in one thread.
`--peers PYTHON` names an interpreter with shap: it trains a boosted model and a forest without bootstrap on
the same rows (shap counts the rows of a bootstrap as often as they were drawn, mlnb once). Figures are
medians of processor time."""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from mlnb.fraud.champion import CHAMPION_INPUTS, add_champion_features, member, train_champion
from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.model import train_on_payments
from mlnb.fraud.simulator import simulate
from mlnb.models.attributions import explainer
from mlnb.models.training import classifier, scores

DEPTHS = {"forest, depth 10": 10, "forest, depth 20": 20, "forest, any depth": None}
COMPARED = 100  # rows whose contributions are compared with those of shap
BOOSTED = {"max_iter": 150, "max_leaf_nodes": 15, "early_stopping": False, "random_state": 0}
MODELS = {
    "boosted": (HistGradientBoostingClassifier, BOOSTED),
    "forest": (RandomForestClassifier, {"max_depth": 10, "bootstrap": False, "random_state": 0}),
}
PEER = """
import json, sys, time, statistics
import numpy as np, shap
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
given = np.load(sys.argv[1])
kinds = {"boosted": HistGradientBoostingClassifier, "forest": RandomForestClassifier}
model = kinds[sys.argv[2]](**json.loads(sys.argv[3])).fit(given["X"], given["y"])
why = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
def timed(rows, times):
    took = []
    for _ in range(times):
        began = time.process_time()
        values = why.shap_values(rows, check_additivity=False)
        took.append(time.process_time() - began)
    return values, statistics.median(took)
values, batch = timed(given["few"], 1)
_, one = timed(given["few"][:1], 15)
values = values[..., 1] if values.ndim == 3 else values
print(json.dumps({"one": one, "row": batch / len(values), "values": values.tolist()}))
"""


def payments(days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Four weeks to learn from, and the last days of the stream."
    features = add_champion_features(add_features(simulate(days)))
    last = days - 8
    is_learnt = features.TX_TIME_DAYS.between(last - 28, last - 1)
    return features[is_learnt], features[features.TX_TIME_DAYS.between(last, days)]


def timed(call: Callable[[], object], times: int) -> float:
    "Median processor time of a call [s]."
    took = []
    for _ in range(times):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return statistics.median(took)


def models(training: pd.DataFrame) -> dict[str, Any]:
    "Each model by its name, fitted."
    week = training[training.TX_TIME_DAYS.between(training.TX_TIME_DAYS.max() - 6, np.inf)]
    made: dict[str, Any] = {"the champion": train_champion(training)}
    made["one of its members"] = train_on_payments(member(), training, CHAMPION_INPUTS)
    for name, depth in DEPTHS.items():
        made[name] = train_on_payments(classifier("forest", max_depth=depth), week, INPUTS)
    return made


def grown(model: Any) -> str:
    "Leaves of a forest in all, and its depth."
    if not hasattr(model, "steps"):
        return ""
    trees = model[-1].estimators_
    deepest = max(tree.get_depth() for tree in trees)
    return f"{sum(tree.get_n_leaves() for tree in trees):,} leaves, {deepest} deep"


def measure(name: str, model: Any, rows: pd.DataFrame, n_rows: int) -> None:
    "Print what the explanations of one model cost."
    made = timed(lambda: explainer(model), 3)
    why, own = explainer(model), scores(model, rows)
    one, score, some, their = rows.iloc[:1], own[:1], rows.iloc[:n_rows], own[:n_rows]
    costs = [timed(lambda: why.explain(one, score), 25), timed(lambda: why.explain(one), 9)]
    batch = timed(lambda: why.explain(some, their), 1) / len(some) * 100_000
    shown = " | ".join(f"{cost * 1e3:.2f} ms" for cost in costs)
    gap = np.abs(why.explain(some, their).gap).max()
    print(f"| {name} | {made:.2f} s | {shown} | {batch:.0f} s | {grown(model)} | {gap:.2f} |", flush=True)


def beside_shap(peers: str, training: pd.DataFrame, rows: pd.DataFrame) -> None:
    "Print what shap takes for the same models, and how far its contributions are away."
    names, learnt = list(INPUTS), training.iloc[:50_000]
    few = rows[names].to_numpy(dtype=float)[:COMPARED]
    given = {"X": learnt[names].to_numpy(dtype=float), "y": learnt.TX_FRAUD.to_numpy(), "few": few}
    print(
        "| model | mlnb, one | shap, one | mlnb, 100,000 rows | shap | apart by |\n|---|---|---|---|---|---|"
    )
    for kind, (made, how) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "given.npz", **given)
            command = [peers, "-W", "ignore", "-c", PEER, f"{folder}/given.npz", kind, json.dumps(how)]
            said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        model = made(**how).fit(given["X"], given["y"])
        why, own = explainer(model), model.predict_proba(few)[:, 1]
        apart = np.abs(why.explain(few, own).values - np.array(said["values"])).max()
        one = timed(lambda why=why, own=own: why.explain(few[:1], own[:1]), 25) * 1e3
        batch = timed(lambda why=why, own=own: why.explain(few, own), 3) / len(few) * 1e5
        of_shap = f"{said['one'] * 1e3:.2f} ms | {batch:.0f} s | {said['row'] * 1e5:.0f} s"
        print(f"| {kind} | {one:.2f} ms | {of_shap} | {apart:.1g} |", flush=True)


def main() -> None:
    "Print the figures."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60, help="length of the stream")
    parser.add_argument("--rows", type=int, default=1_000, help="rows of a batch, scaled to 100,000")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with shap")
    given = parser.parse_args()
    training, rows = payments(given.days)
    with threadpool_limits(1):
        if given.peers:
            beside_shap(given.peers, training, rows)
        print("| model | made in | one, with its score | one, score asked | 100,000 rows | grown | gap |")
        print("|---|---|---|---|---|---|---|")
        for name, model in models(training).items():
            measure(name, model, rows, given.rows)


if __name__ == "__main__":
    main()
