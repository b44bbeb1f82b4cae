"""What ``harness predict`` labels: every format of a task's data, plain lines, and nothing by mistake."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project
from small_task import make_task

from harness.data import read_unlabelled
from harness.errors import DataError
from harness.predict import read_text

TEXTS = ["a dull film", 'a "bright", warm room']
TWO = {"fields": {"text": "text", "other": "other"}}


def read(name: object, **changes: Any) -> list[tuple[object, int]]:
    return [(row.values["text"], row.number) for row in read_text(str(name), make_task(**changes))]


CONTENTS = {
    "new.txt": (f"{TEXTS[0]}\n\n{TEXTS[1]}\n", [1, 3]),
    "new.jsonl": ("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), [1, 2]),
    "new.json": (json.dumps([{"text": text} for text in TEXTS]), [1, 2]),
    "new.csv": (f'id,text\n7,{TEXTS[0]}\n8,"a ""bright"", warm room"\n', [2, 3]),
    "new.tsv": (f"text\tid\n{TEXTS[0]}\t7\n{TEXTS[1]}\t8\n", [2, 3]),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_and_standard_input_give_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, numbers = CONTENTS[name]
    expected = list(zip(TEXTS, numbers, strict=True))
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == expected
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / f"{name}.gz") == expected
    for content in (text.encode(), b"\xef\xbb\xbf" + text.encode(), gzip.compress(text.encode())):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read("-") == expected


def test_parquet_is_read_by_name_and_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": TEXTS, "id": [1, 2]}), tmp_path / "new.parquet")
    expected = list(zip(TEXTS, [1, 2], strict=True))
    assert read(tmp_path / "new.parquet") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "new.parquet").read_bytes())))
    assert read("-") == expected


def test_fields_go_by_their_own_names_or_those_of_columns(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\nfine\n")
    task = make_task(fields={"text": "body"})
    assert read_text(str(tmp_path / "new.csv"), task)[0].values["body"] == "fine"


def test_a_column_within_row_is_the_one_that_plain_lines_give(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("fine\n")
    task = make_task(fields={"text": '{{ row["The text"] | trim }}'})
    assert read_text(str(tmp_path / "new.txt"), task)[0].values == {"The text": "fine"}


@pytest.mark.parametrize(
    ("name", "content", "changes", "told"),
    [
        ("new.md", b"fine\n", {}, r"new\.md: is of no format that is read: jsonl, .*, or txt for plain lines"),
        ("new", b"fine\n", {}, "new: is of no format"),
        ("new.txt", b"", {}, r"new\.txt: holds no row"),
        ("new.txt", b"\n \n", {}, r"new\.txt: holds no row"),
        ("new.txt", b"fine\n", TWO, r"new\.txt: t reads the columns text, other, so plain lines will not do"),
        ("new.txt", b"caf\xe9\n", {}, r"new\.txt:1: is not UTF-8: .* Latin-1"),
        ("new.txt", "fine\n".encode("utf-16"), {}, r"new\.txt: is UTF-16 text"),
        ("new.txt", b"PK\x03\x04", {}, "a zip archive"),
        ("new.jsonl", b'{"text": "\\ud83d"}\n', {}, r"new\.jsonl:1: holds half of a surrogate pair"),
        ("new.txt", b'["x", "y"]\n', {}, r"new\.txt: must be a list of JSON objects, and its item 1 is 'x'"),
        ("new.jsonl", b'{"text": "x"}\n7\n', {}, r"new\.jsonl:2: must be a JSON object"),
        ("new.csv", b"text;other\nx;y\n", {}, r"new\.csv:1: its columns are separated by semicolons"),
        ("new.json", b'[{"text": "x"}, 1]', {}, "its item 2 is '1'"),
        ("new.parquet", b"PAR1", {}, r"new\.parquet: not valid Parquet"),
        ("folder.csv/x", b"", {}, r"folder\.csv: cannot be read: it is a folder"),
    ],
)
def test_what_cannot_be_labelled_is_refused(
    tmp_path: Path, name: str, content: bytes, changes: dict[str, Any], told: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        read(tmp_path / Path(name).parts[0], **changes)


def test_a_header_in_other_letters_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("Text,Label\nx,0\n")
    rows = read_text(str(tmp_path / "new.txt"), make_task())
    with pytest.raises(DataError, match=r"txt:2: has no column 'text'.*'Text'\? \(columns: Text, Label\)$"):
        read_unlabelled(make_task(), rows)


def test_plain_lines_may_begin_as_json_does(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("{oops} that\n[sic] this\n")
    assert read(tmp_path / "new.txt") == [("{oops} that", 1), ("[sic] this", 2)]


def test_texts_given_from_python_are_plain_values() -> None:
    given = [{"text": "fine", "score": float("nan"), "n": np.int64(3), "parts": np.array(["a", "b"])}, "so-so"]
    rows = [row.values for row in read_text(given, make_task())]
    assert rows == [{"text": "fine", "score": None, "n": 3, "parts": ["a", "b"]}, {"text": "so-so"}]
    for half in ("\ud83d", {"text": "\ud83d"}):
        with pytest.raises(DataError, match=r":2: holds half of a surrogate pair"):
            read_text(["fine", half], make_task())


def test_no_header_is_labelled(harness: Commands, project: Project) -> None:
    harness.ok("baseline", "--tasks", "mood", "--methods", "majority", "--sizes", "8", "--data-dir", "data")
    run = "latest:method=majority,seed=0"
    new = project.write("new.csv", "text,label\nfine,1\nso-so,0\n")
    found = [json.loads(line) for line in harness.ok("predict", "--run", run, new).out.splitlines()]
    assert [one["line"] for one in found] == [2, 3]
    new = project.write("new.csv", "so fine\nso dull\n")
    assert "new.csv:2: has no column 'text', which" in harness("predict", "--run", run, new).mistake
