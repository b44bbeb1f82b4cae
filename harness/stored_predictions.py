"""The two tables of a run, predictions and candidates: their columns, and what must hold of every row read back.

It knows what a manifest says of a cell (its labels and number of items), and nothing of files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.encode import EncodedCell
from harness.manifest import CellRecord
from harness.records import KEY_BYTES, Example, Prediction, Status

_NAMES = pa.dictionary(pa.int32(), pa.string())


def _column(name: str, kind: pa.DataType, *, optional: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=optional)


PREDICTIONS = pa.schema(
    [
        _column("cell", _NAMES),
        _column("item_id", pa.string()),
        _column("unit", pa.int32()),
        _column("cluster", _NAMES, optional=True),
        _column("gold", _NAMES),
        _column("prediction", _NAMES),
        _column("text", pa.string(), optional=True),
        _column("scores", pa.list_(pa.float64())),
        _column("status", _NAMES),
        _column("shots", pa.int32()),
        _column("margin", pa.float64()),
        _column("tolerance", pa.float64()),
        _column("correct", pa.float64()),
    ]
)
CANDIDATES = pa.schema(
    [
        _column("cell", _NAMES),
        _column("item_id", pa.string()),
        _column("unit", pa.int32()),
        _column("label", pa.int32()),
        _column("word", pa.string()),
        _column("role", _NAMES),
        _column("key", pa.binary(KEY_BYTES)),
        _column("n_tokens", pa.int32()),
        _column("n_chars", pa.int32()),
        _column("n_bytes", pa.int32()),
    ]
)
NO_PREDICTION, _NO_LABEL = -1, -2
_STATUSES = get_args(Status)
_LONGEST_ID = 200  # characters; hashes have 32
_MOST_SHOTS = 1_000_000


def prediction_table(cell_id: str, items: Sequence[Example], predictions: Sequence[Prediction]) -> pa.Table:
    texts = [
        None if p.prediction is None else item.options[p.prediction] for item, p in zip(items, predictions, strict=True)
    ]
    columns = {
        "cell": _dictionary([cell_id] * len(predictions)),
        "item_id": pa.array([p.item_id for p in predictions], pa.string()),
        "unit": pa.array([p.unit for p in predictions], pa.int32()),
        "cluster": _dictionary([p.cluster for p in predictions]),
        "gold": _dictionary([json.dumps(p.gold) for p in predictions]),
        "prediction": _dictionary([json.dumps(p.prediction) for p in predictions]),
        "text": pa.array(texts, pa.string()),
        "scores": pa.array([p.scores for p in predictions], pa.list_(pa.float64())),
        "status": _dictionary([p.status for p in predictions]),
        "shots": pa.array([p.shots for p in predictions], pa.int32()),
        "margin": pa.array([p.margin for p in predictions], pa.float64()),
        "tolerance": pa.array([p.tolerance for p in predictions], pa.float64()),
        "correct": pa.array([float(p.correct) for p in predictions], pa.float64()),
    }
    return pa.table(columns, schema=PREDICTIONS)


def candidate_table(cell_id: str, items: Sequence[Example], encoded: EncodedCell) -> pa.Table:
    candidates = encoded.candidates
    count = len(candidates.item)
    keys = pa.py_buffer(np.ascontiguousarray(encoded.keys).tobytes())
    columns = {
        "cell": _dictionary([cell_id] * count),
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
    return pa.table(columns, schema=CANDIDATES)


def _dictionary(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def check_predictions(table: pa.Table, cells: Sequence[CellRecord]) -> None:
    """See that a table, in the columns of ``PREDICTIONS``, holds what a manifest says of its cells.

    Raises:
        ValueError: what is wrong, with the cell and item where it is.
    """
    place = _Places(table, cells)
    place.require(place.counts == [cell.n for cell in cells], "has another number of items than its manifest tells")
    gold, said = label_numbers(table["gold"]), label_numbers(table["prediction"])
    scores = table["scores"].combine_chunks()
    length = pc.list_value_length(scores).to_numpy(zero_copy_only=False).astype(np.int64)
    status = _index_in(table["status"], _STATUSES)
    labels = place.of_cells([len(cell.labels) if cell.labels is not None else -1 for cell in cells])
    fits = status != _STATUSES.index("too_long")
    width = np.where(labels < 0, length, labels)
    values = scores.flatten()
    number = values.to_numpy(zero_copy_only=False)
    rows: Sequence[tuple[npt.NDArray[np.bool_], str]] = [
        (status >= 0, f"the status is none of {', '.join(_STATUSES)}"),
        (np.where(fits, (length == width) & (length > 0), length == 0), "has not one score for each label"),
        (gold >= 0, "the gold label is no label's number"),
        ((gold < width) | (~fits & (labels < 0)), "the gold label is beyond the last label"),
        (np.where(fits, (said >= 0) & (said < width), said == NO_PREDICTION), "the prediction is no label's number"),
        (_within(table["shots"], 0, _MOST_SHOTS), "the number of demonstrations is impossible"),
        (_within(table["margin"], 0, np.inf), "the margin is not a number from 0"),
        (_within(table["tolerance"], 0, 1e9), "the tolerance is not a number from 0"),
        (_within(table["unit"], 0, 2**31 - 1), "the unit is below 0"),
        (table["correct"].to_numpy() == (gold == said), "correct does not go with gold and prediction"),
    ]
    for good, problem in rows:
        place.require_rows(good, problem)
    if values.null_count or np.isnan(number).any() or np.isposinf(number).any():
        raise ValueError("scores: one is not a number")
    place.one_kind(table["cluster"].is_valid().to_numpy(), "has a cluster for some items only")


def check_candidates(table: pa.Table, cells: Sequence[CellRecord]) -> None:
    """See that a table, in the columns of ``CANDIDATES``, goes with a manifest's cells. Raises ValueError."""
    place = _Places(table, cells, once=False)
    labels = place.of_cells([len(cell.labels) if cell.labels is not None else 2**31 - 1 for cell in cells])
    label = table["label"].to_numpy()
    place.require_rows((label >= 0) & (label < labels), "the label is beyond the last label")
    for name in ("n_tokens", "n_chars", "n_bytes", "unit"):
        place.require_rows(_within(table[name], 0, 2**31 - 1), f"{name} is below 0")


class _Places:
    """Where the rows of each cell of a manifest are."""

    def __init__(self, table: pa.Table, cells: Sequence[CellRecord], *, once: bool = True) -> None:
        self._ids = [cell.id for cell in cells]
        self._cell = _index_in(table["cell"], self._ids)
        if (self._cell < 0).any():
            raise ValueError("cell: one is not in the manifest")
        self.counts = np.bincount(self._cell, minlength=len(cells))
        self._items = table["item_id"]
        items = self._items.combine_chunks().dictionary_encode()
        lengths = pc.utf8_length(items.dictionary).to_numpy(zero_copy_only=False)
        if len(lengths) and (lengths.max() > _LONGEST_ID or lengths.min() == 0):
            raise ValueError("item_id: one is too long or empty")
        if once:
            codes = items.indices.to_numpy().astype(np.int64) + self._cell * max(1, len(lengths))
            if len(np.unique(codes)) < len(codes):
                raise ValueError("item_id: one appears twice in a cell")

    def of_cells(self, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """A value of each cell, for each row."""
        return np.array(values, np.int64)[self._cell]

    def require(self, good: npt.NDArray[np.bool_], problem: str) -> None:
        if not np.all(good):
            raise ValueError(f"the cell {self._ids[int(np.argmin(good))]} {problem}")

    def require_rows(self, good: npt.NDArray[np.bool_], problem: str) -> None:
        if not np.all(good):
            row = int(np.argmin(good))
            raise ValueError(f"item {self._items[row].as_py()[:12]}: {problem}")

    def one_kind(self, flag: npt.NDArray[np.bool_], problem: str) -> None:
        """Require that a flag is the same in all rows of a cell."""
        true = np.bincount(self._cell, weights=flag, minlength=len(self._ids))
        self.require((true == 0) | (true == self.counts), problem)


def _index_in(column: pa.ChunkedArray, values: Sequence[str]) -> npt.NDArray[np.int64]:
    """The place of each text among some, or -1."""
    index = pc.index_in(column.cast(pa.string()), value_set=pa.array(values, pa.string()))
    return np.asarray(pc.fill_null(index, -1).to_numpy().astype(np.int64))


def label_numbers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The numbers of labels from their JSON; -1 for null, -2 for what is neither."""
    parts = [
        np.array([_label(text) for text in chunk.dictionary.to_pylist()], np.int64)[chunk.indices.to_numpy()]
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _label(text: str | None) -> int:
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return _NO_LABEL
    if value is None:
        return NO_PREDICTION
    return value if type(value) is int and 0 <= value < 2**31 else _NO_LABEL


def _within(column: pa.ChunkedArray, low: float, high: float) -> npt.NDArray[np.bool_]:
    """Whether each value is one of a range; nan is not."""
    values = column.to_numpy()
    return np.asarray((values >= low) & (values <= high))
