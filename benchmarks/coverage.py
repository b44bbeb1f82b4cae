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
from harness.metrics import Floats, Ints, macro_f1, pair_index
from harness.paired import compare, difference_interval, not_worse_than_best
from harness.power import detectable_difference, detectable_paired, detectable_single
from harness.resampling import accuracies, item_weights
from harness.seed_samples import Sample
from harness.statistics import bootstrap_interval, mean_interval, standard_error
from harness.variance import variance_components

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


# Means over templates, seeds and items


def sensitivity(rng: Generator, *, templates: int, seeds: int, items: int, spread: float, own: float) -> bool:
    """The interval over new templates, seeds and items: accuracy where templates, seeds and both together shift it."""
    shares = 0.75 + rng.normal(0, spread, (templates, 1))
    if seeds > 1:
        shares = shares + rng.normal(0, spread, (1, seeds)) + rng.normal(0, own, (templates, seeds))
    right = answers(rng, shares, rng.normal(size=items))
    grid = np.meshgrid(range(templates), range(seeds), range(items), indexing="ij")
    template, seed, item = (column.ravel() for column in grid)
    found = variance_components(template, seed, np.zeros_like(seed), item, right.ravel())
    return covers(found.mean - found.half_width, 0.75, found.mean + found.half_width)


def prompts() -> Iterator[Design]:
    for templates in (4, 5, 6):
        for spread in (0.02, 0.06):
            yield Design(
                f"sensitivity, {templates} templates, sd {spread:.2f}, 200 items",
                0.95,
                lambda rng, t=templates, s=spread: sensitivity(rng, templates=t, seeds=1, items=200, spread=s, own=0.0),
            )
    yield Design(
        "sensitivity, 4 templates, 3 seeds, sd .04, 200 items",
        0.95,
        lambda rng: sensitivity(rng, templates=4, seeds=3, items=200, spread=0.04, own=0.02),
    )


# Rows of a table, and two of them


def f1(rng: Generator, n: int) -> bool:
    """Macro-F1 of a row of three labels of which one is rare."""
    gold = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    right = rng.random(n) < np.array([0.8, 0.7, 0.6])[gold]
    predicted = np.where(right, gold, (gold + rng.integers(1, 3, n)) % 3)
    hit = np.array([0.8, 0.7, 0.6])
    truth = np.array([[hit[g] if g == p else (1 - hit[g]) / 2 for p in range(3)] + [0.0] for g in range(3)])
    counts = np.array([0.5, 0.3, 0.2])[:, None] * truth
    found = bootstrap_interval(pair_index(gold, predicted, 3)[None], macro_f1, 3)
    return covers(found.low, float(macro_f1(counts)), found.high)


def clusters_of(rng: Generator, count: int) -> Ints:
    """Items in clusters of 1 to 9."""
    return np.repeat(np.arange(count), rng.integers(1, 10, count))


def clustered(rng: Generator, count: int) -> tuple[Floats, Ints]:
    """Differences of two systems, of mean 0, alike within a cluster."""
    clusters = clusters_of(rng, count)
    return rng.normal(0, 0.3, count)[clusters] + rng.normal(0, 0.5, len(clusters)), clusters


def clustered_interval(rng: Generator, count: int) -> bool:
    differences, clusters = clustered(rng, count)
    found = difference_interval(differences, clusters)
    return covers(found.low, 0.0, found.high)


def within_noise(rng: Generator, count: int) -> bool:
    """Whether a row as good as another is said to be within noise of it, where items come in clusters."""
    differences, clusters = clustered(rng, count)
    return bool(not_worse_than_best(np.stack([differences, np.zeros(len(differences))]), clusters).all())


def shares(rng: Generator, n: int) -> bool:
    """The accuracy of a row of three templates, whose items differ in difficulty."""
    found = mean_interval(rng.binomial(3, rng.beta(4, 1, n)) / 3)
    return covers(found.low, 0.8, found.high)


def wilson(rng: Generator, n: int, share: float) -> bool:
    found = mean_interval((rng.random(n) < share).astype(np.float64))
    return covers(found.low, share, found.high)


def rows() -> Iterator[Design]:
    for n in (30, 50, 100, 300):
        yield Design(f"macro-F1 of a row, {n} items", 0.95, lambda rng, n=n: f1(rng, n))
    for n in (10, 30, 100):
        yield Design(f"accuracy of a row of three templates, {n} items", 0.95, lambda rng, n=n: shares(rng, n))
        yield Design(f"accuracy of one prompt, .8, {n} items", 0.95, lambda rng, n=n: wilson(rng, n, 0.8))
    for count in (8, 20, 60):
        name = f"{count} clusters of 1 to 9 items"
        yield Design(f"difference, {name}", 0.95, lambda rng, c=count: clustered_interval(rng, c))
        yield Design(f"within noise, two equal rows, {name}", 0.95, lambda rng, c=count: within_noise(rng, c))


# The minimum detectable effect: how often it is found


def finds(first: Floats, second: Floats) -> bool:
    return compare(first, second).p_value < 0.05


def single(rng: Generator, n: int, share: float) -> bool:
    """The other row is worse by what the row's own table says could be seen, and its mistakes are independent."""
    first = rng.random(n) < share
    gap = detectable_single(n, float(first.mean()))
    return finds(first.astype(np.float64), (rng.random(n) < share - gap).astype(np.float64))


def two(rng: Generator, n: int, discordance: float) -> bool:
    gap = detectable_paired(n, discordance)
    wins, losses = (discordance + gap) / 2, (discordance - gap) / 2
    differences = rng.choice([1.0, -1.0, 0.0], n, p=[wins, losses, 1 - wins - losses])
    return finds(np.maximum(differences, 0), np.maximum(-differences, 0))


def several(rng: Generator, n: int) -> bool:
    """Rows of three templates each."""
    first = rng.binomial(3, rng.beta(4, 2, n)) / 3
    gap = detectable_difference(2**0.5 * standard_error(first), n - 1)
    worse = (4 / 6 - gap) / (1 - 4 / 6 + gap)
    return finds(first, rng.binomial(3, rng.beta(2 * worse, 2, n)) / 3)


def power() -> Iterator[Design]:
    for n in (50, 200):
        for share in (0.6, 0.8, 0.9):
            yield Design(f"MDE of a row, {share:.1f} right of {n} items", 0.8, lambda r, n=n, s=share: single(r, n, s))
        for share in (0.2, 0.4):
            yield Design(f"MDE of two rows, {share:.1f} differ of {n}", 0.8, lambda r, n=n, s=share: two(r, n, s))
        yield Design(f"MDE of a row of three templates, {n} items", 0.8, lambda r, n=n: several(r, n))


DESIGNS: dict[str, Callable[[], Iterator[Design]]] = {"worth": worth, "prompts": prompts, "rows": rows, "power": power}


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
