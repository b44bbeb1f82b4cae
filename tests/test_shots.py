"""Draws of demonstrations: nested, seeded, independent of the order of the pool, and fair."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.data import load_data
from harness.errors import UsageError
from harness.records import Example
from harness.row_files import Row
from harness.shots import STRATEGIES, Demonstrations, Strategy
from harness.tasks import Task

ITEM = Example("item", {}, ("a", "b"), 0, None, "")
strategies = st.sampled_from(STRATEGIES)
golds = st.lists(st.integers(0, 3), min_size=1, max_size=30)


def pool_of(labels: Sequence[int]) -> list[Example]:
    """One example for each label, with ids that tell nothing of their order."""
    names = random.Random(5).sample(range(1000), len(labels))
    return [
        Example(f"id{name}", {}, ("a", "b", "c", "d"), gold, None, "") for name, gold in zip(names, labels, strict=True)
    ]


def draw(
    pool: Sequence[Example], k: int, strategy: Strategy = "fixed", seed: int = 0, task: str = "t", item: str = "item"
) -> list[str]:
    asked = Example(item, {}, ("a", "b"), 0, None, "")
    return [example.item_id for example in Demonstrations(task, pool, strategy, seed).draw(asked, k)]


@given(labels=golds, strategy=strategies, seed=st.integers(0, 9), data=st.data())
def test_a_draw_is_a_prefix_of_every_larger_one(
    labels: list[int], strategy: Strategy, seed: int, data: st.DataObject
) -> None:
    pool = pool_of(labels)
    k = data.draw(st.integers(0, len(pool)))
    assert draw(pool, k, strategy, seed) == draw(pool, len(pool), strategy, seed)[:k]


@given(labels=golds, strategy=strategies, data=st.data())
def test_a_draw_does_not_depend_on_what_was_drawn_before(
    labels: list[int], strategy: Strategy, data: st.DataObject
) -> None:
    pool = pool_of(labels)
    sizes = data.draw(st.lists(st.integers(0, len(pool)), max_size=5))
    shared = Demonstrations("t", pool, strategy, 0)
    assert [[e.item_id for e in shared.draw(ITEM, k)] for k in sizes] == [draw(pool, k, strategy) for k in sizes]


@given(labels=golds, strategy=strategies, order=st.randoms(use_true_random=False))
def test_a_draw_does_not_depend_on_the_order_of_the_pool(
    labels: list[int], strategy: Strategy, order: random.Random
) -> None:
    pool = pool_of(labels)
    shuffled = order.sample(pool, len(pool))
    assert draw(pool, len(pool), strategy) == draw(shuffled, len(pool), strategy)


@given(labels=golds, strategy=strategies, seed=st.integers(0, 9))
def test_a_full_draw_gives_every_example_once(labels: list[int], strategy: Strategy, seed: int) -> None:
    pool = pool_of(labels)
    assert sorted(draw(pool, len(pool), strategy, seed)) == sorted(example.item_id for example in pool)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_draws_differ_by_seed_task_and_strategy_and_are_the_same_again(strategy: Strategy) -> None:
    pool = pool_of([0, 1] * 20)
    plain = draw(pool, 10, strategy)
    assert draw(pool, 10, strategy) == plain
    others = [draw(pool, 10, strategy, seed=1), draw(pool, 10, strategy, task="u")]
    others += [draw(pool, 10, other) for other in STRATEGIES if other != strategy]
    assert plain not in others


def test_per_item_draws_depend_on_the_item_alone() -> None:
    pool = pool_of([0, 1] * 20)
    drawing = Demonstrations("t", pool, "per-item", 0)
    items = [Example(f"item{i}", {"text": str(i)}, ("a", "b"), i % 2, None, "") for i in range(20)]
    together = [drawing.draw(item, 4) for item in items]
    assert [drawing.draw(item, 4) for item in reversed(items)] == together[::-1]
    assert len({tuple(e.item_id for e in drawn) for drawn in together}) > 15
    relabelled = Example(items[0].item_id, {"text": "other"}, ("x", "y", "z"), 2, None, "")
    assert drawing.draw(relabelled, 4) == together[0]


@pytest.mark.parametrize("strategy", ["fixed", "balanced"])
def test_other_draws_are_the_same_for_all_items(strategy: Strategy) -> None:
    pool = pool_of([0, 1] * 20)
    assert draw(pool, 6, strategy, item="one") == draw(pool, 6, strategy, item="two")


@given(counts=st.lists(st.integers(1, 8), min_size=2, max_size=4), seed=st.integers(0, 9))
def test_balanced_gives_every_class_one_a_round_until_it_is_exhausted(counts: list[int], seed: int) -> None:
    pool = pool_of([label for label, count in enumerate(counts) for _ in range(count)])
    gold = {example.item_id: example.gold for example in pool}
    drawn = [gold[name] for name in draw(pool, len(pool), "balanced", seed)]
    for done in range(1, max(counts) + 1):
        size = sum(min(done, count) for count in counts)
        assert Counter(drawn[:size]) == {label: min(done, count) for label, count in enumerate(counts)}


def test_the_order_of_classes_changes_from_round_to_round() -> None:
    pool = pool_of([0, 1, 2] * 20)
    gold = {example.item_id: example.gold for example in pool}
    drawn = [gold[name] for name in draw(pool, 60, "balanced")]
    assert len({tuple(drawn[i : i + 3]) for i in range(0, 60, 3)}) == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_pool_that_is_too_small_is_an_error(strategy: Strategy) -> None:
    with pytest.raises(UsageError, match="t: 4 demonstrations were asked for, but the pool holds 3"):
        draw(pool_of([0, 1, 0]), 4, strategy)


def test_nothing_drawn_from_an_empty_pool() -> None:
    assert draw([], 0, "balanced") == []


def test_an_unknown_strategy_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="unknown strategy 'balance'; did you mean 'balanced'"):
        draw([], 0, "balance")  # type: ignore[arg-type]


def test_no_demonstration_is_an_item() -> None:
    class Source:
        origin = location = "memory"
        revision = None

        def rows(self, split: str) -> list[Row]:
            return [Row({"text": f"Row {i % 50}" + "!" * (i // 50), "label": i % 2}, str(i)) for i in range(100)]

    task = Task.model_validate(
        {
            "name": "t",
            "family": "f",
            "source": {"folder": "t"},
            "splits": {"pool": "all", "report": "all[:30]"},
            "fields": {"text": "text"},
            "target": "label",
            "labels": ["a", "b"],
        }
    )
    data = load_data(task, Source(), ["report", "pool"])
    reported = {str(example.fields["text"]).rstrip("!") for example in data.role("report")}
    pool = data.role("pool")
    for strategy, item in itertools.product(STRATEGIES, data.role("report")):
        drawn = Demonstrations("t", pool, strategy, 0).draw(item, len(pool))
        assert not {str(example.fields["text"]).rstrip("!") for example in drawn} & reported


# Fairness, over many seeds; the seeds are fixed, so the outcome is, too. A fair draw passes with probability .999.


def uneven(counts: Counter[object], cells: int) -> bool:
    observed = np.array([*counts.values(), *[0] * (cells - len(counts))])
    return float(stats.chisquare(observed).pvalue) < 0.001


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("place", [0, 3])
def test_every_example_is_as_likely_at_every_place(strategy: Strategy, place: int) -> None:
    pool = pool_of([0, 1, 2, 0, 1, 2, 0, 1, 2])
    counts = Counter[object](draw(pool, place + 1, strategy, seed)[place] for seed in range(1800))
    assert not uneven(counts, len(pool))


@pytest.mark.parametrize("strategy", ["fixed", "per-item"])
def test_every_pair_in_order_is_as_likely(strategy: Strategy) -> None:
    pool = pool_of([0, 1, 0, 1, 0])
    counts = Counter[object](tuple(draw(pool, 2, strategy, seed)) for seed in range(2000))
    assert not uneven(counts, 20)


def test_every_permutation_is_as_likely() -> None:
    pool = pool_of([0, 0, 0, 0])
    counts = Counter[object](tuple(draw(pool, 4, "fixed", seed)) for seed in range(2400))
    assert not uneven(counts, 24)


def test_items_draw_independently_of_one_another() -> None:
    pool = pool_of([0, 1, 0, 1])
    pairs = Counter[object](
        (draw(pool, 1, "per-item", seed, item="one")[0], draw(pool, 1, "per-item", seed, item="two")[0])
        for seed in range(1600)
    )
    assert not uneven(pairs, 16)
