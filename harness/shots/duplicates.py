"""Finds the examples of a pool that give an item away: the item itself, and texts that nearly equal its text.

Texts are compared as sets of trigrams of words (see ``words``), over the fields and, where each item has options of its
own, over the options as a set:

    Jaccard index   shared / all of both        as much text in common as not: a rewording, another question on the
                                                same passage
    containment     shared / the smaller set    one text holds the other, which must be long enough not to be a phrase
                                                that anyone may use

Where items have options of their own, the fields are also compared alone: the same question with other distractors
gives the answer away as well. An example counts whose fields are near and whose answer is among the item's options; and
one whose fields are the same, if they are long enough not to be a phrase.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from harness.data import normalised, normalised_fields
from harness.records import Example
from harness.shots.text import own_options, parts_of
from harness.words import words

JACCARD = 0.5
CONTAINMENT = 0.8
CONTAINED_TRIGRAMS = 8  # the least that say something when they are contained
GUARD = f"jaccard {JACCARD}, containment {CONTAINMENT} of {CONTAINED_TRIGRAMS}, fields"  # for the record

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def jaccard(shared: Ints, first: Ints, second: Ints) -> Floats:
    """The Jaccard index of pairs of sets, by their sizes and those of what they share; shape [n]."""
    return shared / (first + second - shared)


def containment(shared: Ints, first: Ints, second: Ints) -> Floats:
    """The share of the smaller set that is in the other; shape [n]."""
    return shared / np.minimum(first, second)


class NearDuplicates:
    """The near-duplicates of any item in one pool."""

    def __init__(self, pool: Sequence[Example]) -> None:
        self._pool = list(pool)
        self._ids = frozenset(example.item_id for example in pool)
        self._options = own_options(pool)
        self._same_text = _rows_by(normalised(example) for example in pool)
        self._whole = _Index([_grams(example, options=self._options) for example in pool])
        if self._options:
            self._same_fields = _rows_by(normalised_fields(example) for example in pool)
            self._fields = _Index([_grams(example, options=False) for example in pool])
        self._found: dict[str, frozenset[str]] = {}

    def of(self, item: Example) -> frozenset[str]:
        """The ids of the examples of the pool that must not stand before ``item``."""
        known = self._found.get(item.item_id)
        if known is None:
            rows = {*self._same_text.get(normalised(item), ()), *self._whole.near(_grams(item, options=self._options))}
            if self._options:
                rows.update(self._same_question(item))
            ids = {item.item_id, *(self._pool[row].item_id for row in rows)}
            known = self._found[item.item_id] = frozenset(ids & self._ids)
        return known

    def _same_question(self, item: Example) -> Iterator[int]:
        """Rows that ask the item's question, with other answers beside the one they show, or with others altogether."""
        own = _grams(item, options=False)
        if len(own) >= CONTAINED_TRIGRAMS:
            yield from self._same_fields.get(normalised_fields(item), ())
        answers = {tuple(words(option)) for option in item.options}
        for row in {*self._fields.near(own), *self._same_fields.get(normalised_fields(item), ())}:
            example = self._pool[row]
            if tuple(words(example.options[example.gold])) in answers:
                yield row


class _Index:
    """Sets of trigrams, by the trigrams in them."""

    def __init__(self, sets: Sequence[Ints]) -> None:
        self._sizes = np.array([len(one) for one in sets], np.int64)
        keys = np.concatenate([np.zeros(0, np.int64), *sets])
        rows = np.repeat(np.arange(len(sets)), self._sizes)
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]  # which sets hold each trigram

    def near(self, own: Ints) -> list[int]:
        """The rows of the sets that are near to one."""
        begins, ends = np.searchsorted(self._keys, own), np.searchsorted(self._keys, own, side="right")
        holders = [self._rows[begin:end] for begin, end in zip(begins, ends, strict=True) if begin < end]
        if not holders:
            return []
        rows, shared = np.unique(np.concatenate(holders), return_counts=True)
        sizes, size = self._sizes[rows], np.full(len(rows), len(own))
        held = (containment(shared, sizes, size) >= CONTAINMENT) & (np.minimum(sizes, size) >= CONTAINED_TRIGRAMS)
        near: list[int] = rows[(jaccard(shared, sizes, size) >= JACCARD) | held].tolist()
        return near


def _rows_by(texts: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        found.setdefault(text, []).append(row)
    return found


def _grams(example: Example, *, options: bool) -> Ints:
    """The trigrams of each part by itself, so that the order of options makes none."""
    return np.unique(np.concatenate([trigrams(words(part)) for part in parts_of(example, options=options)]))


def trigrams(text: Sequence[str]) -> Ints:
    """The distinct trigrams of words, as hashes that hold for this process; one or two words count as one."""
    found = zip(text, text[1:], text[2:], strict=False) if len(text) > 2 else [tuple(text)] if text else []
    return np.unique(np.fromiter(map(hash, found), np.int64))
