"""Which stored results a leaderboard ranks: those that filters name, the latest of equal ones, whole or taken apart.

It chooses among cells and rows; it aggregates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from harness.breakdown import broken_down
from harness.cell_results import CellResult
from harness.errors import UsageError, suggest
from harness.name_patterns import fitting
from harness.notices import Notice, findings
from harness.records import digest
from harness.signature import fields_that
from harness.summary import By, Row, Status, summarise

# What makes a row and is a user's choice; the rest changes between two equal commands: files, data and this program.
_CHOSEN = fields_that(lambda about: about.row and about.chosen)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is wanted; empty names want all. ``older`` also shows rows that a later equal one replaces."""

    models: Sequence[str] = ()
    shots: Sequence[int] = ()
    prompts: Sequence[str] = ()
    status: Sequence[str] = ()
    older: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """Ranked rows, or parts of them.

    ``replaced`` counts rows that are left out since a later one is equal to them; ``unparted`` names tasks whose rows
    have no such parts.
    """

    rows: Sequence[Row]
    findings: Sequence[Notice]
    replaced: int
    unparted: Sequence[str] = ()

    @property
    def remarks(self) -> list[str]:
        """What is left out."""
        told = []
        if self.replaced:
            rows = "1 older row" if self.replaced == 1 else f"{self.replaced} older rows"
            told.append(f"{rows} of the same settings left out, of other files, data or versions: --older shows them")
        if self.unparted:
            tasks = ", ".join(self.unparted)
            told.append(f"left out, as items with options of their own have no classes: {tasks}")
        return told


def board(cells: Iterable[CellResult], filters: Filters | None = None, by: By | None = None) -> Board:
    """What a leaderboard shows of these cells.

    Raises:
        UsageError: a name fits nothing that is stored.
        HarnessError: nothing can be taken apart as asked.
    """
    filters = filters or Filters()
    rows = summarise(_wanted(list(cells), filters))
    if filters.status:
        rows = _of_status(rows, filters.status)
    kept = rows if filters.older else latest(rows)
    shown = kept if by is None else broken_down(kept, by)
    # The mean of several tasks has no items of its own that another could be paired with.
    found = findings(kept if by == "domain" else shown)
    unparted = sorted({row.task_label for row in kept} - {row.task_label for row in shown}) if by == "class" else []
    return Board(shown, found, len(rows) - len(kept), unparted)


def latest(rows: Sequence[Row]) -> list[Row]:
    """Of rows that are equal in all that a user chooses, the one that ran last."""
    last: dict[str, Row] = {}
    for row in rows:
        known = last.get(_chosen(row))
        if known is None or _created(known) < _created(row):
            last[_chosen(row)] = row
    return [row for row in rows if last[_chosen(row)] is row]


def _chosen(row: Row) -> str:
    items = None if row.status == "complete" else row.items_hash
    return digest([row.signature.values(_CHOSEN), row.chosen, row.status, items])


def _created(row: Row) -> str:
    return max(cell.created for cell in row.cells)


def _wanted(cells: Sequence[CellResult], filters: Filters) -> list[CellResult]:
    """The cells that fit all filters; each filter must fit something that is stored, be it other cells."""
    models = _fitting(cells, "model", filters.models, "--model")
    prompts = _fitting(cells, "template", filters.prompts, "--prompts")
    known = sorted({cell.signature.shots for cell in cells if cell.signature.shots is not None})
    for k in filters.shots:
        if k not in known:
            told = f"shots: {', '.join(map(str, known))}" if known else "no prompt is stored"
            raise UsageError(f"--shots {k}: nothing stored has that many ({told})")
    return [
        cell
        for cell in cells
        if (not filters.models or models & set(_spellings(cell, "model")))
        and (not filters.prompts or prompts & set(_spellings(cell, "template")))
        and (not filters.shots or cell.signature.shots in filters.shots)
    ]


def _fitting(cells: Sequence[CellResult], key: str, wanted: Sequence[str], option: str) -> set[str]:
    """The spellings that are wanted by name, or that fit a pattern."""
    known = list(dict.fromkeys(name for cell in cells for name in _spellings(cell, key)))
    fits: set[str] = set()
    for name in wanted:
        found = fitting(name, known)
        if not found:
            raise UsageError(f"{option} {name}: nothing of that name is stored{suggest(name, known)}")
        fits.update(found)
    return fits


def _spellings(cell: CellResult, key: str) -> list[str]:
    if key == "template" and cell.signature.approach == "baseline":
        return []  # what is trained has no prompt
    name = str(cell.signature.value(key))
    return [name.rstrip("/").split("/")[-1], name]


def _of_status(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    known = get_args(Status)
    for name in wanted:
        if name not in known:
            raise UsageError(f"--status: unknown value {name!r}{suggest(name, known)}")
    return [row for row in rows if row.status in wanted]
