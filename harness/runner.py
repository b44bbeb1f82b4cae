"""Runs an evaluation: the one module that knows all stages.

    tasks, data, templates -> prompts -> requests -> known scores + new scores -> predictions -> a stored run

Everything before scoring is done and checked first, so that a mistake in any template or row shows before a model is
loaded.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.decide import predict
from harness.encode import EncodedCell, Encoder
from harness.errors import HarnessError
from harness.grid import EncodedGrid, PlannedCell, encode_cells, plan_cells
from harness.models import ModelFiles, PretrainedTokenizer, load_model, locate_model
from harness.options import RunOptions
from harness.progress import QuietReporter, Reporter
from harness.records import Example, Prediction, RuleName, digest
from harness.run_store import Cell, Manifest, RunFolder
from harness.score_store import ScoreStore
from harness.scorers import RowScorer, Scorer
from harness.search_path import SearchPath

# Raised whenever the same inputs would give other predictions than before; it is in every cell's signature.
METHOD_VERSION = 1
COMMIT_SECONDS = 2.0


class InterruptedRunError(HarnessError):
    """The user stopped the run; what was computed is stored."""


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """One cell with its predictions, in the order of its items."""

    cell: Cell
    items: Sequence[Example]
    predictions: Sequence[Prediction]
    encoded: EncodedCell


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is stored."""

    path: Path
    manifest: Manifest
    cells: Sequence[FinishedCell]


def run(options: RunOptions, reporter: Reporter | None = None, command: Sequence[str] = ()) -> FinishedRun:
    """Evaluate the grid of tasks x templates x shots x seeds, and store the run.

    Raises:
        HarnessError: any mistake of the user's, with one clear line; what was scored before it is stored.
        InterruptedRunError: Ctrl-C.
    """
    reporter = reporter or QuietReporter()
    clock = Clock()
    with clock.stage("reading"):
        search = SearchPath.default(options.include_path)
        cells = list(plan_cells(options, search, reporter))
    if "model" not in options.model_fields_set:
        reporter.remark("no --model given: the small built-in one is used; name a real one with --model PATH or HUB_ID")
    with clock.stage("tokenizer"):
        files = locate_model(options.model_spec)
        tokenizer = PretrainedTokenizer(files)
    with clock.stage("rendering and tokenising"):
        encoder = Encoder(tokenizer, scope=f"{files.fingerprint}/{files.dtype}", max_inputs=files.max_inputs)
        encoded = encode_cells(cells, encoder, options, reporter)
    store = ScoreStore(options.results, files.fingerprint, files.dtype)
    folder = RunFolder(options.results)
    manifest = _manifest(folder, options, files, tokenizer, cells, command)
    folder.write_manifest(manifest)
    try:
        sums = _score(encoded.requests, files, store, options, manifest, clock, reporter)
        with clock.stage("deciding"):
            finished = _decide(cells, encoded, sums, files, tokenizer, options)
        _write(folder, manifest, finished, cells, clock, reporter)
    except BaseException as error:
        manifest.status = "interrupted" if isinstance(error, KeyboardInterrupt | InterruptedRunError) else "failed"
        manifest.seconds = clock.seconds
        with suppress(HarnessError):  # on a full disk, the first error is the one to tell
            folder.write_manifest(manifest)
        raise
    return FinishedRun(folder.path, manifest, finished)


def _score(
    requests: Requests,
    files: ModelFiles,
    store: ScoreStore,
    options: RunOptions,
    manifest: Manifest,
    clock: Clock,
    reporter: Reporter,
) -> npt.NDArray[np.float64]:
    """Total log-probability of each request, from the store where it is known; shape [n requests]."""
    with clock.stage("looking up scores"):
        found_at, found = store.find(requests.keys)
    for path in store.damaged:
        reporter.remark(f"{path}: damaged, not read")
    known = found_at >= 0
    stored = np.full(len(requests), np.nan)
    stored[known] = found.sums[found_at[known]]
    missing = np.arange(len(requests)) if options.fresh else np.flatnonzero(~known)
    manifest.requests = {"distinct": len(requests), "from store": len(requests) - len(missing), "scored": 0}
    if not len(missing):
        reporter.remark(f"all {len(requests):,} scores were in the store, so the model was not loaded")
        return stored
    with clock.stage("loading the model"):
        scorer: Scorer = RowScorer(load_model(files, reporter.notice))
    manifest.model = {**manifest.model, "engine": scorer.name}
    already = {bytes(key) for key in requests.keys[known]}
    with clock.stage("scoring"):
        scores = _score_and_commit(scorer, requests.take(missing), store, already, files, manifest, reporter)
    row_of = {bytes(key): row for row, key in enumerate(requests.keys)}
    sums = stored.copy()
    sums[[row_of[bytes(key)] for key in scores.keys]] = scores.sums
    if options.fresh and known.any():
        worst = float(np.abs(sums - stored)[known].max())
        reporter.remark(f"{int(known.sum()):,} stored scores were computed again; largest difference {worst:.1e}")
    return sums


def _score_and_commit(
    scorer: Scorer,
    requests: Requests,
    store: ScoreStore,
    already: set[bytes],
    files: ModelFiles,
    manifest: Manifest,
    reporter: Reporter,
) -> Scores:
    """Score all requests, committing every few seconds what is finished and not stored ``already``."""
    provenance = {"engine": scorer.name, "device": files.device, **_versions(("harness", "torch", "transformers"))}
    finished: list[Scores] = []
    pending: list[Scores] = []

    def commit() -> None:
        scores = Scores.concatenate(pending)
        new = np.array([bytes(key) not in already for key in scores.keys], bool)
        if new.any():
            store.add(scores.take(np.flatnonzero(new)), provenance)
        finished.extend(pending)
        pending.clear()

    last = time.monotonic()
    with reporter.track("scoring", len(requests), "answers") as advance:
        try:
            for scores, tokens in scorer.score(requests):
                pending.append(scores)
                manifest.tokens_computed += tokens
                manifest.requests["scored"] += len(scores)
                advance(len(scores))
                if time.monotonic() - last > COMMIT_SECONDS:
                    commit()
                    last = time.monotonic()
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                f"interrupted: {manifest.requests['scored']:,} of {len(requests):,} scores are stored; the same command"
                " goes on from there"
            ) from error
        finally:
            commit()
    store.compact()
    return Scores.concatenate(finished)


def _decide(
    cells: Sequence[PlannedCell],
    encoded: EncodedGrid,
    sums: npt.NDArray[np.float64],
    files: ModelFiles,
    tokenizer: PretrainedTokenizer,
    options: RunOptions,
) -> list[FinishedCell]:
    finished = []
    for planned, cell, rows in zip(cells, encoded.cells, encoded.rows, strict=True):
        for rule in planned.rules:
            signature = _signature(planned, rule, files, tokenizer, options)
            identity = Cell(digest(signature), signature)
            finished.append(FinishedCell(identity, planned.items, predict(planned.items, cell, sums[rows], rule), cell))
    return finished


def _signature(
    planned: PlannedCell, rule: RuleName, files: ModelFiles, tokenizer: PretrainedTokenizer, options: RunOptions
) -> dict[str, Any]:
    """Everything that can change a prediction of the cell, and the names people know it by."""
    data, template, shots = planned.data, planned.template, planned.shots
    return {
        "method": METHOD_VERSION,
        "task": data.task.name,
        "task_reading": data.task.reading,
        "data": data.origin,
        "data_hash": data.hashes[options.split],
        "pool_hash": data.hashes["pool"] if shots else None,
        "role": options.split,
        "split": data.task.splits[options.split],
        "template": template.name,
        "template_hash": template.fingerprint,
        "shots": shots,
        "demos": options.demos if shots else None,
        "demo_seed": planned.seed,
        "rule": rule,
        "model": files.label,
        "model_fingerprint": files.fingerprint,
        "tokenizer_hash": tokenizer.fingerprint,
        "dtype": files.dtype,
        "bos": files.spec.bos,
        "max_inputs": files.max_inputs,
    }


def _write(
    folder: RunFolder,
    manifest: Manifest,
    finished: Sequence[FinishedCell],
    cells: Sequence[PlannedCell],
    clock: Clock,
    reporter: Reporter,
) -> None:
    """Write candidates, predictions and the final manifest; only then is the run done."""
    for cell in finished:
        close = [p.item_id for p in cell.predictions if p.status == "ok" and p.margin < p.tolerance]
        if close:
            manifest.close_items.append({"cell": cell.cell.id, "items": close})
    labels = {cell.data.task.name: cell.data.task for cell in cells}
    manifest.cells = [
        {
            "id": cell.cell.id,
            "signature": cell.cell.signature,
            "metrics": list(labels[cell.cell.signature["task"]].metrics),
            "labels": labels[cell.cell.signature["task"]].labels,
            "n": len(cell.items),
            "straddling": cell.encoded.straddling,
        }
        for cell in finished
    ]
    folder.write_candidates([(cell.cell, cell.items, cell.encoded) for cell in finished])
    folder.write_predictions([(cell.cell, cell.items, cell.predictions) for cell in finished])
    manifest.status = "done"
    manifest.seconds = clock.seconds
    manifest.notices = list(getattr(reporter, "notices", []))
    folder.write_manifest(manifest)


def _manifest(
    folder: RunFolder,
    options: RunOptions,
    files: ModelFiles,
    tokenizer: PretrainedTokenizer,
    cells: Sequence[PlannedCell],
    command: Sequence[str],
) -> Manifest:
    import torch

    tasks = {cell.data.task.name: cell.data for cell in cells}
    return Manifest(
        id=folder.id,
        created=folder.created,
        status="running",
        command=list(command),
        options=options.model_dump(mode="json"),
        versions={
            "python": platform.python_version(),
            "platform": platform.platform(),
            **_versions(
                ("harness", "torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "jinja2")
            ),
        },
        model={
            "name": files.spec.name,
            "path": str(files.path),
            "revision": files.revision,
            "fingerprint": files.fingerprint,
            "tokenizer": tokenizer.fingerprint,
            "dtype": files.dtype,
            "device": files.device,
            "threads": torch.get_num_threads(),
            "max_inputs": files.max_inputs,
            "prefix": list(tokenizer.prefix),
        },
        tasks={
            name: {
                "file": str(data.task.path),
                "data": data.origin,
                "location": data.location,
                "revision": data.revision,
                "hashes": dict(data.hashes),
                "rows": {role: len(examples) for role, examples in data.roles.items()},
                "pool_duplicates_removed": data.duplicates,
            }
            for name, data in tasks.items()
        },
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}


class Clock:
    """Wall time of each stage, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - begin, 3)
