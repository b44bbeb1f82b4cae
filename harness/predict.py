"""``harness predict``: labels new text with a trained baseline, or with a prompt through the pipeline of a run.

It reads the text, asks for log-probabilities and writes labels; nothing is stored as a run.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.arrow_tables import plain
from harness.baselines import find_baseline
from harness.combinations import LeftOut, readings
from harness.data import TaskData, open_data, read_unlabelled
from harness.demo_plan import DemoPlanner
from harness.errors import DataError, UsageError
from harness.grid import PlannedCell
from harness.options import RunOptions
from harness.progress import Reporter
from harness.records import Role, digest
from harness.row_files import FORMATS, Row, format_of, half_characters, rows_of, stem_and_suffix
from harness.run_store import find_run
from harness.runner import Session
from harness.search_path import SearchPath
from harness.tasks import Catalogue, Task, columns_of, expression_source
from harness.templates import default_prompt, find_templates, load_templates
from harness.text_files import MAX_BYTES, UserFile

_LINES = "lines"
_GIVEN = "the texts given"
Texts = str | Sequence[object]  # a file's name, or rows: mappings or texts


@dataclass(frozen=True, slots=True)
class LabelledText:
    """What was said of one line of the input: the label, None where a prompt does not fit, and all probabilities."""

    line: int
    label: str | None
    probabilities: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "label": self.label, "probabilities": dict(self.probabilities)}


def predict_with_baseline(
    text: Texts,
    run: str,
    results: Path,
    include_path: Sequence[Path],
    reporter: Reporter,
    trust_remote_code: bool = False,
) -> list[LabelledText]:
    """Label texts, or a file of them (``-``: standard input), with the trained baseline that ``run`` names.

    Args:
        run: ``RUN[:key=value,...]``.
        trust_remote_code: whether Python code of its encoder may run.

    Raises:
        UsageError: there is no such run or baseline, or several.
        DataError: the text cannot be read, or a row does not fit the task.
    """
    found, narrowing = find_run(run, results, reporter.notice)
    trained = find_baseline(found, narrowing, results, reporter, trust_remote_code=trust_remote_code)
    known = trained.cell.signature
    task = Catalogue(SearchPath.default(include_path)).get(known.task)
    if task.reading != known.task_reading:
        raise UsageError(f"--run {run}: the file of the task {task.name} has changed since; train again")
    rows = read_text(text, task)
    examples = read_unlabelled(task, rows)
    return _labelled(rows, [trained.labels] * len(rows), trained.scores(examples))


def predict_with_prompt(text: Texts, typed: Mapping[str, Any], reporter: Reporter) -> list[LabelledText]:
    """Label texts, or a file of them, with one prompt: a template, demonstrations and a model, as ``harness run`` does.

    Args:
        typed: options of a run, of one value each: ``tasks``, ``prompts``, ``shots``, ``demo_seeds``, ``model`` ...;
            without ``prompts``, the template is ``plain``, else the first.

    Raises:
        HarnessError: as ``harness run``; UsageError where the options name more than one prompt.
    """
    options = RunOptions.read(typed)
    search = SearchPath.default(options.include_path)
    tasks = Catalogue(search).select(options.tasks)
    counts = {"task": len(tasks), "shots": len(options.shots), "rule": max(1, len(options.rule))}
    counts |= {"demo-seed": len(options.demo_seeds), "calibrate": len(options.calibrate)}
    for name, count in counts.items():
        if count != 1:
            raise UsageError(f"--{name}: predict takes one, not {count}")
    task, shots = tasks[0], options.shots[0]
    wanted = options.prompts if "prompts" in options.model_fields_set else (default_prompt(task, search),)
    templates = load_templates(task, search, wanted)
    if len(templates) != 1:
        names = ", ".join(sorted(find_templates(task, search)[0]))
        raise UsageError(f"--prompt: predict takes one of {names}")
    rows = read_text(text, task)
    items = read_unlabelled(task, rows)
    session = Session(options, reporter)
    planner = DemoPlanner(options, session.reporter)
    if planner.needs_pool or "domain" in options.calibrate:
        data = open_data(task, options, ["pool", options.split], reporter.notice)
    else:
        split: Role = options.split
        ids = {split: digest([item.item_id for item in items])}
        data = TaskData(task, "given", text if isinstance(text, str) else _GIVEN, None, {split: tuple(items)}, ids, 0)
    demos = planner.of(data, items)
    (seed,) = demos.seeds(shots)
    orders = demos.orders(shots, seed, templates[0])
    if len(orders) != 1:
        raise UsageError(f"--demo-order {options.demo_order}: predict takes one order")
    left_out = LeftOut()
    read = readings(options, task, templates[0], items, data.roles.get("pool", ()), left_out)
    if not read:
        raise UsageError(f"nothing is left to evaluate: {left_out.told}")
    cell = PlannedCell(data, items, templates[0], shots, seed, read, None, demos.cell(shots, seed, orders[0]))
    planner.release()
    session.open()
    (finished,) = session.finish([cell], session.encode([cell]), options.split)
    session.close()
    width = max(len(item.options) for item in items)
    scores = np.full((len(items), width), -np.inf)
    for place, prediction in enumerate(finished.predictions):
        scores[place, : len(prediction.scores)] = prediction.scores
    return _labelled(rows, [item.options for item in items], scores)


def read_text(text: Texts, task: Task) -> list[Row]:
    """New rows of a task: given ones, or those of a file, or of standard input for ``-``.

    They may be of any format of a task's data, with the task's columns or its fields by their names. Where the task
    reads one column, a ``.txt`` file or standard input may hold plain lines; how it begins tells.

    Raises:
        DataError: it cannot be read, holds nothing, or has a malformed line.
    """
    if not isinstance(text, str):
        return [_renamed(row, task) for row in _given(text, task)]
    if text == "-":
        file = UserFile("standard input", sys.stdin.buffer.read(MAX_BYTES + 1), DataError)
        found = _format_by_content(file, task)
    else:
        path = Path(text).expanduser()
        file = UserFile(path, error=DataError)
        file.head()  # whether it can be read, before its name is judged
        plain = stem_and_suffix(path.name)[1] in ("txt", "text")
        found = _format_by_content(file, task) if plain else format_of(path.name) or ""
    if not found:
        raise file.wrong(f"is of no format that is read: {', '.join(FORMATS)}, or txt for plain lines")
    rows = _plain_lines(file, task) if found == _LINES else rows_of(file, found)
    if not rows:
        raise file.wrong("holds no row")
    return [_renamed(row, task) for row in rows]


def _given(texts: Sequence[object], task: Task) -> list[Row]:
    """A mapping holds the task's columns; a text is that of the one column, where there is one."""
    if not texts:
        raise DataError(_GIVEN, "there is none")
    wanted = _columns(task)
    rows = []
    for number, text in enumerate(texts, start=1):
        if isinstance(text, Mapping):
            row = plain(dict(text))
        elif isinstance(text, str) and len(wanted) == 1:
            row = {wanted[0]: text}
        else:
            what = f"a mapping with the columns {', '.join(wanted)}" if len(wanted) > 1 else "a text or a mapping"
            raise DataError(_GIVEN, f"must be {what}, not {str(text)[:40]!r}", number)
        if half_characters(row):
            raise DataError(_GIVEN, "holds half of a surrogate pair, which is no character", number)
        rows.append(Row(row, f"{_GIVEN}:{number}"))
    return rows


def _format_by_content(file: UserFile, task: Task) -> str:
    """What a text is whose name does not tell: a beginning that names the task's columns is the header of a table."""
    head = file.head()
    if head.startswith((b"PAR1", b"ARROW1")):
        return "parquet" if head.startswith(b"PAR1") else "arrow"
    first = next((line.strip() for line in file.lines() if line.strip()), "")
    if re.match(r"""{\s*("|}|$)|\[\s*([{"\]]|$)""", first):
        return "json"
    names = {name.casefold() for name in [*_columns(task), *task.fields]}  # a header in other letters is still one
    for format, delimiter in (("csv", ","), ("tsv", "\t")):
        if names & {cell.strip().strip('"').casefold() for cell in first.split(delimiter)}:
            return format
    return _LINES


def _plain_lines(file: UserFile, task: Task) -> list[Row]:
    wanted = _columns(task)
    if len(wanted) != 1:
        raise file.wrong(
            f"{task.name} reads the columns {', '.join(wanted)}, so plain lines will not do: give them in one of"
            f" {', '.join(FORMATS)}"
        )
    lines = enumerate(file.lines(), start=1)
    return [Row({wanted[0]: line.rstrip("\n")}, f"{file.path}:{number}") for number, line in lines if line.strip()]


def _renamed(row: Row, task: Task) -> Row:
    """A field's own name will do for the column that it renames."""
    for name, column in task.fields.items():
        if column not in row.values and name in row.values and expression_source(column) is None:
            row.values[column] = row.values[name]
    return row


def _columns(task: Task) -> list[str]:
    """The source columns that the task's fields and options are made of."""
    found: dict[str, None] = {}
    for text in [*task.fields.values(), *([task.options] if task.options else [])]:
        expression = task.expression(text)
        found.update(dict.fromkeys([text] if expression is None else sorted(columns_of(expression))))
    return list(found)


def _labelled(rows: Sequence[Row], options: Sequence[Sequence[str]], scores: Any) -> list[LabelledText]:
    """Labels and probabilities from log-scale scores, shape [n, most labels]; a row of -inf has none."""
    found = []
    for row, names, line in zip(rows, options, scores, strict=True):
        own = line[: len(names)]
        best = own.max()
        if not np.isfinite(best):
            found.append(LabelledText(row.number, None, {}))
            continue
        shares = np.exp(own - best)
        shares /= shares.sum()
        found.append(
            LabelledText(row.number, names[int(np.argmax(own))], dict(zip(names, shares.tolist(), strict=True)))
        )
    return found


def as_jsonl(found: Sequence[LabelledText]) -> str:
    return "\n".join(json.dumps(one.as_dict(), ensure_ascii=False) for one in found)


def as_csv(found: Sequence[LabelledText]) -> str:
    """Columns: line, label, and the probability of each label; with options of each item's own, no probabilities."""
    names = list(dict.fromkeys(name for one in found for name in one.probabilities))
    shared = all(not one.probabilities or list(one.probabilities) == names for one in found)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["line", "label", *([f"probability {name}" for name in names] if shared else [])])
    for one in found:
        own = [one.probabilities.get(name, "") for name in names] if shared else []
        writer.writerow([one.line, one.label or "", *own])
    return stream.getvalue().rstrip("\n")
