"""Tables, documents and notes. Tables and documents go to standard output, notes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.errors import HarnessError, UsageError
from harness.terminal import visible

if TYPE_CHECKING:
    from harness.progress import ConsoleReporter
    from harness.summary import Row
    from harness.tables import Format


def console_reporter() -> ConsoleReporter:
    """Progress and notices on standard error."""
    from rich.console import Console

    from harness.progress import ConsoleReporter

    return ConsoleReporter(Console(stderr=True, emoji=False))


class SetAside:
    """Says on standard error what is set aside, each once, and keeps it for a document's notices."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)
            click.echo(visible(line), err=True)


def print_json(document: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps({"schema": 1, **document}, ensure_ascii=False))


def print_rows(rows: Sequence[Row], chosen: Format, noticed: Sequence[str], said: Sequence[str] = ()) -> None:
    """Args: said: notices that stand on standard error already, and belong into a document."""
    from harness import tables

    if chosen == "json":
        click.echo(tables.as_json(rows, [*said, *noticed]))
        return
    if chosen == "table":
        console = _console()
        for number, table in enumerate(tables.as_text(rows, console)):
            console.print(*[""] * (number > 0), table, sep="\n")
    else:
        writers = {"markdown": tables.as_markdown, "csv": tables.as_csv, "latex": tables.as_latex}
        click.echo(writers[chosen](rows))
    for text in noticed:
        click.echo(visible(f"note: {text}"), err=True)


def print_sensitivity(rows: Sequence[Row], chosen: Format, said: Sequence[str]) -> None:
    from harness.sensitivity import sensitivity, table

    found = [sensitivity(row) for row in rows if row.signature["control"] is None]
    if chosen == "json":
        lines = [{**one.row.as_dict(), "sensitivity": one.as_dict()} for one in found]
        print_json({"rows": lines, "notices": list(said)})
        return
    remark = "template, seed, order, item: shares of the variance of the mean; +-: 95% over new ones of them all"
    print_table(*table(found), [remark])


def print_reports(rows: Sequence[Row], chosen: Format, said: Sequence[str]) -> None:
    from harness.class_report import class_report, report_table
    from harness.summary import row_names

    if chosen not in ("table", "json"):
        raise UsageError(f"--report: is printed as a table or as JSON, not as {chosen}")
    reports = [class_report(row) for row in rows if row.cells[0].labels is not None]
    if not reports:
        raise HarnessError("no row has labels to report on; its items have options of their own")
    if chosen == "json":
        lines = [{**one.row.as_dict(), "report": one.as_dict()} for one in reports]
        print_json({"rows": lines, "notices": list(said)})
        return
    for number, (one, name) in enumerate(zip(reports, row_names([one.row for one in reports]), strict=True)):
        count = len(one.row.cells)
        over = f", {count} cells together" if count > 1 else ""
        click.echo(visible("\n" * (number > 0) + f"{name} ({one.row.n} items{over})"))
        print_table(*report_table(one), [])


def print_table(titles: Sequence[str], lines: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == titles[0])  # names stay whole, for copying
    for line in lines:
        table.add_row(*(escape(visible(text)) for text in line))
    _console().print(table)
    for remark in remarks:
        click.echo(visible(remark), err=True)


def _console() -> Any:
    """Standard output; piped output is never wrapped to a guessed width."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 250
    return Console(width=width, emoji=False)
