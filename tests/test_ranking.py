"""What a leaderboard shows of stored results: filters, the latest of equal rows, parts and sections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_summary import GOLD, HALF, RIGHT, WRONG, cell

from harness import tables
from harness.breakdown import broken_down
from harness.cell_results import CellResult
from harness.errors import HarnessError, UsageError
from harness.ranking import Filters, board
from harness.statistics import mean_interval
from harness.summary import Row, summarise

LATER = "2026-02-01T00:00:00+00:00"


def part(row: Row) -> str:
    assert row.part is not None
    return row.part[1]


# Filters


STORED = [
    cell(RIGHT, model="org/tiny", template="mood/plain"),
    cell(HALF, model="org/tiny", template="mood/terse", shots=4, demos="fixed"),
    cell(WRONG, model="big", model_fingerprint="f1"),
    cell(HALF, kind="baseline", method="tfidf", model="tfidf", template="tfidf", shots=None, labels_used=8),
]


@pytest.mark.parametrize(
    ("filters", "models"),
    [
        (Filters(models=["tiny"]), {"org/tiny"}),
        (Filters(models=["org/tiny", "tfidf"]), {"org/tiny", "tfidf"}),
        (Filters(models=["t*"]), {"org/tiny", "tfidf"}),
        (Filters(shots=[4]), {"org/tiny"}),
        (Filters(prompts=["plain"]), {"org/tiny", "big"}),
        (Filters(prompts=["mood/te*"]), {"org/tiny"}),
        (Filters(models=["big"], shots=[0]), {"big"}),
        (Filters(status=["complete"]), {"org/tiny", "big", "tfidf"}),
    ],
)
def test_filters_keep_what_they_name(filters: Filters, models: set[str]) -> None:
    rows = board(STORED, filters).rows
    assert {row.signature.model for row in rows} == models
    if filters.shots:
        assert {row.signature.shots for row in rows} == set(filters.shots)


@pytest.mark.parametrize(
    ("filters", "fragment"),
    [
        (Filters(models=["tony"]), "--model tony: nothing of that name is stored; did you mean 'tiny'?"),
        (Filters(prompts=["plian"]), "--prompts plian: nothing of that name is stored; did you mean 'plain'?"),
        (Filters(shots=[3]), r"--shots 3: nothing stored has that many \(shots: 0, 4\)"),
        (Filters(status=["limitd"]), "--status: unknown value 'limitd'; did you mean 'limited'?"),
    ],
)
def test_a_filter_that_fits_nothing_is_a_mistake(filters: Filters, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        board(STORED, filters)


def test_filters_that_fit_other_cells_each_leave_nothing() -> None:
    """No word of a name that is not stored: it is, of another model."""
    assert board(STORED, Filters(models=["tfidf"], prompts=["plain"])).rows == []
    assert board(STORED, Filters(models=["tfidf"], shots=[4])).rows == []
    with pytest.raises(UsageError, match=r"--shots 0: nothing stored has that many \(no prompt is stored\)"):
        board(STORED[-1:], Filters(shots=[0]))


# The latest of equal rows


@pytest.mark.parametrize(
    "key", ["task_reading", "data_hash", "pool_hash", "demo_encoder_hash", "demo_guard", "method_version"]
)
def test_of_rows_with_the_same_settings_the_latest_is_shown(key: str) -> None:
    before, now = (1, 2) if key == "method_version" else ("h1", "h2")
    old, new = cell(WRONG, **{key: before}), cell(RIGHT, **{key: now}, created=LATER)
    for cells in ([old, new], [new, old]):
        found = board(cells)
        assert [row.metrics["accuracy"].mean for row in found.rows] == [1.0]
        assert found.remarks == [
            "1 older row of the same settings left out, of other files, data or versions: --older shows them"
        ]
        every = board(cells, Filters(older=True))
        assert (len(every.rows), every.remarks) == (2, [])


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "pmi"},
        {"shots": 4},
        {"model_fingerprint": "f1"},
        {"tokenizer_hash": "k1"},
        {"data": "sample"},
        {"dtype": "bfloat16"},
        {"bos": "never"},
    ],
)
def test_what_a_user_chose_is_never_replaced(change: dict[str, Any]) -> None:
    assert len(board([cell(WRONG), cell(RIGHT, **change, created=LATER)]).rows) == 2


def test_an_older_run_on_all_items_outlives_a_later_one_on_some() -> None:
    some = cell(RIGHT[:2], gold=GOLD[:2], limited=True, created=LATER)
    assert [row.status for row in board([cell(WRONG), some]).rows] == ["complete", "limited"]


# Sections


def test_limited_runs_and_other_splits_stand_below_lines_of_their_own() -> None:
    cells = [
        cell(WRONG),
        cell(RIGHT[:2], gold=GOLD[:2], limited=True, created=LATER),
        cell(RIGHT, role="select", split="dev"),
    ]
    rows = board(cells).rows
    lines, _ = tables.as_text(rows, None)
    titled = [line for line in lines if line.startswith("-- ")]
    assert titled == ["-- some of the items (--limit)", "-- the split for choices"]
    assert lines.index(titled[0]) == 3
    below = tables.as_markdown(rows).splitlines()
    assert [place for place, line in enumerate(below) if line.startswith("| *")] == [3, 5]
    alone = board(cells, Filters(status=["select"])).rows
    assert [row.status for row in alone] == ["select"]
    lines, _ = tables.as_text(alone, None)
    assert not [line for line in lines if line.startswith("-- ")]
    assert "all rows: the split for choices" in lines


# Parts


def test_by_prompt_has_a_row_for_each_template_the_best_first() -> None:
    cells = [cell(answers, template=f"mood/{name}") for name, answers in (("a", HALF), ("b", RIGHT), ("c", WRONG))]
    rows = board([*cells, cell(WRONG, template="mood/a", shots=4)], by="prompt").rows
    assert [(row.signature.shots, part(row), row.metrics["accuracy"].mean) for row in rows] == [
        (0, "b", 1.0), (0, "a", 0.5), (0, "c", 0.0), (4, "a", 0.0),
    ]  # fmt: skip
    titles = [column.title for column in tables.score_table(rows).columns]
    assert "prompt" in titles
    assert not {"prompts", "worst", "best", "spread"} & set(titles)


def test_templates_of_the_same_name_in_two_folders_keep_their_folders() -> None:
    rows = broken_down(summarise([cell(RIGHT, template="mood/a"), cell(HALF, template="shared/a")]), "prompt")
    assert [part(row) for row in rows] == ["mood/a", "shared/a"]


def test_by_seed_averages_templates() -> None:
    cells = [
        cell(RIGHT if seed else HALF, shots=2, demos="fixed", demo_seed=seed, template=f"mood/{name}")
        for seed in (0, 1)
        for name in "ab"
    ]
    rows = board(cells, by="seed").rows
    assert [(part(row), row.templates, row.metrics["accuracy"].mean) for row in rows] == [("1", 2, 1.0), ("0", 2, 0.5)]


def test_orders_of_a_seed_are_told_apart() -> None:
    cells = [cell(RIGHT, shots=2, demos="fixed", demo_seed=0, demo_order="permuted", order=order) for order in (0, 1)]
    assert {part(row) for row in board(cells, by="seed").rows} == {"0, order 0", "0, order 1"}


def test_by_class_is_recall_over_the_items_of_each_label() -> None:
    rows = board([cell([0, 1, 1, 1, 0], gold=[0, 0, 0, 1, 1])], by="class").rows
    assert [(part(row), row.n, row.metrics["accuracy"].mean) for row in rows] == [
        ("low", 3, pytest.approx(1 / 3)), ("high", 2, 0.5),
    ]  # fmt: skip
    assert all(list(row.metrics) == ["accuracy"] for row in rows)


def test_by_class_needs_labels() -> None:
    with pytest.raises(HarnessError, match="no row has labels"):
        board([cell(RIGHT, labels=None, metrics=["accuracy"])], by="class")


def test_tasks_that_have_no_classes_are_named() -> None:
    found = board([cell(RIGHT), cell(RIGHT, task="quiz", labels=None, metrics=["accuracy"])], by="class")
    assert found.remarks == ["left out, as items with options of their own have no classes: quiz"]
    assert not board([cell(RIGHT)], by="class").remarks


def of_domain(task: str, answers: list[int], domain: str | None, **changes: Any) -> CellResult:
    return cell(answers, gold=[0] * len(answers), task=task, domain=domain, **changes)


def test_by_domain_is_the_mean_over_tasks_each_counting_once() -> None:
    film, book = of_domain("film", [0, 0, 0, 1], "reviews"), of_domain("book", [0, 1] * 4, "reviews")
    news = of_domain("news", [0, 0], "news")
    rows = board([film, book, news], by="domain").rows
    found = {part(row): row for row in rows}
    both = found["reviews"]
    assert both.signature.task == "book, film"
    assert (both.n, both.metrics["accuracy"].mean) == (12, pytest.approx((0.75 + 0.5) / 2))
    three, four = (mean_interval(np.array(right)) for right in ([1.0, 1, 1, 0], [1.0, 0] * 4))
    distances = three.mean - three.low, four.mean - four.low
    assert both.metrics["accuracy"].low == pytest.approx(0.625 - np.hypot(*distances) / 2)
    assert both.metrics["accuracy"].high <= 1
    assert both.item_accuracy.mean() == pytest.approx(0.625)
    assert found["news"].metrics["accuracy"].mean == 1.0
    titles = [column.title for column in tables.whole_table(rows).columns]
    assert not {"MDE", "predicted (gold)", "prompts"} & set(titles)


def test_a_domain_without_a_mistake_still_has_an_interval() -> None:
    (row,) = board([of_domain(name, [0] * 10, "reviews") for name in ("film", "book")], by="domain").rows
    accuracy = row.metrics["accuracy"]
    assert (accuracy.mean, accuracy.high) == (1.0, 1.0)
    assert accuracy.low == pytest.approx(1 - (1 - mean_interval(np.ones(10)).low) / np.sqrt(2))


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "pmi"},
        {"split": "validation"},
        {"selection_labels": 30},
        {"answers": [0, 0], "limited": True},
        {"data_hash": "another"},
    ],
)
def test_a_task_counts_once_in_a_domain_however_often_it_ran(changes: dict[str, Any]) -> None:
    first = of_domain("film", [0, 0, 0, 1], "reviews", limited="limited" in changes)
    again = of_domain("film", **{"answers": [0, 1, 1, 1], "domain": "reviews", "created": LATER, **changes})
    rows = board([first, again], Filters(older=True), by="domain").rows
    assert sorted(row.n for row in rows) == sorted([4, len(changes.get("answers", "four"))])
    assert {row.signature.task for row in rows} == {"film"}


def test_a_mean_over_tasks_says_of_itself_what_they_share_alone() -> None:
    film = of_domain("film", [0, 0], "reviews", rule="sum", data_hash="a")
    book = of_domain("book", [0, 1, 1], "reviews", rule="char", data_hash="b", labels=None, metrics=["accuracy"])
    (row,) = board([film, book], by="domain").rows
    told = row.as_dict()
    assert (told["rule"], told["data_hash"], told["gold"], told["predictions"]) == ("char, sum", None, {}, 5)
    assert told["minimum_detectable_effect"] is None


def test_models_and_shots_of_a_domain_stay_apart_and_an_unknown_domain_is_told() -> None:
    cells = [of_domain("film", [0], "reviews", shots=k, model=name) for k in (0, 4) for name in ("a", "b")]
    assert len(board(cells, by="domain").rows) == 4
    assert [part(row) for row in board([of_domain("film", [0], None)], by="domain").rows] == ["unknown"]
