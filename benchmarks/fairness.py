"""What it costs to compare groups with certainty: mlnb beside fairlearn, on the same rows.

fairlearn's MetricFrame gives the values; its own bootstrap draws rows, and its intervals hold for one group
at a time. mlnb adds intervals that hold for all groups, all groupings, ROC AUC, calibration and a verdict.
`--rows` and `--rounds` say how much is measured; the two are measured in turns, each figure is a median of
processor time, which neighbours on the machine change little."""

import argparse
import statistics
import time

import numpy as np
import pandas as pd
from fairlearn import metrics
from sklearn.metrics import precision_score

from mlnb.models.fairness import fairness
from mlnb.models.group_comparison import FairnessColumns

DRAWS = 200
OF_FAIRLEARN = 2  # draws of its own bootstrap that are measured, and multiplied
ROWS_ALL_ROUNDS = 300_000  # a larger table is measured in fewer rounds, for fairlearn takes minutes
GROUPS = ["sex", "race", "age"]
RATES = {
    "selection_rate": metrics.selection_rate,
    "true_positive_rate": metrics.true_positive_rate,
    "false_positive_rate": metrics.false_positive_rate,
    "precision": precision_score,
}


def people(n_rows: int) -> pd.DataFrame:
    "Decisions about three group columns of 2, 6 and 5 levels."
    draws = np.random.default_rng(0)
    rows = {name: draws.integers(0, n, n_rows) for name, n in zip(GROUPS, (2, 6, 5), strict=True)}
    rows["label"] = draws.integers(0, 2, n_rows)
    rows["score"] = np.clip(draws.normal(0.35 + 0.3 * rows["label"], 0.2), 0, 1)
    frame = pd.DataFrame(rows)
    return frame.assign(prediction=(frame.score >= 0.5).astype(int))


def by_mlnb(frame: pd.DataFrame, with_score: bool):
    "All groupings, with intervals and a verdict."
    score = "score" if with_score else None
    columns = FairnessColumns("label", GROUPS, "prediction", score)
    return fairness(frame, columns, n_resamples=DRAWS)


def by_fairlearn(frame: pd.DataFrame, n_boot: int | None = None):
    "The same four rates of each group column and of all together, as fairlearn comes."
    found = []
    for columns in [*([name] for name in GROUPS), GROUPS]:
        how = {"n_boot": n_boot, "ci_quantiles": [0.025, 0.975], "random_state": 0} if n_boot else {}
        found.append(
            metrics.MetricFrame(
                metrics=RATES,
                y_true=frame.label,
                y_pred=frame.prediction,
                sensitive_features=frame[columns],
                **how,
            )
        )
    return found


def farthest_apart(frame: pd.DataFrame) -> float:
    "Largest difference of a value between the two, over all groups."
    report, theirs = by_mlnb(frame, with_score=False), by_fairlearn(frame)
    apart = 0.0
    for group in report.groups:
        at = [list(one.by_group.index.names) for one in theirs].index(list(group.group))
        levels = tuple(map(int, group.group.values()))
        values = theirs[at].by_group.loc[levels if len(levels) > 1 else levels[0]]
        gaps = [abs(group.metrics[name].value - values[name]) for name in RATES]
        apart = max(apart, *gaps)
    return apart


def in_turns(works: dict, rounds: int) -> dict[str, float]:
    "Median time of the processor for each piece of work [s]."
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    "Measure and show."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    by_mlnb(people(1000), with_score=True)  # imports
    for n_rows in given.rows:
        frame = people(n_rows)
        found = in_turns(
            {
                f"mlnb, rates, {DRAWS} draws": lambda frame=frame: by_mlnb(frame, with_score=False),
                f"mlnb, with a score, {DRAWS} draws": lambda frame=frame: by_mlnb(frame, with_score=True),
                "fairlearn, values alone": lambda frame=frame: by_fairlearn(frame),
                "fairlearn, drawing": lambda frame=frame: by_fairlearn(frame, OF_FAIRLEARN),
            },
            max(1, min(given.rounds, ROWS_ALL_ROUNDS // n_rows)),
        )
        alone = found["fairlearn, values alone"]
        drawing = alone + (found.pop("fairlearn, drawing") - alone) / OF_FAIRLEARN * DRAWS
        found[f"fairlearn, {DRAWS} draws ({OF_FAIRLEARN} measured)"] = drawing
        print(f"{n_rows:,} rows, {len(GROUPS)} group columns and their intersection [s]")
        for name, took in found.items():
            print(f"  {name:<42}{took:10.2f}  ×{took / found[f'mlnb, rates, {DRAWS} draws']:.1f}")
        print(f"  {'largest difference of a value':<42}{farthest_apart(frame):10.1e}")


if __name__ == "__main__":
    main()
