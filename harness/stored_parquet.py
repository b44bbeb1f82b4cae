"""Parquet files below a results folder: written with a checksum of every page, read back within bounds and as exactly
the columns that they must have.

It knows no column of any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import DamagedFileError
from harness.files import file_digest, opened

MOST_BYTES = 16 * 2**30
MOST_ROWS = 50_000_000
MOST_VALUES = 200_000_000  # of one column, those within lists counted one by one
MOST_UNPACKED = 8 * 2**30  # bytes of all columns before compression, as the file tells
MOST_TEXT_BYTES = 2**31 - 1  # of one column; what few bytes can repeat is counted as often as it is repeated


def write_table(table: pa.Table, path: Path) -> None:
    """Raises OSError."""
    with path.open("wb") as stream:  # Arrow takes no path that is not UTF-8
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)


def read_table(
    path: Path, schema: pa.Schema, *, digest: str | None = None, values_per_byte: int | None = None
) -> pa.Table:
    """The columns of ``schema``, in its types; texts may be stored as dictionaries or not.

    Args:
        digest: the hash that the file must have; of an earlier version's file none is known.
        values_per_byte: how many values of a column one byte of the file can stand for, where that is known.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is not as it was written.
    """
    with opened(path, MOST_BYTES) as stream:
        _check_digest(path, stream, digest)
        try:
            _check_size(path, stream, schema, values_per_byte)
            stream.seek(0)
            texts = [field.name for field in schema if _is_text(field.type)]
            table = _file(stream, texts).read(columns=schema.names, use_threads=False)
            table.validate(full=True)
            return _as(table, schema)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise DamagedFileError(path, f"cannot be read: {_first_line(error)}") from error


def read_whole(path: Path, digest: str | None) -> pa.Table:
    """Every column, as it is, of a file that this process wrote. Raises as ``read_table``."""
    with opened(path, MOST_BYTES) as stream:
        _check_digest(path, stream, digest)
        try:
            return _file(stream, ()).read(use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedFileError(path, f"cannot be read: {_first_line(error)}") from error


def _file(stream: BufferedReader, texts: Sequence[str]) -> pq.ParquetFile:
    """A file to read without threads: one that still holds the stream when Python ends aborts the process."""
    return pq.ParquetFile(stream, read_dictionary=list(texts), page_checksum_verification=True, pre_buffer=False)


def check_file(path: Path, digest: str | None) -> None:
    """See that a file is there and has its digest, as far as one is known. Raises as ``read_table``."""
    with opened(path, MOST_BYTES) as stream:
        _check_digest(path, stream, digest)


def _check_digest(path: Path, stream: BufferedReader, digest: str | None) -> None:
    try:
        if not stream.seek(0, 2):
            raise DamagedFileError(path, "is empty")
        if digest is not None and file_digest(stream) != digest:
            raise DamagedFileError(path, "has changed since it was written")
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error


def _check_size(path: Path, stream: BufferedReader, schema: pa.Schema, values_per_byte: int | None) -> None:
    size = stream.seek(0, 2)
    stream.seek(0)
    metadata = pq.read_metadata(stream)
    absent = set(schema.names) - set(metadata.schema.to_arrow_schema().names)
    if absent:
        raise DamagedFileError(path, f"has no column {min(absent)!r}")
    most = MOST_VALUES if values_per_byte is None else min(MOST_VALUES, size * values_per_byte)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    values = max(
        (sum(group.column(place).num_values for group in groups) for place in range(metadata.num_columns)), default=0
    )
    if metadata.num_rows > min(MOST_ROWS, most) or values > most:
        raise DamagedFileError(path, f"says that it holds {metadata.num_rows:,} rows and {values:,} values")
    if sum(group.total_byte_size for group in groups) > MOST_UNPACKED:
        raise DamagedFileError(path, f"says that it holds more than {MOST_UNPACKED:,} bytes")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        column = table[field.name]
        if _is_text(field.type):
            if not pa.types.is_dictionary(column.type) or not pa.types.is_string(column.type.value_type):
                raise pa.ArrowInvalid(f"the column {field.name!r} holds {column.type}, not text")
            if not pa.types.is_dictionary(field.type):
                total = sum(_text_bytes(chunk) for chunk in column.chunks)
                if total > MOST_TEXT_BYTES:
                    raise pa.ArrowInvalid(f"the column {field.name!r} holds {total:,} bytes of text")
            column = column.cast(field.type)
        if column.type != field.type:
            raise pa.ArrowInvalid(f"the column {field.name!r} holds {column.type}, not {field.type}")
        if not field.nullable and column.null_count:
            raise pa.ArrowInvalid(f"the column {field.name!r} lacks values")
        columns.append(column)
    return pa.table(columns, schema=schema)


def _text_bytes(chunk: pa.DictionaryArray) -> int:
    """How many bytes a dictionary's texts take when each stands in its row."""
    lengths = pc.binary_length(chunk.dictionary)
    return int(pc.sum(lengths.take(chunk.indices).cast(pa.int64())).as_py() or 0)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
