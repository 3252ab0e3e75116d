"""Worlds in which it is known how good two models are, and what a gate says of them; for the slow tests and
`benchmarks/gate.py`."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from mlnb.models.bootstrap import DrawnValue, drawn_values, paired_differences, weeks_of, weighted_means
from mlnb.models.bounds import level_of_try
from mlnb.models.capacity import CaseWork, money_figures, money_sums
from mlnb.models.non_inferiority import Demand, non_inferiority

ALPHA, TRIES = 0.05, 5
ROWS_OF_A_CARD, N_DAYS, K = 4, 4, 20
MARGINS = {"average_precision": 0.05, "roc_auc": 0.03, "card_precision": 0.02}  # those of the gate


def world(seed: int, n_cards: int, noises: dict[str, float]) -> pd.DataFrame:
    "Cards with habits of their own, and models that see through them by so much noise."
    draws = np.random.default_rng(seed)
    n = n_cards * ROWS_OF_A_CARD
    cards = np.repeat(np.arange(n_cards), ROWS_OF_A_CARD)
    signal = np.repeat(draws.normal(0, 1.2, n_cards), ROWS_OF_A_CARD) + draws.normal(0, 1.2, n)
    frame = pd.DataFrame({"unit": cards, "day": draws.integers(0, N_DAYS, n)})
    frame["label"] = (draws.random(n) < 1 / (1 + np.exp(3.4 - 1.5 * signal))).astype(int)
    frame["amount"] = np.round(draws.lognormal(3, 1, n), 2)
    scores = {name: 1 / (1 + np.exp(3 - signal - draws.normal(0, one, n))) for name, one in noises.items()}
    return frame.assign(**scores)


def ten_figures(frame: pd.DataFrame, name: str):
    "Ten figures of one model, from weights of the cards."
    weeks = weeks_of([frame], [frame[name].to_numpy()], "unit", "day", "label")
    work = CaseWork(0.2, max(1, len(frame) // 200), 5.0, 5.0)
    money = money_figures(money_sums(frame.rename(columns={name: "score"}), work))
    n, score, label = frame["unit"].nunique(), frame[name].to_numpy(), frame["label"].to_numpy()

    def by_card(values):
        return np.bincount(frame["unit"], values, n)

    found = [(by_card(label * (score >= cut)), by_card(label)) for cut in (0.1, 0.3, 0.5)]
    brier = by_card(-((label - score) ** 2)), by_card(np.ones(len(label)))

    def figures(weights):
        rest = {f"recall_{place}": ratio(weights, one) for place, one in enumerate(found)}
        rest |= {"brier": ratio(weights, brier)}
        paid = {one: value for one, value in money(weights).items() if one != "loss_rate"}
        return weighted_means(weeks, weights, max(1, n // 40)) | paid | rest

    return figures


def ratio(weights: np.ndarray, sums: tuple[np.ndarray, np.ndarray]) -> float:
    return float(weights @ sums[0]) / float(weights @ sums[1])


def compared(frame: pd.DataFrame, ours: str, theirs: str, n_resamples: int, seed: int = 0, of=ten_figures):
    "Figures of two models on the same draws of cards, ours less theirs."
    n = frame["unit"].nunique()
    both = [drawn_values(of(frame, name), n, n_resamples, seed) for name in (ours, theirs)]
    return paired_differences(*both)


def true_differences(ours: float, theirs: float, n_cards: int = 60_000) -> dict[str, float]:
    "How much two models differ, by their noise: seen on very many cards."
    frame, once = world(12345, n_cards, {"ours": ours, "theirs": theirs}), np.ones(n_cards)
    mine, other = (ten_figures(frame, name)(once) for name in ("ours", "theirs"))
    return {name: mine[name] - other[name] for name in mine}


def passes(differences: dict[str, DrawnValue], margins: dict[str, float], level: float) -> bool:
    "Whether a challenger is non-inferior in every figure that has a margin."
    asked = [(Demand(name, name, margin), differences[name]) for name, margin in margins.items()]
    return all(non_inferiority(*one, level).verdict == "ok" for one in asked)


def tries_on_one_window(frame: pd.DataFrame, names: list[str], margins: dict[str, float], draws: int) -> bool:
    "Whether any of several challengers passes; those beyond the count are refused unseen."
    level = level_of_try(ALPHA, TRIES)
    tried = names[:TRIES]
    return any(passes(compared(frame, name, "champion", draws), margins, level) for name in tried)


def ranked(frame: pd.DataFrame, name: str):
    "The three figures that the gate compares."
    weeks = weeks_of([frame], [frame[name].to_numpy()], "unit", "day", "label")
    return partial(weighted_means, weeks)


def drawn_windows(frame: pd.DataFrame, n_windows: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    "Windows like one that was seen: its cards, drawn again."
    draws = np.random.default_rng(seed)
    rows = dict(list(frame.groupby("unit").indices.items()))
    names = list(rows)
    for _ in range(n_windows):
        drawn = [rows[names[place]] for place in draws.integers(0, len(names), len(names))]
        units = np.repeat(np.arange(len(drawn)), [len(one) for one in drawn])
        yield frame.iloc[np.concatenate(drawn)].assign(unit=units).reset_index(drop=True)
