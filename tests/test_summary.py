"""From the predictions of cells to rows, and from rows to tables, by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness import tables
from harness.breakdown import broken_down
from harness.cell_results import CellResult
from harness.class_report import class_report
from harness.notices import notices
from harness.signature import Signature
from harness.summary import Row, summarise

SIGNATURE: dict[str, Any] = {
    "kind": "prompt",
    "method": None,
    "method_version": 1,
    "labels_used": 0,
    "task": "mood",
    "task_reading": "r0",
    "data": "folder",
    "data_hash": "d0",
    "pool_hash": None,
    "role": "report",
    "split": "test",
    "template": "mood/plain",
    "template_hash": "t0",
    "shots": 0,
    "demos": None,
    "demo_seed": None,
    "demo_guard": None,
    "demo_encoder": None,
    "demo_encoder_hash": None,
    "demo_order": None,
    "order": None,
    "rule": "sum",
    "calibration": "none",
    "control": None,
    "model": "tiny",
    "model_fingerprint": "f0f0f0f0f0",
    "tokenizer_hash": "k0",
    "dtype": "float32",
    "bos": "auto",
    "max_inputs": 128,
}
GOLD = [0, 0, 1, 1]


def cell(
    prediction: Sequence[int],
    *,
    gold: Sequence[int] = GOLD,
    labels: Sequence[str] | None = ("low", "high"),
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    created: str = "2026-01-01T00:00:00+00:00",
    status: Sequence[str] | None = None,
    clusters: Sequence[int] | None = None,
    items: str = "item",
    close: int = 0,
    dropped: int = 0,
    selection_labels: int = 0,
    limited: bool = False,
    domain: str | None = None,
    **changes: Any,
) -> CellResult:
    assert changes.keys() <= SIGNATURE.keys()
    return CellResult(
        signature=Signature.model_validate(SIGNATURE | changes),
        metrics=metrics,
        labels=labels,
        created=created,
        item_ids=[f"{items}{i}" for i in range(len(gold))],
        gold=np.array(gold, np.int64),
        prediction=np.array(prediction, np.int64),
        status=status or ["too_long" if label < 0 else "ok" for label in prediction],
        close=close,
        dropped=dropped,
        clusters=None if clusters is None else np.array(clusters, np.int64),
        selection_labels=selection_labels,
        limited=limited,
        domain=domain,
    )


def one_row(*cells: CellResult) -> Row:
    (row,) = summarise(cells)
    return row


RIGHT, HALF, WRONG = [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]


# Aggregation


def test_mean_worst_best_and_spread_over_templates_and_seeds() -> None:
    shot = {"shots": 2, "demos": "fixed"}
    row = one_row(
        cell(RIGHT, template="mood/plain", demo_seed=0, **shot),
        cell(HALF, template="mood/plain", demo_seed=1, **shot),
        cell(HALF, template="mood/terse", demo_seed=0, **shot),
        cell(WRONG, template="mood/terse", demo_seed=1, **shot),
    )
    accuracy = row.metrics["accuracy"]
    assert (row.n, row.templates, row.seeds, row.predictions) == (4, 2, 2, 16)
    assert accuracy.mean == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    # of templates, after the mean over seeds
    assert (accuracy.worst, accuracy.best, accuracy.spread) == pytest.approx((0.25, 0.75, 0.5))
    assert (accuracy.worst_template, accuracy.best_template) == ("terse", "plain")


def test_a_chosen_prompt_has_a_row_of_its_own_that_is_charged_with_the_choice() -> None:
    """Six templates, and one of them again after a choice by 291 labels."""
    cells = [cell(HALF, template=f"mood/{name}") for name in "abcdef"]
    chosen = cell(RIGHT, template="mood/c", selection_labels=291, created="2026-01-02T00:00:00+00:00")
    best, mean = summarise([*cells, chosen])
    assert (best.chosen, best.templates, best.labels_used) == ("c", 1, 291)
    assert (mean.chosen, mean.templates, mean.labels_used) == (None, 6, 0)
    assert mean.metrics["accuracy"].mean == pytest.approx(0.5), "the chosen prompt is no part of the mean"
    titles, _, *told = markdown([best, mean])
    assert [line[titles.index("prompts")] for line in told] == ["chosen: c", "6"]
    assert notices([best, mean])[0] == "within noise of tiny, mood, 0-shot, chosen: c: tiny, mood, 0-shot"
    again = cell(RIGHT, template="mood/c", selection_labels=40, created="2026-01-03T00:00:00+00:00")
    other = cell(RIGHT, template="mood/d", selection_labels=50, created="2026-01-03T00:00:00+00:00")
    rows = summarise([*cells, chosen, again, other])
    assert [(row.chosen, row.labels_used) for row in rows[:2]] == [("c", 40), ("d", 50)], "the latest choice counts"


def test_the_interval_is_that_of_the_mean_of_each_item() -> None:
    row = one_row(cell([0, 0, 1, 0], template="mood/a"), cell([0, 1, 1, 0], template="mood/b"))
    expected = stats.ttest_1samp([1.0, 0.5, 1.0, 0.0], 0).confidence_interval(0.95)
    accuracy = row.metrics["accuracy"]
    assert (accuracy.mean, accuracy.low, accuracy.high) == pytest.approx((0.625, max(0, expected.low), 1.0))


def test_one_cell_gets_the_wilson_interval() -> None:
    accuracy = one_row(cell([1] * 8 + [0] * 2, gold=[1] * 10)).metrics["accuracy"]
    assert (accuracy.mean, accuracy.low, accuracy.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_clusters_widen_the_interval() -> None:
    answers = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]
    plain, clustered = (
        one_row(cell(answers, gold=[0] * 12, clusters=clusters)).metrics["accuracy"]
        for clusters in (None, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    )
    assert plain.mean == clustered.mean
    assert clustered.high - clustered.low > plain.high - plain.low


def test_macro_f1_is_a_mean_over_cells_and_not_of_pooled_items() -> None:
    row = one_row(cell(RIGHT, template="mood/a"), cell(HALF, template="mood/b"))
    halved = (2 * 2 / (4 + 2) + 0) / 2  # F1 of label 0 is 2/3, of label 1 it is 0
    assert row.metrics["macro_f1"].mean == pytest.approx((1 + halved) / 2)
    assert row.metrics["macro_f1"].low < row.metrics["macro_f1"].mean


def test_templates_of_the_same_name_in_two_folders_are_two() -> None:
    row = one_row(cell(RIGHT, template="mood/plain"), cell(WRONG, template="shared/plain"))
    accuracy = row.metrics["accuracy"]
    assert (row.templates, accuracy.worst, accuracy.best) == (2, 0.0, 1.0)
    assert (accuracy.worst_template, accuracy.best_template) == ("shared/plain", "mood/plain")


def test_shares_of_gold_and_predictions() -> None:
    row = one_row(cell([0, 0, 0, -1], gold=[0, 1, 1, 1]))
    assert row.gold_share == [0.25, 0.75]
    assert row.predicted_share == [1.0, 0.0]  # of those that there are


def test_counts_are_added_over_cells() -> None:
    row = one_row(
        cell([0, 0, 1, -1], template="mood/a", status=["ok", "tie", "tie", "too_long"], close=1, dropped=2),
        cell([0, 0, 1, 1], template="mood/b", status=["ok", "ok", "tie", "ok"], close=3, dropped=1),
    )
    assert (row.ties, row.too_long, row.close, row.shortened, row.predictions) == (3, 1, 4, 3, 8)


def test_options_of_each_item_have_no_macro_f1_and_numbers_for_names() -> None:
    row = one_row(cell([0, 1, 2, 3], gold=[0, 1, 2, 2], labels=None, metrics=["accuracy"]))
    assert list(row.metrics) == ["accuracy"]
    assert row.labels == ["option 1", "option 2", "option 3", "option 4"]


def test_the_first_metric_of_the_task_is_the_primary_one() -> None:
    row = one_row(cell(RIGHT, metrics=["macro_f1", "accuracy"]))
    assert (row.primary, list(row.metrics)) == ("macro_f1", ["macro_f1", "accuracy"])


def test_no_prediction_at_all() -> None:
    row = one_row(cell([-1] * 4))
    assert (row.metrics["accuracy"].mean, row.metrics["macro_f1"].mean, row.too_long) == (0.0, 0.0, 4)


# Which cells share a row


def test_of_equal_cells_the_latest_counts_whatever_their_order() -> None:
    old, new = cell(WRONG, created="2026-01-01T00:00:00+00:00"), cell(RIGHT, created="2026-01-02T00:00:00+00:00")
    for cells in ([old, new], [new, old]):
        row = one_row(*cells)
        assert (row.metrics["accuracy"].mean, row.predictions) == (1.0, 4)


def test_a_template_that_was_edited_replaces_its_older_self() -> None:
    row = one_row(cell(WRONG, template_hash="a"), cell(RIGHT, template_hash="b", created="2026-02-01T00:00:00+00:00"))
    assert (row.templates, row.metrics["accuracy"].mean) == (1, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "other"},
        {"task_reading": "r1"},
        {"data": "hub"},
        {"data_hash": "d1"},
        {"pool_hash": "p1"},
        {"role": "select"},
        {"split": "dev"},
        {"shots": 4},
        {"demos": "balanced"},
        {"rule": "token"},
        {"model": "big"},
        {"model_fingerprint": "f1"},
        {"tokenizer_hash": "k1"},
        {"dtype": "bfloat16"},
        {"bos": "never"},
        {"method_version": 2},
        {"kind": "baseline", "method": "tfidf"},
        {"method": "tfidf"},
        {"labels_used": 4},
        {"items": "another"},
        {"gold": [0, 0, 1]},
    ],
)
def test_what_cannot_be_compared_never_shares_a_row(change: dict[str, Any]) -> None:
    other = cell(RIGHT[: len(change.get("gold", GOLD))], template="mood/terse", **change)
    assert [row.templates for row in summarise([cell(RIGHT), other])] == [1, 1]


def test_templates_and_seeds_share_a_row() -> None:
    cells = [
        cell(RIGHT, template=template, demo_seed=seed, shots=2) for template in ("mood/a", "mood/b") for seed in (0, 1)
    ]
    row = one_row(*cells)
    assert (row.templates, row.seeds) == (2, 2)


# Ranking


def test_rows_are_ranked_within_each_task() -> None:
    rows = summarise(
        [
            cell(HALF, model_fingerprint="half"),
            cell(WRONG, task="zebra", model_fingerprint="wrong"),
            cell(RIGHT, model_fingerprint="right"),
            cell(WRONG, model_fingerprint="wrong"),
        ]
    )
    assert [(row.signature.task, row.signature.model_fingerprint) for row in rows] == [
        ("mood", "right"), ("mood", "half"), ("mood", "wrong"), ("zebra", "wrong"),
    ]  # fmt: skip


@pytest.mark.parametrize(("metric", "order"), [("accuracy", ["majority", "even"]), ("macro_f1", ["even", "majority"])])
def test_the_primary_metric_ranks(metric: str, order: list[str]) -> None:
    # accuracy 5/6 and 4/6, macro-F1 .45 and .63
    answers = {"majority": [0, 0, 0, 0, 0, 0], "even": [0, 0, 0, 1, 1, 1]}
    cells = [cell(row, gold=[0, 0, 0, 0, 0, 1], metrics=[metric], model=name) for name, row in answers.items()]
    assert [row.signature.model for row in summarise(cells)] == order


def test_more_items_come_before_fewer() -> None:
    rows = summarise([cell([0], gold=[0]), cell(WRONG)])
    assert [row.n for row in rows] == [4, 1]


# Notices


def noticed(*cells: CellResult) -> list[str]:
    return notices(summarise(cells))


def test_a_model_that_always_says_the_same_is_named() -> None:
    assert noticed(cell([1, 1, 1, 1])) == [
        "tiny, mood, 0-shot: predicts 'high' for 100% of items; the gold share is 50%"
    ]


def test_the_report_of_labels_averages_as_the_table_does() -> None:
    """A label that occurs neither as gold nor as prediction counts in neither."""
    row = one_row(cell([0, 0, 1, 0], labels=("low", "high", "none")))
    report = class_report(row).as_dict()["labels"]
    assert report["macro avg"]["f1-score"] == pytest.approx(row.metrics["macro_f1"].mean)
    assert report["none"]["support"] == 0


def test_of_the_items_of_one_label_it_is_no_news_that_they_get_one_label() -> None:
    of_classes = broken_down(summarise([cell([1, 1, 1, 1])]), "class")
    assert not [text for text in notices(of_classes) if "predicts" in text]


def test_one_answer_is_no_news_where_it_is_mostly_right() -> None:
    assert noticed(cell([1] * 10, gold=[1] * 9 + [0])) == []


def test_an_even_model_needs_no_notice() -> None:
    assert noticed(cell(RIGHT)) == []


def test_what_did_not_fit_is_told() -> None:
    found = noticed(cell([0, 0, 1, -1], close=2, dropped=1, shots=8))
    assert found == [
        "tiny, mood, 8-shot: 1 of 4 prompts do not fit the model and count as wrong",
        "tiny, mood, 8-shot: 1 of 4 prompts lost demonstrations to fit the model",
        "tiny, mood, 8-shot: 2 of 4 predictions are within float rounding of another label",
    ]


def test_few_predictions_within_float_rounding_are_no_news() -> None:
    many = {"prediction": [0, 1] * 100, "gold": [0, 1] * 100}
    assert noticed(cell(many["prediction"], gold=many["gold"], close=2)) == []
    (told,) = noticed(cell(many["prediction"], gold=many["gold"], close=3))
    assert told.endswith("3 of 200 predictions are within float rounding of another label")


# Tables


def columns(rows: Sequence[Row]) -> list[str]:
    return [column.title for column in tables.whole_table(rows).columns if column.title != "predicted (gold)"]


def two_rows(**changes: Any) -> list[Row]:
    return summarise([cell(RIGHT), cell(HALF, **{"model_fingerprint": "f1", "model": "big", **changes})])


def test_a_column_of_settings_appears_only_where_rows_differ() -> None:
    plain = columns(two_rows())
    assert not {"demos", "rule", "dtype", "bos", "ties", "too long"} & set(plain)
    for key, value in [("rule", "token"), ("dtype", "bfloat16"), ("bos", "never"), ("data", "hub")]:
        assert set(columns(two_rows(**{key: value}))) - set(plain) == {key}


def test_tasks_that_differ_in_their_settings_need_no_column() -> None:
    assert "rule" not in columns(summarise([cell(RIGHT), cell(RIGHT, task="pick", rule="char")]))


def test_the_split_is_always_shown() -> None:
    titles, _, line = markdown([one_row(cell(RIGHT, split="test[:10%]"))])
    assert line[titles.index("split")] == "test[:10%]"


def test_rows_without_demonstrations_do_not_differ_in_their_strategy() -> None:
    assert "demos" not in columns(two_rows(demos="fixed", shots=2))
    three = [cell(RIGHT), cell(RIGHT, demos="fixed", shots=2), cell(RIGHT, demos="balanced", shots=2)]
    assert "demos" in columns(summarise(three))


def test_ties_and_long_prompts_get_a_column_where_there_are_any() -> None:
    assert "ties" in columns([one_row(cell(RIGHT, status=["tie", "ok", "ok", "ok"]))])
    assert "too long" in columns([one_row(cell([0, 0, 1, -1]))])


def test_models_of_one_name_show_a_piece_of_their_fingerprint() -> None:
    rows = summarise([cell(RIGHT, model_fingerprint="abcdefgh"), cell(HALF, model_fingerprint="12345678")])
    titles, _, *lines = markdown(rows)
    assert [line[titles.index("model")] for line in lines] == ["tiny@abcdef", "tiny@123456"]
    titles, _, *lines = markdown(two_rows())
    assert [line[titles.index("model")] for line in lines] == ["tiny", "big"]


def test_samples_are_never_taken_for_the_real_data() -> None:
    assert "mood (sample)" in tables.as_markdown([one_row(cell(RIGHT, data="sample"))])


def markdown(rows: Sequence[Row]) -> list[list[str]]:
    """Cells by line, split at pipes that are not escaped."""
    lines = tables.as_markdown(rows).splitlines()
    return [
        [part.replace("\0", "|").strip() for part in line.replace("\\|", "\0").strip("|").split("|")] for line in lines
    ]


def test_markdown_escapes_pipes() -> None:
    rows = summarise([cell(RIGHT, model="a|b"), cell(HALF, model="c", model_fingerprint="f1")])
    titles, _, first, second = markdown(rows)
    assert len(titles) == len(first) == len(second)
    assert first[titles.index("model")] == "a|b"


def test_markdown_values() -> None:
    titles, rule, line = markdown([one_row(cell([1] * 8 + [0] * 2, gold=[1] * 10))])
    found = dict(zip(titles, line, strict=True))
    assert {title for title, how in zip(titles, rule, strict=True) if how == "---:"} == {
        "k", "n", "accuracy %", "MDE", "macro-F1 %"
    }  # fmt: skip
    assert set(rule) == {"---", "---:"}
    assert found["task"] == "mood"
    assert (found["k"], found["n"], found["prompts"]) == ("0", "10", "plain")
    assert found["accuracy %"] == "80.0 [49.0, 94.3]"
    assert not {"worst", "best", "spread"} & set(titles), "one template is its own worst and best"


def test_seeds_are_shown_beside_templates() -> None:
    rows = summarise([cell(RIGHT, shots=1, demo_seed=seed) for seed in (0, 1, 2)])
    titles, _, line = markdown(rows)
    assert line[titles.index("prompts")] == "plain x 3 seeds"


def test_what_a_grid_lacks_is_told() -> None:
    grid = [("t/a", 0), ("t/a", 1), ("t/b", 0)]
    rows = summarise([cell(RIGHT, shots=1, template=template, demo_seed=seed) for template, seed in grid])
    titles, _, line = markdown(rows)
    assert line[titles.index("prompts")] == "3 of 2 x 2 seeds"


def test_csv_comes_back_a_line_a_row() -> None:
    rows = summarise([cell(RIGHT, model='a,"b"\nc'), cell(HALF, model="d", model_fingerprint="f1")])
    found = list(csv.DictReader(io.StringIO(tables.as_csv(rows))))
    assert [line["model"] for line in found] == ['a,"b"␊c', "d"]
    for line, row in zip(found, rows, strict=True):
        assert float(line["accuracy"]) == row.metrics["accuracy"].mean
        assert float(line["accuracy_low"]) == row.metrics["accuracy"].low
        assert float(line["macro_f1_spread"]) == row.metrics["macro_f1"].spread
        assert line["accuracy_worst_template"] == "plain"
        assert int(line["n"]) == 4


def test_csv_of_rows_with_different_metrics_has_every_column() -> None:
    rows = summarise([cell(RIGHT), cell(RIGHT, task="pick", labels=None, metrics=["accuracy"])])
    found = {line["task"]: line for line in csv.DictReader(io.StringIO(tables.as_csv(rows)))}
    assert float(found["mood"]["macro_f1"]) == 1.0
    assert found["pick"]["macro_f1"] == ""


def test_latex_escapes_what_latex_would_read() -> None:
    text = tables.as_latex([one_row(cell(RIGHT, model="a_b&c%d#$", task="x_y"))])
    assert r"a\_b\&c\%d\#\$" in text
    assert r"x\_y" in text
    assert text.startswith(r"\begin{tabular}")
    assert r"\toprule" in text
    assert r"accuracy \%" in text


def test_the_text_table_shows_brackets_as_they_are() -> None:
    scores, _ = tables.as_text([one_row(cell(RIGHT, model="a[bold]b"))], None)
    assert "a[bold]b" in scores[1]


# JSON


def strict(text: str) -> Any:
    """Parsed, with NaN and Infinity refused, which are not JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_the_json_document() -> None:
    rows = summarise([cell(RIGHT, shots=4, demos="fixed", demo_seed=0, template=f"mood/{name}") for name in "abc"])
    document = strict(tables.as_json(rows, ["a notice"]))
    assert (document["schema"], document["notices"]) == (1, ["a notice"])
    (row,) = document["rows"]
    contract = {"task": "mood", "data": "folder", "model": "tiny", "shots": 4, "n": 4, "templates": 3, "seeds": 1}
    assert contract.items() <= row.items()
    assert {"mean", "low", "high", "worst", "best"} <= row["accuracy"].keys()
    assert row["accuracy"]["mean"] == row["macro_f1"]["mean"] == 1.0
    assert row["gold"] == row["predicted"] == {"low": 0.5, "high": 0.5}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("n_cells", [1, 2])
def test_few_items_give_valid_json(n: int, n_cells: int) -> None:
    cells = [cell([i] * n, gold=[0] * n, template=f"mood/{i}") for i in range(n_cells)]
    (row,) = strict(tables.as_json(summarise(cells), []))["rows"]
    assert row["accuracy"]["mean"] == 1 / n_cells
    assert row["macro_f1"]["low"] is None  # all items alike


def test_a_row_as_a_dict_holds_no_nan() -> None:
    row = one_row(cell([0], gold=[0]))
    assert math.isnan(row.metrics["macro_f1"].low)
    json.dumps(row.as_dict(), allow_nan=False)


def test_one_item_in_every_format() -> None:
    rows = [one_row(cell([0], gold=[0]))]
    for text in (tables.as_markdown(rows), tables.as_csv(rows), tables.as_latex(rows)):
        assert "nan" not in text.lower()


def test_a_frame_has_one_number_a_column() -> None:
    frame = tables.as_frame(two_rows())
    assert frame["accuracy"].tolist() == [1.0, 0.5]
    assert frame["accuracy_best"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("title", "change"),
    [("items", {"items": "another"}), ("pool", {"pool_hash": "p1"}), ("task file", {"task_reading": "r1"})],
)
def test_rows_that_would_look_alike_show_what_they_differ_in(title: str, change: dict[str, Any]) -> None:
    titles, _, *lines = markdown(summarise([cell(RIGHT, pool_hash="p0"), cell(RIGHT, **{"pool_hash": "p0", **change})]))
    assert len({line[titles.index(title)] for line in lines}) == 2
    assert title not in columns(two_rows())


@pytest.mark.parametrize(
    "key", ["split", "demos", "rule", "dtype", "bos", "shots", "data", "pool_hash", "task_reading", "tokenizer_hash"]
)
def test_json_and_csv_tell_rows_apart_by_every_setting(key: str) -> None:
    other = {"shots": 4, "demos": "balanced"}.get(key, "other")
    rows = summarise([cell(RIGHT), cell(RIGHT, **{key: other})])
    assert len({row.as_dict()[key] for row in rows}) == 2
    assert len({line[key] for line in csv.DictReader(io.StringIO(tables.as_csv(rows)))}) == 2


def test_rows_without_a_split_stand_beside_rows_with_one() -> None:
    """An earlier version noted none."""
    assert {row.signature.split for row in summarise([cell([0] * 4), cell([1] * 4, split=None)])} == {None, "test"}
