"""What a frozen prompt is worth in labels of a trained baseline: break-even and data advantage, with their intervals.

It knows numbers only: scores of seeds on items (``seed_samples``), and curves through them (``learning_curves``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from harness.learning_curves import Monotone, data_advantage, data_advantages, monotone, size_at
from harness.metrics import Floats, Ints
from harness.resampling import accuracies, item_weights
from harness.seed_samples import Sample, half_width, item_factors
from harness.statistics import LEVEL, Interval

Over = Literal["mean", "best"]  # of the seeds at each size
OVER: tuple[Over, ...] = get_args(Over)
DRAWS = 4_000
_STEPS = 64  # between two sizes, at which the test is looked at


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of a baseline against the labels that it used.

    ``mean`` is over seeds, or the best of them, ``fitted`` the same made nondecreasing.
    """

    sizes: Floats
    sample: Sample
    how: Monotone = "isotonic"
    over: Over = "mean"

    @property
    def seeds(self) -> int:
        return len(self.sample.scores)

    @cached_property
    def mean(self) -> Floats:
        return self.sample.mean if self.over == "mean" else np.asarray(np.nanmax(self.sample.scores, axis=0))

    @cached_property
    def fitted(self) -> Floats:
        return monotone(self.mean, self.how)

    @cached_property
    def band(self) -> tuple[Floats, Floats]:
        """Pointwise interval of the fitted curve; nan where nothing is known of what would vary."""
        half = _half_widths(self.sample, self.over)
        return self.fitted - half, self.fitted + half


@dataclass(frozen=True, eq=False)
class Level:
    """The score of a frozen prompt: a mean over draws of demonstrations, or the best of them; one place."""

    sample: Sample
    over: Over = "mean"

    @property
    def seeds(self) -> int:
        return len(self.sample.scores)

    @cached_property
    def score(self) -> float:
        return float(self.sample.mean[0] if self.over == "mean" else np.nanmax(self.sample.scores))

    @property
    def interval(self) -> Interval:
        half = float(_half_widths(self.sample, self.over)[0])
        return Interval(self.score, self.score - half, self.score + half)


def _half_widths(sample: Sample, over: Over) -> Floats:
    """Half of the interval at each place, nan where nothing varies."""
    places = np.eye(sample.scores.shape[1])
    if over == "best":  # no distribution is known of a best of several
        return np.full(len(places), math.nan)
    own = sample.item_deviations
    item = np.zeros(len(places)) if own is None else own.var(axis=0)
    half, error, _ = half_width(item, sample.units, sample.spread(places))
    return np.where(error > 0, half, math.nan)


# Break-even


@dataclass(frozen=True, slots=True)
class BreakEven:
    """How many labels a baseline needs to reach a frozen prompt.

    ``n``, ``low`` and ``high`` are -inf for "at most n_min" and inf for "more than n_max"; the ends are nan where
    nothing is known of what would vary. ``below`` and ``above`` say how sure it is that the break-even lies on either
    side of the sizes tried. Unless it is ``complete``, a side had one seed: another may lie outside of the interval.
    """

    n: float
    low: float
    high: float
    n_min: float
    n_max: float
    below: float
    above: float
    complete: bool = True

    @property
    def censored(self) -> Literal["below", "above"] | None:
        return None if np.isfinite(self.n) else "below" if self.n < 0 else "above"

    def minus(self, labels: float) -> BreakEven:
        """The same after the labels that the prompt used itself; 0 or less says that these were more than it saves."""
        less = {name: getattr(self, name) - labels for name in ("n", "low", "high", "n_min", "n_max")}
        return replace(self, **less)

    def text(self, number: Callable[[float], str] = "{:.0f}".format) -> str:
        """The estimate for people: a number, or the bound that is all one can say."""
        return self._bounded(self.n, number)

    def interval_text(self, number: Callable[[float], str] = "{:.0f}".format) -> str:
        """The interval, such as "60 to 310", "60 to > 512", "60 to 310 or wider", "> 512", or "unknown"."""
        if np.isnan(self.low):
            return "unknown"
        ends = dict.fromkeys((self._bounded(self.low, number), self._bounded(self.high, number)))
        return " to ".join(ends) + ("" if self.complete else " or wider")

    def _bounded(self, n: float, number: Callable[[float], str]) -> str:
        if np.isfinite(n):
            return number(n)
        if n > 0 and self.n_max < 0:  # more than a number below 0, which says nothing
            return "unknown"
        return f"<= {self.n_min:,.0f}" if n < 0 else f"> {self.n_max:,.0f}"


def break_even(baseline: Curve, prompt: Level) -> BreakEven:
    """n* = min{n: baseline(n) >= prompt}, straight in log n between sizes.

    The interval holds every n at which a t-test does not tell baseline and prompt apart (Fieller 1954). The baseline at
    n is interpolated within each seed, so that the test has the variance of just that sum; both sides answer the same
    items, and seeds of the two sides are independent (Welch 1947).
    """
    sizes, gap = baseline.sizes, baseline.fitted - prompt.score
    n = size_at(sizes, baseline.fitted, prompt.score)
    tried = float(sizes[0]), float(sizes[-1])
    complete = baseline.sample.complete and prompt.sample.complete
    if "best" in (baseline.over, prompt.over):
        return BreakEven(n, math.nan, math.nan, *tried, math.nan, math.nan, complete=False)
    weights = _between(len(sizes))
    one = np.ones((len(weights), 1))
    half, error, freedom = half_width(
        _item_variance(baseline.sample, prompt.sample, weights),
        baseline.sample.units,
        baseline.sample.spread(weights),
        prompt.sample.spread(one),
    )
    gaps = weights @ gap
    if not error.any():
        return BreakEven(n, math.nan, math.nan, *tried, math.nan, math.nan, complete=False)
    low = _first_place(gaps + half)
    high = len(gaps) - 1 - _first_place((half - gaps)[::-1])
    return BreakEven(
        n,
        _size(sizes, low, -np.inf),
        _size(sizes, high, np.inf),
        *tried,
        below=_sure(gaps[0], error[0], freedom[0]),
        above=_sure(-gaps[-1], error[-1], freedom[-1]),
        complete=complete,
    )


def _between(sizes: int) -> Floats:
    """Weights of sizes at ``_STEPS`` places from each to the next, shape [places, sizes]."""
    places = np.linspace(0, sizes - 1, (sizes - 1) * _STEPS + 1)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(sizes))))


def _item_variance(baseline: Sample, prompt: Sample, weights: Floats) -> Floats:
    """Variance by items of weighted sums of the baseline's means less the prompt's, on the same resamples."""
    one, other = baseline.item_deviations, prompt.item_deviations
    if one is None or other is None:
        return np.zeros(len(weights))
    return np.asarray(np.einsum("ij,jk,ik->i", weights, np.atleast_2d(np.cov((one - other).T, ddof=0)), weights))


def _first_place(values: Floats) -> float:
    """Where a line through values first reaches 0: 0 if the first does, their number if none does."""
    reached = np.flatnonzero(values >= 0)
    if not len(reached):
        return float(len(values))
    after = int(reached[0])
    if after == 0:
        return 0.0
    before, there = values[after - 1], values[after]
    return float(after - there / (there - before))


def _size(sizes: Floats, place: float, edge: float) -> float:
    """The number of labels at a place of ``_between``; at the edge and beyond it is censored.

    Args:
        edge: -inf if the first place is censored, inf if the last is.
    """
    last = (len(sizes) - 1) * _STEPS
    if place < 0 or (place == 0 and edge < 0):
        return -math.inf
    if place > last or (place == last and edge > 0):
        return math.inf
    before = min(int(place / _STEPS), len(sizes) - 2)
    part = place / _STEPS - before
    left, right = float(sizes[before]), float(sizes[before + 1])
    return left * (right / left) ** part if left > 0 else right * part


def _sure(gap: float, error: float, freedom: float) -> float:
    """One less the one-sided p-value that a gap is below 0."""
    from scipy import stats

    return float(stats.t.cdf(gap / error, freedom)) if error > 0 else float(gap >= 0)


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
    """Break-even in accuracy, from what was right of the same items.

    Args:
        baseline: [training seeds, sizes, items].
        prompt: [demonstration seeds, items].
    """
    items = prompt.shape[-1]
    weights = item_weights(items, resamples, rng, clusters)
    units = items if clusters is None else len(np.unique(clusters))

    def sample(correct: Floats) -> Sample:
        return Sample(correct.mean(axis=-1), accuracies(correct, weights), units)

    return break_even(Curve(np.asarray(sizes, np.float64), sample(baseline), how), Level(sample(prompt[:, None])))


# Data advantage


@dataclass(frozen=True, slots=True)
class Advantage:
    """A data advantage with its interval, nan where it is not known. ``undefined`` is the share of draws without one.

    Unless it is ``complete``, a side had one seed. Of the best of several seeds there is no interval: ``deviation`` is
    the standard deviation over leaving one seed of either side out, as Le Scao and Rush (2021) report it.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    undefined: float = math.nan
    complete: bool = True
    deviation: float = math.nan


def advantage(baseline: Curve, prompts: Sequence[tuple[float, Level]]) -> Advantage:
    """The data advantage of a prompt, whose levels are given with the labels that each used, over a baseline.

    The interval holds the middle of what ``Sample.draws`` of both sides come to, of those that have a window; it is nan
    where most have none. A prompt at a single number of labels has no advantage, nor has one with two levels at the
    same number.
    """
    if len({labels for labels, _ in prompts}) < max(2, len(prompts)):
        return Advantage(math.nan)
    ordered = sorted(prompts, key=lambda pair: pair[0])
    labels = np.array([used for used, _ in ordered], np.float64)
    levels = [one for _, one in ordered]
    scores = np.array([one.score for one in levels])
    mean = data_advantage(baseline.sizes, baseline.fitted, labels, scores, baseline.how)
    if baseline.over == "best":
        return Advantage(mean, deviation=_left_out(baseline, labels, levels), complete=False)
    samples = [baseline.sample, *(one.sample for one in levels)]
    if not any(_varies(sample) for sample in samples):
        return Advantage(mean, undefined=float(math.isnan(mean)), complete=False)
    factors = item_factors(baseline.sample.units, _draws(baseline.sample), np.random.default_rng([0, 3]))
    heads = baseline.sample.draws(factors, np.random.default_rng([0, 2]))
    # k demonstrations are the first of 2k: all numbers of shots share their draws.
    again = [one.sample.draws(factors, np.random.default_rng([0, 1]))[:, 0] for one in levels]
    drawn = data_advantages(baseline.sizes, heads, labels, np.stack(again, axis=1), baseline.how)
    known = drawn[~np.isnan(drawn)]
    undefined = 1 - len(known) / len(drawn)
    complete = all(sample.complete for sample in samples)
    if np.isnan(mean) or undefined > 0.5:
        return Advantage(mean, undefined=undefined, complete=complete)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Advantage(mean, float(low), float(high), undefined, complete)


def _varies(sample: Sample) -> bool:
    return sample.item_deviations is not None or len(sample.scores) > 1


def _draws(sample: Sample) -> int:
    return DRAWS if sample.resampled is None else len(sample.resampled)


def _left_out(baseline: Curve, labels: Floats, levels: Sequence[Level]) -> float:
    """Standard deviation of the advantage of best seeds over leaving out one seed of each side."""
    heads = [np.nanmax(scores, axis=0) for scores in _without_each(baseline.sample.scores)]
    each = [[float(np.nanmax(scores)) for scores in _without_each(one.sample.scores)] for one in levels]
    most = max(map(len, each))
    prompts = [np.array([scores[min(t, len(scores) - 1)] for scores in each]) for t in range(most)]
    if len(heads) * len(prompts) == 1:
        return math.nan
    found = [
        data_advantage(baseline.sizes, monotone(head, baseline.how), labels, prompt, baseline.how)
        for head in heads
        for prompt in prompts
    ]
    return float(np.std(found))


def _without_each(scores: Floats) -> list[Floats]:
    """The scores [seeds, places] without each of the seeds; a single one is kept."""
    if len(scores) == 1:
        return [scores]
    return [np.delete(scores, seed, axis=0) for seed in range(len(scores))]
