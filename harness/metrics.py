"""Metrics of classification, computed from confusion counts so that a resample only re-aggregates.

Counts have shape [..., C, C + 1]: gold label by predicted label, with a last column for items that got no prediction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.records import MetricName

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def pair_index(gold: Ints, prediction: Ints, n_labels: int) -> Ints:
    """Each item's cell in the flattened confusion counts; a prediction of -1 means that there is none. Shape [n]."""
    return gold * (n_labels + 1) + np.where(prediction < 0, n_labels, prediction)


def confusion(pairs: Ints, n_labels: int) -> Floats:
    """Confusion counts [C, C + 1] of items given by ``pair_index``."""
    counts = np.bincount(pairs, minlength=n_labels * (n_labels + 1))
    return counts.reshape(n_labels, n_labels + 1).astype(np.float64)


def accuracy(counts: Floats) -> Floats:
    """Share of items predicted right."""
    return np.asarray(np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1)))


def macro_f1(counts: Floats) -> Floats:
    """Unweighted mean of F1 over the labels that occur as gold or prediction (scikit-learn's default label set)."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    support = counts.sum(axis=-1)
    predicted = counts[..., :-1].sum(axis=-2)
    occurs = support + predicted > 0
    f1 = np.divide(2 * hits, support + predicted, out=np.zeros_like(hits, dtype=np.float64), where=occurs)
    return np.asarray(f1.sum(axis=-1) / occurs.sum(axis=-1))


METRICS: dict[MetricName, Callable[[Floats], Floats]] = {"accuracy": accuracy, "macro_f1": macro_f1}
