"""Rows from JSON Lines, CSV, TSV and Parquet files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_task import make_task

from harness.data import load_data
from harness.errors import DataError
from harness.row_files import find_split, read_rows
from harness.sources import FolderSource

Rows = Sequence[Mapping[str, Any]]

ROWS = [
    {"text": "plain words", "label": "1"},
    {"text": 'a "quoted", word', "label": "0"},
    {"text": "  kept spaces ", "label": "0"},
    {"text": "汉字，标点", "label": "1"},
]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_tsv(path: Path, rows: Rows) -> None:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS = {".jsonl": write_jsonl, ".csv": write_csv, ".tsv": write_tsv, ".parquet": write_parquet}


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


def test_a_quoted_csv_value_may_hold_line_ends(folder: Path) -> None:
    rows = [{"text": "two\nlines", "label": "1"}]
    write_csv(folder / "test.csv", rows)
    assert read(folder) == rows


def test_a_quote_in_a_tsv_is_a_character_like_any_other(folder: Path) -> None:
    (folder / "test.tsv").write_text('text\tlabel\n"open\t1\nfine\t0\n', encoding="utf-8")
    assert read(folder) == [{"text": '"open', "label": "1"}, {"text": "fine", "label": "0"}]


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
