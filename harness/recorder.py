"""Records a run while it is made: its manifest says running, and in the end done, failed or interrupted.

It knows what prompts and baselines have in common, and neither models nor methods.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import BaseModel

from harness import interrupts
from harness.data import TaskData
from harness.errors import HarnessError, InterruptedRunError
from harness.run_store import Manifest, RunFolder
from harness.signature import Signature
from harness.tasks import Task
from harness.versions import versions

# Takes the manifest before it is written, to note how far the work has come.
Note = Callable[[Manifest], object]


def new_manifest(
    folder: RunFolder,
    *,
    options: BaseModel,
    command: Sequence[str],
    packages: Sequence[str],
    model: Mapping[str, Any],
    data: Iterable[TaskData],
) -> Manifest:
    """The manifest of a run that begins.

    Args:
        packages: those whose versions are told.
        model: what is told of the model, or of the methods.
        data: of the run's tasks.
    """
    return Manifest(
        id=folder.id,
        created=folder.created,
        status="running",
        command=list(command),
        options=options.model_dump(mode="json"),
        versions={
            "python": platform.python_version(),
            "platform": platform.platform(),
            **versions(("harness", *packages)),
        },
        model=model,
        tasks={one.task.name: one.described for one in data},
    )


def cell_entry(signature: Signature, task: Task, n: int, **more: object) -> dict[str, Any]:
    """What a manifest tells of a cell of ``n`` items."""
    return {
        "id": signature.id,
        "signature": signature.as_dict(),
        "metrics": list(task.metrics),
        "labels": task.labels,
        "domain": task.domain,
        "n": n,
        **more,
    }


@contextmanager
def recorded(
    folder: RunFolder, manifest: Manifest, notices: Sequence[str], *, note: Note, writes: bool = True
) -> Iterator[None]:
    """Store the manifest as running, and when the block ends as done; as failed or interrupted if it raises.

    Args:
        notices: what the run has said in the end.
        writes: False in a process that leaves the writing to another.

    Raises:
        HarnessError: the folder cannot be written.
    """

    def write(status: str) -> None:
        manifest.status = status
        note(manifest)
        if writes:
            folder.write_manifest(manifest)

    def give_up(status: str) -> None:
        with suppress(HarnessError):  # on a full disk, the first error is the one to tell
            write(status)

    write("running")
    with interrupts.ending(lambda: give_up("interrupted")):
        try:
            yield
            interrupts.check()
            manifest.notices = list(notices)
            write("done")
        except BaseException as error:
            give_up("interrupted" if isinstance(error, KeyboardInterrupt | InterruptedRunError) else "failed")
            raise
