"""The champion on the published weeks: what each group of inputs brought, validation and test means with 95 %
intervals, and times beside logistic regression in the same run."""

import os
import time
from collections.abc import Callable, Sequence

import pandas as pd

from mlnb.fraud.champion import (
    CHAMPION_INPUTS,
    OWN_INPUTS,
    TRAIN_DAYS,
    add_champion_features,
    member,
    train_champion,
)
from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.model import train_on_payments, weeks_of_payments
from mlnb.fraud.prequential import figures_of_week, fold, mean_figures, weeks_before, weeks_from
from mlnb.fraud.simulator import simulate
from mlnb.models.bootstrap import mean_intervals
from mlnb.models.training import classifier, scores

FIGURES = ("average_precision", "card_precision", "roc_auc")
PUBLISHED = {
    "average_precision": 0.687,
    "card_precision": 0.305,
    "roc_auc": 0.879,
}  # the highest of each, test means
LAST_DAY = 156  # of the last test week
N_RESAMPLES = 200


def stream() -> pd.DataFrame:
    "The published stream with all inputs, up to the last test week, and the time it took."
    payments = simulate(183)
    features = add_features(payments[payments.TX_TIME_DAYS <= LAST_DAY])
    began = time.perf_counter()
    rich = add_champion_features(features)
    seconds = time.perf_counter() - began
    print(
        f"{len(OWN_INPUTS)} inputs beyond the published {len(INPUTS)}: {seconds:.1f} s for "
        f"{len(rich):,} rows, {len(rich) / seconds:,.0f} rows/s"
    )
    return rich


def boosted(names: Sequence[str]) -> Callable:
    "Fits one of the champion's models to some inputs."
    return lambda part: train_on_payments(member(), part, names)


def arms() -> dict[str, tuple[Callable, Sequence[str], int]]:
    """Name of each arm with what fits it, its inputs and days of training; each adds one thing to the one
    before, all but the first with the champion's trees."""
    ordinary = [name for name in OWN_INPUTS if "ORDINARY" in name]
    odd = [name for name in OWN_INPUTS if "_NB_ODD_" in name]
    terminal = [name for name in OWN_INPUTS if name.startswith("TERMINAL_ID") and name not in ordinary]
    habits = [name for name in OWN_INPUTS if name not in (*ordinary, *odd, *terminal)]
    published = list(INPUTS)
    return {
        "logistic regression, published inputs": (
            lambda part: train_on_payments(classifier("logistic"), part, published),
            published,
            7,
        ),
        "boosted trees, published inputs": (boosted(published), published, 7),
        "training of 28 days": (boosted(published), published, TRAIN_DAYS),
        "habits of the customer": (boosted([*published, *habits]), [*published, *habits], TRAIN_DAYS),
        "odd amounts counted": (
            boosted([*published, *habits, *odd]),
            [*published, *habits, *odd],
            TRAIN_DAYS,
        ),
        "more delayed windows": (
            boosted([*published, *habits, *odd, *terminal]),
            [*published, *habits, *odd, *terminal],
            TRAIN_DAYS,
        ),
        "ordinary frauds": (boosted(CHAMPION_INPUTS), CHAMPION_INPUTS, TRAIN_DAYS),
        "mean of four: the champion": (train_champion, CHAMPION_INPUTS, TRAIN_DAYS),
    }


def judged(
    rich: pd.DataFrame, weeks: tuple[int, ...], fit: Callable, days: int
) -> tuple[dict[str, float], list[pd.DataFrame], list]:
    "Mean figures over the weeks with seconds a week, the judged payments of each and their scores."
    rows, tests, told = [], [], []
    for week in weeks:
        part = fold(rich, week, days)
        began = time.perf_counter()
        model = fit(part.train)
        fitted = time.perf_counter()
        told.append(scores(model, part.test))
        tests.append(part.test[["CUSTOMER_ID", "TX_TIME_DAYS", "TX_FRAUD"]])
        rows.append(
            {
                **figures_of_week(part.test, told[-1]),
                "fit_s": fitted - began,
                "predict_s": time.perf_counter() - fitted,
            }
        )
    table = pd.DataFrame(rows)
    return (
        {**mean_figures(table), "fit_s": table.fit_s.mean(), "predict_s": table.predict_s.mean()},
        tests,
        told,
    )


def show(name: str, n_inputs: int, days: int, validation: dict, test: dict, base_s: float | None) -> None:
    "One line of the table."
    figures = "  ".join(
        " ".join(f"{means[figure]:.4f}" for figure in FIGURES) for means in (validation, test)
    )
    ratio = f"{test['fit_s'] / base_s:7.1f} x" if base_s else " " * 9
    print(
        f"{name:40}{n_inputs:3} inputs {days:3} d   {figures}   fit {test['fit_s']:6.2f} s{ratio}  "
        f"predict {test['predict_s']:.3f} s",
        flush=True,
    )


def show_intervals(kind: str, tests: list[pd.DataFrame], told: list) -> None:
    "Means with 95 % intervals, and how far above the published best they are."
    for name, (value, low, high) in mean_intervals(weeks_of_payments(tests, told), N_RESAMPLES).items():
        beside = (
            f"   published best {PUBLISHED[name]:.3f}: {value - PUBLISHED[name]:+.4f}"
            if kind == "test"
            else ""
        )
        print(f"champion, {kind:10} {name:18}{value:.4f}  [{low:.4f}, {high:.4f}]{beside}", flush=True)


def main() -> None:
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; average precision, Card "
        "Precision@100, area: means of four validation weeks, of four test weeks"
    )
    rich, base_s = stream(), None
    for name, (fit, names, days) in arms().items():
        found = {
            kind: judged(rich, weeks, fit, days)
            for kind, weeks in (("validation", weeks_before()), ("test", weeks_from()))
        }
        show(name, len(names), days, found["validation"][0], found["test"][0], base_s)
        base_s = base_s or found["test"][0]["fit_s"]
    for kind, (_, tests, told) in found.items():
        show_intervals(kind, tests, told)


if __name__ == "__main__":
    main()
