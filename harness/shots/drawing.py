"""The demonstrations of items under one strategy and seed, without anything that gives an item away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, Protocol, get_args

from harness.errors import UsageError, suggest
from harness.records import Example
from harness.shots.duplicates import NearDuplicates
from harness.shots.order import permutation
from harness.shots.retrieval import Embed, Retrieved
from harness.shots.seeded import SEEDED, Seeded

Strategy = Literal["fixed", "balanced", "per-item", "stratified", "bm25", "knn", "mmr", "file"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

_PER_ITEM = ("per-item", "bm25", "knn", "mmr")
_NEAREST_LAST = ("bm25", "knn", "mmr")


class _Draws(Protocol):
    def sequence(self, item: Example, excluded: frozenset[str]) -> Iterator[Example]:
        """All of the pool but the ids ``excluded``, in the order of the draw."""
        ...


class Demonstrations:
    """The draws of one task under one strategy and seed.

    Args:
        pool: what is drawn from; its order matters to ``file`` alone.
        seed: None with the strategies that have none; see ``SEEDED``.
        embed: what ``knn`` compares by, and ``mmr`` too where it is given.
        guard: the near-duplicates in ``pool``, where another draw has found them already.
    """

    def __init__(
        self,
        task: str,
        pool: Sequence[Example],
        strategy: Strategy,
        seed: int | None = None,
        *,
        embed: Embed | None = None,
        guard: NearDuplicates | None = None,
    ) -> None:
        if strategy not in STRATEGIES:
            raise UsageError(f"unknown strategy {strategy!r}{suggest(strategy, STRATEGIES)}")
        if strategy == "knn" and embed is None:
            raise UsageError("knn: needs something to embed texts with")
        self.strategy = strategy
        self._task = task
        self._pool = list(pool) if strategy == "file" else sorted(pool, key=lambda example: example.item_id)
        self._seed = seed
        self._embed = embed if strategy in ("knn", "mmr") else None
        self._guard = guard or NearDuplicates(pool)
        self._drawn: dict[frozenset[str] | str, tuple[Example, ...]] = {}

    def draw(self, item: Example, k: int) -> tuple[Example, ...]:
        """The first ``k`` demonstrations for an item, in the order drawn.

        Raises:
            UsageError: fewer than ``k`` of the pool may stand before the item.
        """
        excluded = self._guard.of(item)
        # What is the same for all items is so but for what must be left out.
        key = item.item_id if self.strategy in _PER_ITEM else excluded
        drawn = self._drawn.get(key, ())
        if len(drawn) < k:
            drawn = self._drawn[key] = tuple(islice(self._draws.sequence(item, excluded), k))
        if len(drawn) < k:
            raise UsageError(self._too_few(item, k, len(drawn)))
        return drawn[:k]

    def prepare(self, items: Sequence[Example], k: int) -> None:
        """Draw ``k`` for all items at once, which spares an encoder many small batches. Raises what ``draw`` does."""
        if isinstance(self._draws, Retrieved):
            self._draws.prepare(items)
        for item in items:
            self.draw(item, k)

    def shown(self, drawn: Sequence[Example], order: int | None = None) -> Sequence[Example]:
        """Drawn demonstrations as they stand before the query: as drawn, or with the most similar last.

        Args:
            order: the number of a seeded permutation to take instead.
        """
        if order is not None:
            return [drawn[place] for place in permutation(len(drawn), order, f"{self._task} {self._seed}")]
        return drawn[::-1] if self.strategy in _NEAREST_LAST else drawn

    @cached_property
    def _draws(self) -> _Draws:
        if self.strategy == "file":
            return _Listed(self._pool)
        if self.strategy in SEEDED:
            return Seeded(self._pool, self.strategy, [self._task, self._seed])
        return Retrieved(self._pool, self._embed, diverse=self.strategy == "mmr")

    def _too_few(self, item: Example, k: int, left: int) -> str:
        holds = "the list of demonstrations" if self.strategy == "file" else "the pool"
        told = f"{self._task}: {k} demonstrations were asked for, but {holds} holds {len(self._pool)}"
        if left < len(self._pool):
            told += f", {len(self._pool) - left} of them too like the item at {item.place} to stand before it"
        return f"{told}; --shots takes at most {left}"


@dataclass(frozen=True, slots=True)
class _Listed:
    """The pool as it is listed."""

    pool: Sequence[Example]

    def sequence(self, item: Example, excluded: frozenset[str]) -> Iterator[Example]:
        return (example for example in self.pool if example.item_id not in excluded)
