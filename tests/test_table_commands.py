"""Tables of the commands on terminals of several widths, with everything in them that makes them wide."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from commands import Commands
from conftest import Project
from rich.cells import cell_len

import harness as package

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = "模型-of-an-organisation-with-a-long-name-1.6M-instruct-preview-2026-11"
LONG = "a-template-with-a-name-that-nobody-would-type"


@pytest.fixture
def stored(harness: Commands, project: Project, tiny_gpt2: Path, kept: Path) -> Commands:
    """A long model name, three rules, two calibrations, a control, two seeds, a limited run and a baseline."""
    if kept.exists():
        shutil.copytree(kept, "results")
        return harness
    shutil.copytree(tiny_gpt2, project.root / MODEL)
    body = (project.root / "prompts/mood/plain.jinja").read_text()
    project.write(f"prompts/mood/{LONG}.jinja", body)
    given = ("run", "--tasks", "mood", "--data-dir", "data", "--model", f"./{MODEL}")
    rules = ("--rule", "sum,token,char", "--calibrate", "none,contextual", "--controls", "content-free")
    harness.ok(*given, *rules, "--shots", "0,2", "--demo-seeds", "0,1", "--prompts", f"plain,{LONG}")
    harness.ok(*given, "--limit", "7")
    trained = ("--methods", "majority,tfidf", "--sizes", "8,40", "--seeds", "0,1")
    harness.ok("baseline", "--tasks", "mood", "--data-dir", "data", *trained)
    shutil.copytree("results", kept)
    return harness


NUMBER = re.compile(r"\d+\.\d \[\d+\.\d, \d+\.\d\]")
COMMANDS = [
    ("leaderboard",),
    ("leaderboard", "--by", "prompt"),
    ("leaderboard", "--sensitivity"),
    ("leaderboard", "--report", "--shots", "2"),
    ("list", "runs"),
    ("breakeven", "--method", "tfidf"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_line_of_a_table_fits_and_no_number_is_broken(
    stored: Commands, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("harness.plots.draw", lambda report, prefix: [])
    wide = stored.ok(*arguments).out
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        told = stored.ok(*arguments).out
        table = told.split("\n\non mood")[0] if arguments[0] == "breakeven" else told
        too_long = [line for line in table.splitlines() if cell_len(line) > width and "cells together" not in line]
        assert not too_long
        if arguments[:2] == ("leaderboard", "--by") or arguments == ("leaderboard",):
            accuracies = [row.metrics["accuracy"] for row in self_rows(arguments)]
            assert len(NUMBER.findall(wide)) >= len([one for one in accuracies if one.low == one.low])
            assert len(NUMBER.findall(told)) >= len([one for one in accuracies if one.low == one.low])


def self_rows(arguments: tuple[str, ...]) -> list[package.Leaderboard]:
    board = package.leaderboard()
    return list((board.by(arguments[2]) if "--by" in arguments else board).rows)


def test_what_a_narrow_terminal_lacks_is_said_and_a_pipe_has_all(
    stored: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = stored.ok("leaderboard").out
    assert MODEL in piped
    assert "left out" not in piped
    titles = piped.splitlines()[0]
    assert {"control", "rule", "calibration", "worst", "best", "spread", "MDE", "macro-F1", "split"} - {
        *titles.split()
    } == {"split"}
    assert "all rows: split test" in piped
    monkeypatch.setenv("COLUMNS", "80")
    narrow = stored.ok("leaderboard").out.replace("\n", " ")
    assert "left out at 80 columns: MDE, spread, macro-F1 %" in narrow
    assert "settings: control, rule, calibration" in narrow


def test_limited_runs_stand_below(stored: Commands) -> None:
    lines = stored.ok("leaderboard").out.splitlines()
    place = lines.index("-- some of the items (--limit)")
    assert all(" 7 " in line for line in lines[place + 1 : lines.index("", place)] if line.startswith("mood"))
    assert "-- some" not in stored.ok("leaderboard", "--status", "complete").out


@pytest.mark.parametrize(
    ("options", "count"),
    [(("--model", "tfidf"), 2), (("--shots", "2", "--status", "complete"), 12), (("--prompts", "terse"), 1)],
)
def test_filters_of_the_command(stored: Commands, options: tuple[str, ...], count: int) -> None:
    rows = json.loads(stored.ok("leaderboard", *options, "--json").out)["rows"]
    assert len(rows) == count


def test_wrong_filters_are_one_line(stored: Commands) -> None:
    assert "did you mean 'tfidf'?" in stored("leaderboard", "--model", "tfdif").mistake
    assert "--by: unknown value 'promt'; did you mean 'prompt'?" in stored("leaderboard", "--by", "promt").mistake
    assert "must be numbers of demonstrations" in stored("leaderboard", "--shots", "two").mistake
    assert "name one of them" in stored("leaderboard", "--by", "prompt", "--report").mistake
    assert "nothing that is stored fits" in stored("leaderboard", "--model", "tfidf", "--status", "limited").mistake


def test_notices_are_three_lines_unless_all_are_asked_for(stored: Commands) -> None:
    notes = [line for line in stored.ok("leaderboard").err.splitlines() if line.startswith("note: ")]
    every = [line for line in stored.ok("leaderboard", "--notices").err.splitlines() if line.startswith("note: ")]
    assert len(notes) <= 3 < len(every)
    assert every == [f"note: {text}" for text in json.loads(stored.ok("leaderboard", "--json").out)["notices"]]
    assert all(any(line.startswith(text.split(" (1 more")[0][:60]) for text in every) for line in notes)


@pytest.mark.parametrize("what", ["--sensitivity", "--report"])
def test_other_tables_come_in_every_format(stored: Commands, what: str) -> None:
    document = json.loads(stored.ok("leaderboard", what, "--json", "--shots", "2").out)
    lines = list(csv.DictReader(io.StringIO(stored.ok("leaderboard", what, "--format", "csv", "--shots", "2").out)))
    if what == "--sensitivity":
        assert [float(line["sensitivity_quantiles_0.5"]) for line in lines] == [
            row["sensitivity"]["quantiles"]["0.5"] for row in document["rows"]
        ]
        assert {"rule", "calibration", "control"} <= lines[0].keys()
    else:
        recalls = [scores["recall"] for row in document["rows"] for scores in row["report"]["labels"].values()]
        assert [float(line["recall"]) for line in lines] == recalls
    table = stored.ok("leaderboard", what, "--format", "markdown", "--shots", "2").out
    assert "---:" in table
    assert stored.ok("leaderboard", what, "--format", "latex", "--shots", "2").out.count(r"\toprule") >= 1


def test_sensitivity_has_a_column_for_what_tells_rows_apart(stored: Commands) -> None:
    titles, *lines = stored.ok("leaderboard", "--sensitivity", "--status", "complete").out.splitlines()
    assert {"control", "rule", "calibration"} <= set(titles.split())
    known = [line for line in lines if line.startswith("mood")]
    assert len(set(known)) == len(known) == len(package.leaderboard(status="complete").rows)


def test_a_run_shows_its_templates_one_by_one(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    done = harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--by", "prompt", "--json")
    rows = json.loads(done.out)["rows"]
    assert sorted(row["prompt"] for row in rows) == ["plain", "terse"]
    result = package.leaderboard()
    table = result.by("prompt").table
    assert sorted(table["prompt"]) == ["plain", "terse"]
    assert table["accuracy"].mean() == pytest.approx(result.table["accuracy"].iloc[0])
    with pytest.raises(package.HarnessError, match="did you mean 'prompt'"):
        result.by("promt")


def test_runs_are_told_apart_by_what_was_asked(stored: Commands) -> None:
    titles, *lines = stored.ok("list", "runs").out.splitlines()
    assert "differing options" in titles
    assert "rule sum,token,char" in lines[0]
    assert "limit 7" in lines[1]
    assert "shots" not in lines[2]
