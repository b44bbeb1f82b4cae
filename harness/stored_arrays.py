"""Arrays below a results folder: ``.npz`` files of plain numbers, read back within bounds and as what they must be.

A reader says of each array which numbers it holds and in which shape; whatever else is there is not read.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from harness.errors import DamagedFileError
from harness.files import opened, write_atomically

MOST_BYTES = 4 * 2**30
MOST_ARRAYS = 64
# Unpacked, a file may be so many times as large as it is (arrays of zeros are), and always as large as MOST_SMALL.
MOST_TIMES, MOST_SMALL = 100, 64 * 2**20

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays that hold plain numbers alone. Raises HarnessError."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    write_atomically(path, write)


def text_array(value: object) -> npt.NDArray[np.uint8]:
    """A JSON value as an array of bytes."""
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), np.uint8)


class StoredArrays:
    """The arrays of one file; every method raises DamagedFileError where an array is missing or another."""

    def __init__(self, path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.path = path
        self._arrays = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def floats(self, name: str, *shape: int | None) -> Floats:
        """Finite numbers; None in a shape is any length."""
        return self._finite(name, shape, "f").astype(np.float64, copy=False)

    def vectors(self, name: str, *shape: int | None) -> npt.NDArray[np.float32]:
        """Finite numbers in single precision."""
        found = self._finite(name, shape, "f")
        self.require(found.dtype == np.float32, f"{name} is not in single precision")
        return found

    def integers(self, name: str, *shape: int | None, low: int = -(2**63), high: int = 2**63 - 1) -> Ints:
        """Whole numbers from ``low`` to ``high``."""
        found = self._of(name, shape, "iu")
        self.require(
            not found.size or (low <= int(found.min()) and int(found.max()) <= high), f"{name} is out of range"
        )
        return found.astype(np.int64, copy=False)

    def bytes_(self, name: str, *shape: int | None) -> npt.NDArray[np.uint8]:
        found = self._of(name, shape, "u")
        self.require(found.dtype == np.uint8, f"{name} does not hold bytes")
        return found

    def text(self, name: str) -> Any:
        """The JSON value that ``text_array`` made an array of."""
        try:
            return json.loads(self.bytes_(name, None).tobytes().decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(self.path, f"{name} holds no text") from error

    def require(self, good: object, problem: str) -> None:
        if not good:
            raise DamagedFileError(self.path, problem)

    def _finite(self, name: str, shape: tuple[int | None, ...], kinds: str) -> npt.NDArray[Any]:
        found = self._of(name, shape, kinds)
        self.require(np.isfinite(found).all(), f"{name} holds what is no number")
        return found

    def _of(self, name: str, shape: tuple[int | None, ...], kinds: str) -> npt.NDArray[Any]:
        found = self._arrays.get(name)
        if found is None:
            raise DamagedFileError(self.path, f"has no array {name!r}")
        fits = len(found.shape) == len(shape) and all(
            wanted in (None, length) for wanted, length in zip(shape, found.shape, strict=True)
        )
        self.require(
            found.dtype.kind in kinds and fits, f"{name} is an array of another kind: {found.dtype} {found.shape}"
        )
        return found


def read_arrays(path: Path) -> StoredArrays:
    """All arrays of a file, each with the checksum that the file has of it.

    Raises:
        DamagedFileError: the file is missing, altered, too large when unpacked, or holds objects.
    """
    try:
        with opened(path, MOST_BYTES) as stream, ZipFile(stream) as archive:
            members = archive.infolist()
            size = stream.seek(0, 2)
            unpacked = sum(member.file_size for member in members)
            if len(members) > MOST_ARRAYS or unpacked > min(MOST_BYTES, max(MOST_SMALL, MOST_TIMES * size)):
                raise DamagedFileError(path, f"says that it holds {len(members):,} arrays of {unpacked:,} bytes")
            found = {}
            for member in members:
                if member.flag_bits & 1 or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                    raise DamagedFileError(path, f"{member.filename}: is packed as this program never does")
                # All of it is read, so that its checksum is looked at.
                found[member.filename.removesuffix(".npy")] = _array(archive.read(member))
    except FileNotFoundError as error:
        raise DamagedFileError(path, "is missing") from error
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, SyntaxError, RecursionError) as error:
        raise DamagedFileError(path, f"cannot be read: {error}") from error
    except (EOFError, BadZipFile, zlib.error, NotImplementedError, RuntimeError, MemoryError) as error:
        raise DamagedFileError(path, f"cannot be read: {error}") from error
    return StoredArrays(path, found)


def _array(data: bytes) -> npt.NDArray[Any]:
    """An array in numpy's format, whose header must tell exactly the bytes that follow."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, by_columns, dtype = read(stream)
    if dtype.kind not in "fiu" or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"an array of {dtype}")
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"an array of shape {shape} in {len(data):,} bytes")
    flat = np.frombuffer(data, dtype, count, stream.tell()) if count else np.zeros(0, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
