"""Controls: what they take away, and what they leave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.controls import controlled_demos, controlled_items
from harness.records import Example


def example(number: int, gold: int = 0, **fields: object) -> Example:
    return Example(f"i{number}", fields or {"text": f"text {number}"}, ("a", "b", "c"), gold, None, "")


def test_content_free_items_keep_all_but_their_text() -> None:
    (found,) = controlled_items("content-free", [example(1, 2, premise="p", hypothesis="h", count=3)])
    assert (found.item_id, found.gold, found.fields) == ("i1", 2, {"premise": "N/A", "hypothesis": "N/A", "count": 3})


def test_partial_items_keep_one_field() -> None:
    (found,) = controlled_items("partial:hypothesis", [example(1, premise="p", hypothesis="h")])
    assert found.fields == {"premise": "", "hypothesis": "h"}


def test_no_control_changes_nothing() -> None:
    items = [example(1), example(2)]
    assert controlled_items(None, items) == items
    assert controlled_items("noise", items) == items
    assert controlled_demos(None, items, "s") == items
    assert controlled_demos("content-free", items, "s") == items


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.text(max_size=3))
def test_permuted_labels_are_the_same_labels_in_other_places(golds: list[int], seed: str) -> None:
    demos = [example(number, gold) for number, gold in enumerate(golds)]
    found = controlled_demos("permuted", demos, seed)
    assert sorted(demo.gold for demo in found) == sorted(golds)
    assert ([demo.gold for demo in found] != golds) is (len(set(golds)) > 1)
    assert [demo.item_id for demo in found] == [demo.item_id for demo in demos]
    assert found == controlled_demos("permuted", demos, seed)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.text(max_size=3))
def test_noise_turns_exactly_half_of_the_labels(golds: list[int], seed: str) -> None:
    demos = [example(number, gold) for number, gold in enumerate(golds)]
    found = controlled_demos("noise", demos, seed)
    assert sum(demo.gold != gold for demo, gold in zip(found, golds, strict=True)) == len(golds) // 2
    assert all(0 <= demo.gold < 3 for demo in found)
