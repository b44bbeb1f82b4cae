"""``harness show``: picks an item, draws its demonstrations, renders it, and hands it to ``show``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from harness.data import open_data
from harness.demo_plan import CellDemos, DemoPlanner
from harness.errors import UsageError
from harness.options import RunOptions
from harness.progress import Reporter
from harness.records import Example, Prompt, Role
from harness.render import Renderer
from harness.search_path import SearchPath
from harness.show import show_demos, show_prompt, show_tokens
from harness.tasks import Catalogue
from harness.templates import default_prompt, load_templates


@dataclass(frozen=True, slots=True)
class Preview:
    """One prompt with its item and demonstrations, the latter in the order drawn; ``heading`` says which it is."""

    heading: str
    item: Example
    prompt: Prompt
    drawn: Sequence[Example]
    options: RunOptions


def preview(
    task_name: str, prompt_name: str | None, item: int | str, typed: Mapping[str, Any], reporter: Reporter
) -> Preview:
    """Render one prompt.

    Args:
        item: its number, or its id or the beginning of it.
        typed: options of a run, of one value each.

    Raises:
        HarnessError: an unknown name, or an item that is not there.
    """
    options = RunOptions.read({"tasks": task_name, **typed})
    for name, count in (("shots", len(options.shots)), ("demo-seed", len(options.demo_seeds))):
        if count != 1:
            raise UsageError(f"--{name}: show takes one, not {count}")
    (shots,) = options.shots
    search = SearchPath.default(options.include_path)
    task = Catalogue(search).get(task_name)
    template = load_templates(task, search, (prompt_name or default_prompt(task, search),))[0]
    planner = DemoPlanner(options, reporter)
    roles: set[Role] = {options.split, "pool"} if planner.needs_pool else {options.split}
    data = open_data(task, options, roles, reporter.notice)
    items = data.role(options.split)
    index = _index(items, str(item), f"{task.splits[options.split]} of {task.name}")
    shown = items[index]
    planned = planner.of(data, [shown])
    (drawn_with,) = planned.seeds(shots)
    demos = planned.cell(shots, drawn_with, None)
    drawn = demos.draw(shown)
    prompt = Renderer(template, demos.layout).prompt(shown, drawn)
    heading = f"{template.name}, item {index} of {len(items)} ({shown.item_id}, {shown.place}),"
    heading += f" {_told(demos, drawn_with)}"
    return Preview(heading, shown, prompt, drawn, options)


def print_preview(found: Preview, reporter: Reporter) -> None:
    """Print a prompt to standard output; where the options name a model, also its tokens."""
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 250)
    console.print(found.heading, style="dim", soft_wrap=True, highlight=False, markup=False, emoji=False)
    show_prompt(console, found.prompt, found.item)
    show_demos(console, found.drawn)
    if "model" in found.options.model_fields_set:
        _show_tokens(console, found, reporter)


def _index(items: Sequence[Example], wanted: str, where: str) -> int:
    """Which item is meant: its number, or its id or the beginning of it, which has more digits than a number."""
    if re.fullmatch(r"-?[0-9]{1,7}", wanted):
        if not 0 <= int(wanted) < len(items):
            raise UsageError(f"--item {wanted}: {where} has the items 0 to {len(items) - 1}")
        return int(wanted)
    ids = [item.item_id for item in items]
    found = [place for place, name in enumerate(ids) if name == wanted] or [
        place for place, name in enumerate(ids) if name.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        told = ", ".join(ids[place] for place in found[:3])
        raise UsageError(f"--item {wanted}: fits {len(found)} items of {where}, such as {told}")
    raise UsageError(f"--item {wanted}: neither a number nor the beginning of an id of an item of {where}")


def _told(demos: CellDemos, seed: int | None) -> str:
    """How the demonstrations were drawn."""
    if not demos.shots:
        return "no demonstrations"
    name, encoder = str(demos.signature["demos"]), demos.signature["demo_encoder"]
    how = f", by {encoder}" if encoder else f", seed {seed}" if seed is not None else ""
    return f"{demos.shots} demonstration{'s' * (demos.shots > 1)} ({name}{how})"


def _show_tokens(console: Console, found: Preview, reporter: Reporter) -> None:
    from harness.encode import Encoder
    from harness.models import locate_model
    from harness.tokenizer import PretrainedTokenizer

    prompt = found.prompt
    files = locate_model(found.options.model_spec)
    tokenizer = PretrainedTokenizer(files, reporter.notice)
    answers = Encoder(tokenizer, scope=files.fingerprint, max_inputs=files.max_inputs).answers([prompt])[0]
    show_tokens(console, prompt, found.item, answers, tokenizer.pieces(answers[0].ids[: answers[0].lead]))
    longest = max(len(answer.ids) for answer in answers) - 1
    if files.max_inputs is not None and longest > files.max_inputs:
        console.print(
            f"\n{longest} tokens exceed the model's {files.max_inputs}: a run drops the last-drawn demonstrations",
            style="bold red",
        )
