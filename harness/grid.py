"""The grid of an evaluation: which prompt configurations there are, and the distinct requests that they come to.

It reads, renders and tokenises; it scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from harness.columns import Requests
from harness.companions import Companion, contextual, domain, null, premise
from harness.controls import controlled_demos, controlled_items, expand
from harness.data import TaskData, limited, load_data
from harness.decide import Beside
from harness.demo_plan import CellDemos, DemoPlanner
from harness.encode import EncodedCell, Encoder
from harness.errors import UsageError
from harness.options import RunOptions
from harness.progress import Reporter
from harness.records import CalibrationName, Example, Prompt, Role, RuleName
from harness.render import Renderer
from harness.rules import COMPARED
from harness.search_path import SearchPath
from harness.sources import row_source
from harness.tasks import Catalogue, Task
from harness.templates import Template, find_templates, load_templates


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One prompt configuration, or a control of it, to evaluate under every rule and calibration asked for."""

    data: TaskData
    items: Sequence[Example]
    template: Template
    shots: int
    seed: int | None
    rules: tuple[RuleName, ...]
    calibrations: tuple[CalibrationName, ...] = ("none",)
    control: str | None = None
    demos: CellDemos = field(default_factory=CellDemos)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCompanion:
    """Companion prompts of a cell, encoded; ``rows`` places their candidates among the grid's requests."""

    cell: EncodedCell
    rows: npt.NDArray[np.int64]
    companion: Companion

    def beside(self, sums: npt.NDArray[np.float64]) -> Beside:
        """With the scores of the grid's requests, shape [n requests]."""
        return Beside(self.cell, sums[self.rows], self.companion.context, self.companion.per_context)


@dataclass(slots=True)
class EncodedGrid:
    """The cells encoded, and their distinct requests: cell ``i``'s request ``j`` is row ``rows[i][j]`` of
    ``requests``. ``companions[i]`` are what cell ``i`` is compared with, by name."""

    cells: list[EncodedCell] = field(default_factory=list)
    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    companions: list[dict[str, EncodedCompanion]] = field(default_factory=list)
    requests: Requests = field(default_factory=lambda: Requests.concatenate([]))


def plan_cells(options: RunOptions, search: SearchPath, reporter: Reporter) -> Iterator[PlannedCell]:
    """Every cell of tasks x shots x seeds x templates x orders; k = 0 has no seed and no order.

    Raises:
        HarnessError: anything wrong with a task, a template or its data.
    """
    catalogue = Catalogue(search)
    planner = DemoPlanner(options, reporter)
    for task in catalogue.select(options.tasks):
        _mention_shadows(task, catalogue, search, reporter)
        templates = load_templates(task, search, options.prompts)
        _check_readings(task, options)
        needs_pool = planner.needs_pool or "domain" in options.calibrate
        roles: set[Role] = {options.split, "pool"} if needs_pool else {options.split}
        data = load_data(task, row_source(task, options.data, options.data_dir, reporter.notice), roles)
        if data.duplicates:
            found = "1 row of the pool equals" if data.duplicates == 1 else f"{data.duplicates} rows of the pool equal"
            reporter.notice(
                f"{task.name}: {found} a reported item and {'is' if data.duplicates == 1 else 'are'} not used"
            )
        items = limited(data.role(options.split), options.limit, options.seed)
        rules: tuple[RuleName, ...] = options.rule or (task.primary_rule,)
        demos = planner.of(data, items)
        for shots in options.shots:
            controls = (None, *expand(options.controls, items, shots))
            for seed, template in product(demos.seeds(shots), templates):
                for order, control in product(demos.orders(shots, seed, template), controls):
                    drawn = demos.cell(shots, seed, order)
                    yield PlannedCell(data, items, template, shots, seed, rules, options.calibrate, control, drawn)
    planner.release()


def _check_readings(task: Task, options: RunOptions) -> None:
    """Calibration speaks of the classes of a task; the options of an item are no classes."""
    calibrated = [name for name in options.calibrate if name != "none"]
    if calibrated and task.labels is None:
        raise UsageError(f"--calibrate {calibrated[0]}: {task.name} has options of each item's own, and no labels")
    if {"contextual", "domain"} & set(calibrated) and set(options.rule or (task.primary_rule,)) & COMPARED.keys():
        raise UsageError(
            f"--calibrate {calibrated[0]}: the rules {' and '.join(COMPARED)} already compare with another context; use"
            " sum, token, char or byte"
        )


def _mention_shadows(task: Task, catalogue: Catalogue, search: SearchPath, reporter: Reporter) -> None:
    if task.name in catalogue.shadowed:
        reporter.notice(f"task {task.name}: {task.path} is used instead of {catalogue.shadowed[task.name]}")
    found, shadowed = find_templates(task, search)
    for name, path in shadowed.items():
        reporter.notice(f"prompt {name}: {found[name]} is used instead of {path}")


def encode_cells(
    cells: Sequence[PlannedCell], encoder: Encoder, options: RunOptions, reporter: Reporter
) -> EncodedGrid:
    """Render and tokenise every cell, and keep each request once, whichever cells have it."""
    grid = EncodedGrid()
    distinct = _Distinct()
    with reporter.track("rendering", sum(len(cell.items) for cell in cells), "prompts") as advance:
        for cell in cells:
            renderer = Renderer(cell.template, cell.demos.layout)
            items = controlled_items(cell.control, cell.items)
            demos = _demos(cell)
            prompts = [renderer.prompt(item, shown) for item, shown in zip(items, demos, strict=True)]
            encoded, requests = encoder.cell(prompts)
            grid.cells.append(encoded)
            grid.rows.append(distinct.rows(requests))
            found: dict[str, EncodedCompanion] = {}
            for name, companion in _companions(cell, items, demos, prompts, renderer):
                beside, requests = encoder.cell(companion.prompts)
                found[name] = EncodedCompanion(beside, distinct.rows(requests), companion)
            grid.companions.append(found)
            advance(len(cell.items))
    grid.requests = distinct.requests()
    return grid


class _Distinct:
    """Requests by their keys, each kept once."""

    def __init__(self) -> None:
        self._row_of: dict[bytes, int] = {}
        self._parts: list[Requests] = []

    def rows(self, requests: Requests) -> npt.NDArray[np.int64]:
        """Where each request stands among the distinct ones; those that are new are added."""
        new = []
        rows = np.empty(len(requests), np.int64)
        for i, key in enumerate(map(bytes, requests.keys)):
            if key not in self._row_of:
                self._row_of[key] = len(self._row_of)
                new.append(i)
            rows[i] = self._row_of[key]
        self._parts.append(requests.take(np.array(new, np.int64)))
        return rows

    def requests(self) -> Requests:
        return Requests.concatenate(self._parts)


def _companions(
    cell: PlannedCell,
    items: Sequence[Example],
    demos: Sequence[Sequence[Example]],
    prompts: Sequence[Prompt],
    renderer: Renderer,
) -> Iterator[tuple[str, Companion]]:
    """What the rules and calibrations of a cell compare with."""
    wanted = {*(COMPARED[rule] for rule in cell.rules if rule in COMPARED), *cell.calibrations}
    if "premise" in wanted:
        yield "premise", premise(cell.template, items, prompts)
    if "null" in wanted:
        yield "null", null(prompts)
    if "contextual" in wanted:
        yield "contextual", contextual(items, demos, renderer)
    if "domain" in wanted:
        yield "domain", domain(items, demos, renderer, cell.data.role("pool"), cell.data.task.name)


def _demos(cell: PlannedCell) -> list[Sequence[Example]]:
    """The demonstrations of each item in the order drawn, which every template shares."""
    seed = f"{cell.data.task.name} {cell.seed}"
    return [controlled_demos(cell.control, cell.demos.draw(item), seed) for item in cell.items]
