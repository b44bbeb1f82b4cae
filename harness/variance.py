"""Where the variance of scores comes from: templates, demonstration seeds, their orders, items, and what is left.

All are random effects. Templates, seeds and items are crossed, and an order is nested in its seed. A factor with one
level has no variance to estimate: the mean is then that of this level alone, and so is its standard error.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from harness.metrics import Floats, Ints
from harness.statistics import LEVEL

FACTORS = ("template", "seed", "order", "item")
CELLS = 2_000_000  # rows x random effects that MixedLM, which is dense, may get: about a minute


@dataclass(frozen=True, slots=True)
class Component:
    """A variance component, in squared units of the score.

    ``name`` is a factor, an interaction such as "template x seed", or "residual": the finest interaction and noise,
    which one score of each cell cannot tell apart; ``factors`` names that interaction, too. ``variance_of_mean`` is its
    part of the grand mean's variance.
    """

    name: str
    factors: str
    variance: float
    levels: int
    variance_of_mean: float


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """The grand mean of the scores and the components of their variance; ``n`` scores.

    ``freedom`` are the degrees of freedom of the grand mean's variance (Satterthwaite 1946): those of the mean squares
    that it is a sum of, or, of a design that is not balanced, of the levels of every component.
    """

    n: int
    mean: float
    components: tuple[Component, ...]
    method: Literal["anova", "reml"]
    freedom: float

    @property
    def variance_of_mean(self) -> float:
        """Var(grand mean): the sum over components of variance x sum over levels of (share of the scores)^2."""
        return sum(component.variance_of_mean for component in self.components)

    @property
    def standard_error(self) -> float:
        """Standard error of the grand mean, over new templates, seeds, orders and items."""
        return math.sqrt(self.variance_of_mean)

    @property
    def half_width(self) -> float:
        """Half of the interval of the grand mean at ``LEVEL``, by Student's t; nan where nothing varies."""
        from scipy import stats

        if not self.variance_of_mean > 0:
            return math.nan
        return float(stats.t.ppf((1 + LEVEL) / 2, self.freedom)) * self.standard_error


def variance_components(template: Ints, seed: Ints, order: Ints, item: Ints, score: Floats) -> VarianceComponents:
    """Variance components of scores in long form, shape [n] each; the labels of levels are any integers.

    A balanced design, with a score for every combination, is solved by the method of moments: mean squares equated
    with their expectations (Searle, Casella and McCulloch 1992, chapter 4), all interactions included. Any other is
    fitted by REML (statsmodels ``MixedLM``), with the interactions of items left in the residual: they have about as
    many levels as there are scores. Negative estimates are set to 0.

    Raises:
        ValueError: fewer than two scores, one that is not finite, two of one cell, or too many for ``MixedLM``.
    """
    # Orders of different seeds are different orders.
    levels = np.stack([_codes(template), _codes(seed), _nested_codes(seed, order), _codes(item)])
    if len(score) < 2 or not np.isfinite(score).all():
        raise ValueError("variance components need at least two scores, all finite")
    if _joint_codes(levels, (0, 1, 2, 3)).max() + 1 < len(score):
        raise ValueError("two scores of the same template, seed, order and item")
    sizes = levels.max(axis=1) + 1
    method: Literal["anova", "reml"] = "anova" if len(score) == math.prod(sizes) else "reml"
    if method == "anova":
        squares = _mean_squares(levels, score, sizes)
        variances = np.linalg.solve(squares.expected, squares.values)
        effects = squares.effects
    else:
        effects, variances = _reml(levels, score, sizes)
    components, weights = [], []
    for effect, variance in zip(effects, variances, strict=True):
        counts = np.bincount(_joint_codes(levels, effect))
        estimate = max(0.0, float(variance))
        weights.append(float(((counts / len(score)) ** 2).sum()))
        name = "residual" if effect == effects[-1] and len(effects) > 1 else _name(effect)
        components.append(Component(name, _name(effect), estimate, len(counts), estimate * weights[-1]))
    if method == "anova":
        # The mean's variance is a sum of mean squares, of which each is as uncertain as its degrees of freedom say.
        shares = np.linalg.solve(squares.expected.T, np.array(weights)) * squares.values
        doubt = float((shares**2 / squares.freedom).sum())
    else:
        doubt = sum(one.variance_of_mean**2 / max(1, one.levels - 1) for one in components)
    variance = sum(one.variance_of_mean for one in components)
    freedom = max(1.0, variance**2 / doubt) if doubt > 0 else math.inf
    return VarianceComponents(len(score), float(score.mean()), tuple(components), method, freedom)


Effect = tuple[int, ...]  # indices into FACTORS, ascending


@dataclass(frozen=True, slots=True, eq=False)
class _MeanSquares:
    """Of a balanced design, by effect, the residual last: what they are, and their expectations in the components."""

    effects: list[Effect]
    values: Floats
    freedom: Floats
    expected: Floats


def _mean_squares(levels: Ints, score: Floats, sizes: Ints) -> _MeanSquares:
    grid = np.zeros(sizes)
    grid[tuple(levels)] = score
    used = tuple(int(factor) for factor in np.flatnonzero(sizes > 1))
    squares: dict[Effect, float] = {}
    freedom: dict[Effect, int] = {}
    for crossed in _subsets(used):
        # The effect's own part of the scores, by centring along its factors and averaging over the others.
        part = grid.mean(axis=tuple(factor for factor in range(len(FACTORS)) if factor not in crossed), keepdims=True)
        for factor in crossed:
            part = part - part.mean(axis=factor, keepdims=True)
        # What an order does, it does within its seed: SS(order in seed) = SS(order) + SS(seed x order).
        effect = tuple(sorted({*crossed, 1})) if 2 in crossed and 1 in used else crossed
        squares[effect] = squares.get(effect, 0.0) + float((part**2).sum()) * (len(score) // part.size)
        freedom[effect] = freedom.get(effect, 0) + math.prod(int(sizes[factor]) - 1 for factor in crossed)
    effects = sorted(squares, key=lambda effect: (len(effect), effect))
    mean_squares = np.array([squares[effect] / freedom[effect] for effect in effects])
    # E[MS_A] = sum over effects B that contain A of (scores per level of B) x variance of B.
    expected = np.array(
        [
            [len(score) / math.prod(sizes[list(other)]) if {*effect} <= {*other} else 0.0 for other in effects]
            for effect in effects
        ]
    )
    return _MeanSquares(effects, mean_squares, np.array([freedom[effect] for effect in effects], np.float64), expected)


def _reml(levels: Ints, score: Floats, sizes: Ints) -> tuple[list[Effect], Floats]:
    """Effects, the residual last, and their estimates, from a design that is not balanced."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    used = tuple(int(factor) for factor in np.flatnonzero(sizes > 1))
    codes: dict[Effect, Ints] = {}
    for crossed in _subsets(used):
        effect = tuple(sorted({*crossed, 1})) if 2 in crossed and 1 in used else crossed
        found = _joint_codes(levels, effect)
        # An effect with a level for each score is the residual, and one with the levels of another is that other.
        if (3 in effect and len(effect) > 1) or found.max() + 1 == len(score):
            continue
        if not any(_same_partition(found, other) for other in codes.values()):
            codes[effect] = found
    effects = sorted(codes, key=lambda effect: (len(effect), effect))
    n_random = sum(int(codes[effect].max()) + 1 for effect in effects)
    if len(score) * n_random > CELLS:
        raise ValueError(
            f"{len(score)} unbalanced scores with {n_random} levels are too many: drop the items that some cell lacks"
        )
    everything = used if (1 not in used or 2 not in used) else tuple(sorted({*used, 1}))
    if score.min() == score.max() or not effects:
        rest = float(score.var(ddof=1))
        return [*effects, everything], np.array([*(0.0 for _ in effects), rest])
    designs = [[np.eye(int(codes[effect].max()) + 1)[codes[effect]]] for effect in effects]
    names = [[[f"{level}" for level in range(design[0].shape[1])]] for design in designs]
    with warnings.catch_warnings():
        # A component of 0 lies on the boundary, which statsmodels warns of in several ways.
        warnings.simplefilter("ignore")
        fit = MixedLM(
            score,
            np.ones((len(score), 1)),
            groups=np.zeros(len(score)),
            exog_vc=VCSpec([_name(effect) for effect in effects], names, designs),
        ).fit(reml=True)
    return [*effects, everything], np.array([*fit.vcomp, fit.scale])


def _subsets(factors: Effect) -> list[Effect]:
    return [effect for size in range(1, len(factors) + 1) for effect in combinations(factors, size)]


def _name(effect: Effect) -> str:
    """An order includes its seed: "order", not "seed x order"."""
    return " x ".join(FACTORS[factor] for factor in effect if not (factor == 1 and 2 in effect))


def _codes(labels: Ints) -> Ints:
    """Labels as 0, 1, ..., shape [n]."""
    return np.unique(labels, return_inverse=True)[1]


def _nested_codes(seed: Ints, order: Ints) -> Ints:
    """The how-manieth of its seed's orders each is, shape [n]: which label an order has does not matter."""
    codes = np.zeros(len(order), np.int64)
    for value in np.unique(seed):
        codes[seed == value] = _codes(order[seed == value])
    return codes


def _joint_codes(levels: Ints, effect: Effect) -> Ints:
    """Level of an effect that each score has, as 0, 1, ..., shape [n]."""
    chosen = levels[list(effect)]
    return _codes(np.ravel_multi_index(tuple(chosen), tuple(chosen.max(axis=1) + 1)))


def _same_partition(first: Ints, second: Ints) -> bool:
    both = _joint_codes(np.stack([first, second]), (0, 1))
    return bool(both.max() == first.max() == second.max())
