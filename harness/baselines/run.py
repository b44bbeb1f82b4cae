"""``harness baseline``: trains every method on every training set, and stores a run like that of prompts.

tasks, data -> nested training sets -> trained cells (known ones are read) -> predictions -> a stored run
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import interrupts
from harness.baselines.cells import FinishedBaseline, finish_cell, signature_of
from harness.baselines.encoder import Encoder
from harness.baselines.grid import PlannedBaseline, plan_baselines
from harness.baselines.options import BaselineOptions
from harness.baselines.texts import joined
from harness.baselines.trained import TrainedCell, find_trained
from harness.errors import DamagedFileError, HarnessError
from harness.progress import QuietReporter, Reporter, duration
from harness.run_store import Manifest, RunFolder
from harness.versions import versions


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

    def unfinished(status: str) -> None:
        manifest.status = status
        with suppress(HarnessError):  # on a full disk, the first error is the one to tell
            folder.write_manifest(manifest)

    with interrupts.ending(lambda: unfinished("interrupted")):
        try:
            finished = _finish(cells, encoder, options, reporter, manifest)
            manifest.seconds["training and scoring"] = round(time.monotonic() - begin, 3)
            folder.write_predictions([(one.signature, one.planned.items, one.predictions) for one in finished])
            interrupts.check()
            manifest.cells = [_told(one) for one in finished]
            manifest.status = "done"
            manifest.notices = list(getattr(reporter, "notices", []))
            folder.write_manifest(manifest)
        except BaseException as error:
            unfinished("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
    return FinishedBaselines(folder.path, manifest, finished)


def _finish(
    cells: Sequence[PlannedBaseline],
    encoder: Encoder | None,
    options: BaselineOptions,
    reporter: Reporter,
    manifest: Manifest,
) -> list[FinishedBaseline]:
    signatures = [signature_of(cell, encoder, options.split) for cell in cells]
    known = [_known(options.results, signature.id, reporter) for signature in signatures]
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
    begin = time.monotonic()
    with reporter.track("training", len(cells), "cells") as advance:
        for cell, signature, found in zip(cells, signatures, known, strict=True):
            interrupts.check()
            finished.append(finish_cell(cell, signature, found, encoder, options.results, reporter))
            advance(1)
    reused = sum(one.reused for one in finished)
    if reused:
        reporter.remark(f"{reused} of {len(finished)} cells were trained before and are read")
    if reused < len(finished):
        count = len(finished) - reused
        reporter.remark(f"{count} cell{'s' * (count > 1)} trained and scored in {duration(time.monotonic() - begin)}")
    return finished


def _known(results: Path, cell_id: str, reporter: Reporter) -> TrainedCell | None:
    """The trained cell of that id, if it is there and whole."""
    try:
        return find_trained(results, cell_id)
    except DamagedFileError as error:
        reporter.notice(f"{error}; trained again")
        return None


def _told(one: FinishedBaseline) -> dict[str, Any]:
    """The cell's entry in the manifest."""
    task = one.planned.data.task
    return {
        "id": one.signature.id,
        "signature": one.signature.as_dict(),
        "metrics": list(task.metrics),
        "labels": task.labels,
        "domain": task.domain,
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
