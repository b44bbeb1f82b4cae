"""Draws by likeness to the item: by shared words (BM25), or by the cosine of embeddings, the most similar first.

Equal scores go by item id: scores are rounded to ``DECIMALS``, so that the order in which a machine adds numbers up
decides nothing but what lies within that rounding.

mmr is maximal marginal relevance (Carbonell & Goldstein 1998): each draw is the example with the most
lambda * relevance - (1 - lambda) * similarity to what is drawn, so that the demonstrations do not repeat one another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.records import Example
from harness.shots.bm25 import BM25
from harness.shots.text import own_options, text_of
from harness.words import terms

Floats = npt.NDArray[np.floating]

# Gives each text a vector; shape [n texts, d].
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]

LAMBDA = 0.5
DECIMALS = 6
_HEAD = 128  # examples that are sorted at once; more are seldom asked for


class Likeness(Protocol):
    """How like the examples of a pool are to a text and to one another, on one scale."""

    def to(self, text: str) -> Floats:
        """Shape [n pool]."""
        ...

    def between(self, row: int) -> Floats:
        """To example ``row`` of the pool; shape [n pool]."""
        ...


class WordLikeness:
    """BM25 scores of the item's text, and cosines of BM25 weights within the pool.

    A score is given as a share of the highest one, so that both lie between 0 and 1.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._index = BM25([terms(text) for text in texts])

    def to(self, text: str) -> Floats:
        scores = self._index.scores(terms(text))
        return scores / max(float(scores.max(initial=0.0)), 1e-9)

    def between(self, row: int) -> Floats:
        return self._index.similarities(row)


class VectorLikeness:
    """Cosines of embeddings."""

    def __init__(self, texts: Sequence[str], embed: Embed) -> None:
        self._embed = embed
        self._pool = _unit(embed(texts))

    def to(self, text: str) -> Floats:
        cosines: Floats = self._pool @ _unit(self._embed([text]))[0]
        return cosines

    def between(self, row: int) -> Floats:
        cosines: Floats = self._pool @ self._pool[row]
        return cosines


class Retrieved:
    """The draws of ``bm25`` and ``knn``, or with ``diverse`` those of ``mmr``; ``embed`` None goes by words."""

    def __init__(self, pool: Sequence[Example], embed: Embed | None, *, diverse: bool) -> None:
        self._pool = pool
        self._row_of = {example.item_id: row for row, example in enumerate(pool)}
        self._options = own_options(pool)
        self._embed = embed
        self._diverse = diverse
        texts = [self._text(example) for example in pool]
        self._likeness: Likeness = WordLikeness(texts) if embed is None else VectorLikeness(texts, embed)

    def prepare(self, items: Sequence[Example]) -> None:
        """Have the texts of items embedded together; whatever embeds is expected to keep what it has done."""
        if self._embed is not None:
            self._embed(list(map(self._text, items)))

    def sequence(self, item: Example, excluded: Collection[str]) -> Iterator[Example]:
        """All of the pool but those ids of it that are ``excluded``, in the order of the draw."""
        relevance = self._likeness.to(self._text(item))
        allowed = np.ones(len(self._pool), np.bool_)
        allowed[[self._row_of[name] for name in excluded]] = False
        rows = mmr(relevance, self._likeness.between, allowed) if self._diverse else ranked(relevance, allowed)
        return (self._pool[row] for row in rows)

    def _text(self, example: Example) -> str:
        return text_of(example, options=self._options)


def ranked(scores: Floats, allowed: npt.NDArray[np.bool_]) -> Iterator[int]:
    """The ``allowed`` rows from the highest score to the lowest; of equal ones, the first row first."""
    rounded = np.round(scores, DECIMALS)
    rows = np.flatnonzero(allowed)
    if len(rows) > _HEAD:
        bound = np.partition(rounded[rows], -_HEAD)[-_HEAD]
        first = rounded[rows] >= bound
        yield from _sorted(rounded, rows[first])
        rows = rows[~first]
    yield from _sorted(rounded, rows)


def mmr(
    relevance: Floats, similarity: Callable[[int], Floats], allowed: npt.NDArray[np.bool_], weight: float = LAMBDA
) -> Iterator[int]:
    """The ``allowed`` rows, each the best after those before it; of equal ones, the first row.

    Args:
        relevance: of each row to the item; shape [n].
        similarity: of each row to the one given; shape [n].
    """
    left = allowed.copy()
    closest = np.zeros(len(relevance))
    for drawn in range(int(allowed.sum())):
        gain = np.round(weight * relevance - (1 - weight) * closest, DECIMALS)
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        yield best
        left[best] = False
        found = similarity(best)
        closest = np.maximum(closest, found) if drawn else np.asarray(found, np.float64)


def _sorted(scores: Floats, rows: npt.NDArray[np.int64]) -> list[int]:
    order: list[int] = rows[np.argsort(-scores[rows], kind="stable")].tolist()
    return order


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: npt.NDArray[np.float32] = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return found
