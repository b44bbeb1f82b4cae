"""The text that examples are compared by, and its words. Scripts without spaces are told by their characters, so mixed
text needs no language to be named."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from harness.records import Example

# Kana, Han, and Thai, Lao, Burmese and Khmer.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_UNSPACED += "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_RUNS = re.compile(f"(?P<unspaced>[{_UNSPACED}]+)|[^\\W{_UNSPACED}]+")


def own_options(pool: Sequence[Example]) -> bool:
    """Whether each example brings its own answers, which then belong to its text."""
    return len({example.options for example in pool}) > 1


def text_of(example: Example, *, options: bool) -> str:
    """The fields of an example, a line each, and its options where they are asked for; never which one is right."""
    values = [*example.fields.values(), *(example.options if options else ())]
    return "\n".join("" if value is None else str(value) for value in values)


def words(text: str) -> list[str]:
    """The words of a text, without case and width; of scripts without spaces, the characters."""
    found: list[str] = []
    for match in _runs(text):
        found.extend(match[0] if match["unspaced"] else [match[0]])
    return found


def terms(text: str) -> list[str]:
    """What a search matches: words; of scripts without spaces, all characters and all pairs of neighbours."""
    found: list[str] = []
    for match in _runs(text):
        run = match[0]
        found.extend([*run, *map("".join, pairwise(run))] if match["unspaced"] else [run])
    return found


def _runs(text: str) -> list[re.Match[str]]:
    return list(_RUNS.finditer(unicodedata.normalize("NFKC", text).casefold()))
