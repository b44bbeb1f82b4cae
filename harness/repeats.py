"""Texts that stand more than once among a task's examples, and options that stand twice within one.

They are used as they are; a notice says how many there are, since such items are no independent tries, a text with two
labels cannot be right both times, and equal options are one answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import Example


@dataclass(frozen=True, slots=True)
class Repeats:
    """What repeats among the examples of one role; each list holds places, those of one text together."""

    same: Sequence[Sequence[str]]  # of a text that stands more than once
    disputed: Sequence[Sequence[str]]  # of those of them with more than one answer
    twice: Sequence[str]  # of examples that have an option twice


def find_repeats(examples: Sequence[Example], keys: Sequence[str]) -> Repeats:
    """Args: ``keys`` are equal where examples have the same text."""
    groups: dict[str, list[Example]] = {}
    for example, key in zip(examples, keys, strict=True):
        groups.setdefault(key, []).append(example)
    same = [group for group in groups.values() if len(group) > 1]
    disputed = [group for group in same if len({example.options[example.gold] for example in group}) > 1]
    return Repeats(
        [_places(group) for group in same],
        [_places(group) for group in disputed],
        [example.place for example in examples if len(set(example.options)) < len(example.options)],
    )


def told_of_items(task: str, found: Repeats) -> Iterator[str]:
    """What a reader must know of the items of a report."""
    if found.same:
        count, texts = sum(map(len, found.same)), len(found.same)
        told = f"{task}: {count} items are {_number(texts, 'text')} that {_stands(texts)} more than once"
        if found.disputed:
            told += f", {_number(len(found.disputed), 'of them', 'of them')} with different labels"
        yield f"{told}, such as {_pair((found.disputed or found.same)[0])}; each counts as an item of its own"
    if found.twice:
        count = len(found.twice)
        yield (
            f"{task}: {_number(count, 'item has', 'items have')} an option twice, such as {found.twice[0]}; equal"
            " options are one answer"
        )


def told_of_pool(task: str, found: Repeats) -> Iterator[str]:
    """What a reader must know of the examples that demonstrations and training sets are drawn from."""
    if found.disputed:
        rows, texts = sum(map(len, found.disputed)), len(found.disputed)
        yield (
            f"{task}: {_number(texts, 'text')} of the pool {_stands(texts)} there with different labels ({rows} rows),"
            f" such as {_pair(found.disputed[0])}"
        )


def _places(group: Sequence[Example]) -> list[str]:
    """One place for each answer first, then the others."""
    by_answer: dict[str, str] = {}
    for example in group:
        by_answer.setdefault(example.options[example.gold], example.place)
    first = list(by_answer.values())
    return [*first, *(example.place for example in group if example.place not in first)]


def _pair(places: Sequence[str]) -> str:
    return " and ".join(places[:2])


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _stands(count: int) -> str:
    return "stands" if count == 1 else "stand"
