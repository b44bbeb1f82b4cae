"""Rows of a data set on the Hugging Face hub, through ``datasets``, with the revision that was really read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness import hub
from harness.errors import DataError, HubUnavailableError, suggest
from harness.row_files import Row
from harness.tasks import Task


class HubSource:
    """Rows of ``source.hub``; fetched when the hub answers, else from the local cache of ``datasets``.

    Raises:
        DataError: the task names no hub data set, or it cannot be read.
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
        first = next(iter(self._splits.values()))
        self.revision = _resolved_revision(first) or task.source.revision

    @property
    def splits(self) -> list[str]:
        return list(self._splits)

    def rows(self, split: str) -> Sequence[Row]:
        if split not in self._splits:
            raise DataError(self.location, f"has no split {split!r}{suggest(split, self._splits, what='splits')}")
        rows = enumerate(self._splits[split], start=1)
        return [Row(values, f"{self.location} {split} row {number}") for number, values in rows]

    def _load(self, task: Task) -> Mapping[str, Any]:
        import datasets
        import huggingface_hub.constants
        from datasets.exceptions import DatasetNotFoundError

        source = task.source
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


def _resolved_revision(dataset: object) -> str | None:
    """The commit in the addresses of the files that were read."""
    checksums = getattr(getattr(dataset, "info", None), "download_checksums", None) or {}
    for address in checksums:
        match = re.search(r"@([0-9a-f]{40})/", str(address))
        if match:
            return match.group(1)
    return None
