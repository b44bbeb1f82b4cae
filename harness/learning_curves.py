"""Learning curves against the number of labels: monotone fits, their inverse, what a prompt is worth in labels.

It knows numbers only. A curve has scores at sizes 0 <= n_1 < n_2 < ...; ``scale`` says in what it is straight between
two sizes. In log n there is no point for 0 labels, so that from 0 to the next size a curve is straight in n.

    below           crossed at n*              above
    curve[0] >= y   first size with curve >= y  no size with curve >= y
    -inf            n*                          inf

are what ``sizes_at`` gives for a level y, so that percentiles of resamples order as they should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats, Ints
from harness.statistics import LEVEL, Interval

Weights = npt.NDArray[np.float32]  # halves the time that products with them take
Scale = Literal["log", "linear"]
Monotone = Literal["isotonic", "maximum"]
MONOTONE: tuple[Monotone, ...] = get_args(Monotone)
_CELL = 20_000_000  # weights of resamples held at a time


# Monotone curves and their inverse


def isotonic(scores: Floats) -> Floats:
    """The closest nondecreasing curve, by least squares; shape [n]."""
    from sklearn.isotonic import isotonic_regression

    if (np.diff(scores) >= 0).all():
        return scores.astype(np.float64)
    return np.asarray(isotonic_regression(scores.astype(np.float64)), np.float64)


def accumulated_maximum(scores: Floats) -> Floats:
    """The best score so far, as Le Scao and Rush (2021) smooth their curves; it errs upwards on noisy ones."""
    return np.asarray(np.maximum.accumulate(scores, axis=-1))


def monotone(scores: Floats, how: Monotone = "isotonic") -> Floats:
    """One curve [sizes], or several [..., sizes], made nondecreasing."""
    if how == "maximum":
        return accumulated_maximum(scores)
    rows = scores.reshape(-1, scores.shape[-1])
    return np.array([isotonic(row) for row in rows]).reshape(scores.shape)


def sizes_at(sizes: Floats, curves: Floats, levels: Floats, scale: Scale = "log") -> Floats:
    """The least size at which each nondecreasing curve reaches its level.

    Args:
        sizes: [sizes], increasing.
        curves: [resamples, sizes].
        levels: [resamples].

    Returns:
        [resamples]; -inf where the first size is enough already, inf where no size is.
    """
    reached = curves >= levels[:, None]
    after = reached.argmax(axis=1)
    rows = np.arange(len(curves))
    before = np.maximum(after - 1, 0)
    low, high = curves[rows, before], curves[rows, after]
    part = np.divide(levels - low, high - low, out=np.zeros(len(curves)), where=high > low)
    left, right = sizes[before], sizes[after]
    found = left + part * (right - left)
    if scale == "log":
        curved = left > 0
        found[curved] = left[curved] * (right[curved] / left[curved]) ** part[curved]
    found[after == 0] = -np.inf
    found[~reached.any(axis=1)] = np.inf
    return np.asarray(found)


def size_at(sizes: Floats, curve: Floats, level: float, scale: Scale = "log") -> float:
    """The same for one curve and one level."""
    return float(sizes_at(np.asarray(sizes, np.float64), np.asarray(curve)[None], np.array([level]), scale)[0])


def data_advantage(
    head_sizes: Floats,
    head_scores: Floats,
    prompt_sizes: Floats,
    prompt_scores: Floats,
    how: Monotone = "isotonic",
) -> float:
    """How many more labels a classification head needs than a prompt for the same score, on average over scores.

    Le Scao and Rush (2021), How many data points is a prompt worth?: both curves are made monotone and inverted, linear
    in n, and n_head(y) - n_prompt(y) is averaged over the window of scores y that both reach, from the larger of their
    minima to the smaller of their maxima. Positive: the prompt needs fewer. The two curves may have other sizes; all
    arrays are [sizes], those of sizes increasing.

    Returns:
        nan where there is no such window, or one of a single score: then there is nothing to average over.
    """
    head, prompt = monotone(head_scores, how), monotone(prompt_scores, how)
    low, high = max(head[0], prompt[0]), min(head[-1], prompt[-1])
    if not high > low:
        return float("nan")
    # Between two scores that occur, both inverses are straight, so that the value half-way is the mean, exactly.
    breaks = np.unique(np.clip(np.concatenate([[low, high], head, prompt]), low, high))
    middles = (breaks[:-1] + breaks[1:]) / 2
    gaps = _inverse(head_sizes, head, middles) - _inverse(prompt_sizes, prompt, middles)
    return float((gaps * np.diff(breaks)).sum() / (high - low))


def _inverse(sizes: Floats, curve: Floats, levels: Floats) -> Floats:
    curves = np.broadcast_to(curve, (len(levels), len(curve)))
    return sizes_at(np.asarray(sizes, np.float64), curves, levels, "linear")


# Resamples of items and seeds


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


def mean_over_seeds(scores: Floats, resampled: Floats, rng: np.random.Generator) -> Floats:
    """The mean over seeds, under each resample of items and a draw of seeds with it; [resamples, ...].

    To the mean over all seeds of the items drawn, the seeds drawn add how far their mean on all items is from that of
    all seeds. One seed fewer than there are is drawn, with replacement, so that the variance of the mean comes out
    right for few seeds (McCarthy and Snowden 1985, The bootstrap and finite population sampling). Seeds also differ
    because each has luck of its own with these items, which the draw of items has counted already: that part of their
    variance, estimated from the resamples, is taken out of the draw. (Drawing items and seeds plainly counts it three
    times; Owen 2007, The pigeonhole bootstrap.) A single seed is kept: it says nothing of others.

    Args:
        scores: on all items, [seeds, ...].
        resampled: on each resample's items, [resamples, seeds, ...].
    """
    resamples, seeds = resampled.shape[:2]
    means = np.asarray(resampled.mean(axis=1))
    if seeds == 1:
        return means
    spread = scores.var(axis=0, ddof=1)
    luck = (resampled - means[:, None]).var(axis=0).mean(axis=0) * seeds / (seeds - 1)
    ratio = np.divide(luck, spread, out=np.ones_like(spread), where=spread > 0)
    own = np.sqrt(np.maximum(0, 1 - ratio))
    drawn = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples) / (seeds - 1)
    moved = np.tensordot(drawn, scores - scores.mean(axis=0), axes=1)
    return np.asarray(means + own * moved)


@dataclass(frozen=True, slots=True)
class Curve:
    """Scores of a baseline against the labels that it used.

    ``mean`` is over seeds, ``fitted`` the same made nondecreasing, ``resampled`` that of every resample,
    [resamples, sizes].
    """

    sizes: Floats
    mean: Floats
    fitted: Floats
    resampled: Floats
    seeds: int

    @property
    def band(self) -> tuple[Floats, Floats]:
        """Pointwise percentile interval of the fitted curve."""
        low, high = np.quantile(self.resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low, high


@dataclass(frozen=True, slots=True)
class Level:
    """The score of a frozen prompt: a mean over ``seeds`` draws of demonstrations, and that of every resample."""

    score: float
    resampled: Floats
    seeds: int

    @property
    def interval(self) -> Interval:
        low, high = np.quantile(self.resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(self.score, float(low), float(high))


def curve(
    sizes: Floats, scores: Floats, resampled: Floats, rng: np.random.Generator, how: Monotone = "isotonic"
) -> Curve:
    """A curve from scores [seeds, sizes] and those of every resample of items [resamples, seeds, sizes].

    A seed is drawn with all of its sizes, as its subsets are nested.
    """
    mean = scores.mean(axis=0)
    again = monotone(mean_over_seeds(scores, resampled, rng), how)
    return Curve(np.asarray(sizes, np.float64), mean, monotone(mean, how), again, len(scores))


def level(scores: Floats, resampled: Floats, rng: np.random.Generator) -> Level:
    """A prompt's level from scores [seeds] and those of every resample of items [resamples, seeds]."""
    return Level(float(scores.mean()), mean_over_seeds(scores, resampled, rng), len(scores))


# What a frozen prompt is worth


@dataclass(frozen=True, slots=True)
class BreakEven:
    """How many labels a baseline needs to reach a frozen prompt.

    ``n``, ``low`` and ``high`` are -inf for "at most n_min" and inf for "more than n_max". ``below`` and ``above`` are
    the shares of resamples that are censored on either side. The interval is a percentile one.
    """

    n: float
    low: float
    high: float
    n_min: float
    n_max: float
    below: float
    above: float

    @property
    def censored(self) -> Literal["below", "above"] | None:
        return None if np.isfinite(self.n) else "below" if self.n < 0 else "above"

    def minus(self, labels: float) -> BreakEven:
        """The same after the labels that the prompt used itself; 0 or less says that these were more than it saves."""
        less = {name: getattr(self, name) - labels for name in ("n", "low", "high", "n_min", "n_max")}
        return BreakEven(**less, below=self.below, above=self.above)

    def text(self, number: Callable[[float], str] = "{:.0f}".format) -> str:
        """The estimate for people: a number, or the bound that is all one can say."""
        return self._bounded(self.n, number)

    def interval_text(self, number: Callable[[float], str] = "{:.0f}".format) -> str:
        """The interval, such as "60 to 310", or "60 to > 512"; "-" where there is none."""
        if np.isnan(self.low):
            return "-"
        return f"{self._bounded(self.low, number)} to {self._bounded(self.high, number)}"

    def _bounded(self, n: float, number: Callable[[float], str]) -> str:
        if np.isfinite(n):
            return number(n)
        return f"<= {self.n_min:,.0f}" if n < 0 else f"> {self.n_max:,.0f}"


def break_even(baseline: Curve, prompt: Level) -> BreakEven:
    """n* = min{n: baseline(n) >= prompt}, straight in log n between sizes; resamples go together in pairs."""
    sizes = baseline.sizes
    drawn = sizes_at(sizes, baseline.resampled, prompt.resampled)
    # No interpolation: half-way between a number and "more than n_max" there is nothing.
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    if not (np.ptp(baseline.resampled, axis=0).any() or np.ptp(prompt.resampled)):
        low = high = np.nan
    return BreakEven(
        n=size_at(sizes, baseline.fitted, prompt.score),
        low=float(low),
        high=float(high),
        n_min=float(sizes[0]),
        n_max=float(sizes[-1]),
        below=float(np.isneginf(drawn).mean()),
        above=float(np.isposinf(drawn).mean()),
    )


def break_even_of_items(
    sizes: Floats,
    baseline: Floats,
    prompt: Floats,
    *,
    resamples: int,
    rng: np.random.Generator,
    clusters: Ints | None = None,
    how: Monotone = "isotonic",
) -> BreakEven:
    """Break-even in accuracy, from what was right of the same items; items and seeds of both sides are drawn together.

    Args:
        baseline: [training seeds, sizes, items].
        prompt: [demonstration seeds, items].
    """
    weights = item_weights(prompt.shape[-1], resamples, rng, clusters)
    found = curve(sizes, baseline.mean(axis=-1), accuracies(baseline, weights), rng, how)
    return break_even(found, level(prompt.mean(axis=-1), accuracies(prompt, weights), rng))


@dataclass(frozen=True, slots=True)
class Advantage:
    """A data advantage with its percentile interval. ``undefined`` is the share of resamples that have none."""

    mean: float
    low: float
    high: float
    undefined: float


def advantage(baseline: Curve, prompts: list[tuple[float, Level]], how: Monotone = "isotonic") -> Advantage:
    """The data advantage of a prompt, whose levels are given with the labels that each used, over a baseline.

    The interval is of the resamples that have a window; it is nan where most have none. A prompt at a single number of
    labels has no advantage, nor has one with two levels at the same number.
    """
    if len({labels for labels, _ in prompts}) < max(2, len(prompts)):
        return Advantage(float("nan"), float("nan"), float("nan"), 1.0)
    ordered = sorted(prompts, key=lambda pair: pair[0])
    labels = np.array([used for used, _ in ordered], np.float64)
    scores = np.array([one.score for _, one in ordered])
    again = np.stack([one.resampled for _, one in ordered], axis=1)
    mean = data_advantage(baseline.sizes, baseline.fitted, labels, scores, how)
    drawn = np.array(
        [
            data_advantage(baseline.sizes, head, labels, prompt, how)
            for head, prompt in zip(baseline.resampled, again, strict=True)
        ]
    )
    known = drawn[~np.isnan(drawn)]
    undefined = 1 - len(known) / len(drawn)
    if np.isnan(mean) or undefined > 0.5:
        return Advantage(mean, float("nan"), float("nan"), undefined)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Advantage(mean, float(low), float(high), undefined)
