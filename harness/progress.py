"""Says what a run is doing: notices, remarks and progress.

A notice is about the results and is kept with them; a remark is about this run alone, and another may not have it. The
command line shows both on standard error; so does the API where somebody watches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from harness.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console


class Advance(Protocol):
    """Takes the number of units just finished, and of all units where more have come to light."""

    def __call__(self, count: int, total: int | None = None) -> None: ...


class Reporter(Protocol):
    """Where a run reports to."""

    def notice(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...

    def track(self, what: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """A stage of ``total`` units; call what it gives with the number just finished."""
        ...


class QuietReporter:
    """Keeps notices and shows nothing."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def remark(self, text: str) -> None:
        pass

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        yield lambda count, total=None: None


def default_reporter() -> QuietReporter:
    """What Python functions report to: standard error where somebody watches, on a terminal or in a notebook."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False, force_jupyter=False)
    return ConsoleReporter(console) if console.is_terminal or _in_notebook() else QuietReporter()


def _in_notebook() -> bool:
    """Whether IPython runs with a kernel, whose output a browser shows."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class ConsoleReporter(QuietReporter):
    """Shows notices as lines, and progress as a bar with rate and time left where the console is a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def notice(self, text: str) -> None:
        super().notice(text)
        self.remark(text)

    def remark(self, text: str) -> None:
        self.console.print(visible(text), style="dim", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def track(self, what: str, total: int, unit: str) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text(f"{speed:,.0f} {unit}/s" if speed else "", style="dim")

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        if not self.console.is_terminal:
            yield lambda count, total=None: None
            return
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)

            def advance(count: int, total: int | None = None) -> None:
                if total is not None:
                    progress.tasks[0].total = total  # update() would forget the rate
                progress.update(task, advance=count)

            yield advance
