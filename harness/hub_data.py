"""Rows of a data set on the Hugging Face hub, through ``datasets``, with the revision that was really read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import hub
from harness.arrow_tables import label_names, plain_rows
from harness.errors import DataError, HubUnavailableError, suggest
from harness.row_files import Row
from harness.tasks import Task

_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubSource:
    """Rows of ``source.hub``; fetched when the hub answers, else from the local cache of ``datasets``.

    Raises:
        DataError: the task names no hub data set, it cannot be read, or the cache holds another revision of it.
        HubUnavailableError: the hub cannot be reached, and the data set is not in the cache.
    """

    origin = "hub"

    def __init__(self, task: Task) -> None:
        if task.source.hub is None:
            raise DataError(
                task.path, "source: names no hub data set; give the folder that holds its data with --data-dir"
            )
        self.location = "/".join(part for part in (task.source.hub, task.source.config) if part)
        self._splits = self._load(task)
        wanted = task.source.revision
        self.revision = _resolved_revision(next(iter(self._splits.values()))) or wanted
        if wanted is not None and _COMMIT.fullmatch(wanted) and self.revision != wanted:
            # Without a network, datasets gives the copy that was cached last, whatever it is asked for.
            raise DataError(
                self.location, f"the local cache holds revision {self.revision}, but {task.path} names {wanted}"
            )

    @property
    def splits(self) -> list[str]:
        return list(self._splits)

    def rows(self, split: str) -> Sequence[Row]:
        if split not in self._splits:
            raise DataError(self.location, f"has no split {split!r}{suggest(split, self._splits, what='splits')}")
        table = self._splits[split].with_format("arrow")[:]
        names = label_names(self._splits[split].features.arrow_schema)
        return [
            Row(values, f"{self.location} {split} row {number}", names)
            for number, values in enumerate(plain_rows(table), start=1)
        ]

    def _load(self, task: Task) -> Mapping[str, Any]:
        import datasets
        import huggingface_hub.constants
        from datasets.exceptions import DatasetNotFoundError

        source = task.source
        assert source.hub is not None
        if Path(source.hub).exists():
            raise DataError(
                task.path,
                f"source: hub: {source.hub} is also a path here, which datasets would read instead of the hub",
            )
        online = hub.reachable()
        if not online:  # else datasets asks for half a minute before it turns to its cache
            huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        datasets.disable_progress_bars()
        try:
            return datasets.load_dataset(source.hub, source.config, revision=source.revision)  # type: ignore[no-any-return]
        except Exception as error:  # datasets raises whatever its readers and HTTP client raise
            if not online:
                raise HubUnavailableError(
                    self.location,
                    hub.unreachable_reason(),
                    f"the data of {task.name} is not in the local cache; name a folder that holds it with --data-dir",
                ) from error
            missing = isinstance(error, DatasetNotFoundError)
            raise DataError(
                self.location, "no such data set on the hub" if missing else f"cannot be read: {hub.first_line(error)}"
            ) from error


def _resolved_revision(dataset: Any) -> str | None:
    """The commit that was read: datasets keeps what it prepares in folders named by it, and says so nowhere else."""
    folders = (part for file in dataset.cache_files for part in Path(file["filename"]).parts)
    return next((part for part in folders if _COMMIT.fullmatch(part)), None)
