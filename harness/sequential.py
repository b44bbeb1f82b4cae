"""Comparisons that may be looked at after every item, and the schedule that finds the best of many under a budget.

Items must come in random order. Counts are of discordant items: those that one system gets right and the other wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.metrics import Floats, Ints

ALPHA = 0.05


def e_value(wins: int, losses: int) -> float:
    """Evidence against "either system is as likely to win a discordant item": E = 2^n b! c! / (n + 1)!, n = b + c.

    The likelihood ratio of a uniform mixture over the chance to win against 1/2 (Robbins 1970). Under the null, the
    chance that E ever reaches 1/alpha is at most alpha (Ville 1939). It is inf beyond floats.
    """
    return float(e_values(np.array([1] * wins + [-1] * losses, np.int64))[-1]) if wins + losses else 1.0


def e_values(outcomes: Ints) -> Floats:
    """``e_value`` after each item, shape [n]; outcomes are 1 where the first system wins, -1 the second, 0 neither."""
    from scipy.special import betaln

    wins, losses = np.cumsum(outcomes == 1), np.cumsum(outcomes == -1)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp((wins + losses) * math.log(2) + betaln(wins + 1, losses + 1)))


def stopping_item(outcomes: Ints, comparisons: int = 1, alpha: float = ALPHA) -> int | None:
    """After how many items to stop and reject: the first with E >= comparisons / alpha (Bonferroni); None if none is.

    Args:
        outcomes: as in ``e_values``, in random order, shape [n].
        comparisons: how many pairs are compared together.
    """
    reached = np.flatnonzero(e_values(outcomes) >= comparisons / alpha)
    return int(reached[0]) + 1 if len(reached) else None


def confidence_sequence(wins: int, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Interval of a chance p after ``wins`` of n, valid at all n together: {p: mixture likelihood ratio < 1/alpha}.

    The ratio is B(b + 1, c + 1) / (p^b (1 - p)^c) with c = n - b (Robbins 1970). (0, 1) after nothing.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    if not 0 <= wins <= n:
        raise ValueError(f"{wins} of {n} items cannot be won")
    losses = n - wins
    if n == 0:
        return 0.0, 1.0

    def excess(p: float) -> float:
        # Kept finite at 0 and 1, where the ratio is infinite, for the root finder.
        likelihood = max(float(xlogy(wins, p) + xlog1py(losses, -p)), -1e300)
        return float(betaln(wins + 1, losses + 1)) - likelihood + math.log(alpha)

    # The ratio is convex in p and at most 1 where p = wins / n.
    top = wins / n
    low = 0.0 if wins == 0 else float(brentq(excess, 0.0, top))
    high = 1.0 if losses == 0 else float(brentq(excess, top, 1.0))
    return low, high


@dataclass(frozen=True, slots=True)
class Round:
    """``arms`` prompts run on ``items`` items each."""

    arms: int
    items: int


def halving_schedule(arms: int, budget: int) -> list[Round]:
    """Sequential halving (Karnin et al. 2013): L = ceil(log2 arms) rounds of floor(budget / (L |A|)) items.

    After each round the better half of the arms, rounded up, goes on. All arms of a round run on the same items. Empty
    for one arm.

    Args:
        arms: how many prompts, at least 1.
        budget: how many runs of a prompt on an item there may be in all.
    """
    rounds = (arms - 1).bit_length()  # ceil(log2 arms), in integers
    if arms < 1 or budget < rounds * arms:
        raise ValueError(
            f"{arms} arms do not fit a budget of {budget} runs; each of {rounds} rounds takes {arms} or more"
        )
    schedule = []
    for _ in range(rounds):
        schedule.append(Round(arms, budget // (rounds * arms)))
        arms = math.ceil(arms / 2)
    return schedule
