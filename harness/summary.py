"""Aggregates stored predictions into rows: one for each (model, task, k), over templates, seeds and orders; of a
trained baseline one for each (method, task, number of labels), over the seeds of its training sets.

It reads records only; no model, template or task file is needed. Rows never mix what cannot be compared: data, split,
items, scoring rule, demonstration strategy, dtype and BOS policy each make a row of their own where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.cell_results import CellResult
from harness.metrics import METRICS, Ints, confusion, pair_index
from harness.paired import difference_interval
from harness.power import detectable_difference, detectable_single
from harness.records import digest
from harness.signature import ROW_KEY, Signature
from harness.statistics import Interval, bootstrap_interval, mean_interval, standard_error

Floats = npt.NDArray[np.float64]
# What a row is of: the whole reported split, some of its items (--limit), or another split.
Status = Literal["complete", "limited", "select"]
# What rows are taken apart by, of the cells of each.
By = Literal["prompt", "seed", "class", "domain"]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """A metric over the cells of a row: the mean with its 95% interval over items, and the templates' extremes.

    ``worst`` and ``best`` are means over seeds of the worst and best template; ``spread`` is their difference.
    """

    mean: float
    low: float
    high: float
    worst: float
    best: float
    worst_template: str
    best_template: str

    @property
    def spread(self) -> float:
        return self.best - self.worst

    def as_dict(self) -> dict[str, float | str | None]:
        """For JSON, which has no nan: an end of the interval that is not known is None."""
        ends = {name: None if np.isnan(end) else end for name, end in (("low", self.low), ("high", self.high))}
        return {**{field: getattr(self, field) for field in self.__slots__}, **ends, "spread": self.spread}


@dataclass(frozen=True, slots=True)
class BaselineGap:
    """How much more accurate a row is than ``name``, the most accurate baseline on the same items; paired by item.

    The best of several is chosen on these very items, so that it looks a little better than it is.
    """

    name: str
    difference: Interval

    def as_dict(self) -> dict[str, float | str | None]:
        gap = self.difference
        low, high = (None if np.isnan(end) else float(end) for end in (gap.low, gap.high))
        return {"baseline": self.name, "difference": float(gap.mean), "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    ``item_accuracy``, shape [n], is the share of the row's templates and seeds that are right on each item, in the
    order of item ids. ``part`` is what of a row it is, such as ("prompt", "plain"); None for a whole one.
    """

    signature: Signature
    items_hash: str
    n: int
    templates: int
    seeds: int
    orders: int
    primary: str
    metrics: Mapping[str, MetricSummary]
    item_ids: Sequence[str]
    item_accuracy: Floats
    cells: Sequence[CellResult]
    clusters: Ints | None
    labels: Sequence[str]
    gold_share: Sequence[float]
    predicted_share: Sequence[float]
    ties: int
    too_long: int
    shortened: int
    close: int
    predictions: int
    best_baseline: BaselineGap | None = None
    part: tuple[By, str] | None = None

    @property
    def trained(self) -> bool:
        """Whether it is a trained baseline, and no prompt."""
        return self.signature.approach == "baseline"

    @property
    def chosen(self) -> str | None:
        """The template's name where a choice on other items has picked it alone; None for any other row."""
        return self.signature.template.split("/")[-1] if self.cells[0].selection_labels else None

    @property
    def labels_used(self) -> int:
        """Labels that training took, or those that prompts show and those that they were chosen by."""
        return (self.signature.labels_used or 0) + max(cell.selection_labels for cell in self.cells)

    @property
    def status(self) -> Status:
        """What it is of."""
        if self.signature.role != "report":
            return "select"
        return "limited" if any(cell.limited for cell in self.cells) else "complete"

    @property
    def template(self) -> str | None:
        """The name of its only template, without its folder; None of several."""
        return self.signature.template.split("/")[-1] if self.templates == 1 and not self.trained else None

    @property
    def detectable(self) -> float:
        """The smallest difference in accuracy to another row that these items would show in four of five tries.

        It assumes another row with the same standard error and independent mistakes. Rows on the same items share the
        hard ones, so that a paired comparison finds less: this figure errs on the large side. A mean over tasks has
        none.
        """
        if self.part is not None and self.part[0] == "domain":
            return float("nan")
        error = standard_error(self.item_accuracy, self.clusters)
        if not error > 0 or (self.clusters is None and len(self.cells) == 1):
            return detectable_single(self.n, float(self.item_accuracy.mean()))
        units = self.n if self.clusters is None else len(np.unique(self.clusters))
        return detectable_difference(2**0.5 * error, units - 1)

    @property
    def task_label(self) -> str:
        """The task as tables show it; built-in samples are never mistaken for the real data."""
        return f"{self.signature.task} (sample)" if self.signature.data == "sample" else self.signature.task

    def as_dict(self) -> dict[str, Any]:
        """The row of the ``--json`` document."""
        known = self.signature
        return {
            "task": known.task,
            "data": known.data,
            "split": known.split,
            "role": known.role,
            "status": self.status,
            "kind": known.approach,
            **({self.part[0]: self.part[1]} if self.part else {}),
            "model": known.model,
            "method": known.method,
            "shots": known.shots,
            "labels_used": self.labels_used,
            "demos": known.demos,
            "demo_encoder": known.demo_encoder,
            "demo_order": known.demo_order,
            "rule": known.rule,
            "calibration": known.calibration,
            "control": known.control,
            "dtype": known.dtype,
            "bos": known.bos,
            "chosen": self.chosen,
            "n": self.n,
            "template": self.template,
            "templates": self.templates,
            "seeds": self.seeds,
            "orders": self.orders,
            "primary": self.primary,
            **{name: metric.as_dict() for name, metric in self.metrics.items()},
            "gold": dict(zip(self.labels, self.gold_share, strict=True)),
            "predicted": dict(zip(self.labels, self.predicted_share, strict=True)),
            "minimum_detectable_effect": None if np.isnan(self.detectable) else self.detectable,
            "best_baseline": self.best_baseline and self.best_baseline.as_dict(),
            "predictions": self.predictions,
            "ties": self.ties,
            "close": self.close,
            "too_long": self.too_long,
            "shortened": self.shortened,
            "model_fingerprint": known.model_fingerprint,
            "data_hash": known.data_hash,
            "items_hash": self.items_hash,
            "pool_hash": known.pool_hash,
            "task_reading": known.task_reading,
            "tokenizer_hash": known.tokenizer_hash,
        }


def summarise(cells: Iterable[CellResult]) -> list[Row]:
    """Rows, ranked within each task by the primary metric. Of cells that differ only in when they ran, the latest
    counts. A prompt that was chosen by labels has a row of its own, which is charged with them."""
    groups: dict[str, dict[tuple[str, Any, Any], CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.created):
        key = digest([cell.signature.values(ROW_KEY), cell.items_hash, cell.chosen])
        groups.setdefault(key, {})[cell.signature.template, cell.signature.demo_seed, _order(cell)] = cell
    return ranked(beside_baselines([row_of(list(group.values())) for group in groups.values()]))


def ranked(rows: Iterable[Row], place: Callable[[Row], Any] = lambda row: ()) -> list[Row]:
    """Rows in the order in which tables show them: task by task, the best of equal items first, controls last.

    Args:
        place: what comes before the score.
    """
    return sorted(
        rows,
        key=lambda row: (
            row.task_label,
            row.signature.split or "",  # an earlier version did not note it
            -row.n,
            place(row),
            row.signature.control is not None,
            -row.metrics[row.primary].mean,
        ),
    )


def beside_baselines(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with its difference to the most accurate baseline of its task; the best has none."""
    best: dict[tuple[object, ...], Row] = {}
    for row in rows:
        known = best.get(_place(row))
        if row.trained and (known is None or row.item_accuracy.mean() > known.item_accuracy.mean()):
            best[_place(row)] = row
    found = []
    for row in rows:
        other = best.get(_place(row))
        if other is not None and other is not row:
            gap = difference_interval(row.item_accuracy - other.item_accuracy, row.clusters)
            row = replace(row, best_baseline=BaselineGap(short_name(other, task=False), gap))
        found.append(row)
    return found


def _place(row: Row) -> tuple[object, ...]:
    """What rows share that can be paired item by item."""
    return row.task_label, row.signature.split, row.signature.task_reading, row.items_hash


def short_name(row: Row, *, task: bool = True) -> str:
    """Model, task and shots, or labels; several rows may share it."""
    known = row.signature
    what = f"{known.labels_used} labels" if row.trained else f"{known.shots}-shot"
    chosen = [] if row.chosen is None else [f"chosen: {row.chosen}"]
    part = [" ".join(row.part)] if row.part else []
    return ", ".join([known.model, *([row.task_label] if task else []), what, *chosen, *part])


def _order(cell: CellResult) -> int | None:
    """The number of the order in which demonstrations stand, of those that share a row; a choice takes one's place."""
    return cell.signature.order if cell.signature.demo_order == "permuted" else None


def row_of(cells: Sequence[CellResult], part: tuple[By, str] | None = None) -> Row:
    """The row of cells that differ in template, seed and order alone; ``part`` is what of a row they are."""
    first = max(cells, key=lambda cell: cell.created)  # a task file's latest metrics and labels count
    n_labels = 1 + max(int(max(cell.gold.max(), cell.prediction.max())) for cell in cells)
    labels = first.labels or [f"option {index + 1}" for index in range(n_labels)]
    n_labels = max(n_labels, len(labels))
    pairs = np.stack([pair_index(cell.gold, cell.prediction, n_labels) for cell in cells])
    names = list(dict.fromkeys([*first.metrics, "accuracy", *(["macro_f1"] if first.labels else [])]))
    predicted = np.concatenate([cell.prediction for cell in cells])
    return Row(
        signature=first.signature,
        items_hash=first.items_hash,
        n=len(first.item_ids),
        templates=len({cell.signature.template for cell in cells}),
        seeds=len({cell.signature.demo_seed for cell in cells}),
        orders=len(set(map(_order, cells))),
        primary=first.metrics[0],
        metrics={name: _summary(name, cells, pairs, n_labels) for name in names},
        item_ids=first.item_ids,
        cells=cells,
        item_accuracy=np.mean([cell.prediction == cell.gold for cell in cells], axis=0),
        clusters=first.clusters,
        labels=labels,
        gold_share=_shares(first.gold, n_labels),
        predicted_share=_shares(predicted[predicted >= 0], n_labels),
        ties=sum(status == "tie" for cell in cells for status in cell.status),
        too_long=sum(status == "too_long" for cell in cells for status in cell.status),
        shortened=sum(cell.dropped for cell in cells),
        close=sum(cell.close for cell in cells),
        predictions=len(predicted),
        part=part,
    )


def _summary(name: str, cells: Sequence[CellResult], pairs: Ints, n_labels: int) -> MetricSummary:
    metric = METRICS[name]  # type: ignore[index]
    by_template: dict[str, list[float]] = {}
    for cell, row in zip(cells, pairs, strict=True):
        value = float(metric(confusion(row, n_labels)))
        by_template.setdefault(cell.signature.template, []).append(value)
    means = {template: float(np.mean(values)) for template, values in by_template.items()}
    worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if name == "accuracy":
        # The interval of per-item means over templates and seeds: items are the sample, prompts are given.
        correct = np.mean([cell.prediction == cell.gold for cell in cells], axis=0)
        interval = mean_interval(correct, cells[0].clusters)
    else:
        interval = bootstrap_interval(pairs, metric, n_labels, cells[0].clusters)
    stems = [template.split("/")[-1] for template in means]
    short = {name: stem if stems.count(stem) == 1 else name for name, stem in zip(means, stems, strict=True)}
    return MetricSummary(
        interval.mean, interval.low, interval.high, means[worst], means[best], short[worst], short[best]
    )


def _shares(labels: Ints, n_labels: int) -> list[float]:
    counts = np.bincount(labels, minlength=n_labels)
    return (counts / max(1, counts.sum())).tolist()  # type: ignore[no-any-return]
