"""Tables, documents and notes. Tables and documents go to standard output, notes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.errors import HarnessError
from harness.terminal import one_line, visible

if TYPE_CHECKING:
    from harness.formats import Format
    from harness.layout import Table
    from harness.notices import Notice
    from harness.progress import ConsoleReporter
    from harness.summary import Row


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
            click.echo(one_line(line), err=True)


def print_json(document: Mapping[str, Any]) -> None:
    import json

    click.echo(json.dumps({"schema": 1, **document}, ensure_ascii=False))


def print_rows(
    rows: Sequence[Row],
    chosen: Format,
    noticed: Sequence[Notice],
    *,
    told: Sequence[str] = (),
    remarks: Sequence[str] = (),
    all_notices: bool = False,
) -> None:
    """Print rows, and on standard error what to know about them.

    Args:
        told: what stands on standard error already, and belongs into a document.
        remarks: what belongs below a table.
        all_notices: print every notice, and not a few lines that stand for many.
    """
    from harness import tables
    from harness.notices import in_short

    texts = [notice.text for notice in noticed]
    match chosen:
        case "json":
            click.echo(tables.as_json(rows, [*told, *texts]))
            return
        case "table":
            for number, lines in enumerate(tables.as_text(rows, terminal_width(), remarks)):
                print_lines(lines, apart=number > 0)
        case "markdown":
            click.echo(tables.as_markdown(rows))
        case "latex":
            click.echo(tables.as_latex(rows))
        case "csv":
            click.echo(tables.as_csv(rows))
    for text in texts if all_notices else in_short(noticed):
        click.echo(visible(f"note: {text}"), err=True)


def print_sensitivity(rows: Sequence[Row], chosen: Format, told: Sequence[str]) -> None:
    from harness.sensitivity import sensitivity
    from harness.tables import sensitivity_record, sensitivity_table

    found = [sensitivity(row) for row in rows]
    if chosen == "json":
        lines = [{**one.row.as_dict(), "sensitivity": one.as_dict()} for one in found]
        print_json({"rows": lines, "notices": list(told)})
        return
    print_tables([("", sensitivity_table(found))], chosen, [sensitivity_record(one) for one in found])


def print_reports(rows: Sequence[Row], chosen: Format, told: Sequence[str]) -> None:
    from harness.class_report import class_report
    from harness.row_names import row_names
    from harness.tables import report_records, report_table

    reports = [class_report(row) for row in rows if row.cells[0].labels is not None]
    if not reports:
        raise HarnessError("no row has labels to report on; its items have options of their own")
    if chosen == "json":
        lines = [{**one.row.as_dict(), "report": one.as_dict()} for one in reports]
        print_json({"rows": lines, "notices": list(told)})
        return
    names = row_names([one.row for one in reports])
    headed = []
    for one, name in zip(reports, names, strict=True):
        count = len(one.row.cells)
        over = f", {count} cells together" if count > 1 else ""
        headed.append((f"{name} ({one.row.n} items{over})", report_table(one)))
    records = [line for one, name in zip(reports, names, strict=True) for line in report_records(one, name)]
    print_tables(headed, chosen, records)


def print_tables(
    headed: Sequence[tuple[str, Table[Any]]], chosen: Format, records: Sequence[Mapping[str, object]]
) -> None:
    """Print tables, each under its heading, or one CSV of the records that they show."""
    from harness import formats

    if chosen == "csv":
        click.echo(formats.csv(records))
        return
    for number, (heading, table) in enumerate(headed):
        lines = {
            "markdown": lambda table=table: [formats.markdown(table)],
            "latex": lambda table=table: [formats.latex(table)],
        }
        if heading:
            click.echo("\n" * (number > 0) + _heading(heading, chosen))
        if chosen == "table":
            print_lines(formats.text_lines(table, terminal_width()), apart=number > 0 and not heading)
        else:
            click.echo("\n".join(lines[chosen]()))


def _heading(text: str, chosen: Format) -> str:
    from harness.formats import markdown_text

    if chosen == "markdown":
        return f"**{markdown_text(text)}**\n"
    return f"% {one_line(text)}" if chosen == "latex" else one_line(text)


def print_table(
    titles: Sequence[str],
    lines: Sequence[Sequence[str]],
    remarks: Sequence[str],
    *,
    figures: Sequence[str] = (),
    names: Sequence[str] = (),
    lists: Sequence[str] = (),
    fold: Sequence[str] = (),
    elsewhere: str = "",
) -> None:
    """Print lines of text under titles, and remarks about them on standard error; see ``layout.plain_table``."""
    from harness.formats import text_lines
    from harness.layout import plain_table

    print_lines(text_lines(plain_table(titles, lines, figures, names, lists, fold, elsewhere), terminal_width()))
    for remark in remarks:
        click.echo(visible(remark), err=True)


def print_lines(lines: Sequence[str], *, apart: bool = False) -> None:
    """The lines of a table, its titles in bold on a terminal."""
    title, *rest = lines
    # To the very stream: click would write UTF-8 to one that says it takes none.
    click.echo("\n".join([*[""] * apart, click.style(title, bold=True), *rest]), file=sys.stdout)


def terminal_width() -> int | None:
    """The cells of a line of standard output; a pipe or a file has no width, unless COLUMNS gives it one."""
    import shutil

    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    return None
