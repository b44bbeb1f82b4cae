"""What training and predictions took, read from the manifests of stored runs, and what it comes to in money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.breakeven.wanted import Wanted
from harness.cell_results import CellResult
from harness.manifest import Costs
from harness.run_store import StoredRun


@dataclass(frozen=True, slots=True)
class Cost:
    """What training (of one model) and predictions took, on average; None where no run tells.

    ``tokens`` are those that were computed, so that a prefix which prompts share counts once. A run of several prompts
    shares its time out evenly among its predictions. ``trainable_parameters`` and ``peak_memory_bytes`` are the largest
    of any cell or run; the latter is all that its process held, the model included.
    """

    predictions: int
    training_seconds: float | None
    seconds_per_prediction: float | None
    tokens_per_prediction: float | None
    trainable_parameters: int | None
    peak_memory_bytes: int | None


def baseline_cost(cells: Sequence[CellResult], runs: Mapping[str, StoredRun]) -> Cost:
    """From what each cell's entry in the manifest tells."""
    found = [cost for cell in cells if (cost := _costs(cell, runs))]
    seconds = [1 / cost.items_per_second for cost in found if cost.items_per_second]
    training = [cost.train_seconds for cost in found if cost.train_seconds is not None]
    return Cost(
        predictions=sum(len(cell.item_ids) for cell in cells),
        training_seconds=float(np.mean(training)) if training else None,
        seconds_per_prediction=float(np.mean(seconds)) if seconds else None,
        tokens_per_prediction=None,
        trainable_parameters=_most(cost.trainable_parameters for cost in found),
        peak_memory_bytes=_most(cost.peak_memory_bytes for cost in found),
    )


def _costs(cell: CellResult, runs: Mapping[str, StoredRun]) -> Costs | None:
    entries = (entry.costs for entry in runs[cell.created].cells if entry.signature == cell.signature)
    return next(entries, None)


def prompt_cost(cells: Sequence[CellResult], runs: Mapping[str, StoredRun]) -> Cost:
    """From the totals of their runs; what came from the store is counted as if it had been computed."""
    seconds = tokens = 0.0
    timed = 0
    for cell in cells:
        run = runs[cell.created].document
        if not run.requests.scored or "scoring" not in run.seconds:
            continue
        share = len(cell.item_ids) / sum(entry.n for entry in run.cells)
        share *= run.requests.distinct / run.requests.scored
        seconds += run.seconds["scoring"] * share
        tokens += run.tokens_computed * share
        timed += len(cell.item_ids)
    return Cost(
        predictions=sum(len(cell.item_ids) for cell in cells),
        training_seconds=None,
        seconds_per_prediction=seconds / timed if timed else None,
        tokens_per_prediction=tokens / timed if timed else None,
        trainable_parameters=0,
        peak_memory_bytes=_most(runs[cell.created].document.peak_memory_bytes for cell in cells),
    )


def _most(values: Iterable[int | None]) -> int | None:
    return max(filter(None, values), default=None)


def prices(cost: Cost, wanted: Wanted) -> dict[str, float | None]:
    def times(amount: float | None, price: float | None) -> float | None:
        return None if amount is None or price is None else amount * price

    hour, tokens = wanted.price_per_hour, wanted.price_per_million_tokens
    return {
        "training": times(cost.training_seconds, None if hour is None else hour / 3_600),
        "time": times(cost.seconds_per_prediction, None if hour is None else hour * 1_000 / 3_600),
        "tokens": times(cost.tokens_per_prediction, None if tokens is None else tokens * 1_000 / 1_000_000),
    }
