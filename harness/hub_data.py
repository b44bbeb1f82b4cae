"""Rows of a data set on the Hugging Face hub, through ``datasets``, with the revision that was really read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness import hub
from harness.errors import DataError, suggest
from harness.row_files import Row
from harness.tasks import Task


class HubSource:
    """Rows of ``source.hub``; fetched when the hub answers, else from the local cache of ``datasets``."""

    origin = "hub"

    def __init__(self, task: Task) -> None:
        if task.source.hub is None:
            raise DataError(
                task.path, "source: names no hub data set; give the folder that holds its data with --data-dir"
            )
        self.task = task
        self.location = "/".join(part for part in (task.source.hub, task.source.config) if part)
        self.revision: str | None = None

    def rows(self, split: str) -> Sequence[Row]:
        import datasets
        import huggingface_hub.constants
        from datasets.exceptions import DatasetNotFoundError

        source = self.task.source
        online = hub.reachable()
        if not online:  # else datasets asks for half a minute before it turns to its cache
            huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        datasets.disable_progress_bars()
        try:
            found = datasets.load_dataset(source.hub, source.config, revision=source.revision)
        except Exception as error:  # datasets raises whatever its readers and HTTP client raise
            if not online:
                raise DataError(
                    self.location,
                    f"{hub.unreachable_reason()}, and the data of {self.task.name} is not in the local cache;"
                    " name a folder that holds it with --data-dir",
                ) from error
            missing = isinstance(error, DatasetNotFoundError)
            raise DataError(
                self.location, "no such data set on the hub" if missing else f"cannot be read: {hub.first_line(error)}"
            ) from error
        if split not in found:
            raise DataError(self.location, f"has no split {split!r}{suggest(split, found, what='splits')}")
        self.revision = _resolved_revision(found[split]) or source.revision
        return [
            Row(values, f"{self.location} {split} row {number}") for number, values in enumerate(found[split], start=1)
        ]


def _resolved_revision(dataset: object) -> str | None:
    """The commit in the addresses of the files that were read."""
    checksums = getattr(getattr(dataset, "info", None), "download_checksums", None) or {}
    for address in checksums:
        match = re.search(r"@([0-9a-f]{40})/", str(address))
        if match:
            return match.group(1)
    return None
