"""The one family of errors that users see, and the did-you-mean that goes with them.

An error here is a finished message: it names the file or option, the field and the valid choices, and the command line
prints it as it is. Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class HarnessError(Exception):
    """The work cannot be done, for a reason the user can act on."""

    exit_status = 1


class UsageError(HarnessError):
    """What was typed is wrong: an unknown task, option value or combination."""

    exit_status = 2


class InterruptedRunError(HarnessError):
    """The user stopped the run; what was computed is stored."""


class FileError(HarnessError):
    """A file the user (or this package) wrote is wrong.

    Attributes:
        path: the file.
        line: its 1-based line, where one is known.
        message: what is wrong, without the place.
    """

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        self.path = Path(path)
        self.line = line
        self.message = message
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {message}")


class TemplateError(FileError):
    """A template cannot be parsed, uses what is not in scope, or was stopped while rendering."""


class Problems:
    """Gathers the errors about one file, so that its author reads them all at once.

    ``with problems:`` keeps a FileError and goes on after it; ``end`` raises what was kept as one error.
    """

    def __init__(self) -> None:
        self._found: list[FileError] = []

    def add(self, error: FileError) -> None:
        self._found.append(error)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, FileError):
            self.add(error)
            return True
        return False

    def end(self) -> None:
        """Raises FileError with all of them; the first one's line is that of the whole, and its kind, too."""
        if not self._found:
            return
        first, *others = self._found
        told = [f"line {error.line}: {error.message}" if error.line is not None else error.message for error in others]
        if not others:
            raise first
        raise type(first)(first.path, "; and ".join([first.message, *told]), first.line) from first


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


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a word may have been meant for."""
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


class EscapeError(Exception):
    """Code that is not ours raised what is no ``Exception``: it asked Python to end, or a library in Rust panicked."""


@contextmanager
def contained() -> Iterator[None]:
    """Around code that is not ours: whatever it raises is an ``Exception``, but for Ctrl-C."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EscapeError(failure(error)) from error


def said(error: BaseException) -> str:
    """What an error of code that is not ours says of itself; nothing where even that fails."""
    try:
        return str(error)
    except Exception:
        return ""


def failure(error: BaseException) -> str:
    """What code that is not ours raised, on one line: its kind, and the first line of what it says."""
    if isinstance(error, HarnessError | EscapeError):
        return str(error)
    first = next((line for line in said(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}{': ' * bool(first)}{first.strip()[:300]}"


def suggest(word: str, choices: Iterable[str], *, what: str = "choices") -> str:
    """The tail of an "unknown ..." message: the nearest choice, then all of them (the first 12, when there are
    more)."""
    ordered = list(dict.fromkeys(choices))
    near = nearest(word, ordered)
    hint = f"; did you mean {near!r}?" if near is not None else ""
    if not ordered:
        return f"{hint} (there are no {what})"
    shown = ", ".join(ordered[:12]) + (f", ... ({len(ordered)} in all)" if len(ordered) > 12 else "")
    return f"{hint} ({what}: {shown})"
