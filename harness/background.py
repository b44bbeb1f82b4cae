"""Work done beside other work: a value that a thread computes from ``start`` on, or else when it is asked for; and
values that a thread computes ahead of who takes them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds after which a thread gives way to another while values are taken ahead; with Python's own 0.005, a thread of
# many short operations waits for its turn most of the time.
SWITCH = 1e-4


class Background(Generic[T]):
    """Calls ``work`` once; calling this gives what it gave, or raises what it raised."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._value: list[T] = []
        self._error: BaseException | None = None

    def start(self) -> None:
        # A daemon, so that a mistake found meanwhile ends the program without waiting for it.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __call__(self) -> T:
        if self._thread is None:
            self._run()
        else:
            self._thread.join()
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
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises what taking a value out raised, as soon as it has, even if values before it are still to be taken."""
        if self._error is not None:
            raise self._error

    def __next__(self) -> T:
        if self._thread is None:
            self.start()
        value = self._taken.get()
        if value is None:
            self._taken.put(None)
            self.check()
            raise StopIteration
        return value

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
