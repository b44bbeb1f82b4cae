"""Reads rows from JSON Lines, JSON, CSV, TSV, Parquet and Arrow files; a row remembers the file and line it came from.

Text may be packed by gzip or zstd. A null is a null in every format, and so is a number that is not finite; CSV and TSV
have none: an empty cell is the empty text.
"""

from __future__ import annotations

import csv
import json
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from harness.arrow_tables import MAX_ROWS, label_names, plain, plain_rows, twice
from harness.errors import DataError
from harness.records import Unreadable
from harness.text_files import MAX_BYTES, MAX_LINE, UserFile

FORMATS = ("jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow")
PACKED = (".gz", ".zst")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_MANY_DIGITS = 4_300  # beyond which Python makes no number of them

csv.field_size_limit(MAX_LINE)  # Python's own is 131,072 characters


@dataclass(frozen=True, slots=True)
class Row:
    """One source row; ``place`` is ``file:line``, or ``file row n`` where lines have no meaning.

    ``names`` are the names of label ids, by column, where the data itself says them.
    """

    values: dict[str, Any]
    place: str
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Its line, or its number in the file."""
        return int(re.split(r"\D", self.place)[-1])


def format_of(name: str) -> str | None:
    """The format that a file's name ends in, if it is one of ``FORMATS``; packed or not."""
    suffix = stem_and_suffix(name)[1]
    return suffix if suffix in FORMATS else None


def stem_and_suffix(name: str) -> tuple[str, str]:
    """A file's name without the endings that tell its format and how it is packed; and the one that tells the format,
    without its dot."""
    for ending in PACKED:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    stem, _, suffix = name.rpartition(".")
    return (stem, suffix.lower()) if stem else (name, "")


def read_rows(paths: Sequence[Path]) -> list[Row]:
    """All rows of the files, in order.

    Raises:
        DataError: a file cannot be read or a row is malformed; the message names its line.
    """
    rows: list[Row] = []
    for path in paths:
        found = format_of(path.name)
        if found is None:
            raise DataError(path, f"is of no format that is read ({', '.join(FORMATS)})")
        rows += rows_of(UserFile(path, error=DataError), found)
    if not rows:
        raise DataError(paths[0], "holds no row")
    return rows


def rows_of(file: UserFile, format: str) -> list[Row]:
    """The rows of one file, which may be none.

    Raises:
        DataError: it cannot be read or a row is malformed.
    """
    if format == "csv":
        return _delimited(file, "CSV", ",", csv.QUOTE_MINIMAL)
    if format == "tsv":
        return _delimited(file, "TSV", "\t", csv.QUOTE_NONE)  # its fields hold bare quotes, as GLUE's do
    if format == "parquet":
        return _parquet(file)
    if format == "arrow":
        return _arrow(file)
    return _json(file)


# JSON: one object on each line, or one list of objects, whatever the file is called


def _json(file: UserFile) -> list[Row]:
    lines = file.lines()
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if not _blank(line))
    first = next(numbered, None)
    if first is None:
        return []
    if first[1].lstrip().startswith("["):
        return _json_list(file)
    rows = []
    for number, line in chain([first], numbered):
        try:
            value = _decoded(line)
        except _MalformedError as error:
            if number == first[0] and (rows_in := _rows_inside(file)):
                raise file.wrong(f"is one JSON object; its rows are in {rows_in!r}: store that list alone") from error
            raise file.wrong(str(error), number) from error
        if not isinstance(value, dict):
            raise file.wrong(f"must be a JSON object, not {line.strip()[:40]!r}", number)
        rows.append(Row(value, f"{file.path}:{number}"))
    return rows


def _json_list(file: UserFile) -> list[Row]:
    try:
        found = _decoded(file.text())
    except _MalformedError as error:
        raise file.wrong(str(error), error.line) from error
    assert isinstance(found, list)
    for number, value in enumerate(found, start=1):
        if not isinstance(value, dict):
            raise file.wrong(f"must be a list of JSON objects, and its item {number} is {str(value)[:40]!r}")
    return [Row(value, f"{file.path} row {number}") for number, value in enumerate(found, start=1)]


def _rows_inside(file: UserFile) -> str | None:
    """Under which key of the one object that a file is there is a list of objects."""
    try:
        value = _decoded(file.text())
    except _MalformedError:
        return None
    lists = [name for name, part in value.items() if isinstance(part, list) and part and isinstance(part[0], dict)]
    return next(iter(lists), None)


class _MalformedError(Exception):
    """A text is not the JSON that it should be; ``line`` is where."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class _AppearsTwiceError(ValueError):
    """A key appears twice in a JSON object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _AppearsTwiceError(f"the key {twice([name for name, _ in pairs])!r} appears twice")
    return found


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < _MANY_DIGITS else digits


_JSON = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_whole,
    parse_float=lambda text: plain(float(text)),
    parse_constant=lambda _: None,  # NaN and the infinities
)


def _decoded(text: str) -> Any:
    try:
        value = _JSON.decode(text.strip(string.whitespace))
    except _AppearsTwiceError as error:
        raise _MalformedError(f"not valid JSON: {error}", 1) from error
    except json.JSONDecodeError as error:
        raise _MalformedError(f"not valid JSON: {error.msg} (column {error.colno})", error.lineno) from error
    except RecursionError as error:
        raise _MalformedError("not valid JSON: nested too deeply", 1) from error
    if text.count("[") + text.count("{") > 100:
        value = [plain(part) for part in value] if isinstance(value, list) else plain(value)
    if _SURROGATE.search(text) and half_characters(value):
        raise _MalformedError("holds half of a surrogate pair, which is no character", None)
    return value


def half_characters(value: object) -> bool:
    """Whether plain data holds half of a surrogate pair, which no text in UTF-8 can."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return True
    return False


# CSV and TSV


def _delimited(file: UserFile, name: str, delimiter: str, quoting: Literal[0, 3]) -> list[Row]:
    reader = csv.reader(file.lines(newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        header = next((values for values in reader if values), None)
        if header is None:
            return []
        check_header(file, header, name, delimiter, reader.line_num)
        rows, last = [], reader.line_num
        for values in reader:
            line, last = last + 1, reader.line_num  # where a row begins, and where it ends
            if not values:
                continue
            if len(values) != len(header):
                raise file.wrong(f"has {len(values)} values for {len(header)} columns", line)
            rows.append(Row(dict(zip(header, values, strict=True)), f"{file.path}:{line}"))
        return rows
    except csv.Error as error:
        raise file.wrong(f"not valid {name}: {error}", reader.line_num) from error


def check_header(file: UserFile, header: Sequence[str], name: str, delimiter: str, line: int) -> None:
    """Raises DataError, or what errors the file makes, where its columns are not what they seem."""
    other = next((mark for mark in _DELIMITERS if mark != delimiter and mark in header[0]), None)
    if len(header) == 1 and other is not None:
        raise file.wrong(
            f"its columns are separated by {_DELIMITERS[other]}, where {name} has {_DELIMITERS[delimiter]}", line
        )
    if twice(header) is not None:
        raise file.wrong(f"a column name appears twice: {', '.join(header)}", line)


def _blank(line: str) -> bool:
    return not line.strip()


# Parquet and Arrow, without threads: one that still holds a stream of Python's when Python ends aborts the process.


def _parquet(file: UserFile) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    with file.seekable() as stream:
        try:
            opened = pyarrow.parquet.ParquetFile(stream, pre_buffer=False)
            about = opened.metadata
            size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            if about.num_rows > MAX_ROWS or size > MAX_BYTES:
                raise file.wrong(f"claims {about.num_rows:,} rows of {size:,} bytes, which is more than is read")
            schema = opened.schema_arrow
            _check_columns(file, schema.names)
            table, damaged = _columns(opened)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise file.wrong(f"not valid Parquet: {' '.join(str(error).split())}") from error
    rows = plain_rows(table)
    for row in rows:
        row.update(damaged)
    return _numbered(file, rows, label_names(schema))


def _columns(opened: Any) -> tuple[Any, dict[str, Unreadable]]:
    """The table of a Parquet file, but for columns that are damaged: the task may not need them."""
    import pyarrow

    try:
        return opened.read(use_threads=False), {}
    except (pyarrow.ArrowException, OSError, ValueError):
        whole, damaged = {}, {}
        for name in opened.schema_arrow.names:
            try:
                whole[name] = opened.read(columns=[name], use_threads=False).column(name)
            except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
                damaged[name] = Unreadable(f"damaged ({' '.join(str(error).split())})")
        if not whole:
            raise
        return pyarrow.table(whole), damaged


def _arrow(file: UserFile) -> list[Row]:
    import pyarrow
    import pyarrow.ipc

    with file.seekable() as stream:
        try:
            whole = stream.read(6) == b"ARROW1"
            stream.seek(0)
            options = pyarrow.ipc.IpcReadOptions(use_threads=False)
            open_as = pyarrow.ipc.open_file if whole else pyarrow.ipc.open_stream
            reader = open_as(stream, options=options)
            table = reader.read_all()
            table.validate(full=True)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise file.wrong(f"not valid Arrow: {' '.join(str(error).split())}") from error
    _check_columns(file, table.column_names)
    return _numbered(file, plain_rows(table), label_names(table.schema))


def _check_columns(file: UserFile, names: Sequence[str]) -> None:
    if (name := twice(names)) is not None:
        raise file.wrong(f"the column {name!r} appears twice")


def _numbered(file: UserFile, rows: Sequence[dict[str, Any]], names: Mapping[str, tuple[str, ...]]) -> list[Row]:
    return [Row(values, f"{file.path} row {number}", names) for number, values in enumerate(rows, start=1)]
