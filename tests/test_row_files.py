"""Rows from files of every format: the same whatever the format, and a line about what cannot be read."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_task import make_task

from harness import row_files, text_files
from harness.data import load_data
from harness.errors import DataError
from harness.row_files import read_rows
from harness.sources import FolderSource
from harness.split_files import find_split

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


def test_a_csv_row_stands_where_it_begins(folder: Path) -> None:
    path = folder / "test.csv"
    path.write_text('text,label\n\n"two\nlines",1\n\nfine,0\n')
    assert [row.number for row in read_rows([path])] == [3, 6]
    path.write_text('text,label\nfine,0\n"two\nlines",1,2\n')
    with pytest.raises(DataError, match=r"test\.csv:3: has 3 values for 2 columns"):
        read_rows([path])


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
        ("test.jsonl", "好".encode("gb18030"), r"test\.jsonl:1: is not UTF-8: it has the byte 0xba, as GB18030"),
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
        ("test.arrow", b"ARROW1 no more", r"test\.arrow: not valid Arrow"),
        ("test.arrow", b"\xff" * 64, r"test\.arrow: not valid Arrow"),
        (
            "test.csv",
            b"text;label\nx;1\n",
            r"test\.csv:1: its columns are separated by semicolons, where",
        ),
        ("test.csv", b"text\tlabel\nx\t1\n", r"test\.csv:1: its columns are separated by tabs, where CSV has commas"),
        ("test.tsv", b"text,label\nx,1\n", r"test\.tsv:1: its columns are separated by commas, where TSV has tabs"),
        ("test.jsonl", b'{"a": 1, "a": 2}\n', r"test\.jsonl:1: not valid JSON: the key 'a' appears twice"),
        ("test.jsonl", b'{"a": "\\ud83d"}\n', r"test\.jsonl:1: holds half of a surrogate pair"),
        ("test.json", b'[{"a": 1},\n{"a" 1}]', r"test\.json:2: not valid JSON"),
        ("test.json", b'[{"a": 1}, 7]', r"test\.json: must be a list of JSON objects, and its item 2 is '7'"),
        ("test.json", b'{\n"data": [{"a": 1}],\n"n": 1}', r"test\.json: is one JSON object; its rows are in 'data'"),
        ("test.json", b'[{"a": "\\udc00"}]', r"test\.json: holds half of a surrogate pair"),
        ("test.json", b"[]", r"test\.json: holds no row"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(folder)


# The formats, packed and not


@pytest.mark.parametrize("name", ["test.json", "test.jsonl", "test.ndjson"])
def test_a_list_of_objects_is_read_whatever_the_file_is_called(folder: Path, name: str) -> None:
    (folder / name).write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    assert read(folder) == ROWS
    (row, *_) = read_rows(find_split(folder, "test"))
    assert (row.place, row.number) == (f"{folder / name} row 1", 1)


def test_an_arrow_file_is_a_file_or_a_stream(folder: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        with make(folder / "test.arrow", table.schema) as writer:
            writer.write_table(table)
        assert read(folder) == ROWS


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


def zipped(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


PACKERS = {".gz": gzipped, ".zst": zipped}


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_packed_file_gives_the_same_rows(folder: Path, suffix: str, ending: str) -> None:
    WRITERS[suffix](folder / f"test{suffix}", ROWS)
    content = (folder / f"test{suffix}").read_bytes()
    (folder / f"test{suffix}").unlink()
    (folder / f"test{suffix.upper()}{ending}").write_bytes(PACKERS[ending](content))
    assert read(folder) == ROWS


def test_a_packed_file_is_told_by_its_content(folder: Path) -> None:
    write_jsonl(folder / "test.jsonl", ROWS)
    packed = gzipped((folder / "test.jsonl").read_bytes())
    (folder / "test.jsonl").rename(folder / "test.jsonl.gz")  # as a browser may have unpacked it
    assert read(folder) == ROWS
    (folder / "test.jsonl.gz").write_bytes(packed[:-12])
    with pytest.raises(DataError, match=r"test\.jsonl\.gz: cannot be read: Compressed file ended"):
        read(folder)


def test_what_is_unpacked_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MAX_BYTES", 1_000_000)
    (folder / "test.jsonl.gz").write_bytes(gzipped(b" " * 2_000_000))
    with pytest.raises(DataError, match=r"test\.jsonl\.gz: is larger than 1,000,000 bytes"):
        read(folder)
    monkeypatch.setattr(text_files, "MAX_LINES", 1000)
    (folder / "test.jsonl.gz").write_bytes(gzipped(b"\n" * 2000))
    with pytest.raises(DataError, match=r"test\.jsonl\.gz: has more than 1,000 lines"):
        read(folder)
    (folder / "test.jsonl.gz").unlink()
    monkeypatch.setattr(text_files, "MAX_LINE", 1000)
    (folder / "test.csv").write_text("text\n" + "x" * 2000)
    with pytest.raises(DataError, match=r"test\.csv:2: has a line of more than 1,000 characters"):
        read(folder)


def test_a_parquet_file_that_claims_more_than_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "MAX_ROWS", 3)
    write_parquet(folder / "test.parquet", ROWS)
    with pytest.raises(DataError, match=r"test\.parquet: claims 4 rows of [0-9,]+ bytes, which is more than is read"):
        read(folder)


# What no file may be


def test_nothing_but_a_regular_file_is_read(folder: Path) -> None:
    path = folder / "test.jsonl"
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"test\.jsonl: cannot be read: it is a pipe, and no regular file"):
        read(folder)
    path.unlink()
    for target, told in (("/dev/zero", "a device, and no regular"), (folder, "a folder"), ("gone", "a link to a file")):
        path.symlink_to(target)
        with pytest.raises(DataError, match=told):
            read(folder)
        path.unlink()
    write_jsonl(folder / "elsewhere", ROWS)
    path.symlink_to(folder / "elsewhere")
    assert read(folder) == ROWS


# Fields that are too large or odd for Python


def test_a_field_may_be_large(folder: Path) -> None:
    rows = [{"text": "x" * 140_000 + suffix, "label": "1"} for suffix in ("a", "b")]
    for suffix, write in WRITERS.items():
        write(folder / f"test{suffix}", rows)
        assert read(folder) == rows
        (folder / f"test{suffix}").unlink()


def test_a_number_of_many_digits_is_text(folder: Path) -> None:
    (folder / "test.jsonl").write_text('{"n": ' + "7" * 5000 + ', "m": -12}')
    assert read(folder) == [{"n": "7" * 5000, "m": -12}]


def test_deep_nesting_harms_only_what_reads_it(folder: Path) -> None:
    deep = "[" * 500 + "]" * 500
    (folder / "test.jsonl").write_text(f'{{"text": "x", "label": 1, "extra": {deep}}}\n')
    task = make_task(splits={"report": "test"})
    (example,) = load_data(task, FolderSource(folder.parent, task), ["report"]).role("report")
    assert example.fields == {"text": "x"}
    task = make_task(fields={"text": "{{ row.extra | join }}"})
    with pytest.raises(DataError, match=r"fields\.text of tasks/t\.yaml: "):
        load_data(task, FolderSource(folder.parent, task), ["report"])


def odd_columns() -> dict[str, pa.Array]:
    return {
        "far": pa.array([2**50, 0], pa.timestamp("s")),
        "zone": pa.array([1, 2], pa.timestamp("us", tz="Mars/Phobos")),
        "late": pa.array([2**30, 0], pa.date32()),
        "long": pa.array([2**62, 1], pa.duration("s")),
        "image": pa.array([b"\x89PNG\xff", b"\x89PNG\xfe"]),
        "keys": pa.array([[("a", 1), ("a", 2)], []], pa.map_(pa.string(), pa.int64())),
    }


def test_columns_that_python_cannot_hold_harm_only_what_reads_them(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1], **odd_columns()}), folder / "test.parquet")
    source = FolderSource(folder.parent, make_task())
    found = load_data(make_task(), source, ["report"]).role("report")
    assert [example.fields for example in found] == [{"text": "a"}, {"text": "b"}]
    assert len({example.item_id for example in found}) == 2
    for name in ("far", "zone", "late", "long", "image"):
        told = rf"row 1: fields.text of tasks/t.yaml: the column '{name}' cannot be read: it is "
        with pytest.raises(DataError, match=told):
            load_data(make_task(fields={"text": name}), source, ["report"])
        with pytest.raises(DataError, match=r"row 1: fields\.text of tasks/t\.yaml: the value cannot be read: it is "):
            load_data(make_task(fields={"text": f"{{{{ {name} ~ '' }}}}"}), source, ["report"])


def test_values_of_arrow_are_plain(folder: Path) -> None:
    columns = {
        "bytes": pa.array(["汉字".encode(), None]),
        "money": pa.array([Decimal("1.50"), None]),
        "day": pa.array([date(2020, 2, 3), None]),
        "time": pa.array([datetime(2020, 2, 3, 4, 5), None]),
        "words": pa.array(["x", "y"]).dictionary_encode(),
        "half": pa.array([0.5, float("nan")], pa.float16()),
        "keys": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        "inner": pa.array([{"x": [b"y", None], "z": float("-inf")}, None]),
    }
    pq.write_table(pa.table(columns), folder / "test.parquet")
    first = {"bytes": "汉字", "money": "1.50", "day": "2020-02-03", "time": "2020-02-03 04:05:00", "words": "x"}
    first |= {"half": 0.5, "keys": {"a": 1}, "inner": {"x": ["y", None], "z": None}}
    assert read(folder) == [first, {**dict.fromkeys(first), "words": "y"}]


def test_a_damaged_column_harms_only_what_reads_it(folder: Path) -> None:
    numbers = list(range(5000))
    table = pa.table({"text": [f"t{n}" for n in numbers], "label": [n % 2 for n in numbers], "n": numbers})
    pq.write_table(table, folder / "test.parquet", compression="gzip", use_dictionary=False)
    content = bytearray((folder / "test.parquet").read_bytes())
    begin = pq.read_metadata(folder / "test.parquet").row_group(0).column(2).data_page_offset
    content[begin + 60 : begin + 400] = bytes(340)
    (folder / "test.parquet").write_bytes(content)
    source = FolderSource(folder.parent, make_task())
    assert len(load_data(make_task(), source, ["report"]).role("report")) == 5000
    with pytest.raises(DataError, match=r"the column 'n' cannot be read: it is damaged \("):
        load_data(make_task(fields={"text": "n"}), source, ["report"])


# Nulls


@pytest.mark.parametrize("word", ["null", "NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_null_in_json(folder: Path, word: str) -> None:
    (folder / "test.jsonl").write_text(f'{{"a": {word}, "b": [{word}], "c": 1.5}}\n')
    assert read(folder) == [{"a": None, "b": [None], "c": 1.5}]


def test_a_null_is_the_same_in_json_and_parquet_and_csv_has_none(folder: Path) -> None:
    frame = pandas.DataFrame({"text": ["a", None], "score": [float("nan"), 1.5]})
    frame.to_parquet(folder / "test.parquet")
    assert read(folder) == [{"text": "a", "score": None}, {"text": None, "score": 1.5}]
    (folder / "test.parquet").unlink()
    frame.to_csv(folder / "test.csv", index=False)
    assert read(folder) == [{"text": "a", "score": ""}, {"text": "", "score": "1.5"}]
