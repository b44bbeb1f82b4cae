"""Expands the grammars and word lists of ``words/``; it knows nothing of labels, layouts or models.

A rule file maps a symbol to its alternatives, with an optional weight at the end: ``"the {aspect} is {adj} @3"``.

    {adj}      an alternative of ``adj/<tone>`` where the file has one, else of ``adj``
    {~adj}     the same, of another tone
    {P:1}      chosen once: every {P:1} of one text is equal, and {P:2} is another one

A share of the open word lists is reserved: only the samples use it, so that they hold content words that the model
never met in training.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

WORDS = Path(__file__).parent / "words"
SLOT = re.compile(r"\{(~?)(\w+)(?::(\d))?\}")
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")
SENTENCE = re.compile(r"(?:^|[.?!] | - |\|\| |\^)[a-z]")
OPEN_LIST = 16  # a list of that many plain words is an open class, of which some are reserved
RESERVED_SHARE = 12  # one in so many

Bound = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Choices:
    """The alternatives of one symbol."""

    texts: tuple[str, ...]
    cumulative: tuple[int, ...]

    @classmethod
    def parse(cls, lines: list[str], *, reserved: bool) -> Choices:
        """Read ``text @weight`` lines; without ``reserved``, leave out the reserved words."""
        if not reserved and len(lines) >= OPEN_LIST:
            lines = [line for line in lines if SLOT.search(line) or not is_reserved(line)]
        texts, cumulative, total = [], [], 0
        for line in lines:
            text, _, weight = line.partition(" @")
            total += int(weight or 1)
            texts.append(text)
            cumulative.append(total)
        return cls(tuple(texts), tuple(cumulative))

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.texts, cum_weights=self.cumulative)[0]


class Grammar:
    """Symbols and their alternatives, from one or more rule files."""

    def __init__(self, *names: str, reserved: bool = False, capitals: bool = False) -> None:
        lines: dict[str, list[str]] = {}
        for name in names:
            lines |= read_words(name)
        self._capitals = capitals
        self._choices = {symbol: Choices.parse(found, reserved=reserved) for symbol, found in lines.items()}

    def words(self, symbol: str) -> tuple[str, ...]:
        return self._choices[symbol].texts

    def expand(self, symbol: str, tone: str, rng: random.Random) -> str:
        """A text of ``symbol`` in ``tone``."""
        text = ARTICLE.sub(r"\1n ", self._expand(symbol, tone, rng, {}))
        return SENTENCE.sub(lambda start: start.group().upper(), text).replace("^", "") if self._capitals else text

    def _expand(self, symbol: str, tone: str, rng: random.Random, bound: Bound) -> str:
        choices = self._choices.get(f"{symbol}/{tone}") or self._choices[symbol]

        def fill(match: re.Match[str]) -> str:
            flipped, name, index = match.groups()
            inner = self._other(name, tone, rng) if flipped else tone
            if not index:
                return self._expand(name, inner, rng, bound)
            if (name, index) not in bound:
                taken = {text for (other, _), text in bound.items() if other == name}
                bound[name, index] = next(
                    text for _ in range(100) if (text := self._expand(name, inner, rng, bound)) not in taken
                )
            return bound[name, index]

        return SLOT.sub(fill, choices.draw(rng))

    def _other(self, name: str, tone: str, rng: random.Random) -> str:
        """A tone that is not ``tone``. A symbol without tones of its own (a clause) passes it on."""
        tones = [key.partition("/")[2] for key in self._choices if key.startswith(f"{name}/")] or ["+", "-"]
        return rng.choice([other for other in tones if other != tone])


def read_words(name: str) -> Mapping[str, list[str]]:
    """A file of ``words/``. Every scalar is a string, also ``no`` and ``15``."""
    text = (WORDS / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - the base loader builds strings only


def is_reserved(word: str) -> bool:
    """By hash, so that a list can grow without moving words between training and samples."""
    return hashlib.blake2b(word.encode(), digest_size=2).digest()[0] % RESERVED_SHARE == 0
