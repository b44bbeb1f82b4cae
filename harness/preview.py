"""``harness show``: picks an item, draws its demonstrations, renders it, and hands it to ``show``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from harness import show
from harness.data import load_data
from harness.demo_plan import CellDemos, DemoPlanner
from harness.errors import UsageError
from harness.options import RunOptions
from harness.progress import ConsoleReporter, Reporter
from harness.records import Example, Prompt, Role
from harness.render import Renderer
from harness.search_path import SearchPath
from harness.sources import row_source
from harness.tasks import Catalogue
from harness.templates import find_templates, load_templates


def preview(task_name: str, prompt_name: str | None, typed: Mapping[str, Any]) -> None:
    """Print one prompt to standard output.

    Raises:
        HarnessError: an unknown name, or an item that is not there.
    """
    values = dict(typed)
    index, shots, seed = values.pop("item"), values.pop("shots"), values.pop("demo_seed")
    model = values.get("model")
    options = RunOptions.read({"tasks": task_name, "shots": shots, "demo_seeds": seed, **values})
    search = SearchPath.default(options.include_path)
    task = Catalogue(search).get(task_name)
    names = sorted(find_templates(task, search)[0])
    default = next((name for name in names if name.endswith("/plain")), next(iter(names), "all"))
    template = load_templates(task, search, (prompt_name or default,))[0]
    reporter = ConsoleReporter(Console(stderr=True, emoji=False))
    planner = DemoPlanner(options, reporter)
    roles: set[Role] = {options.split, "pool"} if planner.needs_pool else {options.split}
    data = load_data(task, row_source(task, options.data, options.data_dir, reporter.notice), roles)
    items = data.role(options.split)
    if not 0 <= index < len(items):
        raise UsageError(
            f"--item {index}: {task.splits[options.split]} of {task.name} has the items 0 to {len(items) - 1}"
        )
    item = items[index]
    planned = planner.of(data, [item])
    (drawn_with,) = planned.seeds(shots)
    demos = planned.cell(shots, drawn_with, None)
    drawn = demos.draw(item)
    prompt = Renderer(template, demos.layout).prompt(item, drawn)
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 250)
    console.print(
        f"{template.name}, item {index} of {len(items)} ({item.place}), {_told(demos, drawn_with)}",
        style="dim",
        soft_wrap=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    show.show_prompt(console, prompt, item)
    show.show_demos(console, drawn)
    if model is not None:
        _show_tokens(console, prompt, item, options, reporter)


def _told(demos: CellDemos, seed: int | None) -> str:
    """How the demonstrations were drawn."""
    if not demos.shots:
        return "no demonstrations"
    name, encoder = str(demos.signature["demos"]), demos.signature["demo_encoder"]
    how = f", by {encoder}" if encoder else f", seed {seed}" if seed is not None else ""
    return f"{demos.shots} demonstration{'s' * (demos.shots > 1)} ({name}{how})"


def _show_tokens(console: Console, prompt: Prompt, item: Example, options: RunOptions, reporter: Reporter) -> None:
    from harness.encode import Encoder
    from harness.models import locate_model
    from harness.tokenizer import PretrainedTokenizer

    files = locate_model(options.model_spec)
    tokenizer = PretrainedTokenizer(files, reporter.notice)
    answers = Encoder(tokenizer, scope=files.fingerprint, max_inputs=files.max_inputs).answers([prompt])[0]
    show.show_tokens(console, prompt, item, answers, tokenizer.pieces(answers[0].ids[: answers[0].lead]))
    longest = max(len(answer.ids) for answer in answers) - 1
    if files.max_inputs is not None and longest > files.max_inputs:
        console.print(
            f"\n{longest} tokens exceed the model's {files.max_inputs}: a run drops the last-drawn demonstrations",
            style="bold red",
        )
