"""The grid of an evaluation: which prompt configurations there are, and the distinct requests that they come to.

It reads, renders and tokenises; it scores nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from harness import interrupts
from harness.background import Ahead
from harness.columns import Requests
from harness.combinations import LeftOut, controls, numbers_of_shots, readings
from harness.companions import Companion, contextual, domain, null, premise
from harness.controls import control_seed, controlled_demos, controlled_items
from harness.data import TaskData, limited, open_data, told_of
from harness.decide import Beside
from harness.demo_plan import CellDemos, DemoPlanner
from harness.encode import EncodedCell, Encoder
from harness.errors import TemplateError, UsageError
from harness.options import RunOptions
from harness.progress import Advance, Reporter
from harness.records import Example, Prompt, Reading, Role
from harness.render import Renderer
from harness.rules import COMPARED
from harness.search_path import SearchPath
from harness.tasks import Catalogue, Task
from harness.templates import Template, find_templates, load_templates

# The first round ends with the cell with which it has as many, about a second's work; each later one has twice as many
# as that before it. The first is encoded before scoring begins, and the others beside it.
ROUND_TOKENS = 1 << 22


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One prompt configuration, or a control of it, to evaluate under every reading of its scores asked for."""

    data: TaskData
    items: Sequence[Example]
    template: Template
    shots: int
    seed: int | None
    readings: tuple[Reading, ...]
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
class _Lengths:
    """How many predictions compare with prompts that are too long for the model."""

    predictions: int = 0
    shorter: int = 0  # some of their prompts stand after fewer demonstrations
    lost: int = 0  # some of their prompts do not fit with none
    uncalibrated: int = 0  # none of their prompts fits

    def told(self, task: str, calibration: str) -> str:
        """A notice."""
        told = [f"{task}: some prompts without text, for {calibration} calibration, are too long for the model"]
        if self.shorter:
            told.append(
                f"they show fewer demonstrations than the item's for {self.shorter} of {self.predictions} answers"
            )
        if self.lost:
            told.append(f"they do not fit with none, and are left out, for {self.lost} of {self.predictions} answers")
        if self.uncalibrated:
            told.append(f"none is left for {self.uncalibrated} answers, which stay as they are")
        return "; ".join(told)


class EncodedGrid:
    """The cells of a grid as they are encoded, and their distinct requests: cell ``i``'s request ``j`` is row
    ``rows[i][j]`` of them. ``companions[i]`` are what cell ``i`` is compared with, by name.

    The first round of requests is there at once. The others, of a large grid, are encoded while earlier ones are
    scored; the lists are complete when all rounds have been taken, and what goes wrong in one is raised in its place.
    """

    def __init__(self) -> None:
        self.cells: list[EncodedCell] = []
        self.rows: list[npt.NDArray[np.int64]] = []
        self.companions: list[dict[str, EncodedCompanion]] = []
        self._distinct = _Distinct()
        self._lengths: dict[tuple[str, str], _Lengths] = {}
        self._first = Requests.concatenate([])
        self._later: Ahead[Requests] = Ahead(iter(()))
        self.closed = False

    def rounds(self) -> Iterator[Requests]:
        """The distinct requests, in order, to be taken once.

        Raises:
            HarnessError: a prompt cannot be rendered or tokenised.
        """
        self._later.start()
        yield self._first
        yield from self._later

    def known(self) -> int:
        """How many distinct requests there are so far."""
        return len(self._distinct)

    def check(self) -> None:
        """Raises what goes wrong in a later round, as soon as it has."""
        self._later.check()

    def close(self) -> None:
        """Encode no more cells."""
        self.closed = True

    def encode(self, cell: PlannedCell, encoder: Encoder) -> Requests:
        """Add a cell; gives those of its requests that no earlier one has."""
        renderer = Renderer(cell.template, cell.demos.layout)
        items, demos = controlled_items(cell.control, cell.items), _demos(cell)
        prompts = [renderer.prompt(item, shown) for item, shown in zip(items, demos, strict=True)]
        encoded, requests = encoder.cell(prompts)
        rows, new = self._distinct.rows(requests)
        # What is compared with stands after the demonstrations that the item kept, should it have lost some for length.
        kept = [shown[:count] for shown, count in zip(demos, encoded.shots, strict=True)]
        companions, parts = {}, [new]
        for name, companion in _companions(cell, items, kept, prompts, renderer):
            beside, requests = encoder.cell(companion.prompts)
            self._note_length(cell, encoded, name, companion, beside)
            placed, new = self._distinct.rows(requests)
            companions[name] = EncodedCompanion(beside, placed, companion)
            parts.append(new)
        self.cells.append(encoded)
        self.rows.append(rows)
        self.companions.append(companions)
        return Requests.concatenate(parts)

    @property
    def said(self) -> list[str]:
        """What a reader must know of what was encoded so far."""
        return [count.told(task, name) for (task, name), count in self._lengths.items() if count.shorter or count.lost]

    def _note_length(
        self, cell: PlannedCell, encoded: EncodedCell, name: str, companion: Companion, beside: EncodedCell
    ) -> None:
        """Count the items whose companions are too long for the model."""
        if companion.context is None:
            longer = min(beside.too_long - encoded.too_long, default=None)
            if longer is not None:
                raise TemplateError(
                    cell.template.path,
                    f"the answers after the {name} are longer than the model can read, though the prompt is not (item"
                    f" {cell.items[longer].place})",
                )
            return
        count = self._lengths.setdefault((cell.data.task.name, name), _Lengths())
        fitting = [index for index in range(len(cell.items)) if index not in encoded.too_long]
        shape = (-1, companion.per_context)
        pairs = list(enumerate(zip(companion.prompts, beside.shots, strict=True)))
        lost = np.array([i in beside.too_long for i, _ in pairs]).reshape(shape)
        shorter = np.array([shots < len(prompt.demo_ids) for _, (prompt, shots) in pairs]).reshape(shape) & ~lost
        context = companion.context[fitting]
        count.predictions += len(fitting)
        count.shorter += int(shorter[context].any(axis=1).sum())
        count.lost += int(lost[context].any(axis=1).sum())
        count.uncalibrated += int(lost[context].all(axis=1).sum())

    def begin(self, first: Requests, later: Iterator[Requests]) -> None:
        self._first, self._later = first, Ahead(later)


def prompts_of(cell: PlannedCell) -> list[Prompt]:
    """The prompt of each item of a cell, with all of its demonstrations, as ``encode`` has them."""
    renderer = Renderer(cell.template, cell.demos.layout)
    items = controlled_items(cell.control, cell.items)
    return [renderer.prompt(item, shown) for item, shown in zip(items, _demos(cell), strict=True)]


def plan_cells(options: RunOptions, search: SearchPath, reporter: Reporter) -> Iterator[PlannedCell]:
    """Every cell of tasks x shots x seeds x templates x orders, with its controls; k = 0 has no seed and no order.

    What makes no sense is left out, which a notice says.

    Raises:
        HarnessError: anything wrong with a task, a template or its data; or nothing is left.
    """
    catalogue = Catalogue(search)
    planner = DemoPlanner(options, reporter)
    left_out = LeftOut()
    empty = True
    for task in catalogue.select(options.tasks):
        interrupts.check()
        _mention_shadows(task, catalogue, search, reporter)
        templates = load_templates(task, search, options.prompts)
        of_words = "domain" in options.calibrate and task.labels is not None and "pool" in task.splits
        roles: set[Role] = {options.split, "pool"} if planner.needs_pool or of_words else {options.split}
        data = open_data(task, options, roles, reporter.notice)
        if data.duplicates:
            found = "1 row of the pool equals" if data.duplicates == 1 else f"{data.duplicates} rows of the pool equal"
            reporter.notice(
                f"{task.name}: {found} a reported item and {'is' if data.duplicates == 1 else 'are'} not used"
            )
        for told in told_of(data, options.split):
            reporter.notice(told)
        items = limited(data.role(options.split), options.limit, options.seed)
        pool = data.roles.get("pool", ())
        read = {template: readings(options, task, template, items, pool, left_out) for template in templates}
        templates = [template for template in templates if read[template]]
        if not templates:
            continue
        demos = planner.of(data, items)
        for shots in numbers_of_shots(options, task, left_out):
            for seed, template in product(demos.seeds(shots), templates):
                interrupts.check()
                for order in demos.orders(shots, seed, template):
                    drawn = demos.cell(shots, seed, order)
                    changing = controls(options.controls, task, template, items, drawn, seed, left_out)
                    for control in (None, *changing):
                        empty = False
                        yield PlannedCell(data, items, template, shots, seed, read[template], control, drawn)
    planner.release()
    if empty:
        raise UsageError(f"nothing is left to evaluate: {left_out.told}")
    if left_out.told:
        reporter.notice(f"left out: {left_out.told}")


def _mention_shadows(task: Task, catalogue: Catalogue, search: SearchPath, reporter: Reporter) -> None:
    if task.name in catalogue.shadowed:
        reporter.notice(f"task {task.name}: {task.path} is used instead of {catalogue.shadowed[task.name]}")
    found, shadowed = find_templates(task, search)
    for name, path in shadowed.items():
        reporter.notice(f"prompt {name}: {found[name]} is used instead of {path}")


def encode_cells(cells: Sequence[PlannedCell], encoder: Encoder, reporter: Reporter) -> EncodedGrid:
    """Render and tokenise every cell, and keep each request once, whichever cells have it."""
    grid = EncodedGrid()
    rest = iter(cells)
    with reporter.track("rendering", sum(len(cell.items) for cell in cells), "prompts") as advance:
        first = next(_rounds(grid, rest, encoder, ROUND_TOKENS, advance), Requests.concatenate([]))
    grid.begin(first, _rounds(grid, rest, encoder, 2 * ROUND_TOKENS))
    return grid


def _rounds(
    grid: EncodedGrid,
    cells: Iterator[PlannedCell],
    encoder: Encoder,
    size: int,
    advance: Advance = lambda count, total=None: None,
) -> Iterator[Requests]:
    parts: list[Requests] = []
    for cell in cells:
        interrupts.check()
        if grid.closed:
            return
        parts.append(grid.encode(cell, encoder))
        advance(len(cell.items))
        if sum(len(part.tokens) for part in parts) >= size:
            yield Requests.concatenate(parts)
            parts, size = [], 2 * size  # few rounds, so that little is looked up or computed again
    if parts:
        yield Requests.concatenate(parts)


class _Distinct:
    """The keys of requests, each once."""

    def __init__(self) -> None:
        self._row_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def rows(self, requests: Requests) -> tuple[npt.NDArray[np.int64], Requests]:
        """Where each request stands among the distinct ones; and those that are new, which are added."""
        new = []
        rows = np.empty(len(requests), np.int64)
        for i, key in enumerate(map(bytes, requests.keys)):
            if key not in self._row_of:
                self._row_of[key] = len(self._row_of)
                new.append(i)
            rows[i] = self._row_of[key]
        return rows, requests.take(np.array(new, np.int64))


def _companions(
    cell: PlannedCell,
    items: Sequence[Example],
    demos: Sequence[Sequence[Example]],
    prompts: Sequence[Prompt],
    renderer: Renderer,
) -> Iterator[tuple[str, Companion]]:
    """What the rules and calibrations of a cell compare with."""
    wanted = {name for rule, calibration in cell.readings for name in (COMPARED.get(rule), calibration)}
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
    chance = control_seed(cell.data.task.name, cell.seed)
    return [controlled_demos(cell.control, cell.demos.draw(item), chance) for item in cell.items]
