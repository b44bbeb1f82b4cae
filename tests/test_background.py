"""A value computed in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from harness.background import Ahead, Background


@pytest.mark.parametrize("started", [True, False])
def test_the_work_is_done_once_and_gives_its_value_every_time(started: bool) -> None:
    threads: list[int] = []

    def work() -> str:
        threads.append(threading.get_ident())
        return "done"

    value = Background(work)
    if started:
        value.start()
    assert [value(), value()] == ["done", "done"]
    assert len(threads) == 1
    assert (threads[0] != threading.get_ident()) is started


@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_the_work_raises_is_raised_where_the_value_is_asked_for(started: bool, error: BaseException) -> None:
    def work() -> None:
        raise error

    value = Background(work)
    if started:
        value.start()
    with pytest.raises(type(error)) as caught:
        value()
    assert caught.value is error


def test_asking_waits_for_the_work() -> None:
    go = threading.Event()
    value = Background(lambda: go.wait(10))
    value.start()
    threading.Timer(0.05, go.set).start()
    assert value() is True


def test_values_are_taken_ahead_in_their_order() -> None:
    taken = threading.Event()

    def values() -> Iterator[int]:
        yield from range(3)
        taken.set()

    ahead = Ahead(values())
    assert next(ahead) == 0
    assert taken.wait(10)  # though nobody has asked for the others
    assert list(ahead) == [1, 2]
    assert list(ahead) == []
    ahead.check()


def test_a_failure_ahead_is_known_before_its_place_is_reached() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    before, ahead = threading.active_count(), Ahead(values())
    ahead.check()
    ahead.start()
    while threading.active_count() > before:
        time.sleep(0.01)
    with pytest.raises(ValueError, match="second"):
        ahead.check()
    assert next(ahead) == 1  # in its place, always the same
    for _ in range(2):
        with pytest.raises(ValueError, match="second"):
            next(ahead)
