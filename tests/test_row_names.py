"""No two rows can be taken for each other: not in a table of any width, and not by their names in notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_summary import GOLD, RIGHT, cell

from harness import tables
from harness.breakdown import broken_down
from harness.cell_results import CellResult
from harness.formats import text_lines
from harness.layout import fit
from harness.notices import findings, in_short
from harness.row_names import row_names
from harness.sensitivity import sensitivity
from harness.signature import ROW_KEY
from harness.summary import Row, summarise

# Two values of everything that makes a row, as stored cells have them.
VALUES: Mapping[str, Sequence[Any]] = {
    "task": ["mood", "pick"],
    "task_reading": ["r0" * 16, "r1" * 16],
    "data": ["folder", "sample"],
    "data_hash": ["d0" * 16, "d1" * 16],
    "pool_hash": [None, "p1" * 16],
    "role": ["report", "select"],
    "split": ["test", "train[-1000:]"],
    "shots": [0, 4],
    "demos": [None, "fixed", "bm25"],
    "demo_guard": [None, "2"],
    "demo_encoder": [None, "builtin"],
    "demo_encoder_hash": [None, "e1" * 16],
    "demo_order": [None, "drawn", "entropy"],
    "rule": ["sum", "pmi"],
    "calibration": ["none", "contextual"],
    "control": [None, "permuted"],
    "model": ["tiny", "a-model-with-a-name-that-is-far-too-long-for-any-table-v2"],
    "model_fingerprint": ["f0" * 16, "f1" * 16],
    "tokenizer_hash": ["k0" * 16, "k1" * 16],
    "dtype": ["float32", "bfloat16"],
    "bos": ["auto", "never"],
    "method_version": [1, 2],
}
SIGNATURES = st.fixed_dictionaries({key: st.sampled_from(values) for key, values in VALUES.items()})
CELLS = st.builds(
    lambda changes, few, chosen: cell(RIGHT[:3] if few else RIGHT, gold=GOLD[:3] if few else GOLD, **chosen, **changes),
    SIGNATURES,
    st.booleans(),
    st.sampled_from([{}, {"selection_labels": 7}]),
)


def test_everything_that_makes_a_row_is_tried_here() -> None:
    of_baselines = {"approach", "method", "labels_used"}
    assert set(ROW_KEY) - of_baselines <= VALUES.keys()


def shown(rows: Sequence[Row], width: int | None) -> list[tuple[str, ...]]:
    """What a table shows of each row, with what it says of all of them and of their sections."""
    fitted = fit(tables.score_table(rows), width)
    lines = zip(*(fitted.texts(column)[1:] for column in fitted.table.columns), strict=True)
    sections = [section.title for section in fitted.table.sections for _ in section.rows]
    return [(section, *line) for section, line in zip(sections, lines, strict=True)]


@given(st.lists(CELLS, min_size=2, max_size=6))
def test_any_two_rows_differ_in_what_is_shown_and_in_their_names(cells: list[Any]) -> None:
    rows = summarise(cells)
    assert len(set(row_names(rows))) == len(rows)
    for width in (None, 160, 100, 80):
        assert len(set(shown(rows, width))) == len(rows), width


@pytest.mark.parametrize("key", sorted(set(ROW_KEY) & VALUES.keys()))
def test_rows_that_differ_in_one_thing_alone_differ_in_every_table(key: str) -> None:
    one, *_, other = VALUES[key]
    base = cell(RIGHT, **{name: values[0] for name, values in VALUES.items()})
    rows = summarise([base, replace(base, signature=base.signature.model_copy(update={key: other}))])
    assert one != other
    assert len(rows) == 2
    assert len(set(row_names(rows))) == 2
    assert len(set(shown(rows, None))) == 2
    below = tables.sensitivity_table([sensitivity(row) for row in rows])
    told = {tuple(column.value(one) for column in below.columns) for one in below.rows}
    assert len(told) == 2
    assert len(set(tables.as_markdown(rows).splitlines())) == 4 + (key == "role")  # with the line of a section


def test_a_single_control_has_a_column() -> None:
    rows = summarise([cell(RIGHT), cell(RIGHT, control="permuted")])
    table = tables.score_table(rows)
    (column,) = (column for column in table.columns if column.title == "control")
    assert [column.value(row) for row in rows] == ["-", "permuted"]
    assert row_names(rows) == ["tiny, mood, 0-shot", "tiny, mood, 0-shot, control permuted"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"calibration": "contextual"}, "calibration contextual"),
        ({"rule": "pmi"}, "rule pmi"),
        ({"rule": "pmi", "dtype": "bfloat16"}, "rule pmi; dtype bfloat16"),
        ({"demos": "bm25", "demo_order": "entropy", "bos": "never"}, "demos bm25; order entropy; bos never"),
    ],
)
def test_what_all_rows_were_asked_alike_is_said_once_where_it_is_not_what_one_gets(
    changes: dict[str, Any], told: str
) -> None:
    """Numbers under one calibration and under none must not look the same, though no two rows of a table differ."""
    rows = summarise([cell(RIGHT, shots=k, labels_used=k, **changes) for k in (0, 4)])
    lines = text_lines(tables.score_table(rows), 100)
    (said,) = [line for line in lines if line.startswith("all rows: split")]
    assert said == "all rows: split test" + (f"; {told}" if told else "")
    assert all(f"| {value} |" in tables.as_markdown(rows).splitlines()[2] for value in changes.values())


def test_names_tell_what_rows_differ_in_and_no_more() -> None:
    rows = summarise([cell(RIGHT, rule="sum"), cell(RIGHT, rule="pmi"), cell(RIGHT, shots=4)])
    assert sorted(row_names(rows)) == [
        "tiny, mood, 0-shot (rule pmi)", "tiny, mood, 0-shot (rule sum)", "tiny, mood, 4-shot",
    ]  # fmt: skip
    rows = summarise([cell(RIGHT), cell(RIGHT[:3], gold=GOLD[:3])])
    assert row_names(rows) == ["tiny, mood, 0-shot (n 4)", "tiny, mood, 0-shot (n 3)"]


def test_parts_of_rows_are_named_by_what_they_are() -> None:
    rows = broken_down(summarise([cell(RIGHT, template=f"mood/{name}") for name in "ab"]), "prompt")
    assert row_names(rows) == ["tiny, mood, 0-shot, prompt a", "tiny, mood, 0-shot, prompt b"]


# Notices


def test_notices_name_rows_that_can_be_told_apart() -> None:
    gold = [0, 1] * 20
    cells = [cell(gold, gold=gold, rule=rule, calibration=how) for rule in ("sum", "pmi") for how in ("none", "batch")]
    found = findings(summarise(cells))
    (noise,) = (notice.text for notice in found if notice.kind == "noise")
    best, others = noise.removeprefix("within noise of ").split(": ")
    assert best not in others.split("; ")
    assert len(set(others.split("; "))) == 3


def test_at_most_three_lines_stand_for_all_notices() -> None:
    gold = [0, 1] * 20
    cells = [
        cell([1] * 40, gold=gold, rule=rule, calibration="batch", control=control, close=2, dropped=1, shots=8)
        for rule in ("sum", "pmi", "char")
        for control in (None, "permuted")
    ]
    found = findings(summarise(cells))
    assert len(found) > 10
    told = in_short(found)
    assert len(told) == 3
    assert told[0] == f"{found[1].text} (2 more like it: --notices)"
    assert "does not beat its control" in told[0]
    shown_kinds = {"control", "one label", "shortened"}
    rest = sum(notice.kind not in shown_kinds for notice in found)
    assert told[2].endswith(f"(2 more like it, {rest} of other kinds: --notices)")


def test_few_notices_are_told_as_they_are() -> None:
    found = findings(summarise([cell([1, 1, 1, 1])]))
    assert in_short(found) == [notice.text for notice in found]
    assert in_short([]) == []


def controls_told(*cells: CellResult) -> list[str]:
    return [notice.text for notice in findings(summarise(cells)) if notice.kind == "control"]


def test_a_control_without_an_interval_has_none() -> None:
    assert controls_told(cell(RIGHT), cell(RIGHT, control="permuted")) == [
        "tiny, mood, 0-shot: 100.0% does not beat its control permuted, 100.0%: difference +0.0 on every item"
    ]
    wrong = [1 - label for label in GOLD]
    assert controls_told(cell(RIGHT), cell(wrong, control="permuted")) == []


def test_a_control_of_some_prompts_is_compared_with_those() -> None:
    """The prompt that is wrong on everything has no control, and takes nothing from the one that has."""
    gold = [0, 1] * 20
    wrong = [1 - label for label in gold]
    half = [*gold[:20], *wrong[20:]]
    told = controls_told(
        cell(gold, gold=gold, template="mood/a"),
        cell(wrong, gold=gold, template="mood/b"),
        cell(half, gold=gold, template="mood/a", control="permuted"),
    )
    assert told == []
    assert len(controls_told(cell(wrong, gold=gold), cell(half, gold=gold, control="permuted"))) == 1


def test_what_a_mean_is_over_stays_where_means_differ_in_it() -> None:
    """A calibration that one template cannot have makes a mean of the others, which may be better for that alone."""
    both = [cell(RIGHT, template=f"mood/{name}", model=VALUES["model"][1]) for name in "ab"]
    few = cell(RIGHT, template="mood/a", model=VALUES["model"][1], calibration="contextual")
    for cells, kept in (([*both, few], True), (both, False)):
        fitted = fit(tables.score_table(summarise(cells)), 40)
        assert ("prompts" in [column.title for column in fitted.table.columns]) is kept
