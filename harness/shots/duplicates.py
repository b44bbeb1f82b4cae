"""Finds the examples of a pool that give an item away: the item itself, and texts that nearly equal its text.

Texts are compared as sets of trigrams of words (of characters, in scripts without spaces; see ``text``):

    Jaccard index   shared / all of both        as much text in common as not: a rewording, another question on the
                                                same passage
    containment     shared / the smaller set    one text holds the other, which must be long enough not to be a phrase
                                                that anyone may use
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.data import normalised
from harness.records import Example
from harness.shots.text import own_options, text_of, words

JACCARD = 0.5
CONTAINMENT = 0.8
CONTAINED_TRIGRAMS = 8  # the least that say something when they are contained
GUARD = f"jaccard {JACCARD}, containment {CONTAINMENT} of {CONTAINED_TRIGRAMS}"  # for the record

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
        self._ids = [example.item_id for example in pool]
        self._all = frozenset(self._ids)
        self._options = own_options(pool)
        self._same_text: dict[str, list[str]] = {}
        for example in pool:
            self._same_text.setdefault(normalised(example), []).append(example.item_id)
        found = [self._trigrams(example) for example in pool]
        self._sizes = np.array([len(one) for one in found], np.int64)
        keys = np.concatenate([np.zeros(0, np.int64), *found])
        rows = np.repeat(np.arange(len(pool)), self._sizes)
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]  # which rows of the pool hold each trigram
        self._found: dict[str, frozenset[str]] = {}

    def of(self, item: Example) -> frozenset[str]:
        """The ids of the examples of the pool that must not stand before ``item``."""
        known = self._found.get(item.item_id)
        if known is None:
            same = self._same_text.get(normalised(item), [])
            near = [self._ids[row] for row in self._near(item)]
            known = self._found[item.item_id] = frozenset([item.item_id, *same, *near]) & self._all
        return known

    def _near(self, item: Example) -> Ints:
        own = self._trigrams(item)
        begins, ends = np.searchsorted(self._keys, own), np.searchsorted(self._keys, own, side="right")
        holders = [self._rows[begin:end] for begin, end in zip(begins, ends, strict=True) if begin < end]
        if not holders:
            return np.zeros(0, np.int64)
        rows, shared = np.unique(np.concatenate(holders), return_counts=True)
        sizes, size = self._sizes[rows], np.full(len(rows), len(own))
        held = (containment(shared, sizes, size) >= CONTAINMENT) & (np.minimum(sizes, size) >= CONTAINED_TRIGRAMS)
        near: Ints = rows[(jaccard(shared, sizes, size) >= JACCARD) | held]
        return near

    def _trigrams(self, example: Example) -> Ints:
        return trigrams(words(text_of(example, options=self._options)))


def trigrams(text: Sequence[str]) -> Ints:
    """The distinct trigrams of words, as hashes that hold for this process; one or two words count as one."""
    found = zip(text, text[1:], text[2:], strict=False) if len(text) > 2 else [tuple(text)] if text else []
    return np.unique(np.fromiter(map(hash, found), np.int64))
