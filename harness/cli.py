"""The command line. It reads options, calls the stages and prints; each command imports what it needs when it runs.

Tables go to standard output; progress, notices and errors to standard error. Exit status: 0 done, 1 the work failed, 2
wrong usage.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from harness.errors import FileError, HarnessError, UsageError, suggest
from harness.processes import is_main
from harness.terminal import visible

if TYPE_CHECKING:
    from harness.summary import Row
    from harness.tables import Format

Function = TypeVar("Function", bound=Callable[..., Any])

_FORMATS = ("table", "markdown", "csv", "latex", "json")


class _Group(click.Group):
    """A group whose unknown commands come with a suggestion."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UsageError(f"unknown command {args[0]!r}{suggest(args[0], self.list_commands(ctx), what='commands')}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="harness")
def cli() -> None:
    """How well does this prompt do, zero-shot and few-shot, how sure are we, and should I fine-tune instead?"""


def _names_option(name: str, *, metavar: str, help: str) -> Callable[[Function], Function]:
    """An option that takes a comma list, and may be repeated instead."""
    return click.option(
        name,
        multiple=True,
        metavar=metavar,
        help=help,
        callback=lambda context, parameter, value: ",".join(value) if value else None,
    )


def _sources(command: Function) -> Function:
    """Where tasks and their data are."""
    path = click.Path(path_type=Path)
    for option in (
        click.option(
            "--include-path",
            multiple=True,
            type=path,
            metavar="DIR",
            help="A folder with tasks/ and prompts/ of your own; ./tasks and ./prompts are read anyway. Repeatable.",
        ),
        click.option(
            "--data-dir",
            type=path,
            metavar="DIR",
            help="Folder that holds the data of each task in a folder of its own.  [env: HARNESS_DATA_DIR]",
        ),
        click.option(
            "--data",
            metavar="SOURCE",
            help="auto (the data folder where one is named, else the hub, else a built-in sample), sample or hub.",
        ),
    ):
        command = option(command)
    return command


def _data_options(command: Function) -> Function:
    command = _sources(command)
    for option in (
        click.option("--split", metavar="ROLE", help="The role whose items are evaluated: report (default) or select."),
        click.option(
            "--demo-encoder",
            metavar="PATH|HUB_ID",
            help="What knn and mmr compare texts by.  [default: knn, the model]",
        ),
        click.option(
            "--demos",
            metavar="STRATEGY",
            help="How demonstrations are drawn: fixed (default), balanced, per-item or stratified by chance; bm25, knn"
            " or mmr by likeness to the item; or your own list, file:PATH.",
        ),
        click.option(
            "--bos",
            metavar="POLICY",
            help="Whether sequences begin with BOS: auto (default; what the tokenizer does), always or never.",
        ),
        click.option("--revision", metavar="REV", help="A hub model's branch, tag or commit."),
        click.option(
            "--trust-remote-code", is_flag=True, default=None, help="Run Python code that comes with the model."
        ),
    ):
        command = option(command)
    return command


def _grid_options(command: Function) -> Function:
    """What a run evaluates, and how."""
    for option in (
        _names_option("--tasks", metavar="A,B", help="Task names or patterns, such as sst2,'clue_*'."),
        _names_option("--shots", metavar="K,...", help="Numbers of demonstrations.  [default: 0]"),
        click.option(
            "--model",
            metavar="PATH|HUB_ID",
            help="A causal language model: a folder, or an id on the hub.  [default: builtin]",
        ),
        _names_option("--prompts", metavar="A,B", help="Template names or patterns.  [default: all]"),
        _names_option("--demo-seeds", metavar="S,...", help="Seeds of the draw of demonstrations.  [default: 0]"),
        click.option(
            "--demo-order",
            metavar="ORDER",
            help="How they stand: drawn (default; the most similar last), permuted:N for N seeded orders of them, or"
            " entropy for the best of those in a run with --split select.",
        ),
        _names_option(
            "--rule",
            metavar="RULE,...",
            help="sum, token, char, byte, pmi or unconditional.  [default: the task's own]",
        ),
        _names_option(
            "--calibrate", metavar="NAME,...", help="none, contextual, domain, batch or prototypical.  [default: none]"
        ),
        _names_option(
            "--controls",
            metavar="NAME,...",
            help="content-free, partial, permuted or noise: what a real result must beat.",
        ),
        click.option("--limit", type=int, metavar="N", help="Evaluate a seeded sample of N items."),
        click.option("--seed", type=int, metavar="N", help="Seed of that sample.  [default: 0]"),
        click.option(
            "--results",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Where results are kept.  [default: results]",
        ),
        click.option(
            "--engine",
            metavar="ENGINE",
            help="auto (the fastest that is right for the model), tree, expand or rows; see docs.",
        ),
        click.option(
            "--fresh", is_flag=True, default=None, help="Compute every score again, reading none from the store."
        ),
        click.option("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16.  [default: auto]"),
        click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.  [default: auto]"),
        click.option(
            "--model-arg", multiple=True, metavar="K=V", help="An argument for the model's loader. Repeatable."
        ),
    ):
        command = option(command)
    return command


@cli.command("run")
@click.argument("grid", required=False, type=click.Path(path_type=Path))
@_grid_options
@click.option("--format", "format_", default="table", metavar="|".join(_FORMATS), help="How the table is printed.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@_data_options
def run_command(grid: Path | None, format_: str, as_json: bool, model_arg: tuple[str, ...], **typed: Any) -> None:
    """Score every prompt of the tasks and print the table.

    The options may also stand in a YAML file, under the same names: harness run grid.yaml
    """
    from rich.console import Console

    from harness.options import RunOptions
    from harness.progress import ConsoleReporter
    from harness.run_store import stored_run
    from harness.runner import run
    from harness.summary import notices, read_cells, summarise

    chosen = _format(format_, as_json)
    values = _given(grid, model_arg, typed)
    reporter = ConsoleReporter(Console(stderr=True, emoji=False))
    finished = run(RunOptions.read(values), reporter, command=sys.argv[1:])
    if not is_main():
        return
    rows = summarise(read_cells([stored_run(finished.path)]))
    told = reporter.notices if chosen == "json" else []  # otherwise they stand on standard error already
    _print_rows(rows, chosen, [*told, *notices(rows)])
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


@cli.command("leaderboard")
@_names_option("--tasks", metavar="A,B", help="These tasks only.")
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path), metavar="DIR", show_default=True)
@click.option(
    "--format", "format_", default="table", metavar="|".join(_FORMATS), help="How it is printed.  [default: table]"
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--sensitivity", is_flag=True, help="Show how much of each row is due to wording, demonstrations and items."
)
@click.option("--report", is_flag=True, help="Show precision, recall and F1 of each label, and the confusion matrix.")
def leaderboard_command(
    tasks: str | None, results: Path, format_: str, as_json: bool, sensitivity: bool, report: bool
) -> None:
    """Rank all stored runs, task by task."""
    from harness.run_store import stored_runs
    from harness.summary import notices, read_cells, summarise

    chosen = _format(format_, as_json)
    if sensitivity and report:
        raise UsageError("--sensitivity and --report: name one of them")
    runs, damaged = stored_runs(results)
    for path in damaged:
        click.echo(f"{path}: damaged or of another version, not read", err=True)
    if not any(run.finished for run in runs):
        raise HarnessError(f"{results}: holds no finished run; 'harness run' or 'harness baseline' makes one")
    rows = summarise(read_cells(runs, _names(tasks)))
    if sensitivity:
        _print_sensitivity(rows, chosen)
    elif report:
        _print_reports(rows, chosen)
    else:
        _print_rows(rows, chosen, notices(rows))


@cli.command("select")
@_grid_options
@click.option("--budget", type=click.IntRange(min=1), required=True, metavar="N", help="Runs of a prompt on an item.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@_data_options
def select_command(budget: int, as_json: bool, model_arg: tuple[str, ...], **typed: Any) -> None:
    """Choose the best template, number of shots, seed or rule under a budget, and report it.

    Prompts are tried on the split for choices, the worse half is dropped round by round, and the one that is left is
    run once on the split that is reported, which played no part in the choice.
    """
    import json

    from rich.console import Console

    from harness import select
    from harness.options import RunOptions
    from harness.progress import ConsoleReporter
    from harness.run_store import stored_run
    from harness.summary import notices, read_cells, summarise

    reporter = ConsoleReporter(Console(stderr=True, emoji=False))
    found = select.select(RunOptions.read(_given(None, model_arg, typed)), budget, reporter)
    if not is_main():
        return
    rows = summarise(read_cells([stored_run(found.report.path)]))
    if as_json:
        click.echo(json.dumps({"schema": 1, **found.as_dict(), "rows": [row.as_dict() for row in rows]}))
        return
    _print_table(*found.table(), [])
    click.echo()
    _print_rows(rows, "table", notices(rows))
    click.echo(visible(found.sentence), err=True)


@cli.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path), metavar="DIR", show_default=True)
@click.option("--fail-if-worse", is_flag=True, help="Exit with status 1 if B is worse than A beyond chance (p < .05).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def compare_command(first: str, second: str, results: Path, fail_if_worse: bool, as_json: bool) -> None:
    """Compare two runs, or rows of them, on the same items: B less A.

    A and B are runs, by id, its beginning, or 'latest'; RUN:shots=4,rule=pmi narrows a run to rows.
    """
    import json

    from harness import compare

    found = compare.pairs(compare.read_side(first, results), compare.read_side(second, results))
    if as_json:
        click.echo(json.dumps({"schema": 1, "pairs": [pair.as_dict() for pair in found]}, ensure_ascii=False))
    else:
        click.echo(visible(compare.as_text(found)))
    worse = [pair for pair in found if pair.worse]
    if fail_if_worse and worse:
        names = ", ".join(pair.first.task_label for pair in worse)
        raise HarnessError(f"{second} is worse than {first}: {names}")


@cli.command("breakeven")
@_names_option("--tasks", metavar="A,B", help="These tasks only.")
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path), metavar="DIR", show_default=True)
@click.option("--model", metavar="M", help="Prompts of this model only.")
@click.option("--method", metavar="METHOD", help="This baseline only, such as tfidf.")
@click.option("--prompt", metavar="P", help="This template only; with --csv, the method that is the prompt.")
@_names_option("--shots", metavar="K,...", help="Prompts with these numbers of demonstrations only.")
@click.option(
    "--selection-labels",
    metavar="N|FILE",
    help="Labels that prompts were chosen by, or the file with what 'harness select --json' printed."
    "  [default: what 'harness select' noted with its run]",
)
@click.option(
    "--development-labels",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Labels that baselines used beside those they were trained on.",
)
@click.option(
    "--monotone", default="isotonic", metavar="isotonic|maximum", help="How curves are smoothed.  [default: isotonic]"
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take scores from a CSV file (method, n, seed, score) instead of stored runs.",
)
@click.option(
    "--price-per-million-tokens", type=click.FloatRange(min=0), metavar="P", help="What prompts cost by tokens."
)
@click.option("--price-per-hour", type=click.FloatRange(min=0), metavar="P", help="What an hour of the machine costs.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PREFIX",
    help="Plots are PREFIX-TASK.png and .svg.  [default: breakeven in the results folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def breakeven_command(
    tasks: str | None,
    results: Path,
    shots: str | None,
    selection_labels: str | None,
    csv_file: Path | None,
    output: Path | None,
    as_json: bool,
    **typed: Any,
) -> None:
    """How many labels is this prompt worth?

    Stored prompts against the learning curves of stored baselines: the number of labels from which on a baseline is at
    least as good, with its 95% interval, and a plot.
    """
    import json

    from harness import breakeven, plots

    charged = breakeven.selection_labels(selection_labels)
    wanted = breakeven.Wanted(shots=breakeven.shot_numbers(_names(shots)), selection_labels=charged, **typed)
    if csv_file is not None and tasks:
        raise UsageError("--csv and --tasks do not go together: a file of scores has no tasks")
    reports = [breakeven.read_csv(csv_file, wanted)] if csv_file else breakeven.read(results, _names(tasks), wanted)
    paths = [path for report in reports for path in plots.draw(report, output or results / "breakeven")]
    if as_json:
        documents = [report.as_dict(wanted) for report in reports]
        click.echo(json.dumps({"schema": 1, "tasks": documents, "plots": list(map(str, paths))}, ensure_ascii=False))
        return
    titles, _ = reports[0].table()
    _print_table(titles, [line for report in reports for line in report.table()[1]], [])
    for report in reports:
        costs, lines = report.costs(wanted)
        if lines:
            click.echo()
            _print_table(costs, lines, [])
    click.echo()
    for report in reports:
        for pair in report.pairs:
            click.echo(visible(pair.sentence))
        for text in report.notices:
            click.echo(visible(f"note: {text}"), err=True)
    for path in paths:
        click.echo(visible(f"plot: {path}"), err=True)


@cli.command("baseline")
@_names_option("--tasks", metavar="A,B", help="Task names or patterns; tasks with labels only.")
@_names_option(
    "--methods",
    metavar="NAME,...",
    help="majority, random, tfidf, knn or probe.  [default: majority,random,tfidf]",
)
@_names_option(
    "--sizes", metavar="N,...", help="Numbers of training labels, or all.  [default: 8,16,32,... and all of the pool]"
)
@_names_option("--seeds", metavar="S,...", help="Seeds of the draw of training sets.  [default: 0,1,2,3,4]")
@click.option("--encoder", metavar="PATH|HUB_ID", help="What knn and probe embed texts with.  [default: builtin]")
@click.option("--device", metavar="DEVICE", help="Where it runs: auto, cpu, cuda, cuda:N or mps.  [default: auto]")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run Python code that comes with the encoder.")
@click.option("--limit", type=int, metavar="N", help="Evaluate on a seeded sample of N items.")
@click.option("--seed", type=int, metavar="N", help="Seed of that sample.  [default: 0]")
@click.option("--split", metavar="ROLE", help="The role whose items are evaluated: report (default) or select.")
@_sources
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="DIR", help="Where results are kept.  [default: results]"
)
@click.option("--format", "format_", default="table", metavar="|".join(_FORMATS), help="How the table is printed.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def baseline_command(format_: str, as_json: bool, **typed: Any) -> None:
    """Train classifiers on nested sets of labels, and print how they do on the items that prompts are evaluated on.

    A task with a thousand labels or fewer takes seconds. What was trained before is read, not trained again.
    """
    from rich.console import Console

    from harness.baselines import BaselineOptions, run_baselines
    from harness.progress import ConsoleReporter
    from harness.run_store import stored_run
    from harness.summary import notices, read_cells, summarise

    chosen = _format(format_, as_json)
    values = _given(None, (), typed)
    reporter = ConsoleReporter(Console(stderr=True, emoji=False))
    finished = run_baselines(BaselineOptions.read(values), reporter, command=sys.argv[1:])
    rows = summarise(read_cells([stored_run(finished.path)]))
    told = reporter.notices if chosen == "json" else []
    _print_rows(rows, chosen, [*told, *notices(rows)])
    if chosen == "table":
        click.echo(f"\nstored in {finished.path}; beside prompts: harness leaderboard", err=True)


@cli.command("predict")
@click.argument("text", metavar="FILE|-")
@click.option("--run", metavar="RUN[:K=V,...]", help="A trained baseline, as RUN:method=tfidf,labels_used=256,seed=0.")
@click.option("--task", "tasks", metavar="TASK", help="With a prompt: its task.")
@click.option("--prompt", "prompts", metavar="P", help="The template's name.  [default: plain, else the first]")
@click.option("--shots", metavar="K", help="Number of demonstrations.  [default: 0]")
@click.option("--demo-seed", "demo_seeds", metavar="S", help="Seed of their draw.  [default: 0]")
@click.option("--model", metavar="PATH|HUB_ID", help="A causal language model.  [default: builtin]")
@click.option("--rule", metavar="RULE", help="sum, token, char, byte, pmi or unconditional.  [default: the task's own]")
@click.option("--calibrate", metavar="NAME", help="none, contextual, domain, batch or prototypical.  [default: none]")
@click.option("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16.  [default: auto]")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.  [default: auto]")
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="DIR", help="Where results are.  [default: results]"
)
@click.option(
    "--format", "format_", default="jsonl", metavar="jsonl|csv", help="How labels are written.  [default: jsonl]"
)
@_data_options
def predict_command(text: str, run: str | None, format_: str, **typed: Any) -> None:
    """Label new text with a trained baseline, or with a prompt.

    FILE holds JSON Lines with the task's columns or, where the task reads one column, plain lines; no gold label is
    needed. Each line gets its label and the probability of every label.
    """
    from rich.console import Console

    from harness import predict
    from harness.progress import ConsoleReporter

    formats = {"jsonl": predict.as_jsonl, "csv": predict.as_csv}
    if format_ not in formats:
        raise UsageError(f"--format: unknown value {format_!r}{suggest(format_, formats)}")
    values = {key: value for key, value in typed.items() if value not in (None, ())}
    reporter = ConsoleReporter(Console(stderr=True, emoji=False))
    if run is not None:
        superfluous = sorted(values.keys() - {"results", "include_path"})
        if superfluous:
            name = superfluous[0].rstrip("s" * (superfluous[0] in ("tasks", "prompts", "demo_seeds"))).replace("_", "-")
            raise UsageError(f"--run {run}: names all that is needed; leave out --{name}")
        folder = values.get("results", Path("results"))
        found = predict.predict_with_baseline(text, run, folder, values.get("include_path", ()), reporter)
    elif "tasks" not in values:
        raise UsageError("name a trained baseline with --run, or a prompt with --task")
    else:
        found = predict.predict_with_prompt(text, values, reporter)
    click.echo(formats[format_](found))


@cli.command("list")
@click.argument("what", metavar="tasks|prompts|runs")
@_names_option("--tasks", metavar="A,B", help="With prompts: of these tasks only.")
@click.option(
    "--include-path", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="Your own tasks and prompts."
)
@click.option("--results", default=Path("results"), type=click.Path(path_type=Path), metavar="DIR", show_default=True)
def list_command(what: str, tasks: str | None, include_path: tuple[Path, ...], results: Path) -> None:
    """List tasks, prompts or runs."""
    from harness import listing
    from harness.search_path import SearchPath

    if what == "runs":
        _print_table(*listing.runs(results))
    elif what == "tasks":
        _print_table(*listing.tasks(SearchPath.default(include_path)))
    elif what == "prompts":
        _print_table(*listing.prompts(SearchPath.default(include_path), _names(tasks)))
    else:
        raise UsageError(f"unknown list {what!r}{suggest(what, ('tasks', 'prompts', 'runs'))}")


@cli.command("fetch")
@_names_option("--tasks", metavar="A,B", help="Tasks whose data is fetched; names or patterns.")
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

    names = _names(tasks)
    if not names and not models:
        raise UsageError("nothing to fetch: name --tasks, --model, or both")
    chosen = Catalogue(SearchPath.default(include_path)).select(names)
    for line in fetch(chosen, [ModelSpec(name, revision) for name in models]):
        click.echo(line)


@cli.command("show")
@click.argument("task")
@click.option("--prompt", metavar="P", help="A template's name.  [default: plain, else the first]")
@click.option("--shots", type=click.IntRange(min=0), default=0, metavar="K", help="Number of demonstrations.")
@click.option("--item", type=int, default=0, metavar="N", help="Which item, counted from 0.  [default: 0]")
@click.option("--demo-seed", type=int, default=0, metavar="S", help="Seed of the draw of demonstrations.  [default: 0]")
@click.option("--model", metavar="PATH|HUB_ID", help="Show token boundaries and the scored span of this model.")
@_data_options
def show_command(task: str, prompt: str | None, **typed: Any) -> None:
    """Print one prompt exactly as the model gets it, with its parts in colours."""
    from harness.preview import preview

    preview(task, prompt, {key: value for key, value in typed.items() if value not in (None, ())})


def _format(format_: str, as_json: bool) -> Format:
    chosen = "json" if as_json else format_
    if chosen not in _FORMATS:
        raise UsageError(f"--format: unknown value {chosen!r}{suggest(chosen, _FORMATS)}")
    return chosen  # type: ignore[return-value]


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _model_argument(text: str) -> tuple[str, Any]:
    from harness.strict_yaml import parse_mapping

    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise UsageError(f"--model-arg {text}: must be NAME=VALUE")
    try:
        return name, parse_mapping(f"value: {value}", Path("--model-arg")).data["value"]
    except FileError as error:
        raise UsageError(f"--model-arg {text}: {str(error).partition(': ')[2]}") from error


def _print_sensitivity(rows: Sequence[Row], chosen: Format) -> None:
    import json

    from harness.sensitivity import sensitivity, table

    found = [sensitivity(row) for row in rows if row.signature["control"] is None]
    if chosen == "json":
        rows_ = [{**one.row.as_dict(), "sensitivity": one.as_dict()} for one in found]
        click.echo(json.dumps({"schema": 1, "rows": rows_}, ensure_ascii=False))
        return
    remark = "template, seed, order, item: shares of the variance of the mean; +-: 95% over new ones of them all"
    _print_table(*table(found), [remark])


def _print_reports(rows: Sequence[Row], chosen: Format) -> None:
    import json

    from harness.class_report import class_report, report_table
    from harness.summary import row_names

    if chosen not in ("table", "json"):
        raise UsageError(f"--report: is printed as a table or as JSON, not as {chosen}")
    reports = [class_report(row) for row in rows if row.cells[0].labels is not None]
    if not reports:
        raise HarnessError("no row has labels to report on; its items have options of their own")
    if chosen == "json":
        told = [{**one.row.as_dict(), "report": one.as_dict()} for one in reports]
        click.echo(json.dumps({"schema": 1, "rows": told}, ensure_ascii=False))
        return
    for number, (one, name) in enumerate(zip(reports, row_names([one.row for one in reports]), strict=True)):
        count = len(one.row.cells)
        over = f", {count} cells together" if count > 1 else ""
        click.echo(visible("\n" * (number > 0) + f"{name} ({one.row.n} items{over})"))
        _print_table(*report_table(one), [])


def _given(grid: Path | None, model_arg: Sequence[str], typed: dict[str, Any]) -> dict[str, Any]:
    """The options of a grid file, and over them those typed."""
    from harness.options import read_grid

    values: dict[str, Any] = read_grid(grid) if grid is not None else {}
    values.update({key: value for key, value in typed.items() if value not in (None, ())})
    if model_arg:
        values["model_arg"] = dict(_model_argument(text) for text in model_arg)
    if not values.get("tasks"):
        raise UsageError("--tasks is needed; 'harness list tasks' shows them")
    return values


def _print_rows(rows: Sequence[Row], chosen: Format, noticed: Sequence[str]) -> None:
    from harness import tables

    if chosen == "json":
        click.echo(tables.as_json(rows, noticed))
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


def _print_table(titles: Sequence[str], lines: Sequence[Sequence[str]], remarks: Sequence[str]) -> None:
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


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and a non-zero status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal or pipe is not UTF-8
    signal.signal(signal.SIGTERM, _stop)  # a scheduler's stop is a Ctrl-C: what is computed gets stored
    # Importing torch and transformers makes some 10^6 objects that stay; looking through them again and again takes as
    # long as a third of the import.
    gc.set_threshold(200_000, 50, 100)
    atexit.register(gc.freeze)  # nor do they need to be taken apart, which takes a second
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except HarnessError as error:
        _fail(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; the same command starts again from what is stored", 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has left; nothing more to say
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(f"{error.filename or 'the system'}: {error.strerror}", 1)


def _fail(message: str, status: int) -> NoReturn:
    if is_main():  # every process of a launcher makes the same mistake
        click.echo(visible(f"harness: {' '.join(message.split())}"), err=True)
    sys.exit(status)
