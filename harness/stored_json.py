"""JSON documents below a results folder: written with a digest of their content, read back within bounds.

A document is a JSON object. Its key ``digest`` hashes all the others, so that a byte that changed on the disk is
noticed; a document without that key is from an earlier version, or was edited by hand, and counts as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import DamagedFileError
from harness.files import read_bounded
from harness.records import digest
from harness.strict_yaml import describe

MOST_BYTES = 128 * 2**20
DEEPEST = 16  # objects and lists within each other
LARGEST = 2**63 - 1

_SURROGATE = re.compile("[\ud800-\udfff]")

Document = TypeVar("Document", bound=BaseModel)


def sealed(document: Mapping[str, Any]) -> bytes:
    """The document as JSON text with its digest; numbers that JSON has not become null, and what is no UTF-8 of a path
    becomes words for it, such as ``\\udcff``."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):x}", text)
    content = json.loads(text, parse_constant=lambda name: None)
    whole = json.dumps({**content, "digest": digest(content)}, ensure_ascii=False, indent=1) + "\n"
    return whole.encode()


def read_document(path: Path, schema: type[Document]) -> Document:
    """A document that fits its schema.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is not as it was written; of its faults, the first is named.
    """
    value = _parsed(path, read_bounded(path, MOST_BYTES))
    known = value.pop("digest", None)
    if known is not None and known != digest(value):
        raise DamagedFileError(
            path, "has changed since it was written; where that was meant, take its key 'digest' out"
        )
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise DamagedFileError(path, describe(schema, error.errors(include_url=False)[0])) from error


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON's")

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DamagedFileError(path, f"is not valid JSON: {reason}" if data else "is empty") from error
    if not isinstance(value, dict):
        raise DamagedFileError(path, "is not a JSON object")
    _bounded(path, value)
    return value


def _bounded(path: Path, value: Any) -> None:
    """Raise where a value is nested too deeply or a number is beyond what a computer's word holds."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise DamagedFileError(path, f"is nested more than {DEEPEST} levels deep")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, int | float) and not -LARGEST <= one <= LARGEST:
                raise DamagedFileError(path, "holds a number beyond 2^63")
        level = inner
