"""Where a task's rows come from: a folder that the user named, the hub, or, where neither is to be had, a sample.

What the user named is used or is an error; only what nobody named falls back, and then says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from harness.errors import DataError, HubUnavailableError, UsageError, suggest
from harness.row_files import Row, format_of, read_rows
from harness.search_path import builtin_folder
from harness.split_files import find_split
from harness.tasks import Task

DataChoice = Literal["auto", "sample", "hub"]


class RowSource(Protocol):
    """Where rows come from: a folder, or the hub."""

    origin: str
    location: str
    revision: str | None

    def rows(self, split: str) -> Sequence[Row]:
        """All rows of a split, in order. Raises DataError."""
        ...


class FolderSource:
    """Rows from ``<data folder>/<task's folder>``, in the files that ``split_files`` finds there."""

    revision: str | None = None

    def __init__(self, data_dir: Path, task: Task, origin: Literal["folder", "sample"] = "folder") -> None:
        self.origin: str = origin
        if not data_dir.is_dir():
            raise DataError(data_dir, "no such data folder (--data-dir or HARNESS_DATA_DIR)")
        name = task.source.folder
        if name is None:
            raise DataError(task.path, f"source: names no folder, so {task.name} cannot be read from {data_dir}")
        self.folder = data_dir / name
        if not self.folder.is_dir():
            entries = sorted(data_dir.iterdir())
            others = [path.name for path in entries if path.is_dir()]
            files = [path.name for path in entries if format_of(path.name) is not None]
            told = f"; it holds {files[0]} itself: put it into a folder {name!r} in there" if files else ""
            raise DataError(
                data_dir,
                f"has no folder {name!r} for the task {task.name!r}{suggest(name, others, what='folders')}{told}",
            )
        self.location = str(self.folder)

    def rows(self, split: str) -> Sequence[Row]:
        return read_rows(find_split(self.folder, split))


def sampled_tasks() -> list[str]:
    """Names of the tasks that have a built-in sample."""
    folder = builtin_folder() / "samples"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def sample_source(task: Task) -> FolderSource:
    """The built-in sample of a task.

    Raises:
        UsageError: it has none.
    """
    names = sampled_tasks()
    if task.source.folder not in names:
        raise UsageError(
            f"--data sample: {task.name!r} has no built-in sample{suggest(task.name, names, what='samples')}"
        )
    return FolderSource(builtin_folder() / "samples", task, "sample")


def row_source(task: Task, data: DataChoice, data_dir: Path | None, notice: Callable[[str], object]) -> RowSource:
    """Choose for one task.

    ``auto`` is the folder named by ``data_dir`` or HARNESS_DATA_DIR; where none is named, the hub or its local cache;
    where that cannot be had either, the built-in sample, which ``notice`` is told.

    Raises:
        DataError: the named folder is missing or lacks the task, or the rows are nowhere to be had.
        UsageError: the task has no sample, and one is asked for; or a folder is named as well.
    """
    if data != "auto" and data_dir is not None:
        raise UsageError(f"--data {data} and --data-dir {data_dir}: name one of them")
    if data == "sample":
        return sample_source(task)
    named = data_dir or (Path(found) if (found := os.environ.get("HARNESS_DATA_DIR")) else None)
    if named is not None and data == "auto":
        return FolderSource(named, task)
    from harness.hub_data import HubSource

    try:
        return HubSource(task)
    except HubUnavailableError as error:
        if data == "hub" or task.source.folder not in sampled_tasks():
            raise
        notice(f"{task.name}: {error.reason}; the small built-in sample is used instead of the real data")
        return sample_source(task)
