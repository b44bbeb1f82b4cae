"""Identifies a model by the content of its files, without loading it and without reading a weight file twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from harness.memo import Memo
from harness.records import digest

_SHA256 = re.compile(r"[0-9a-f]{64}")


def model_fingerprint(folder: Path, settings: Mapping[str, object], *, with_code: bool) -> str:
    """A hash of the configuration, the weights and the settings that change what the model computes.

    Args:
        folder: a model's, which was looked at (``model_folder``).
        settings: loading options such as ``--model-arg``; they enter the hash.
        with_code: whether the folder's own Python code runs, so that it enters too.
    """
    # Both kinds where there are both: which of them is loaded depends on their names and on transformers.
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    files = [folder / "config.json", *sorted(folder.glob("*.index.json")), *weights]
    if with_code:
        files += sorted(folder.rglob("*.py"))
    memo = Memo("file-hashes")
    contents = {path.relative_to(folder).as_posix(): _hash(path, memo) for path in files}
    memo.save()
    return digest([contents, dict(settings)])


def file_digest(path: Path) -> str:
    """The sha256 of one file, which is read again only if it has changed."""
    memo = Memo("file-hashes")
    found = _hash(path, memo)
    memo.save()
    return found


def _hash(path: Path, memo: Memo) -> str:
    """The sha256 of a file, remembered by path, inode, size and times, so that a changed file is read again."""
    # The hub cache keeps large files as links to blobs named by their sha256.
    target = path.resolve()
    if path.is_symlink() and _SHA256.fullmatch(target.name):
        return target.name
    status = target.stat()
    key = f"{target}|{status.st_ino}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
    known = memo.get(key)
    if known is None:
        with target.open("rb") as stream:
            known = hashlib.file_digest(stream, "sha256").hexdigest()
        memo.put(key, known)
    return known
