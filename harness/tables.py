"""Writes rows as a terminal table, Markdown, CSV, LaTeX or JSON. It aggregates nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from harness.leaderboard import MetricSummary, Row

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

SCHEMA = 1
Format = Literal["table", "markdown", "csv", "latex", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

# Settings that get a column only where rows differ in them, so that an ordinary table stays narrow.
_SETTINGS = {"split": "split", "demos": "demos", "rule": "rule", "dtype": "dtype", "bos": "bos"}
_METRIC_TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
_MOST_SHARES = 4


def columns(rows: Sequence[Row]) -> list[str]:
    """Column titles, by what the rows need."""
    settings = [title for key, title in _SETTINGS.items() if len({row.signature[key] for row in rows} - {None}) > 1]
    accuracy = ["accuracy", "worst", "best", "spread"]
    return [
        *("task", "model", "k"),
        *settings,
        *("n", "templates"),
        *accuracy,
        *("macro-F1", *_own(rows)),
        "predicted / gold",
        *_counts(rows),
    ]


def _own(rows: Sequence[Row]) -> list[str]:
    """Metrics of tasks' own beyond the two that every table has."""
    return sorted({name for row in rows for name in row.metrics} - set(_METRIC_TITLES))


def _counts(rows: Sequence[Row]) -> list[str]:
    return [name for name in ("ties", "too long") if any(_count(row, name) for row in rows)]


def _count(row: Row, name: str) -> int:
    return row.ties if name == "ties" else row.too_long


def cells(row: Row, titles: Sequence[str], names: dict[str, str]) -> list[str]:
    """A row's values as text, under the given titles."""
    accuracy = row.metrics["accuracy"]
    values = {
        "task": row.task_label,
        "model": names[str(row.signature["model_fingerprint"])],
        "k": str(row.signature["shots"]),
        "n": str(row.n),
        "templates": f"{row.templates} x {row.seeds} seeds" if row.seeds > 1 else str(row.templates),
        "accuracy": _interval(accuracy),
        "worst": f"{accuracy.worst:.3f} {accuracy.worst_template}",
        "best": f"{accuracy.best:.3f} {accuracy.best_template}",
        "spread": f"{accuracy.spread:.3f}",
        "macro-F1": _interval(row.metrics["macro_f1"]) if "macro_f1" in row.metrics else "-",
        "predicted / gold": _shares(row),
        "ties": str(row.ties),
        "too long": str(row.too_long),
        **{title: str(row.signature[key] or "-") for key, title in _SETTINGS.items()},
        **{name: _interval(row.metrics[name]) if name in row.metrics else "-" for name in _own([row])},
    }
    return [values.get(title, "-") for title in titles]


def model_names(rows: Sequence[Row]) -> dict[str, str]:
    """Each fingerprint's name, with a piece of the fingerprint where two models share a name."""
    known = {str(row.signature["model_fingerprint"]): str(row.signature["model"]) for row in rows}
    shared = list(known.values())
    return {key: f"{name}@{key[:6]}" if shared.count(name) > 1 else name for key, name in known.items()}


def _interval(metric: MetricSummary) -> str:
    return f"{metric.mean:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _shares(row: Row) -> str:
    """Predicted and gold shares of the labels that are predicted or held most."""
    order = sorted(range(len(row.labels)), key=lambda i: -max(row.predicted_share[i], row.gold_share[i]))
    shown = sorted(order[:_MOST_SHARES])
    text = ", ".join(f"{row.labels[i]} {row.predicted_share[i]:.0%}/{row.gold_share[i]:.0%}" for i in shown)
    return text + (f", +{len(row.labels) - len(shown)}" if len(row.labels) > len(shown) else "")


def as_text_table(rows: Sequence[Row]) -> Table:
    """For a terminal; rich wraps and aligns it."""
    from rich.table import Table

    titles, names = columns(rows), model_names(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    right = {"k", "n", "spread", "ties", "too long"}
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    previous = None
    for row in rows:
        if previous not in (None, row.task_label):
            table.add_row()
        previous = row.task_label
        table.add_row(*(_escape_markup(text) for text in cells(row, titles, names)))
    return table


def _escape_markup(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def as_markdown(rows: Sequence[Row]) -> str:
    titles, names = columns(rows), model_names(rows)
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

    titles, names = columns(rows), model_names(rows)
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
    return json.dumps(document, ensure_ascii=False, indent=1)
