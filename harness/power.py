"""How many items a comparison needs, and the smallest difference that it would find in four of five tries.

What is detectable of right or wrong is exact: the power of the test that ``paired`` makes, summed over all counts. Of
other scores it is that of Student's t-test (noncentral t). The number of items needed is the usual approximation
n = (z_{1 - alpha/2} + z_power)^2 w^2 / d^2, where d is the true difference and w^2 the variance of a per-item one
(Miller 2024, arXiv:2411.00640, section 5). Two-sided at ``ALPHA`` with ``POWER``. Differences, proportions and
discordances are shares between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from harness.metrics import Floats

ALPHA = 0.05
POWER = 0.8
_TAIL = 1e-9  # of counts that are left out of a sum


def paired_variance(discordance: float, difference: float) -> float:
    """w^2 of two systems, right or wrong on the same items, that differ on a share ``discordance`` of them."""
    if not abs(difference) <= discordance <= 1:
        raise ValueError(f"systems that differ on {discordance:g} of the items cannot be {difference:g} apart")
    return discordance - difference**2


def unpaired_variance(first: float, second: float) -> float:
    """w^2 of two systems that are right on these shares of items, each on a sample of its own."""
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise ValueError(f"no shares between 0 and 1: {first:g} and {second:g}")
    return first * (1 - first) + second * (1 - second)


def needed_items(difference: float, variance: float) -> int:
    """Items needed to find a difference; in an unpaired design, for each of the two systems.

    An approximation. An exact test of right and wrong, being discrete, needs some more: a twentieth at a thousand.
    """
    if difference == 0 or variance < 0:
        raise ValueError(f"no number of items finds a difference of {difference:g} at a variance of {variance:g}")
    return max(1, math.ceil(_z_sum() ** 2 * variance / difference**2))


def detectable_difference(standard_error: float, freedom: float = math.inf) -> float:
    """Smallest difference of shares found by a t-test of a difference with this standard error, clustered or not.

    nan where the error is 0 or nan: items that show no spread say nothing of what they would find; and where even a
    difference of 1 would not be found.

    Args:
        freedom: the test's degrees of freedom: items, or clusters of them, less one.
    """
    if not standard_error > 0 or freedom < 1:
        return math.nan
    found = _noncentrality(freedom) * standard_error
    return found if found <= 1 else math.nan


@cache
def _noncentrality(freedom: float) -> float:
    """How many standard errors a difference must be."""
    from scipy import stats

    if not math.isfinite(freedom):
        return _z_sum()
    limit = stats.t.ppf(1 - ALPHA / 2, freedom)

    # Over the middles of equally likely parts of the estimated spread: scipy's nct is nan for few degrees of freedom.
    spreads = np.sqrt(stats.chi2.ppf((np.arange(2_000) + 0.5) / 2_000, freedom) / freedom)

    def power(distance: float) -> float:
        return float((stats.norm.sf(limit * spreads - distance) + stats.norm.cdf(-limit * spreads - distance)).mean())

    return _least(power, 1.5 * float(limit) + 1)


def detectable_paired(n: int, discordance: float) -> float:
    """Smallest difference found on the same n items by systems, right or wrong, that differ on this share of them.

    Two systems d apart differ on a share d at least, so that above ``discordance`` they differ on just d. nan where n
    is too small for any difference to be found.
    """
    _check(n, discordance)
    return _least(lambda gap: _sign_test_power(n, max(gap, discordance), gap), 1.0)


def detectable_single(n: int, proportion: float) -> float:
    """Smallest difference on the same n items to a system whose mistakes are independent, right on ``proportion``.

    The other system is the one that is harder to tell apart: worse by d if the first is right on more than half, else
    better. Systems share hard items, so that they differ on fewer, and a comparison finds less: this errs on the large
    side. Where all are right, or all wrong, which is not certain, two right and two wrong items are added (Agresti and
    Coull 1998). nan where n is too small for any difference to be found.
    """
    _check(n, proportion)
    share = max(proportion, 1 - proportion)
    if share == 1:
        share = (n + 2) / (n + 4)

    def power(gap: float) -> float:
        other = share - gap
        return _sign_test_power(n, share * (1 - other) + other * (1 - share), gap)

    return _least(power, share)


def detectable_unpaired(n: int, proportion: float) -> float:
    """Smallest difference found by Welch's t-test between systems on n items each, of their own.

    They are right on ``proportion`` of them on average, one by d / 2 less and the other by d / 2 more. nan where p is 0
    or 1, and where n is too small for any difference to be found.
    """
    _check(n, proportion)
    most = 2 * min(proportion, 1 - proportion)
    return _least(lambda gap: _welch_power(n, proportion - gap / 2, proportion + gap / 2), most) if most else math.nan


def _check(n: int, share: float) -> None:
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"no share of a positive number of items: {share:g} of {n}")


def _least(power: Callable[[float], float], most: float) -> float:
    """The least difference with the power asked for, which grows with it; nan if ``most`` has too little."""
    from scipy.optimize import brentq

    if power(most) < POWER:
        return math.nan
    return float(brentq(lambda gap: power(gap) - POWER, 0.0, most, xtol=1e-6))


def _sign_test_power(n: int, discordance: float, gap: float) -> float:
    """Power of the exact sign test, which is McNemar's, on n items, over all counts of those that tell."""
    from scipy import stats

    if discordance <= 0:
        return 0.0
    counts = _likely(n, discordance)
    share = min(1.0, (discordance + gap) / (2 * discordance))
    # With m items that differ, c wins or more are too many, and so are c losses or more.
    critical = stats.binom.isf(ALPHA / 2, counts, 0.5) + 1
    found = stats.binom.sf(critical - 1, counts, share) + stats.binom.cdf(counts - critical, counts, share)
    return float((stats.binom.pmf(counts, n, discordance) * found).sum())


def _welch_power(n: int, low: float, high: float) -> float:
    """Power of Welch's t-test on n items a side, over all pairs of counts."""
    from scipy import stats

    freedoms = np.linspace(n - 1, 2 * n - 2, 32)  # Welch's lie in between; between these, limits are straight enough
    limits = stats.t.ppf(1 - ALPHA / 2, freedoms)
    first, second = _likely(n, low)[:, None], _likely(n, high)[None]
    spreads = [counts * (n - counts) / n**2 / max(1, n - 1) for counts in (first, second)]  # sd^2 / n
    variance = spreads[0] + spreads[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (n - 1) * variance**2 / (spreads[0] ** 2 + spreads[1] ** 2)
        found = np.abs(first - second) / n > np.interp(freedom, freedoms, limits) * np.sqrt(variance)
    found |= (variance == 0) & (first != second)  # all right against all wrong
    chances = stats.binom.pmf(first, n, low) * stats.binom.pmf(second, n, high)
    return float(chances[found].sum())


def _likely(n: int, share: float) -> Floats:
    """The counts of n that are not too unlikely to matter."""
    from scipy import stats

    low, high = float(stats.binom.ppf(_TAIL, n, share)), float(stats.binom.ppf(1 - _TAIL, n, share))
    return np.arange(max(0.0, low), high + 1)


def _z_sum() -> float:
    from scipy import stats

    return float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
