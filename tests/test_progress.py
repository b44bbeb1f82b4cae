"""Progress on a terminal and elsewhere, and what is said at the end of a run."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Project
from rich.console import Console

from harness import progress
from harness.progress import ConsoleReporter, duration

pytestmark = pytest.mark.usefixtures("one_thread")


def reporter(*, terminal: bool) -> tuple[ConsoleReporter, io.StringIO]:
    stream = io.StringIO()
    return ConsoleReporter(Console(file=stream, force_terminal=terminal, width=120)), stream


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr(progress, "SOON", 0.01)


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_line_tells_what_how_much_how_fast_and_how_long_still(often: None) -> None:
    found, stream = reporter(terminal=False)
    with found.track("scoring", 1_000, "answers") as advance:
        advance(100, 2_000)  # from the store
        wait_for(lambda: stream.getvalue().count("\n") >= 1)
        assert "/s" not in stream.getvalue()
        advance(50)
        wait_for(lambda: "150 of 2,000" in stream.getvalue())
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"scoring: 100 of 2,000 answers after 0\.\d s", lines[0])
    assert re.fullmatch(r"scoring: 150 of 2,000 answers after \d\.\d s, [\d.,]+/s, [\d.:]+( s)? left", lines[-1])
    time.sleep(0.2)
    assert stream.getvalue().splitlines() == lines, "nothing is said after the end"


def test_a_short_stage_says_nothing() -> None:
    found, stream = reporter(terminal=False)
    for total in (10, None):
        with found.track("scoring", total, "answers") as advance:
            advance(10)
    assert stream.getvalue() == ""
    assert progress.EVERY == 30


def test_the_time_left_follows_the_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = progress._Lines("scoring", 1_000, "answers", print)
    lines.advance(400)  # known before
    now[0] = 30.0
    lines.advance(60)
    assert lines._line() == "scoring: 460 of 1,000 answers after 30.0 s, 2/s, 4:30 left"
    for _ in range(4):
        now[0] += 30.0
        lines.advance(30)
        told = lines._line()
    assert told == "scoring: 580 of 1,000 answers after 2:30, 1/s, 7:00 left"
    now[0] += 30.0
    lines.advance(420)
    assert lines._line() == "scoring: 1,000 of 1,000 answers after 3:00, 4.2/s, 0.0 s left"


def test_a_stage_of_unknown_size_tells_how_long_it_has_taken(often: None) -> None:
    found, stream = reporter(terminal=False)
    with found.track("loading the model", None, ""):
        wait_for(lambda: stream.getvalue().count("\n") >= 2)
    assert re.fullmatch(r"loading the model: 0\.\d s", stream.getvalue().splitlines()[0])


def test_bars_on_a_terminal_stand_below_each_other_and_leave_nothing_behind() -> None:
    found, stream = reporter(terminal=True)
    with found.track("scoring", 10, "answers") as advance:
        advance(3, 12)
        with found.track("loading [the] model", None, ""):
            assert found._bars is not None
            found._bars.refresh()
            inside = stream.getvalue()
            found.notice("said meanwhile")
        advance(9)
    assert found._bars is None
    assert "3/12" in inside
    assert "loading [the] model" in inside
    assert "0:00:00" in inside
    assert "said meanwhile" in stream.getvalue()
    with pytest.raises(ZeroDivisionError), found.track("scoring", 10, "answers"):
        raise ZeroDivisionError
    assert found._bars is None


@pytest.mark.parametrize(("seconds", "told"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (65, "1:05"), (3_605, "1:00:05")])
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


# Commands

GRID = ("run", "--tasks", "mood", "--data-dir", "data", "--shots", "0")


def test_a_run_says_what_was_scored_and_what_was_known(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    first = harness.ok(*GRID, "--model", tiny_gpt2, "--prompts", "plain")
    assert re.search(r"^40 scores computed in \d+\.\d s \([\d,.]+/s\), 0 read from the store$", first.err, re.M)
    more = harness.ok(*GRID, "--model", tiny_gpt2, "--json")
    assert re.search(r"^40 scores computed in .*, 40 read from the store$", more.err, re.M)
    again = harness.ok(*GRID, "--model", tiny_gpt2)
    assert "all 80 scores were in the store, so the model was not loaded" in again.err


def test_baselines_say_what_was_trained(harness: Commands, project: Project) -> None:
    grid = ("baseline", "--tasks", "mood", "--data-dir", "data", "--methods", "tfidf", "--seeds", "0,1")
    first = harness.ok(*grid, "--sizes", "8")
    assert re.search(r"^2 cells trained and scored in \d+\.\d s$", first.err, re.M)
    more = harness.ok(*grid, "--sizes", "8,16")
    assert "2 of 4 cells were trained before and are read" in more.err
    assert re.search(r"^2 cells trained and scored in", more.err, re.M)
    assert "trained and scored" not in harness.ok(*grid, "--sizes", "8,16").err


def test_a_slow_load_and_a_slow_run_are_told_where_there_is_no_terminal(
    harness: Commands, project: Project, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    from harness import runner, scoring

    load, check = runner.load_model, scoring.spot_check

    def slow(work: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: (time.sleep(0.5), work(*given))[1]

    monkeypatch.setattr(runner, "load_model", slow(load))
    monkeypatch.setattr(scoring, "spot_check", slow(check))
    done = harness.ok(*GRID, "--model", tiny_gpt2)
    assert re.search(r"^loading the model: 0\.\d s$", done.err, re.M)
    assert re.search(r"^scoring: 0 of 80 answers after \d\.\d s$", done.err, re.M)
