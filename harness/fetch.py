"""``harness fetch``: stores data sets and models of the hub in its local cache, for use without a network later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness import hub, interrupts
from harness.errors import HarnessError, UsageError
from harness.hub_data import HubSource
from harness.models import ModelSpec, locate_model
from harness.tasks import Task


def fetch(tasks: Sequence[Task], models: Sequence[ModelSpec]) -> Iterator[str]:
    """Fetch all, one by one; what is in the cache already is not fetched again. Yields a line about each.

    Raises:
        HarnessError: the hub cannot be reached, or something is not on it. What was fetched before stays.
    """
    if not hub.reachable():
        raise HarnessError(f"nothing can be fetched: {hub.unreachable_reason()}")
    for task in tasks:
        interrupts.check()
        if task.source.hub is None:
            raise UsageError(f"{task.name} is not on the hub: its data is in a folder of yours ({task.source.folder})")
        source = HubSource(task)
        sizes = ", ".join(f"{split} {len(source.rows(split)):,}" for split in source.splits)
        yield f"{task.name}: {source.location} at {source.revision or 'an unknown revision'}, rows: {sizes}"
    for spec in models:
        interrupts.check()
        files = locate_model(spec)
        if files.revision is None:
            raise UsageError(f"--model {spec.name}: is a folder on this machine, and needs no fetching")
        size = sum(path.stat().st_size for path in files.path.rglob("*") if path.is_file())
        yield f"{spec.name}: at {files.revision}, {size / 1e6:,.1f} MB in {files.path}"
