"""``harness run`` and ``harness select``: prompts are scored."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.commands.options import data_options, format_options, given, grid_options, json_option, wanted_format
from harness.commands.printing import console_reporter, print_json, print_rows, print_table
from harness.processes import is_main
from harness.terminal import visible


@click.command("run")
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@grid_options
@data_options
@format_options
def run_command(
    grid: Path | None, format_: str | None, as_json: bool, model_arg: tuple[str, ...], **typed: Any
) -> None:
    """Score every prompt of the tasks and print the table.

    The options may also stand in a YAML file, under the same names: harness run grid.yaml
    """
    from harness.cell_results import read_cells
    from harness.options import RunOptions
    from harness.run_store import stored_run
    from harness.runner import run
    from harness.summary import notices, summarise

    chosen = wanted_format(format_, as_json)
    values = given(grid, model_arg, typed)
    reporter = console_reporter()
    finished = run(RunOptions.read(values), reporter, command=sys.argv[1:])
    if not is_main():
        return
    rows = summarise(read_cells([stored_run(finished.path)]))
    told = reporter.notices if chosen == "json" else []  # otherwise they stand on standard error already
    print_rows(rows, chosen, [*told, *notices(rows)])
    if chosen == "table":
        known = finished.cells[-1].cell.signature
        where = "".join(
            f" --{name.replace('_', '-')} {values[name]}"
            for name in ("data", "data_dir", "demos", "demo_encoder")
            if name in values
        )
        click.echo(f"\nstored in {finished.path}", err=True)
        click.echo(
            f"next, see what the model saw: harness show {known['task']} --shots {known['shots']}{where}", err=True
        )


@click.command("select")
@click.option("--budget", type=click.IntRange(min=1), required=True, metavar="N", help="Runs of a prompt on an item.")
@grid_options
@data_options
@json_option
def select_command(budget: int, as_json: bool, model_arg: tuple[str, ...], **typed: Any) -> None:
    """Choose the best template, number of shots, seed or rule under a budget, and report it.

    Prompts are tried on the split for choices, the worse half is dropped round by round, and the one that is left is
    run once on the split that is reported, which played no part in the choice.
    """
    from harness.cell_results import read_cells
    from harness.options import RunOptions
    from harness.run_store import stored_run
    from harness.select import select
    from harness.summary import notices, summarise

    reporter = console_reporter()
    found = select(RunOptions.read(given(None, model_arg, typed)), budget, reporter)
    if not is_main():
        return
    rows = summarise(read_cells([stored_run(found.report.path)]))
    if as_json:
        print_json({**found.as_dict(), "rows": [row.as_dict() for row in rows]})
        return
    print_table(*found.table(), [])
    click.echo()
    print_rows(rows, "table", notices(rows))
    click.echo(visible(found.sentence), err=True)
