"""Keeps trained baselines, one folder for each cell, so that none is trained twice and each can be used on new text.

``<results>/baselines/<cell id>/``: the model's own files, ``scores.npz`` (what it said about which items) and, written
last, ``cell.json`` (signature, labels, what was chosen, what it cost, and the hashes of the other files). Without
``cell.json`` a folder does not count: a run that is killed keeps every cell that it finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from harness.baselines.base import Baseline, Floats
from harness.errors import DamagedFileError, HarnessError
from harness.files import digest_of, file_digest, opened, write_atomically
from harness.manifest import MOST_LABELS, Costs
from harness.records import digest
from harness.signature import Signature, Text
from harness.stored_arrays import MOST_BYTES, read_arrays, text_array, write_arrays
from harness.stored_json import read_document, sealed
from harness.strict_yaml import describe

RECORD = "cell.json"


class _Record(BaseModel, strict=True):
    """What ``cell.json`` holds. ``files`` hashes the folder's other files; an earlier version had none."""

    signature: dict[str, Any]
    labels: Annotated[list[Text], Field(min_length=1, max_length=MOST_LABELS)]
    chosen: dict[str, Any]
    costs: Costs
    files: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)], str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """What is known of a trained baseline without loading it; ``costs`` and ``chosen`` are JSON values."""

    folder: Path
    signature: Signature
    labels: Sequence[str]
    chosen: Mapping[str, Any]
    costs: Mapping[str, Any]

    def scores_of(self, item_ids: Sequence[str]) -> Floats | None:
        """Stored log-probabilities of items, shape [n, classes]; None unless every item is there.

        Raises:
            DamagedFileError: the file is damaged.
        """
        arrays = read_arrays(self.folder / "scores.npz")
        known = arrays.text("item_ids")
        whole = isinstance(known, list) and all(isinstance(item, str) for item in known)
        arrays.require(whole and len(set(known)) == len(known), "item_ids names what is no item, or one twice")
        scores = arrays.floats("scores", len(known), len(self.labels))
        place = {item: row for row, item in enumerate(known)}
        if not all(item in place for item in item_ids):
            return None
        return scores[[place[item] for item in item_ids]]

    def load(self, model: Baseline) -> None:
        """Have a model read its files.

        Raises:
            DamagedFileError: they are not what a model of these labels wrote.
        """
        model.load(self.folder)
        if model.classes != len(self.labels):
            raise DamagedFileError(self.folder, f"has a model of {model.classes} labels, not of {len(self.labels)}")


def cell_folder(results: Path, cell_id: str) -> Path:
    return results / "baselines" / cell_id


def find_trained(results: Path, cell_id: str) -> TrainedCell | None:
    """The trained cell of that id; None where there is none.

    Raises:
        DamagedFileError: one of its files is missing or has changed.
    """
    folder = cell_folder(results, cell_id)
    path = folder / RECORD
    try:
        known = read_document(path, _Record)
    except FileNotFoundError:
        return None
    if digest(known.signature) != cell_id:
        raise DamagedFileError(path, "is the record of another cell")
    for name, expected in known.files.items():
        try:
            with opened(folder / name, MOST_BYTES) as stream:
                changed = file_digest(stream) != expected
        except FileNotFoundError as error:
            raise DamagedFileError(folder / name, "is missing") from error
        except OSError as error:
            raise DamagedFileError(folder / name, f"cannot be read: {error.strerror or error}") from error
        if changed:
            raise DamagedFileError(folder / name, "has changed since it was written")
    try:
        signature = Signature.model_validate(known.signature)
    except ValidationError as error:
        problem = describe(Signature, error.errors(include_url=False)[0])
        raise DamagedFileError(path, f"signature: {problem}") from error
    return TrainedCell(folder, signature, known.labels, known.chosen, known.costs.model_dump())


def store_trained(cell: TrainedCell, model: Baseline, item_ids: Sequence[str], scores: Floats) -> None:
    """Write model, scores and record, in this order. Raises HarnessError."""
    try:
        (cell.folder / RECORD).unlink(missing_ok=True)
        cell.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{cell.folder}: cannot be written: {error.strerror or error}") from error
    model.save(cell.folder)
    write_arrays(cell.folder / "scores.npz", {"item_ids": text_array(list(item_ids)), "scores": np.asarray(scores)})
    files = {path.name: digest_of(path) for path in sorted(cell.folder.glob("[!.]*")) if path.is_file()}
    known = {name: getattr(cell, name) for name in ("labels", "chosen", "costs")}
    text = sealed({"signature": cell.signature.as_dict(), **known, "files": files})
    write_atomically(cell.folder / RECORD, lambda path: path.write_bytes(text))
