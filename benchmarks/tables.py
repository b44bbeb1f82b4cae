"""Prints tables, as Markdown that is lined up."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Timed


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> str:
    """The first ``words`` columns are lined up on the left, the numbers after them on the right."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        placed = enumerate(zip(cells, widths, strict=True))
        return f"| {' | '.join(cell.ljust(width) if i < words else cell.rjust(width) for i, (cell, width) in placed)} |"

    rule = "|".join("-" * (width + 2) if i < words else "-" * (width + 1) + ":" for i, width in enumerate(widths))
    return "\n".join([line(columns), f"|{rule}|", *map(line, rows)])


def megabytes(runs: Sequence[Timed]) -> str:
    """The most that any of the runs took."""
    found = [run.memory for run in runs if run.memory is not None]
    return f"{max(found) / 1e6:,.0f}" if found else ""
