"""The columns of every table of results: of rows, of what they depend on, and of their labels.

Each column is declared once, with what it says of a row and when it says something; layout fits them to a width, and
formats writes them. It aggregates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from harness import formats
from harness.class_report import AVERAGES, ClassReport
from harness.layout import Column, Section, Table
from harness.row_names import ITEMS, SPLIT, Dimension, piece, telling, unusual
from harness.sensitivity import PARTS, QUANTILES, Sensitivity, remarks
from harness.summary import MetricSummary, Row, Status

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R")

# Lines of their own in every table; complete results need none.
_SECTIONS: Mapping[Status, str] = {
    "complete": "",
    "limited": "some of the items (--limit)",
    "select": "the split for choices",
}
_METRICS = {"accuracy": "accuracy %", "macro_f1": "macro-F1 %"}
_SHARES = "predicted (gold)"
_MOST_LABELS = 4
# What the table of scores says of all rows already.
_SAID = (SPLIT.title, ITEMS.title)


# What a row is


def row_columns(rows: Sequence[Row]) -> list[Column[Row]]:
    """What tells these rows apart; no two of them have the same in all of these columns."""
    names = model_names(rows)
    parts = list(dict.fromkeys(row.part[0] for row in rows if row.part))
    found = [
        Column[Row]("task", lambda row: row.task_label, shared="narrow", gives="name"),
        Column[Row](SPLIT.title, SPLIT.text, shared="always", gives="name"),
        Column[Row]("model", lambda row: names[_model(row)], gives="name"),
        *(Column[Row](by, lambda row: row.part[1] if row.part else "-", gives="name") for by in parts),
        Column[Row]("k", lambda row: "-" if row.trained else str(row.signature.shots), "right", says=_any_prompt),
        Column[Row]("labels", lambda row: str(row.labels_used), "right", says=_any_labels),
    ]
    told = telling(rows)
    same = [one for one in unusual(rows) if one not in told]
    return [*found, *map(_setting, told), *(replace(_setting(one), setting=False, shared="always") for one in same)]


def _setting(dimension: Dimension) -> Column[Row]:
    return Column[Row](dimension.title, lambda row: piece(dimension, row), gives="name", setting=True)


def _any_prompt(rows: Sequence[Row]) -> bool:
    return any(not row.trained for row in rows)


def _any_labels(rows: Sequence[Row]) -> bool:
    return any(row.trained or row.chosen is not None for row in rows)


def model_names(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """What each model, by name and fingerprint, is called: its name, with a piece of the fingerprint where two share
    it."""
    known = set(map(_model, rows))
    names = [name for name, _ in known]
    return {(name, key): f"{name}@{key[:6]}" if names.count(name) > 1 else name for name, key in known}


def _model(row: Row) -> tuple[str, str]:
    return str(row.signature.model), str(row.signature.model_fingerprint)


def _items() -> Column[Row]:
    return Column[Row](ITEMS.title, ITEMS.text, "right", shared="narrow")


def _task(row: Row) -> object:
    return row.task_label


def sections(rows: Sequence[Row]) -> list[Section[Row]]:
    """Complete results first; runs of some items and other splits each under a line of their own, where both are."""
    found = [Section(title, [row for row in rows if row.status == status]) for status, title in _SECTIONS.items()]
    found = [section for section in found if section.rows]
    return found if len(found) > 1 else [Section("", rows)]


def _kind_of_all(rows: Sequence[Row]) -> list[str]:
    """What all rows are of, where that is no complete result."""
    known = {_SECTIONS[row.status] for row in rows}
    return [f"all rows: {title}" for title in known if len(known) == 1 and title]


# Scores


def score_table(rows: Sequence[Row], remarks: Sequence[str] = ()) -> Table[Row]:
    """A row's scores in percent, each with its 95% interval, and how far its templates lie apart."""
    return Table.of(_score_columns(rows), sections(rows), _task, [*_kind_of_all(rows), *remarks])


def share_table(rows: Sequence[Row]) -> Table[Row]:
    """How often each label is predicted, and in brackets how often it is right; the most frequent labels only."""
    told = [column for column in (*row_columns(rows), _items()) if column.title not in _SAID or _differ(column, rows)]
    return Table.of([*told, _shares_column()], sections(rows), _task)


def _differ(column: Column[Row], rows: Sequence[Row]) -> bool:
    return len(set(map(column.value, rows))) > 1


def whole_table(rows: Sequence[Row]) -> Table[Row]:
    """Both in one, for formats without a width."""
    return Table.of([*_score_columns(rows), _shares_column()], sections(rows), _task)


def _score_columns(rows: Sequence[Row]) -> list[Column[Row]]:
    own = sorted({name for row in rows for name in row.metrics} - set(_METRICS))
    return [
        *row_columns(rows),
        _items(),
        Column[Row](
            "prompts",
            _prompts,
            says=_any_prompts,
            fold=None if _other_templates(rows) else 9,
            shared="narrow",
            gives="name",
        ),
        _metric("accuracy"),
        Column[Row]("worst", lambda row: _extreme(row, "worst"), says=_any_spread, fold=4),
        Column[Row]("best", lambda row: _extreme(row, "best"), says=_any_spread, fold=7),
        Column[Row]("spread", _spread, "right", says=_any_spread, fold=2),
        Column[Row]("MDE", lambda row: _percent(row.detectable), "right", says=_all_of_items, fold=1),
        Column[Row]("vs best baseline", _gap, "right", says=_any_gap, fold=8),
        *(_metric(name, fold=3) for name in ("macro_f1", *own)),
        Column[Row]("ties", lambda row: str(row.ties), "right", says=lambda rows: any(r.ties for r in rows), fold=5),
        Column[Row](
            "too long", lambda row: str(row.too_long), "right", says=lambda rows: any(r.too_long for r in rows), fold=6
        ),
    ]


def _shares_column() -> Column[Row]:
    return Column[Row](_SHARES, _shares, says=_all_of_items, gives="list")


def _metric(name: str, fold: int | None = None) -> Column[Row]:
    def score(row: Row) -> float | None:
        known = row.metrics.get(name)
        return None if known is None or row.signature.control is not None else known.mean

    def value(row: Row) -> str:
        return _interval(row.metrics[name]) if name in row.metrics else "-"

    title = _METRICS.get(name, name)
    return Column[Row](title, value, "right", lambda rows: any(name in row.metrics for row in rows), fold, score=score)


def _any_spread(rows: Sequence[Row]) -> bool:
    """One template is its own worst and best."""
    return any(_has_spread(row) for row in rows)


def _has_spread(row: Row) -> bool:
    return not row.trained and row.templates > 1


def _any_prompts(rows: Sequence[Row]) -> bool:
    """Rows of one template each have its name already; means over tasks have different ones."""
    return _all_of_items(rows) and not all(
        row.part and row.part[0] == "prompt" and row.seeds * row.orders == 1 for row in rows
    )


def _other_templates(rows: Sequence[Row]) -> bool:
    """Whether means of one task are over other numbers of templates: what is better on average may owe it to them."""
    counts: dict[str, set[int]] = {}
    for row in rows:
        if not row.trained and row.chosen is None:
            counts.setdefault(row.task_label, set()).add(row.templates)
    return any(len(known) > 1 for known in counts.values())


def _any_gap(rows: Sequence[Row]) -> bool:
    return any(row.best_baseline for row in rows)


def _all_of_items(rows: Sequence[Row]) -> bool:
    """Not of means over tasks, which have no items and no labels of their own."""
    return not any(row.part and row.part[0] == "domain" for row in rows)


def _extreme(row: Row, which: str) -> str:
    if not _has_spread(row):
        return "-"
    primary = row.metrics[row.primary]
    return f"{_percent(getattr(primary, which))} {getattr(primary, f'{which}_template')}"


def _spread(row: Row) -> str:
    return _percent(row.metrics[row.primary].spread) if _has_spread(row) else "-"


def _prompts(row: Row) -> str:
    """How many templates, seeds and orders; what a complete grid of them lacks is told. A single template is named."""
    grid = row.templates * row.seeds * row.orders
    if row.trained:  # what is trained has no wording, only training sets
        return f"{row.seeds} seed{'s' * (row.seeds > 1)}"
    told = f"chosen: {row.chosen}" if row.chosen is not None else row.template or str(row.templates)
    told += f" x {row.seeds} seeds" if row.seeds > 1 else ""
    told += f" x {row.orders} orders" if row.orders > 1 else ""
    return told if row.predictions == grid * row.n else f"{row.predictions // row.n} of {told}"


def _gap(row: Row) -> str:
    """Percentage points above the best baseline, which itself has none."""
    if row.best_baseline is None:
        return "-"
    gap = row.best_baseline.difference
    known = "" if math.isnan(gap.low) else f" [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    return f"{100 * gap.mean:+.1f}{known}"


def _interval(metric: MetricSummary) -> str:
    if math.isnan(metric.low):  # one item has no interval
        return _percent(metric.mean)
    return f"{_percent(metric.mean)} [{_percent(metric.low)}, {_percent(metric.high)}]"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _shares(row: Row) -> str:
    order = sorted(range(len(row.labels)), key=lambda i: -max(row.predicted_share[i], row.gold_share[i]))
    shown = sorted(order[:_MOST_LABELS])
    text = ", ".join(f"{row.labels[i]} {row.predicted_share[i]:.0%} ({row.gold_share[i]:.0%})" for i in shown)
    return text + (f", {len(row.labels) - len(shown)} more" if len(row.labels) > len(shown) else "")


# What rows depend on


def sensitivity_table(found: Sequence[Sensitivity]) -> Table[Sensitivity]:
    """Quantiles over prompts, shares of the variance of the mean, and how well probabilities are calibrated."""
    known = {id(one.row): one for one in found}
    columns = [
        *(_of_row(column) for column in row_columns([one.row for one in found])),
        _of_row(_items()),
        Column[Sensitivity]("prompts", lambda one: str(one.prompts), "right", shared="narrow"),
        Column[Sensitivity]("accuracy %", _mean, "right"),
        *(_quantile(place, f"{value:.0%}", fold=8 - place) for place, value in enumerate(QUANTILES)),
        *(_share(part, fold) for part, fold in zip((*PARTS, "rest"), (5, 3, 2, 4, 3, 3), strict=True)),
        _number("ECE", lambda one: one.calibration_error, 1),
        _number("Brier", lambda one: one.brier, 1),
    ]
    parts = sections([one.row for one in found])
    placed = [Section(part.title, [known[id(row)] for row in part.rows]) for part in parts]
    return Table.of(columns, placed, lambda one: one.row.task_label, remarks(found))


def _of_row(column: Column[Row]) -> Column[Sensitivity]:
    """A column of rows, where each row stands for what it depends on."""
    return Column[Sensitivity](
        column.title,
        lambda one: column.value(one.row),
        column.align,
        lambda found: column.says([one.row for one in found]),
        column.fold,
        column.shared,
        column.gives,
        column.setting,
    )


def _mean(one: Sensitivity) -> str:
    spread = "" if math.isnan(one.half_width) else f" +- {100 * one.half_width:.1f}"
    return f"{_percent(float(one.row.item_accuracy.mean()))}{spread}"


def _quantile(place: int, title: str, fold: int) -> Column[Sensitivity]:
    return Column[Sensitivity](title, lambda one: _percent(one.quantiles[place]), "right", _several_prompts, fold)


def _several_prompts(found: Sequence[Sensitivity]) -> bool:
    return any(one.prompts > 1 for one in found)


def _share(part: str, fold: int) -> Column[Sensitivity]:
    def value(one: Sensitivity) -> str:
        return f"{one.shares[part]:.0%}" if part in one.shares else "-"

    return Column[Sensitivity](part, value, "right", lambda found: any(value(one) != "-" for one in found), fold)


def _number(title: str, number: Callable[[Sensitivity], float | None], fold: int) -> Column[Sensitivity]:
    def value(one: Sensitivity) -> str:
        known = number(one)
        return "-" if known is None else f"{known:.3f}"

    return Column[Sensitivity](title, value, "right", lambda found: any(value(one) != "-" for one in found), fold)


# Labels


def report_table(report: ClassReport) -> Table[int]:
    """The scores of each label, and beside them the confusion counts: gold in rows, predictions in columns."""
    labels = report.row.labels
    names = [*labels, *(f"{name} average" for name in AVERAGES)]
    support = [*report.support.tolist(), *[int(report.support.sum())] * len(AVERAGES)]
    none = ["(none)"] if report.confusion[:, -1].any() else []

    def count(place: int) -> Callable[[int], str]:
        return lambda line: str(report.confusion[line, place]) if line < len(labels) else ""

    def percent(place: int) -> Callable[[int], str]:
        return lambda line: _percent(float(report.scores[line, place]))

    columns = [
        Column[int]("label", lambda line: names[line], gives="name"),
        *(
            Column[int](title, percent(place), "right")
            for place, title in enumerate(("precision %", "recall %", "F1 %"))
        ),
        Column[int]("support", lambda line: str(support[line]), "right"),
        *(
            Column[int](f"as {name}", count(place), "right", fold=len(labels) + 1 - place)
            for place, name in enumerate([*labels, *none])
        ),
    ]
    return Table.of(columns, [Section("", range(len(names)))])


# Records


def record(row: Row) -> dict[str, object]:
    """One number a column, for spreadsheets and Python."""
    flat: dict[str, object] = {}
    for key, value in row.as_dict().items():
        if key in ("gold", "predicted") and isinstance(value, Mapping):
            flat[key] = "; ".join(f"{label} {share:.4f}" for label, share in value.items())
        elif key == "best_baseline":
            known = value or dict.fromkeys(("baseline", "difference", "low", "high"))
            flat |= {"best_baseline": known["baseline"], "over_best_baseline": known["difference"]}
            flat |= {f"over_best_baseline_{end}": known[end] for end in ("low", "high")}
        else:
            flat |= formats.flat({key: value})
    return flat


def sensitivity_record(one: Sensitivity) -> dict[str, object]:
    """The same of what a row depends on."""
    return {**record(one.row), **formats.flat({"sensitivity": one.as_dict()})}


def report_records(report: ClassReport, name: str) -> list[dict[str, object]]:
    """The same of each label of a row."""
    labels = [*report.row.labels]
    kept = {
        key: value for key, value in record(report.row).items() if key in ("task", "data", "split", "model", "shots")
    }
    found = []
    for label, scores in report.as_dict()["labels"].items():
        line = {"row": name, **kept, "label": label, **scores}
        if label in labels:
            counts = report.confusion[labels.index(label)].tolist()
            line |= {f"as {other}": count for other, count in zip([*labels, "(none)"], counts, strict=True)}
        found.append(line)
    return found


# Rows in each format


def as_text(rows: Sequence[Row], width: int | None, remarks: Sequence[str] = ()) -> list[list[str]]:
    """For a terminal: the lines of the scores, then of how predicted labels are distributed."""
    shares = share_table(rows)
    told = [shares] if any(column.title == _SHARES for column in shares.columns) else []
    return [formats.text_lines(table, width) for table in (score_table(rows, remarks), *told)]


def as_markdown(rows: Sequence[Row]) -> str:
    return formats.markdown(whole_table(rows))


def as_latex(rows: Sequence[Row]) -> str:
    return formats.latex(whole_table(rows))


def as_csv(rows: Sequence[Row]) -> str:
    return formats.csv([record(row) for row in rows])


def as_frame(rows: Sequence[Row]) -> pd.DataFrame:
    return formats.frame([record(row) for row in rows])


def as_json(rows: Sequence[Row], notices: Sequence[str]) -> str:
    return formats.document([row.as_dict() for row in rows], notices=list(notices))
