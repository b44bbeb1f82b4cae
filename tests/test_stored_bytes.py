"""Bytes that change in stored files: each file is read as it was written, or it is said that it is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands
from damage import (
    DAMAGES,
    MOOD,
    flipped,
    folders,
    fuzz_bytes,
    rows,
    without_digest,
    write,
)

from harness.errors import DamagedFileError
from harness.memo import Memo
from harness.run_store import stored_run
from harness.score_store import ScoreStore
from harness.stored_arrays import read_arrays

# Bytes that change


@pytest.fixture
def victim(results: Path) -> Path:
    return folders(results)[1]


RUN_FILES = ["manifest.json", "predictions.parquet", "candidates.parquet"]


def run_reader(victim: Path) -> Callable[[], Any]:
    wanted = stored_run(victim).manifest.keys()

    def read() -> Any:
        run = stored_run(victim)
        # Where the key "digest" itself is hit, all else is as it was, and one key more is there that nobody reads.
        known = {key: value for key, value in run.manifest.items() if key in wanted}
        return known, run.predictions().to_pydict(), run.candidates().to_pydict()

    return read


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_flipped_byte_in_a_run_is_noticed(victim: Path, name: str) -> None:
    fuzz_bytes(victim / name, run_reader(victim), 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_FILES)
def test_every_flipped_byte_in_a_run_is_noticed(victim: Path, name: str) -> None:
    fuzz_bytes(victim / name, run_reader(victim), 4_000)


def score_reader(path: Path) -> Callable[[], Any]:
    fingerprint, dtype = path.parent.name.rsplit("-", 1)
    table = pq.read_table(path, partitioning=None)
    keys = np.array([list(key) for key in table["key"].to_pylist()], np.uint8)

    def read() -> Any:
        store = ScoreStore(path.parents[2], fingerprint, dtype)
        found_at, scores = store.find(keys)
        if store.damaged:
            raise DamagedFileError(store.damaged[0], "damaged")
        assert (found_at >= 0).all()
        return scores.sums[found_at].tolist(), scores.logprobs.tolist(), scores.greedy.tolist()

    return read


def test_a_flipped_byte_in_a_score_file_is_noticed(results: Path) -> None:
    (path, *_) = sorted(results.glob("scores/*/*.parquet"))
    fuzz_bytes(path, score_reader(path), 150)


@pytest.mark.slow
def test_every_flipped_byte_in_a_score_file_is_noticed(results: Path) -> None:
    (path, *_) = sorted(results.glob("scores/*/*.parquet"))
    fuzz_bytes(path, score_reader(path), None)


def test_a_flipped_byte_in_a_page_is_noticed_in_a_file_of_any_name(results: Path) -> None:
    """The pages have checksums of their own; what holds the file together has the digest in its name alone."""
    (path, *_) = sorted(results.glob("scores/*/*.parquet"))
    named = path.rename(path.with_name("copied.parquet"))
    chunk = pq.read_metadata(named).row_group(0).column(1)
    begin = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
    fuzz_bytes(named, score_reader(named), 60, range(begin, begin + chunk.total_compressed_size))


def test_scores_that_have_changed_are_computed_again(harness: Commands, results: Path, tiny_gpt2: Path) -> None:
    command = ("run", *MOOD, "--model", tiny_gpt2, "--shots", "0", "--json")
    before = rows(harness.ok(*command))
    for path in results.glob("scores/*/*.parquet"):
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    done = harness.ok(*command)
    assert rows(done) == before
    assert done.err.count(".parquet: damaged, not read") == len(list(results.glob("scores/*/*.parquet"))) - 1
    assert "were in the store" not in done.err


@pytest.mark.parametrize(
    ("logprobs", "greedy"),
    [
        pytest.param([[float("nan")]], [[True]], id="nan"),
        pytest.param([[float("inf")]], [[True]], id="infinite"),
        pytest.param([[0.5]], [[True]], id="above 0"),
        pytest.param([[-1.0, -2.0]], [[True]], id="flags"),
        pytest.param([[-1.0, -2.0]], [[True, True]], id="another length"),
        pytest.param([[]], [[]], id="no token"),
        pytest.param([None], [[True]], id="null"),
        pytest.param([[None]], [[True]], id="null inside"),
        pytest.param([[-1.0]], [[None]], id="null flag"),
    ],
)
def test_scores_that_are_none_are_not_taken(tmp_path: Path, logprobs: list[Any], greedy: list[Any]) -> None:
    store = ScoreStore(tmp_path, "f", "float32")
    store.folder.mkdir(parents=True)
    columns = {"key": pa.array([b"k" * 16], pa.binary(16)), "logprobs": pa.array(logprobs, pa.list_(pa.float32())),
               "greedy": pa.array(greedy, pa.list_(pa.bool_()))}  # fmt: skip
    pq.write_table(pa.table(columns), store.folder / "0.parquet")
    keys = np.frombuffer(b"k" * 16, np.uint8).reshape(1, 16)
    assert store.find(keys, np.array([1]))[0].tolist() == [-1]
    assert store.damaged == [store.folder / "0.parquet"]


def test_a_score_file_that_says_it_holds_millions_is_not_unpacked(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, "f", "float32")
    store.folder.mkdir(parents=True)
    count = 3_000_000
    offsets = np.arange(count + 1, dtype=np.int32)
    columns = {
        "key": pa.array([b"k" * 16], pa.binary(16)).take(pa.array(np.zeros(count, np.int64))),
        "logprobs": pa.ListArray.from_arrays(offsets, np.zeros(count, np.float32)),
        "greedy": pa.ListArray.from_arrays(offsets, np.zeros(count, bool)),
    }
    pq.write_table(pa.table(columns), store.folder / "0.parquet")
    assert store.find(np.zeros((1, 16), np.uint8))[0].tolist() == [-1]
    assert store.damaged == [store.folder / "0.parquet"]


# Embeddings, and what is remembered of files


def test_a_flipped_byte_in_embeddings_is_noticed(results: Path, harness: Commands, tiny_gpt2: Path) -> None:
    (path,) = results.glob("embeddings/*/*.npz")

    def read() -> Any:
        found = read_arrays(path)
        return (
            found.bytes_("keys", None, 16).tolist(),
            found.vectors("vectors", None, None).tolist(),
            found.floats("seconds"),
        )

    fuzz_bytes(path, read, 60)


def test_vectors_of_another_length_are_not_mixed_with_the_models(
    results: Path, harness: Commands, tiny_gpt2: Path
) -> None:
    train = ("baseline", *MOOD, "--methods", "knn", "--sizes", "16", "--seeds", "0", "--encoder", tiny_gpt2, "--json")
    before = rows(harness.ok(*train))
    (path,) = results.glob("embeddings/*/*.npz")
    np.savez(path.with_name("~.npz"), keys=np.zeros((1, 16), np.uint8), vectors=np.zeros((1, 5), np.float32))
    shutil.rmtree(results / "baselines")
    done = harness.ok(*train)
    assert rows(done) == before
    assert done.err.count("~.npz: damaged, not read") == 1


def test_a_memory_that_has_changed_is_forgotten(tmp_path: Path) -> None:
    memo = Memo("test")
    memo.put("a", "1")
    memo.save()
    assert Memo("test").get("a") == "1"
    path = Path(platformdirs.user_cache_dir("harness")) / "test.json"
    for _ in flipped(path):
        assert Memo("test").get("a") in (None, "1")
    for damage in DAMAGES.values():
        damage(path)
        assert Memo("test").get("a") is None
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        memo.put("a", "1")
        memo.save()


# Results of before


def test_results_without_any_checksum_give_the_same_tables(harness: Commands, results: Path, tiny_gpt2: Path) -> None:
    """An earlier version wrote no digest and no checksum of a page, and named score files otherwise."""
    run = ("run", *MOOD, "--model", tiny_gpt2, "--shots", "0", "--json")
    train = (
        "baseline",
        *MOOD,
        "--methods",
        "tfidf,knn",
        "--sizes",
        "16",
        "--seeds",
        "0,1",
        "--encoder",
        tiny_gpt2,
        "--json",
    )
    before = [rows(harness.ok(*command)) for command in (run, train, ("leaderboard", "--json"))]
    for path in [*results.glob("runs/*/manifest.json"), *results.glob("baselines/*/cell.json")]:
        write(path, without_digest(path))
    for path in results.glob("**/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table, path, compression="zstd")
        if path.parent.parent.name == "scores":
            path.rename(path.with_name("-".join(path.stem.split("-")[:2]) + ".parquet"))
    again = [harness.ok(*command) for command in (run, train, ("leaderboard", "--json"))]
    assert [rows(done) for done in again] == before
    assert "damaged" not in "".join(done.err for done in again)
    assert "were in the store" in again[0].err
    assert "4 of 4 cells were trained before" in again[1].err
    (path, *_) = results.glob("scores/*/*.parquet")
    for _ in flipped(path, most=60):
        store = ScoreStore(results, *path.parent.name.rsplit("-", 1))
        store.find(np.zeros((1, 16), np.uint8))
