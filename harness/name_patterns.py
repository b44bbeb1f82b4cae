"""What a name or shell pattern that a user typed fits: a name that is just so is meant, whatever its characters.

A pattern has ``*``, ``?`` and ``[...]`` as in a shell; a file's name may have them, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def fitting(pattern: str, names: Iterable[str]) -> list[str]:
    """The name that equals the pattern, or else all that it fits, in their order."""
    known = list(dict.fromkeys(names))
    return [pattern] if pattern in known else [name for name in known if fnmatchcase(name, pattern)]
