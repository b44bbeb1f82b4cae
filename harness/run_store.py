"""Stores runs: one folder each, with a manifest, the candidates that were scored and the predictions that followed.

``<results>/runs/<utc>-<id>/{manifest.json, candidates.parquet, predictions.parquet}``. The manifest is written when a
run starts and again when it ends, so that an interrupted run is seen as such. Everything that tables need is here; no
model.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.encode import EncodedCell
from harness.errors import HarnessError
from harness.files import write_atomically
from harness.records import KEY_BYTES, Example, Prediction

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of everything that changes a prediction; ``id`` is the hash of ``signature``."""

    id: str
    signature: Mapping[str, Any]


@dataclass(slots=True)
class Manifest:
    """What a run was asked, what it ran on, and what it cost. ``status``: running, done, interrupted or failed."""

    id: str
    created: str
    status: str
    command: Sequence[str]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    model: Mapping[str, Any]
    tasks: Mapping[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    tokens_computed: int = 0
    peak_memory_bytes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    close_items: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RunFolder:
    """The folder of one run, being written."""

    def __init__(self, results: Path) -> None:
        now = datetime.now(UTC)
        self.id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.created = now.isoformat(timespec="microseconds")  # of two runs in one second, one is the later
        self.path = results / "runs" / self.id

    def write_manifest(self, manifest: Manifest) -> None:
        """Raises HarnessError when the folder cannot be written."""
        text = json.dumps(manifest.as_dict(), ensure_ascii=False, indent=1, default=str)
        write_atomically(self.path / "manifest.json", lambda path: path.write_text(text + "\n", encoding="utf-8"))

    def write_candidates(self, parts: Sequence[tuple[Cell, Sequence[Example], EncodedCell]]) -> None:
        tables = [_candidate_table(*part) for part in parts]
        table = pa.concat_tables(tables)
        write_atomically(self.path / "candidates.parquet", lambda path: pq.write_table(table, path, compression="zstd"))

    def write_predictions(self, parts: Sequence[tuple[Cell, Sequence[Example], Sequence[Prediction]]]) -> None:
        table = pa.concat_tables([_prediction_table(*part) for part in parts])
        write_atomically(
            self.path / "predictions.parquet", lambda path: pq.write_table(table, path, compression="zstd")
        )


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as read back."""

    path: Path
    manifest: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.manifest["status"] == "done" and (self.path / "predictions.parquet").is_file()

    def predictions(self) -> pa.Table:
        """Raises HarnessError when the file is damaged."""
        path = self.path / "predictions.parquet"
        try:
            return pq.read_table(path, partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise HarnessError(f"{path}: cannot be read: {error}") from error


def stored_run(folder: Path) -> StoredRun:
    """One run by its folder."""
    return StoredRun(folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def stored_runs(results: Path) -> tuple[list[StoredRun], list[Path]]:
    """All runs below a results folder, oldest first, and the folders whose manifest cannot be read."""
    runs: list[StoredRun] = []
    damaged: list[Path] = []
    for path in sorted((results / "runs").glob("*/manifest.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
                raise ValueError("not a manifest of this schema")
            runs.append(StoredRun(path.parent, manifest))
        except (OSError, ValueError):
            damaged.append(path.parent)
    runs.sort(key=lambda run: str(run.manifest.get("created")))
    return runs, damaged


def _dictionary(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _candidate_table(cell: Cell, items: Sequence[Example], encoded: EncodedCell) -> pa.Table:
    candidates = encoded.candidates
    count = len(candidates.item)
    keys = pa.py_buffer(np.ascontiguousarray(encoded.keys).tobytes())
    return pa.table(
        {
            "cell": _dictionary([cell.id] * count),
            "item_id": pa.array([items[index].item_id for index in candidates.item], pa.string()),
            "unit": pa.array(np.zeros(count, np.int32)),
            "label": pa.array(candidates.label),
            "word": pa.array(candidates.word, pa.string()),
            "role": _dictionary(["answer"] * count),
            "key": pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY_BYTES), count, [None, keys]),
            "n_tokens": pa.array(candidates.n_tokens),
            "n_chars": pa.array(candidates.n_chars),
            "n_bytes": pa.array(candidates.n_bytes),
        }
    )


def _prediction_table(cell: Cell, items: Sequence[Example], predictions: Sequence[Prediction]) -> pa.Table:
    return pa.table(
        {
            "cell": _dictionary([cell.id] * len(predictions)),
            "item_id": pa.array([p.item_id for p in predictions], pa.string()),
            "unit": pa.array([p.unit for p in predictions], pa.int32()),
            "cluster": _dictionary([p.cluster for p in predictions]),
            "gold": _dictionary([json.dumps(p.gold) for p in predictions]),
            "prediction": _dictionary([json.dumps(p.prediction) for p in predictions]),
            "text": pa.array(
                [
                    None if p.prediction is None else item.options[p.prediction]
                    for item, p in zip(items, predictions, strict=True)
                ],
                pa.string(),
            ),
            "scores": pa.array([p.scores for p in predictions], pa.list_(pa.float64())),
            "status": _dictionary([p.status for p in predictions]),
            "shots": pa.array([p.shots for p in predictions], pa.int32()),
            "margin": pa.array([p.margin for p in predictions], pa.float64()),
            "tolerance": pa.array([p.tolerance for p in predictions], pa.float64()),
            "correct": pa.array([float(p.correct) for p in predictions], pa.float64()),
        }
    )
