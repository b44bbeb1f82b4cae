"""Intervals of means and of corpus metrics. It knows numbers only: no tasks, no prompts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats, Ints
from harness.resampling import Weights, corpus_scores, kind_weights

LEVEL = 0.95
SEED = 0
# Resamples: twice as many until the draw gives the ends a standard error of a tenth of a point, the last digit shown.
STEADY = 0.001
FEWEST, MOST = 2_000, 150_000
WORK = 6_000_000  # drawn kinds at the most, unless even the fewest resamples are more
MOST_BCA = 2_000  # kinds of units


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
    """``bca_interval`` over items, or over clusters of items, of a corpus metric, averaged over cells.

    A resample draws the same items in all cells, and the metric is computed anew from their confusion counts.

    Args:
        pairs: ``metrics.pair_index`` of each cell's items, shape [cells, items].
        metric: maps confusion counts [..., C, C + 1] to values [...].
        clusters: each item's cluster, shape [items].
    """
    if clusters is None:
        kinds, counts = np.unique(pairs, axis=1, return_counts=True)
        unit = np.arange(kinds.shape[1])
    else:
        kinds, unit = pairs, np.unique(clusters, return_inverse=True)[1]
        counts = np.ones(unit.max() + 1, np.int64)
    return bca_interval(lambda drawn: corpus_scores(kinds, drawn[:, unit], n_labels, metric).mean(axis=1), counts)


def bca_interval(statistic: Callable[[Weights], Floats], counts: Ints, resamples: int | None = None) -> Interval:
    """BCa bootstrap (Efron 1987) of a statistic of units, expanded for few of them (Hesterberg 2015, section 4.3).

    Resamples tell of a spread that is too small by (n - 1) / n, and have normal tails where Student's are due: their
    quantiles are taken further out, so that those of a mean would be Student's. With more than ``MOST_BCA`` kinds of
    units the interval is a percentile one, which is the same there but for the third digit: BCa leaves each kind out
    once, at a cost that grows with their square. The ends are nan for a single unit, and where no two resamples differ.

    Args:
        statistic: maps how often each kind of unit is drawn, [resamples, kinds], to values [resamples].
        counts: how many units there are of each kind, which are units that the statistic cannot tell apart.
        resamples: how many; None for as many as the last digit shown needs.
    """
    n = int(counts.sum())
    mean = float(statistic(np.asarray(counts[None], np.float32))[0])
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    rng = np.random.default_rng(SEED)
    drawn = statistic(kind_weights(counts, resamples or FEWEST, rng))
    if drawn.min() == drawn.max():
        return Interval(mean, math.nan, math.nan)
    acceleration = _acceleration(statistic, counts) if len(counts) <= MOST_BCA else None
    most = resamples or min(MOST, WORK // len(counts))
    while True:
        tails = _tails(drawn, mean, n, acceleration)
        error = np.sqrt(tails * (1 - tails) / len(drawn))
        low, high = np.quantile(drawn, tails)
        # How far the ends lie from those that a draw one standard error away would have.
        off = np.abs(np.quantile(drawn, np.clip(tails + [[-1], [1]] * error, 0, 1)) - [low, high]).max(initial=0.0)
        if 2 * len(drawn) > most or off <= STEADY:
            return _interval(mean, float(low), float(high))
        drawn = np.concatenate([drawn, statistic(kind_weights(counts, len(drawn), rng))])


def _tails(drawn: Floats, mean: float, n: int, acceleration: float | None) -> Floats:
    """Which quantiles of resamples are the two ends; those of a percentile interval without an acceleration."""
    from scipy import stats

    outer = math.sqrt(n / (n - 1)) * stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.array([-1, 1])
    if acceleration is not None:
        # One part of many is counted on either side where all lie on one: a shift is never infinite.
        below = ((drawn < mean).sum() + (drawn == mean).sum() / 2 + 0.5) / (len(drawn) + 1)
        shift = stats.norm.ppf(below)
        outer = shift + (shift + outer) / np.maximum(1e-9, 1 - acceleration * (shift + outer))
    return np.asarray(stats.norm.cdf(outer))


def _acceleration(statistic: Callable[[Weights], Floats], counts: Ints) -> float:
    """From the statistic without a unit of each kind."""
    left = np.concatenate(
        [
            statistic(np.asarray(counts - part, np.float32))
            for part in np.array_split(np.eye(len(counts), dtype=np.int64), 1 + len(counts) // 500)
        ]
    )
    gaps = np.average(left, weights=counts) - left
    squares = float((counts * gaps**2).sum())
    return float((counts * gaps**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _interval(mean: float, low: float, high: float) -> Interval:
    """An interval, whose ends are nan where no two observations differ: they tell nothing of the spread."""
    return Interval(mean, low, high) if low < high else Interval(mean, float("nan"), float("nan"))
