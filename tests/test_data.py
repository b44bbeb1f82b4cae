"""The examples of a task in their roles, and what identifies them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_task import make_task

from harness.data import TaskData, limited, load_data
from harness.errors import DataError
from harness.records import Role
from harness.row_files import Row
from harness.tasks import Task

ROLES: tuple[Role, ...] = ("report", "select", "pool")
Rows = Sequence[Mapping[str, Any]]


class MemorySource:
    """Rows that the test gives."""

    origin = "memory"
    location = "memory"
    revision: str | None = None

    def __init__(self, splits: Mapping[str, Rows]) -> None:
        self.splits = splits

    def rows(self, split: str) -> list[Row]:
        return [Row(dict(values), f"{split} row {number}") for number, values in enumerate(self.splits[split], 1)]


def load(task: Task, splits: Mapping[str, Rows], *roles: Role) -> TaskData:
    return load_data(task, MemorySource(splits), roles or ("report",))


def texts(data: TaskData, role: Role = "report") -> list[object]:
    return [example.fields["text"] for example in data.role(role)]


def numbered(count: int, word: str = "row") -> list[dict[str, Any]]:
    return [{"text": f"{word} {i}", "label": i % 2} for i in range(count)]


# From a row to an example


@pytest.mark.parametrize(("value", "gold"), [(0, 0), (1, 1), ("0", 0), ("1", 1), ("low", 0), ("high", 1)])
def test_a_label_is_an_id_or_its_name(value: object, gold: int) -> None:
    (example,) = load(make_task(), {"test": [{"text": "x", "label": value}]}).role("report")
    assert (example.gold, example.options) == (gold, ("low", "high"))


@pytest.mark.parametrize("value", [2, -2, "2", "Low", "", None, True, 0.0, [0], "1.0"])
def test_any_other_label_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(DataError, match=r"test row 1: target \(label\): must be an id from 0 to 1 or one of low, high"):
        load(make_task(), {"test": [{"text": "x", "label": value}]})


def test_minus_one_says_that_the_labels_are_not_public() -> None:
    with pytest.raises(DataError, match="no public labels"):
        load(make_task(), {"test": [{"text": "x", "label": -1}]})


def test_fields_are_columns_or_expressions() -> None:
    task = make_task(fields={"text": "body", "both": "{{ body ~ '/' ~ extra.tag }}"})
    (example,) = load(task, {"test": [{"body": "b", "extra": {"tag": "x"}, "label": 0}]}).role("report")
    assert example.fields == {"text": "b", "both": "b/x"}


def test_options_of_an_item_and_a_target_by_expression() -> None:
    task = make_task(labels=None, options="{{ choices.text }}", target="{{ choices.label.index(key) }}")
    rows = [{"text": "q", "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]}, "key": "C"}]
    (example,) = load(task, {"test": rows}).role("report")
    assert (example.options, example.gold) == (("x", "y", "z"), 2)


@pytest.mark.parametrize("value", [["x"], "xy", ["x", ""], ["x", 1], None])
def test_options_that_are_no_list_of_texts_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"test row 1: options of tasks/t.yaml: must give two or more strings"):
        load(make_task(labels=None, options="{{ o }}"), {"test": [{"text": "q", "o": value, "label": 0}]})


def test_a_gold_beyond_the_options_of_its_item_is_refused() -> None:
    with pytest.raises(DataError, match="a letter from A to B or the text of an option, not 2"):
        load(make_task(labels=None, options="{{ o }}"), {"test": [{"text": "q", "o": ["a", "b"], "label": 2}]})


def test_a_missing_column_gets_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"row 1: has no column 'text', which .* names in fields.text; did you mean"):
        load(make_task(), {"test": [{"texts": "x", "label": 0}]})


def test_all_columns_that_are_missing_are_named_at_once() -> None:
    task = make_task(fields={"text": "text", "both": "{{ text }}", "other": "more"}, target="lable")
    with pytest.raises(DataError) as caught:
        load(task, {"test": [{"texts": "x", "label": 0}]})
    assert str(caught.value) == (
        "test row 1: has no column 'text', which tasks/t.yaml names in fields.text; did you mean 'texts'? (columns:"
        " texts, label); and no 'lable', named in target; and no 'more', named in fields.other"
    )


def test_an_expression_that_fails_names_row_and_key() -> None:
    rows = [{"missing": "x", "label": 0}, {"label": 0}]
    with pytest.raises(DataError, match=r"test row 2: fields.text of tasks/t.yaml: .*'missing'"):
        load(make_task(fields={"text": "{{ missing }}"}), {"test": rows})


def test_clusters_are_text() -> None:
    task = make_task(cluster="doc")
    rows = [{"text": "a", "label": 0, "doc": 7}, {"text": "b", "label": 0, "doc": None}]
    assert [example.cluster for example in load(task, {"test": rows[:1]}).role("report")] == ["7"]
    with pytest.raises(DataError, match=r"cluster \(doc\): is null; every item must belong to a group"):
        load(task, {"test": rows})
    with pytest.raises(DataError, match=r"cluster \(doc\): is empty; every item must belong to a group"):
        load(task, {"test": [{"text": "a", "label": 0, "doc": ""}]})


def test_a_column_that_no_name_reaches_is_an_element_of_row() -> None:
    rows = [{"Option A": "x", "Option B": "y", "in": "z", "label": 0}]
    task = make_task(fields={"text": "{{ row['Option A'] ~ row['in'] }}", "plain": "Option B"})
    assert load(task, {"test": rows}).role("report")[0].fields == {"text": "xz", "plain": "y"}
    options = make_task(labels=None, fields=["in"], options="{{ [row['Option A'], row['Option B']] }}")
    assert load(options, {"test": rows}).role("report")[0].options == ("x", "y")
    with pytest.raises(DataError, match=r"row 1: fields\.text of tasks/t\.yaml: no field 'Option C'; did you mean"):
        load(make_task(fields={"text": "{{ row['Option C'] }}"}), {"test": rows})
    own = make_task(fields={"text": "{{ row }}"})
    assert load(own, {"test": [{"row": "a column", "label": 0}]}).role("report")[0].fields == {"text": "a column"}


# Roles


def slices(**splits: str) -> Task:
    return make_task(splits=splits)


def test_a_whole_split_keeps_its_order() -> None:
    assert texts(load(make_task(), {"test": numbered(30)})) == [f"row {i}" for i in range(30)]


def test_a_slice_is_of_a_shuffle_and_the_same_every_time() -> None:
    task = slices(report="test[:10]")
    first = texts(load(task, {"test": numbered(30)}))
    assert len(set(first)) == 10
    assert first == texts(load(task, {"test": numbered(30)}))
    assert sorted(map(str, first)) != sorted(f"row {i}" for i in range(10))


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        ({"pool": "all[:60]", "select": "all[60:80]", "report": "all[80:]"}, (20, 20, 60)),
        ({"pool": "all", "select": "all[-20%:]", "report": "all[:30%]"}, (30, 20, 50)),
        ({"pool": "all", "select": "all", "report": "all[-10:]"}, (10, 90, 0)),
        ({"pool": "all[20:]", "select": "all[:40]", "report": "all[10:30]"}, (20, 20, 60)),
    ],
)
def test_no_row_is_in_two_roles_and_the_report_comes_first(splits: dict[str, str], sizes: tuple[int, int, int]) -> None:
    data = load(slices(**splits), {"all": numbered(100)}, *ROLES)
    assert tuple(len(data.role(role)) for role in ROLES) == sizes
    ids = [example.item_id for role in ROLES for example in data.role(role)]
    assert len(set(ids)) == len(ids)


def test_a_role_of_which_the_report_leaves_nothing_is_an_error_unless_it_is_the_pool() -> None:
    rows = {"all": numbered(100)}
    assert load(slices(pool="all[:50]", report="all[:70]"), rows, "pool").role("pool") == ()
    with pytest.raises(DataError, match=r"'all\[:50\]', the role 'select' of t, holds no row"):
        load(slices(select="all[:50]", report="all[:70]"), rows, "select")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_holds_the_same_rows_whichever_roles_are_asked_for(role: Role) -> None:
    task, rows = slices(pool="all", select="all[-30:]", report="all[:80]"), {"all": numbered(100)}
    assert texts(load(task, rows, role), role) == texts(load(task, rows, *ROLES), role)


def test_a_split_that_nobody_needs_is_not_read() -> None:
    task = slices(pool="train", select="validation", report="test")
    assert texts(load(task, {"validation": numbered(3)}, "select"), "select") == ["row 0", "row 1", "row 2"]


def test_a_role_that_the_task_lacks() -> None:
    with pytest.raises(DataError, match=r"no role 'select' \(roles: report\)"):
        load(slices(report="test"), {"test": numbered(3)}, "select")
    with pytest.raises(DataError, match="no role 'pool'"):
        load(slices(report="test"), {"test": numbered(3)}, "report", "pool")


@pytest.mark.parametrize(
    ("reported", "pooled", "equal"),
    [
        ("A fine film.", "a FINE film", True),
        ("A fine film.", "A fine  film !", True),
        ("A fine film.", "Ａ　ｆｉｎｅ　ｆｉｌｍ。", True),
        ("电影很好看！", "电影很好看", True),
        ("A fine film.", "A fine filming.", False),
        ("电影很好看", "电影不好看", False),
        ("it costs 10", "it costs 100", False),
    ],
)
def test_the_pool_is_cleaned_of_what_is_reported(reported: str, pooled: str, equal: bool) -> None:
    rows = {"test": [{"text": reported, "label": 0}], "train": [{"text": pooled, "label": 1}, *numbered(3)]}
    data = load(slices(pool="train", report="test"), rows, "pool")
    assert data.duplicates == int(equal)
    assert (pooled in texts(data, "pool")) is not equal
    assert {"row 0", "row 1", "row 2"} <= set(texts(data, "pool"))


def test_the_pool_is_cleaned_of_what_is_selected_on_too_and_every_copy_counts() -> None:
    rows = {"test": numbered(2, "t"), "dev": [{"text": "Same!", "label": 0}], "train": [*numbered(3), *numbered(0)]}
    rows["train"] += [{"text": "same", "label": label} for label in (0, 1, 0)]
    data = load(slices(pool="train", select="dev", report="test"), rows, "pool")
    assert (data.duplicates, texts(data, "pool")) == (3, ["row 0", "row 1", "row 2"])


def test_rows_that_differ_in_one_field_only_are_no_duplicates() -> None:
    task = make_task(splits={"pool": "train", "report": "test"}, fields={"text": "text", "other": "other"})
    rows = {"test": [{"text": "a", "other": "b", "label": 0}], "train": [{"text": "a", "other": "c", "label": 0}]}
    assert load(task, rows, "pool").duplicates == 0


# Item ids and data hashes


def ids_by_text(rows: Rows) -> dict[object, str]:
    return {example.fields["text"]: example.item_id for example in load(make_task(), {"test": rows}).role("report")}


def test_item_ids_do_not_depend_on_the_order_of_rows_or_columns() -> None:
    rows = numbered(20)
    mixed = [dict(reversed(row.items())) for row in random.Random(1).sample(rows, 20)]
    assert ids_by_text(rows) == ids_by_text(mixed)


def test_equal_rows_are_numbered() -> None:
    row = {"text": "same", "label": 0}
    once, twice = (
        [example.item_id for example in load(make_task(), {"test": [row] * count}).role("report")] for count in (2, 3)
    )
    assert len(set(twice)) == 3
    assert twice[:2] == once


def test_a_repeat_is_numbered_in_its_split_before_any_slicing() -> None:
    rows = [{"text": "same", "label": 0}] * 10
    data = load(slices(pool="all[:5]", report="all[5:]"), {"all": rows}, "report")
    whole = load(slices(report="all"), {"all": rows})
    assert {e.item_id for e in data.role("report")} < {e.item_id for e in whole.role("report")}


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[3].update(text="another"),
        lambda rows: rows[3].update(label=1 - rows[3]["label"]),
        lambda rows: rows[3].update(unused=1),
        lambda rows: rows.append({"text": "more", "label": 0}),
        lambda rows: rows.append(dict(rows[0])),
        lambda rows: rows.pop(),
    ],
)
def test_the_data_hash_changes_with_any_change_of_a_row(change: Callable[[list[dict[str, Any]]], object]) -> None:
    changed = numbered(8)
    change(changed)
    before, after = (load(make_task(), {"test": rows}).hashes["report"] for rows in (numbered(8), changed))
    assert before != after


def test_the_data_hash_does_not_depend_on_the_order_of_rows() -> None:
    hashes = {load(make_task(), {"test": rows}).hashes["report"] for rows in (numbered(8), numbered(8)[::-1])}
    assert len(hashes) == 1


# --limit


@given(count=st.integers(0, 40), small=st.integers(0, 45), more=st.integers(0, 10), seed=st.integers(0, 5))
def test_a_limit_is_nested_and_independent_of_the_order_of_rows(count: int, small: int, more: int, seed: int) -> None:
    examples = list(load(make_task(splits={"report": "test", "pool": "train"}), _both(count), "pool").role("pool"))
    shuffled = random.Random(seed).sample(examples, len(examples))
    few, many = ({e.item_id for e in limited(examples, limit, 3)} for limit in (small, small + more))
    assert few <= many
    assert len(few) == min(small, count)
    assert few == {e.item_id for e in limited(shuffled, small, 3)}


def _both(count: int) -> dict[str, Rows]:
    return {"test": [{"text": "reported", "label": 0}], "train": numbered(count)}


def test_no_limit_keeps_all_in_order() -> None:
    examples = load(make_task(), {"test": numbered(5)}).role("report")
    assert limited(examples, None, 0) == list(examples)
    assert limited(examples, 3, 0) == [e for e in examples if e in limited(examples, 3, 0)]


def test_limits_of_different_seeds_are_different_samples() -> None:
    examples = load(make_task(), {"test": numbered(30)}).role("report")
    assert limited(examples, 10, 0) == limited(examples, 10, 0)
    assert limited(examples, 10, 0) != limited(examples, 10, 1)
