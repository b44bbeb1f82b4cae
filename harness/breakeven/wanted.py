"""What a user wants compared, and how the command line says it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import FileError, UsageError, suggest
from harness.label_worth import OVER, Over
from harness.learning_curves import MONOTONE, Monotone
from harness.text_files import UserFile


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare, and at what prices. Names narrow what is stored; None takes all.

    ``selection_labels`` are charged to every prompt; None charges each with what its run tells.
    """

    model: str | None = None
    method: str | None = None
    prompt: str | None = None
    shots: Sequence[int] = ()
    selection_labels: int | None = None
    development_labels: int = 0
    monotone: Monotone = "isotonic"
    curve: Over = "mean"
    price_per_million_tokens: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.monotone not in MONOTONE:
            raise UsageError(f"--monotone: unknown value {self.monotone!r}{suggest(self.monotone, MONOTONE)}")
        if self.curve not in OVER:
            raise UsageError(f"--curve: unknown value {self.curve!r}{suggest(self.curve, OVER)}")
        for name in ("price_per_million_tokens", "price_per_hour"):
            price = getattr(self, name)
            if price is not None and not (isinstance(price, int | float) and price >= 0):
                raise UsageError(f"--{name.replace('_', '-')}: must be a number of at least 0, not {price!r}")

    def charged(self, known: int = 0) -> int:
        """The labels that a prompt was chosen by, of which its run tells ``known``."""
        return known if self.selection_labels is None else self.selection_labels


def selection_labels(text: str | None) -> int | None:
    """A number of labels, or the file that ``harness select --json`` printed, which tells how many its choice used.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    try:
        return int(json.loads(UserFile(Path(text)).text())["labels"])
    except (FileError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"--selection-labels {text}: neither a number nor a file that 'harness select --json' printed"
        ) from error


def shot_numbers(texts: Sequence[str]) -> tuple[int, ...]:
    """Raises UsageError for what is no number of shots."""
    for text in texts:
        if not text.isdecimal():
            raise UsageError(f"--shots {text}: must be numbers of demonstrations, such as 0,4")
    return tuple(map(int, texts))
