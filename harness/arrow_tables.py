"""Turns tables of Arrow, as Parquet files and the hub give them, into rows of plain values.

    text, whole numbers, true and false      as they are
    numbers that are not finite              null, as in every format
    bytes                                    the text that they are in UTF-8
    dates, times, decimals and the like      the text that Python writes of them
    what is none of this                     ``Unreadable``, an error once a task reads it

One value that Python cannot hold, such as a date in the year 60000, spoils neither its row nor its column.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from harness.records import Unreadable

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS = 50_000_000  # a few bytes can claim more
MAX_DEPTH = 100

_WRITTEN = (Decimal, datetime.date, datetime.time, datetime.timedelta, UUID)  # a datetime is a date


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table, whose columns have names of their own."""
    columns = [_plain_column(column) for column in table.columns]
    names = table.column_names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def label_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """What ``datasets`` noted in a schema of the names of label ids, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(map(str, kind["names"]))
            for name, kind in features.items()
            if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}  # a note that somebody else wrote


def twice(names: Sequence[str]) -> str | None:
    """A name that several columns have."""
    return next((name for name in names if list(names).count(name) > 1), None)


def plain(value: Any, depth: int = 0) -> Any:
    """A value as templates may use it."""
    kind = type(value)
    if value is None or kind is str or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if depth == MAX_DEPTH:
        return Unreadable(f"nested more than {MAX_DEPTH} deep")
    if kind is list or isinstance(value, tuple):
        if value and all(type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str for pair in value):
            value = dict(value) if len(dict(value)) == len(value) else value  # a map, whose keys are text
        if type(value) is not dict:
            return [plain(part, depth + 1) for part in value]
    if type(value) is dict:
        return {name: plain(part, depth + 1) for name, part in value.items()}
    if kind is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return Unreadable("bytes that are no UTF-8 text", hashlib.blake2b(value, digest_size=16).hexdigest())
    if isinstance(value, _WRITTEN):
        return str(value)
    if callable(as_python := getattr(value, "tolist", None)):  # of numpy
        return plain(as_python(), depth + 1)
    return Unreadable(f"of a kind that is not read ({kind.__name__})", str(value)[:100])


def _plain_column(column: pa.ChunkedArray) -> list[Any]:
    try:
        values = column.to_pylist()
    except Exception:  # whatever Python's dates, numbers and time zones raise
        return [_plain_scalar(scalar, str(column.type)) for scalar in column]
    return values if _always_plain(column.type) else [plain(value) for value in values]


def _plain_scalar(scalar: Any, kind: str) -> Any:
    try:
        return plain(scalar.as_py())
    except Exception:
        return Unreadable(f"a value of the type {kind} that Python cannot hold")


def _always_plain(kind: Any) -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_integer, types.is_boolean))
