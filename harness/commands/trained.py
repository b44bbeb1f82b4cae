"""``harness baseline``, ``harness breakeven`` and ``harness predict``: should I fine-tune instead?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from harness.commands.options import (
    data_options,
    format_options,
    given,
    json_option,
    name_list,
    names_option,
    notices_option,
    results_option,
    sources,
    tokenizer_option,
    wanted_format,
)
from harness.commands.printing import SetAside, console_reporter, print_json, print_rows, print_table
from harness.errors import UsageError, suggest
from harness.terminal import visible


@click.command("baseline")
@names_option("--tasks", metavar="A,B", help="Task names or patterns; tasks with labels only.")
@names_option(
    "--methods",
    metavar="NAME,...",
    help="majority, random, tfidf, knn or probe.  [default: majority,random,tfidf]",
)
@names_option(
    "--sizes", metavar="N,...", help="Numbers of training labels, or all.  [default: 8,16,32,... and all of the pool]"
)
@names_option("--seeds", metavar="S,...", help="Seeds of the draw of training sets.  [default: 0,1,2,3,4]")
@click.option("--encoder", metavar="PATH|HUB_ID", help="What knn and probe embed texts with.  [default: builtin]")
@tokenizer_option
@click.option("--device", metavar="DEVICE", help="Where it runs: auto, cpu, cuda, cuda:N or mps.  [default: auto]")
@click.option("--trust-remote-code", is_flag=True, default=None, help="Run Python code that comes with the encoder.")
@click.option("--limit", type=int, metavar="N", help="Evaluate on a seeded sample of N items.")
@click.option("--seed", type=int, metavar="N", help="Seed of that sample.  [default: 0]")
@click.option("--split", metavar="ROLE", help="The role whose items are evaluated: report (default) or select.")
@sources
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="DIR", help="Where results are kept.  [default: results]"
)
@format_options
@notices_option
def baseline_command(format_: str | None, as_json: bool, all_notices: bool, **typed: Any) -> None:
    """Train classifiers on nested sets of labels, and print how they do on the items that prompts are evaluated on.

    A task with a thousand labels or fewer takes seconds. What was trained before is read, not trained again.
    """
    from harness.baselines import BaselineOptions, run_baselines
    from harness.cell_results import read_cells
    from harness.notices import findings
    from harness.run_store import stored_run
    from harness.summary import summarise

    chosen = wanted_format(format_, as_json)
    values = given(None, (), typed)
    reporter = console_reporter()
    finished = run_baselines(BaselineOptions.read(values), reporter, command=sys.argv[1:])
    rows = summarise(read_cells([stored_run(finished.path)]))
    print_rows(rows, chosen, findings(rows), told=reporter.notices, all_notices=all_notices)
    if chosen == "table":
        folder = ["--results", str(values["results"])] if "results" in values else []
        words = shlex.join(["harness", "leaderboard", *folder])
        click.echo(visible(f"\nstored in {finished.path}; beside prompts: {words}"), err=True)


@click.command("breakeven")
@names_option("--tasks", metavar="A,B", help="These tasks only.")
@click.option("--model", metavar="M", help="Prompts of this model only.")
@names_option("--shots", metavar="K,...", help="Prompts with these numbers of demonstrations only.")
@click.option("--prompt", metavar="P", help="This template only; with --csv, the method that is the prompt.")
@click.option("--method", metavar="METHOD", help="This baseline only, such as tfidf.")
@results_option
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
    "--curve",
    default="mean",
    metavar="mean|best",
    help="What counts at each size: the mean of its seeds, or the best one, which has no interval.  [default: mean]",
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
@json_option
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
    from harness import plots
    from harness.breakeven import Wanted, read, read_csv, shot_numbers
    from harness.breakeven import selection_labels as labels_of_selection

    charged = labels_of_selection(selection_labels)
    wanted = Wanted(shots=shot_numbers(name_list(shots)), selection_labels=charged, **typed)
    if csv_file is not None and tasks:
        raise UsageError("--csv and --tasks do not go together: a file of scores has no tasks")
    aside = SetAside()
    reports = [read_csv(csv_file, wanted)] if csv_file else read(results, name_list(tasks), wanted, aside)
    paths = [path for report in reports for path in plots.draw(report, output or results / "breakeven")]
    if as_json:
        documents = [report.as_dict(wanted) for report in reports]
        print_json({"tasks": documents, "plots": list(map(str, paths)), "notices": aside.lines})
        return
    titles, _ = reports[0].table()
    print_table(
        titles,
        [line for report in reports for line in report.table()[1]],
        [],
        figures=titles[2:4] + titles[5:9],
        names=("task", "prompt", "baseline"),
        fold=("censored", "data advantage", "labels used", "net of labels used", titles[2]),
        elsewhere="--json",
    )
    costs, _ = reports[0].costs(wanted)
    lines = [line for report in reports for line in report.costs(wanted)[1]]
    if lines:
        click.echo()
        print_table(costs, lines, [], figures=costs[2:], names=costs[:2], fold=costs[:1:-1], elsewhere="--json")
    click.echo()
    told: dict[str, list[str]] = {}
    for report in reports:
        for pair in report.pairs:
            click.echo(visible(pair.sentence))
        for text in report.notices:
            told.setdefault(text, []).append(report.task)
    for text, of in told.items():
        named = len(of) == len(reports) or text.startswith(f"{of[0]}: ")
        click.echo(visible(f"note: {text}" if named else f"note: {', '.join(of)}: {text}"), err=True)
    for path in paths:
        click.echo(visible(f"plot: {path}"), err=True)


@click.command("predict")
@click.argument("text", metavar="FILE|-")
@click.option("--run", metavar="RUN[:K=V,...]", help="A trained baseline, as RUN:method=tfidf,labels_used=256,seed=0.")
@click.option("--task", "tasks", metavar="TASK", help="With a prompt: its task.")
@click.option("--model", metavar="PATH|HUB_ID", help="A causal language model.  [default: builtin]")
@click.option("--shots", metavar="K", help="Number of demonstrations.  [default: 0]")
@click.option("--prompt", "prompts", metavar="P", help="The template's name.  [default: plain, else the first]")
@click.option("--demo-seed", "demo_seeds", metavar="S", help="Seed of their draw.  [default: 0]")
@click.option("--rule", metavar="RULE", help="sum, token, char, byte, pmi or unconditional.  [default: the task's own]")
@click.option("--calibrate", metavar="NAME", help="none, contextual, domain, batch or prototypical.  [default: none]")
@click.option("--dtype", metavar="DTYPE", help="auto, float32, bfloat16 or float16.  [default: auto]")
@click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.  [default: auto]")
@data_options
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="DIR", help="Where results are.  [default: results]"
)
@click.option(
    "--format", "format_", default="jsonl", metavar="jsonl|csv", help="How labels are written.  [default: jsonl]"
)
def predict_command(text: str, run: str | None, format_: str, **typed: Any) -> None:
    """Label new text with a trained baseline, or with a prompt.

    FILE holds rows with the task's columns in any format of its data (JSON Lines, JSON, CSV, TSV, Parquet) or, where
    the task reads one column, plain lines in a .txt file; no gold label is needed. Each row gets its label and the
    probability of every label.
    """
    from harness.predict import as_csv, as_jsonl, predict_with_baseline, predict_with_prompt

    formats = {"jsonl": as_jsonl, "csv": as_csv}
    if format_ not in formats:
        raise UsageError(f"--format: unknown value {format_!r}{suggest(format_, formats)}")
    values = {key: value for key, value in typed.items() if value not in (None, ())}
    reporter = console_reporter()
    if run is not None:
        superfluous = sorted(values.keys() - {"results", "include_path", "trust_remote_code"})
        if superfluous:
            name = superfluous[0].rstrip("s" * (superfluous[0] in ("tasks", "prompts", "demo_seeds"))).replace("_", "-")
            raise UsageError(f"--run {run}: names all that is needed; leave out --{name}")
        folder = values.get("results", Path("results"))
        trusted = bool(values.get("trust_remote_code"))
        found = predict_with_baseline(text, run, folder, values.get("include_path", ()), reporter, trusted)
    elif "tasks" not in values:
        raise UsageError("name a trained baseline with --run, or a prompt with --task")
    else:
        found = predict_with_prompt(text, values, reporter)
    click.echo(formats[format_](found))
