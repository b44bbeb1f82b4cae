"""Puts curves through the scores of baselines, and sets every prompt against every curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.breakeven.report import Baseline, Pair, Prompt
from harness.breakeven.wanted import Wanted
from harness.learning_curves import Advantage, Curve, advantage, break_even, curve
from harness.metrics import Floats

RESAMPLES = 2_000
SEED = 0


def trained_curve(
    name: str,
    known: Mapping[tuple[str, int], tuple[float, Floats]],
    wanted: Wanted,
    notices: list[str],
    *,
    seed_name: str = "training seed",
) -> Curve:
    """The curve through a baseline's scores; what it had to assume is added to the notices.

    Args:
        known: the score of each (seed, number of labels), and that of each resample, shape [resamples].
    """
    sizes, scores, again, missing = _grid(known)
    if missing:
        notices.append(
            f"{name}: {missing} of {scores.size} pairs of seed and labels are not there; the mean of the other seeds"
            " stands in"
        )
    if len(scores) == 1:
        notices.append(f"{name}: one {seed_name}; intervals leave out what another would change")
    rng = np.random.default_rng([SEED, 2])
    return curve(sizes + wanted.development_labels, scores, again, rng, wanted.monotone)


def _grid(known: Mapping[tuple[str, int], tuple[float, Floats]]) -> tuple[Floats, Floats, Floats, int]:
    """Sizes, scores [seeds, sizes] and those of resamples [resamples, seeds, sizes]; how many were not there.

    A seed that lacks a size takes the mean of those that have it.
    """
    seeds, sizes = sorted({seed for seed, _ in known}), sorted({n for _, n in known})
    resamples = len(next(iter(known.values()))[1])
    scores = np.full((len(seeds), len(sizes)), np.nan)
    again = np.full((resamples, len(seeds), len(sizes)), np.nan)
    for (seed, n), (value, values) in known.items():
        scores[seeds.index(seed), sizes.index(n)] = value
        again[:, seeds.index(seed), sizes.index(n)] = values
    missing = np.isnan(scores)
    scores = np.where(missing, np.nanmean(scores, axis=0), scores)
    again = np.where(missing, np.nanmean(again, axis=1, keepdims=True), again)
    return np.array(sizes, np.float64), scores, again, int(missing.sum())


def pairs_of(task: str, prompts: Sequence[Prompt], baselines: Sequence[Baseline], wanted: Wanted) -> list[Pair]:
    found = []
    for baseline in baselines:
        gains: dict[str, Advantage] = {}
        for prompt in prompts:
            family = [one for one in prompts if _relatives(prompt, one)]
            key = prompt.family
            if key not in gains:
                levels = [(float(one.budget.total), one.level) for one in family]
                gains[key] = advantage(baseline.curve, levels, wanted.monotone)
            found.append(Pair(task, prompt, baseline, break_even(baseline.curve, prompt.level), gains[key]))
    order = {prompt.name: place for place, prompt in enumerate(prompts)}
    return sorted(found, key=lambda pair: order[pair.prompt.name])


def _relatives(prompt: Prompt, other: Prompt) -> bool:
    """Whether the other is the same prompt with another number of shots; one without any goes with each."""
    (base, demos), (other_base, other_demos) = prompt.family.split(" "), other.family.split(" ")
    return base == other_base and (not demos or not other_demos or demos == other_demos)
