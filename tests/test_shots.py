"""Draws of demonstrations: nested, stateless, independent of the pool's order, and fair where chance has a part."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.data import load_data
from harness.errors import UsageError
from harness.records import Example
from harness.row_files import Row
from harness.shots import SEEDED, STRATEGIES, Demonstrations, Strategy
from harness.tasks import Task

strategies = st.sampled_from(STRATEGIES)
seeded = st.sampled_from([name for name in STRATEGIES if name in SEEDED])
golds = st.lists(st.integers(0, 3), min_size=1, max_size=30)
SEEDED_STRATEGIES: list[Strategy] = [name for name in STRATEGIES if name in SEEDED]
WORDS = ["dull", "fine", "film", "meal", "song", "slow"]


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """How often each letter stands in a text."""
    return np.array([[text.count(letter) for letter in "adefglmnos"] for text in texts], np.float32)


def pool_of(labels: Sequence[int]) -> list[Example]:
    """One example for each label, with ids that tell nothing of their order; texts of two words, many the same."""
    rng = random.Random(5)
    names = rng.sample(range(1000), len(labels))
    return [
        Example(f"id{name}", {"text": " ".join(rng.choices(WORDS, k=2))}, ("a", "b", "c", "d"), gold, None, "")
        for name, gold in zip(names, labels, strict=True)
    ]


def item_of(name: str) -> Example:
    """An item of three words, so that none of the pool is like it."""
    text = " ".join(random.Random(name).choices(WORDS, k=3))
    return Example(name, {"text": text}, ("a", "b"), 0, None, f"{name}.jsonl:1")


ITEM = item_of("item")


def drawing(pool: Sequence[Example], strategy: Strategy = "fixed", seed: int = 0, task: str = "t") -> Demonstrations:
    return Demonstrations(task, pool, strategy, seed if strategy in SEEDED else None, embed=embed)


def draw(
    pool: Sequence[Example], k: int, strategy: Strategy = "fixed", seed: int = 0, task: str = "t", item: str = "item"
) -> list[str]:
    return [example.item_id for example in drawing(pool, strategy, seed, task).draw(item_of(item), k)]


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
    shared = drawing(pool, strategy)
    assert [[e.item_id for e in shared.draw(ITEM, k)] for k in sizes] == [draw(pool, k, strategy) for k in sizes]


@given(labels=golds, strategy=strategies.filter(lambda name: name != "file"), order=st.randoms(use_true_random=False))
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


@given(labels=golds, strategy=strategies, others=st.sets(st.integers(0, 20)), data=st.data())
def test_a_draw_does_not_depend_on_the_other_items(
    labels: list[int], strategy: Strategy, others: set[int], data: st.DataObject
) -> None:
    """So neither on --limit, which takes items away, nor on their order."""
    pool = pool_of(labels)
    k = data.draw(st.integers(0, len(pool)))
    together = drawing(pool, strategy)
    together.prepare([*(item_of(f"item{number}") for number in others), ITEM], k)
    assert together.draw(ITEM, k) == drawing(pool, strategy).draw(ITEM, k)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in SEEDED])
def test_where_chance_has_no_part_a_draw_depends_on_the_item_alone(strategy: Strategy) -> None:
    """Ties included: half of the pool has the same text as another."""
    pool = pool_of([0, 1] * 20)
    assert draw(pool, 40, strategy, task="one") == draw(pool, 40, strategy, task="other")


@pytest.mark.parametrize("strategy", SEEDED_STRATEGIES)
def test_draws_differ_by_seed_task_and_strategy_and_are_the_same_again(strategy: Strategy) -> None:
    pool = pool_of([0, 1] * 20)
    plain = draw(pool, 10, strategy)
    assert draw(pool, 10, strategy) == plain
    others = [draw(pool, 10, strategy, seed=1), draw(pool, 10, strategy, task="u")]
    others += [draw(pool, 10, other) for other in SEEDED_STRATEGIES if other != strategy]
    assert plain not in others


def test_per_item_draws_depend_on_the_item_alone() -> None:
    pool = pool_of([0, 1] * 20)
    shared = drawing(pool, "per-item")
    items = [item_of(f"item{i}") for i in range(20)]
    together = [shared.draw(item, 4) for item in items]
    assert [shared.draw(item, 4) for item in reversed(items)] == together[::-1]
    assert len({tuple(e.item_id for e in drawn) for drawn in together}) > 15
    relabelled = Example(items[0].item_id, {"text": "other"}, ("x", "y", "z"), 2, None, "")
    assert drawing(pool, "per-item").draw(relabelled, 4) == together[0]


@pytest.mark.parametrize("strategy", ["fixed", "balanced", "stratified", "file"])
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


@given(counts=st.lists(st.integers(1, 20), min_size=2, max_size=4), seed=st.integers(0, 9), data=st.data())
def test_stratified_gives_every_class_its_share_of_the_pool(counts: list[int], seed: int, data: st.DataObject) -> None:
    """However many are drawn; of two classes, none is off by one."""
    pool = pool_of([label for label, count in enumerate(counts) for _ in range(count)])
    gold = {example.item_id: example.gold for example in pool}
    k = data.draw(st.integers(0, len(pool)))
    drawn = Counter(gold[name] for name in draw(pool, k, "stratified", seed))
    for label, count in enumerate(counts):
        share = count / len(pool)
        # Up to any moment, each class is off by less than one.
        assert abs(drawn[label] - k * share) < (1 - share) + share * (len(counts) - 1)


def test_stratified_draws_have_the_shares_of_the_pool_on_average() -> None:
    pool = pool_of([0] * 18 + [1] * 9 + [2] * 3)
    gold = {example.item_id: example.gold for example in pool}
    drawn = Counter(gold[name] for seed in range(300) for name in draw(pool, 5, "stratified", seed))
    assert [drawn[label] / 1500 for label in range(3)] == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


def test_stratified_orders_of_classes_differ_by_seed() -> None:
    pool = pool_of([0] * 30 + [1] * 10)
    gold = {example.item_id: example.gold for example in pool}
    orders = {tuple(gold[name] for name in draw(pool, 4, "stratified", seed)) for seed in range(40)}
    assert orders == {(0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_pool_that_is_too_small_is_an_error(strategy: Strategy) -> None:
    holder = "the list of demonstrations" if strategy == "file" else "the pool"
    message = f"t: 4 demonstrations were asked for, but {holder} holds 3; --shots takes at most 3"
    with pytest.raises(UsageError, match=message):
        draw(pool_of([0, 1, 0]), 4, strategy)


def test_a_list_is_drawn_as_it_stands() -> None:
    pool = pool_of([0, 1] * 5)
    assert draw(pool, 7, "file") == [example.item_id for example in pool[:7]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_retrieved_stands_with_the_most_similar_last(strategy: Strategy) -> None:
    shared = drawing(pool_of([0, 1] * 5), strategy)
    drawn = shared.draw(ITEM, 4)
    assert list(shared.shown(drawn)) == list(drawn[::-1] if strategy in ("bm25", "knn", "mmr") else drawn)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_gives_an_item_away_is_passed_over_and_nothing_else_changes(strategy: Strategy) -> None:
    pool = pool_of([0, 1] * 8)
    giveaway = drawing(pool, strategy).draw(ITEM, 1)[0]
    copy = Example("copy", giveaway.fields, giveaway.options, 1, None, "")
    plain, guarded = ([e.item_id for e in drawing(pool, strategy).draw(item, 8)] for item in (ITEM, copy))
    same_text = {example.item_id for example in pool if example.fields == giveaway.fields}
    assert not same_text & set(guarded)
    if strategy in ("fixed", "file"):
        rest = [e.item_id for e in drawing(pool, strategy).draw(ITEM, 16) if e.item_id not in same_text]
        assert guarded == rest[:8]
        assert plain != guarded


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_item_of_the_pool_is_never_its_own_demonstration(strategy: Strategy) -> None:
    pool = pool_of([0, 1] * 4)
    for item in pool:
        same = sum(example.fields == item.fields for example in pool)
        drawn = drawing(pool, strategy).draw(item, len(pool) - same)
        assert item.item_id not in {example.item_id for example in drawn}
        with pytest.raises(UsageError, match=rf"holds 8, {same} of them too like the item at .*at most {8 - same}"):
            drawing(pool, strategy).draw(item, len(pool) - same + 1)


def test_balanced_stays_balanced_around_what_is_passed_over() -> None:
    pool = [Example(f"id{i}", {"text": f"word{i} more"}, ("a", "b"), i % 2, None, "") for i in range(20)]
    for item in pool:
        drawn = Demonstrations("t", pool, "balanced", 0).draw(item, 6)
        assert Counter(example.gold for example in drawn) == {0: 3, 1: 3}


def test_knn_needs_something_to_compare_by() -> None:
    with pytest.raises(UsageError, match="knn"):
        Demonstrations("t", pool_of([0, 1]), "knn")


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
    task._path = Path("t.yaml")
    data = load_data(task, Source(), ["report", "pool"])
    reported = {str(example.fields["text"]).rstrip("!") for example in data.role("report")}
    pool = data.role("pool")
    for strategy, item in itertools.product(STRATEGIES, data.role("report")):
        drawn = Demonstrations("t", pool, strategy, 0, embed=embed).draw(item, len(pool))
        assert not {str(example.fields["text"]).rstrip("!") for example in drawn} & reported


# Fairness, over many seeds; the seeds are fixed, so the outcome is, too. A fair draw passes with probability .999.


def uneven(counts: Counter[object], cells: int) -> bool:
    observed = np.array([*counts.values(), *[0] * (cells - len(counts))])
    return float(stats.chisquare(observed).pvalue) < 0.001


@pytest.mark.parametrize("strategy", SEEDED_STRATEGIES)
@pytest.mark.parametrize("place", [pytest.param(0, marks=pytest.mark.slow), 3])
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
