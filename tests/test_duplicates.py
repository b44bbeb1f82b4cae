"""What gives an item away is found, and only that: against comparing every pair of texts word by word."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Example
from harness.shots.duplicates import (
    CONTAINED_TRIGRAMS,
    CONTAINMENT,
    JACCARD,
    NearDuplicates,
    containment,
    jaccard,
    trigrams,
)
from harness.words import words

FIRST, SECOND = "the cat sat on the mat", "the cat sat on a mat"


def example(name: str, text: str, options: tuple[str, ...] = ("a", "b"), **fields: str) -> Example:
    return Example(name, {"text": text, **fields}, options, 0, None, "")


def near(text: str, *pool: str) -> set[str]:
    """Which of the pool, named by number, are near-duplicates of a text."""
    found = NearDuplicates([example(str(number), other) for number, other in enumerate(pool)])
    return set(found.of(example("item", text)))


def sets(text: str) -> set[tuple[str, ...]]:
    """The trigrams of a text of plain words."""
    split = text.split()
    return {tuple(split[i : i + 3]) for i in range(len(split) - 2)} or ({tuple(split)} if split else set())


def twin(first: str, second: str) -> bool:
    """Whether two different texts are near-duplicates, by the definition."""
    one, other = sets(first), sets(second)
    if not one or not other:
        return False
    shared = len(one & other)
    held = shared / min(len(one), len(other)) >= CONTAINMENT and min(len(one), len(other)) >= CONTAINED_TRIGRAMS
    return shared / len(one | other) >= JACCARD or held


def test_trigrams_of_two_sentences() -> None:
    one, other = (trigrams(words(text)) for text in (FIRST, SECOND))
    shared = np.intersect1d(one, other)
    sizes = [np.array([len(found)]) for found in (shared, one, other)]
    assert jaccard(*sizes) == pytest.approx(1 / 3)
    assert containment(*sizes) == pytest.approx(1 / 2)


texts = st.lists(st.sampled_from("abcdef"), max_size=14).map(" ".join)


@given(item=texts, pool=st.lists(texts, max_size=6))
def test_near_duplicates_are_those_of_comparing_all_pairs(item: str, pool: list[str]) -> None:
    expected = {str(i) for i, other in enumerate(pool) if twin(item, other) or other == item}
    assert near(item, *pool) == expected


@given(item=st.lists(st.sampled_from("abcdef"), min_size=12, max_size=40).map(" ".join), seed=st.integers(0, 99))
def test_a_few_words_changed_in_a_long_text_leave_it_a_near_duplicate_or_not_as_defined(item: str, seed: int) -> None:
    rng = random.Random(seed)
    changed = item.split()
    for _ in range(rng.randrange(6)):
        changed[rng.randrange(len(changed))] = rng.choice("xyz")
    other = " ".join(changed[rng.randrange(4) :])
    assert near(item, other) == ({"0"} if twin(item, other) else set())


@pytest.mark.parametrize(
    ("item", "other"),
    [
        ("the film was good", "the film was good"),
        ("The film was good!", "the  film — was good"),
        ("ｆｕｌｌ width", "FULL width"),
        ("good", "Good."),
        ("the film was good", "the film was good ."),
        ("one two three four five six seven eight", "one two three four five six seven nine"),
        ("房间很大，服务也很好。", "房间很大,服务也很好！！"),
        ("房间很大，服务也很好，下次还来", "房间很大，服务也很好，下次不来"),
        (
            "one two three four five six seven eight nine ten",
            "0 1 one two three four five six seven eight nine ten " * 2,
        ),
    ],
)
def test_these_are_near_duplicates(item: str, other: str) -> None:
    assert near(item, other) == {"0"}
    assert near(other, item) == {"0"}


@pytest.mark.parametrize(
    ("item", "other"),
    [
        ("the film was good", "the film was bad"),
        ("one of the best", "one of the best films of the year and of all years before it"),  # a mere phrase
        ("good", "good film"),
        ("", "good film"),
        ("!!!", "good film"),
        ("房间很大", "服务很好"),
    ],
)
def test_these_are_not(item: str, other: str) -> None:
    assert near(item, other) == set()
    assert near(other, item) == set()


def test_the_item_itself_is_known_by_its_id_whatever_its_text() -> None:
    found = NearDuplicates([example("one", "some text"), example("other", "more text")])
    assert found.of(example("one", "changed")) == {"one"}
    assert found.of(example("elsewhere", "changed")) == frozenset()


def test_all_fields_count_and_options_where_they_are_the_items_own() -> None:
    passage = "a long passage that a question is asked about again and again"
    pool = [example("0", passage, question="who asked first?")]
    assert NearDuplicates(pool).of(example("item", passage, question="what is asked?")) == {"0"}
    short = [example(str(i), "what now ?", options=(f"first thing {i}", f"second thing {i}")) for i in range(4)]
    assert NearDuplicates(short).of(example("item", "what now ?", options=("other 8", "another 9"))) == frozenset()
    assert NearDuplicates(short).of(example("item", "what now ?", options=short[2].options)) == {"2"}


def test_the_gold_label_has_no_part_in_it() -> None:
    pool = [Example("0", {"text": FIRST}, ("a", "b"), 1, None, "")]
    assert NearDuplicates(pool).of(example("item", FIRST)) == {"0"}


def test_a_large_pool_takes_no_time() -> None:
    drawn = np.random.default_rng(0).zipf(1.5, (8_000, 20))  # as often as words are
    texts = [" ".join(f"w{word}" for word in row) for row in drawn.tolist()]
    pool = [example(f"p{i}", text) for i, text in enumerate(texts[:7_000])]
    items = [example(f"i{i}", text) for i, text in enumerate(texts[7_000:])]
    begin = time.process_time()
    found = NearDuplicates(pool)
    for item in items:
        found.of(item)
    assert time.process_time() - begin < 5


QUESTION, ANSWERS = (
    "Which energy source is considered nonrenewable?",
    ("moving water", "fossil fuel", "wind", "biomass"),
)
LONG = (
    "A class has five small boxes, all covered, with perfume, onions and pine in them. How can one tell which is which?"
)


@pytest.mark.parametrize(
    ("pooled", "options", "gold", "found"),
    [
        (QUESTION, ANSWERS[::-1], 2, True),  # the same options in another order
        (QUESTION, ("Fossil fuel!", "coal", "milk", "sand"), 0, True),  # other distractors
        (f"{QUESTION[:-1]} today?", ("sand", "fossil fuel"), 1, True),  # asked in other words
        (QUESTION, ("coal", "milk", "sand", "biomass"), 0, False),  # a phrase; what it shows is no answer here
        (LONG, ("by looking", "by lifting"), 0, False),
        ("Which animal lays eggs?", ("fossil fuel", "hen"), 0, False),  # an answer in common, and no question
    ],
)
def test_the_same_question_with_other_options(pooled: str, options: tuple[str, ...], gold: int, found: bool) -> None:
    pool = [
        Example("0", {"text": pooled}, options, gold, None, ""),
        Example("other", {"text": "What is a verb?"}, ("a word", "a tree"), 0, None, ""),
    ]
    item = example("item", QUESTION, ANSWERS)
    assert NearDuplicates(pool).of(item) == ({"0"} if found else set())


def test_a_long_question_is_the_same_whatever_its_options() -> None:
    pool = [example("0", LONG, ("by looking", "by lifting")), example("1", "What is a verb?", ("a word", "a tree"))]
    assert NearDuplicates(pool).of(example("item", LONG.upper(), ("shake it", "smell it"))) == {"0"}


def test_alternatives_are_a_set_as_options_and_as_fields() -> None:
    first, second = "the man dropped a hammer on his foot", "the man watched a film about tools"
    pool = [example("0", "he broke his toe", (first, second)), example("1", "x", ("y", "z"))]
    assert NearDuplicates(pool).of(example("item", "he broke his toe", (second, first))) == {"0"}
    fields = [Example("0", {"text": "he broke his toe", "one": first, "two": second}, ("1", "2"), 0, None, "")]
    swapped = Example("item", {"text": "he broke his toe", "one": second, "two": first}, ("1", "2"), 1, None, "")
    assert NearDuplicates(fields).of(swapped) == {"0"}
