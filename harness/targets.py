"""Reads the targets of a task's rows as labels, all in one way.

    words     the label's name, or the text of an option       "positive", 4 where a label is called "4"
    ids       its place, counted from 0                        1, "1"
    letters   the place of an option                           "B"

The task states the way (``target_reading``), or it is the only one in which every value can be read. Values that can
be read in several ways, to other effect, are an error: no label is ever guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.errors import DataError, nearest
from harness.tasks import Reading, Task, expression_source


@dataclass(frozen=True, slots=True)
class Target:
    """The target of one row, as it stands in the data. ``names`` are what the data itself calls its ids."""

    value: object
    options: tuple[str, ...]
    place: str
    names: tuple[str, ...] | None = None


def read_targets(task: Task, targets: Sequence[Target]) -> list[int]:
    """The labels, or the options, that the targets name, by their places.

    Raises:
        DataError: a value names none, or the values can be read in several ways.
    """
    readings = _possible(task, targets)
    found = {name: [_READERS[name](target) for target in targets] for name in readings}
    fitting = [name for name, places in found.items() if None not in places]
    if not fitting:
        raise _misfit(task, targets, found)
    first, *others = fitting
    for other in others:
        for row, pair in enumerate(zip(found[first], found[other], strict=True)):
            if pair[0] != pair[1]:
                raise _ambiguous(task, targets, row, {first: pair[0], other: pair[1]})
    return [place for place in found[first] if place is not None]


def _possible(task: Task, targets: Sequence[Target]) -> Sequence[Reading]:
    if task.target_reading is not None:
        return [task.target_reading]
    if any(target.names is not None for target in targets):  # then they are ids, by the word of the data
        return ["words"] if all(map(_named, targets)) else ["ids"]
    return ["words", "ids"] if task.labels is not None else ["words", "ids", "letters"]


def _named(target: Target) -> bool:
    """Whether the data calls its ids what the task calls its labels."""
    return target.names is not None and set(target.names) <= set(target.options)


def _word(target: Target) -> int | None:
    value, options = target.value, target.options
    if isinstance(value, bool):
        options, value = tuple(option.casefold() for option in options), str(value).casefold()
        return options.index(value) if options.count(value) == 1 else None
    if isinstance(value, int):
        named = _named(target) and target.names is not None and 0 <= value < len(target.names)
        value = target.names[value] if named and target.names is not None else str(value)
    return options.index(value) if isinstance(value, str) and value in options else None  # equal ones are one answer


def _id(target: Target) -> int | None:
    value = target.value
    if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,8}", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(target.options):
        return value
    return None


def _letter(target: Target) -> int | None:
    value = target.value
    if isinstance(value, str) and re.fullmatch("[A-Za-z]", value):
        place = ord(value.upper()) - ord("A")
        return place if place < len(target.options) else None
    return None


_READERS: dict[Reading, Callable[[Target], int | None]] = {"words": _word, "ids": _id, "letters": _letter}


def _misfit(task: Task, targets: Sequence[Target], found: dict[Reading, list[int | None]]) -> DataError:
    """About the first value that cannot be read as most of the others are."""
    best = max(found, key=lambda name: sum(place is not None for place in found[name]))
    row = found[best].index(None)
    target, value = targets[row], targets[row].value
    if value in (-1, "-1"):
        return DataError(target.place, f"target is -1: this split of {task.name} has no public labels")
    about = f"target ({task.target})"
    other = next((name for name, places in found.items() if places[row] is not None), None)
    # Best shown beside a value that can be read in that way alone.
    likes = [i for i, place in enumerate(found[best]) if place is not None]
    if other is not None and likes:
        like = targets[next((i for i in likes if found[other][i] is None), likes[0])]
        return DataError(
            target.place,
            f"{about}: {value!r:.80} is one of its {other}, where {like.place} has one of its {best},"
            f" {like.value!r:.80}; all are read in one way",
        )
    last = len(target.options) - 1
    told = [f"an id from 0 to {last}"] if "ids" in found else []
    told += [f"a letter from A to {chr(ord('A') + last)}"] if "letters" in found and last < 26 else []
    if "words" in found:
        told.append(f"one of {', '.join(target.options)}" if task.labels is not None else "the text of an option")
    shown = "null" if value is None else f"{value!r:.80}"
    return DataError(target.place, f"{about}: must be {' or '.join(told)}, not {shown}{_hint(task, target)}")


def _hint(task: Task, target: Target) -> str:
    """What may have been meant by a value that names no label."""
    value, count = target.value, len(target.options)
    column = task.target if expression_source(task.target) is None and task.target.isidentifier() else None
    if isinstance(value, str) and task.labels is not None and (near := nearest(value.strip(), task.labels)) is not None:
        return f"; did you mean {near!r}?"
    if column is None:
        return ""
    if isinstance(value, bool):
        return f'; say which label is true, as with target: "{{{{ 1 if {column} else 0 }}}}"'
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.0+", value)
    ):
        return f'; as a whole number: target: "{{{{ {column} | int }}}}"'
    if value == count or value == str(count):
        return f'; ids count from 0: where they count from 1, write target: "{{{{ {column} | int - 1 }}}}"'
    return ""


def _ambiguous(task: Task, targets: Sequence[Target], row: int, places: dict[Reading, int | None]) -> DataError:
    values = list(dict.fromkeys(str(target.value) for target in targets))
    shown = ", ".join(values[:6]) + ", ..." * (len(values) > 6)
    options, value = targets[row].options, str(targets[row].value)
    what = "label" if task.labels is not None else "option"
    ways = [f"as {name} ({value} is the {what} {options[place or 0]!r:.60})" for name, place in places.items()]
    return DataError(
        task.path,
        f"target ({task.target}): its values ({shown}) can be read in two ways: {' or '.join(ways)}, see"
        f" {targets[row].place}; say which with {' or '.join(f'target_reading: {name}' for name in places)}",
    )
