"""Finds the files of a split in a task's data folder, and says what the folder holds instead where there are none.

test.jsonl, test.csv.gz, ...             one file; the ending tells the format, see ``row_files``
test-00000-of-00002.parquet, ...         its parts
dataset_dict.json, test/state.json ...   what ``save_to_disk`` of ``datasets`` writes
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataError, suggest
from harness.row_files import FORMATS, format_of, stem_and_suffix
from harness.text_files import UserFile

_PART = re.compile(r"(?P<split>.+)-(?P<number>[0-9]{1,9})-of-(?P<total>[0-9]{1,9})(?:-[0-9a-f]+)?")
_STATE, _DICT = "state.json", "dataset_dict.json"
_NOTES = (_STATE, _DICT, "dataset_info.json")
_SHOWN = 8


def find_split(folder: Path, split: str) -> Sequence[Path]:
    """The file of a split, or the parts of one, in their order.

    Raises:
        DataError: there is none, several files claim to be the split, or a part of it is missing.
    """
    entries = sorted(folder.iterdir())
    if (folder / _STATE).exists():
        return _saved(folder, split)
    files = [path for path in entries if path.name not in _NOTES and format_of(path.name) is not None]
    matches = {path: _PART.fullmatch(_stem(path)) for path in files}
    whole = [path for path in files if _stem(path) == split]
    parts = {path: match for path, match in matches.items() if match is not None and match["split"] == split}
    numbers = [int(match["number"]) for match in parts.values()]
    totals = {int(match["total"]) for match in parts.values()}
    saved = [path for path in entries if (path / _STATE).exists()]
    claims = [*whole, *parts, *(path for path in saved if path.name == split)]
    if len(claims) - len(parts) + len(totals) > 1 or len(set(numbers)) < len(numbers):
        raise DataError(
            folder, f"holds several files for the split {split!r}: {', '.join(path.name for path in claims)}"
        )
    if totals and (missing := next((n for n in range(max(totals)) if n not in set(numbers)), None)) is not None:
        raise DataError(folder, f"lacks part {missing} (counted from 0) of {max(totals)} of the split {split!r}")
    if not claims:
        stems = {match["split"] if match is not None else _stem(path) for path, match in matches.items()}
        raise DataError(
            folder,
            f"has no file {split}{{{','.join(f'.{name}' for name in FORMATS)}}}"
            + suggest(split, sorted({*stems, *(path.name for path in saved)}), what="splits there")
            + _others(split, [path for path in entries if path not in {*files, *saved}]),
        )
    if not whole and not parts:
        return _saved(claims[0], split)
    return whole or sorted(parts, key=lambda path: int(parts[path]["number"]))


def _stem(path: Path) -> str:
    return stem_and_suffix(path.name)[0]


def _saved(folder: Path, split: str) -> Sequence[Path]:
    """The files of one data set that ``save_to_disk`` wrote."""
    try:
        state = json.loads(UserFile(folder / _STATE, error=DataError).text())
        names = [str(file["filename"]) for file in state["_data_files"]]
        own = state.get("_split")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(folder / _STATE, "is not what save_to_disk of datasets writes") from error
    if own != split and folder.name != split:
        told = f"the split {own!r} alone" if own else "one data set without the name of a split"
        raise DataError(folder, f"holds {told}, as save_to_disk wrote it, and not {split!r}; name a folder {split!r}")
    if any(Path(name).name != name or format_of(name) != "arrow" for name in names):
        raise DataError(folder / _STATE, f"names files that are not in its folder: {', '.join(names)}")
    if not names:
        raise DataError(folder, "holds no row")
    return [folder / name for name in names]


def _others(split: str, entries: Sequence[Path]) -> str:
    """What else a folder holds, for the message that it has no file of the split."""
    close = next((path for path in entries if f"{path.name}.".startswith(f"{split}.")), None)
    if close is not None and close.is_dir():
        inside = sorted(path.name for path in close.iterdir())[:_SHOWN]
        return f"; {close.name} is a folder there, which holds {', '.join(inside) or 'nothing'}"
    if close is not None:
        return f"; {close.name} is of no format that is read: save it as one of these, which gzip or zstd may pack"
    names = [path.name + "/" * path.is_dir() for path in entries]
    return f"; it holds {', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)}" if names else ""
