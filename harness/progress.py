"""Says what a run is doing: notices, remarks and progress.

A notice is about the results and is kept with them; a remark is about this run alone, and another may not have it. The
command line shows both on standard error; so does the API where somebody watches.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from harness.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

EVERY = 30.0  # seconds between two lines where there is no terminal
SOON = 3.0
LOOKED_BACK = 4  # lines whose time the rate is taken over


class Advance(Protocol):
    """Takes the number of units just finished, and of all units where more have come to light."""

    def __call__(self, count: int, total: int | None = None) -> None: ...


class Reporter(Protocol):
    """Where a run reports to; ``notices`` are all that there were."""

    notices: list[str]

    def notice(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...

    def track(self, what: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """A stage of ``total`` units; call what it gives with the number just finished. None: nothing is counted."""
        ...


class QuietReporter:
    """Keeps notices and shows nothing."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        if text not in self.notices:  # a model that is also the encoder has the same to tell twice
            self.notices.append(text)

    def remark(self, text: str) -> None:
        pass

    @contextmanager
    def track(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
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
    """Shows notices as lines; progress as bars with rate and time left where the console is a terminal, and elsewhere
    as a line every half minute."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._bars: Progress | None = None  # of all stages that are open, one inside another

    def notice(self, text: str) -> None:
        if text not in self.notices:
            self.remark(text)
        super().notice(text)

    def remark(self, text: str) -> None:
        self.console.print(visible(text), style="dim", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def track(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
        if not self.console.is_terminal:
            lines = _Lines(what, total, unit, self.remark)
            with lines:
                yield lines.advance
            return
        outermost = self._bars is None
        bars = self._bars or _bars(self.console)
        with bars if outermost else nullcontext():
            self._bars = bars
            task = bars.add_task(what, total=total, unit=unit)
            place = bars.tasks[-1]

            def advance(count: int, total: int | None = None) -> None:
                if total is not None:
                    place.total = total  # update() would forget the rate
                bars.update(task, advance=count)

            try:
                yield advance
            finally:
                bars.remove_task(task)
                if outermost:
                    self._bars = None


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{int(task.completed):,}/{int(task.total):,}" if task.total is not None else "")

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed and task.total is not None else "", "dim")

    class Time(ProgressColumn):
        """What is left or, of a stage whose size is not known, what has passed."""

        def __init__(self) -> None:
            super().__init__()
            self._left, self._passed = Remaining(compact=True, elapsed_when_finished=True), TimeElapsedColumn()

        def render(self, task: Task) -> Text:
            return (self._passed if task.total is None else self._left).render(task)

    description = TextColumn("{task.description}", markup=False)
    return Progress(description, BarColumn(bar_width=30), Count(), Rate(), Time(), console=console, transient=True)


class _Lines:
    """Says every EVERY seconds how far a stage has come; of a stage whose size is not known, also soon after it began.

    The rate is that of the last lines' time, and does not count the first units, which may have been known before.
    """

    def __init__(self, what: str, total: int | None, unit: str, say: Callable[[str], object]) -> None:
        self._what, self._total, self._unit, self._say = what, total, unit, say
        self._done = 0
        self._begin = time.monotonic()
        self._before: deque[tuple[float, int]] = deque(maxlen=LOOKED_BACK)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def advance(self, count: int, total: int | None = None) -> None:
        self._done += count
        self._total = total if total is not None else self._total
        if not self._before:
            self._before.append((time.monotonic(), self._done))

    def _run(self) -> None:
        wait = EVERY if self._total is not None else min(SOON, EVERY)
        while not self._over.wait(wait):
            self._say(self._line())
            wait = EVERY

    def _line(self) -> str:
        now = time.monotonic()
        passed = duration(now - self._begin)
        if self._total is None:
            return f"{self._what}: {passed}"
        told = f"{self._what}: {self._done:,} of {self._total:,} {self._unit} after {passed}"
        if self._before and now > self._before[0][0]:
            since, done = self._before[0]
            rate = (self._done - done) / (now - since)
            self._before.append((now, self._done))
            if rate > 0:
                left = duration(max(0, self._total - self._done) / rate)
                told += f", {rate:,.0f}/s, {left} left" if rate >= 10 else f", {rate:,.2g}/s, {left} left"
        return told


def duration(seconds: float) -> str:
    """``4.2 s``, ``1:05`` or ``1:00:05``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
