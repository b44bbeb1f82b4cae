"""Writes tables as text for a terminal, Markdown or LaTeX, and records as CSV, JSON or a data frame.

Each format has one function that makes any text safe in it, through which every cell goes: no name, label or file path
can end a row or take a meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness.layout import GAP, Column, Fitted, Table, broken, fit, padded
from harness.terminal import one_line

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
Format = Literal["table", "markdown", "csv", "latex", "json"]
R = TypeVar("R")


# For a terminal


def text_lines(table: Table[R], width: int | None) -> list[str]:
    """The titles, the rows, and below them what all share, what was left out and what settings are merged.

    Args:
        width: that of the terminal, in cells; None writes as wide as it needs.
    """
    fitted = fit(table, width)
    columns = fitted.table.columns
    widths = [fitted.width(column) for column in columns]
    titles, *rows = zip(*(fitted.texts(column) for column in columns), strict=True)
    lines = [_line(titles, widths, columns)]
    each = iter(rows)
    for number, section in enumerate(fitted.table.sections):
        lines += [""] * (number > 0)
        lines += [one_line(f"-- {section.title}")] if section.title else []
        for place, group in enumerate(fitted.table.groups(section)):
            lines += [""] * (place > 0)
            for _ in group:
                lines += _rows(next(each), widths, columns)
    return [*lines, *map(one_line, _below(fitted, width))]


def _rows(values: Sequence[str], widths: Sequence[int], columns: Sequence[Column[R]]) -> Iterator[str]:
    """A row, over several lines where a list is broken."""
    parts = [
        broken(value, width) if column.gives == "list" else [value]
        for value, width, column in zip(values, widths, columns, strict=True)
    ]
    for place in range(max(map(len, parts))):
        yield _line([part[place] if place < len(part) else "" for part in parts], widths, columns)


def _line(values: Sequence[str], widths: Sequence[int], columns: Sequence[Column[R]]) -> str:
    cells = (padded(value, width, column.align) for value, width, column in zip(values, widths, columns, strict=True))
    return GAP.join(cells).rstrip()


def _below(fitted: Fitted[R], width: int | None) -> Iterator[str]:
    told = [*fitted.table.remarks]
    if fitted.shared:
        told.append("all rows: " + "; ".join(f"{title} {value}" for title, value in fitted.shared))
    if fitted.merged:
        told.append(f"settings: {', '.join(fitted.merged)}")
    if fitted.left_out:
        where = "a wider terminal" + (f" or {fitted.table.elsewhere}" if fitted.table.elsewhere else "")
        told.append(f"left out at {width} columns: {', '.join(fitted.left_out)} ({where} shows them)")
    for text in told:
        yield from broken_words(text, width)


def broken_words(text: str, width: int | None) -> list[str]:
    """A sentence over lines of at most ``width`` cells, broken at spaces."""
    import textwrap

    return [text] if width is None else textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


# Markdown

_MARKDOWN = re.compile(
    r"[\\`*|~<>]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#?\w+;)|(?<=\w)@(?=[\w-]+\.\w)|://|(?<=www)\."
)


def markdown_text(text: str) -> str:
    """Any text as one cell of a Markdown table (GitHub's dialect)."""
    return _MARKDOWN.sub(lambda found: _markdown_character(found[0]), one_line(text).strip())


def _markdown_character(text: str) -> str:
    return ":\\//" if text == "://" else f"\\{text}"


def markdown(table: Table[R]) -> str:
    """A table of pipes; figures on the right, the best of a group in bold."""
    columns = table.columns
    rules = ["---:" if column.align == "right" else "---" for column in columns]
    lines = [[markdown_text(column.title) for column in columns], rules]
    for section, group in _sections(table):
        if group is None:
            lines.append([f"*{markdown_text(section)}*", *[""] * (len(columns) - 1)])
            continue
        best = [table.best(column, group) for column in columns]
        for place, row in enumerate(group):
            cells = [markdown_text(column.value(row)) for column in columns]
            lines.append([_bold(cell, "**{}**") if best[i][place] else cell for i, cell in enumerate(cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _sections(table: Table[R]) -> Iterator[tuple[str, list[R] | None]]:
    """The titles of sections, each with None, and their groups of rows."""
    for section in table.sections:
        if section.title:
            yield section.title, None
        for group in table.groups(section):
            yield "", group


def _bold(text: str, how: str) -> str:
    """The number in bold, without its interval."""
    number, space, rest = text.partition(" ")
    return how.format(number) + space + rest


# LaTeX

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "…": r"\ldots{}",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Any text as one cell of a tabular."""
    escaped = "".join(_LATEX.get(character, character) for character in one_line(text).strip())
    return f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped  # after \\ it would be an argument


def latex(table: Table[R]) -> str:
    """A ``tabular`` with booktabs rules; figures on the right, the best of a group in bold."""
    columns = table.columns
    lines = [f"\\begin{{tabular}}{{{''.join('r' if column.align == 'right' else 'l' for column in columns)}}}"]
    lines += [r"\toprule", _latex_row([latex_text(column.title) for column in columns])]
    for section, group in _sections(table):
        lines.append(r"\midrule")
        if group is None:
            lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{latex_text(section)}}}}} \\\\")
            continue
        best = [table.best(column, group) for column in columns]
        for place, row in enumerate(group):
            cells = [latex_text(column.value(row)) for column in columns]
            lines.append(
                _latex_row([_bold(cell, "\\textbf{{{}}}") if best[i][place] else cell for i, cell in enumerate(cells)])
            )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


# Records


def flat(record: Mapping[str, Any]) -> dict[str, object]:
    """A record with one value a column: a part of a nested one is named after both, and a ``mean`` after its whole."""
    found: dict[str, object] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            for part, inner in flat(value).items():
                found[key if part == "mean" else f"{key}_{part}"] = inner
        else:
            found[key] = value
    return found


def csv_field(value: object) -> str:
    """Any value as one field of a CSV file (RFC 4180), within one line, which many tools take for a record."""
    text = "" if value is None else one_line(str(value))
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",]|^\s|\s$', text) else text


def csv(records: Sequence[Mapping[str, object]]) -> str:
    """Flat records, each a line; one that lacks a column has nothing there."""
    titles = list(dict.fromkeys(key for record in records for key in record))
    lines: list[Sequence[object]] = [titles, *([record.get(title) for title in titles] for record in records)]
    return "\n".join(",".join(map(csv_field, line)) for line in lines)


def frame(records: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """The same, for Python."""
    import pandas as pd

    return pd.DataFrame(list(records))


def document(rows: Sequence[Mapping[str, Any]], **more: object) -> str:
    """One JSON document."""
    known = {"schema": SCHEMA, "rows": list(rows), **more}
    return json.dumps(known, ensure_ascii=False, indent=1, allow_nan=False)
