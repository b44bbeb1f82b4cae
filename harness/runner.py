"""Runs an evaluation: the one module that knows all stages.

    tasks, data, templates -> prompts -> requests -> known scores + new scores -> predictions -> a stored run

Every task, template and row is read and checked before a model is loaded, and all prompts of a small grid are rendered;
of a large one, those that are scored first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import interrupts
from harness.background import Background
from harness.columns import TOLERANCE
from harness.decide import predict
from harness.encode import EncodedCell, Encoder
from harness.grid import EncodedGrid, PlannedCell, encode_cells, plan_cells
from harness.models import load_model, locate_model
from harness.options import RunOptions
from harness.processes import Processes
from harness.progress import QuietReporter, Reporter
from harness.recorder import cell_entry, new_manifest, recorded
from harness.records import CalibrationName, Example, Prediction, Role, RuleName
from harness.run_store import Manifest, RunFolder
from harness.score_store import ScoreStore
from harness.scoring import Report, Scoring
from harness.search_path import SearchPath
from harness.signature import Signature
from harness.tokenizer import PretrainedTokenizer
from harness.versions import versions

# Raised whenever the same inputs would give other predictions than before; it is in every cell's signature.
METHOD_VERSION = 2


@dataclass(frozen=True, slots=True)
class FinishedCell:
    """One cell with its predictions, in the order of its items."""

    signature: Signature
    items: Sequence[Example]
    predictions: Sequence[Prediction]
    encoded: EncodedCell


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is stored."""

    path: Path
    manifest: Manifest
    cells: Sequence[FinishedCell]


class Session:
    """One model for one evaluation or several: found at once, loaded only when a score is missing.

    Raises, wherever it is used:
        HarnessError: any mistake of the user's, with one clear line; what was scored before it is stored.
        InterruptedRunError: Ctrl-C.
    """

    def __init__(self, options: RunOptions, reporter: Reporter | None = None) -> None:
        self.options = options
        self.processes = Processes()
        self.reporter: Reporter = (reporter if self.processes.main else None) or QuietReporter()
        self.clock = Clock()

    def plan(self, options: RunOptions | None = None) -> list[PlannedCell]:
        """The cells of the grid that the options name; every task, template and row is read and checked."""
        with self.clock.stage("reading"):
            search = SearchPath.default(self.options.include_path)
            return list(plan_cells(options or self.options, search, self.reporter))

    def open(self) -> None:
        """Find the model, and read its tokenizer."""
        options = self.options
        if "model" not in options.model_fields_set:
            self.reporter.remark(
                "no --model given: the small built-in one is used; name a real one with --model PATH or HUB_ID"
            )
        with self.clock.stage("tokenizer"):
            self.files = locate_model(options.model_spec)
            self.tokenizer = PretrainedTokenizer(self.files, self.reporter.notice)
        interrupts.check()
        files = self.files
        store = ScoreStore(options.results, files.fingerprint, files.dtype)
        model = Background(lambda: load_model(files, self.reporter.notice))
        if options.fresh or options.engine != "auto" or store.empty:
            model.start()  # it will be needed, and loads while the prompts are tokenised
        self._encoder = Encoder(
            self.tokenizer,
            scope=f"{files.fingerprint}/{files.dtype}",
            max_inputs=files.max_inputs,
            vocabulary=files.vocabulary,
        )
        self.scoring = Scoring(
            model,
            store,
            self.processes,
            self.reporter,
            provenance={"device": files.device, **versions(("harness", "torch", "transformers"))},
            fresh=options.fresh,
            engine=None if options.engine == "auto" else options.engine,
        )

    def close(self) -> None:
        """Say what scoring came to, and leave the group of processes once all have come this far."""
        if self.scoring.report.distinct:
            self.reporter.remark(self.scoring.told(self.clock.total["scoring"]))
        self.processes.close()

    def encode(self, cells: Sequence[PlannedCell]) -> EncodedGrid:
        """Render and tokenise: all of a small grid, and as much of a large one as is scored first."""
        with self.clock.stage("rendering and tokenising"):
            encoded = encode_cells(cells, self._encoder, self.reporter)
        interrupts.check()
        return encoded

    def finish(self, cells: Sequence[PlannedCell], encoded: EncodedGrid, split: Role) -> list[FinishedCell]:
        """Score and decide; ``split`` is the role whose items the cells hold."""
        with self.clock.stage("scoring"):
            sums = self.scoring.sums(encoded)
        for told in encoded.said:
            self.reporter.notice(told)
        finished = []
        with self.clock.stage("deciding"):
            for planned, cell, rows, companions in zip(
                cells, encoded.cells, encoded.rows, encoded.companions, strict=True
            ):
                interrupts.check()
                beside = {name: companion.beside(sums) for name, companion in companions.items()}
                for rule, calibration in planned.readings:
                    signature = _signature(planned, rule, calibration, split, self)
                    predictions = predict(planned.items, cell, sums[rows], rule, calibration, beside)
                    finished.append(FinishedCell(signature, planned.items, predictions, cell))
        return finished


def run(options: RunOptions, reporter: Reporter | None = None, command: Sequence[str] = ()) -> FinishedRun:
    """Evaluate the grid of tasks x templates x shots x seeds, and store the run.

    Under ``accelerate launch`` every process calls this; they share the scoring out, and the main one writes the run.

    Raises:
        HarnessError: any mistake of the user's, with one clear line; what was scored before it is stored.
        InterruptedRunError: Ctrl-C.
    """
    session = Session(options, reporter)
    cells = session.plan()
    session.open()
    finished = store_run(session, cells, session.encode(cells), command)
    session.close()
    return finished


def store_run(
    session: Session,
    cells: Sequence[PlannedCell],
    encoded: EncodedGrid,
    command: Sequence[str] = (),
    *,
    options: RunOptions | None = None,
    selection_labels: int = 0,
) -> FinishedRun:
    """Score encoded cells and store them as a run, whose manifest tells how far it came whatever happens.

    Args:
        options: those that the cells are of; None for the session's.
        selection_labels: those that the choice of the cells' prompts has seen.
    """
    options, main = options or session.options, session.processes.main
    folder = session.processes.from_main(RunFolder(options.results))
    manifest = _manifest(folder, session, options, cells, command)
    before = replace(session.scoring.report)

    def note(manifest: Manifest) -> None:
        manifest.seconds = session.clock.seconds
        _account(manifest, session.scoring.report, before)

    with recorded(folder, manifest, session.reporter.notices, note=note, writes=main):
        finished = session.finish(cells, encoded, options.split)
        _say_deviation(finished, session)
        if main:
            manifest.close_items = _close_items(finished)
            tasks = {cell.data.task.name: cell.data.task for cell in cells}
            manifest.cells = [
                cell_entry(
                    cell.signature,
                    tasks[cell.signature.task],
                    len(cell.items),
                    straddling=cell.encoded.straddling,
                    selection_labels=selection_labels,
                )
                for cell in finished
            ]
            folder.write_candidates([(cell.signature, cell.items, cell.encoded) for cell in finished])
            folder.write_predictions([(cell.signature, cell.items, cell.predictions) for cell in finished])
    return FinishedRun(folder.path, manifest, finished)


def _account(manifest: Manifest, report: Report, before: Report) -> None:
    """Note what scoring came to since ``before``."""
    manifest.requests = {
        "distinct": report.distinct - before.distinct,
        "from store": report.from_store - before.from_store,
        "scored": report.scored - before.scored,
    }
    manifest.tokens_computed = report.tokens - before.tokens
    manifest.peak_memory_bytes = report.peak_memory
    manifest.model = {
        **manifest.model,
        "engine": report.engine,
        "engines_rejected": report.rejected,
        "deviation": report.deviation,
        "deviation_of": report.compared,
    }


def _close_items(finished: Sequence[FinishedCell]) -> list[dict[str, Any]]:
    """The items of each cell whose prediction float32 arithmetic may change."""
    close = {
        cell.signature.id: [p.item_id for p in cell.predictions if p.status == "ok" and p.margin < p.tolerance]
        for cell in finished
    }
    return [{"cell": cell, "items": items} for cell, items in close.items() if items]


def _say_deviation(finished: Sequence[FinishedCell], session: Session) -> None:
    """Say what half precision may have changed."""
    report = session.scoring.report
    if session.files.dtype == "float32" or report.deviation is None:
        return
    predictions = [one for cell in finished for one in cell.predictions if one.status != "too_long"]
    close = sum(one.margin < one.tolerance * report.deviation / TOLERANCE for one in predictions)
    session.reporter.remark(
        f"{session.files.dtype}: scores differ from plain rows by up to {report.deviation:.1e} a token in the"
        f" {report.compared} answers that were compared, and by more in about one of {report.compared + 1}; {close:,}"
        f" of {len(predictions):,} predictions have a margin below that of two answers"
    )


def _signature(
    planned: PlannedCell, rule: RuleName, calibration: CalibrationName, split: Role, session: Session
) -> Signature:
    data, template = planned.data, planned.template
    files, tokenizer = session.files, session.tokenizer
    return Signature(
        approach="prompt",
        method_version=METHOD_VERSION,
        labels_used=planned.shots,
        task=data.task.name,
        task_reading=data.task.reading,
        data=data.origin,
        data_hash=data.hashes[split],
        role=split,
        split=data.task.splits[split],
        template=template.name,
        template_hash=template.fingerprint,
        shots=planned.shots,
        demo_seed=planned.seed,
        **planned.demos.signature,
        rule=rule,
        calibration=calibration,
        control=planned.control,
        model=files.label,
        model_fingerprint=files.fingerprint,
        tokenizer_hash=tokenizer.fingerprint,
        dtype=files.dtype,
        bos=files.spec.bos,
        max_inputs=files.max_inputs,
    )


def _manifest(
    folder: RunFolder, session: Session, options: RunOptions, cells: Sequence[PlannedCell], command: Sequence[str]
) -> Manifest:
    import torch

    files, tokenizer = session.files, session.tokenizer
    return new_manifest(
        folder,
        options=options,
        command=command,
        packages=("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "jinja2"),
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
            "processes": session.processes.count,
        },
        data=[cell.data for cell in cells],
    )


class Clock:
    """Wall time of each stage, in seconds: the last time, and in ``total`` all times."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.total: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            passed = time.monotonic() - begin
            self.seconds[name] = round(passed, 3)
            self.total[name] = self.total.get(name, 0.0) + passed
