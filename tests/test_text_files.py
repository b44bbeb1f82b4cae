"""Text that a user wrote: UTF-8, or a line that says what it is instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError, FileError
from harness.text_files import UserFile

TEXT = 'text,label\n"a café, say",1\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (TEXT.encode("utf-16"), ": is UTF-16 text, not UTF-8: save it as UTF-8"),
        (TEXT.encode("utf-16-le"), ": is UTF-16 text, not UTF-8"),
        (TEXT.encode("utf-16-be"), ": is UTF-16 text, not UTF-8"),
        (TEXT.encode("utf-32"), ": is UTF-32 text, not UTF-8"),
        (TEXT.encode("latin-1"), ":2: is not UTF-8: it has the byte 0xe9, as Latin-1 or Windows-1252 has"),
        ("标题\n".encode("gb18030"), ":1: is not UTF-8: it has the byte 0xb1, as GB18030, Shift JIS or"),
        (b"PK\x03\x04rest", ": is a zip archive, or a file of a spreadsheet: save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", ": is a file of an old spreadsheet"),
        (b"PAR1rest", ": is a Parquet file: let its name end in .parquet"),
        (b"BZh91AY", ": is packed by bzip2: unpack it"),
        (b"\xfd7zXZ\x00", ": is packed by xz: unpack it"),
        (b"SQLite format 3\x00", ": is a database of SQLite"),
        (b"%PDF-1.7", ": is a PDF file"),
        (b"ab\x00cdefghi", ": is no text: it holds bytes of zero"),
        (b"\x1f\x8b\x00", ": cannot be read: "),
        (b"\x28\xb5\x2f\xfd\x00\x00\x00", ": cannot be read: "),
    ],
)
def test_what_is_no_utf8_text_is_said_to_be_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "test.csv"
    path.write_bytes(content)
    for file in (UserFile(path), UserFile(path, content)):
        with pytest.raises(FileError) as caught:
            file.text()
        assert str(caught.value).startswith(f"{path}{told}")


def test_a_byte_order_mark_of_utf8_is_no_part_of_the_text() -> None:
    assert UserFile("x", b"\xef\xbb\xbf" + TEXT.encode()).text() == TEXT


def test_the_line_of_a_byte_is_counted_beyond_what_is_read_at_once() -> None:
    file = UserFile("x", b"fine\n" * 1_000_000 + b"caf\xe9\n")
    with pytest.raises(FileError, match=r"x:1000001: is not UTF-8"):
        file.text()


def test_errors_are_of_the_kind_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: cannot be read: No such file or directory"):
        UserFile(tmp_path / "gone", error=DataError).text()
    with pytest.raises(FileError, match="cannot be read: embedded null"):
        UserFile("a\0b").text()


def test_a_text_is_bounded() -> None:
    assert UserFile("x", b"ab\ncd").text(5) == "ab\ncd"
    with pytest.raises(FileError, match="x: is larger than 4 characters"):
        UserFile("x", b"ab\ncd").text(4)
