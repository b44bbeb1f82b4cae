"""``harness baseline``: trains every method on every training set, and stores a run like that of prompts.

tasks, data -> nested training sets -> trained cells (known ones are read) -> predictions -> a stored run
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Surroundings
from harness.baselines.options import BaselineOptions
from harness.baselines.registry import METHODS, VERSION, Method
from harness.baselines.subsets import doubling_sizes, stratified_order
from harness.baselines.texts import Vectors, joined
from harness.baselines.trained import TrainedCell, cell_folder, find_trained, store_trained
from harness.data import TaskData, limited, load_data
from harness.embeddings import Embedder
from harness.errors import HarnessError, ModelError, UsageError
from harness.models import ModelFiles, ModelSpec, locate_model
from harness.peak_memory import Peak, peak_memory
from harness.progress import QuietReporter, Reporter
from harness.records import Example, Prediction, Role, Status, digest
from harness.run_store import Cell, Manifest, RunFolder
from harness.scoring import versions
from harness.search_path import SearchPath
from harness.sources import row_source
from harness.tasks import Catalogue

# Two computations of one log-probability on other hardware, or with other threads, agree to this.
TOLERANCE = 1e-9
# Keys of a prompt's signature that mean nothing to a baseline.
_OF_PROMPTS = (
    "demos", "demo_guard", "demo_encoder", "demo_encoder_hash", "demo_order", "order", "rule", "calibration",
    "control", "tokenizer_hash", "dtype", "bos", "max_inputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedBaseline:
    """One method on one training set: ``order[:labels]``."""

    data: TaskData
    items: Sequence[Example]
    method: Method
    labels: int
    seed: int
    order: Sequence[Example]

    @property
    def training(self) -> Sequence[Example]:
        return self.order[: self.labels]


@dataclass(frozen=True, slots=True)
class FinishedBaseline:
    """A cell with its predictions, in the order of its items; ``reused`` where it was trained before."""

    planned: PlannedBaseline
    cell: Cell
    predictions: Sequence[Prediction]
    trained: TrainedCell
    reused: bool


@dataclass(frozen=True, slots=True)
class FinishedBaselines:
    """A run that is stored."""

    path: Path
    manifest: Manifest
    cells: Sequence[FinishedBaseline]


def run_baselines(
    options: BaselineOptions, reporter: Reporter | None = None, command: Sequence[str] = ()
) -> FinishedBaselines:
    """Train and evaluate the grid of tasks x methods x sizes x seeds, and store the run.

    Raises:
        HarnessError: any mistake of the user's, with one clear line; cells that were finished before it are stored.
    """
    reporter = reporter or QuietReporter()
    begin = time.monotonic()
    cells = list(plan_baselines(options, reporter))
    encoder = Encoder(options, reporter) if any(cell.method.needs_encoder for cell in cells) else None
    folder = RunFolder(options.results)
    manifest = _manifest(folder, options, cells, encoder, command)
    manifest.seconds["reading"] = round(time.monotonic() - begin, 3)
    folder.write_manifest(manifest)
    begin = time.monotonic()
    try:
        finished = _finish(cells, encoder, options, reporter, manifest)
        manifest.seconds["training and scoring"] = round(time.monotonic() - begin, 3)
        folder.write_predictions([(one.cell, one.planned.items, one.predictions) for one in finished])
        manifest.cells = [_told(one) for one in finished]
        manifest.status = "done"
        manifest.notices = list(getattr(reporter, "notices", []))
        folder.write_manifest(manifest)
    except BaseException as error:
        manifest.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with suppress(HarnessError):  # on a full disk, the first error is the one to tell
            folder.write_manifest(manifest)
        raise
    return FinishedBaselines(folder.path, manifest, finished)


def plan_baselines(options: BaselineOptions, reporter: Reporter) -> Iterator[PlannedBaseline]:
    """Every cell of tasks x methods x sizes x seeds; a method that reads no labels has no sizes.

    Raises:
        HarnessError: anything wrong with a task or its data, or more labels asked for than there are.
    """
    catalogue = Catalogue(SearchPath.default(options.include_path))
    for task in catalogue.select(options.tasks):
        if task.name in catalogue.shadowed:
            reporter.notice(f"task {task.name}: {task.path} is used instead of {catalogue.shadowed[task.name]}")
        if task.labels is None:
            raise UsageError(
                f"{task.name}: each item has options of its own and the task no labels, so there is nothing to learn;"
                " baselines need a task with labels"
            )
        roles: set[Role] = {options.split, "pool"}
        data = load_data(task, row_source(task, options.data, options.data_dir, reporter.notice), roles)
        pool = data.role("pool")
        if data.duplicates:
            count = "1 row" if data.duplicates == 1 else f"{data.duplicates} rows"
            reporter.notice(f"{task.name}: {count} of the pool with the text of a reported item not used")
        sizes = _sizes(options, task.name, len(pool))
        items = limited(data.role(options.split), options.limit, options.seed)
        orders = {seed: stratified_order(pool, seed, task.name, max(sizes)) for seed in options.seeds}
        for name in options.methods:
            method = METHODS[name]
            for size in sizes if method.reads_labels else [0]:
                for seed in options.seeds:
                    yield PlannedBaseline(data, items, method, size, seed, orders[seed])


def _sizes(options: BaselineOptions, task: str, most: int) -> list[int]:
    if not most:
        raise HarnessError(f"{task}: its pool holds no example to train on")
    found = [most if size == "all" else size for size in options.sizes] or doubling_sizes(most)
    for size in found:
        if size > most:
            raise UsageError(f"--sizes {size}: the pool of {task} has only {most} labelled examples")
    return sorted(set(found))


class Encoder:
    """The frozen encoder of knn and probe; a text is embedded once.

    Raises:
        ModelError: it cannot be found.
    """

    def __init__(self, options: BaselineOptions, reporter: Reporter) -> None:
        spec = ModelSpec(options.encoder, device=options.device, trust_remote_code=options.trust_remote_code)
        if "encoder" not in options.model_fields_set:
            reporter.remark("no --encoder given: embeddings are of the small built-in model; name a real one")
        try:
            self.files: ModelFiles = locate_model(spec)
        except ModelError as error:
            raise ModelError(f"--encoder: {error}") from error
        self.label = self.files.label
        self._embedder = Embedder(self.files, options.results, reporter)
        self.vectors = Vectors(self._embedder)
        self.peak_memory: int | None = None  # of embedding in this run

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    @property
    def seconds_per_text(self) -> float | None:
        return self._embedder.seconds_per_text

    def embed(self, texts: Sequence[str]) -> None:
        """Compute what is not known yet, and give the model's memory back."""
        with peak_memory(self.files.device) as peak:
            self.vectors(texts)
        self.peak_memory = peak.bytes
        self._embedder.release()


def _finish(
    cells: Sequence[PlannedBaseline],
    encoder: Encoder | None,
    options: BaselineOptions,
    reporter: Reporter,
    manifest: Manifest,
) -> list[FinishedBaseline]:
    signatures = [_signature(cell, encoder, options.split) for cell in cells]
    known = [find_trained(options.results, digest(signature)) for signature in signatures]
    if encoder is not None:
        begin = time.monotonic()
        needed = {
            text: None
            for cell, found in zip(cells, known, strict=True)
            if found is None and cell.method.needs_encoder
            for text in joined([*cell.training, *cell.items])
        }
        if needed:
            encoder.embed(list(needed))
        manifest.seconds["embedding"] = round(time.monotonic() - begin, 3)
    finished = []
    with reporter.track("training", len(cells), "cells") as advance:
        for cell, signature, found in zip(cells, signatures, known, strict=True):
            finished.append(_cell(cell, signature, found, encoder, options.results))
            advance(1)
    reused = sum(one.reused for one in finished)
    if reused:
        reporter.remark(f"{reused} of {len(finished)} cells were trained before and are read")
    return finished


def _cell(
    planned: PlannedBaseline,
    signature: Mapping[str, Any],
    known: TrainedCell | None,
    encoder: Encoder | None,
    results: Path,
) -> FinishedBaseline:
    """Train and score one cell, or read what is stored of it."""
    identity = Cell(digest(signature), signature)
    item_ids = [item.item_id for item in planned.items]
    around = Surroundings(encoder.vectors if encoder else None)
    model = planned.method.make(around)
    scores = None
    if known is not None:
        with suppress(HarnessError):  # of a failing disk; it is trained again
            scores = known.scores_of(item_ids)
            if scores is None:  # other items than before
                model.load(known.folder)
                scores = model.scores(joined(planned.items))
        if scores is not None:
            predictions = predictions_of(planned.items, scores)
            return FinishedBaseline(planned, identity, predictions, known, True)
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
    costs = _costs(planned, embedder, trained_at - begin, finished_at - trained_at, peak)
    costs["trainable_parameters"] = model.parameters
    trained = TrainedCell(cell_folder(results, identity.id), dict(signature), list(labels), dict(chosen), costs)
    store_trained(trained, model, item_ids, scores)
    return FinishedBaseline(planned, identity, predictions_of(planned.items, scores), trained, False)


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
        predictions.append(
            Prediction(
                item_id=item.item_id,
                unit=0,
                cluster=item.cluster,
                gold=item.gold,
                prediction=best,
                scores=tuple(row.tolist()),
                status=status,
                shots=0,
                margin=margin,
                tolerance=TOLERANCE,
            )
        )
    return predictions


def _signature(planned: PlannedBaseline, encoder: Encoder | None, split: Role) -> dict[str, Any]:
    """Everything that can change a prediction of the cell, and the names people know it by."""
    data, method = planned.data, planned.method
    encoded = encoder if method.needs_encoder else None
    nothing = dict.fromkeys(_OF_PROMPTS)
    return {
        "kind": "baseline",
        "method": method.name,
        "method_version": VERSION,
        "labels_used": planned.labels,
        "task": data.task.name,
        "task_reading": data.task.reading,
        "data": data.origin,
        "data_hash": data.hashes[split],
        "pool_hash": data.hashes["pool"],
        "role": split,
        "split": data.task.splits[split],
        "template": method.name,
        "template_hash": None,
        "shots": None,
        "demo_seed": planned.seed,
        **nothing,
        "model": f"{method.name}:{encoded.label}" if encoded else method.name,
        "model_fingerprint": method.fingerprint(encoded.fingerprint if encoded else None),
    }


def _told(one: FinishedBaseline) -> dict[str, Any]:
    """The cell's entry in the manifest."""
    task = one.planned.data.task
    return {
        "id": one.cell.id,
        "signature": one.cell.signature,
        "metrics": list(task.metrics),
        "labels": task.labels,
        "n": len(one.planned.items),
        "chosen": one.trained.chosen,
        "costs": one.trained.costs,
        "reused": one.reused,
    }


def _manifest(
    folder: RunFolder,
    options: BaselineOptions,
    cells: Sequence[PlannedBaseline],
    encoder: Encoder | None,
    command: Sequence[str],
) -> Manifest:
    tasks = {cell.data.task.name: cell.data for cell in cells}
    model: dict[str, Any] = {"name": ", ".join(options.methods)}
    if encoder is not None:
        files = encoder.files
        model["encoder"] = {"name": files.spec.name, "path": str(files.path), "fingerprint": files.fingerprint}
    return Manifest(
        id=folder.id,
        created=folder.created,
        status="running",
        command=list(command),
        options=options.model_dump(mode="json"),
        versions={
            "python": platform.python_version(),
            "platform": platform.platform(),
            **versions(("harness", "scikit-learn", "scipy", "numpy", "torch", "transformers", "datasets")),
        },
        model=model,
        tasks={name: data.described for name, data in tasks.items()},
    )
