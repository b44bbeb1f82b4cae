"""Items of the four tasks in a wanted tone: what is to be classified, before any layout.

The families and the tones (in label-id order) are those of ``words/layouts.yaml``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping

from scripts.builtin.grammar import Grammar

Fields = Mapping[str, str]  # {"text": ...} or {"premise": ..., "hypothesis": ...}
FILES = {"review": "reviews", "news": "news", "question": "questions", "pair": "entailment"}


class Items:
    """Draws items; never one whose text is held out."""

    def __init__(self, *, reserved: bool = False, held_out: Collection[str] = frozenset()) -> None:
        self._grammars = {
            family: Grammar(name, reserved=reserved, capitals=family in ("news", "pair"))
            for family, name in FILES.items()
        }
        self._held_out = held_out

    def draw(self, family: str, tone: str, rng: random.Random, symbol: str | None = None) -> Fields:
        """An item of ``family``, made from ``symbol`` of its grammar (the family's own by default)."""
        return self._fresh(lambda: self._grammars[family].expand(symbol or family, tone, rng))

    def _fresh(self, draw: Callable[[], str]) -> Fields:
        for _ in range(1000):
            premise, parted, hypothesis = draw().partition(" || ")
            if premise not in self._held_out:
                return {"premise": premise, "hypothesis": hypothesis} if parted else {"text": premise}
        raise RuntimeError("the grammar gives nothing but held-out texts")
