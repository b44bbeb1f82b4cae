"""Intervals of means and of corpus metrics. It knows numbers only: no tasks, no prompts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats, Ints

LEVEL = 0.95
RESAMPLES = 1_000
MOST_BCA = 2_000  # units
BATCH = 500_000  # drawn units held at once
SEED = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval at ``LEVEL``."""

    mean: float
    low: float
    high: float


def standard_error(values: Floats, clusters: npt.NDArray[np.int64] | None = None) -> float:
    """Standard error of the mean of [n] values; with clusters, CR1 (Cameron and Miller 2015, section II.B).

    Returns nan for one value, or one cluster.
    """
    n = len(values)
    residuals = values - values.mean()
    if clusters is None:
        return float(np.sqrt((residuals**2).sum() / (n - 1) / n)) if n > 1 else float("nan")
    _, index = np.unique(clusters, return_inverse=True)
    totals = np.bincount(index, weights=residuals)
    count = len(totals)
    return float(np.sqrt(count / (count - 1) * (totals**2).sum()) / n) if count > 1 else float("nan")


def mean_interval(values: Floats, clusters: npt.NDArray[np.int64] | None = None) -> Interval:
    """Interval of the mean of per-item values between 0 and 1, shape [n].

    Wilson's (1927) for independent 0/1 values, which is right near 0 and 1; otherwise Student's t with the standard
    error above, cut to [0, 1]. Its ends are nan where one value or one cluster tells nothing of the spread.
    """
    from scipy import stats

    mean = float(values.mean())
    if clusters is None and np.isin(values, (0.0, 1.0)).all():
        found = stats.binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, method="wilson")
        return Interval(mean, float(found.low), float(found.high))
    groups = len(values) if clusters is None else len(np.unique(clusters))
    if groups < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf((1 + LEVEL) / 2, groups - 1)) * standard_error(values, clusters)
    return _interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def bootstrap_interval(
    pairs: Ints, metric: Callable[[Floats], Floats], n_labels: int, clusters: npt.NDArray[np.int64] | None = None
) -> Interval:
    """BCa bootstrap (Efron 1987) over items, or over clusters of items, of a corpus metric, averaged over cells.

    A resample draws the same items in all cells, and the metric is computed anew from their confusion counts. With
    more than ``MOST_BCA`` units the interval is the percentile one, which is the same there but for the third digit:
    BCa leaves each unit out once, at a cost that grows with their square.

    Args:
        pairs: ``metrics.pair_index`` of each cell's items, shape [cells, items].
        metric: maps confusion counts [..., C, C + 1] to values [...].
        clusters: each item's cluster, shape [items].
    """
    from scipy import stats

    n_cells, n_items = pairs.shape
    size = n_labels * (n_labels + 1)
    unit = np.arange(n_items) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    units = np.arange(unit.max() + 1)
    # Confusion counts of each unit of resampling, by cell: [cells, units, C * (C + 1)].
    counts = np.zeros((n_cells, len(units), size), np.float32)
    np.add.at(counts, (np.arange(n_cells)[:, None], unit[None], pairs), 1)

    def statistic(drawn: Ints, axis: int = -1) -> Floats:
        rows = drawn.reshape(-1, drawn.shape[-1])
        shift = np.arange(len(rows))[:, None] * len(units)
        times = np.bincount((rows + shift).ravel(), minlength=len(rows) * len(units)).astype(np.float32)
        times = times.reshape(len(rows), len(units))
        values = [metric((times @ cell).astype(np.float64).reshape(-1, n_labels, n_labels + 1)) for cell in counts]
        return np.asarray(np.mean(values, axis=0).reshape(drawn.shape[:-1]))

    mean = float(statistic(units[None])[0])
    if len(units) < 2:
        return Interval(mean, float("nan"), float("nan"))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # No spread, or all of it on one side of the observed value: the ends are nan, which says so.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (units,),
            statistic,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH // len(units)),
            confidence_level=LEVEL,
            method="BCa" if len(units) <= MOST_BCA else "percentile",
            rng=np.random.default_rng(SEED),
        )
    return _interval(mean, float(found.confidence_interval.low), float(found.confidence_interval.high))


def _interval(mean: float, low: float, high: float) -> Interval:
    """An interval, whose ends are nan where no two observations differ: they tell nothing of the spread."""
    return Interval(mean, low, high) if low < high else Interval(mean, float("nan"), float("nan"))
