"""Reads rows from JSON Lines, CSV, TSV and Parquet files; a row remembers the file and line it came from."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError, suggest

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
_PART = re.compile(r"(?P<split>.+)-(?P<number>\d+)-of-(?P<total>\d+)(?:-[0-9a-f]+)?")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Row:
    """One source row; ``place`` is ``file:line``, or ``file row n`` where lines have no meaning."""

    values: dict[str, Any]
    place: str


def find_split(folder: Path, split: str) -> Sequence[Path]:
    """The file of a split, or the parts of one (``train-00000-of-00002.parquet``).

    Raises:
        DataError: there is none, several files claim to be the split, or a part of it is missing.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    matches = {path: _PART.fullmatch(path.stem) for path in files}
    whole = [path for path in files if path.stem == split]
    parts = {path: match for path, match in matches.items() if match is not None and match["split"] == split}
    numbers = [int(match["number"]) for match in parts.values()]
    totals = {int(match["total"]) for match in parts.values()}
    if len(whole) + len(totals) > 1 or len(set(numbers)) < len(numbers):
        names = ", ".join(path.name for path in [*whole, *parts])
        raise DataError(folder, f"holds several files for the split {split!r}: {names}")
    missing = {number for total in totals for number in range(total)} - set(numbers)
    if missing:
        raise DataError(folder, f"lacks part {min(missing)} (counted from 0) of {max(totals)} of the split {split!r}")
    if not whole and not parts:
        stems = sorted({match["split"] if match is not None else path.stem for path, match in matches.items()})
        raise DataError(
            folder, f"has no file {split}{{{','.join(SUFFIXES)}}}{suggest(split, stems, what='splits there')}"
        )
    return whole or list(parts)


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """All rows of the files, in order.

    Raises:
        DataError: a file cannot be read or a row is malformed; the message names its line.
    """
    rows: list[Row] = []
    for path in paths:
        try:
            rows += _READERS[path.suffix](path)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(path, f"cannot be read: {error}") from error
    if not rows:
        raise DataError(paths[0], "holds no row")
    return rows


def _read_jsonl(path: Path) -> list[Row]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                if _SURROGATE.search(line):
                    json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise DataError(path, "holds half of a surrogate pair, which is no character", number) from error
            except (ValueError, RecursionError) as error:
                raise DataError(path, f"not valid JSON: {error}", number) from error
            if not isinstance(value, dict):
                raise DataError(path, f"must be a JSON object, not {line.strip()[:40]!r}", number)
            rows.append(Row(value, f"{path}:{number}"))
    return rows


def _read_delimited(path: Path, delimiter: str, quoting: Literal[0, 3]) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return []
            if len(set(header)) != len(header):
                raise DataError(path, f"a column name appears twice: {', '.join(header)}", 1)
            rows = []
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(path, f"has {len(values)} values for {len(header)} columns", reader.line_num)
                rows.append(Row(dict(zip(header, values, strict=True)), f"{path}:{reader.line_num}"))
            return rows
        except csv.Error as error:
            raise DataError(path, f"not valid {path.suffix[1:].upper()}: {error}", reader.line_num) from error


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, partitioning=None)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, f"not valid Parquet: {error}") from error
    return [Row(values, f"{path} row {number}") for number, values in enumerate(table.to_pylist(), start=1)]


_READERS = {
    ".jsonl": _read_jsonl,
    ".csv": lambda path: _read_delimited(path, ",", csv.QUOTE_MINIMAL),
    ".tsv": lambda path: _read_delimited(path, "\t", csv.QUOTE_NONE),  # its fields hold bare quotes, as GLUE's do
    ".parquet": _read_parquet,
}
