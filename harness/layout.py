"""Columns, tables made of them, and what of a table fits a width. It knows neither what a row is nor any format.

A column that says nothing of the rows it is given is in no format. Only a terminal has a width: there, what does not
fit gives way in a stated order, and no value but a list of words is ever broken over lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from rich.cells import cell_len

from harness.records import digest
from harness.terminal import one_line

R = TypeVar("R")

GAP = "  "
ELLIPSIS = "…"
# How narrow names become, in cells of the terminal: so far at first, and so far where nothing else is left.
COMFORTABLE, SCANT = 20, 10
_PART = 28  # cells that a part of a list has at least: its end is a number that stays whole


def _always(rows: object) -> bool:
    return True


@dataclass(frozen=True)
class Column(Generic[R]):
    """What a column is called, what it says of a row, and how it gives way where a terminal is narrow.

    Attributes:
        says: whether it says anything of these rows.
        fold: columns with a number are left out, the smallest first; None stays.
        shared: where all rows have one value, a line below the table may say it instead: ``always``, or only where the
            table is too wide; ``never`` for the others.
        gives: ``name`` is shortened in the middle, ``list`` is broken at its commas, ``no`` stays as it is.
        setting: whether it may share one column with other settings, without its title.
        score: the number by which the best rows of a group are marked; None marks none.
    """

    title: str
    value: Callable[[R], str]
    align: Literal["left", "right"] = "left"
    says: Callable[[Sequence[R]], bool] = _always
    fold: int | None = None
    shared: Literal["always", "narrow", "never"] = "never"
    gives: Literal["no", "name", "list"] = "no"
    setting: bool = False
    score: Callable[[R], float | None] | None = None


@dataclass(frozen=True)
class Section(Generic[R]):
    """Rows under a line of their own; the first section of a table usually has no title."""

    title: str
    rows: Sequence[R]


@dataclass(frozen=True)
class Table(Generic[R]):
    """Rows and the columns that say something of them.

    ``group`` is what rows share that stand together, and among which the best is marked; ``remarks`` explain columns;
    ``elsewhere`` is what shows columns that there is no place for, besides a wider terminal.
    """

    columns: Sequence[Column[R]]
    sections: Sequence[Section[R]]
    group: Callable[[R], object] = _always
    remarks: Sequence[str] = ()
    elsewhere: str = "--format csv"

    @staticmethod
    def of(
        columns: Sequence[Column[R]],
        sections: Sequence[Section[R]],
        group: Callable[[R], object] = _always,
        remarks: Sequence[str] = (),
    ) -> Table[R]:
        """The table without columns that say nothing."""
        rows = [row for section in sections for row in section.rows]
        kept = [column for column in columns if column.says(rows)]
        return Table(kept, [section for section in sections if section.rows], group, remarks)

    @property
    def rows(self) -> list[R]:
        return [row for section in self.sections for row in section.rows]

    def groups(self, section: Section[R]) -> list[list[R]]:
        """Rows of a section that stand together, in order."""
        found: list[list[R]] = []
        for row in section.rows:
            if not found or self.group(found[-1][-1]) != self.group(row):
                found.append([])
            found[-1].append(row)
        return found

    def best(self, column: Column[R], group: Sequence[R]) -> list[bool]:
        """Which rows of a group have the highest score of a column; equal as shown is equal."""
        if column.score is None:
            return [False] * len(group)
        known = [column.score(row) for row in group]
        top = max((score for score in known if score is not None), default=None)
        tops = {column.value(row) for row, score in zip(group, known, strict=True) if score == top}
        rounded = {text.split(" ")[0] for text in tops}
        several = sum(score is not None for score in known) > 1
        return [
            several and score is not None and column.value(row).split(" ")[0] in rounded
            for row, score in zip(group, known, strict=True)
        ]


def plain_table(
    titles: Sequence[str],
    lines: Sequence[Sequence[str]],
    figures: Sequence[str] = (),
    names: Sequence[str] = (),
    lists: Sequence[str] = (),
    fold: Sequence[str] = (),
    elsewhere: str = "",
) -> Table[Sequence[str]]:
    """A table of lines.

    Args:
        figures: the titles of what stands on the right.
        names: of what may be shortened in the middle.
        lists: of what may be broken at its commas.
        fold: of what is left out where there is no place, in that order.
    """
    columns = [
        Column[Sequence[str]](
            title,
            lambda line, place=place: line[place],  # type: ignore[misc]
            "right" if title in figures else "left",
            fold=fold.index(title) if title in fold else None,
            shared="narrow" if title in names else "never",
            gives="name" if title in names else "list" if title in lists else "no",
        )
        for place, title in enumerate(titles)
    ]
    return Table(columns, [Section("", lines)], elsewhere=elsewhere)


# Fitting a width


@dataclass(frozen=True)
class Fitted(Generic[R]):
    """A table that fits a width, or comes as near to it as it can.

    ``shared`` are titles and values that all rows have; ``left_out`` the titles of columns that there was no place for;
    ``merged`` those of the settings that share a column; ``narrow`` the cells that names may take.
    """

    table: Table[R]
    shared: Sequence[tuple[str, str]] = ()
    left_out: Sequence[str] = ()
    merged: Sequence[str] = ()
    narrow: int | None = None
    wrapped: dict[str, int] = field(default_factory=dict)

    def texts(self, column: Column[R]) -> list[str]:
        """The column's title and values, as the terminal shows them."""
        values = [one_line(column.value(row)) for row in self.table.rows]
        if column.gives == "name" and self.narrow is not None:
            values = shortened(values, self.narrow)
        return [column.title, *values]

    def width(self, column: Column[R]) -> int:
        widest = max(map(cell_len, self.texts(column)))
        return min(widest, self.wrapped.get(column.title, widest))

    @property
    def total(self) -> int:
        return sum(map(self.width, self.table.columns)) + len(GAP) * (len(self.table.columns) - 1)


def fit(table: Table[R], width: int | None) -> Fitted[R]:
    """What of a table fits ``width`` cells; None has place for everything.

    What all rows share goes below the table. Where that is too wide, in this order until it fits: names are shortened
    to ``COMFORTABLE`` cells; more of what all rows share goes below; columns are left out by their ``fold``; settings
    share one column; names are shortened to ``SCANT`` cells; lists are broken at commas. What still finds place after
    that comes back: columns, then more of the names.
    """
    found = _below(Fitted(table), "always")
    if width is None or found.total <= width:
        return found
    found = replace(found, narrow=COMFORTABLE)
    if found.total > width:
        found = _below(found, "narrow")
    dropped: list[tuple[int, Column[R]]] = []
    for column in sorted((c for c in found.table.columns if c.fold is not None), key=lambda c: c.fold or 0):
        if found.total <= width:
            break
        dropped.append((list(table.columns).index(column), column))
        found = _without(found, column)
    steps: list[Callable[[Fitted[R]], Fitted[R]]] = [
        _merged,
        lambda found: replace(found, narrow=SCANT),
        lambda found: _broken(found, width),
    ]
    for step in steps:
        if found.total > width:
            found = step(found)
    for _, column in reversed(dropped):
        more = _with(found, column, table)
        if more.total <= width:
            found = more
    return _longer_names(found, width)


def _longer_names(found: Fitted[R], width: int) -> Fitted[R]:
    """With names as long as there is place for."""
    names = [column for column in found.table.columns if column.gives == "name"]
    fits, too_long = found.narrow or 0, 1 + max(map(replace(found, narrow=None).width, names), default=0)
    while found.total <= width and fits + 1 < too_long:
        middle = (fits + too_long) // 2
        more = replace(found, narrow=middle)
        if more.total <= width:
            found, fits = more, middle
        else:
            too_long = middle
    return found


def _below(found: Fitted[R], when: Literal["always", "narrow"]) -> Fitted[R]:
    """With columns whose rows all share one value said below the table."""
    rows = found.table.rows
    kept, shared = [], list(found.shared)
    for column in found.table.columns:
        values = {column.value(row) for row in rows}
        if column.shared in (when, "always") and len(values) == 1:
            shared.append((column.title, values.pop()))
        else:
            kept.append(column)
    return replace(found, table=replace(found.table, columns=kept), shared=shared)


def _without(found: Fitted[R], column: Column[R]) -> Fitted[R]:
    kept = [one for one in found.table.columns if one is not column]
    return replace(found, table=replace(found.table, columns=kept), left_out=[*found.left_out, column.title])


def _with(found: Fitted[R], column: Column[R], table: Table[R]) -> Fitted[R]:
    """With a column back in its place."""
    order = {one.title: place for place, one in enumerate(table.columns)}
    columns = sorted([*found.table.columns, column], key=lambda one: order.get(one.title, order[_first_setting(table)]))
    left = [title for title in found.left_out if title != column.title]
    return replace(found, table=replace(found.table, columns=columns), left_out=left)


def _first_setting(table: Table[R]) -> str:
    return next((column.title for column in table.columns if column.setting), table.columns[0].title)


def _merged(found: Fitted[R]) -> Fitted[R]:
    """With one column for all settings, where there are several."""
    settings = [column for column in found.table.columns if column.setting]
    if len(settings) < 2:
        return found

    def together(row: R) -> str:
        values = [column.value(row) for column in settings]
        return ", ".join(value for value in values if value not in ("-", "none")) or "-"

    one = Column[R]("settings", together, gives="list")
    place = list(found.table.columns).index(settings[0])
    rest = [column for column in found.table.columns if not column.setting]
    columns = [*rest[:place], one, *rest[place:]]
    titles = [column.title for column in settings]
    return replace(found, table=replace(found.table, columns=columns), merged=titles)


def _broken(found: Fitted[R], width: int) -> Fitted[R]:
    """With lists over several lines, as narrow as they must and can be."""
    lists = [column for column in found.table.columns if column.gives == "list"]
    wrapped = dict(found.wrapped)
    for column in lists:
        longest = max(cell_len(part) for text in found.texts(column) for part in text.split(", "))
        excess = found.total - width
        wrapped[column.title] = max(min(longest + 1, _PART), found.width(column) - max(0, excess))
        found = replace(found, wrapped=wrapped)
    return found


# Text in cells of a terminal


def shortened(values: Sequence[str], width: int) -> list[str]:
    """Values of at most ``width`` cells, the middle of longer ones left out; what differs goes on to differ."""
    for head in sorted(range(width), key=lambda head: abs(head - width // 2)):
        found = [_shortened(value, width, head) for value in values]
        if len(set(found)) == len(set(values)):
            return found
    beginning = _common_beginning([value for value in values if cell_len(value) > width])
    for head in range(width // 3 if beginning else -1, -1, -1):
        found = [_shortened_after(value, width, head, beginning) for value in values]
        if len(set(found)) == len(set(values)):
            return found
    marked = []
    for value in values:
        mark = ELLIPSIS + digest(value)[:4]
        marked.append(value if cell_len(value) <= width else _head(value, width - len(mark)) + mark)
    return marked


def _shortened(text: str, width: int, head: int) -> str:
    if cell_len(text) <= width:
        return text
    front = _head(text, head)
    back = ""
    for character in reversed(text):
        if cell_len(front + ELLIPSIS + character + back) > width:
            break
        back = character + back
    while back and not cell_len(back[0]):  # a mark whose letter is left out
        back = back[1:]
    return front + ELLIPSIS + back


def _common_beginning(values: Sequence[str]) -> int:
    """How many characters all values begin with, up to the last space among them."""
    shared = 0
    for characters in zip(*values, strict=False):
        if len(set(characters)) > 1:
            break
        shared += 1
    return values[0].rfind(" ", 0, shared) + 1 if values else 0


def _shortened_after(text: str, width: int, head: int, beginning: int) -> str:
    """The head, and what comes after a beginning that other names have, too."""
    if cell_len(text) <= width:
        return text
    front, rest = _head(text, head) + ELLIPSIS, text[beginning:]
    room = width - cell_len(front)
    return front + (rest if cell_len(rest) <= room else _head(rest, room - 1) + ELLIPSIS)


def _head(text: str, width: int) -> str:
    front = ""
    for character in text:
        if cell_len(front + character) > width:
            break
        front += character
    return front


def broken(text: str, width: int) -> list[str]:
    """A list over lines of at most ``width`` cells, broken after commas only; a part that is too long is shortened."""
    lines = [""]
    parts = text.split(", ")
    for place, part in enumerate(parts):
        piece = part + ("," if place < len(parts) - 1 else "")
        piece = _shortened(piece, width, width // 2)
        joined = f"{lines[-1]} {piece}" if lines[-1] else piece
        if lines[-1] and cell_len(joined) > width:
            lines.append(piece)
        else:
            lines[-1] = joined
    return lines


def padded(text: str, width: int, align: str) -> str:
    space = " " * max(0, width - cell_len(text))
    return space + text if align == "right" else text + space
