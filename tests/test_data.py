"""Rows, from files and from the hub, and the examples in their roles that come of them."""

from __future__ import annotations

import csv
import io
import json
import random
import time
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import hub
from harness.data import FolderSource, TaskData, limited, load_data
from harness.errors import DataError, UsageError
from harness.hub_data import HubSource
from harness.records import Role
from harness.row_files import Row, find_split, read_rows
from harness.runner import row_source
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


def make_task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "t",
        "family": "f",
        "source": {"hub": "someone/t", "folder": "t"},
        "splits": {"report": "test"},
        "fields": {"text": "text"},
        "target": "label",
        "labels": ["low", "high"],
    }
    values |= changes
    task = Task.model_validate({key: value for key, value in values.items() if value is not None})
    task._path = Path("tasks/t.yaml")
    return task


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


def test_a_label_name_that_looks_like_an_id_is_a_name() -> None:
    data = load(make_task(labels=["1", "0"]), {"test": [{"text": "x", "label": "1"}]})
    assert data.role("report")[0].gold == 0


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
    with pytest.raises(DataError, match="must be an id from 0 to 1, not 2"):
        load(make_task(labels=None, options="{{ o }}"), {"test": [{"text": "q", "o": ["a", "b"], "label": 2}]})


def test_a_missing_column_gets_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"row 1: has no column 'text', which .* names in fields.text; did you mean"):
        load(make_task(), {"test": [{"texts": "x", "label": 0}]})


def test_an_expression_that_fails_names_row_and_key() -> None:
    rows = [{"missing": "x", "label": 0}, {"label": 0}]
    with pytest.raises(DataError, match=r"test row 2: fields.text of tasks/t.yaml: .*'missing'"):
        load(make_task(fields={"text": "{{ missing }}"}), {"test": rows})


def test_clusters_are_text() -> None:
    rows = [{"text": "x", "label": 0, "doc": 7}, {"text": "y", "label": 0, "doc": None}]
    assert [example.cluster for example in load(make_task(cluster="doc"), {"test": rows}).role("report")] == ["7", None]


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


# Files

ROWS = [
    {"text": "plain words", "label": "1"},
    {"text": 'a "quoted", word', "label": "0"},
    {"text": "two\nlines", "label": "1"},
    {"text": "  kept spaces ", "label": "0"},
    {"text": "汉字，标点", "label": "1"},
]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_delimited(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS = {".jsonl": write_jsonl, ".csv": write_delimited, ".tsv": write_delimited, ".parquet": write_parquet}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the task in a data folder."""
    made = tmp_path / "data/t"
    made.mkdir(parents=True)
    return made


def read(folder: Path, split: str = "test") -> list[dict[str, Any]]:
    return [row.values for row in read_rows(find_split(folder, split))]


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_rows(folder: Path, suffix: str) -> None:
    WRITERS[suffix](folder / f"test{suffix}", ROWS)
    assert read(folder) == ROWS


def test_item_ids_do_not_depend_on_the_format(tmp_path: Path) -> None:
    found = set()
    for suffix, write in WRITERS.items():
        made = tmp_path / suffix[1:] / "t"
        made.mkdir(parents=True)
        write(made / f"test{suffix}", ROWS)
        data = load_data(make_task(), FolderSource(made.parent, make_task()), ["report"])
        found.add((tuple(e.item_id for e in data.role("report")), data.hashes["report"]))
    assert len(found) == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_a_byte_order_mark_and_blank_lines_are_skipped(folder: Path, suffix: str) -> None:
    path = folder / f"test{suffix}"
    WRITERS[suffix](path, ROWS[:2])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\xef\xbb\xbf" + b"".join([lines[0], b"\n", *lines[1:], b"\n\n"]))
    assert read(folder) == ROWS[:2]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_windows_line_ends(folder: Path, suffix: str) -> None:
    path = folder / f"test{suffix}"
    WRITERS[suffix](path, ROWS[:2])
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert read(folder) == ROWS[:2]


def test_a_line_separator_within_a_text_ends_no_line(folder: Path) -> None:
    rows = [{"text": "a\u2028b\x85c", "label": 0}]
    write_jsonl(folder / "test.jsonl", rows)
    assert read(folder) == rows


def test_a_jsonl_row_knows_its_line(folder: Path) -> None:
    (folder / "test.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert [row.place.rsplit(":", 1)[1] for row in read_rows([folder / "test.jsonl"])] == ["2", "4"]


def test_nested_values_come_through_parquet(folder: Path) -> None:
    rows = [{"choices": {"text": ["a", "b"], "label": ["A", "B"]}, "key": "A"}]
    write_parquet(folder / "test.parquet", rows)
    assert read(folder) == rows


def test_the_parts_of_a_split_are_read_in_order(folder: Path) -> None:
    for number in (2, 0, 1):
        write_parquet(folder / f"test-0000{number}-of-00003.parquet", ROWS[number : number + 1])
    assert read(folder) == ROWS[:3]


def test_a_part_may_carry_a_hash_as_on_the_hub(folder: Path) -> None:
    write_parquet(folder / "test-00000-of-00001-a3ecb4a2f1.parquet", ROWS)
    write_parquet(folder / "test-hard-00000-of-00001.parquet", ROWS[:1])
    assert read(folder) == ROWS
    assert read(folder, "test-hard") == ROWS[:1]


def test_a_split_with_a_part_missing_is_refused(folder: Path) -> None:
    for number in (0, 2):
        write_parquet(folder / f"test-0000{number}-of-00003.parquet", ROWS)
    with pytest.raises(DataError, match=r"lacks part 1 \(counted from 0\) of 3 of the split 'test'"):
        read(folder)


@pytest.mark.parametrize(
    "names",
    [
        ("test.jsonl", "test.csv"),
        ("test.jsonl", "test-00000-of-00001.parquet"),
        ("test-00000-of-00001.parquet", "test-00000-of-00002.parquet"),
        ("test-00000-of-00001.parquet", "test-00000-of-00001.jsonl"),
    ],
)
def test_several_files_for_one_split_are_refused(folder: Path, names: tuple[str, str]) -> None:
    for name in names:
        WRITERS[Path(name).suffix](folder / name, ROWS)
    with pytest.raises(DataError, match="holds several files for the split 'test'") as caught:
        read(folder)
    assert all(name in str(caught.value) for name in names)


def test_a_missing_split_gets_a_suggestion(folder: Path) -> None:
    write_jsonl(folder / "validation.jsonl", ROWS)
    write_parquet(folder / "train-00000-of-00001.parquet", ROWS)
    (folder / "notes.txt").touch()
    with pytest.raises(DataError, match=r"did you mean 'validation'\? \(splits there: train, validation\)"):
        read(folder, "validate")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.jsonl", b'{"a": 1}\n{"a": \n', r"test\.jsonl:2: not valid JSON"),
        ("test.jsonl", b'{"a": 1}\n[1, 2]\n', r"test\.jsonl:2: must be a JSON object"),
        ("test.jsonl", b"[" * 100_000, r"test\.jsonl:1: not valid JSON"),
        ("test.jsonl", b"", r"test\.jsonl: holds no row"),
        ("test.jsonl", "好".encode("gb18030"), r"test\.jsonl: cannot be read"),
        ("test.csv", b"a,b\n1,2\n1,2,3\n", r"test\.csv:3: has 3 values for 2 columns"),
        ("test.csv", b"a,b\n1\n", r"test\.csv:2: has 1 values for 2 columns"),
        ("test.csv", b'a,b\n"x\ny",2\n1,2,3\n', r"test\.csv:4: has 3 values for 2 columns"),
        ("test.csv", b"a,a\n1,2\n", r"test\.csv:1: a column name appears twice"),
        ("test.csv", b'a,b\n1,"2\n', r"test\.csv:2: not valid CSV"),
        ("test.csv", b"a,b\n", r"test\.csv: holds no row"),
        ("test.csv", b"", r"test\.csv: holds no row"),
        ("test.tsv", b"a\tb\n1\n", r"test\.tsv:2: has 1 values for 2 columns"),
        ("test.parquet", b"PAR1 no more", r"test\.parquet: not valid Parquet"),
        ("test.parquet", b"", r"test\.parquet: not valid Parquet"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(folder)


# Which source


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: True)


def test_the_named_folder_comes_before_the_environment_and_both_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("named", "environment"):
        (tmp_path / name / "t").mkdir(parents=True)
    assert isinstance(row_source(make_task(), "auto", None), HubSource)
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "environment"))
    assert row_source(make_task(), "auto", None).location == str(tmp_path / "environment/t")
    assert row_source(make_task(), "auto", tmp_path / "named").location == str(tmp_path / "named/t")
    assert isinstance(row_source(make_task(), "hub", tmp_path / "named"), HubSource)


def test_a_folder_is_asked_for_and_none_is_named() -> None:
    with pytest.raises(UsageError, match="--data-dir or HARNESS_DATA_DIR"):
        row_source(make_task(), "folder", None)


def test_a_named_folder_that_is_missing_or_lacks_the_task_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder"):
        row_source(make_task(), "auto", tmp_path / "nowhere")
    (tmp_path / "tt").mkdir()
    with pytest.raises(DataError, match=r"has no folder 't' for the task 't'.*\(folders: tt\)"):
        row_source(make_task(), "auto", tmp_path)


def test_a_task_without_a_folder_cannot_be_read_from_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no folder"):
        row_source(make_task(source={"hub": "a/b"}), "auto", tmp_path)


def test_a_task_without_a_hub_data_set_needs_a_folder() -> None:
    with pytest.raises(DataError, match="names no hub data set"):
        row_source(make_task(source={"folder": "t"}), "auto", None)


# The hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def _switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline is a switch of the whole process; it is put back after the test."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, _switch: None) -> dict[str, Any]:
    """Stands in for the hub: one data set, and what it was asked for."""
    import datasets

    made = datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS), "train": datasets.Dataset.from_list(ROWS)})
    checksums = {f"hf://datasets/someone/t@{COMMIT}/data/test-00000-of-00001.parquet": {"num_bytes": 1}}
    made["test"].info.download_checksums = checksums
    seen: dict[str, Any] = {}

    def load_dataset(path: str, name: str | None = None, **options: Any) -> datasets.DatasetDict:
        seen.update(path=path, name=name, offline=datasets.config.HF_HUB_OFFLINE, **options)
        return made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return seen


@pytest.mark.usefixtures("online")
def test_rows_from_the_hub_with_the_revision_that_was_read(asked: dict[str, Any]) -> None:
    source = HubSource(make_task(source={"hub": "someone/t", "config": "small", "revision": "main"}))
    rows = source.rows("test")
    assert [row.values for row in rows] == ROWS
    assert rows[1].place == "someone/t/small test row 2"
    assert source.revision == COMMIT
    assert (asked["path"], asked["name"], asked["revision"]) == ("someone/t", "small", "main")
    assert asked["offline"] is False


@pytest.mark.usefixtures("online", "asked")
def test_the_revision_asked_for_stands_in_where_none_can_be_seen() -> None:
    source = HubSource(make_task(source={"hub": "someone/t", "revision": "v1"}))
    source.rows("train")
    assert source.revision == "v1"


@pytest.mark.usefixtures("online", "asked")
def test_the_revision_is_part_of_what_is_known_of_the_data() -> None:
    data = load_data(make_task(), HubSource(make_task()), ["report"])
    assert (data.origin, data.revision, len(data.role("report"))) == ("hub", COMMIT, len(ROWS))


@pytest.mark.usefixtures("online", "asked")
def test_an_unknown_split_on_the_hub_gets_a_suggestion() -> None:
    with pytest.raises(
        DataError, match=r"someone/t: has no split 'tests'; did you mean 'test'\? \(splits: test, train\)"
    ):
        HubSource(make_task()).rows("tests")


def test_offline_asks_the_local_cache_alone(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    HubSource(make_task()).rows("test")
    assert asked["offline"] is True


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    import datasets

    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        HubSource(make_task()).rows("test")
    return str(caught.value)


@pytest.mark.usefixtures("_switch")
def test_offline_without_a_cached_copy_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    message = failing(monkeypatch, ConnectionError("a long\nstory"))
    assert message == (
        "someone/t: HF_HUB_OFFLINE is set, and the data of t is not in the local cache;"
        " name a folder that holds it with --data-dir"
    )
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert "https://hub.example cannot be reached" in failing(monkeypatch, ConnectionError())


@pytest.mark.usefixtures("_switch")
def test_the_real_library_gives_up_at_once_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    begin = time.monotonic()
    with pytest.raises(DataError, match="not in the local cache"):
        HubSource(make_task(source={"hub": "nobody-at-all/no-such-data"})).rows("test")
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("online", "_switch")
def test_errors_of_the_hub_become_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.exceptions import DatasetNotFoundError

    assert failing(monkeypatch, DatasetNotFoundError("…")) == "someone/t: no such data set on the hub"
    assert failing(monkeypatch, ValueError("bad\n  parquet")) == "someone/t: cannot be read: bad parquet"


def test_the_hub_is_not_probed_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(*_: object, **__: object) -> None:
        raise AssertionError("probed")

    monkeypatch.setattr("urllib.request.urlopen", probe)
    hub.reachable.cache_clear()
    assert hub.reachable() is False


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True),
        (urllib.error.HTTPError("https://hub.example", 403, "no", Message(), None), True),  # it answered
        (urllib.error.URLError("no route"), False),
        (TimeoutError(), False),
    ],
)
def test_the_hub_is_reachable_when_anything_answers(
    error: Exception | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(*_: object, **__: object) -> io.BytesIO:
        if error is not None:
            raise error
        return io.BytesIO()

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("urllib.request.urlopen", probe)
    hub.reachable.cache_clear()
    try:
        assert hub.reachable() is expected
    finally:
        hub.reachable.cache_clear()
