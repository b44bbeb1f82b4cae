"""In which order drawn demonstrations stand before the query, and how even a model's answers are under an order.

An order never changes what is drawn. Order number ``n`` of ``k`` demonstrations is the same whatever else is asked for,
so that ``permuted:8`` is part of ``permuted:24``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.records import digest

Floats = npt.NDArray[np.float64]

Measure = Literal["global", "local"]


def count_orders(k: int, wanted: int) -> int:
    """How many different orders of ``k`` demonstrations there are, of those ``wanted``."""
    return wanted if k > 20 else min(wanted, math.factorial(k))  # 20! exceeds any number of orders


@lru_cache(maxsize=4096)
def permutation(k: int, number: int, seed: str) -> tuple[int, ...]:
    """The ``number``-th, from 0, of the distinct orders of ``k`` things, in a seeded sequence of all of them."""
    generator = random.Random(digest(["order", seed, k]))  # noqa: S311 - not a secret
    seen: dict[tuple[int, ...], None] = {}
    while len(seen) <= number:
        seen[tuple(generator.sample(range(k), k))] = None
    return list(seen)[number]


def global_entropy(predictions: Sequence[int], classes: int) -> float:
    """The entropy, in nats, of how often each class is predicted (Lu et al. 2022, GlobalE)."""
    counts = np.bincount(np.asarray(predictions, np.int64), minlength=classes)
    return float(_entropy((counts / max(1, counts.sum()))[None])[0])


def local_entropy(probabilities: Floats) -> float:
    """The mean entropy, in nats, of the probabilities of each item (Lu et al. 2022, LocalE); shape [n, classes]."""
    return float(_entropy(np.asarray(probabilities, np.float64)).mean())


def entropy(scores: Floats, measure: Measure) -> float:
    """``global_entropy`` or ``local_entropy`` from log-scale label scores; shape [n, classes].

    The probabilities are those of the labels alone: they are divided by their sum.
    """
    if measure == "global":
        return global_entropy(scores.argmax(axis=1).tolist(), scores.shape[1])
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return local_entropy(odds / odds.sum(axis=1, keepdims=True))


def choose_order(scores: Mapping[int, Floats], measure: Measure = "global") -> int:
    """The order under which a model's answers to unlabelled items are the least one-sided (Lu et al. 2022).

    Args:
        scores: of each order, by its number, the log-scale score of each label for each item; shape [n, classes].
        measure: by the share of items that each label gets, or by the entropy of each item's answer.

    Of orders that are equally good, the one with the lowest number.
    """
    entropies = {number: entropy(scores[number], measure) for number in sorted(scores)}
    return max(entropies, key=entropies.__getitem__)


def _entropy(probabilities: Floats) -> Floats:
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    entropies: Floats = 0.0 - (probabilities * logs).sum(axis=1)
    return entropies
