"""Shapley values by their definition, over all subsets of the inputs: slow, and hard to get wrong."""

import math
from collections.abc import Callable
from itertools import combinations


def shapley(value: Callable[[frozenset[int]], float], n_inputs: int) -> list[float]:
    "Mean over all orders of the inputs, by its definition."
    out = []
    for number in range(n_inputs):
        others = [n for n in range(n_inputs) if n != number]
        terms = [
            math.factorial(size)
            * math.factorial(n_inputs - size - 1)
            / math.factorial(n_inputs)
            * (value(frozenset((*chosen, number))) - value(frozenset(chosen)))
            for size in range(n_inputs)
            for chosen in combinations(others, size)
        ]
        out.append(math.fsum(terms))
    return out
