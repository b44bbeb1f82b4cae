"""A small task, made without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.tasks import Task


def make_task(**changes: Any) -> Task:
    """A task with one field and two labels; ``changes`` replace its keys, and None drops one."""
    values: dict[str, Any] = {
        "name": "t",
        "family": "f",
        "source": {"hub": "someone/t", "folder": "t"},
        "splits": {"report": "test"},
        "fields": {"text": "text"},
        "target": "label",
        "labels": ["low", "high"],
    }
    values |= changes
    task = Task.model_validate({key: value for key, value in values.items() if value is not None})
    task._path = Path("tasks/t.yaml")
    return task
