"""How far the probabilities of labels can be trusted: reliability table, calibration error, Brier score and NLL.

Probabilities have shape [n, C], a distribution over the labels in each row; gold labels have shape [n].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.metrics import Floats, Ints

BINS = 10
TOLERANCE = 1e-4  # of the sum of a row: probabilities may come from float32


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityTable:
    """Items by confidence, in equal bins (low, high]; shape [bins] each.

    ``confidence`` and ``accuracy`` are means over the bin's items, nan where it has none.
    """

    low: Floats
    high: Floats
    count: Ints
    confidence: Floats
    accuracy: Floats

    @property
    def expected_calibration_error(self) -> float:
        """Mean over items of their bin's |accuracy - confidence| (Naeini et al. 2015; Guo et al. 2017, equation 3)."""
        used = self.count > 0
        gaps = np.abs(self.accuracy[used] - self.confidence[used])
        return float((self.count[used] * gaps).sum() / self.count.sum())


def reliability_table(confidence: Floats, right: Floats, bins: int = BINS) -> ReliabilityTable:
    """Table of confidences in (0, 1] and of whether the prediction was right (0 or 1), shape [n] each."""
    if len(confidence) == 0 or not ((confidence > 0) & (confidence <= 1)).all():
        raise ValueError("a reliability table needs at least one item, and confidences above 0 and up to 1")
    edges = np.arange(bins + 1) / bins  # k / bins is the float that a decimal edge such as .7 reads as; linspace is not
    index = np.searchsorted(edges, confidence, side="left") - 1
    count = np.bincount(index, minlength=bins)

    def mean(values: Floats) -> Floats:
        sums = np.bincount(index, weights=values, minlength=bins)
        return np.asarray(np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0))

    return ReliabilityTable(edges[:-1], edges[1:], count, mean(confidence), mean(right))


def confidence_and_right(probabilities: Floats, gold: Ints) -> tuple[Floats, Floats]:
    """Each item's highest probability, and whether its label (the first of equals) is gold; shape [n] each."""
    checked = _distribution(probabilities, gold)
    return checked.max(axis=1), (checked.argmax(axis=1) == gold).astype(np.float64)


def expected_calibration_error(probabilities: Floats, gold: Ints, bins: int = BINS) -> float:
    """Expected calibration error of the most probable label, between 0 and 1."""
    return reliability_table(*confidence_and_right(probabilities, gold), bins).expected_calibration_error


def brier(probabilities: Floats, gold: Ints) -> float:
    """Mean over items of the squared distance to the gold label's one-hot, summed over labels, between 0 and 2.

    Brier's (1950, equation 2) own form; the common binary form is half of it.
    """
    checked = _distribution(probabilities, gold)
    return float(((checked - np.eye(checked.shape[1])[gold]) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: Floats, gold: Ints) -> float:
    """Mean over items of -log p(gold label), in nats; a p of 0 counts as 2.2e-16 (scikit-learn)."""
    from sklearn.metrics import log_loss

    checked = _distribution(probabilities, gold)
    return float(log_loss(gold, checked, labels=np.arange(checked.shape[1])))


def _distribution(probabilities: Floats, gold: Ints) -> Floats:
    """The probabilities in double precision, each row with a sum of exactly 1."""
    n, n_labels = probabilities.shape
    if n == 0 or n_labels < 2 or len(gold) != n or not ((gold >= 0) & (gold < n_labels)).all():
        raise ValueError(f"{len(gold)} gold labels do not fit {n} rows of {n_labels} probabilities")
    sums = probabilities.sum(axis=1, dtype=np.float64, keepdims=True)
    if not ((probabilities >= 0).all() and (np.abs(sums - 1) <= TOLERANCE).all()):
        raise ValueError("the probabilities of an item must be at least 0 and sum to 1")
    return np.asarray(probabilities.astype(np.float64) / sums)
