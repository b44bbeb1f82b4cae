"""Learning curves against the number of labels: monotone fits, their inverse, the area between two of them.

It knows numbers only, and nothing of where they come from or how sure they are. A curve has scores at sizes
0 <= n_1 < n_2 < ...; ``scale`` says in what it is straight between two sizes. In log n there is no point for 0 labels,
so that from 0 to the next size a curve is straight in n.

    below           crossed at n*              above
    curve[0] >= y   first size with curve >= y  no size with curve >= y
    -inf            n*                          inf

are what ``sizes_at`` gives for a level y.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from harness.metrics import Floats

Scale = Literal["log", "linear"]
Monotone = Literal["isotonic", "maximum"]
MONOTONE: tuple[Monotone, ...] = get_args(Monotone)


# Monotone curves and their inverse


def isotonic(scores: Floats) -> Floats:
    """The closest nondecreasing curves, by least squares; shape [..., n].

    At k, the largest over i <= k of the smallest over j >= k of the mean of the scores from i to j (Barlow and Brunk
    1972): n^2 means for all of many short curves at once, where scikit-learn takes one curve at a time.
    """
    n = scores.shape[-1]
    sums = np.concatenate([np.zeros((*scores.shape[:-1], 1)), scores.cumsum(axis=-1, dtype=np.float64)], axis=-1)
    found = np.full(scores.shape, -np.inf)
    for i in range(n):
        means = (sums[..., i + 1 :] - sums[..., [i]]) / np.arange(1, n - i + 1)
        means[..., 0] = scores[..., i]  # exactly, so that what is not pooled stays as it is
        smallest = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        found[..., i:] = np.maximum(found[..., i:], smallest)
    return found


def accumulated_maximum(scores: Floats) -> Floats:
    """The best score so far, as Le Scao and Rush (2021) smooth their curves; it errs upwards on noisy ones."""
    return np.asarray(np.maximum.accumulate(scores, axis=-1))


def monotone(scores: Floats, how: Monotone = "isotonic") -> Floats:
    """One curve [sizes], or several [..., sizes], made nondecreasing."""
    return accumulated_maximum(scores) if how == "maximum" else isotonic(scores)


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
    return float(data_advantages(head_sizes, head_scores[None], prompt_sizes, prompt_scores[None], how)[0])


def data_advantages(
    head_sizes: Floats, heads: Floats, prompt_sizes: Floats, prompts: Floats, how: Monotone = "isotonic"
) -> Floats:
    """The same of many pairs of curves at once: [pairs, sizes] each, over the same sizes; [pairs]."""
    heads, prompts = monotone(heads, how), monotone(prompts, how)
    low = np.maximum(heads[:, 0], prompts[:, 0])[:, None]
    high = np.minimum(heads[:, -1], prompts[:, -1])[:, None]
    # Between two scores that occur, both inverses are straight, so that the value half-way is the mean, exactly.
    breaks = np.sort(np.clip(np.concatenate([low, high, heads, prompts], axis=1), low, np.maximum(low, high)), axis=1)
    wide = np.diff(breaks, axis=1)
    pair, place = np.nonzero(wide)
    middles = breaks[pair, place] + wide[pair, place] / 2
    gaps = _inverse(head_sizes, heads[pair], middles) - _inverse(prompt_sizes, prompts[pair], middles)
    areas = np.bincount(pair, gaps * wide[pair, place], minlength=len(heads))
    height = (high - low)[:, 0]
    return np.asarray(np.divide(areas, height, out=np.full(len(heads), np.nan), where=height > 0))


def _inverse(sizes: Floats, curves: Floats, levels: Floats) -> Floats:
    return sizes_at(np.asarray(sizes, np.float64), curves, levels, "linear")
