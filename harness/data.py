"""Reads a task's rows, from a folder or the hub, and gives them as examples in their roles.

A row serves one role only: the report first, then ``select``, then the pool. The pool is further cleaned of every row
whose text equals that of a reported or selecting item, so that no demonstration gives an answer away. Nothing here
knows prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from harness.errors import DataError, TemplateError, suggest
from harness.records import Example, Role, Unreadable, digest, plain_text
from harness.repeats import Repeats, find_repeats, told_of_items, told_of_pool
from harness.row_files import Row
from harness.sources import DataChoice, RowSource, row_source
from harness.targets import Target, read_targets
from harness.tasks import ROW, SplitSlice, Task, expression_source
from harness.words import words

PRECEDENCE: tuple[Role, ...] = ("report", "select", "pool")


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task's examples by role, and what identifies them.

    ``hashes`` covers, for each role, exactly the examples in it; ``duplicates`` is how many rows were taken out of the
    pool because a reported or selecting item has the same text. ``repeats`` is of the roles asked for.
    """

    task: Task
    origin: str
    location: str
    revision: str | None
    roles: Mapping[Role, tuple[Example, ...]]
    hashes: Mapping[Role, str]
    duplicates: int
    repeats: Mapping[Role, Repeats] = field(default_factory=dict)

    def role(self, role: Role) -> tuple[Example, ...]:
        return self.roles[role]

    @property
    def described(self) -> dict[str, Any]:
        """What a manifest tells of the task and its data."""
        return {
            "file": str(self.task.path),
            "data": self.origin,
            "location": self.location,
            "revision": self.revision,
            "hashes": dict(self.hashes),
            "rows": {role: len(examples) for role, examples in self.roles.items()},
            "pool_duplicates_removed": self.duplicates,
        }


class DataOptions(Protocol):
    """Where a user wants rows from."""

    @property
    def data(self) -> DataChoice: ...

    @property
    def data_dir(self) -> Path | None: ...


def open_data(
    task: Task, options: DataOptions, roles: Iterable[Role], notice: Callable[[str], object] = lambda text: None
) -> TaskData:
    """Find a task's rows where ``options`` want them, and read the examples of ``roles``.

    Args:
        notice: told where the rows are others than those wanted.

    Raises:
        DataError: there are none, a split is missing, or a row does not fit the task.
        UsageError: options that do not go together.
    """
    return load_data(task, row_source(task, options.data, options.data_dir, notice), roles)


def load_data(task: Task, source: RowSource, roles: Iterable[Role]) -> TaskData:
    """Read the examples of ``roles``, and of every role that takes its rows before one of them.

    The pool is what all others leave; ``select`` is what the report leaves where both are of one split.

    Raises:
        DataError: a split is missing or a row does not fit the task.
    """
    wanted = set(roles)
    for role in sorted(wanted):
        if role == "pool" and role not in task.splits:
            raise DataError(
                task.path, "splits: the task has no role 'pool' to draw demonstrations from, so 0 shots only"
            )
        if role not in task.splits:
            raise DataError(
                task.path, f"splits: the task has no role {role!r}{suggest(role, task.splits, what='roles')}"
            )
    names = {role: SplitSlice.parse(text).split for role, text in task.splits.items()}
    shared = {names[role] for role in wanted}
    last = max(PRECEDENCE.index(role) for role in wanted)
    needed = [
        role
        for role in PRECEDENCE[: last + 1]
        if role in names and (role in wanted or "pool" in wanted or names[role] in shared)
    ]
    reader = _ExampleReader(task, source)
    taken: dict[str, set[int]] = {}
    rows: dict[Role, list[tuple[str, int]]] = {}
    for role in needed:
        part = task.split(role)
        assert part is not None
        size = reader.size(part.split)
        order = list(range(size)) if part.whole else reader.shuffled(part.split)
        used = taken.setdefault(part.split, set())
        chosen = [order[position] for position in part.indices(size) if order[position] not in used]
        used.update(chosen)
        rows[role] = [(part.split, index) for index in chosen]
        if not chosen and role != "pool":
            raise DataError(source.location, f"{task.splits[role]!r}, the role {role!r} of {task.name}, holds no row")
    examples = reader.examples(rows)
    removed = 0
    keys = {
        role: list(map(normalised, found)) for role, found in examples.items() if "pool" in wanted or role in wanted
    }
    if "pool" in examples:
        reported = {key for role, found in keys.items() if role != "pool" for key in found}
        kept = [
            (example, key) for example, key in zip(examples["pool"], keys["pool"], strict=True) if key not in reported
        ]
        removed = len(examples["pool"]) - len(kept)
        examples["pool"], keys["pool"] = [example for example, _ in kept], [key for _, key in kept]
    return TaskData(
        task=task,
        origin=source.origin,
        location=source.location,
        revision=source.revision,
        roles={role: tuple(found) for role, found in examples.items()},
        hashes={role: digest(sorted(example.item_id for example in found)) for role, found in examples.items()},
        duplicates=removed,
        repeats={role: find_repeats(examples[role], keys[role]) for role in examples if role in wanted},
    )


def told_of(data: TaskData, split: Role) -> Iterator[str]:
    """What repeats, and how often, among the items of a role and in the pool: a line for each kind."""
    yield from told_of_items(data.task.name, data.repeats[split])
    if "pool" in data.repeats:
        yield from told_of_pool(data.task.name, data.repeats["pool"])


def read_unlabelled(task: Task, rows: Sequence[Row]) -> list[Example]:
    """New rows of a task as examples whose gold label is not known: ``gold`` is -1.

    Raises:
        DataError: a row does not fit the task.
    """
    reader = _ExampleReader(task, _GivenRows(rows), labelled=False)
    return [reader.example("", index) for index in range(reader.size(""))]


def limited(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """A seeded sample of ``limit`` examples in their own order, which every larger sample of the seed contains."""
    if limit is None or limit >= len(examples):
        return list(examples)
    ranked = sorted(range(len(examples)), key=lambda index: digest(["limit", seed, examples[index].item_id]))
    return [examples[index] for index in sorted(ranked[:limit])]


def normalised(example: Example) -> str:
    """The words of an example, for finding duplicates: those of its fields, and of its options in whatever order."""
    return f"{normalised_fields(example)}\x1e{_normalised_options(example.options)}"


def normalised_fields(example: Example) -> str:
    """The words of an example's fields; an absent value is empty."""
    return "\x1f".join(_normalised(plain_text(value)) for value in example.fields.values())


@lru_cache(maxsize=1024)  # all examples of a task may share them
def _normalised_options(options: tuple[str, ...]) -> str:
    return "\x1f".join(sorted(set(map(_normalised, options))))


def _normalised(text: str) -> str:
    return " ".join(words(text))


class _GivenRows:
    """Rows that are at hand already."""

    origin, location = "given", "given"
    revision: str | None = None

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def rows(self, split: str) -> Sequence[Row]:
        return self._rows


class _ExampleReader:
    """Turns source rows into examples; item ids count repeats of a row over the whole split, before any slicing."""

    def __init__(self, task: Task, source: RowSource, *, labelled: bool = True) -> None:
        self.task = task
        self._named = {"target": task.target} if labelled else {}
        self._named |= {f"fields.{name}": text for name, text in task.fields.items()}
        self.source = source
        self._rows: dict[str, Sequence[Row]] = {}
        self._ids: dict[str, list[str]] = {}
        self._fields = {name: self._value(f"fields.{name}", text) for name, text in task.fields.items()}
        self._target = self._value("target", task.target)
        self._options = self._value("options", task.options) if task.options is not None else None
        self._cluster = self._value("cluster", task.cluster) if task.cluster is not None else None

    def size(self, split: str) -> int:
        if split not in self._rows:
            self._rows[split] = self.source.rows(split)
            self._ids[split] = _item_ids(self._rows[split])
        return len(self._rows[split])

    def shuffled(self, split: str) -> list[int]:
        """The rows of a split in an order that hangs on what they hold alone, not on where they stand in a file."""
        ids = self._ids[split]
        return sorted(range(len(ids)), key=lambda index: digest(["split", self.task.name, split, ids[index]]))

    def examples(self, rows: Mapping[Role, Sequence[tuple[str, int]]]) -> dict[Role, list[Example]]:
        """The rows as examples with their labels, which are read in one way over all roles; rows are split and index.

        Raises:
            DataError: a row does not fit the task.
        """
        unlabelled = {role: [self.example(*row) for row in found] for role, found in rows.items()}
        targets = [
            self._read_target(row, example)
            for role, found in rows.items()
            for row, example in zip(found, unlabelled[role], strict=True)
        ]
        golds = iter(read_targets(self.task, targets))
        return {
            role: [
                replace(example, gold=next(golds), cluster=self._read_cluster(self._rows[split][index]))
                for example, (split, index) in zip(unlabelled[role], found, strict=True)
            ]
            for role, found in rows.items()
        }

    def example(self, split: str, index: int) -> Example:
        """A row without its label and its cluster."""
        row = self._rows[split][index]
        fields = {name: value(row) for name, value in self._fields.items()}
        return Example(self._ids[split][index], fields, self._read_options(row), -1, None, row.place)

    def _read_target(self, row: tuple[str, int], example: Example) -> Target:
        source = self._rows[row[0]][row[1]]
        return Target(self._target(source), example.options, source.place, source.names.get(self.task.target))

    def _value(self, key: str, text: str) -> _Reader:
        expression = self.task.expression(text)
        if expression is None:
            return partial(_column, key=key, column=text, path=self.task.path, named=self._named)

        def evaluate(row: Row) -> object:
            try:
                return expression.evaluate({ROW: row.values, **row.values})
            except TemplateError as error:
                raise DataError(row.place, f"{key} of {self.task.path}: {error.message}") from error

        return evaluate

    def _read_options(self, row: Row) -> tuple[str, ...]:
        if self._options is None:
            assert self.task.labels is not None
            return self.task.labels
        value = self._options(row)
        if not isinstance(value, list | tuple) or len(value) < 2 or not all(isinstance(o, str) and o for o in value):
            raise DataError(row.place, f"options of {self.task.path}: must give two or more strings, not {value!r:.80}")
        return tuple(value)

    def _read_cluster(self, row: Row) -> str | None:
        if self._cluster is None:
            return None
        value = self._cluster(row)
        if value is None or value == "":
            told = "null" if value is None else "empty"
            raise DataError(row.place, f"cluster ({self.task.cluster}): is {told}; every item must belong to a group")
        return str(value)


class _Reader(Protocol):
    def __call__(self, row: Row, /) -> object: ...


def _column(row: Row, /, *, key: str, column: str, path: Path, named: Mapping[str, str]) -> object:
    """The value of a column. ``named`` is all that is read, by what names it, for the message about what lacks."""
    if column not in row.values:
        others = [
            f"; and no {text!r}, named in {other}"
            for other, text in named.items()
            if other != key and text not in row.values and expression_source(text) is None
        ]
        raise DataError(
            row.place,
            f"has no column {column!r}, which {path} names in {key}{suggest(column, row.values, what='columns')}"
            + "".join(others),
        )
    value = row.values[column]
    if isinstance(value, Unreadable):
        raise DataError(row.place, f"{key} of {path}: the column {column!r} cannot be read: it is {value.why}")
    return value


def _item_ids(rows: Sequence[Row]) -> list[str]:
    """Hash of each canonical row and the number of equal rows before it."""
    seen: dict[bytes, int] = {}
    ids = []
    for row in rows:
        text = json.dumps(row.values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        count = seen.get(key, 0)
        seen[key] = count + 1
        ids.append(hashlib.blake2b(key + count.to_bytes(4, "big"), digest_size=8).hexdigest())
    return ids
