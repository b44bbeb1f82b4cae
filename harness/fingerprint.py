"""Identifies a model by the content of its files, without loading it and without reading a weight file twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from harness.errors import HarnessError, ModelError
from harness.files import write_atomically
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
    memo = _Memo()
    contents = {path.name: memo.sha256(path) for path in files}
    memo.save()
    return digest([contents, dict(settings)])


def file_digest(path: Path) -> str:
    """The sha256 of one file, which is read again only if it has changed."""
    memo = _Memo()
    found = memo.sha256(path)
    memo.save()
    return found


class _Memo:
    """Hashes of large files, remembered by path, inode, size and times, so that a changed file is read again."""

    def __init__(self) -> None:
        self.path = Path(platformdirs.user_cache_dir("harness")) / "file-hashes.json"
        self.changed = False
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            self.known: dict[str, str] = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self.known = {}

    def sha256(self, path: Path) -> str:
        # The hub cache keeps large files as links to blobs named by their sha256.
        target = path.resolve()
        if path.is_symlink() and _SHA256.fullmatch(target.name):
            return target.name
        status = target.stat()
        key = f"{target}|{status.st_ino}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}"
        if key not in self.known:
            with target.open("rb") as stream:
                self.known[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            self.changed = True
        return self.known[key]

    def save(self) -> None:
        if not self.changed:
            return
        text = json.dumps(self.known)
        # A home that cannot be written only costs hashing again.
        with contextlib.suppress(HarnessError):
            write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
