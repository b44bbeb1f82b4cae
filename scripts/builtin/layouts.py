"""Prompt layouts: how items and their answers become text. It knows label words and wordings, not what items say.

A body holds the item's fields and ``{answer}``. A body that equals that of a shipped template is never used, so that
the model meets every shipped wording for the first time when it is evaluated.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.builtin.grammar import WORDS, Choices
from scripts.builtin.items import Fields

PROMPTS = Path(__file__).parents[2] / "prompts"
MAX_SETS = 0.3  # share of layouts whose cue brings its own label words
# For cues of any words at all: {w} is a random word, {W} one with a capital.
NOVEL_TEXTS = ("{text}", "{W}: {text}", "{W}: {text}", "{W} {w}: {text}", '"{text}"', "{W} {w} {w}: {text}")
NOVEL_CUES = (
    "\n{W}: {answer}", "\n{W}: {answer}", "\n{W} {w}: {answer}", " {w} {w} {answer}", " {w} {answer}",
    " {w} to {answer}", " {w} in {answer}", " {w} under {answer}", "\n{W} {w} {answer}", "\n{W}? {answer}",
    " ({w}) {answer}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to write a labelled document; ``words`` and ``first`` are in the order of ``tones``."""

    body: str
    tones: tuple[str, ...]
    words: tuple[str, ...]
    first: tuple[int, ...]
    separator: str
    description: str = ""

    def split(self, fields: Fields) -> tuple[str, str]:
        """What stands before the answer and what stands after it."""
        before, after = self.body.split("{answer}")
        return _fill(before, fields), _fill(after, fields)


@dataclass(frozen=True, slots=True)
class LabelSet:
    words: tuple[str, ...]
    first: tuple[int, ...]


class Layouts:
    """The layouts of one family."""

    def __init__(self, family: str) -> None:
        book = yaml.load((WORDS / "layouts.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
        own = book[family]
        self.tones = tuple(own["tones"])
        self._texts = Choices.parse(own["texts"], reserved=True)
        self._cues = Choices.parse(own["cues"], reserved=True)
        self._label_first = Choices.parse(own["label_first"], reserved=True)
        self._descriptions = Choices.parse(own["descriptions"], reserved=True)
        self._separators = Choices.parse(book["separators"], reserved=True)
        self._sets = [_label_set(entry) for entry in own["labels"] for _ in range(int(entry["weight"]))]
        self._asked = [(entry["cue"], _label_set(entry)) for entry in own["asked"]]
        self._shipped = shipped_bodies()

    def labels(self, rng: random.Random) -> LabelSet:
        """Label words that say what they mean."""
        return rng.choice(self._sets)

    def draw(self, rng: random.Random, labels: LabelSet | None = None, *, label_first: bool = False) -> Layout:
        """A layout with natural label words, or with ``labels``."""
        while True:
            cue, chosen = self._cues.draw(rng), rng.choice(self._sets)
            if rng.random() < MAX_SETS:
                cue, chosen = rng.choice(self._asked)
            body = self._label_first.draw(rng) if label_first else self._texts.draw(rng) + cue
            if body not in self._shipped:
                break
        used = labels or chosen
        return Layout(
            body,
            self.tones,
            used.words,
            used.first,
            self._separators.draw(rng),
            self._descriptions.draw(rng) if labels is None and rng.random() < 0.15 else "",
        )


class BareLayouts:
    """Layouts for items of a word or two, with label words that mean nothing."""

    def __init__(self) -> None:
        book = yaml.load((WORDS / "layouts.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
        shipped = shipped_bodies()
        self.pool = tuple(book["arbitrary"])
        self._bodies = Choices.parse(
            [line for line in book["bare"] if line.partition(" @")[0] not in shipped], reserved=True
        )

    def labels(self, count: int, rng: random.Random) -> LabelSet:
        """``count`` arbitrary words, and how the model is to lean towards them where it has nothing else to go by."""
        words = tuple(rng.sample(self.pool, count))
        return LabelSet(words, tuple(1 + 2 * (hashlib.blake2b(word.encode()).digest()[0] % 4) for word in words))

    def draw(self, tones: Sequence[str], rng: random.Random, labels: LabelSet | None = None) -> Layout:
        """A layout with arbitrary label words, or with ``labels``."""
        labels = labels or self.labels(len(tones), rng)
        return Layout(
            self._bodies.draw(rng), tuple(tones), labels.words, labels.first, rng.choice(["\n", "\n", "\n\n"])
        )


def novel(tones: Sequence[str], labels: LabelSet, known: Sequence[str], rng: random.Random) -> Layout:
    """A layout whose cue is made of random words: whatever stands before an answer, the examples say what it means."""
    pattern = rng.choice(NOVEL_TEXTS) + rng.choice(NOVEL_CUES)
    body = re.sub(r"\{w\}", lambda _: rng.choice(known), pattern)
    body = re.sub(r"\{W\}", lambda _: rng.choice(known).capitalize(), body)
    return Layout(body, tuple(tones), labels.words, labels.first, rng.choice(["\n\n", "\n\n", "\n"]))


def shipped_bodies() -> frozenset[str]:
    """The bodies of the shipped templates, with the slots named as here."""
    bodies = set()
    for path in PROMPTS.glob("*/*.jinja"):
        body = path.read_text(encoding="utf-8").split("---\n", 2)[2].strip()
        body = re.sub(r"\{\{ (\w+)[^}]*\}\}", r"{\1}", body).replace("{sentence}", "{text}")
        bodies.add(body)
    return frozenset(bodies)


def _label_set(entry: dict[str, list[str]]) -> LabelSet:
    return LabelSet(tuple(entry["words"]), tuple(int(share) for share in entry["first"]))


def _fill(part: str, fields: Fields) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: fields[slot.group(1)], part)
