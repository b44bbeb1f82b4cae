"""Options that several commands share, and what was typed as values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import FileError, UsageError, suggest

if TYPE_CHECKING:
    from harness.formats import Format

Function = TypeVar("Function", bound=Callable[..., Any])

_FORMATS = ("table", "markdown", "csv", "latex", "json")


def _in_this_order(command: Function, *options: Callable[[Function], Function]) -> Function:
    """The command with these options, as its help is to list them."""
    for option in reversed(options):
        command = option(command)
    return command


def names_option(name: str, *, metavar: str, help: str) -> Callable[[Function], Function]:
    """An option that takes a comma list, and may be repeated instead."""
    return click.option(
        name,
        multiple=True,
        metavar=metavar,
        help=help,
        callback=lambda context, parameter, value: ",".join(value) if value else None,
    )


def results_option(command: Function) -> Function:
    return click.option(
        "--results", default=Path("results"), type=click.Path(path_type=Path), metavar="DIR", show_default=True
    )(command)


def json_option(command: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def format_options(command: Function) -> Function:
    """How a table is printed; see :func:`wanted_format`."""
    return _in_this_order(
        command,
        click.option(
            "--format",
            "format_",
            metavar="|".join(_FORMATS),
            help="How the table is printed.  [default: table]",
        ),
        click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
    )


def by_option(command: Function) -> Function:
    return click.option(
        "--by",
        metavar="prompt|seed|class|domain",
        help="Take each row apart by template, seed or gold label, or put the tasks of a domain together.",
    )(command)


def notices_option(command: Function) -> Function:
    return click.option(
        "--notices", "all_notices", is_flag=True, help="Print every notice, and not a few lines that stand for many."
    )(command)


def sources(command: Function) -> Function:
    """Where tasks and their data are."""
    path = click.Path(path_type=Path)
    return _in_this_order(
        command,
        click.option(
            "--data",
            metavar="SOURCE",
            help="auto (the data folder where one is named, else the hub, else a built-in sample), sample or hub.",
        ),
        click.option(
            "--data-dir",
            type=path,
            metavar="DIR",
            help="Folder that holds the data of each task in a folder of its own.  [env: HARNESS_DATA_DIR]",
        ),
        click.option(
            "--include-path",
            multiple=True,
            type=path,
            metavar="DIR",
            help="A folder with tasks/ and prompts/ of your own; ./tasks and ./prompts are read anyway. Repeatable.",
        ),
    )


def tokenizer_option(command: Function) -> Function:
    return click.option(
        "--tokenizer",
        metavar="SOURCE",
        help="file (default; as the model's tokenizer.json says) or transformers (as that library rebuilds it).",
    )(command)


def data_options(command: Function) -> Function:
    """What prompts are made of."""
    return _in_this_order(
        command,
        sources,
        click.option("--split", metavar="ROLE", help="The role whose items are evaluated: report (default) or select."),
        click.option(
            "--demos",
            metavar="STRATEGY",
            help="How demonstrations are drawn: fixed (default), balanced, per-item or stratified by chance; bm25, knn"
            " or mmr by likeness to the item; or your own list, file:PATH.",
        ),
        click.option(
            "--demo-encoder",
            metavar="PATH|HUB_ID",
            help="What knn and mmr compare texts by.  [default: the model for knn, words for mmr]",
        ),
        click.option("--revision", metavar="REV", help="A hub model's branch, tag or commit."),
        click.option(
            "--bos",
            metavar="POLICY",
            help="Whether sequences begin with BOS: auto (default; what the tokenizer does), always or never.",
        ),
        tokenizer_option,
        click.option(
            "--trust-remote-code", is_flag=True, default=None, help="Run Python code that comes with the model."
        ),
    )


def grid_options(command: Function) -> Function:
    """What a run evaluates, and how."""
    return _in_this_order(
        command,
        names_option("--tasks", metavar="A,B", help="Task names or patterns, such as sst2,'clue_*'."),
        click.option(
            "--model",
            metavar="PATH|HUB_ID",
            help="A causal language model: a folder, or an id on the hub.  [default: builtin]",
        ),
        names_option("--shots", metavar="K,...", help="Numbers of demonstrations.  [default: 0]"),
        names_option("--prompts", metavar="A,B", help="Template names or patterns.  [default: all]"),
        names_option("--demo-seeds", metavar="S,...", help="Seeds of the draw of demonstrations.  [default: 0]"),
        click.option(
            "--demo-order",
            metavar="ORDER",
            help="How they stand: drawn (default; the most similar last), permuted:N for N seeded orders of them, or"
            " entropy for the best of those in a run with --split select.",
        ),
        names_option(
            "--rule",
            metavar="RULE,...",
            help="sum, token, char, byte, pmi or unconditional.  [default: the task's own]",
        ),
        names_option(
            "--calibrate", metavar="NAME,...", help="none, contextual, domain, batch or prototypical.  [default: none]"
        ),
        names_option(
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
    )


# What was typed


def wanted_format(format_: str | None, as_json: bool) -> Format:
    """Raises UsageError for a format that there is not, and for two of them."""
    if as_json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_}: name one format; --json is the same as --format json")
    chosen = "json" if as_json else format_ or "table"
    if chosen not in _FORMATS:
        raise UsageError(f"--format: unknown value {chosen!r}{suggest(chosen, _FORMATS)}")
    return chosen  # type: ignore[return-value]


def name_list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def given(grid: Path | None, model_arg: Sequence[str], typed: dict[str, Any]) -> dict[str, Any]:
    """The options of a grid file, and over them those typed."""
    from harness.options import read_grid

    values: dict[str, Any] = read_grid(grid) if grid is not None else {}
    values.update({key: value for key, value in typed.items() if value not in (None, ())})
    if model_arg:
        values["model_arg"] = dict(_model_argument(text) for text in model_arg)
    if not values.get("tasks"):
        raise UsageError("--tasks is needed; 'harness list tasks' shows them")
    return values


def _model_argument(text: str) -> tuple[str, Any]:
    from harness.strict_yaml import parse_mapping

    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise UsageError(f"--model-arg {text}: must be NAME=VALUE")
    try:
        return name, parse_mapping(f"value: {value}", Path("--model-arg")).data["value"]
    except FileError as error:
        raise UsageError(f"--model-arg {text}: {str(error).partition(': ')[2]}") from error
