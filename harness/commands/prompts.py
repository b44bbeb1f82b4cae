"""``harness run`` and ``harness select``: prompts are scored."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harness.commands.options import (
    by_option,
    data_options,
    format_options,
    given,
    grid_options,
    json_option,
    notices_option,
    wanted_format,
)
from harness.commands.printing import console_reporter, print_json, print_rows, print_table
from harness.processes import is_main
from harness.signature import Signature
from harness.terminal import visible


@click.command("run")
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@grid_options
@data_options
@by_option
@format_options
@notices_option
def run_command(
    grid: Path | None,
    by: str | None,
    format_: str | None,
    as_json: bool,
    all_notices: bool,
    model_arg: tuple[str, ...],
    **typed: Any,
) -> None:
    """Score every prompt of the tasks and print the table.

    The options may also stand in a YAML file, under the same names: harness run grid.yaml
    """
    from harness.breakdown import by_name
    from harness.cell_results import read_cells
    from harness.options import RunOptions
    from harness.ranking import board
    from harness.run_store import stored_run
    from harness.runner import run

    chosen = wanted_format(format_, as_json)
    part = by_name(by) if by is not None else None
    values = given(grid, model_arg, typed)
    reporter = console_reporter()
    finished = run(RunOptions.read(values), reporter, command=sys.argv[1:])
    if not is_main():
        return
    found = board(read_cells([stored_run(finished.path)]), by=part)
    print_rows(
        found.rows, chosen, found.findings, told=reporter.notices, remarks=found.remarks, all_notices=all_notices
    )
    if chosen == "table":
        click.echo(visible(f"\nstored in {finished.path}"), err=True)
        told_of = [cell.signature for cell in finished.cells if cell.signature.control is None]
        click.echo(visible(f"next, see what the model saw: {_show_command(told_of[-1], values)}"), err=True)


# Options of a run that decide what a prompt is, or where it comes from.
_OF_PROMPTS = (
    "data", "data_dir", "include_path", "split", "demos", "demo_encoder", "bos", "tokenizer", "revision",
    "trust_remote_code",
)  # fmt: skip


def _show_command(cell: Signature, values: Mapping[str, Any]) -> str:
    """The command that shows a prompt of a cell, as one would type it."""
    folder, _, stem = cell.template.rpartition("/")
    words = ["harness", "show", cell.task, "--prompt", stem if folder == cell.task else cell.template]
    words += ["--shots", str(cell.shots)]
    words += ["--demo-seed", str(cell.demo_seed)] if cell.demo_seed else []
    words += ["--model", str(values.get("model", "builtin"))]
    for name in _OF_PROMPTS:
        value = values.get(name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value not in (None, False):
            several = value if isinstance(value, tuple | list) else [value]
            words += [word for one in several for word in (option, str(one))]
    return shlex.join(words)


@click.command("select")
@click.option("--budget", type=click.IntRange(min=1), required=True, metavar="N", help="Runs of a prompt on an item.")
@grid_options
@data_options
@json_option
@notices_option
def select_command(budget: int, as_json: bool, all_notices: bool, model_arg: tuple[str, ...], **typed: Any) -> None:
    """Choose the best template, number of shots, seed, rule or calibration under a budget, and report it.

    Prompts are tried on the split for choices, the worse half is dropped round by round, and the one that is left is
    run once, with its controls, on the split that is reported, which played no part in the choice.
    """
    from harness.cell_results import read_cells
    from harness.notices import findings
    from harness.options import RunOptions
    from harness.run_store import stored_run
    from harness.select import select
    from harness.summary import summarise

    reporter = console_reporter()
    found = select(RunOptions.read(given(None, model_arg, typed)), budget, reporter)
    if not is_main():
        return
    rows = summarise(read_cells([stored_run(found.report.path)]))
    noticed = findings(rows)
    if as_json:
        told = [*reporter.notices, *(notice.text for notice in noticed)]
        print_json({**found.as_dict(), "rows": [row.as_dict() for row in rows], "notices": told})
        return
    print_table(*found.table(), [], figures=("round", "items", "accuracy %"), names=("prompt",))
    click.echo()
    print_rows(rows, "table", noticed, all_notices=all_notices)
    click.echo(visible(found.sentence), err=True)
