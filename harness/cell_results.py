"""Reads the stored predictions of finished runs back, cell by cell, as arrays that tables are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.errors import UsageError, suggest
from harness.manifest import CellRecord
from harness.metrics import Ints
from harness.name_patterns import fitting
from harness.records import digest
from harness.run_store import StoredRun, Tell, tables_of
from harness.signature import Signature
from harness.stored_predictions import label_numbers

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CellResult:
    """The stored predictions of one cell. Arrays are by item, sorted by item id; shape [n]."""

    signature: Signature
    metrics: Sequence[str]
    labels: Sequence[str] | None
    created: str
    item_ids: Sequence[str]
    gold: Ints
    prediction: Ints  # -1: none
    status: Sequence[str]
    close: int
    dropped: int  # items whose prompt lost demonstrations for length
    clusters: Ints | None
    probabilities: Floats | None = None  # of the labels, shape [n, labels], nan where a prompt did not fit
    selection_labels: int = 0  # labels of other items by which its prompt was chosen
    limited: bool = False  # whether its split has more items than were asked for (``--limit``)
    domain: str | None = None  # of its task, where the run noted it

    @property
    def items_hash(self) -> str:
        return digest(list(self.item_ids))

    @property
    def chosen(self) -> str | None:
        """Its template, where labels of other items have chosen it among others; such a prompt is never averaged."""
        return self.signature.template if self.selection_labels else None


def read_cells(runs: Iterable[StoredRun], tasks: Sequence[str] = (), tell: Tell | None = None) -> list[CellResult]:
    """The cells of finished runs; ``tasks``, names or patterns, keeps those alone.

    Args:
        tell: told of runs whose predictions are missing or damaged, which are then left out.

    Raises:
        UsageError: a name or pattern that fits no task of any run.
        DamagedFileError: predictions are missing or damaged, and nobody is to be told.
    """
    runs = [run for run in runs if run.finished]
    present = sorted({cell.signature.task for run in runs for cell in run.cells})
    wanted = set() if tasks else set(present)
    for pattern in tasks:
        matches = fitting(pattern, present)
        if not matches:
            raise UsageError(
                f"no stored run has the task {pattern!r}{suggest(pattern, present, what='tasks with runs')}"
            )
        wanted.update(matches)
    found: list[CellResult] = []
    for run, table in tables_of((run for run in runs if wanted & _tasks(run)), tell):
        for cell in run.cells:
            if cell.signature.task in wanted:
                part = table.filter(pc.equal(table["cell"], cell.id)).sort_by("item_id")
                found.append(_cell(part, cell, run.document.created, _available(run, cell.signature)))
    return found


def _tasks(run: StoredRun) -> set[str]:
    return {cell.signature.task for cell in run.cells}


def _available(run: StoredRun, signature: Signature) -> int | None:
    """How many items the split of a cell has, where the run noted it."""
    noted = run.document.tasks.get(signature.task)
    return noted.rows.get(signature.role) if noted else None


def _cell(part: pa.Table, cell: CellRecord, created: str, available: int | None) -> CellResult:
    status = part["status"].to_pylist()
    cluster = part["cluster"].to_pylist()
    margin, tolerance = part["margin"].to_numpy(), part["tolerance"].to_numpy()
    shots = part["shots"].to_numpy()
    decided = np.array([s == "ok" for s in status])
    asked = cell.signature.shots or 0
    return CellResult(
        signature=cell.signature,
        metrics=cell.metrics,
        labels=cell.labels,
        created=created,
        item_ids=part["item_id"].to_pylist(),
        gold=label_numbers(part["gold"]),
        prediction=label_numbers(part["prediction"]),
        status=status,
        close=int(((margin < tolerance) & decided).sum()),
        dropped=int(sum(k < asked and s != "too_long" for k, s in zip(shots, status, strict=True))),
        clusters=None if cluster[0] is None else np.unique(np.array(cluster), return_inverse=True)[1],
        probabilities=_probabilities(part["scores"].to_pylist(), cell.labels),
        selection_labels=cell.selection_labels,
        limited=available is not None and len(part) < available,
        domain=cell.domain,
    )


def _probabilities(scores: Sequence[Sequence[float]], labels: Sequence[str] | None) -> Floats | None:
    """Label probabilities from log-scale scores; None for options of each item's own, and where nothing fitted."""
    if labels is None or not any(scores):
        return None
    width = max(map(len, scores))
    table = np.array([row if len(row) == width else [np.nan] * width for row in scores])
    with np.errstate(invalid="ignore"):  # where no label is possible at all, none has a probability
        shifted = np.exp(table - table.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]
