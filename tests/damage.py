"""Ways to damage stored files (mutations of a JSON document, key path by key path, flipped bytes, other kinds of
files), and how tests look at what is left."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from commands import Outcome

from harness.errors import DamagedFileError
from harness.run_store import stored_runs

MOOD = ("--tasks", "mood", "--data-dir", "data")
ORDERS = ("--prompts", "plain", "--shots", "3", "--split", "select", "--demo-order", "permuted:3")
CHOSEN = ("--prompts", "plain", "--shots", "3", "--limit", "1", "--demo-order", "entropy")
# What stands in a value's place. NaN is what Python writes for it.
STAND_INS: dict[str, Any] = {
    "null": None,
    "text": "x",
    "number": 7,
    "true": True,
    "list": [],
    "object": {},
    "huge": 10**30,
    "float": 1e308,
    "negative": -1,
    "nan": float("nan"),
    "nested": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]],
    "long": "y" * 200_000,
    "controls": "a\x1b[2Jb\nc|d\ud800",
}
DELETED = "deleted"


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key path of a document, that of the document itself first."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from paths(inner, (*path, key))


def mutations(document: Any, *, most: int | None = None, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Mutated documents with what was done to them; at most so many, drawn evenly."""
    chosen = [(path, kind) for path in paths(document) for kind in (DELETED, *STAND_INS) if path or kind != DELETED]
    if most is not None and most < len(chosen):
        chosen = random.Random(seed).sample(chosen, most)
    for path, kind in chosen:
        yield f"{'.'.join(map(str, path)) or 'all'} {kind}", _mutated(document, path, kind)


def _mutated(document: Any, path: tuple[Any, ...], kind: str) -> Any:
    if not path:
        return STAND_INS[kind]
    changed = copy.deepcopy(document)
    owner = changed
    for key in path[:-1]:
        owner = owner[key]
    if kind == DELETED:
        del owner[path[-1]]
    else:
        owner[path[-1]] = STAND_INS[kind]
    return changed


def flipped(
    path: Path, *, most: int | None = None, places: Sequence[int] | None = None, seed: int = 0
) -> Iterator[tuple[int, int]]:
    """Change one byte of a file at a time, and put the whole back at the end; gives where, and with what it differs.

    Args:
        most: how many bytes, drawn evenly from ``places``; by default all of them.
    """
    whole = path.read_bytes()
    generator = random.Random(seed)
    places = range(len(whole)) if places is None else places
    if most is not None and most < len(places):
        places = generator.sample(places, most)
    try:
        for place in places:
            bits = generator.choice([1, 0x10, 0x20, 0x80, generator.randrange(1, 256)])
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
            yield place, bits
    finally:
        path.write_bytes(whole)


def fuzz_bytes(path: Path, read: Callable[[], Any], most: int | None, places: range | None = None) -> None:
    """Flip bytes of a file: what is read is as before, or it is told that it is not."""
    before, refused, tried = read(), 0, 0
    for place, bits in flipped(path, most=most, places=places):
        tried += 1
        try:
            found = read()
        except DamagedFileError:
            refused += 1
        else:
            assert found == before, (path, place, bits)
    assert read() == before
    assert refused > 0.9 * tried


# Other kinds of files


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to(target: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return damage


def folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**36)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_text("PAR1 {} PK"),
    "pipe": fifo,
    "endless": link_to("/dev/zero"),
    "loop": link_to("loop"),
    "folder": folder_there,
    "without end": sparse,
}


# What is left


def folders(results: Path) -> list[Path]:
    """Of runs, oldest first: no shots, two shots, permuted orders, baselines."""
    return [run.path for run in stored_runs(results)]


def write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def without_digest(path: Path) -> Any:
    """A document as an earlier version, or a hand, would have it."""
    document = json.loads(path.read_text())
    for key in ("digest", "files"):
        document.pop(key, None)
    return document


def rows(done: Outcome) -> list[dict[str, Any]]:
    return json.loads(done.out)["rows"]  # type: ignore[no-any-return]


def own(found: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """Rows with these values, without what compares them with others."""
    kept = [row for row in found if all(row[key] == value for key, value in wanted.items())]
    return [{key: value for key, value in row.items() if key != "best_baseline"} for row in kept]


def in_order(done: Outcome) -> None:
    assert done.status in (0, 1, 2)
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
