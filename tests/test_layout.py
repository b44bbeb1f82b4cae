"""Fitting tables to widths: what gives way, in which order, and that no number is ever broken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.formats import text_lines
from harness.layout import Column, Section, Table, broken, fit, plain_table, shortened

Line = tuple[str, str, str, str]


def a_table(lines: list[Line]) -> Table[Line]:
    """Two names, a setting each, and a figure, with two columns that can go."""
    columns = [
        Column[Line]("task", lambda line: line[0], shared="narrow", gives="name"),
        Column[Line]("split", lambda line: "test", shared="always"),
        Column[Line]("model", lambda line: line[1], gives="name"),
        Column[Line]("rule", lambda line: line[2], setting=True),
        Column[Line]("control", lambda line: line[3], setting=True),
        Column[Line]("score", lambda line: "84.7 [82.3, 87.0]", "right"),
        Column[Line]("spread", lambda line: "39.0", "right", fold=2),
        Column[Line]("MDE", lambda line: "4.7", "right", fold=1),
        Column[Line]("empty", lambda line: "", says=lambda lines: False),
    ]
    return Table.of(columns, [Section("", lines)])


LONG = "organisation/a-model-with-a-very-long-name-instruct-v2"
LINES: list[Line] = [("sst2", LONG, "sum", "-"), ("sst2", "short", "pmi", "permuted")]


def titles(width: int | None) -> list[str]:
    return [column.title for column in fit(a_table(LINES), width).table.columns]


def test_without_a_width_everything_is_shown_that_says_something() -> None:
    assert titles(None) == ["task", "model", "rule", "control", "score", "spread", "MDE"]
    assert text_lines(a_table(LINES), None)[1].split()[1] == LONG


def test_what_does_not_fit_gives_way_in_order() -> None:
    """Names first, then what all rows share, columns by their number, then settings in one column."""
    assert titles(90) == ["task", "model", "rule", "control", "score", "spread", "MDE"]
    assert titles(70) == ["model", "rule", "control", "score", "spread", "MDE"]
    assert titles(64) == ["model", "rule", "control", "score", "spread"]
    assert titles(56) == ["model", "rule", "control", "score"]
    assert titles(48) == ["model", "settings", "score"]


@pytest.mark.parametrize("width", [64, 74, 90, 100])
def test_names_take_the_place_that_is_left(width: int) -> None:
    _titles, first, *_ = text_lines(a_table(LINES), width)
    assert cell_len(first) == min(width, cell_len(text_lines(a_table(LINES), None)[1]))


def test_what_went_is_said_below() -> None:
    below = text_lines(a_table(LINES), 46)[3:]
    assert below == [
        "all rows: split test; task sst2",
        "settings: rule, control",
        "left out at 46 columns: MDE, spread (a wider",
        "terminal or --format csv shows them)",
    ]


def test_a_column_comes_back_where_there_is_place_after_all() -> None:
    """Settings in one column leave room for what went before them."""
    lines: list[Line] = [("sst2", "m" * 9, "-", "content-free"), ("sst2", "n" * 9, "unconditional", "-")]
    found = [column.title for column in fit(a_table(lines), 53).table.columns]
    assert found[:3] == ["model", "settings", "score"]
    assert "spread" in found


words = st.text(st.sampled_from("ab-/.电影é\u0301\U0001f600"), min_size=1, max_size=60)


@given(
    st.lists(st.tuples(words, words, words, words), min_size=1, max_size=5), st.sampled_from([60, 80, 100, 120, 160])
)
def test_every_line_fits_and_every_figure_is_whole(lines: list[Line], width: int) -> None:
    lines = [(task[:12], model, "sum", control[:8]) for task, model, _, control in lines]
    told = text_lines(a_table(lines), width)
    assert all(cell_len(line) <= width for line in told)
    assert sum("84.7 [82.3, 87.0]" in line for line in told) == len(lines)


@given(st.lists(words, min_size=1, max_size=8), st.integers(8, 30))
def test_shortened_names_fit_and_go_on_to_differ(names: list[str], width: int) -> None:
    found = shortened(names, width)
    assert all(cell_len(name) <= width for name in found)
    assert len(set(found)) == len(set(names))
    for name, short in zip(names, found, strict=True):
        assert short == name if cell_len(name) <= width else "…" in short


def test_a_name_is_shortened_in_the_middle() -> None:
    assert shortened(["a-model-of-some-length-v2"], 11) == ["a-mod…th-v2"]
    assert shortened(["电影电影电影电影"], 9) == ["电影…电影"], "a wide character takes two cells"


def test_names_that_differ_in_the_middle_alone_are_not_made_one() -> None:
    first, second = shortened(["model-aaaaaaaa-x-aaaaaaaa-end", "model-aaaaaaaa-y-aaaaaaaa-end"], 12)
    assert first != second


def test_names_with_one_beginning_show_what_comes_after_it() -> None:
    names = [f"{LONG} {shots}-shot {rule} (mean of 6 templates)" for shots in (0, 4) for rule in ("sum", "pmi")]
    assert shortened(names, 30) == [
        "organisati…0-shot sum (mean o…",
        "organisati…0-shot pmi (mean o…",
        "organisati…4-shot sum (mean o…",
        "organisati…4-shot pmi (mean o…",
    ]


def test_a_part_of_a_list_that_is_too_long_keeps_its_number() -> None:
    assert broken("a-label-with-a-very-long-name 47% (49%), b 1% (2%)", 28) == [
        "a-label-with-a…me 47% (49%),",
        "b 1% (2%)",
    ]


@pytest.mark.parametrize("width", [20, 30, 40])
def test_a_list_is_broken_after_commas_alone(width: int) -> None:
    text = "negative 47% (49%), positive 53% (51%), other 0% (0%)"
    lines = broken(text, width)
    assert " ".join(lines) == text
    assert all(line.endswith(",") for line in lines[:-1])
    assert all(re.search(r"\d+% \(\d+%\)", line) for line in lines)


def test_groups_and_sections_have_lines_of_their_own() -> None:
    table = Table(
        [Column[str]("name", lambda name: name)],
        [Section("", ["a1", "a2", "b1"]), Section("some of the items", ["c1"])],
        lambda name: name[0],
    )
    assert text_lines(table, None) == ["name", "a1", "a2", "", "b1", "", "-- some of the items", "c1"]


def test_lines_of_text_stand_under_their_titles() -> None:
    table = plain_table(["run", "cells"], [["x", "5"], ["y\n[bold]", "12"]], ["cells"])
    assert text_lines(table, 80) == ["run       cells", "x             5", "y␊[bold]     12"]
