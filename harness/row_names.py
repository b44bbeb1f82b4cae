"""What tells rows apart: the settings that get a column, and names under which no two rows can be taken for each other.

Everything that makes a row a row of its own is named here, so that no two rows of one table look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.signature import ABOUT, STORED_NAMES, fields_that
from harness.summary import Row, short_name


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something in which rows may differ.

    ``told`` dimensions are what a user asked for, and are worth a column wherever rows of a task differ in them; the
    others, hashes mostly, only where rows would look alike without them. ``usual`` is the value of rows for which
    nobody asked for another.
    """

    title: str
    value: Callable[[Row], object]
    told: bool = False
    usual: str | None = None

    def text(self, row: Row) -> str:
        value = self.value(row)
        return "-" if value is None else str(value)


def _of_signature(name: str) -> Callable[[Row], object]:
    return lambda row: row.signature.value(name)


CHOSEN = Dimension("chosen", lambda row: row.chosen, told=True)
# What every name begins with.
BASE: Sequence[Dimension] = (
    Dimension("task", lambda row: row.task_label),
    Dimension("model", _of_signature("model")),
    Dimension("k", _of_signature("shots")),
    Dimension("labels", lambda row: row.labels_used if row.trained or row.chosen is not None else None),
    CHOSEN,
    Dimension("part", lambda row: row.part),
)
SPLIT = Dimension("split", _of_signature("split"), told=True)
ITEMS = Dimension("n", lambda row: row.n, told=True)

SETTINGS: Sequence[Dimension] = [
    Dimension(ABOUT[name].title or name, _of_signature(name), told=True, usual=ABOUT[name].usual)
    for name in sorted(fields_that(lambda about: about.setting), key=lambda name: ABOUT[name].setting or 0)
]
# Whatever else makes a row: nothing is forgotten that is added to the key of a row.
HIDDEN: Sequence[Dimension] = [
    Dimension("fingerprint", _of_signature("model_fingerprint")),
    Dimension("items", lambda row: row.items_hash),
    *(
        Dimension(ABOUT[name].title or STORED_NAMES[name], _of_signature(name))
        for name in fields_that(lambda about: about.row and not about.setting)
        if name not in {"task", "split", "model", "shots", "model_fingerprint"}
    ),
]


def telling(rows: Sequence[Row]) -> list[Dimension]:
    """The settings that a table of these rows needs a column for, besides what all tables show.

    Those that were asked for and in which rows of one task differ, and any control; then whatever it takes for no two
    rows to look alike.
    """
    shown = [one for one in SETTINGS if _differs(rows, one)]
    base = [one for one in BASE if one is not CHOSEN]  # where there is no place, tables leave its column out
    return [*shown, *_needed(rows, [*base, SPLIT, ITEMS, *shown], [CHOSEN, *SETTINGS, *HIDDEN])]


def unusual(rows: Sequence[Row]) -> list[Dimension]:
    """The settings that all rows have alike, where that is not what one gets who asks for nothing."""
    found = []
    for one in SETTINGS:
        values = {one.value(row) for row in rows} - {None}
        if one.usual is not None and len(values) == 1 and values != {one.usual}:
            found.append(one)
    return found


def row_names(rows: Sequence[Row]) -> list[str]:
    """What to call each of the rows; settings are named only where a shorter name would fit several."""
    short = [_with_control(row) for row in rows]
    alike: dict[str, list[Row]] = {}
    for row, name in zip(rows, short, strict=True):
        alike.setdefault(name, []).append(row)
    told = {name: _needed(group, BASE, [SPLIT, ITEMS, *SETTINGS, *HIDDEN]) for name, group in alike.items()}
    return [f"{name}{_settings(row, told[name])}" for row, name in zip(rows, short, strict=True)]


def _with_control(row: Row) -> str:
    control = row.signature.control
    return short_name(row) if control is None else f"{short_name(row)}, control {control}"


def _settings(row: Row, dimensions: Sequence[Dimension]) -> str:
    told = [f"{one.title} {piece(one, row)}" for one in dimensions if one.title != "control"]
    return f" ({', '.join(told)})" if told else ""


def piece(dimension: Dimension, row: Row) -> str:
    """A setting as it is shown; of a hash only the beginning."""
    text = dimension.text(row)
    return text if dimension.told or len(text) < _HASH else text[:_PIECE]


_HASH, _PIECE = 32, 8  # hex digits: of our hashes, and of what is shown of one


def _differs(rows: Sequence[Row], dimension: Dimension) -> bool:
    """Whether rows of one task differ, those that have the setting at all; one control is a difference."""
    seen: dict[str, set[object]] = {}
    for row in rows:
        seen.setdefault(row.task_label, set()).add(dimension.value(row))
    if dimension.title == "control":
        return any(values != {None} for values in seen.values())
    return any(len(values - {None}) > 1 for values in seen.values())


def _needed(rows: Sequence[Row], known: Iterable[Dimension], more: Sequence[Dimension]) -> list[Dimension]:
    """Which of ``more``, in order, it takes to tell rows apart that are alike in what is known."""
    found: list[Dimension] = []
    keys = [tuple(piece(one, row) for one in known) for row in rows]
    for dimension in more:
        if len(set(keys)) == len(rows):
            break
        longer = [(*key, piece(dimension, row)) for key, row in zip(keys, rows, strict=True)]
        if len(set(longer)) > len(set(keys)):
            found.append(dimension)
            keys = longer
    return found
