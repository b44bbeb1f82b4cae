"""The targets of a task's rows: read in one way, and never guessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import MOOD_TASK, Project
from small_task import make_task

from harness.data import load_data
from harness.errors import DataError, FileError
from harness.records import Role
from harness.sources import FolderSource
from harness.tasks import Task, load_task

STARS = ["1", "2", "3", "4", "5"]
ROLES: dict[str, Any] = {"splits": {"pool": "train", "report": "test"}}


def rows_of(values: Sequence[object]) -> list[dict[str, object]]:
    return [{"text": f"t{number}", "label": value} for number, value in enumerate(values)]


def write(path: Path, values: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_of(values)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ["text", "label"], delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)


def golds(folder: Path, task: Task, role: Role = "report") -> list[int]:
    roles: list[Role] = ["pool", "report"] if "pool" in task.splits else ["report"]
    data = load_data(task, FolderSource(folder, task), roles)
    return [example.gold for example in data.role(role)]


SUFFIXES = [".jsonl", ".csv", ".tsv", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("labels", "values", "expected"),
    [
        (STARS, [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]),  # words alone: no label has the id 5
        (STARS, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),  # ids alone: no label is called 0
        (["0", "1"], [1, 0, 1], [1, 0, 1]),  # both readings, and no matter
        (["a", "b", "c"], [2, 0, 1], [2, 0, 1]),
        (["a", "b", "c"], ["c", "a", "b"], [2, 0, 1]),
        (["-1", "0", "1"], [-1, 0, 1], [0, 1, 2]),  # -1 is a word here, not a label that is not public
    ],
)
def test_a_column_is_read_in_the_one_way_that_its_values_allow(
    tmp_path: Path, suffix: str, labels: list[str], values: list[object], expected: list[int]
) -> None:
    write(tmp_path / f"t/test{suffix}", values)
    assert golds(tmp_path, make_task(labels=labels)) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("labels", "values"), [(STARS, [1, 2, 3, 4]), (STARS, [4, 2]), (["1", "0"], [0, 1])])
def test_what_can_be_read_in_two_ways_is_an_error_that_shows_both(
    tmp_path: Path, suffix: str, labels: list[str], values: list[int]
) -> None:
    write(tmp_path / f"t/test{suffix}", values)
    first = values[0]
    with pytest.raises(DataError) as caught:
        golds(tmp_path, make_task(labels=labels))
    message = str(caught.value)
    assert message.startswith("tasks/t.yaml: target (label): its values (" + ", ".join(map(str, values)))
    assert f"as words ({first} is the label '{first}') or as ids ({first} is the label '{labels[first]}')" in message
    assert "say which with target_reading: words or target_reading: ids" in message
    words = golds(tmp_path, make_task(labels=labels, target_reading="words"))
    ids = golds(tmp_path, make_task(labels=labels, target_reading="ids"))
    assert words == [labels.index(str(value)) for value in values]
    assert ids == values


def test_the_pool_and_the_report_are_read_in_the_same_way(tmp_path: Path) -> None:
    write(tmp_path / "t/train.csv", [0, 1, 2, 3, 4])
    write(tmp_path / "t/test.jsonl", [1, 2, 3])  # could be words on their own
    task = make_task(labels=STARS, **ROLES)
    assert golds(tmp_path, task) == [1, 2, 3]
    assert golds(tmp_path, task, "pool") == [3, 4]  # the first three have the texts of reported items
    write(tmp_path / "t/test.jsonl", [1, 2, 5])
    told = r"train\.csv:2: target \(label\): '0' is one of its ids, where .*test\.jsonl:3 has one of its words, 5"
    with pytest.raises(DataError, match=told):
        golds(tmp_path, task)


def test_names_and_ids_in_one_column_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "t/test.jsonl", ["low", "high", 1])
    told = r"test\.jsonl:3: target \(label\): 1 is one of its ids, where .*test\.jsonl:1 has one of its words, 'low'"
    with pytest.raises(DataError, match=told):
        golds(tmp_path, make_task())


@pytest.mark.parametrize(
    ("labels", "value", "hint"),
    [
        (["negative", "positive"], "Positive", "; did you mean 'positive'?"),
        (["negative", "positive"], " positive", "; did you mean 'positive'?"),
        (["no", "yes"], True, '; say which label is true, as with target: "{{ 1 if label else 0 }}"'),
        (["low", "high"], 1.0, '; as a whole number: target: "{{ label | int }}"'),
        (["low", "high"], "1.0", '; as a whole number: target: "{{ label | int }}"'),
        (["low", "high"], 2, '; ids count from 0: where they count from 1, write target: "{{ label | int - 1 }}"'),
        (["low", "high"], "2", '; ids count from 0: where they count from 1, write target: "{{ label | int - 1 }}"'),
        (["low", "high"], "01", ""),
        (["low", "high"], "１", ""),
        (["low", "high"], "1" * 5000, ""),
        (["low", "high"], None, ""),
    ],
)
def test_a_value_that_is_no_label_gets_its_hint(tmp_path: Path, labels: list[str], value: object, hint: str) -> None:
    write(tmp_path / "t/test.jsonl", [value])
    with pytest.raises(DataError) as caught:
        golds(tmp_path, make_task(labels=labels))
    shown = "null" if value is None else f"{value!r:.80}"
    told = f"test.jsonl:1: target (label): must be an id from 0 to 1 or one of {', '.join(labels)}, not {shown}"
    assert str(caught.value).endswith(told + hint)


@pytest.mark.parametrize("labels", [["false", "true"], ["False", "True"], ["true", "false"]])
def test_truth_values_are_words_where_labels_are_called_so(tmp_path: Path, labels: list[str]) -> None:
    write(tmp_path / "t/test.jsonl", [True, False])
    assert golds(tmp_path, make_task(labels=labels)) == [int("t" in labels[1].lower()), int("f" in labels[1].lower())]
    write(tmp_path / "t/test.csv", [])
    (tmp_path / "t/test.jsonl").unlink()
    write(tmp_path / "t/test.csv", [labels[1], labels[0]])
    assert golds(tmp_path, make_task(labels=labels)) == [1, 0]


def test_an_expression_gives_values_that_are_read_like_a_column(tmp_path: Path) -> None:
    write(tmp_path / "t/test.csv", [1, 2, 3])
    task = {"labels": ["a", "b", "c"], "target": "{{ label | int - 1 }}"}
    assert golds(tmp_path, make_task(**task)) == [0, 1, 2]
    task["labels"] = ["0", "1", "2", "3"]
    assert golds(tmp_path, make_task(**task)) == [0, 1, 2]
    with pytest.raises(DataError, match="can be read in two ways"):
        golds(tmp_path, make_task(labels=STARS, target="{{ label | int }}"))


# What the data says itself


def saved(folder: Path, names: list[str], values: list[int], how: str) -> None:
    made = datasets.Dataset.from_list(rows_of(values)).cast_column("label", datasets.ClassLabel(names=names))
    (folder / "t").mkdir()
    if how == "parquet":
        made.to_parquet(folder / "t/test.parquet")
    else:
        made.save_to_disk(folder / "t/test")


@pytest.mark.parametrize("how", ["parquet", "save_to_disk"])
@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (STARS, STARS, [1, 2, 3]),  # no two ways: they are ids, whose names are the labels
        (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], STARS, [1, 2, 3]),
        (["neg", "mixed", "neutral", "pos"], ["pos", "neutral", "mixed", "neg"], [2, 1, 0]),  # by name, not by place
    ],
)
def test_names_that_the_data_gives_its_ids_decide(
    tmp_path: Path, how: str, names: list[str], labels: list[str], expected: list[int]
) -> None:
    saved(tmp_path, names, [1, 2, 3], how)
    assert golds(tmp_path, make_task(labels=labels)) == expected


# Options of each item's own


def options_task(**changes: Any) -> Task:
    return make_task(labels=None, options="{{ o }}", **changes)


def golds_of_options(folder: Path, rows: list[tuple[object, list[str]]], **changes: Any) -> list[int]:
    (folder / "t").mkdir(exist_ok=True)
    lines = [{"text": f"t{n}", "label": label, "o": options} for n, (label, options) in enumerate(rows)]
    (folder / "t/test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return golds(folder, options_task(**changes))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, ["x", "y"]), (0, ["y", "z"])], [1, 0]),
        ([("1", ["x", "y"]), ("2", ["x", "y", "z"])], [1, 2]),
        ([("B", ["x", "y"]), ("c", ["x", "y", "z"])], [1, 2]),
        ([("y", ["x", "y"]), ("x", ["z", "y", "x"])], [1, 2]),
        ([("4", ["3", "4"]), ("12", ["7", "8", "12"])], [1, 2]),
        ([("x", ["y", "x", "x"]), ("z", ["z", "z"])], [1, 0]),  # equal options are one answer
        ([(0, ["3", "4"]), (1, ["1", "0"])], [0, 1]),  # no option of the first row is called 0
    ],
)
def test_the_right_option_is_a_place_a_letter_or_its_text(
    tmp_path: Path, rows: list[tuple[object, list[str]]], expected: list[int]
) -> None:
    assert golds_of_options(tmp_path, rows) == expected


def test_options_that_are_digits_or_letters_may_have_two_readings(tmp_path: Path) -> None:
    digits: list[tuple[object, list[str]]] = [(1, ["2", "1"]), (2, ["1", "3", "2"])]
    with pytest.raises(DataError, match=r"as words \(0 is the option '0'\) or as ids \(0 is the option '1'\)"):
        golds_of_options(tmp_path, [(1, ["2", "1", "0"]), (0, ["1", "0", "3"])])
    assert golds_of_options(tmp_path, digits) == [1, 2]  # two readings that agree
    letters: list[tuple[object, list[str]]] = [("A", ["B", "A"]), ("B", ["A", "B"])]
    with pytest.raises(DataError, match=r"as words \(A is the option 'A'\) or as letters \(A is the option 'B'\)"):
        golds_of_options(tmp_path, letters)
    assert golds_of_options(tmp_path, letters, target_reading="words") == [1, 1]
    assert golds_of_options(tmp_path, letters, target_reading="letters") == [0, 1]


def test_an_option_that_is_not_there_names_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="id from 0 to 1 or a letter from A to B or the text of an option, not 'C'"):
        golds_of_options(tmp_path, [("C", ["x", "y"])])
    with pytest.raises(DataError, match="must be an id from 0 to 1, not 'B'"):
        golds_of_options(tmp_path, [("B", ["x", "y"])], target_reading="ids")


# The task


def test_the_reading_is_a_key_of_the_task_and_part_of_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "mood.yaml"
    plain = MOOD_TASK.replace("{folder: mood}", "{folder: mood}\ntarget_reading: ids")
    path.write_text(MOOD_TASK)
    before = load_task(path).reading
    path.write_text(plain)
    assert (load_task(path).target_reading, load_task(path).reading == before) == ("ids", False)
    path.write_text(plain.replace("reading: ids", "reading: id"))
    with pytest.raises(FileError, match=r"target_reading: unknown value 'id'; did you mean 'ids'\?"):
        load_task(path)
    path.write_text(plain.replace("reading: ids", "reading: letters"))
    with pytest.raises(FileError, match="letters are for options; labels are read as words or ids"):
        load_task(path)


def test_a_run_stops_in_one_line(harness: Commands, project: Project) -> None:
    task = MOOD_TASK.replace("labels: [low, high]", 'labels: ["1", "2", "3", "4", "5"]')
    project.write("tasks/mood.yaml", task)
    write(project.root / "data/mood/test.jsonl", [1, 2, 3, 4])
    write(project.root / "data/mood/train.jsonl", [4, 3, 2, 1])
    mistake = harness("baseline", "--tasks", "mood", "--methods", "random", "--data-dir", "data").mistake
    assert "tasks/mood.yaml: target (label): its values (1, 2, 3, 4) can be read in two ways: as words (1 is" in mistake
