"""The one family of errors that users see, and the did-you-mean that goes with them.

An error here is a finished message: it names the file or option, the field and the valid choices, and the command line
prints it as it is. Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class HarnessError(Exception):
    """The work cannot be done, for a reason the user can act on."""

    exit_status = 1


class UsageError(HarnessError):
    """What was typed is wrong: an unknown task, option value or combination."""

    exit_status = 2


class FileError(HarnessError):
    """A file the user (or this package) wrote is wrong.

    Attributes:
        path: the file.
        message: what is wrong, without the place.
        line: its 1-based line, where one is known.
    """

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        self.path = Path(path)
        self.message = message
        self.line = line
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {message}")


class TemplateError(FileError):
    """A template cannot be parsed, uses what is not in scope, or was stopped while rendering."""


class DataError(FileError):
    """A data file is missing or malformed, or a row does not fit its task."""


class DamagedFileError(FileError):
    """A file below the results folder is not as it was written: cut off, altered, or of another program."""


class HubUnavailableError(DataError):
    """The hub cannot be reached, and what is wanted is not in the local cache. ``reason`` says why it cannot."""

    def __init__(self, place: str, reason: str, message: str) -> None:
        super().__init__(place, f"{reason}, and {message}")
        self.reason = reason


class ModelError(HarnessError):
    """A model or tokenizer cannot be loaded or cannot be scored."""


def suggest(word: str, choices: Iterable[str], *, what: str = "choices") -> str:
    """The tail of an "unknown ..." message: the nearest choice, then all of them (the first 12, when there are
    more)."""
    ordered = list(dict.fromkeys(choices))
    folded = {choice.casefold(): choice for choice in ordered}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    if not ordered:
        return f"{hint} (there are no {what})"
    shown = ", ".join(ordered[:12]) + (f", ... ({len(ordered)} in all)" if len(ordered) > 12 else "")
    return f"{hint} ({what}: {shown})"
