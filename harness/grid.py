"""The grid of an evaluation: which prompt configurations there are, and the distinct requests that they come to.

It reads, renders and tokenises; it scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.columns import Requests
from harness.data import TaskData, limited, load_data
from harness.encode import EncodedCell, Encoder
from harness.options import RunOptions
from harness.progress import Reporter
from harness.records import Example, Prompt, Role, RuleName
from harness.render import Renderer
from harness.search_path import SearchPath
from harness.shots import Demonstrations
from harness.sources import row_source
from harness.tasks import Catalogue, Task
from harness.templates import Template, find_templates, load_templates


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One prompt configuration to evaluate, under every rule asked for."""

    data: TaskData
    items: Sequence[Example]
    template: Template
    shots: int
    seed: int | None
    rules: tuple[RuleName, ...]


@dataclass(slots=True)
class EncodedGrid:
    """The cells encoded, and their distinct requests: cell ``i``'s request ``j`` is row ``rows[i][j]`` of
    ``requests``."""

    cells: list[EncodedCell] = field(default_factory=list)
    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    requests: Requests = field(default_factory=lambda: Requests.concatenate([]))


def plan_cells(options: RunOptions, search: SearchPath, reporter: Reporter) -> Iterator[PlannedCell]:
    """Every cell of tasks x shots x seeds x templates; k = 0 has no seed.

    Raises:
        HarnessError: anything wrong with a task, a template or its data.
    """
    catalogue = Catalogue(search)
    for task in catalogue.select(options.tasks):
        _mention_shadows(task, catalogue, search, reporter)
        templates = load_templates(task, search, options.prompts)
        roles: set[Role] = {options.split, "pool"} if any(options.shots) else {options.split}
        data = load_data(task, row_source(task, options.data, options.data_dir, reporter.notice), roles)
        if data.duplicates:
            found = "1 row of the pool equals" if data.duplicates == 1 else f"{data.duplicates} rows of the pool equal"
            reporter.notice(
                f"{task.name}: {found} a reported item and {'is' if data.duplicates == 1 else 'are'} not used"
            )
        items = limited(data.role(options.split), options.limit, options.seed)
        rules: tuple[RuleName, ...] = options.rule or (task.primary_rule,)
        for shots in options.shots:
            for seed in options.demo_seeds if shots else (None,):
                for template in templates:
                    yield PlannedCell(data, items, template, shots, seed, rules)


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
    row_of: dict[bytes, int] = {}
    parts: list[Requests] = []
    demonstrations: dict[tuple[str, int], Demonstrations] = {}
    with reporter.track("rendering", sum(len(cell.items) for cell in cells), "prompts") as advance:
        for cell in cells:
            encoded, requests = encoder.cell(_prompts(cell, demonstrations, options))
            new = []
            rows = np.empty(len(requests), np.int64)
            for i, key in enumerate(map(bytes, requests.keys)):
                if key not in row_of:
                    row_of[key] = len(row_of)
                    new.append(i)
                rows[i] = row_of[key]
            parts.append(requests.take(np.array(new, np.int64)))
            grid.cells.append(encoded)
            grid.rows.append(rows)
            advance(len(cell.items))
    grid.requests = Requests.concatenate(parts)
    return grid


def _prompts(cell: PlannedCell, draws: dict[tuple[str, int], Demonstrations], options: RunOptions) -> list[Prompt]:
    """The prompts of a cell's items, with demonstrations that every template and model shares."""
    renderer = Renderer(cell.template)
    if cell.seed is None:
        return [renderer.prompt(item, ()) for item in cell.items]
    task = cell.data.task.name
    if (task, cell.seed) not in draws:
        draws[task, cell.seed] = Demonstrations(task, cell.data.role("pool"), options.demos, cell.seed)
    drawing = draws[task, cell.seed]
    return [renderer.prompt(item, drawing.draw(item, cell.shots)) for item in cell.items]
