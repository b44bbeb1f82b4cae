"""What ``harness list`` shows: tasks, prompts and runs, as titles, lines and remarks. Broken files are flagged, not
fatal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DamagedFileError, HarnessError
from harness.search_path import SearchPath
from harness.tasks import BrokenTask, Catalogue, Task
from harness.templates import find_templates, load_template

if TYPE_CHECKING:
    from harness.run_store import StoredRun

# Options of runs in which they may differ, beside model and tasks.
_OPTIONS = (
    "methods", "sizes", "seeds", "shots", "prompts", "rule", "calibrate", "controls", "limit", "seed", "split", "data",
    "demo_seeds", "demos", "demo_order", "dtype", "bos", "tokenizer",
)  # fmt: skip

Listing = tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]


def tasks(search: SearchPath) -> Listing:
    """All tasks; reads their files, and counts templates without reading them."""
    catalogue = Catalogue(search)
    lines, remarks = [], []
    for task in catalogue.all():
        if isinstance(task, BrokenTask):
            lines.append([task.name, "invalid", "", "", "", ""])
            remarks.append(str(task.error))
            continue
        answers = "options" if task.labels is None else f"{len(task.labels)} labels"
        count = len(find_templates(task, search)[0])
        source = task.source.hub or f"folder {task.source.folder}"
        lines.append([task.name, task.language, task.family, answers, str(count), source])
    remarks += [f"{path} is shadowed by {catalogue.paths[name]}" for name, path in catalogue.shadowed.items()]
    return ("task", "language", "family", "answers", "templates", "source"), lines, remarks


def prompts(search: SearchPath, names: Sequence[str]) -> Listing:
    """All templates of the named tasks (default: of every valid task)."""
    catalogue = Catalogue(search)
    chosen = catalogue.select(names) if names else [task for task in catalogue.all() if isinstance(task, Task)]
    lines, remarks = [], []
    for task in chosen:
        for name, path in sorted(find_templates(task, search)[0].items()):
            try:
                template = load_template(path, task)
            except HarnessError as error:
                lines.append([name, "invalid", ""])
                remarks.append(str(error))
                continue
            answers = template.front.answers
            words = answers if isinstance(answers, str) else " / ".join(", ".join(group) for group in answers)
            lines.append([name, template.score, words])
    return ("prompt", "score", "answers"), lines, remarks


def runs(results: Path) -> Listing:
    """All runs of a results folder, oldest first."""
    from harness.run_store import stored_runs

    lines: list[Sequence[str]] = []
    remarks: list[str] = []
    found = stored_runs(results, remarks.append)
    differing = [key for key in _OPTIONS if len({_option(run, key) for run in found} - {None}) > 1]
    told = bool(differing)
    for run in found:
        known = run.document
        lines.append(
            [
                run.path.name,
                _status(run, remarks),
                known.model.name or "",
                ", ".join(known.tasks),
                *([_options(run, differing)] if told else []),
                str(len(known.cells)),
                f"{sum(known.seconds.values()):.1f}",
            ]
        )
    if not lines and not remarks:
        remarks.append(f"{results}: holds no run; 'harness run' makes one")
    if any(line[1] == "unfinished" for line in lines):
        remarks.append("unfinished: at work now, or killed; the same command goes on from the scores that it stored")
    titles = ("run", "status", "model", "tasks", *(["differing options"] if told else []), "cells", "seconds")
    return titles, lines, remarks


def _option(run: StoredRun, key: str) -> str | None:
    """What a run was asked, as one types it; None where it has no such option."""
    if key not in run.document.options:
        return None
    value = run.document.options[key]
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return ",".join(map(str, listed))


def _options(run: StoredRun, keys: Sequence[str]) -> str:
    return ", ".join(f"{key.replace('_', '-')} {_option(run, key)}" for key in keys if _option(run, key))


def _status(run: StoredRun, remarks: list[str]) -> str:
    """A run that was killed says for ever that it is running, so that word would mislead."""
    from harness.run_store import set_aside

    status = run.document.status
    if status == "running":
        return "unfinished"
    if run.finished:
        try:
            run.check_files()
        except DamagedFileError as error:
            remarks.append(set_aside(error))
            return "damaged"
    return status
