"""Trained baselines that are read back: what is not as a model wrote it is named, and trained again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Commands
from damage import (
    DAMAGES,
    MOOD,
    flipped,
    folders,
    fuzz_bytes,
    mutations,
    rows,
    without_digest,
    write,
)

from harness.baselines.base import Surroundings
from harness.baselines.registry import METHODS
from harness.baselines.trained import find_trained
from harness.errors import DamagedFileError

# Trained baselines


def trained_reader(folder: Path, results: Path) -> Callable[[], Any]:
    """What a trained baseline says of three texts; the encoder is a stand-in."""

    def embed(texts: Any) -> Any:
        return np.stack([np.random.default_rng(len(text)).normal(size=32).astype(np.float32) for text in texts])

    def read() -> Any:
        found = find_trained(results, folder.name)
        if found is None:
            raise DamagedFileError(folder / "cell.json", "is missing")
        model = METHODS[found.signature.method].make(Surroundings(embed))
        found.load(model)
        items = json.loads((folder / "items").read_text())
        scores = found.scores_of(items)
        assert scores is not None
        return found, scores.tolist(), model.scores(["a fine meal", "a dull film stayed", ""]).tolist()

    known = find_trained(results, folder.name)
    assert known is not None
    with np.load(folder / "scores.npz") as parts:
        (folder / "items").write_bytes(parts["item_ids"].tobytes())
    return read


@pytest.fixture
def trained(results: Path) -> dict[str, Path]:
    """A trained cell of each method."""
    found = {}
    for path in sorted(results.glob("baselines/*/cell.json")):
        found[json.loads(path.read_text())["signature"]["method"]] = path.parent
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["cell.json", "model.npz", "scores.npz"])
def test_a_flipped_byte_in_a_trained_baseline_is_noticed(
    results: Path, trained: dict[str, Path], method: str, name: str
) -> None:
    folder = trained[method]
    fuzz_bytes(folder / name, trained_reader(folder, results), 40)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["model.npz", "scores.npz"])
def test_a_flipped_byte_in_arrays_of_before_is_noticed_by_their_own_checksum(
    results: Path, trained: dict[str, Path], method: str, name: str
) -> None:
    folder = trained[method]
    write(folder / "cell.json", without_digest(folder / "cell.json"))
    read = trained_reader(folder, results)
    before = read()
    for place, bits in flipped(folder / name, most=40):
        with contextlib.suppress(DamagedFileError):
            assert read() == before, (place, bits)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_mutated_record_of_a_trained_baseline_is_a_traceback(
    results: Path, trained: dict[str, Path], method: str
) -> None:
    folder = trained[method]
    read = trained_reader(folder, results)
    before = read()
    for what, mutated in mutations(without_digest(folder / "cell.json")):
        write(folder / "cell.json", mutated)
        try:
            found = read()
        except DamagedFileError:
            continue
        assert found[1:] == before[1:], what


ARRAYS: dict[str, Callable[[dict[str, Any], str], object]] = {
    "dropped": lambda arrays, name: arrays.pop(name),
    "no dimension": lambda arrays, name: arrays.__setitem__(name, np.array(3.0)),
    "another shape": lambda arrays, name: arrays.__setitem__(name, np.zeros((3, 5, 2))),
    "one more": lambda arrays, name: arrays.__setitem__(name, np.append(np.atleast_1d(arrays[name]), 1)),
    "empty": lambda arrays, name: arrays.__setitem__(name, np.zeros(0)),
    "nan": lambda arrays, name: arrays.__setitem__(name, np.full(np.shape(arrays[name]), np.nan)),
    "negative": lambda arrays, name: arrays.__setitem__(name, np.full(np.shape(arrays[name]), -5)),
    "huge": lambda arrays, name: arrays.__setitem__(name, np.full(np.shape(arrays[name]), 2**62)),
    "text": lambda arrays, name: arrays.__setitem__(name, np.full(np.shape(arrays[name]), "x")),
    "objects": lambda arrays, name: arrays.__setitem__(name, np.full(np.shape(arrays[name]), None)),
    "complex": lambda arrays, name: arrays.__setitem__(name, np.zeros(np.shape(arrays[name]), complex)),
}


@pytest.mark.parametrize("method", METHODS)
def test_arrays_that_are_not_a_models_are_refused(results: Path, trained: dict[str, Path], method: str) -> None:
    """As of an earlier version, whose record hashed no file."""
    folder = trained[method]
    write(folder / "cell.json", without_digest(folder / "cell.json"))
    read = trained_reader(folder, results)
    before = read()
    for file in ("model.npz", "scores.npz"):
        whole = (folder / file).read_bytes()
        with np.load(folder / file) as parts:
            known = {name: parts[name] for name in parts.files}
        for name in known.keys() - {"seed"}:  # of which any is as good as any other
            for damage, change in ARRAYS.items():
                arrays = dict(known)
                change(arrays, name)
                np.savez(folder / file, **arrays)
                with contextlib.suppress(DamagedFileError):
                    assert read() == before, (file, name, damage)
        (folder / file).write_bytes(whole)
    assert read() == before


def claims_terabytes(path: Path) -> None:
    """An array whose header tells of more than there is."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("scores.npy", "w") as stream:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(stream, header)


def zip_bomb(path: Path) -> None:
    """A hundred megabytes of zeros, which a tenth of a megabyte packs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("scores.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (10**8,)})
        for _ in range(100):
            stream.write(bytes(10**6))


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"{number}.npy", b"")


ARCHIVES = {**DAMAGES, "claims terabytes": claims_terabytes, "bomb": zip_bomb, "many members": many_members}


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are files on POSIX systems alone")
@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "of before"])
@pytest.mark.parametrize("damage", ARCHIVES)
@pytest.mark.parametrize("name", ["model.npz", "scores.npz", "cell.json"])
def test_a_damaged_file_of_a_trained_baseline_is_refused(
    results: Path, trained: dict[str, Path], name: str, damage: str, hashed: bool
) -> None:
    folder = trained["tfidf"]
    if not hashed:
        write(folder / "cell.json", without_digest(folder / "cell.json"))
    read = trained_reader(folder, results)
    ARCHIVES[damage](folder / name)
    with pytest.raises(DamagedFileError, match=re.escape(str(folder / name))):
        read()


@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "of before"])
@pytest.mark.parametrize("name", ["model.npz", "scores.npz"])
def test_a_damaged_baseline_is_named_and_trained_again(
    harness: Commands, results: Path, trained: dict[str, Path], name: str, hashed: bool
) -> None:
    folder = trained["tfidf"]
    train = ("baseline", *MOOD, "--methods", "tfidf", "--sizes", "16", "--seeds", "0,1", "--json")
    before = rows(harness.ok(*train))
    seed = json.loads((folder / "cell.json").read_text())["signature"]["demo_seed"]
    if not hashed:
        write(folder / "cell.json", without_digest(folder / "cell.json"))
    (folder / name).write_bytes(b"")
    asked = harness("predict", "data/mood/test.jsonl", "--run", f"latest:seed={seed}")
    if hashed or name == "model.npz":  # which of its files is read, is all that is known of one of before
        assert asked.mistake.startswith(f"{folder / name}: ")
    done = harness.ok(*train)
    assert rows(done) == before
    if hashed or name == "scores.npz":
        assert done.err.count(f"{folder / name}: ") == done.err.count("trained again") == 1
        assert sum("trained again" in line for line in json.loads(done.out)["notices"]) == 1
    assert "trained again" not in harness.ok(*train).err


def test_an_encoders_own_code_needs_leave_of_whoever_predicts(harness: Commands, results: Path) -> None:
    """The run may be somebody else's, and its word is no permission."""
    run = folders(results)[-1]
    document = without_digest(run / "manifest.json")
    document["options"]["trust_remote_code"] = True
    write(run / "manifest.json", document)
    asked = ("predict", "data/mood/test.jsonl", "--run", f"{run.name}:method=knn,seed=0")
    assert "--trust-remote-code" in harness(*asked).mistake
    assert harness.ok(*asked, "--trust-remote-code").out
    for value in ("yes", None, 1):
        document["options"]["trust_remote_code"] = value
        write(run / "manifest.json", document)
        assert "trust_remote_code" in harness(*asked).mistake
