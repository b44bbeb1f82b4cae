"""The files of a split: whole, in parts, or as ``datasets`` saves them; and what is said where there are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pytest
from small_task import make_task

from harness.data import load_data
from harness.errors import DataError
from harness.row_files import read_rows
from harness.sources import FolderSource
from harness.split_files import find_split

ROWS = [{"text": "one", "label": 1}, {"text": "二", "label": 0}, {"text": "three", "label": 1}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data/t"
    made.mkdir(parents=True)
    return made


def read(folder: Path, split: str = "test") -> list[dict[str, object]]:
    return [row.values for row in read_rows(find_split(folder, split))]


def data_set() -> datasets.Dataset:
    return datasets.Dataset.from_list(ROWS)


def test_a_saved_dictionary_of_data_sets_is_read(folder: Path) -> None:
    shutil.rmtree(folder)
    datasets.DatasetDict({"test": data_set(), "train": data_set().select([2, 0])}).save_to_disk(folder)
    assert read(folder) == ROWS
    assert read(folder, "train") == [ROWS[2], ROWS[0]]
    with pytest.raises(DataError, match=r"did you mean 'test'\? \(splits there: test, train\)"):
        read(folder, "tests")


def test_data_sets_saved_on_their_own_are_splits_by_the_names_of_their_folders(folder: Path) -> None:
    data_set().save_to_disk(folder / "test", num_shards=2)
    assert read(folder) == ROWS


def test_a_data_set_saved_in_the_place_of_the_folder_has_one_split(folder: Path) -> None:
    shutil.rmtree(folder)
    data_set().save_to_disk(folder)
    with pytest.raises(DataError, match="holds one data set without the name of a split, as save_to_disk wrote it"):
        read(folder)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_split": "test"}))
    assert read(folder) == ROWS
    with pytest.raises(DataError, match="holds the split 'test' alone"):
        read(folder, "train")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("{", r"state\.json: is not what save_to_disk"),
        ("[]", r"state\.json: is not what save_to_disk"),
        ('{"_data_files": [7]}', r"state\.json: is not what save_to_disk"),
        ('{"_data_files": [{"filename": "../../x.arrow"}]}', r"state\.json: names files that are not in its folder"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', r"gone\.arrow: cannot be read: No such file"),
        ('{"_data_files": []}', "holds no row"),
    ],
)
def test_a_damaged_state_is_named(folder: Path, state: str, told: str) -> None:
    (folder / "test").mkdir()
    (folder / "test/state.json").write_text(state)
    with pytest.raises(DataError, match=told):
        read(folder)


def test_item_ids_are_those_of_the_same_rows_in_a_file(folder: Path) -> None:
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    in_file = load_data(make_task(), FolderSource(folder.parent, make_task()), ["report"])
    (folder / "test.jsonl").unlink()
    data_set().save_to_disk(folder / "test")
    assert load_data(make_task(), FolderSource(folder.parent, make_task()), ["report"]).hashes == in_file.hashes


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["test.xlsx"], r"has no file test\{.*\}.*; test\.xlsx is of no format that is read"),
        (["other.yml", "notes.md"], r"it holds notes\.md, other\.yml$"),
        (["data/test.jsonl"], "it holds data/$"),
        (["test/part.txt"], r"test is a folder there, which holds part\.txt"),
        (["test.csv.bz2"], r"test\.csv\.bz2 is of no format that is read: save it as one of these, which gzip or zstd"),
        (["train.csv.gz", "test.tar"], r"splits there: train\); test\.tar is of no format"),
    ],
)
def test_what_is_there_instead_is_said(folder: Path, names: list[str], told: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with pytest.raises(DataError, match=told):
        read(folder)


def test_two_files_of_one_split_are_an_error_whatever_their_endings(folder: Path) -> None:
    for first, second in (("test.csv", "test.csv.gz"), ("test.json", "test.JSONL"), ("test.csv", "test/state.json")):
        for name in (first, second):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        with pytest.raises(DataError, match="holds several files for the split 'test'"):
            read(folder)
        (folder / first).unlink()
        (folder / second).unlink()


def test_data_one_folder_too_high_is_pointed_out(folder: Path) -> None:
    folder.rmdir()
    (folder.parent / "test.jsonl").touch()
    with pytest.raises(DataError, match=r"has no folder 't' .*; it holds test\.jsonl itself: put it into a folder 't'"):
        FolderSource(folder.parent, make_task())
