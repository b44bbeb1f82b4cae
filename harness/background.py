"""Work done beside other work: a value that a thread computes from ``start`` on, or else when it is asked for; and
values that a thread computes ahead of who takes them.

A thread that is inside a library when Python ends takes the process down with it, whether it is one of these or a
library's own. So the end waits for these threads, unless ``leave_with`` has said to end without taking Python apart.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar
from weakref import WeakSet

from harness import interrupts

T = TypeVar("T")

# Seconds after which a thread gives way to another while values are taken ahead; with Python's own 0.005, a thread of
# many short operations waits for its turn most of the time.
SWITCH = 1e-4
LOOK = 0.1  # seconds between two looks for Ctrl-C while a thread is waited for

_threads: WeakSet[threading.Thread] = WeakSet()
_status: int | None = None


def leave_with(status: int | None) -> None:
    """Have Python end with this status as soon as it comes to its end, whatever threads are still at work; None: as it
    otherwise would."""
    global _status
    _status = status


@atexit.register
def _at_end() -> None:
    if _status is not None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(_status)
    for thread in _threads:
        thread.join()


def _started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    _threads.add(thread)
    thread.start()
    return thread


class Background(Generic[T]):
    """Calls ``work`` once; calling this gives what it gave, or raises what it raised."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._value: list[T] = []
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether calling this gives the value at once."""
        return bool(self._value)

    def start(self) -> None:
        self._thread = _started(self._run)

    def __call__(self) -> T:
        if self._thread is None:
            self._run()
        else:
            while self._thread.is_alive():
                self._thread.join(LOOK)
                interrupts.check()
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            if not self._value:
                self._value.append(self._work())
        except BaseException as error:
            self._error = error


class Ahead(Iterator[T]):
    """Iterates over ``values``, which a thread takes out as fast as it can from ``start`` on, or else when the first is
    asked for."""

    def __init__(self, values: Iterator[T]) -> None:
        self._values = values
        self._taken: SimpleQueue[T | None] = SimpleQueue()  # None: the last
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        self._thread = _started(self._run)

    def check(self) -> None:
        """Raises what taking a value out raised, as soon as it has, even if values before it are still to be taken."""
        if self._error is not None:
            raise self._error

    def __next__(self) -> T:
        if self._thread is None:
            self.start()
        value = self._next()
        if value is None:
            self._taken.put(None)
            self.check()
            raise StopIteration
        return value

    def _next(self) -> T | None:
        while True:
            with suppress(Empty):
                return self._taken.get(timeout=LOOK)
            interrupts.check()

    def _run(self) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:
            for value in self._values:
                self._taken.put(value)
        except BaseException as error:
            self._error = error
        finally:
            sys.setswitchinterval(before)
            self._taken.put(None)
