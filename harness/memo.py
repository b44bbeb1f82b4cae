"""What was found out about files and is not found out again: a JSON file of the user's cache.

A memory that is lost, damaged or cannot be written costs the work of finding out again, and nothing else.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import platformdirs
from pydantic import BaseModel

from harness.errors import DamagedFileError, HarnessError
from harness.files import write_atomically
from harness.stored_json import read_document, sealed


class _Answers(BaseModel, strict=True):
    answers: dict[str, str]


class Memo:
    """Answers by key, kept under ``name`` once they are saved."""

    def __init__(self, name: str) -> None:
        self._path = Path(platformdirs.user_cache_dir("harness")) / f"{name}.json"
        self._changed = False
        self._known: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError, DamagedFileError):
            self._known = dict(read_document(self._path, _Answers).answers)

    def get(self, key: str) -> str | None:
        return self._known.get(key)

    def put(self, key: str, value: str) -> None:
        self._known[key] = value
        self._changed = True

    def save(self) -> None:
        if self._changed:
            text = sealed({"answers": self._known})
            with contextlib.suppress(HarnessError):
                write_atomically(self._path, lambda temporary: temporary.write_bytes(text))
