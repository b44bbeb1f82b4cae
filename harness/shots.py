"""Draws demonstrations from the pool: seeded, nested, and the same for every template and model.

A draw gives the order of the draw, so the k-set is a prefix of every larger one. It never sees how items are rendered.

    fixed     one seeded permutation of the pool for all items
    balanced  rounds over the classes, in a new seeded order each round; each class gives its examples in seeded order
    per-item  a seeded permutation of the pool for each item, by its id alone
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from harness.errors import UsageError, suggest
from harness.records import Example, digest

Strategy = Literal["fixed", "balanced", "per-item"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Demonstrations:
    """The draws of one task under one strategy and seed."""

    def __init__(self, task: str, pool: Sequence[Example], strategy: Strategy, seed: int) -> None:
        if strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {strategy!r}{suggest(strategy, STRATEGIES)}")
        # By id, so that the order of rows in a file does not matter.
        self._pool = sorted(pool, key=lambda example: example.item_id)
        self._strategy = strategy
        self._seed: list[object] = [task, seed]
        self._shared: list[Example] = []
        self._drawing = self._balanced() if strategy == "balanced" else self._permuted(self._generator())

    def draw(self, item: Example, k: int) -> tuple[Example, ...]:
        """The first ``k`` demonstrations for an item, in the order drawn.

        Raises:
            UsageError: the pool holds fewer than ``k`` examples.
        """
        if k > len(self._pool):
            raise UsageError(
                f"{self._seed[0]}: {k} demonstrations were asked for, but the pool holds {len(self._pool)}"
            )
        if self._strategy == "per-item":
            own = self._permuted(self._generator(item.item_id))
            return tuple(next(own) for _ in range(k))
        while len(self._shared) < k:
            self._shared.append(next(self._drawing))
        return tuple(self._shared[:k])

    def _generator(self, *more: object) -> random.Random:
        return random.Random(digest(["demonstrations", self._strategy, *self._seed, *more]))  # noqa: S311 - not a secret

    def _permuted(self, generator: random.Random, pool: Sequence[Example] | None = None) -> Iterator[Example]:
        """A seeded permutation, drawn one by one (Fisher-Yates on a sparse array): cost grows with the draws alone."""
        pool = self._pool if pool is None else pool
        moved: dict[int, int] = {}
        for i in range(len(pool)):
            j = generator.randrange(i, len(pool))
            yield pool[moved.get(j, j)]
            moved[j] = moved.pop(i, i)

    def _balanced(self) -> Iterator[Example]:
        classes: dict[int, list[Example]] = {}
        for example in self._pool:
            classes.setdefault(example.gold, []).append(example)
        order = sorted(classes)
        drawing = {label: self._permuted(self._generator(label), classes[label]) for label in order}
        rounds = self._generator("rounds")
        while drawing:
            rounds.shuffle(order)
            for label in order:
                found = next(drawing[label], None) if label in drawing else None
                if found is None:
                    drawing.pop(label, None)
                else:
                    yield found
