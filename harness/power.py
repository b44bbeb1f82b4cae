"""How many items a comparison needs, and the smallest difference that it would find.

Normal approximation, two-sided at ``ALPHA`` with ``POWER``: n = (z_{1 - alpha/2} + z_power)^2 w^2 / d^2, where d is the
true difference and w^2 the variance of a per-item difference (Miller 2024, arXiv:2411.00640, section 5). Differences,
proportions and discordances are shares between 0 and 1.
"""

from __future__ import annotations

import math

ALPHA = 0.05
POWER = 0.8


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
    """Items needed to find a difference; in an unpaired design, for each of the two systems."""
    if difference == 0 or variance < 0:
        raise ValueError(f"no number of items finds a difference of {difference:g} at a variance of {variance:g}")
    return max(1, math.ceil(_z_sum() ** 2 * variance / difference**2))


def detectable_difference(standard_error: float) -> float:
    """Smallest difference found by a comparison whose difference has this standard error, clustered or not.

    nan where the error is 0 or nan: items that show no spread say nothing of what they would find.
    """
    return _z_sum() * standard_error if standard_error > 0 else math.nan


def detectable_paired(n: int, discordance: float) -> float:
    """Smallest difference found on the same n items by systems that differ on a share ``discordance`` of them.

    It solves d = (z sum) sqrt((discordance - d^2) / n). A result beyond the discordance means that n is too small to
    find anything; nan where the discordance is 0.
    """
    if n < 1 or not 0 <= discordance <= 1:
        raise ValueError(f"no share of a positive number of items: {discordance:g} of {n}")
    return detectable_difference(math.sqrt(discordance / (n + _z_sum() ** 2)))


def detectable_unpaired(n: int, proportion: float) -> float:
    """Smallest difference found between systems on n items each, which are right on ``proportion`` of them on average.

    It solves d = (z sum) sqrt((2 p (1 - p) - d^2 / 2) / n), the variance at p - d/2 and p + d/2; nan where p is 0 or 1.
    """
    if n < 1 or not 0 <= proportion <= 1:
        raise ValueError(f"no share of a positive number of items: {proportion:g} of {n}")
    return detectable_difference(math.sqrt(2 * proportion * (1 - proportion) / (n + _z_sum() ** 2 / 2)))


def detectable_single(n: int, proportion: float) -> float:
    """Smallest difference that a table over one system would find, which is right on ``proportion`` of n items.

    It assumes a second system about as good whose mistakes are independent of the first one's. Systems share hard
    items, so that a paired comparison on the same items finds less: this figure errs on the large side. Two right and
    two wrong items are added first (Agresti and Coull 1998), so that all right or all wrong does not pass for certain.
    """
    if n < 1 or not 0 <= proportion <= 1:
        raise ValueError(f"no share of a positive number of items: {proportion:g} of {n}")
    return detectable_unpaired(n, (n * proportion + 2) / (n + 4))


def _z_sum() -> float:
    from scipy import stats

    return float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
