"""Writes files whole or not at all, so that a reader never sees half of one, whenever the writer is killed; and reads
them back as what they must be: regular files of bounded size.

It knows no format.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from harness.errors import DamagedFileError, HarnessError

DIGEST_BYTES = 16


def path_text(name: str) -> str:
    """A name of a file as text that can be stored: a byte of it that is no UTF-8 becomes a word such as ``\\udcff``."""
    return name.encode("utf-8", "backslashreplace").decode()


def write_atomically(
    path: Path, write: Callable[[Path], object], *, renamed: Callable[[Path], Path] | None = None
) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, flush it to the disk, then rename it into place.

    Args:
        renamed: gives the final path from what was written, in the same folder; by default it is ``path``.

    Returns:
        The final path.

    Raises:
        HarnessError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        final = renamed(temporary) if renamed else path
        temporary.replace(final)
        _sync_folder(path.parent)
    except OSError as error:
        raise HarnessError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # what is in the folder's place may be a file; the first error tells
            temporary.unlink()
    return final


@contextlib.contextmanager
def opened(path: Path, most: int) -> Iterator[BufferedReader]:
    """A stored file, open for reading; never a pipe or device, which could block for ever or never end.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no regular file, larger than ``most`` bytes, or cannot be opened.
    """
    try:
        # Opening a pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise DamagedFileError(path, "is not a regular file")
    with os.fdopen(handle, "rb") as stream:
        if status.st_size > most:
            raise DamagedFileError(path, f"has {status.st_size:,} bytes; at most {most:,} are read")
        yield stream


def read_bounded(path: Path, most: int) -> bytes:
    """All of a stored file. Raises as ``opened``."""
    with opened(path, most) as stream:
        try:
            data = stream.read(most + 1)
        except OSError as error:
            raise DamagedFileError(path, f"cannot be read: {error.strerror or error}") from error
    if len(data) > most:
        raise DamagedFileError(path, f"has more than the {most:,} bytes that are read")
    return data


def file_digest(stream: BufferedReader) -> str:
    """A hex hash of all that a file holds; reading goes on at its beginning."""
    stream.seek(0)
    found = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
    stream.seek(0)
    return found


def digest_of(path: Path) -> str:
    """``file_digest`` of a file that was just written. Raises OSError."""
    with path.open("rb") as stream:
        return file_digest(stream)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened for fsync, and the rename is durable enough
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
