"""Stores scores by key, so that nothing is ever scored twice.

``<results>/scores/<model fingerprint>-<dtype>/<time>-<uuid>-<digest>.parquet`` holds one finished batch of work each:
written whole, never changed, so any number of processes may add to a store while others read the union. The digest is
that of the file, so that one which changed on the disk is known; an earlier version gave none. A key hashes the tokens,
the span, the model and the dtype; engine, device and versions are provenance, kept in columns.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.columns import Scores
from harness.errors import DamagedFileError
from harness.files import DIGEST_BYTES, digest_of, write_atomically
from harness.records import KEY_BYTES
from harness.stored_parquet import read_table, read_whole, write_table

STALE_SECONDS = 24 * 3600.0
HIGHEST = 1e-2  # of a log-probability, in nats; rounding may put a certain token above 0
VALUES_PER_BYTE = (
    32  # of a file; keys are 16 bytes that nothing compresses, and a token's number is hardly less than one
)

_KEY = pa.binary(KEY_BYTES)
_SCHEMA = pa.schema(
    [
        pa.field("key", _KEY, nullable=False),
        pa.field("logprobs", pa.list_(pa.float32()), nullable=False),
        pa.field("greedy", pa.list_(pa.bool_()), nullable=False),
    ]
)


class ScoreStore:
    """The scores of one model in one dtype."""

    def __init__(self, results: Path, fingerprint: str, dtype: str) -> None:
        self.folder = results / "scores" / f"{fingerprint}-{dtype}"
        self.damaged: list[Path] = []
        self._written: list[Path] = []

    @property
    def empty(self) -> bool:
        """Whether nothing was ever stored."""
        return not self._files()

    def find(
        self, keys: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64] | None = None
    ) -> tuple[npt.NDArray[np.int64], Scores]:
        """Look keys up. Returns, for each of the n keys, its row in the scores found, or -1; shape [n].

        The first file by name wins where several hold a key. Files that cannot be read (not written by us, or on a
        failing disk) are listed in ``damaged`` and passed over.

        Args:
            lengths: how many tokens each key's span has; a file with another number for one of them is damaged.
        """
        wanted = _key_array(keys)
        tables = [table for path in self._files() if (table := self._read(path, wanted, lengths)) is not None]
        if not tables:
            return np.full(len(keys), -1, np.int64), Scores.concatenate([])
        table = pa.concat_tables(tables).combine_chunks()
        stored = table["key"].combine_chunks()
        rows = pc.fill_null(pc.index_in(wanted, value_set=stored), -1).to_numpy(zero_copy_only=False)
        return rows.astype(np.int64), _scores(table)

    def add(self, scores: Scores, provenance: Mapping[str, str]) -> None:
        """Commit scores to the disk; when this returns, they survive a crash.

        Raises:
            HarnessError: the disk is full or cannot be written.
        """
        table = _table(scores, provenance)
        self._written.append(self._write(table, f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"))

    def compact(self) -> None:
        """Merge the files that this object wrote into one, which takes the first one's place in the order."""
        for path in self.folder.glob(".*.tmp"):  # of writers that were killed; a live one is done within seconds
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
        if len(self._written) < 2:
            return
        try:
            tables = [read_whole(path, _digest_in(path)) for path in self._written]
        except (DamagedFileError, FileNotFoundError):
            return  # by another's hand or on a failing disk; whoever looks scores up will say so
        merged = pa.concat_tables(tables, promote_options="default")
        path = self._write(merged, "-".join(self._written[0].stem.split("-")[:2]))
        for old in self._written:
            if old != path:
                old.unlink(missing_ok=True)
        self._written = [path]

    def _write(self, table: pa.Table, name: str) -> Path:
        """Write a file whose name ends with its digest."""

        def renamed(temporary: Path) -> Path:
            return self.folder / f"{name}-{digest_of(temporary)}.parquet"

        return write_atomically(
            self.folder / f"{name}.parquet", lambda temporary: write_table(table, temporary), renamed=renamed
        )

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith(".") and path.exists())

    def _read(self, path: Path, wanted: pa.Array, lengths: npt.NDArray[np.int64] | None) -> pa.Table | None:
        """The rows of a file that are wanted; None where it is damaged."""
        try:
            table = read_table(path, _SCHEMA, digest=_digest_in(path), values_per_byte=VALUES_PER_BYTE)
            table = table.filter(pc.is_in(table["key"], value_set=wanted))
            _check(path, table, wanted, lengths)
            return table
        except FileNotFoundError:
            # Another process has just compacted its files: the merged one was in place before this one went.
            return self._merged(path, wanted, lengths)
        except DamagedFileError:
            self.damaged.append(path)
            return None

    def _merged(self, path: Path, wanted: pa.Array, lengths: npt.NDArray[np.int64] | None) -> pa.Table | None:
        tables = [self._read(other, wanted, lengths) for other in self._files() if other != path]
        found = [table for table in tables if table is not None]
        return pa.concat_tables(found) if found else None


def _digest_in(path: Path) -> str | None:
    """The digest in a file's name; None where it has none."""
    found = re.search(rf"-([0-9a-f]{{{2 * DIGEST_BYTES}}})\.parquet$", path.name)
    return found[1] if found else None


def _check(path: Path, table: pa.Table, wanted: pa.Array, lengths: npt.NDArray[np.int64] | None) -> None:
    """See that rows, all of whose keys are wanted, are scores. Raises DamagedFileError."""
    logprobs, greedy = (table[name].combine_chunks() for name in ("logprobs", "greedy"))
    counts = pc.list_value_length(logprobs).to_numpy(zero_copy_only=False)
    others = pc.list_value_length(greedy).to_numpy(zero_copy_only=False)
    values = logprobs.flatten()
    numbers = values.to_numpy(zero_copy_only=False)
    if (counts != others).any() or not (counts > 0).all():
        raise DamagedFileError(path, "has a span with no token, or other numbers of flags than of log-probabilities")
    if values.null_count or greedy.flatten().null_count or not (numbers <= HIGHEST).all():
        raise DamagedFileError(path, "has a log-probability that is none")
    if lengths is not None:
        places = pc.index_in(table["key"].combine_chunks(), value_set=wanted).to_numpy(zero_copy_only=False)
        if (lengths[places.astype(np.int64)] != counts).any():
            raise DamagedFileError(path, "has a span with another number of tokens than was scored")


def _key_array(keys: npt.NDArray[np.uint8]) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(
        _KEY, len(keys), [None, pa.py_buffer(np.ascontiguousarray(keys).tobytes())]
    )


def _table(scores: Scores, provenance: Mapping[str, str]) -> pa.Table:
    offsets = pa.array(scores.offsets.astype(np.int32))
    columns = {
        "key": _key_array(scores.keys),
        "logprobs": pa.ListArray.from_arrays(offsets, pa.array(scores.logprobs)),
        "greedy": pa.ListArray.from_arrays(offsets, pa.array(scores.greedy)),
    }
    for name, value in provenance.items():
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(scores), np.int8)), pa.array([value]))
    return pa.table(columns)


def _scores(table: pa.Table) -> Scores:
    count = table.num_rows
    logprobs = table["logprobs"].combine_chunks()
    lengths = pc.list_value_length(logprobs).to_numpy(zero_copy_only=False)
    keys = np.frombuffer(b"".join(table["key"].to_pylist()), np.uint8).reshape(count, KEY_BYTES)
    return Scores(
        keys=keys,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        logprobs=pc.list_flatten(logprobs).to_numpy(zero_copy_only=False).astype(np.float32),
        greedy=pc.list_flatten(table["greedy"]).to_numpy(zero_copy_only=False).astype(np.bool_),
    )
