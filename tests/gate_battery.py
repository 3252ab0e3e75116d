"""Worlds in which it is known how good two models are, and what a gate says of them: for the slow tests and
for `benchmarks/gate.py`."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from mlnb.fraud.features import INPUTS, add_features
from mlnb.fraud.simulator import simulate
from mlnb.models.bootstrap import (
    DrawnValue,
    Figures,
    drawn_values,
    paired_differences,
    weeks_of,
    weighted_means,
)
from mlnb.models.bounds import bounds_of, level_of_try
from mlnb.models.capacity import CaseWork, money_figures, money_sums
from mlnb.models.label_origin import LabelledRows, labels_check
from mlnb.models.non_inferiority import Demand, non_inferiority

ALPHA, TRIES = 0.05, 5
N_CARDS, ROWS_OF_A_CARD, N_DAYS = 500, 4, 4
MARGINS = {"average_precision": 0.05, "roc_auc": 0.03, "card_precision": 0.02}  # those of the gate
AS_GOOD, WORSE = 0.5, 1.0  # noise that a model sees through


def world(seed: int, n_cards: int, noises: dict[str, float]) -> pd.DataFrame:
    "Cards with habits of their own, and models that see them through so much noise."
    draws = np.random.default_rng(seed)
    n = n_cards * ROWS_OF_A_CARD
    signal = np.repeat(draws.normal(0, 1.2, n_cards), ROWS_OF_A_CARD) + draws.normal(0, 1.2, n)
    cards = np.repeat(np.arange(n_cards), ROWS_OF_A_CARD)
    frame = pd.DataFrame({"unit": cards, "day": draws.integers(0, N_DAYS, n)})
    frame["label"] = (draws.random(n) < 1 / (1 + np.exp(3.4 - 1.5 * signal))).astype(int)
    frame["amount"] = np.round(draws.lognormal(3, 1, n), 2)
    scores = {name: 1 / (1 + np.exp(3 - signal - draws.normal(0, one, n))) for name, one in noises.items()}
    return frame.assign(**scores)


# figures of one model, from weights of the cards


def _ratio(sums: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> float:
    return float(weights @ sums[0]) / float(weights @ sums[1])


def quick_figures(frame: pd.DataFrame, name: str) -> Figures:
    "Four figures that are ratios of sums."
    n, score, label = frame["unit"].nunique(), frame[name].to_numpy(), frame["label"].to_numpy()

    def by_card(values: np.ndarray) -> np.ndarray:
        return np.bincount(frame["unit"], values, n)

    sums = {f"recall_{cut}": (by_card(label * (score >= cut)), by_card(label)) for cut in (0.1, 0.3, 0.5)}
    sums["brier"] = by_card(-((label - score) ** 2)), by_card(np.ones(len(label)))
    return lambda weights: {one: _ratio(pair, weights) for one, pair in sums.items()}


def ranked_figures(frame: pd.DataFrame, name: str, k: int = 100) -> Figures:
    "The three figures that the gate compares."
    return partial(weighted_means, weeks_of([frame], [frame[name].to_numpy()], "unit", "day", "label"), k=k)


def ten_figures(frame: pd.DataFrame, name: str) -> Figures:
    "Those, three of money, and the quick ones."
    n = frame["unit"].nunique()
    work = CaseWork(0.2, max(1, len(frame) // 200), 5.0, 5.0)
    money = money_figures(money_sums(frame.rename(columns={name: "score"}), work))
    ranked, quick = ranked_figures(frame, name, max(1, n // 40)), quick_figures(frame, name)

    def figures(weights: np.ndarray) -> dict[str, float]:
        paid = {one: value for one, value in money(weights).items() if one != "loss_rate"}
        return ranked(weights) | paid | quick(weights)

    return figures


FiguresOf = Callable[[pd.DataFrame, str], Figures]


def drawn(frame: pd.DataFrame, name: str, of: FiguresOf, n_resamples: int) -> dict[str, DrawnValue]:
    return drawn_values(of(frame, name), frame["unit"].nunique(), n_resamples)


def true_differences(of: FiguresOf, n_worlds: int = 10, n_cards: int = 100_000) -> dict[str, float]:
    "How much the worse model differs: seen on very many cards."
    once, found = np.ones(n_cards), []
    for seed in range(n_worlds):
        frame = world(10_000 + seed, n_cards, {"ours": WORSE, "theirs": AS_GOOD})
        mine, other = (of(frame, name)(once) for name in ("ours", "theirs"))
        found.append({name: mine[name] - other[name] for name in mine})
    return {name: fmean(one[name] for one in found) for name in found[0]}


# how often a challenger passes


class Passed(NamedTuple):
    "Shares of windows in which a challenger passed."

    at_margin: dict[str, float]  # by figure: the worse model, whose loss is the margin
    one_at_margin: float  # it, in all ten figures, one of which is at its margin
    equal: float  # one as good as the champion, in all ten figures


def shares_that_pass(
    n_windows: int, n_resamples: int = 400, wide: float = 3.5, level: float = ALPHA
) -> Passed:
    "Margins of the equal challenger are so many standard errors wide."
    true = true_differences(ten_figures)
    lows: dict[str, list[dict[str, float]]] = {"worse": [], "equal": []}
    values = []
    for seed in range(n_windows):
        frame = world(seed, N_CARDS, {"champion": AS_GOOD, "worse": WORSE, "equal": AS_GOOD})
        champion = drawn(frame, "champion", ten_figures, n_resamples)
        for name, kept in lows.items():
            found = paired_differences(drawn(frame, name, ten_figures, n_resamples), champion)
            kept.append({one: bounds_of(figure, level).low for one, figure in found.items()})
        values.append({one: figure.value for one, figure in found.items()})
    margins = pd.DataFrame(values).std() * wide
    worse, equal = (pd.DataFrame(lows[name]) for name in ("worse", "equal"))
    others = {name: -1.0 for name in true} | {"average_precision": true["average_precision"]}
    return Passed(
        (worse > pd.Series(true)).mean().to_dict(),
        float((worse > pd.Series(others)).all(axis=1).mean()),
        float((equal > -margins).all(axis=1).mean()),
    )


def share_of_normal_figures(n_windows: int, wide: float = 2.8, correlation: float = 0.5) -> float:
    "An equal challenger in ten figures that are normal and correlated; margins in standard errors."
    draws, passed = np.random.default_rng(0), 0
    noise = draws.normal(size=2_000)
    for _ in range(n_windows):
        shared, own = draws.normal(), draws.normal(size=10)
        found = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
        asked = Demand("x", "x", wide)
        passed += all(
            non_inferiority(asked, DrawnValue(value, value + noise), ALPHA).verdict == "ok" for value in found
        )
    return passed / n_windows


def share_with_a_lucky_try(n_windows: int, n_tries: int = 10, n_resamples: int = 1_000) -> float:
    "Ten challengers at their margin on one window: those beyond the count are refused unseen."
    margin, level = -true_differences(quick_figures)["brier"], level_of_try(ALPHA, TRIES)
    asked, lucky = Demand("brier", "Brier score", margin), 0
    names = [f"try_{place}" for place in range(n_tries)]
    for seed in range(n_windows):
        frame = world(50_000 + seed, N_CARDS, {"champion": AS_GOOD} | dict.fromkeys(names, WORSE))
        champion = drawn(frame, "champion", quick_figures, n_resamples)
        found = (
            paired_differences(drawn(frame, name, quick_figures, n_resamples), champion)["brier"]
            for name in names[:TRIES]
        )
        lucky += any(non_inferiority(asked, one, level).verdict == "ok" for one in found)
    return lucky / n_windows


# a challenger that was trained on labels which the champion had changed


def _drawn_windows(frame: pd.DataFrame, n_windows: int) -> Iterator[pd.DataFrame]:
    "Windows like one that was seen: its cards, drawn again."
    draws = np.random.default_rng(0)
    rows = list(frame.groupby("unit").indices.values())
    for _ in range(n_windows):
        taken = [rows[place] for place in draws.integers(0, len(rows), len(rows))]
        units = np.repeat(np.arange(len(taken)), [len(one) for one in taken])
        yield frame.iloc[np.concatenate(taken)].assign(unit=units).reset_index(drop=True)


CUT = 0.108  # score from which the champion stops a payment


def censored_world() -> pd.DataFrame:
    "A week of payments with the scores of a champion and of challengers that learnt from what it left over."
    payments = add_features(simulate(75))
    day, label = payments["TX_TIME_DAYS"], payments["TX_FRAUD"].to_numpy()

    def fit(rows: np.ndarray, known: np.ndarray) -> RandomForestClassifier:
        forest = RandomForestClassifier(60, max_depth=20, min_samples_leaf=2, random_state=0)
        return forest.fit(payments.loc[rows, list(INPUTS)], known[rows])

    def score(model: RandomForestClassifier, rows: np.ndarray) -> np.ndarray:
        return model.predict_proba(payments.loc[rows, list(INPUTS)])[:, 1]

    learnt, later, judged = ((day.between(*days)).to_numpy() for days in ((30, 39), (50, 59), (67, 73)))
    champion = fit(learnt, label)
    stopped = later.copy()
    stopped[later] = score(champion, later) >= CUT
    models = {
        "champion": champion,
        "counted as honest": fit(later, np.where(stopped, 0, label)),
        "left out": fit(later & ~stopped, label),
    }
    names = {"CUSTOMER_ID": "unit", "TX_TIME_DAYS": "day", "TX_FRAUD": "label"}
    rows = payments.loc[judged, [*names, "TX_AMOUNT"]].rename(columns=names)
    return rows.assign(**{name: score(model, judged) for name, model in models.items()}).reset_index(
        drop=True
    )


class Censored(NamedTuple):
    "In how many windows a challenger was refused, and censored labels were noticed."

    refused: int  # with true labels, by the three comparisons of the gate
    noticed: int  # `not_computable`, where stopped payments count as honest or are left out


def censored_challengers(frame: pd.DataFrame, name: str, n_windows: int, n_resamples: int = 200) -> Censored:
    level, refused, noticed = level_of_try(ALPHA, TRIES), 0, 0
    for window in _drawn_windows(frame, n_windows):
        both = [drawn(window, one, ranked_figures, n_resamples) for one in (name, "champion")]
        found = paired_differences(*both)
        asked = [(Demand(one, one, margin), found[one]) for one, margin in MARGINS.items()]
        refused += any(non_inferiority(*one, level).verdict == "fail" for one in asked)
        label, champion = window["label"].to_numpy(dtype=float), window["champion"].to_numpy()
        kept = champion < CUT if name == "left out" else np.ones(len(label), dtype=bool)
        seen = LabelledRows(np.where(champion >= CUT, 0.0, label)[kept], champion[kept], CUT)
        noticed += labels_check(seen, "all_known").verdict == "not_computable"
    return Censored(refused, noticed)
