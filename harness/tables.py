"""Writes rows as a terminal table, Markdown, CSV, LaTeX or JSON. It aggregates nothing."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from harness.summary import MetricSummary, Row
from harness.terminal import visible

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

SCHEMA = 1
Format = Literal["table", "markdown", "csv", "latex", "json"]

# Settings that get a column only where rows of one task differ in them, so that an ordinary table stays narrow.
_SETTINGS = {
    "data": "data",
    "data_hash": "data hash",
    "demos": "demos",
    "demo_encoder": "encoder",
    "demo_order": "order",
    "rule": "rule",
    "calibration": "calibration",
    "control": "control",
    "dtype": "dtype",
    "bos": "bos",
}
# Hashes of what no other column shows; they get a column where rows would look alike without it.
_HASHES = {"items_hash": "items", "pool_hash": "pool", "task_reading": "task file", "tokenizer_hash": "tokenizer"}
_TITLES = {"accuracy": "accuracy %", "macro_f1": "macro-F1 %"}
# What a narrow terminal goes without, in this order; the other formats have every column.
_DISPENSABLE = ("MDE", "macro-F1 %", "spread", "worst", "vs best baseline")
_NUMBERS = {"k", "labels", "n", "prompts", "spread", "MDE", "ties", "too long"}
_MOST_LABELS = 4


def columns(rows: Sequence[Row]) -> list[str]:
    """Column titles, by what the rows need."""
    settings = [title for key, title in (_SETTINGS | _HASHES).items() if _differs(rows, key)]
    own = sorted({name for row in rows for name in row.metrics} - set(_TITLES))
    counts = [name for name, count in (("ties", _ties), ("too long", _too_long)) if any(map(count, rows))]
    trained = any(row.trained for row in rows)
    head = ["task", "split", "model", "k", *(["labels"] * trained), *settings, "n", "prompts"]
    scores = ["accuracy %", "worst", "best", "spread", "MDE", *(["vs best baseline"] * trained)]
    return [*head, *scores, "macro-F1 %", *own, *counts]


def _differs(rows: Sequence[Row], key: str) -> bool:
    seen: dict[tuple[object, ...], set[object]] = {}
    for row in rows:
        known = row.signature
        alike = (_model(row), known["split"], known["shots"], known["labels_used"], row.n) if key in _HASHES else ()
        seen.setdefault((row.task_label, *alike), set()).add(_setting(row, key))
    return any(len(values - {None}) > 1 for values in seen.values())


def _setting(row: Row, key: str) -> object:
    return row.items_hash if key == "items_hash" else row.signature[key]


def _ties(row: Row) -> int:
    return row.ties


def _too_long(row: Row) -> int:
    return row.too_long


def cells(row: Row, titles: Sequence[str], names: Mapping[tuple[str, str], str]) -> list[str]:
    """A row's values as text, under the given titles; metrics in percent, with their 95% interval."""
    primary = row.metrics[row.primary]
    values = {
        "task": row.task_label,
        "split": str(row.signature["split"]),
        "model": names[_model(row)],
        "k": "-" if row.trained else str(row.signature["shots"]),
        "labels": str(row.labels_used),
        "n": str(row.n),
        "prompts": _prompts(row),
        "worst": "-" if row.trained else f"{100 * primary.worst:.1f} {primary.worst_template}",
        "best": "-" if row.trained else f"{100 * primary.best:.1f} {primary.best_template}",
        "spread": "-" if row.trained else f"{100 * primary.spread:.1f}",
        "MDE": "-" if math.isnan(row.detectable) else f"{100 * row.detectable:.1f}",
        "vs best baseline": _gap(row),
        "ties": str(row.ties),
        "too long": str(row.too_long),
        "predicted (gold)": _shares(row),
        **{title: str(_setting(row, key) or "-")[:13] for key, title in _SETTINGS.items()},
        **{title: str(_setting(row, key) or "-")[:6] for key, title in _HASHES.items()},
        **{_TITLES.get(name, name): _interval(metric) for name, metric in row.metrics.items()},
    }
    return [values.get(title, "-") for title in titles]


def model_names(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """What each model, by name and fingerprint, is called: its name, with a piece of the fingerprint where two share
    it."""
    known = set(map(_model, rows))
    names = [name for name, _ in known]
    return {(name, key): f"{name}@{key[:6]}" if names.count(name) > 1 else name for name, key in known}


def _prompts(row: Row) -> str:
    """How many templates, seeds and orders; what a complete grid of them lacks is told."""
    grid = row.templates * row.seeds * row.orders
    if row.trained:  # what is trained has no wording, only training sets
        return f"{row.seeds} seed{'s' * (row.seeds > 1)}"
    told = str(row.templates) if row.chosen is None else f"chosen: {row.chosen}"
    told += f" x {row.seeds} seeds" if row.seeds > 1 else ""
    told += f" x {row.orders} orders" if row.orders > 1 else ""
    return told if row.predictions == grid * row.n else f"{row.predictions // row.n} of {told}"


def _model(row: Row) -> tuple[str, str]:
    return str(row.signature["model"]), str(row.signature["model_fingerprint"])


def _gap(row: Row) -> str:
    """Percentage points above the best baseline, which itself has none."""
    if row.best_baseline is None:
        return "-"
    gap = row.best_baseline.difference
    known = "" if math.isnan(gap.low) else f" [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
    return f"{100 * gap.mean:+.1f}{known}"


def _interval(metric: MetricSummary) -> str:
    if math.isnan(metric.low):  # one item has no interval
        return f"{100 * metric.mean:.1f}"
    return f"{100 * metric.mean:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def _shares(row: Row) -> str:
    """How often each label is predicted, and in brackets how often it is right; the most frequent labels only."""
    order = sorted(range(len(row.labels)), key=lambda i: -max(row.predicted_share[i], row.gold_share[i]))
    shown = sorted(order[:_MOST_LABELS])
    text = ", ".join(f"{row.labels[i]} {row.predicted_share[i]:.0%} ({row.gold_share[i]:.0%})" for i in shown)
    return text + (f", {len(row.labels) - len(shown)} more" if len(row.labels) > len(shown) else "")


def as_text(rows: Sequence[Row], console: Console) -> list[Table]:
    """For a terminal: the scores, with the columns that fit its width, then how predicted labels are distributed."""
    titles = columns(rows)
    scores = _text_table(rows, titles)
    for title in _DISPENSABLE:
        needed = console.measure(scores, options=console.options.update(width=1_000)).maximum
        if needed > console.width and title in titles:
            titles.remove(title)
            scores = _text_table(rows, titles)
    settings = [title for title in titles if title in {**_SETTINGS, **_HASHES}.values()]
    which = ["task", "model", "k", *(["labels"] * ("labels" in titles))]
    return [scores, _text_table(rows, [*which, *settings, "predicted (gold)"])]


def _text_table(rows: Sequence[Row], titles: Sequence[str]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    names = model_names(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in _NUMBERS else "left", overflow="fold")
    previous = None
    for row in rows:
        if previous not in (None, row.task_label):
            table.add_row()
        previous = row.task_label
        table.add_row(*(escape(visible(text)) for text in cells(row, titles, names)))
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    titles, names = [*columns(rows), "predicted (gold)"], model_names(rows)
    lines = [titles, ["---"] * len(titles), *(cells(row, titles, names) for row in rows)]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """One number a column, for spreadsheets."""
    flat = [_flat(row) for row in rows]
    titles = list(dict.fromkeys(key for values in flat for key in values))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, titles, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue().rstrip("\n")


def _flat(row: Row) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in row.as_dict().items():
        if isinstance(value, dict) and key in row.metrics:
            flat.update({f"{key}_{part}" if part != "mean" else key: number for part, number in value.items()})
        elif key == "best_baseline":
            known = value or dict.fromkeys(("baseline", "difference", "low", "high"))
            flat |= {"best_baseline": known["baseline"], "over_best_baseline": known["difference"]}
            flat |= {f"over_best_baseline_{end}": known[end] for end in ("low", "high")}
        elif isinstance(value, dict):
            flat[key] = "; ".join(f"{label} {share:.4f}" for label, share in value.items())
        else:
            flat[key] = value
    return flat


def as_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """One number a column, for Python."""
    import pandas as pd

    return pd.DataFrame([_flat(row) for row in rows])


def as_latex(rows: Sequence[Row]) -> str:
    """A ``tabular`` with booktabs rules."""
    import pandas as pd

    titles, names = [*columns(rows), "predicted (gold)"], model_names(rows)
    frame = pd.DataFrame([cells(row, titles, names) for row in rows], columns=titles)
    return (
        frame.style.hide(axis="index")
        .format(escape="latex")
        .format_index(escape="latex", axis=1)
        .to_latex(hrules=True)
        .rstrip()
    )


def as_json(rows: Sequence[Row], notices: Sequence[str]) -> str:
    document = {"schema": SCHEMA, "rows": [row.as_dict() for row in rows], "notices": list(notices)}
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
