"""Reads what a user wrote: regular files, unpacked where gzip or zstd packed them, as UTF-8, and never without end.

Whatever else a file turns out to be is said in one line. This module knows nothing of what the text means.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from harness.errors import FileError

MAX_BYTES = 1 << 32  # of a file, unpacked
MAX_LINE = 100_000_000  # characters
MAX_LINES = 50_000_000
_CHUNK = 1 << 20

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# How files that are no text begin, and what they are.
_BINARY = {
    b"\xff\xfe\x00\x00": "UTF-32 text, not UTF-8: save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32 text, not UTF-8: save it as UTF-8",
    b"\xff\xfe": "UTF-16 text, not UTF-8: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text, not UTF-8: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"PAR1": "a Parquet file: let its name end in .parquet",
    b"ARROW1": "an Arrow file: let its name end in .arrow",
    b"PK\x03\x04": "a zip archive, or a file of a spreadsheet: save it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "a file of an old spreadsheet: save it as CSV",
    b"BZh": "packed by bzip2: unpack it, or pack it with gzip or zstd",
    b"\xfd7zXZ": "packed by xz: unpack it, or pack it with gzip or zstd",
    b"SQLite format 3": "a database of SQLite: save its table as CSV",
    b"%PDF": "a PDF file",
}
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class UserFile:
    """A file to read, or bytes that came in another way, such as on standard input.

    Args:
        error: what is raised of it; a kind of FileError.
    """

    def __init__(self, path: Path | str, content: bytes | None = None, error: type[FileError] = FileError) -> None:
        self.path = path
        self._content = content
        self._error = error

    def wrong(self, message: str, line: int | None = None) -> FileError:
        """An error about the file, to be raised."""
        return self._error(self.path, message, line)

    def open(self) -> BinaryIO:
        """The bytes, unpacked; a reader of them meets a FileError beyond ``MAX_BYTES``, or where they are damaged."""
        raw, head = self._opened()
        unpacked: Any = raw
        if head.startswith(_GZIP):
            unpacked = gzip.GzipFile(fileobj=raw)
        elif head == _ZSTD:
            import pyarrow

            unpacked = pyarrow.CompressedInputStream(raw, "zstd")
        return cast(BinaryIO, io.BufferedReader(_Bounded(self, unpacked, raw), _CHUNK))

    def seekable(self) -> BinaryIO:
        """The bytes, unpacked, for a reader that jumps about in them."""
        raw, head = self._opened()
        if not head.startswith(_GZIP) and head != _ZSTD:
            return raw
        raw.close()
        with self.open() as unpacked:
            return io.BytesIO(unpacked.read())

    def lines(self, newline: str | None = None) -> Iterator[str]:
        """The lines with their ends; ``newline`` as ``open`` takes it."""
        with self.open() as raw:
            self._check_head(raw)
            stream = io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)
            number = 0
            while True:
                number += 1
                try:
                    line = stream.readline(MAX_LINE)
                except UnicodeDecodeError as error:
                    self._not_utf8(error)
                if not line:
                    return
                if number > MAX_LINES:
                    raise self.wrong(f"has more than {MAX_LINES:,} lines")
                if len(line) == MAX_LINE:
                    raise self.wrong(f"has a line of more than {MAX_LINE:,} characters", number)
                yield line

    def text(self, most: int = MAX_LINE) -> str:
        """All of it, of no more than ``most`` characters."""
        found, size = [], 0
        for line in self.lines():
            found.append(line)
            size += len(line)
            if size > most:
                raise self.wrong(f"is larger than {most:,} characters")
        return "".join(found)

    def head(self, size: int = 4096) -> bytes:
        """How it begins."""
        with self.open() as raw:
            return raw.read(size)

    def _opened(self) -> tuple[BinaryIO, bytes]:
        """The file at its beginning, and the four bytes there, which tell how it is packed."""
        raw = self._raw()
        head = raw.read(4)
        raw.seek(0)
        return raw, head

    def _raw(self) -> BinaryIO:
        if self._content is not None:
            return io.BytesIO(self._content)
        path = Path(self.path)
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116 - of what a link leads to
            if not stat.S_ISREG(mode):
                kind = _KINDS.get(stat.S_IFMT(mode), "of an odd kind")
                raise self.wrong(f"cannot be read: it is {kind}, and no regular file")
            return path.open("rb")
        except OSError as error:
            told = error.strerror or str(error)
            if isinstance(error, FileNotFoundError) and path.is_symlink():
                told = "it is a link to a file that is not there"
            raise self.wrong(f"cannot be read: {told}") from error
        except ValueError as error:  # a name with a NUL
            raise self.wrong(f"cannot be read: {error}") from error

    def _check_head(self, raw: BinaryIO) -> None:
        head = cast(io.BufferedReader, raw).peek(4096)[:4096]
        for begin, kind in _BINARY.items():
            if head.startswith(begin):
                raise self.wrong(f"is {kind}")
        if b"\0" in head:
            halves = head[::2].count(0), head[1::2].count(0)
            if max(halves) > 0.4 * len(head) / 2 and min(halves) < 0.1 * len(head) / 2:
                raise self.wrong("is UTF-16 text, not UTF-8: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
            raise self.wrong("is no text: it holds bytes of zero")

    def _not_utf8(self, error: UnicodeDecodeError) -> NoReturn:
        with self.open() as raw:
            for number, line in enumerate(raw, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError as found:
                    among_letters = re.search(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]", line)
                    told = "Latin-1 or Windows-1252" if among_letters else "GB18030, Shift JIS or Windows-1251"
                    raise self.wrong(
                        f"is not UTF-8: it has the byte 0x{line[found.start]:02x}, as {told} has; save it as UTF-8",
                        number,
                    ) from error
        raise self.wrong(f"is not UTF-8: {error.reason}") from error


class _Bounded(io.RawIOBase):
    """A stream of bytes that ends in an error where it is too long or cannot be read on."""

    def __init__(self, owner: UserFile, unpacked: Any, raw: BinaryIO) -> None:
        self._owner, self._unpacked, self._raw, self._left = owner, unpacked, raw, MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._unpacked.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise self._owner.wrong(f"cannot be read: {' '.join(str(error).split())}") from error
        self._left -= len(found)
        if self._left < 0:
            raise self._owner.wrong(f"is larger than {MAX_BYTES:,} bytes")
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self._unpacked.close()
        self._raw.close()
        super().close()
