"""Keeps trained baselines, one folder for each cell, so that none is trained twice and each can be used on new text.

``<results>/baselines/<cell id>/``: the model's own files, ``scores.npz`` (what it said about which items) and, written
last, ``cell.json`` (signature, labels, what was chosen, what it cost). Without ``cell.json`` a folder does not count: a
run that is killed keeps every cell that it finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Baseline, Floats, array_text, read_arrays, text_array, write_arrays
from harness.errors import HarnessError
from harness.files import write_atomically


@dataclass(frozen=True, slots=True)
class TrainedCell:
    """What is known of a trained baseline without loading it; ``costs`` and ``chosen`` are JSON values."""

    folder: Path
    signature: Mapping[str, Any]
    labels: Sequence[str]
    chosen: Mapping[str, Any]
    costs: Mapping[str, Any]

    def scores_of(self, item_ids: Sequence[str]) -> Floats | None:
        """Stored log-probabilities of items, shape [n, classes]; None unless every item is there.

        Raises:
            HarnessError: the file is damaged.
        """
        arrays = read_arrays(self.folder / "scores.npz")
        place = {item: row for row, item in enumerate(array_text(arrays["item_ids"]))}
        if not all(item in place for item in item_ids):
            return None
        scores: Floats = arrays["scores"][[place[item] for item in item_ids]]
        return scores


def cell_folder(results: Path, cell_id: str) -> Path:
    return results / "baselines" / cell_id


def find_trained(results: Path, cell_id: str) -> TrainedCell | None:
    """The trained cell of that id; None where there is none, or its record cannot be read."""
    folder = cell_folder(results, cell_id)
    try:
        known = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
        return TrainedCell(folder, known["signature"], known["labels"], known["chosen"], known["costs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_trained(cell: TrainedCell, model: Baseline, item_ids: Sequence[str], scores: Floats) -> None:
    """Write model, scores and record, in this order. Raises HarnessError."""
    (cell.folder / "cell.json").unlink(missing_ok=True)
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"{cell.folder}: cannot be written: {error.strerror or error}") from error
    model.save(cell.folder)
    write_arrays(cell.folder / "scores.npz", {"item_ids": text_array(list(item_ids)), "scores": np.asarray(scores)})
    record = {name: getattr(cell, name) for name in ("signature", "labels", "chosen", "costs")}
    text = json.dumps(record, ensure_ascii=False, indent=1)
    write_atomically(cell.folder / "cell.json", lambda path: path.write_text(text + "\n", encoding="utf-8"))
