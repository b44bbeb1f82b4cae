"""Whatever a name or label holds: each format gives it back, and its rows stay rows."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from harness import formats
from harness.layout import Column, Section, Table
from harness.terminal import one_line

AWKWARD = [
    "a|b", "two\nlines", "one\r\nmore", "tab\there", "back\\slash|", "*bold*", "_x_", "a_b_c", "`code`", "<b>x</b>",
    "&amp;",
    "[a](http://x.y)", "https://x.y", "www.x.y", "me@x.y", "~~gone~~", "# no title", "- no item", "50%", "$x^2$", "{a}",
    "\\\\[2pt]", "[bold]", '"quoted"', "a,b", " spaces ", "\x1b[31mred", "\u202eturned", "\u2028", "电影", "",
]  # fmt: skip
texts = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=20))


def a_table(names: list[str]) -> Table[str]:
    columns = [Column[str]("name", lambda name: name), Column[str]("n", lambda name: str(len(name)), "right")]
    return Table(columns, [Section("", names)])


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_row_of_text_is_a_line(names: list[str]) -> None:
    lines = formats.text_lines(a_table(names), None)
    assert len(lines) == 1 + len(names)
    assert all(len(line.splitlines()) == 1 for line in lines)
    for line, name in zip(lines[1:], names, strict=True):
        assert line.startswith(one_line(name))
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", line)


@given(st.lists(texts, min_size=1, max_size=4))
def test_markdown_gives_every_text_back(names: list[str]) -> None:
    """Read by a parser of GitHub's dialect, links and all."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = parser.render(formats.markdown(a_table(names)))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page, re.DOTALL)
    assert [html.unescape(cell) for cell in cells[::2]] == [one_line(name).strip() for name in names]
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)\b)", page)
    assert len(re.findall("<tr>", page)) == 1 + len(names)


def test_markdown_escapes_no_more_than_it_must() -> None:
    assert formats.markdown_text("clue_tnews, model@abc123 [82.3, 87.0]") == "clue_tnews, model@abc123 [82.3, 87.0]"


@given(st.lists(texts, min_size=1, max_size=4))
def test_csv_gives_every_text_back_a_line_each(names: list[str]) -> None:
    """What would end a line, or drive a terminal, as something to see; JSON has it as it is."""
    text = formats.csv([{"name": name, "n": number} for number, name in enumerate(names)])
    assert len(text.splitlines()) == 1 + len(names)
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [line["name"] for line in found] == list(map(one_line, names))
    assert [int(line["n"]) for line in found] == list(range(len(names)))


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_row_of_latex_is_a_line_with_nothing_of_meaning(names: list[str]) -> None:
    lines = formats.latex(a_table(names)).splitlines()
    rows = lines[4:-2]
    assert len(rows) == len(names)
    for row in rows:
        assert row.endswith(r" \\")
        assert not row.startswith("["), "an argument of the row before"
        bare = re.sub(r"\\text\w+\{\}|\\ldots\{\}|\{\[\}|\\[&%$#_{}]", "", row.removesuffix(r" \\"))
        assert bare.count("&") == 1
        assert not re.search(r"[%$#_{}~^\\]", bare)


@given(st.lists(texts, min_size=1, max_size=4))
def test_json_gives_every_text_back(names: list[str]) -> None:
    document = json.loads(formats.document([{"name": name} for name in names], notices=[]))
    assert [row["name"] for row in document["rows"]] == names


# What is best


def scored(pairs: list[tuple[str, float | None]], groups: bool = False) -> Table[tuple[str, float | None]]:
    columns = [
        Column[tuple[str, float | None]]("name", lambda pair: pair[0]),
        Column[tuple[str, float | None]](
            "score",
            lambda pair: "-" if pair[1] is None else f"{pair[1]:.1f} [0.0, 99.9]",
            "right",
            score=lambda p: p[1],
        ),
    ]
    return Table(columns, [Section("", pairs)], (lambda pair: pair[0][0]) if groups else (lambda pair: None))


def test_the_best_of_a_group_is_bold_and_figures_stand_on_the_right() -> None:
    table = scored([("a", 84.71), ("b", 70.0), ("c", None)])
    assert "| a | **84.7** [0.0, 99.9] |" in formats.markdown(table)
    assert formats.markdown(table).count("**") == 2
    assert formats.markdown(table).splitlines()[1] == "| --- | ---: |"
    assert r"a & \textbf{84.7} [0.0, 99.9] \\" in formats.latex(table)
    assert formats.latex(table).startswith(r"\begin{tabular}{lr}")


def test_what_is_equal_as_shown_is_equally_best() -> None:
    assert formats.markdown(scored([("a", 84.71), ("b", 84.69), ("c", 84.0)])).count("**84.7**") == 2


def test_each_group_has_a_best_and_a_single_row_needs_none() -> None:
    table = scored([("a1", 1.0), ("a2", 2.0), ("b1", 0.5), ("b2", 0.2), ("c1", 9.0)], groups=True)
    assert re.findall(r"\*\*([\d.]+)\*\*", formats.markdown(table)) == ["2.0", "0.5"]
    assert formats.latex(table).count(r"\midrule") == 3


def test_sections_are_rows_of_their_own() -> None:
    table = Table(
        [Column[str]("name", str), Column[str]("n", len_of, "right")], [Section("", ["a"]), Section("b|c", ["d"])]
    )
    assert formats.markdown(table).splitlines()[3] == r"| *b\|c* |  |"
    assert r"\multicolumn{2}{l}{\emph{b\textbar{}c}} \\" in formats.latex(table)


def len_of(name: str) -> str:
    return str(len(name))


# Records


def test_nested_records_are_made_flat() -> None:
    record = {"task": "mood", "accuracy": {"mean": 0.5, "low": None}, "deep": {"a": {"b": 1}}}
    assert formats.flat(record) == {"task": "mood", "accuracy": 0.5, "accuracy_low": None, "deep_a_b": 1}


@pytest.mark.parametrize("width", [40, 80])
def test_remarks_are_broken_at_spaces(width: int) -> None:
    lines = formats.broken_words("all rows: split validation; task sst2 (sample); n 300; prompts 6 x 2 seeds", width)
    assert all(cell_len(line) <= width for line in lines)
