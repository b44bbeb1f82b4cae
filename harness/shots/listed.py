"""A user's own list of demonstrations: rows in the task's own columns, or ids of items in the pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data import load_data
from harness.errors import DataError, UsageError
from harness.records import Example
from harness.row_files import FORMATS, Row, format_of, read_rows
from harness.tasks import Task

ID_COLUMN = "item_id"


class ListedRows:
    """The rows of a list, read but not yet understood.

    Raises:
        UsageError: there is no such file, or it is of no kind that can be read.
        DataError: it is malformed.
    """

    origin = "list"
    revision: str | None = None

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        if format_of(path.name) is None:
            raise UsageError(f"--demos file:{path}: must be one of {', '.join(f'.{name}' for name in FORMATS)}")
        if not path.exists():
            raise UsageError(f"--demos file:{path}: no such file")
        self._rows = read_rows([path])

    @property
    def names_items(self) -> bool:
        """Whether some rows are ids of items in the pool."""
        return any(map(_is_id, self._rows))

    def examples(self, task: Task, pool: Sequence[Example]) -> list[Example]:
        """The demonstrations, in the order listed.

        Raises:
            DataError: a row lacks a column of the task, or names an item that the pool does not have or again.
        """
        # Read as a split of the task would be; the whole of a split keeps its order.
        own: Iterator[Example] = iter([])
        if not all(map(_is_id, self._rows)):
            reading = task.model_copy(update={"splits": {"report": "listed"}})
            own = iter(load_data(reading, self, ["report"]).role("report"))
        known = {example.item_id: example for example in pool}
        found: dict[str, Example] = {}
        for row in self._rows:
            if _is_id(row):
                name = str(row.values[ID_COLUMN])
                if name not in known:
                    raise DataError(row.place, f"the pool of {task.name} has no item {name!r}")
                example = known[name]
            else:
                example = next(own)
            if example.item_id in found:
                raise DataError(row.place, f"lists the item {example.item_id} again")
            found[example.item_id] = example
        return list(found.values())

    def rows(self, split: str) -> list[Row]:
        """The rows that are examples themselves, as a source of data gives them."""
        return [row for row in self._rows if not _is_id(row)]


def _is_id(row: Row) -> bool:
    return set(row.values) == {ID_COLUMN}
