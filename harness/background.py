"""Work done beside other work: a value that a thread computes from ``start`` on, or else when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


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
