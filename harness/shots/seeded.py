"""Draws by chance alone: seeded, from a pool sorted by id, so that the order of rows in a file does not matter.

fixed       one permutation of the pool for all items
balanced    rounds over the classes, in a new order each round; each class gives its examples in its own order
per-item    a permutation of the pool for each item, by its id alone
stratified  classes as often as in the pool: the i-th example of a class with share p falls due at a random moment
            between i/p and (i+1)/p, and the draw goes by the moments
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Collection, Iterator, Sequence

from harness.records import Example, digest

SEEDED = ("fixed", "balanced", "per-item", "stratified")


class Seeded:
    """The draws of one strategy and seed."""

    def __init__(self, pool: Sequence[Example], strategy: str, seed: Sequence[object]) -> None:
        self._pool = pool
        self._strategy = strategy
        self._seed = seed
        self._classes: dict[int, list[Example]] = {}
        for example in pool:
            self._classes.setdefault(example.gold, []).append(example)

    def sequence(self, item: Example, excluded: Collection[str]) -> Iterator[Example]:
        """All of the pool but the ids ``excluded``, in the order of the draw."""
        if self._strategy == "balanced":
            return self._balanced(excluded)
        if self._strategy == "stratified":
            return self._stratified(excluded)
        generator = self._generator(item.item_id) if self._strategy == "per-item" else self._generator()
        return _permuted(self._pool, generator, excluded)

    def _generator(self, *more: object) -> random.Random:
        return random.Random(digest(["demonstrations", self._strategy, *self._seed, *more]))  # noqa: S311 - not a secret

    def _balanced(self, excluded: Collection[str]) -> Iterator[Example]:
        order = sorted(self._classes)
        drawing = {label: _permuted(self._classes[label], self._generator(label), excluded) for label in order}
        rounds = self._generator("rounds")
        while drawing:
            rounds.shuffle(order)
            for label in order:
                found = next(drawing[label], None) if label in drawing else None
                if found is None:
                    drawing.pop(label, None)
                else:
                    yield found

    def _stratified(self, excluded: Collection[str]) -> Iterator[Example]:
        def due(label: int) -> Iterator[tuple[float, int, Example]]:
            moments = self._generator("moments", label)
            share = len(self._classes[label]) / len(self._pool)
            own = _permuted(self._classes[label], self._generator(label), excluded)
            for number, example in enumerate(own):
                yield (number + moments.random()) / share, label, example

        # A class yields in the order of its moments, and no two of a class are at the same one.
        for _, _, example in heapq.merge(*map(due, sorted(self._classes)), key=lambda found: found[:2]):
            yield example


def _permuted(pool: Sequence[Example], generator: random.Random, excluded: Collection[str]) -> Iterator[Example]:
    """A permutation, drawn one by one (Fisher-Yates on a sparse array), so that the cost grows with the draws alone."""
    moved: dict[int, int] = {}
    for i in range(len(pool)):
        j = generator.randrange(i, len(pool))
        example = pool[moved.get(j, j)]
        moved[j] = moved.pop(i, i)
        if example.item_id not in excluded:
            yield example
