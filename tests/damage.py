"""Ways to damage a stored file: mutations of a JSON document, key path by key path, and flipped bytes."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
