"""Chooses an order of demonstrations from stored runs of permuted orders, by how even the answers are under each (Lu et
al. 2022). No gold label is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from harness.records import digest
from harness.run_store import StoredRun
from harness.shots import Measure, choose_order, entropy

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OrderScores:
    """What a model answered under several orders of the same demonstrations, to the same items.

    ``signature`` is that of any of the cells, which differ in ``order`` alone. ``scores`` holds, by the number of the
    order, the log-scale score of each label for each item; shape [n, classes].
    """

    signature: Mapping[str, Any]
    scores: Mapping[int, Floats]

    def entropies(self, measure: Measure) -> dict[int, float]:
        """Of each order, by its number; in nats."""
        return {number: entropy(scores, measure) for number, scores in sorted(self.scores.items())}

    def choice(self, measure: Measure) -> int:
        return choose_order(self.scores, measure)


def permuted_scores(runs: Iterable[StoredRun], wanted: Mapping[str, object] | None = None) -> list[OrderScores]:
    """The cells of permuted orders whose signatures have what is ``wanted``; of equal ones, the latest run's.

    Only cells of tasks with labels count: where items have options of their own, no class can be preferred.
    """
    found: dict[str, OrderScores] = {}
    for run in runs:
        if not run.finished:
            continue
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for cell in run.manifest["cells"]:
            signature = cell["signature"]
            if signature.get("demo_order") != "permuted" or cell["labels"] is None:
                continue
            if all(signature.get(key) == value for key, value in (wanted or {}).items()):
                groups.setdefault(digest({**signature, "order": None}), []).append(cell)
        if groups:
            table = run.predictions()
            for key, cells in groups.items():
                found[key] = _read(table, cells)
    return list(found.values())


def _read(table: Any, cells: Sequence[Mapping[str, Any]]) -> OrderScores:
    by_order: dict[int, list[Sequence[float]]] = {}
    for cell in cells:
        part = table.filter(pc.equal(table["cell"], cell["id"])).sort_by("item_id")
        by_order[cell["signature"]["order"]] = part["scores"].to_pylist()
    # An item that is too long under one order counts under none.
    kept = [place for place, rows in enumerate(zip(*by_order.values(), strict=True)) if all(rows)]
    scores = {number: np.array([rows[place] for place in kept], np.float64) for number, rows in by_order.items()}
    return OrderScores(cells[0]["signature"], scores)
