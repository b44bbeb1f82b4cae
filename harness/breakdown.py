"""Rows taken apart: by template, by seed of the demonstrations, by gold label, or put together by domain.

It reads no more than the cells of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from harness.cell_results import CellResult
from harness.errors import HarnessError, UsageError, suggest
from harness.records import digest
from harness.signature import ABOUT, ROW_KEY, Signature, fields_that
from harness.summary import By, MetricSummary, Row, beside_baselines, ranked, row_of

NAMES: Sequence[By] = get_args(By)
# What tasks of one domain share that are averaged.
_OF_DOMAIN = fields_that(lambda about: about.row and not about.of_task)
# What keeps rows of one task apart, which would otherwise count it several times.
_APART: Sequence[Callable[[Row], object]] = (
    lambda row: row.signature.rule,
    lambda row: row.chosen,
    lambda row: row.signature.split,
    lambda row: row.n,
    lambda row: [row.items_hash, *row.signature.values(ROW_KEY)],
)


def by_name(text: str) -> By:
    """Raises UsageError for what rows cannot be taken apart by."""
    for name in NAMES:
        if name == text:
            return name
    raise UsageError(f"--by: unknown value {text!r}{suggest(text, NAMES)}")


def broken_down(rows: Iterable[Row], by: By) -> list[Row]:
    """The rows by ``by``; rows of one setting stay together, the best part first.

    prompt   one row for each template
    seed     one for each seed of the demonstrations (and each of several orders), or of the training sets
    class    one for each gold label, over its items: accuracy is that label's recall
    domain   one for all tasks of a domain: the mean of their accuracies, each task counting once

    Raises:
        HarnessError: nothing that is stored can be taken apart so.
    """
    rows = list(rows)
    if by == "domain":
        return _by_domain(rows)
    parts: list[tuple[int, Row]] = []
    for number, row in enumerate(rows):
        for name, cells in _parts(row, by):
            part = row_of(cells, (by, name))
            # Of one class, F1 tells nothing that recall does not.
            metrics = {"accuracy": part.metrics["accuracy"]} if by == "class" else part.metrics
            parts.append((number, replace(part, metrics=metrics)))
    if not parts:
        raise HarnessError("--by class: no row has labels; its items have options of their own")
    beside = beside_baselines([row for _, row in parts])
    order = {id(row): number for (number, _), row in zip(parts, beside, strict=True)}
    if by == "class":  # labels in their own order, under each other
        return sorted(beside, key=lambda row: order[id(row)])
    return sorted(beside, key=lambda row: (order[id(row)], -row.metrics[row.primary].mean))


def _parts(row: Row, by: By) -> list[tuple[str, list[CellResult]]]:
    if by == "class":
        return _classes(row)
    found: dict[str, list[CellResult]] = {}
    for cell in row.cells:
        found.setdefault(_template(row, cell) if by == "prompt" else _seed(row, cell), []).append(cell)
    return list(found.items())


def _template(row: Row, cell: CellResult) -> str:
    """Without its folder, where that names one template alone."""
    full = cell.signature.template
    stem = full.split("/")[-1]
    names = {one.signature.template for one in row.cells}
    return stem if sum(name.split("/")[-1] == stem for name in names) == 1 else full


def _seed(row: Row, cell: CellResult) -> str:
    seed = cell.signature.demo_seed
    told = "none" if seed is None else str(seed)
    return f"{told}, order {cell.signature.order}" if row.orders > 1 else told


def _classes(row: Row) -> list[tuple[str, list[CellResult]]]:
    labels = row.cells[0].labels
    found = []
    for index, label in enumerate(labels or ()):
        chosen = np.flatnonzero(row.cells[0].gold == index)
        if len(chosen):
            found.append((label, [_some(cell, chosen.tolist()) for cell in row.cells]))
    return found


def _some(cell: CellResult, chosen: Sequence[int]) -> CellResult:
    """The cell on some of its items. What is counted over all of them is not known of these."""
    return replace(
        cell,
        metrics=["accuracy"],
        item_ids=[cell.item_ids[index] for index in chosen],
        gold=cell.gold[chosen],
        prediction=cell.prediction[chosen],
        status=[cell.status[index] for index in chosen],
        clusters=None if cell.clusters is None else cell.clusters[chosen],
        probabilities=None if cell.probabilities is None else cell.probabilities[chosen],
        close=0,
        dropped=0,
    )


def _by_domain(rows: Sequence[Row]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        domain = row.cells[0].domain or "unknown"
        known = row.signature.values(_OF_DOMAIN)
        groups.setdefault(digest([domain, row.status, known]), []).append(row)
    return ranked(_mean_of_tasks(part) for group in groups.values() for part in _once_each(group))


def _once_each(rows: Sequence[Row], apart: Sequence[Callable[[Row], object]] = _APART) -> list[list[Row]]:
    """The rows in as few groups as it takes for no task to be in one twice."""
    if not apart or len({row.task_label for row in rows}) == len(rows):
        return [list(rows)]
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(digest(apart[0](row)), []).append(row)
    return [found for part in parts.values() for found in _once_each(part, apart[1:])]


def _mean_of_tasks(rows: Sequence[Row]) -> Row:
    """One row for several tasks, whose accuracy is the mean of theirs; the interval is of items, tasks are given."""
    domain = rows[0].cells[0].domain or "unknown"
    if len(rows) == 1:
        return replace(rows[0], part=("domain", domain))
    total = sum(row.n for row in rows)
    return replace(
        rows[0],
        signature=_common_signature(rows),
        items_hash=digest([row.items_hash for row in rows]),
        n=total,
        templates=sum(row.templates for row in rows),
        seeds=max(row.seeds for row in rows),
        orders=max(row.orders for row in rows),
        metrics={"accuracy": _mean_accuracy(rows)},
        primary="accuracy",
        item_ids=[item for row in rows for item in row.item_ids],
        item_accuracy=np.concatenate([row.item_accuracy * total / (len(rows) * row.n) for row in rows]),
        cells=[cell for row in rows for cell in row.cells],
        clusters=None,
        labels=(),
        gold_share=(),
        predicted_share=(),
        ties=sum(row.ties for row in rows),
        too_long=sum(row.too_long for row in rows),
        shortened=sum(row.shortened for row in rows),
        close=sum(row.close for row in rows),
        predictions=sum(row.predictions for row in rows),
        part=("domain", domain),
        best_baseline=None,
    )


def _common_signature(rows: Sequence[Row]) -> Signature:
    """What the rows share; names in which they differ are listed, hashes are left out."""
    changes: dict[str, str | None] = {}
    for name in fields_that(lambda about: about.of_task):
        values = {row.signature.value(name) for row in rows}
        if len(values) > 1:
            changes[name] = ", ".join(sorted(map(str, values))) if ABOUT[name].chosen else None
    return rows[0].signature.model_copy(update=changes)


def _mean_accuracy(rows: Sequence[Row]) -> MetricSummary:
    """Its interval puts those of the tasks together (MOVER, Zou and Donner 2008): each end is as far from the mean as
    the tasks' own ends, squared and summed, say; so a task without a mistake still adds to it."""
    known = [row.metrics["accuracy"] for row in rows]
    tasks = [row.task_label for row in rows]
    means = [one.mean for one in known]
    mean = float(np.mean(means))
    below, above = (math.hypot(*(getattr(one, end) - one.mean for one in known)) / len(rows) for end in ("low", "high"))
    worst, best = int(np.argmin(means)), int(np.argmax(means))
    return MetricSummary(mean, mean - below, mean + above, means[worst], means[best], tasks[worst], tasks[best])
