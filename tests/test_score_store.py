"""The score store: what is added is found, whoever else writes, merges or damages files meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.columns import Scores
from harness.errors import HarnessError
from harness.score_store import ScoreStore

Found = dict[bytes, tuple[list[float], list[bool]]]


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def scores(values: dict[bytes, Sequence[float]]) -> Scores:
    """Scores by key; a token is greedy where its log-probability is above -1."""
    flat = [value for span in values.values() for value in span]
    return Scores(
        keys=np.array([list(name) for name in values], np.uint8).reshape(len(values), 16),
        offsets=np.cumsum([0, *map(len, values.values())]).astype(np.int64),
        logprobs=np.array(flat, np.float32),
        greedy=np.array([value > -1 for value in flat], bool),
    )


def look_up(store: ScoreStore, keys: Sequence[bytes]) -> list[tuple[list[float], list[bool]] | None]:
    """What the store has for each key: its log-probabilities and greedy flags, or None."""
    rows, found = store.find(np.array([list(name) for name in keys], np.uint8).reshape(len(keys), 16))
    assert rows.shape == (len(keys),)
    spans = [slice(found.offsets[row], found.offsets[row + 1]) for row in rows]
    return [
        None if row < 0 else (found.logprobs[span].tolist(), found.greedy[span].tolist())
        for row, span in zip(rows, spans, strict=True)
    ]


def first_values(store: ScoreStore, keys: Sequence[bytes]) -> list[float | None]:
    return [None if entry is None else entry[0][0] for entry in look_up(store, keys)]


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path, "f" * 32, "float32")


def again(store: ScoreStore) -> ScoreStore:
    """The same store as another process sees it."""
    fingerprint, dtype = store.folder.name.rsplit("-", 1)
    return ScoreStore(store.folder.parent.parent, fingerprint, dtype)


# What is added is found


def test_scores_come_back_bit_by_bit(store: ScoreStore) -> None:
    third = float(np.float32(-1 / 3))
    store.add(scores({key(1): [-0.25, third, -1e-30], key(2): [-123.5], key(3): [-0.5, -2.0]}), {"engine": "rows"})
    assert look_up(again(store), [key(2), key(3), key(1)]) == [
        ([-123.5], [False]),
        ([-0.5, -2.0], [True, False]),
        ([-0.25, third, float(np.float32(-1e-30))], [True, True, True]),
    ]


def test_impossible_tokens_keep_minus_infinity(store: ScoreStore) -> None:
    store.add(scores({key(1): [-np.inf, -1.5]}), {})
    assert look_up(store, [key(1)]) == [([-np.inf, -1.5], [False, False])]


def test_unknown_keys_have_no_row_and_known_ones_may_be_asked_twice(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.5], key(2): [-2.5]}), {})
    assert first_values(store, [key(9), key(2), key(8), key(2), key(1)]) == [None, -2.5, None, -2.5, -1.5]


def test_sums_of_what_is_found_add_up_each_span(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0, -2.0, -4.0], key(2): [-8.0], key(3): [-16.0, -32.0]}), {})
    rows, found = store.find(np.array([list(key(3)), list(key(1))], np.uint8))
    assert found.sums[rows].tolist() == [-48.0, -7.0]


def test_empty_store_finds_nothing_and_makes_no_folder(store: ScoreStore, tmp_path: Path) -> None:
    assert look_up(store, [key(1), key(2)]) == [None, None]
    store.compact()
    assert list(tmp_path.iterdir()) == []


def test_no_keys_may_be_asked_for(store: ScoreStore) -> None:
    assert look_up(store, []) == []
    store.add(scores({key(1): [-1.5]}), {})
    assert look_up(store, []) == []


def test_no_scores_may_be_added(store: ScoreStore) -> None:
    store.add(scores({}), {"engine": "rows"})
    store.add(scores({key(1): [-1.5]}), {"engine": "rows"})
    store.compact()
    assert first_values(store, [key(1)]) == [-1.5]
    assert store.damaged == []


@pytest.mark.parametrize("tail", [1, 8, 15, 16])
def test_keys_with_zero_bytes_stay_apart(store: ScoreStore, tail: int) -> None:
    ending, beginning = b"\1" * (16 - tail) + b"\0" * tail, b"\0" * tail + b"\1" * (16 - tail)
    added = {ending: [-1.5], beginning: [-2.5]}
    store.add(scores(added), {})
    assert first_values(store, list(added)) == [added[name][0] for name in added]
    assert first_values(store, [b"\0" * 15 + b"\2"]) == [None]


def test_many_small_files_are_one_store(store: ScoreStore) -> None:
    for number in range(200):
        store.add(scores({key(number): [-float(number)]}), {"engine": "rows"})
    assert len(list(store.folder.glob("*.parquet"))) == 200
    assert first_values(again(store), [key(n) for n in range(210)]) == [-float(n) for n in range(200)] + [None] * 10


@pytest.mark.parametrize(("fingerprint", "dtype"), [("e" * 32, "float32"), ("f" * 32, "bfloat16")])
def test_models_and_dtypes_share_nothing(store: ScoreStore, tmp_path: Path, fingerprint: str, dtype: str) -> None:
    store.add(scores({key(1): [-1.5]}), {})
    assert first_values(ScoreStore(tmp_path, fingerprint, dtype), [key(1)]) == [None]


# Several files for one key


def test_first_file_wins(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0], key(2): [-1.0]}), {})
    again(store).add(scores({key(2): [-2.0], key(3): [-2.0]}), {})
    again(store).add(scores({key(1): [-3.0], key(3): [-3.0], key(4): [-3.0]}), {})
    assert first_values(store, [key(1), key(2), key(3), key(4)]) == [-1.0, -1.0, -2.0, -3.0]


def test_first_file_still_wins_when_a_later_writer_merges_its_own(store: ScoreStore) -> None:
    other = again(store)
    store.add(scores({key(1): [-1.0]}), {})
    other.add(scores({key(1): [-2.0], key(2): [-2.0]}), {})
    store.add(scores({key(2): [-3.0], key(3): [-3.0]}), {})
    other.add(scores({key(3): [-4.0], key(4): [-4.0]}), {})
    before = first_values(again(store), [key(1), key(2)])
    other.compact()
    assert before == [-1.0, -2.0]
    assert first_values(again(store), [key(1), key(2), key(4)]) == [-1.0, -2.0, -4.0]


# Merging


def test_merging_leaves_one_file_and_every_score(store: ScoreStore) -> None:
    for number in range(20):
        store.add(scores({key(number): [-float(number), -0.5]}), {"engine": "rows"})
    store.compact()
    assert len(list(store.folder.iterdir())) == 1
    assert look_up(again(store), [key(n) for n in range(20)]) == [
        ([-float(n), -0.5], [n < 1, True]) for n in range(20)
    ]  # fmt: skip


def test_merging_again_after_more_was_added(store: ScoreStore) -> None:
    for number in range(6):
        store.add(scores({key(number): [-float(number)]}), {"engine": "rows"})
        if number % 2:
            store.compact()
    assert len(list(store.folder.iterdir())) == 1
    assert first_values(again(store), [key(n) for n in range(6)]) == [-float(n) for n in range(6)]


def test_merging_over_and_over_keeps_names_short(store: ScoreStore) -> None:
    store.add(scores({key(0): [-1.0]}), {})
    for number in range(1, 30):
        store.add(scores({key(number): [-1.0]}), {})
        store.compact()
    (path,) = store.folder.iterdir()
    assert len(path.name) < 100


def test_merging_one_file_leaves_it_alone(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0]}), {})
    (before,) = store.folder.iterdir()
    store.compact()
    assert list(store.folder.iterdir()) == [before]


def test_merging_leaves_the_files_of_others_alone(store: ScoreStore) -> None:
    other = again(store)
    other.add(scores({key(9): [-9.0]}), {})
    (theirs,) = store.folder.iterdir()
    store.add(scores({key(1): [-1.0]}), {})
    store.add(scores({key(2): [-2.0]}), {})
    store.compact()
    assert theirs.exists()
    assert len(list(store.folder.iterdir())) == 2


def test_merge_that_cannot_be_written_loses_nothing(store: ScoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(scores({key(1): [-1.0]}), {})
    store.add(scores({key(2): [-2.0]}), {})
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", _full_disk)
        with pytest.raises(HarnessError, match="No space left on device"):
            store.compact()
    assert first_values(again(store), [key(1), key(2)]) == [-1.0, -2.0]
    assert [path.suffix for path in store.folder.iterdir()] == [".parquet"] * 2


def test_merge_that_dies_before_it_clears_up_changes_no_score(
    store: ScoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(scores({key(1): [-1.0], key(2): [-1.0]}), {})
    store.add(scores({key(3): [-3.0]}), {})

    def die(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".parquet":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    assert len(list(store.folder.glob("*.parquet"))) == 3
    assert first_values(again(store), [key(3), key(2), key(1)]) == [-3.0, -1.0, -1.0]


def test_reader_finds_what_is_merged_while_it_reads(store: ScoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = again(store)
    for number in range(4):
        other.add(scores({key(number): [-float(number)]}), {"engine": "rows"})
    store.add(scores({key(9): [-9.0]}), {})
    read, reads = pq.read_table, []

    def merge_after_the_listing(path: Path, **more: Any) -> pa.Table:
        reads.append(path)
        if len(reads) == 1:
            other.compact()  # itself reads through this function
        return read(path, **more)

    monkeypatch.setattr(pq, "read_table", merge_after_the_listing)
    assert first_values(store, [key(n) for n in range(4)] + [key(9)]) == [0.0, -1.0, -2.0, -3.0, -9.0]
    assert store.damaged == []


def test_readers_never_miss_a_score_while_writers_add_and_merge(store: ScoreStore) -> None:
    known = [key(n) for n in range(3)]
    writers = [again(store) for _ in range(2)]
    for name in known:
        writers[0].add(scores({name: [-1.0]}), {"engine": "rows"})
    done = threading.Event()
    failures: list[BaseException] = []

    def write(which: int) -> None:
        try:
            for number in range(25):
                for part in range(3):
                    writers[which].add(scores({key(1000 + 100 * which + 3 * number + part): [-1.0]}), {})
                writers[which].compact()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    threads = [threading.Thread(target=write, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    reads = 0
    while not done.is_set() or reads == 0:
        reader = again(store)
        assert first_values(reader, known) == [-1.0] * 3
        assert reader.damaged == []
        reads += 1
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.folder.iterdir())) == 2


# Files that are not as they should be


def _full_disk(table: pa.Table, stream: BinaryIO, **more: Any) -> None:
    stream.write(b"PAR1 and half a page")
    raise OSError(errno.ENOSPC, "No space left on device", str(stream.name))


def _truncated(path: Path) -> None:
    pq.write_table(pa.table({"key": ["x"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-40])


def _of_type(key_: pa.Array, logprobs: pa.Array, greedy: pa.Array) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table({"key": key_, "logprobs": logprobs, "greedy": greedy}), path)


_KEYS = pa.array([key(1)], pa.binary(16))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_text("key,logprobs\n"), id="text"),
        pytest.param(_truncated, id="truncated"),
        pytest.param(lambda path: pq.write_table(pa.table({"a": [1]}), path), id="other columns"),
        pytest.param(_of_type(pa.array(["x"]), pa.array([[-1.0]]), pa.array([[True]])), id="keys of text"),
        pytest.param(_of_type(_KEYS, pa.array(["x"]), pa.array([[True]])), id="log-probabilities of text"),
        pytest.param(_of_type(_KEYS, pa.array([-1.0]), pa.array([True])), id="no spans"),
        pytest.param(_of_type(pa.array([b"x"], pa.binary(1)), pa.array([[-1.0]]), pa.array([[True]])), id="short keys"),
        pytest.param(lambda path: path.mkdir(), id="folder"),
    ],
)
@pytest.mark.parametrize("name", ["0.parquet", "~.parquet"], ids=["first", "last"])
def test_foreign_file_is_passed_over_and_named(store: ScoreStore, make: Callable[[Path], object], name: str) -> None:
    store.add(scores({key(1): [-1.0], key(2): [-2.0, -3.0]}), {})
    make(store.folder / name)
    assert look_up(store, [key(2), key(1), key(3)]) == [([-2.0, -3.0], [False, False]), ([-1.0], [False]), None]
    assert store.damaged == [store.folder / name]


def test_half_written_file_of_a_killed_writer_is_no_part_of_the_store(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0]}), {})
    (store.folder / ".0-a.parquet.b.tmp").write_bytes(b"PAR1")
    (store.folder / ".hidden.parquet").write_bytes(b"PAR1")
    assert first_values(store, [key(1)]) == [-1.0]
    assert store.damaged == []


def test_full_disk_is_one_clear_error_and_leaves_no_file(store: ScoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", _full_disk)
        with pytest.raises(HarnessError, match=r"^\S+\.parquet: cannot be written: No space left on device$"):
            store.add(scores({key(1): [-1.0]}), {})
    assert list(store.folder.iterdir()) == []
    store.add(scores({key(1): [-1.0]}), {})
    store.compact()
    assert first_values(store, [key(1)]) == [-1.0]


# Provenance


def test_provenance_stands_beside_each_score(store: ScoreStore) -> None:
    given = {"engine": "rows", "device": "cpu", "torch": "2.13.0"}
    store.add(scores({key(1): [-1.0], key(2): [-2.0]}), given)
    (path,) = store.folder.iterdir()
    rows = pq.read_table(path, partitioning=None).to_pylist()
    assert [row["key"] for row in rows] == [key(1), key(2)]
    for row in rows:
        assert {name: row[name] for name in given} == given


def test_merging_keeps_each_scores_own_provenance(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0]}), {"engine": "rows", "device": "cpu"})
    store.add(scores({key(2): [-2.0]}), {"engine": "tree", "torch": "2.13.0"})
    store.compact()
    (path,) = store.folder.iterdir()
    rows = {row["key"]: row for row in pq.read_table(path, partitioning=None).to_pylist()}
    assert (rows[key(1)]["engine"], rows[key(1)]["device"], rows[key(1)]["torch"]) == ("rows", "cpu", None)
    assert (rows[key(2)]["engine"], rows[key(2)]["device"], rows[key(2)]["torch"]) == ("tree", None, "2.13.0")
    assert first_values(again(store), [key(1), key(2)]) == [-1.0, -2.0]


def test_files_written_with_other_provenance_are_read_together(store: ScoreStore) -> None:
    store.add(scores({key(1): [-1.0]}), {"engine": "rows"})
    again(store).add(scores({key(2): [-2.0]}), {"device": "cuda", "harness": "9.9"})
    assert first_values(store, [key(1), key(2)]) == [-1.0, -2.0]


def test_merging_removes_what_killed_writers_left_long_ago(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, "model", "float32")
    store.folder.mkdir(parents=True)
    left, live = store.folder / ".left.parquet.tmp", store.folder / ".live.parquet.tmp"
    for path in (left, live):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    store.compact()
    assert (left.exists(), live.exists()) == (False, True)
