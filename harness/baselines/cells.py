"""One cell: a method on one training set, trained and scored, or read where it is known; and what that cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Surroundings
from harness.baselines.encoder import Encoder
from harness.baselines.grid import PlannedBaseline
from harness.baselines.registry import VERSION
from harness.baselines.texts import joined
from harness.baselines.trained import TrainedCell, cell_folder, store_trained
from harness.errors import DamagedFileError
from harness.peak_memory import Peak, peak_memory
from harness.progress import Reporter
from harness.records import Example, Prediction, Role, Status
from harness.shots import GUARD
from harness.signature import Signature

# Two computations of one log-probability on other hardware, or with other threads, agree to this.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class FinishedBaseline:
    """A cell with its predictions, in the order of its items; ``reused`` where it was trained before."""

    planned: PlannedBaseline
    signature: Signature
    predictions: Sequence[Prediction]
    trained: TrainedCell
    reused: bool


def signature_of(planned: PlannedBaseline, encoder: Encoder | None, split: Role) -> Signature:
    data, method = planned.data, planned.method
    encoded = encoder if method.needs_encoder else None
    return Signature(
        approach="baseline",
        method=method.name,
        method_version=VERSION,
        labels_used=planned.labels,
        task=data.task.name,
        task_reading=data.task.reading,
        data=data.origin,
        data_hash=data.hashes[split],
        pool_hash=data.hashes["pool"],
        demo_guard=GUARD,
        role=split,
        split=data.task.splits[split],
        template=method.name,
        demo_seed=planned.seed,
        model=f"{method.name}:{encoded.label}" if encoded else method.name,
        model_fingerprint=method.fingerprint(encoded.fingerprint if encoded else None),
    )


def finish_cell(
    planned: PlannedBaseline,
    signature: Signature,
    known: TrainedCell | None,
    encoder: Encoder | None,
    results: Path,
    reporter: Reporter,
) -> FinishedBaseline:
    """Train and score one cell, or read what is stored of it; what is damaged is told of and trained again."""
    item_ids = [item.item_id for item in planned.items]
    around = Surroundings(encoder.vectors if encoder else None)
    model = planned.method.make(around)
    scores = None
    if known is not None:
        try:
            scores = known.scores_of(item_ids)
            if scores is None:  # other items than before
                known.load(model)
                scores = model.scores(joined(planned.items))
        except DamagedFileError as error:
            reporter.notice(f"{error}; trained again")
            model = planned.method.make(around)
        if scores is not None:
            predictions = predictions_of(planned.items, scores)
            return FinishedBaseline(planned, signature, predictions, known, True)
    training = planned.training
    labels = planned.data.task.labels
    assert labels is not None
    gold = np.array([example.gold for example in training], np.int64)
    with peak_memory() as peak:
        begin = time.perf_counter()
        chosen = model.fit(joined(training), gold, len(labels), planned.seed)
        trained_at = time.perf_counter()
        scores = model.scores(joined(planned.items))
        finished_at = time.perf_counter()
    embedder = encoder if planned.method.needs_encoder else None
    costs = {
        **_costs(planned, embedder, trained_at - begin, finished_at - trained_at, peak),
        "trainable_parameters": model.parameters,
    }
    trained = TrainedCell(cell_folder(results, signature.id), signature, list(labels), dict(chosen), costs)
    store_trained(trained, model, item_ids, scores)
    return FinishedBaseline(planned, signature, predictions_of(planned.items, scores), trained, False)


def _costs(
    planned: PlannedBaseline, embedder: Encoder | None, training: float, scoring: float, peak: Peak
) -> dict[str, Any]:
    """Seconds and bytes of a cell. Each cell is charged the embedding of all its texts, which cells share in fact."""
    if embedder is not None:
        per_text = embedder.seconds_per_text or 0.0
        training += per_text * len(planned.training)
        scoring += per_text * len(planned.items)
    held = (peak.bytes, embedder.peak_memory if embedder is not None else None)
    return {
        "train_seconds": round(training, 4),
        "score_seconds": round(scoring, 4),
        "items_per_second": round(len(planned.items) / max(scoring, 1e-9), 1),
        "peak_memory_bytes": max(filter(None, held), default=None),
    }


def predictions_of(items: Sequence[Example], scores: Floats) -> list[Prediction]:
    """Predictions from log-probabilities, shape [n, classes]; ties go to the lowest label id and are marked."""
    predictions = []
    for item, row in zip(items, scores, strict=True):
        best = int(np.argmax(row))
        margin = float(row[best] - np.delete(row, best).max())
        status: Status = "tie" if margin == 0.0 else "ok"
        predictions.append(Prediction.of(item, best, row.tolist(), status, margin=margin, tolerance=TOLERANCE))
    return predictions
