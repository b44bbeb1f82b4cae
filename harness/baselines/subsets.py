"""Training sets: nested and stratified, so that a learning curve differs from point to point by its labels alone.

For each seed there is one permutation of the pool, and the training set of n labels is its first n. It knows no text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from harness.records import Example, digest


def stratified_order(pool: Sequence[Example], seed: int, task: str, most: int | None = None) -> list[Example]:
    """The first ``most`` (default: all) examples of the seed's permutation of the pool.

    Classes come first by frequency, one example of each; from then on, each place goes to the class that is furthest
    below its share of the pool (the quota method, so that of any n >= number of classes every class of the pool has at
    least one, and its share of n rounded up or down where that is not less). Within a class chance decides. The order
    of the pool does not matter: examples are sorted by id first.
    """
    classes: dict[int, list[Example]] = {}
    for example in sorted(pool, key=lambda example: example.item_id):
        classes.setdefault(example.gold, []).append(example)
    for label, members in classes.items():
        generator = random.Random(digest(["training set", task, seed, label]))  # noqa: S311 - not a secret
        generator.shuffle(members)
    labels = sorted(classes)
    random.Random(digest(["training set", task, seed, "ties"])).shuffle(labels)  # noqa: S311 - not a secret
    sizes = np.array([len(classes[label]) for label in labels])
    taken = np.zeros(len(labels), np.int64)
    order = []
    for place in range(1, (len(pool) if most is None else min(most, len(pool))) + 1):
        lack = sizes / len(pool) * place - taken
        lack[taken == sizes] = -np.inf
        if place <= len(labels):
            lack[taken > 0] = -np.inf
        chosen = int(np.argmax(np.round(lack, 9)))  # of equal ones, the first in the seed's order
        order.append(classes[labels[chosen]][taken[chosen]])
        taken[chosen] += 1
    return order


def doubling_sizes(most: int, first: int = 8) -> list[int]:
    """8, 16, 32, ... and, last, ``most`` itself."""
    sizes = []
    while first < most:
        sizes.append(first)
        first *= 2
    return [*sizes, most]
