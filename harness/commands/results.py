"""``harness leaderboard`` and ``harness compare``: what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import (
    by_option,
    format_options,
    json_option,
    name_list,
    names_option,
    notices_option,
    results_option,
    wanted_format,
)
from harness.commands.printing import SetAside, print_json, print_reports, print_rows, print_sensitivity
from harness.errors import HarnessError, UsageError
from harness.terminal import one_line

if TYPE_CHECKING:
    from harness.compare import Pair


@click.command("leaderboard")
@names_option("--tasks", metavar="A,B", help="These tasks only.")
@names_option("--model", metavar="A,B", help="These models, or trained methods, only; names or patterns.")
@names_option("--shots", metavar="K,...", help="Prompts with these numbers of demonstrations only.")
@names_option("--prompts", metavar="A,B", help="These templates only; names or patterns.")
@names_option(
    "--status",
    metavar="S,...",
    help="complete (all items of the reported split), limited (--limit) or select (the split for choices) only.",
)
@by_option
@click.option("--older", is_flag=True, help="Show rows, too, that a later one of the same settings replaces.")
@results_option
@format_options
@notices_option
@click.option(
    "--sensitivity", is_flag=True, help="Show how much of each row is due to wording, demonstrations and items."
)
@click.option("--report", is_flag=True, help="Show precision, recall and F1 of each label, and the confusion matrix.")
def leaderboard_command(
    tasks: str | None,
    model: str | None,
    shots: str | None,
    prompts: str | None,
    status: str | None,
    by: str | None,
    older: bool,
    results: Path,
    format_: str | None,
    as_json: bool,
    all_notices: bool,
    sensitivity: bool,
    report: bool,
) -> None:
    """Rank all stored runs, task by task.

    Of rows with the same settings the latest is shown. Runs of some items and other splits stand below lines of their
    own. In Markdown and LaTeX the best of a task is bold, whether or not others are within noise of it.
    """
    from harness.breakdown import by_name
    from harness.breakeven import shot_numbers
    from harness.cell_results import read_cells
    from harness.ranking import Filters, board
    from harness.run_store import stored_runs

    chosen = wanted_format(format_, as_json)
    asked = [name for name, given in (("--by", by), ("--sensitivity", sensitivity), ("--report", report)) if given]
    if asked[1:]:
        raise UsageError(f"{' and '.join(asked)}: name one of them")
    wanted = Filters(name_list(model), shot_numbers(name_list(shots)), name_list(prompts), name_list(status), older)
    part = by_name(by) if by is not None else None
    aside = SetAside()
    runs = stored_runs(results, aside)
    if not any(run.finished for run in runs):
        raise HarnessError(f"{results}: holds no finished run; 'harness run' or 'harness baseline' makes one")
    cells = read_cells(runs, name_list(tasks), aside)
    if not cells:
        raise HarnessError(f"{results}: holds no finished run that can be read")
    found = board(cells, wanted, part)
    if not found.rows:
        raise HarnessError(f"{results}: nothing that is stored fits all of these options")
    if sensitivity:
        print_sensitivity(found.rows, chosen, aside.lines)
    elif report:
        print_reports(found.rows, chosen, aside.lines)
    else:
        print_rows(found.rows, chosen, found.findings, told=aside.lines, remarks=found.remarks, all_notices=all_notices)


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@results_option
@click.option("--item", metavar="ID", help="Tell of one item, by its id or the beginning of it, who answers what.")
@click.option("--fail-if-worse", is_flag=True, help="Exit with status 1 if B is worse than A beyond chance (p < .05).")
@json_option
def compare_command(
    first: str, second: str, results: Path, item: str | None, fail_if_worse: bool, as_json: bool
) -> None:
    """Compare two runs, or rows of them, on the same items: B less A.

    A and B are runs, by id, its beginning, or 'latest'; RUN:shots=4,rule=pmi narrows a run to rows, and
    RUN:template=plain or RUN:demo_seed=1 to some of their prompts.
    """
    from harness.compare import as_text, pairs, read_side

    aside = SetAside()
    sides = read_side(first, results, aside), read_side(second, results, aside)
    found = pairs(*sides)
    if item is not None:
        _print_item(found, item, as_json)
    elif as_json:
        print_json({"pairs": [pair.as_dict() for pair in found], "notices": aside.lines})
    else:
        click.echo(as_text(found, *sides))
    worse = [pair for pair in found if pair.worse]
    if fail_if_worse and worse:
        names = ", ".join(pair.first.task_label for pair in worse)
        raise HarnessError(f"{second} is worse than {first}: {names}")


def _print_item(found: Sequence[Pair], item: str, as_json: bool) -> None:
    from harness.compared_item import compared_item
    from harness.row_names import row_names

    told = [(place, one) for place, pair in enumerate(found) if (one := compared_item(pair, item)) is not None]
    if not told:
        raise UsageError(f"--item {item}: no item that both have has an id that begins so")
    if as_json:
        print_json({"items": [{"pair": place, **one.as_dict()} for place, one in told]})
        return
    for place, one in told:
        pair = found[place]
        (first,), (second,) = row_names([pair.first]), row_names([pair.second])
        click.echo(one_line(f"A: {first}; B: {second}"))
        click.echo(one.as_text())
