"""What was found out about files and is not found out again: a JSON file of the user's cache.

A memory that is lost, damaged or cannot be written costs the work of finding out again, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import platformdirs

from harness.errors import HarnessError
from harness.files import write_atomically


class Memo:
    """Answers by key, kept under ``name`` once they are saved."""

    def __init__(self, name: str) -> None:
        self._path = Path(platformdirs.user_cache_dir("harness")) / f"{name}.json"
        self._changed = False
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            known = {}
        self._known: dict[str, str] = {}
        if isinstance(known, dict):
            self._known = {key: value for key, value in known.items() if isinstance(value, str)}

    def get(self, key: str) -> str | None:
        return self._known.get(key)

    def put(self, key: str, value: str) -> None:
        self._known[key] = value
        self._changed = True

    def save(self) -> None:
        if self._changed:
            text = json.dumps(self._known)
            with contextlib.suppress(HarnessError):
                write_atomically(self._path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
