"""Puts curves through the scores of baselines, and sets every prompt against every curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.breakeven.report import Baseline, Pair, Prompt
from harness.breakeven.wanted import Wanted
from harness.label_worth import Advantage, Curve, advantage, break_even
from harness.metrics import Floats
from harness.seed_samples import Sample

RESAMPLES = 2_000
SEED = 0
BEST = (
    "best seed of each size on both sides, by the very scores that are reported: no interval is known for it, and +- is"
    " the standard deviation over leaving one seed of either side out, as in Le Scao and Rush (2021)"
)
# A score, and that on each resample of items, shape [resamples]; None where items are not known.
Scored = tuple[float, Floats | None]


def trained_curve(
    name: str,
    known: Mapping[tuple[str, int], Scored],
    units: int,
    wanted: Wanted,
    notices: list[str],
    *,
    seed_name: str = "training seed",
) -> Curve:
    """The curve through a baseline's scores; what it had to assume is added to the notices.

    Args:
        known: the score of each (seed, number of labels).
        units: how many items, or clusters of them, were resampled; 0 if none.
    """
    sizes = sorted({n for _, n in known})
    sample = sample_of({(seed, sizes.index(n)): scored for (seed, n), scored in known.items()}, units)
    missing = int(np.isnan(sample.scores).sum())
    if missing:
        notices.append(
            f"{name}: {missing} of {sample.scores.size} pairs of seed and labels are not there; a size is the"
            f" {wanted.curve} of the seeds that have it"
        )
    if wanted.curve == "mean":
        notices += few_seeds([(name, sample)], seed_name)
    return Curve(np.array(sizes, np.float64) + wanted.development_labels, sample, wanted.monotone, wanted.curve)


def sample_of(known: Mapping[tuple[str, int], Scored], units: int, *, random: bool = True) -> Sample:
    """Scores by (seed, place) as arrays, nan where a seed lacks a place."""
    seeds, places = sorted({seed for seed, _ in known}), 1 + max(place for _, place in known)
    scores = np.full((len(seeds), places), np.nan)
    first = next(iter(known.values()))[1]
    again = None if first is None else np.full((len(first), len(seeds), places), np.nan)
    for (seed, place), (value, values) in known.items():
        scores[seeds.index(seed), place] = value
        if again is not None:
            again[:, seeds.index(seed), place] = values
    return Sample(scores, again, units, random)


def few_seeds(named: Sequence[tuple[str, Sample]], seed_name: str) -> list[str]:
    """What a reader must know of those that have fewer than three seeds, somewhere; one line for what is true of
    several."""
    found: dict[str, list[str]] = {}
    for name, sample in named:
        fewest = int(sample.counts.min()) if sample.random else 0
        if fewest in _FEW:
            kind, of, what = seed_name.partition(" of ")
            seeds = f"one {seed_name}" if fewest == 1 else f"two {kind}s{of}{what}"
            where = "" if len(sample.scores) == fewest else " at some sizes"
            found.setdefault(f"{seeds}{where}{_FEW[fewest]}", []).append(name)
    return [f"{_some(names)}: {told}" for told, names in found.items()]


_FEW = {
    1: "; what another would change is not known, so intervals are too narrow",
    2: ", which tell little of others; intervals are wide, and rough",
}
_MOST_NAMED = 3


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_NAMED} more"] if names[_MOST_NAMED:] else []
    return "; ".join([*names[:_MOST_NAMED], *more])


def pairs_of(task: str, prompts: Sequence[Prompt], baselines: Sequence[Baseline], wanted: Wanted) -> list[Pair]:
    found = []
    for baseline in baselines:
        gains: dict[str, Advantage] = {}
        for prompt in prompts:
            family = [one for one in prompts if _relatives(prompt, one)]
            key = prompt.family
            if key not in gains:
                levels = [(float(one.budget.total), one.level) for one in family]
                gains[key] = advantage(baseline.curve, levels)
            found.append(Pair(task, prompt, baseline, break_even(baseline.curve, prompt.level), gains[key]))
    order = {prompt.name: place for place, prompt in enumerate(prompts)}
    return sorted(found, key=lambda pair: order[pair.prompt.name])


def _relatives(prompt: Prompt, other: Prompt) -> bool:
    """Whether the other is the same prompt with another number of shots; one without any goes with each."""
    (base, demos), (other_base, other_demos) = prompt.family.split(" "), other.family.split(" ")
    return base == other_base and (not demos or not other_demos or demos == other_demos)
