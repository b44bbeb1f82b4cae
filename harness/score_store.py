"""Stores scores by key, so that nothing is ever scored twice.

``<results>/scores/<model fingerprint>-<dtype>/<time>-<uuid>.parquet`` holds one finished batch of work each: written
whole, never changed, so any number of processes may add to a store while others read the union. A key hashes the
tokens, the span, the model and the dtype; engine, device and versions are provenance, kept in columns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.columns import Scores
from harness.files import write_atomically
from harness.records import KEY_BYTES

STALE_SECONDS = 24 * 3600.0

_KEY = pa.binary(KEY_BYTES)
_SCHEMA = pa.schema([("key", _KEY), ("logprobs", pa.list_(pa.float32())), ("greedy", pa.list_(pa.bool_()))])


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

    def find(self, keys: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], Scores]:
        """Look keys up. Returns, for each of the n keys, its row in the scores found, or -1; shape [n].

        The first file by name wins where several hold a key. Files that cannot be read (not written by us, or on a
        failing disk) are listed in ``damaged`` and passed over.
        """
        wanted = _key_array(keys)
        tables = [table for path in self._files() if (table := self._read(path, wanted)) is not None]
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
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
        table = _table(scores, provenance)
        write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
        self._written.append(path)

    def compact(self) -> None:
        """Merge the files that this object wrote into one, which takes the first one's place in the order."""
        for path in self.folder.glob(".*.tmp"):  # of writers that were killed; a live one is done within seconds
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
        if len(self._written) < 2:
            return
        merged = pa.concat_tables(
            [pq.read_table(path, partitioning=None) for path in self._written], promote_options="default"
        )
        started = "-".join(self._written[0].stem.split("-")[:2])  # of an earlier merge, what it was named after
        path = self.folder / f"{started}-{uuid.uuid4().hex[:12]}.parquet"
        write_atomically(path, lambda temporary: pq.write_table(merged, temporary, compression="zstd"))
        for old in self._written:
            old.unlink(missing_ok=True)
        self._written = [path]

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith(".") and path.exists())

    def _read(self, path: Path, wanted: pa.Array) -> pa.Table | None:
        try:
            table = pq.read_table(path, columns=_SCHEMA.names, partitioning=None)
            if not table.schema.equals(_SCHEMA):
                raise pa.ArrowInvalid("other columns than scores have")
            return table.filter(pc.is_in(table["key"], value_set=wanted))
        except FileNotFoundError:
            # Another process has just compacted its files: the merged one was in place before this one went.
            return self._merged(path, wanted)
        except (pa.ArrowException, OSError, KeyError):
            self.damaged.append(path)
            return None

    def _merged(self, path: Path, wanted: pa.Array) -> pa.Table | None:
        tables = [self._read(other, wanted) for other in self._files() if other != path]
        found = [table for table in tables if table is not None]
        return pa.concat_tables(found) if found else None


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
