"""``harness list``, ``harness show`` and ``harness fetch``: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands.options import data_options, name_list, names_option, results_option
from harness.commands.printing import console_reporter, print_table
from harness.errors import UsageError, suggest


@click.command("list")
@click.argument("what", metavar="tasks|prompts|runs")
@names_option("--tasks", metavar="A,B", help="With prompts: of these tasks only.")
@click.option(
    "--include-path", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="Your own tasks and prompts."
)
@results_option
def list_command(what: str, tasks: str | None, include_path: tuple[Path, ...], results: Path) -> None:
    """List tasks, prompts or runs."""
    from harness import listing
    from harness.search_path import SearchPath

    if what == "runs":
        print_table(
            *listing.runs(results),
            figures=("cells", "seconds"),
            names=("model",),
            lists=("tasks", "differing options"),
            fold=("seconds", "cells"),
        )
    elif what == "tasks":
        print_table(
            *listing.tasks(SearchPath.default(include_path)),
            figures=("templates",),
            names=("source",),
            fold=("language", "source"),
        )
    elif what == "prompts":
        print_table(*listing.prompts(SearchPath.default(include_path), name_list(tasks)), names=("answers",))
    else:
        raise UsageError(f"unknown list {what!r}{suggest(what, ('tasks', 'prompts', 'runs'))}")


@click.command("show")
@click.argument("task")
@click.option("--model", metavar="PATH|HUB_ID", help="Show token boundaries and the scored span of this model.")
@click.option("--shots", type=click.IntRange(min=0), default=0, metavar="K", help="Number of demonstrations.")
@click.option("--prompt", metavar="P", help="A template's name.  [default: plain, else the first]")
@click.option(
    "--item", default="0", metavar="N|ID", help="Which item, counted from 0, or its id or its beginning.  [default: 0]"
)
@click.option(
    "--demo-seed",
    "demo_seeds",
    type=int,
    default=0,
    metavar="S",
    help="Seed of the draw of demonstrations.  [default: 0]",
)
@data_options
def show_command(task: str, prompt: str | None, **typed: Any) -> None:
    """Print one prompt exactly as the model gets it, with its parts in colours."""
    from harness.preview import preview, print_preview

    index = typed.pop("item")
    values = {key: value for key, value in typed.items() if value not in (None, ())}
    reporter = console_reporter()
    print_preview(preview(task, prompt, index, values, reporter), reporter)


@click.command("fetch")
@names_option("--tasks", metavar="A,B", help="Tasks whose data is fetched; names or patterns.")
@click.option("--model", "models", multiple=True, metavar="HUB_ID", help="A model to fetch. Repeatable.")
@click.option("--revision", metavar="REV", help="The models' branch, tag or commit.")
@click.option(
    "--include-path", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="Your own tasks and prompts."
)
def fetch_command(
    tasks: str | None, models: tuple[str, ...], revision: str | None, include_path: tuple[Path, ...]
) -> None:
    """Store data and models of the hub ahead, for use without a network."""
    from harness.fetch import fetch
    from harness.models import ModelSpec
    from harness.search_path import SearchPath
    from harness.tasks import Catalogue

    names = name_list(tasks)
    if not names and not models:
        raise UsageError("nothing to fetch: name --tasks, --model, or both")
    chosen = Catalogue(SearchPath.default(include_path)).select(names)
    for line in fetch(chosen, [ModelSpec(name, revision) for name in models]):
        click.echo(line)
