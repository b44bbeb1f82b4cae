"""``harness baseline``: trains every method on every training set, and stores a run like that of prompts.

tasks, data -> nested training sets -> trained cells (known ones are read) -> predictions -> a stored run
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from harness.errors import DamagedFileError
from harness.progress import QuietReporter, Reporter, duration
from harness.recorder import cell_entry, new_manifest, recorded
from harness.run_store import Manifest, RunFolder


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
    seconds = {"reading": round(time.monotonic() - begin, 3)}

    def note(manifest: Manifest) -> None:
        manifest.seconds = seconds

    with recorded(folder, manifest, reporter.notices, note=note):
        begin = time.monotonic()
        finished = _finish(cells, encoder, options, reporter, seconds)
        seconds["training and scoring"] = round(time.monotonic() - begin, 3)
        folder.write_predictions([(one.signature, one.planned.items, one.predictions) for one in finished])
        manifest.cells = [
            cell_entry(
                one.signature,
                one.planned.data.task,
                len(one.planned.items),
                chosen=one.trained.chosen,
                costs=one.trained.costs,
                reused=one.reused,
            )
            for one in finished
        ]
    return FinishedBaselines(folder.path, manifest, finished)


def _finish(
    cells: Sequence[PlannedBaseline],
    encoder: Encoder | None,
    options: BaselineOptions,
    reporter: Reporter,
    seconds: dict[str, float],
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
        seconds["embedding"] = round(time.monotonic() - begin, 3)
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


def _manifest(
    folder: RunFolder,
    options: BaselineOptions,
    cells: Sequence[PlannedBaseline],
    encoder: Encoder | None,
    command: Sequence[str],
) -> Manifest:
    model: dict[str, Any] = {"name": ", ".join(options.methods)}
    if encoder is not None:
        files = encoder.files
        model["encoder"] = {"name": files.spec.name, "path": str(files.path), "fingerprint": files.fingerprint}
    return new_manifest(
        folder,
        options=options,
        command=command,
        packages=("scikit-learn", "scipy", "numpy", "torch", "transformers", "datasets"),
        model=model,
        data=[cell.data for cell in cells],
    )
