"""Prints how often 95% intervals cover a truth that is known, and how often what is called detectable is found.

python -m benchmarks.coverage [--trials N] [--seed N] [--only WORD]

Each line is a design: data are drawn from it, the product's own function is called, and the share of trials that cover
is printed beside what it should be, with two standard errors of that share. ``tests/test_coverage.py`` runs a part of
this with fixed seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.tables import markdown
from harness.label_worth import Curve, Level, advantage, break_even
from harness.learning_curves import data_advantage
from harness.metrics import Floats
from harness.resampling import accuracies, item_weights
from harness.seed_samples import Sample

Generator = np.random.Generator
Trial = Callable[[Generator], bool | float]

SIZES = 8.0 * 2.0 ** np.arange(7)
STRAIGHT = 0.60 + 0.05 * np.arange(7)  # in log n: .75 at 64
BENT = 0.90 - 0.30 * 0.6 ** np.arange(7)
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Design:
    """What is drawn, and what share of trials should come out true."""

    name: str
    nominal: float
    trial: Trial


def share(design: Design, trials: int, seed: int) -> float:
    """The mean of a design's trials, drawn from a generator of its own."""
    rng = np.random.default_rng([seed, *design.name.encode()])
    return float(np.mean([design.trial(rng) for _ in range(trials)]))


# Break-even and data advantage


def covers(low: float, truth: float, high: float) -> bool:
    """An interval that is not known covers nothing."""
    return bool(low <= truth <= high)


def seeds_alone(
    rng: Generator, *, seeds: int, prompts: int, shift: float, jitter: float, spread: float, curve: Floats = STRAIGHT
) -> bool:
    """Break-even from scores without items: whole curves shift by seed, and every score jitters."""
    place = 3.0
    baseline = curve + rng.normal(0, shift, (seeds, 1)) + rng.normal(0, jitter, (seeds, len(curve)))
    prompt = np.interp(place, np.arange(len(curve)), curve) + rng.normal(0, spread, (prompts, 1))
    found = break_even(Curve(SIZES, Sample(baseline)), Level(Sample(prompt)))
    return covers(found.low, 8.0 * 2.0**place, found.high)


def answers(rng: Generator, shares: Floats, hard: Floats) -> Floats:
    """Right or wrong with these shares over items that are as hard for all systems; [...] -> [..., items]."""
    from scipy import stats

    noise = rng.normal(size=(*shares.shape, len(hard)))
    limits = stats.norm.ppf(np.clip(shares, 0.001, 0.999))[..., None]
    return np.asarray(math.sqrt(0.5) * (hard + noise) < limits, np.float64)


def with_items(
    rng: Generator, *, seeds: int, prompts: int, items: int, shift: float, spread: float, frozen: bool = False,
    cluster: int = 1,
) -> bool:  # fmt: skip
    """Break-even in accuracy on items; ``cluster`` of them share their difficulty."""
    hard = np.repeat(rng.normal(size=items // cluster), cluster)
    groups = np.arange(items) // cluster if cluster > 1 else None
    weights = item_weights(items, RESAMPLES, rng, groups)

    def sample(right: Floats, random: bool) -> Sample:
        return Sample(right.mean(axis=-1), accuracies(right, weights), items // cluster, random)

    baseline = answers(rng, STRAIGHT + rng.normal(0, shift, (seeds, 1)), hard)
    prompt = answers(rng, 0.75 + rng.normal(0, spread, (prompts, 1)), hard)
    found = break_even(Curve(SIZES, sample(baseline, True)), Level(sample(prompt, not frozen)))
    return covers(found.low, 64.0, found.high)


def area(rng: Generator, *, seeds: int, jitter: float) -> bool:
    """Data advantage of a prompt whose curve lies above that of the baseline."""
    above = np.minimum(0.92, STRAIGHT + 0.05)
    head = STRAIGHT + rng.normal(0, jitter, (seeds, 1)) + rng.normal(0, jitter / 2, (seeds, len(SIZES)))
    prompt = above + rng.normal(0, jitter, (seeds, 1)) + rng.normal(0, jitter / 2, (seeds, len(SIZES)))
    levels = [(n, Level(Sample(prompt[:, [i]]))) for i, n in enumerate(SIZES.tolist())]
    found = advantage(Curve(SIZES, Sample(head)), levels)
    return covers(found.low, data_advantage(SIZES, STRAIGHT, SIZES, above), found.high)


def worth() -> Iterator[Design]:
    def design(what: str, function: Callable[..., bool], **given: float | bool | Floats) -> Design:
        return Design(f"{what}", 0.95, lambda rng: function(rng, **given))

    for seeds, prompts in ((3, 3), (5, 5), (8, 8), (3, 8), (8, 3)):
        name = f"break-even, {seeds} training and {prompts} prompt seeds"
        yield design(
            f"{name}, curves shift", seeds_alone, seeds=seeds, prompts=prompts, shift=0.02, jitter=0.0, spread=0.02
        )
        yield design(
            f"{name}, scores jitter", seeds_alone, seeds=seeds, prompts=prompts, shift=0.0, jitter=0.02, spread=0.02
        )
        yield design(
            f"{name}, both, bent curve", seeds_alone, seeds=seeds, prompts=prompts, shift=0.02, jitter=0.01,
            spread=0.005, curve=BENT,
        )  # fmt: skip
    for seeds, prompts in ((3, 3), (5, 5), (8, 8)):
        for items in (100, 300):
            name = f"break-even, {items} items, {seeds} and {prompts} seeds"
            yield design(
                f"{name}, sd .02", with_items, seeds=seeds, prompts=prompts, items=items, shift=0.02, spread=0.02
            )
            yield design(
                f"{name}, sd .05", with_items, seeds=seeds, prompts=prompts, items=items, shift=0.05, spread=0.02
            )
    for seeds in (3, 5):
        yield design(
            f"break-even, 300 items, {seeds} seeds, no demonstrations", with_items, seeds=seeds, prompts=1, items=300,
            shift=0.02, spread=0.0, frozen=True,
        )  # fmt: skip
    yield design(
        "break-even, 300 items in 100 clusters, 5 and 5 seeds", with_items, seeds=5, prompts=5, items=300, shift=0.02,
        spread=0.02, cluster=3,
    )  # fmt: skip
    yield design(
        "break-even, 5 training seeds and 1 prompt seed: said to be too narrow", seeds_alone, seeds=5, prompts=1,
        shift=0.02, jitter=0.0, spread=0.02,
    )  # fmt: skip
    for seeds in (3, 5, 8):
        yield design(f"data advantage, {seeds} and {seeds} seeds", area, seeds=seeds, jitter=0.01)


DESIGNS: dict[str, Callable[[], Iterator[Design]]] = {"worth": worth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="designs with this word in their names")
    given = parser.parse_args()
    rows = []
    for designs in DESIGNS.values():
        for design in designs():
            if given.only in design.name:
                found = share(design, given.trials, given.seed)
                error = 2 * math.sqrt(max(found * (1 - found), 0.25 / given.trials) / given.trials)
                rows.append([design.name, f"{design.nominal:.0%}", f"{found:.1%}", f"{error:.1%}"])
                print(*rows[-1], sep="  ", flush=True)
    print("\n" + markdown(["design", "nominal", "found", "+-"], rows, words=1))


if __name__ == "__main__":
    main()
