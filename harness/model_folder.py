"""Looks at the files of a model's folder before anything is loaded: what they are, which of them are read, and whether
one says something that would be passed over in silence, so that another model than the one asked for would be scored.

Nothing is opened but regular files of a bounded size. This module reads JSON and headers; it knows neither torch nor
transformers.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from harness.errors import ModelError

CONFIG = "config.json"
_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"

# What loaders open, by the ends of names; and in megabytes, how large a file of that name or end may be.
_READ = (".json", ".safetensors", ".bin", ".model", ".txt", ".py", ".jinja", ".tiktoken", ".bpe")
_MOST_MB = {CONFIG: 8, "tokenizer_config.json": 16, "tokenizer.json": 256, ".json": 64, ".txt": 64, ".model": 64}
_MOST_ENTRIES = 20_000
_HEADER_MB = 32
_SPARSE = 16  # how many times its size on the disk a large file may seem to have
_LFS = b"version https://git-lfs"

# Counts in a configuration, by parts of their keys, and what no model comes near: more would take hours, or all memory.
_BOUNDS = {
    "layers": 500,
    "layer": 500,  # n_layer
    "blocks": 500,
    "heads": 10_000,
    "head": 10_000,  # n_head
    "experts": 100_000,
    "attention_types": 500,  # of each kind, how many layers
    "labels": 100_000,
    "codebooks": 10_000,
    "vocab_size": 20_000_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 10_000_000,
    "n_embd": 1_000_000,
    "d_model": 1_000_000,
    "n_inner": 10_000_000,
    "n_positions": 100_000_000,
    "position_embeddings": 100_000_000,
}
_MOST_SETTINGS = 5_000  # of a model; the time that they take grows with the square
# Files that say how weights were quantised, for other programs.
_QUANTISATIONS = ("quantize_config.json", "quant_config.json", "hf_quant_config.json", "compression_config")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder whose files can be opened: its configuration, the weights that are read (and of how many numbers, at
    most), other weights in it, adapters below it, and Python code that the configuration names."""

    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    numbers: int
    unread: tuple[Path, ...]
    adapters: tuple[Path, ...]
    code: str | None

    def remarks(self, *, with_code: bool) -> Iterator[str]:
        """What of the folder is not read, in words."""
        if self.unread:
            others = ", ".join(path.name for path in self.unread[:3]) + ", ..." * (len(self.unread) > 3)
            are = "is" if len(self.unread) == 1 else "are"
            yield f"its weights are read from {self.weights[0].name}; {others} {are} not read"
        for path in self.adapters:
            yield f"the adapter in {path.parent.name} is not applied"
        if self.code and with_code and "--" in self.code:
            yield f"its code, {self.code}, is another repository's, and nothing here tells whether that changes"
        if self.code and not with_code and "model_type" in self.config:
            yield (
                f"config.json names Python code of its own ({self.code}), which is run only with --trust-remote-code;"
                f" what transformers has for {self.config['model_type']!r} is used instead"
            )


def look_at(folder: Path, *, safetensors: bool = True) -> ModelFolder:
    """Check a model's folder.

    Args:
        safetensors: whether these are preferred to pickled weights, as they are unless the user says otherwise.

    Raises:
        ModelError: it is no model's folder, or holds what cannot be read, or what would be passed over in silence.
    """
    check_files(folder)
    _refuse_adapters(folder)
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: not a model folder: it has no config.json")
    config = read_json(folder / CONFIG)
    _check_config(folder, config)
    weights, index = _weights(folder, config, safetensors=safetensors)
    # A number of a pickled file takes one byte or more.
    numbers = sum(_numbers(path) if path.suffix == ".safetensors" else path.stat().st_size for path in weights)
    known = {*weights, index}
    unread = sorted(
        path
        for pattern in ("*.safetensors", "pytorch_model*.bin", "consolidated*.pth", "*.gguf")
        for path in folder.glob(pattern)
        if path not in known
    )
    adapters = tuple(sorted(folder.glob("*/adapter_config.json"))[:3])
    return ModelFolder(config, tuple(weights), numbers, tuple(unread), adapters, _own_code(config))


def check_files(folder: Path) -> None:
    """Make sure that no file of a folder, or of a folder in it, hangs or floods whoever opens it.

    Raises:
        ModelError: naming the file, and what it is.
    """
    for count, path in enumerate(_entries(folder)):
        if count >= _MOST_ENTRIES:
            raise ModelError(f"{folder}: not a model folder: it holds more than {_MOST_ENTRIES:,} files")
        wrong = _wrong(path, opened=path.parent == folder and path.name.endswith(_READ))
        if wrong:
            raise ModelError(f"{path}: {wrong}")


def _entries(folder: Path) -> Iterator[Path]:
    """What is in a folder, and in the folders in it whose names are no hidden ones."""
    try:
        for path in folder.iterdir():
            yield path
            if path.is_dir() and not path.name.startswith("."):
                yield from path.iterdir()
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error


def _wrong(path: Path, *, opened: bool) -> str | None:
    """Why a file cannot be opened; None where it can. One that is not ``opened`` by its name may be what it likes but a
    pipe or its like."""
    try:
        status = path.stat()
    except OSError as error:
        return f"is a link to nothing ({error.strerror})" if opened else None
    if stat.S_ISDIR(status.st_mode):
        return "is a folder, where a file is expected" if opened else None
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file (a pipe, a socket or a device), and is not opened"
    if not opened:
        return None
    if not status.st_size and path.suffix not in (".txt", ".py"):
        return "is empty"
    most = _MOST_MB.get(path.name) or _MOST_MB.get(path.suffix)
    if most and status.st_size > most << 20:
        return f"has {status.st_size / 1e6:,.0f} MB; such a file has at most {most:,}"
    taken = getattr(status, "st_blocks", status.st_size) * 512
    if status.st_size > 1 << 30 and taken * _SPARSE < status.st_size:
        return f"claims {status.st_size / 1e9:,.0f} GB, of which {taken / 1e9:,.1f} are on the disk"
    if status.st_size < 1_000:
        try:
            with path.open("rb") as stream:
                if stream.read(len(_LFS)) == _LFS:
                    return "is a pointer of Git LFS, not the file itself; 'git lfs pull' fetches that"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file that was checked.

    Raises:
        ModelError: it is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: must be a JSON object, not {type(found).__name__}")
    return found


# What would be passed over in silence


def _refuse_adapters(folder: Path) -> None:
    """transformers would leave an adapter out; with peft, it would apply it to the model that the adapter names, and
    leave this one out."""
    found = next((path for name in ("adapter_config.json", "adapter_model.*") for path in folder.glob(name)), None)
    if found is not None:
        told = f"{folder}: holds a PEFT adapter ({found.name}), which"
        if not (folder / CONFIG).exists():
            raise ModelError(f"{told} is no model by itself: merge it into its base model (merge_and_unload of peft)")
        raise ModelError(
            f"{told} would not be applied to the weights beside it; merge it into its base model (merge_and_unload of"
            " peft), or take its files out of the folder"
        )


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    path = folder / CONFIG
    if not isinstance(config.get("model_type"), str) and not config.get("auto_map"):
        raise ModelError(
            f"{path}: names no model_type, so that what the model is would be guessed from its folder's name"
        )
    try:
        sizes = list(_sizes(config))
    except RecursionError as error:
        raise ModelError(f"{path}: is nested too deeply") from error
    for key, value in sizes:
        name = key.rpartition(".")[2]
        most = next((most for part, most in _BOUNDS.items() if name == part or name.endswith(f"_{part}")), None)
        if most is not None and not abs(value) <= most:
            raise ModelError(f"{path}: {key} is {value:,}, and no model has more than {most:,}")
    for part in (config, *(value for value in config.values() if isinstance(value, dict) and "model_type" in value)):
        if len(part) > _MOST_SETTINGS:
            raise ModelError(f"{path}: has {len(part):,} settings; at most {_MOST_SETTINGS:,} are read")
    stated = config.get("quantization_config")
    for name in _QUANTISATIONS:
        if not stated and (name in config or (folder / name).is_file()):
            raise ModelError(
                f"{folder}: {name} says that its weights are quantised, and config.json has no quantization_config,"
                " so that they would be read as if they were not"
            )


def _sizes(value: Any, key: str = "") -> Iterator[tuple[str, int | float]]:
    """All numbers of a configuration with their keys, and of a list, how long it is."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _sizes(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        if "layer" in key.rpartition(".")[2]:  # one entry a layer
            yield f"{key}.layers", len(value)
        for inner in value:
            yield from _sizes(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def _own_code(config: Mapping[str, Any]) -> str | None:
    """The Python code that a configuration names for the model."""
    mapped = config.get("auto_map")
    if not isinstance(mapped, dict):
        return None
    names = [str(mapped[key]) for key in ("AutoModelForCausalLM", "AutoModel", "AutoConfig") if key in mapped]
    return names[0] if names else None


# Weights


def _weights(folder: Path, config: Mapping[str, Any], *, safetensors: bool) -> tuple[list[Path], Path | None]:
    """The files that transformers reads weights from, in its order of preference, and the index that names them."""
    named = config.get("transformers_weights")
    if named is not None and (not isinstance(named, str) or Path(named).name != named):
        raise ModelError(f"{folder / CONFIG}: transformers_weights {named!r} is no name of a file in the folder")
    choices = [_SAFETENSORS, _SAFETENSORS + _INDEX] if safetensors else []
    choices += [_PICKLED, _PICKLED + _INDEX]
    found = next((name for name in ([named] if named else choices) if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder}: holds no weights: none of {', '.join([named] if named else choices)}")
    path = folder / found
    if not found.endswith(_INDEX):
        return [path], None
    stated = read_json(path)
    shards = stated.get("weight_map")
    if not isinstance(stated.get("metadata"), dict):
        raise ModelError(f"{path}: has no metadata, which transformers needs")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"{path}: has no weight_map, which names the file of each weight")
    names = list(dict.fromkeys(str(name) for name in shards.values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ModelError(f"{path}: names {outside[0]!r}, which is no file of this folder")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ModelError(f"{path}: names {len(absent)} of {len(names)} files that are not there, such as {absent[0]}")
    return [folder / name for name in names], path


def _numbers(path: Path) -> int:
    """How many numbers a file of safetensors holds: a look at its header, and whether that can be true."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, _HEADER_MB << 20):
            raise ModelError(f"{path}: is no file of safetensors: its header would have {length:,} bytes")
        try:
            header = json.loads(stream.read(length))
            entries = [entry for name, entry in header.items() if name != "__metadata__"]
            ends = [int(entry["data_offsets"][1]) for entry in entries]
            numbers = sum(prod(map(int, entry["shape"])) for entry in entries)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError) as error:
            raise ModelError(f"{path}: its header cannot be read, so it is no file of safetensors") from error
    told, held = max(ends, default=0), size - 8 - length
    if told != held:
        raise ModelError(f"{path}: is cut off or damaged: its header tells of {told:,} bytes, and {held:,} are there")
    return numbers
