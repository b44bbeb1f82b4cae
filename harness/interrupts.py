"""Hears Ctrl-C and a scheduler's SIGTERM, and has the work stop where it looks.

A handler that raises does so between any two instructions: in the callback of a weak reference, say, where Python
prints the exception and goes on. So the handler only notes the signal, and ``check`` raises it, in the main thread:

    noted        the next ``check`` raises KeyboardInterrupt; what is finished gets stored
    not heard    after PATIENCE seconds (a library is at work) the process ends by itself
    asked again  the process ends at once

It knows nothing about the work.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MESSAGE = "interrupted; the same command starts again from what is stored"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 1.5  # seconds until a check must have come
CLEANING = 10.0  # seconds from then on for storing what is finished
ECHO = 0.5  # a launcher passes on what its processes got themselves: within these seconds, it is the same signal

_LEAVE = 0  # sent to the listener's thread when it is not needed any more


class _Listener:
    """The signals of this process, from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.heard = False
        self._before: dict[signal.Signals, object] = {}
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)

    def start(self) -> None:
        self._wake.setblocking(False)
        for name in SIGNALS:
            before = signal.getsignal(name)
            if before in (signal.SIG_DFL, signal.default_int_handler):  # it may be ignored, as SIGINT under nohup
                self._before[name] = before
                signal.signal(name, self._note)
        self._wakeup_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for name, handler in self._before.items():
            signal.signal(name, handler)  # type: ignore[arg-type]
        self._wake.send(bytes([_LEAVE]))
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def forget(self) -> None:
        """In a forked process, whose signals are its own and must not wake the thread of its parent."""
        signal.set_wakeup_fd(-1)
        for name in self._before:
            signal.signal(name, signal.SIG_DFL)

    def _note(self, signum: int, frame: object) -> None:
        self.asked = self.asked or signum

    def _watch(self) -> None:
        """Woken by a signal even while the main thread is inside a library, and no handler of Python's can run."""
        first = self._next(None)
        if first == _LEAVE:
            return
        self.asked, begin = first, time.monotonic()
        limit = begin + PATIENCE
        while (left := limit - time.monotonic()) > 0:
            again = self._next(left)
            if again == _LEAVE:
                return
            if again is not None and time.monotonic() > begin + ECHO:
                break
            if self.heard:
                limit = begin + PATIENCE + CLEANING
        _end(self.asked or signal.SIGINT)

    def _next(self, seconds: float | None) -> int | None:
        """The next signal that is listened for, or None after so many seconds."""
        limit = None if seconds is None else time.monotonic() + seconds
        while limit is None or time.monotonic() < limit:
            self._woken.settimeout(None if limit is None else max(0.001, limit - time.monotonic()))
            with suppress(TimeoutError):
                found = self._woken.recv(1)[0]
                if found == _LEAVE or found in self._before:
                    return found
        return None


_listener: _Listener | None = None
_endings: list[Callable[[], object]] = []


@contextmanager
def listening() -> Iterator[None]:
    """Note signals; inside another ``listening``, or after ``listen``, that one does."""
    global _listener
    if _listener is not None:
        yield
        return
    _listener = _Listener()
    _listener.start()
    try:
        yield
    finally:
        found, _listener = _listener, None
        found.stop()


def listen() -> None:
    """Note signals until the process ends."""
    global _listener
    if _listener is None:
        _listener = _Listener()
        _listener.start()


def check() -> None:
    """Raises KeyboardInterrupt where a signal was noted; does nothing in other threads than the main one."""
    if _listener is not None and _listener.asked and threading.current_thread() is threading.main_thread():
        _listener.heard = True
        raise KeyboardInterrupt


def status() -> int:
    """With what an interrupted command ends, as shells have it: 128 and the signal's number."""
    return 128 + ((_listener.asked if _listener is not None else None) or signal.SIGINT)


@contextmanager
def ending(note: Callable[[], object]) -> Iterator[None]:
    """Have ``note`` called, in another thread, if the process must end before the work has heard of it."""
    _endings.append(note)
    try:
        yield
    finally:
        _endings.remove(note)


def _end(signum: int) -> None:
    for note in reversed(_endings):
        with suppress(Exception):  # whatever state the work is in, it ends now
            note()
    if os.environ.get("RANK", "0") == "0":  # every process of a launcher ends likewise
        shown = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""  # over a bar of progress, which had hidden the cursor
        with suppress(OSError):
            os.write(2, shown + f"harness: {MESSAGE}\n".encode())
    os._exit(128 + signum)


def _before_fork() -> None:
    if _listener is not None:  # a signal that comes before the child has forgotten waits
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _in_parent() -> None:
    if _listener is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _in_child() -> None:
    global _listener
    if _listener is not None:
        _listener.forget()
        _listener = None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
