"""Identifies a model by the content of its files, without loading it and without reading a weight file twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from harness.errors import ModelError
from harness.memo import Memo
from harness.records import digest

_SHA256 = re.compile(r"[0-9a-f]{64}")


def model_fingerprint(folder: Path, settings: Mapping[str, object], *, with_code: bool) -> str:
    """A hash of the configuration, the weights and the settings that change what the model computes.

    Args:
        settings: loading options such as ``--model-arg``; they enter the hash.
        with_code: whether the folder's own Python code runs, so that it enters too.

    Raises:
        ModelError: the folder holds no configuration or no weights.
    """
    if not (folder / "config.json").is_file():
        hint = (
            "it is a PEFT adapter, not a model"
            if (folder / "adapter_config.json").is_file()
            else "it has no config.json"
        )
        raise ModelError(f"{folder}: not a model folder: {hint}")
    # Both kinds where there are both: which of them is loaded depends on their names and on transformers.
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
    if not weights:
        raise ModelError(f"{folder}: holds no weights: no .safetensors and no pytorch_model*.bin file")
    # transformers applies an adapter that lies beside the model by itself.
    adapter = folder.glob("adapter_config.json")
    files = [folder / "config.json", *adapter, *sorted(folder.glob("*.index.json")), *weights]
    if with_code:
        files += sorted(folder.glob("*.py"))
    memo = Memo("file-hashes")
    contents = {path.name: _hash(path, memo) for path in files}
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
