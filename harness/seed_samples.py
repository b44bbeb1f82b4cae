"""Scores of several seeds on the same items: their mean, and what items and seeds each add to its variance.

A seed is a draw of a training set, or of demonstrations. The items are a sample, too, unless only scores are known. It
knows numbers only: no tasks, no prompts.

    part of the variance of a mean over seeds      estimated from                          degrees of freedom
    items, alike for all seeds and with each       resamples of items                      items (or clusters) - 1
    seeds, beyond their luck with these items      variance between seeds, less that luck  seeds - 1

Satterthwaite (1946) gives the degrees of freedom of the sum. A single seed says nothing of others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.metrics import Floats, Ints
from harness.statistics import LEVEL

# Seeds


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores of seeds at several places, which are numbers of labels or one alone.

    ``scores`` has shape [seeds, places], nan where a seed has none; every place has one. ``resampled``, shape
    [resamples, seeds, places], are the scores on resamples of ``units`` items or clusters; None where no item is known.
    ``random`` is False for what has no seed, such as a prompt without demonstrations: its only score is all there is.
    """

    scores: Floats
    resampled: Floats | None = None
    units: int = 0
    random: bool = True

    @cached_property
    def counts(self) -> Ints:
        """How many seeds have a score, by place."""
        return np.asarray((~np.isnan(self.scores)).sum(axis=0), np.int64)

    @cached_property
    def mean(self) -> Floats:
        """Over seeds; [places]."""
        return np.asarray(np.nanmean(self.scores, axis=0))

    @property
    def complete(self) -> bool:
        """Whether what seeds add to the variance is known at every place."""
        return not self.random or bool((self.counts > 1).all())

    @cached_property
    def item_deviations(self) -> Floats | None:
        """How far the mean over seeds is off on each resample of items, widened to be unbiased; [resamples, places]."""
        if self.resampled is None or self.units < 2:
            return None
        return np.asarray(self._widened * (np.nanmean(self.resampled, axis=1) - self.mean))

    @property
    def _widened(self) -> float:
        return math.sqrt(self.units / (self.units - 1))

    @cached_property
    def _residuals(self) -> Floats:
        """Scores less their mean, so scaled that r'r is the covariance of the mean over seeds; [seeds, places].

        0 at a place with one seed.
        """
        return np.nan_to_num(self.scores - self.mean) * self._scale

    @property
    def _scale(self) -> Floats:
        return np.asarray(1 / np.sqrt(np.maximum(1, self.counts * (self.counts - 1))))

    @cached_property
    def seed_covariance(self) -> Floats:
        """Covariance of the mean over seeds by what they differ on these items, luck included; [places, places]."""
        return np.asarray(self._residuals.T @ self._residuals)

    @cached_property
    def luck_covariance(self) -> Floats:
        """The part of ``seed_covariance`` to expect because each seed has luck of its own with these items."""
        places = self.scores.shape[1]
        if self.resampled is None or self.units < 2 or len(self.scores) < 2:
            return np.zeros((places, places))
        own = np.nan_to_num(self.resampled - np.nanmean(self.resampled, axis=1, keepdims=True))
        own = self._widened * self._scale * (own - own.mean(axis=0))
        flat = own.reshape(-1, places)
        return np.asarray(flat.T @ flat / len(own))

    def spread(self, weights: Floats) -> tuple[Floats, Floats, Ints]:
        """Variance by seeds of weighted sums of the means, the luck in it, and degrees of freedom; [sums] each.

        Args:
            weights: [sums, places]. Freedom is that of the place with the fewest seeds among those with a weight.
        """
        total = np.einsum("ij,jk,ik->i", weights, self.seed_covariance, weights)
        luck = np.einsum("ij,jk,ik->i", weights, self.luck_covariance, weights)
        freedom = np.where(weights > 0, self.counts - 1, np.iinfo(np.int64).max).min(axis=1)
        return np.maximum(total, 0), np.maximum(luck, 0), freedom

    def draws(self, factors: Floats, rng: np.random.Generator) -> Floats:
        """What the mean may truly be, given what was seen; [draws, places], a fiducial sample.

        Deviations by items and by seeds are drawn with the covariances above, each divided by the square root of a
        chi-square over its degrees of freedom, so that they have Student's t tails; from every drawn variance of seeds,
        luck is taken out (generalized confidence intervals; Weerahandi 1993, Hannig, Iyer and Patterson 2006).

        Args:
            factors: that of items, shape [draws], from ``item_factors``: shared by all that answers the same items.
        """
        found = np.tile(self.mean, (len(factors), 1))
        if self.item_deviations is not None:
            found += factors[:, None] * self.item_deviations
        seeds = len(self.scores)
        if seeds < 2 or not self.random:
            return found
        chances = rng.normal(size=(len(factors), seeds))
        wide = (rng.chisquare(seeds - 1, len(factors)) / (seeds - 1))[:, None]
        drawn = np.diag(self.seed_covariance) / wide
        kept = np.divide(np.diag(self.luck_covariance), drawn, out=np.ones_like(drawn), where=drawn > 0)
        return np.asarray(found + np.sqrt(np.maximum(0, 1 - kept) / wide) * (chances @ self._residuals))


def item_factors(units: int, draws: int, rng: np.random.Generator) -> Floats:
    """What widens deviations by items to Student's t, by draw; all 1 where no items are known."""
    if units < 2:
        return np.ones(draws)
    return np.asarray(np.sqrt((units - 1) / rng.chisquare(units - 1, draws)))


def half_width(item: Floats, units: int, *seeds: tuple[Floats, Floats, Ints]) -> tuple[Floats, Floats, Floats]:
    """Half of the interval at ``LEVEL``, the standard error and the degrees of freedom of sums of independent parts.

    Args:
        item: the variance by items, from ``units`` of them.
        seeds: what ``Sample.spread`` gives, of each side.
    """
    from scipy import stats

    item = np.maximum(item, 0)
    variance = item + sum(np.maximum(0, total - luck) for total, luck, _ in seeds)
    doubt = item**2 / max(1, units - 1) + sum(total**2 / np.maximum(1, freedom) for total, _, freedom in seeds)
    freedom = np.divide(variance**2, doubt, out=np.full_like(variance, np.inf), where=doubt > 0)
    freedom = np.maximum(1, freedom)
    error = np.sqrt(variance)
    return stats.t.ppf((1 + LEVEL) / 2, freedom) * error, error, freedom
