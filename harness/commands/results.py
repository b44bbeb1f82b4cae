"""``harness leaderboard`` and ``harness compare``: what is stored."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.options import format_options, json_option, name_list, names_option, results_option, wanted_format
from harness.commands.printing import SetAside, print_json, print_reports, print_rows, print_sensitivity
from harness.errors import HarnessError, UsageError
from harness.terminal import visible


@click.command("leaderboard")
@names_option("--tasks", metavar="A,B", help="These tasks only.")
@results_option
@format_options
@click.option(
    "--sensitivity", is_flag=True, help="Show how much of each row is due to wording, demonstrations and items."
)
@click.option("--report", is_flag=True, help="Show precision, recall and F1 of each label, and the confusion matrix.")
def leaderboard_command(
    tasks: str | None, results: Path, format_: str | None, as_json: bool, sensitivity: bool, report: bool
) -> None:
    """Rank all stored runs, task by task."""
    from harness.cell_results import read_cells
    from harness.run_store import stored_runs
    from harness.summary import notices, summarise

    chosen = wanted_format(format_, as_json)
    if sensitivity and report:
        raise UsageError("--sensitivity and --report: name one of them")
    aside = SetAside()
    runs = stored_runs(results, aside)
    if not any(run.finished for run in runs):
        raise HarnessError(f"{results}: holds no finished run; 'harness run' or 'harness baseline' makes one")
    cells = read_cells(runs, name_list(tasks), aside)
    if not cells:
        raise HarnessError(f"{results}: holds no finished run that can be read")
    rows = summarise(cells)
    if sensitivity:
        print_sensitivity(rows, chosen, aside.lines)
    elif report:
        print_reports(rows, chosen, aside.lines)
    else:
        print_rows(rows, chosen, notices(rows), aside.lines)


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@results_option
@click.option("--fail-if-worse", is_flag=True, help="Exit with status 1 if B is worse than A beyond chance (p < .05).")
@json_option
def compare_command(first: str, second: str, results: Path, fail_if_worse: bool, as_json: bool) -> None:
    """Compare two runs, or rows of them, on the same items: B less A.

    A and B are runs, by id, its beginning, or 'latest'; RUN:shots=4,rule=pmi narrows a run to rows.
    """
    from harness.compare import as_text, pairs, read_side

    aside = SetAside()
    found = pairs(read_side(first, results, aside), read_side(second, results, aside))
    if as_json:
        print_json({"pairs": [pair.as_dict() for pair in found], "notices": aside.lines})
    else:
        click.echo(visible(as_text(found)))
    worse = [pair for pair in found if pair.worse]
    if fail_if_worse and worse:
        names = ", ".join(pair.first.task_label for pair in worse)
        raise HarnessError(f"{second} is worse than {first}: {names}")
