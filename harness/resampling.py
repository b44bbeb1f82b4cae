"""Resamples of items, or of clusters of them, as how often each is drawn; and scores that are computed anew from that.

It knows numbers only, and nothing of intervals.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats, Ints

Weights = npt.NDArray[np.float32]  # halves the time that products with them take
_CELL = 20_000_000  # weights of resamples held at a time


def item_weights(n_items: int, resamples: int, rng: np.random.Generator, clusters: Ints | None = None) -> Weights:
    """How often each item is drawn in each resample of items, or of clusters of them; [resamples, items]."""
    unit = np.arange(n_items) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    count = int(unit.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn[:, unit], np.float32)


def accuracies(correct: Floats, weights: Weights) -> Floats:
    """The mean over each resample's items of per-item scores [..., items]; [resamples, ...]."""
    flat = correct.reshape(-1, correct.shape[-1]).astype(np.float32)
    means = np.asarray((weights @ flat.T) / weights.sum(axis=1, keepdims=True), np.float64)
    return means.reshape(len(weights), *correct.shape[:-1])


def corpus_scores(pairs: Ints, weights: Weights, n_labels: int, metric: Callable[[Floats], Floats]) -> Floats:
    """A corpus metric of each resample, computed anew from confusion counts; [resamples, ...].

    Args:
        pairs: ``metrics.pair_index`` of each cell's items, [..., items].
        metric: maps confusion counts [..., C, C + 1] to values [...].
    """
    from scipy import sparse

    n_items, size = pairs.shape[-1], n_labels * (n_labels + 1)
    batch = max(1, _CELL // max(size, n_items))
    found = []
    for row in pairs.reshape(-1, n_items):
        places = sparse.csr_array((np.ones(n_items, np.float32), (row, np.arange(n_items))), shape=(size, n_items))
        parts = []
        for begin in range(0, len(weights), batch):
            counts = np.asarray((places @ weights[begin : begin + batch].T).T, np.float64)
            parts.append(metric(counts.reshape(-1, n_labels, n_labels + 1)))
        found.append(np.concatenate(parts))
    return np.stack(found, axis=1).reshape(len(weights), *pairs.shape[:-1])


def kind_weights(counts: Ints, resamples: int, rng: np.random.Generator) -> Weights:
    """How often each kind of unit is drawn, where there are ``counts`` units of each; [resamples, kinds].

    Units that no score tells apart are one kind: of one system's labels there are few kinds, however many items.
    """
    n, kinds = int(counts.sum()), len(counts)
    if 4 * kinds < n:
        return np.asarray(rng.multinomial(n, counts / n, size=resamples), np.float32)
    kind = np.repeat(np.arange(kinds), counts)
    found = []
    for begin in range(0, resamples, batch := max(1, _CELL // n)):
        rows = np.arange(min(batch, resamples - begin))[:, None] * kinds
        places = kind.take(rng.integers(n, size=(len(rows), n)))
        places += rows
        found.append(np.bincount(places.ravel(), minlength=len(rows) * kinds).reshape(len(rows), kinds))
    return np.concatenate(found).astype(np.float32)
