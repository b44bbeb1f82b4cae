"""Chooses an order of demonstrations from stored runs of permuted orders, by how even the answers are under each (Lu et
al. 2022). No gold label is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from harness.manifest import CellRecord
from harness.run_store import StoredRun, Tell, tables_of
from harness.shots import Measure, choose_order, entropy
from harness.signature import Signature

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OrderScores:
    """What a model answered under several orders of the same demonstrations, to the same items.

    ``signature`` is that of any of the cells, which differ in ``order`` alone. ``scores`` holds, by the number of the
    order, the log-scale score of each label for each item; shape [n, classes].
    """

    signature: Signature
    scores: Mapping[int, Floats]

    def entropies(self, measure: Measure) -> dict[int, float]:
        """Of each order, by its number; in nats."""
        return {number: entropy(scores, measure) for number, scores in sorted(self.scores.items())}

    def choice(self, measure: Measure) -> int:
        return choose_order(self.scores, measure)


def permuted_scores(
    runs: Iterable[StoredRun], wanted: Mapping[str, object] | None = None, tell: Tell | None = None
) -> list[OrderScores]:
    """The cells of permuted orders whose signatures have what is ``wanted``; of equal ones, the latest run's.

    Only cells of tasks with labels count: where items have options of their own, no class can be preferred. Runs whose
    predictions are damaged are told of, or are an error, as for ``tables_of``.
    """
    groups: dict[Path, dict[str, list[CellRecord]]] = {}
    runs = [run for run in runs if run.finished]
    for run in runs:
        for cell in run.cells:
            signature = cell.signature
            if signature.demo_order != "permuted" or signature.order is None or cell.labels is None:
                continue
            if all(signature.value(name) == value for name, value in (wanted or {}).items()):
                key = signature.model_copy(update={"order": None}).id
                groups.setdefault(run.path, {}).setdefault(key, []).append(cell)
    found: dict[str, OrderScores] = {}
    for run, table in tables_of((run for run in runs if run.path in groups), tell):
        for key, cells in groups[run.path].items():
            read = _read(table, cells)
            if read is not None:
                found[key] = read
    return list(found.values())


def _read(table: Any, cells: Sequence[CellRecord]) -> OrderScores | None:
    """The scores of all orders for the items that each of them answers; None where there is no such item."""
    by_order: dict[int, dict[str, Sequence[float]]] = {}
    for cell in cells:
        part = table.filter(pc.equal(table["cell"], cell.id))
        # An item that is too long under one order, or has no possible label, counts under none.
        assert cell.signature.order is not None
        by_order[cell.signature.order] = {
            item: scores
            for item, scores in zip(part["item_id"].to_pylist(), part["scores"].to_pylist(), strict=True)
            if scores and max(scores) > -np.inf
        }
    kept = sorted(set.intersection(*map(set, by_order.values())))
    scores = {number: np.array([rows[item] for item in kept], np.float64) for number, rows in by_order.items()}
    return OrderScores(cells[0].signature, scores) if kept else None
