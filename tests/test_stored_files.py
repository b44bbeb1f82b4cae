"""What is read back from a results folder: whatever a file holds, it is read as it was written, or named and set aside,
and nothing else changes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands, Outcome
from conftest import MOOD_TASK, Project
from damage import flipped, mutations

import harness as package
from harness import plots
from harness.baselines.base import Surroundings
from harness.baselines.registry import METHODS
from harness.baselines.trained import find_trained
from harness.cell_results import read_cells
from harness.errors import DamagedFileError
from harness.memo import Memo
from harness.notices import notices
from harness.order_choice import permuted_scores
from harness.run_store import stored_run, stored_runs
from harness.score_store import ScoreStore
from harness.stored_arrays import read_arrays
from harness.stored_json import sealed
from harness.summary import summarise

pytestmark = pytest.mark.usefixtures("one_thread")

MOOD = ("--tasks", "mood", "--data-dir", "data")
ORDERS = ("--prompts", "plain", "--shots", "3", "--split", "select", "--demo-order", "permuted:3")
CHOSEN = ("--prompts", "plain", "--shots", "3", "--limit", "1", "--demo-order", "entropy")


@pytest.fixture
def results(harness: Commands, project: Project, kept: Path, tiny_gpt2: Path) -> Path:
    """A results folder with a run of no shots, one of two, one of permuted orders, and trained baselines."""
    project.write("tasks/mood.yaml", MOOD_TASK.replace("report: test", "select: 'train[-6:]', report: test"))
    folder = Path("results")
    if not kept.exists():
        for options in (("--shots", "0"), ("--shots", "2", "--limit", "10"), ORDERS):
            harness.ok("run", *MOOD, "--model", tiny_gpt2, *options)
        harness.ok("baseline", *MOOD, "--methods", "majority,random,tfidf,knn,probe", "--sizes", "16", "--seeds", "0,1",
                   "--encoder", tiny_gpt2)  # fmt: skip
        shutil.copytree(folder, kept)
    else:
        shutil.copytree(kept, folder)
    return folder


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda report, prefix: [])


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


# Manifests


def read_all(results: Path) -> tuple[list[list[Any]], list[str]]:
    """What the commands that read many runs make of a folder: the run of no shots, and what was set aside.

    Where nothing is set aside, rows are made of all of it, too.
    """
    told: list[str] = []
    runs = stored_runs(results, told.append)
    cells = read_cells(runs, tell=told.append)
    permuted_scores(runs, tell=told.append)
    if not told:
        notices(summarise(cells))
    return [
        [cell.signature["template"], cell.item_ids, cell.gold.tolist(), cell.prediction.tolist(), list(cell.status)]
        for cell in cells
        if cell.signature["shots"] == 0
    ], told


def fuzz_manifest(results: Path, number: int, most: int | None) -> int:
    """Mutate a manifest again and again; returns how often the run was set aside."""
    folder = folders(results)[number]
    path = folder / "manifest.json"
    document, (before, _) = without_digest(path), read_all(results)
    refused = 0
    for what, mutated in mutations(document, most=most):
        write(path, mutated)
        after, told = read_all(results)
        assert after == before, what
        assert len(set(told)) <= 1, what
        assert not told or told[0].startswith(f"{folder}: damaged, not read: "), what
        refused += bool(told)
    return refused


@pytest.mark.parametrize("number", [1, 2, 3], ids=["shots", "orders", "baselines"])
def test_a_mutated_manifest_harms_no_other_run(results: Path, number: int) -> None:
    assert fuzz_manifest(results, number, 30) > 5


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3], ids=["shots", "orders", "baselines"])
def test_no_mutated_manifest_harms_another_run(results: Path, number: int) -> None:
    assert fuzz_manifest(results, number, 3_000) > 500


def fuzz_commands(harness: Commands, results: Path, tiny_gpt2: Path, most: int) -> None:
    """All commands that read runs, on mutated manifests: no traceback, and the other rows as before."""
    plain, shots, _, baselines = folders(results)
    before = own(rows(harness.ok("leaderboard", "--json")), shots=0)
    for number, folder in enumerate(folders(results)[1:]):
        path = folder / "manifest.json"
        whole = path.read_bytes()
        for what, mutated in mutations(without_digest(path), most=most, seed=number):
            write(path, mutated)
            ranked = harness("leaderboard", "--json")
            assert own(rows(ranked), shots=0) == before, what
            damaged = f"{folder}: damaged, not read" in ranked.err
            assert ranked.err.count("damaged") == damaged
            assert any("damaged" in line for line in json.loads(ranked.out)["notices"]) == damaged
            listed = harness("list", "runs")
            assert (f"{folder}: damaged, not read" in listed.err) == damaged, what
            for command in (
                ("leaderboard", "--sensitivity"),
                ("leaderboard", "--report", "--json"),
                ("compare", plain.name, shots.name, "--json"),
                ("breakeven", "--json"),
                ("predict", "texts.jsonl", "--run", f"{baselines.name}:method=probe,seed=0"),
                ("run", *MOOD, *CHOSEN, "--model", tiny_gpt2, "--results", "other"),
            ):
                shutil.copytree(results / "runs", "other/runs", dirs_exist_ok=True)
                done = harness(*command)
                in_order(done)
                if damaged and folder.name in (name.partition(":")[0] for name in map(str, command)):
                    assert done.status == 1, what
                    assert done.mistake.startswith(f"{path}: "), what
        path.write_bytes(whole)


def test_mutated_manifests_end_in_one_line_at_most(
    harness: Commands, results: Path, project: Project, tiny_gpt2: Path
) -> None:
    project.write("texts.jsonl", '{"text": "a fine meal"}\n')
    shutil.copytree(results, "other")
    fuzz_commands(harness, results, tiny_gpt2, 1)


@pytest.mark.slow
def test_many_mutated_manifests_end_in_one_line_at_most(
    harness: Commands, results: Path, project: Project, tiny_gpt2: Path
) -> None:
    project.write("texts.jsonl", '{"text": "a fine meal"}\n')
    shutil.copytree(results, "other")
    fuzz_commands(harness, results, tiny_gpt2, 60)


def test_a_manifest_may_be_edited_where_its_digest_is_taken_out(harness: Commands, results: Path) -> None:
    path = folders(results)[1] / "manifest.json"
    document = json.loads(path.read_text())
    write(path, document | {"notices": ["by hand"]})
    assert "take its key 'digest' out" in harness.ok("leaderboard").err
    write(path, without_digest(path) | {"notices": ["by hand"]})
    assert "damaged" not in harness.ok("leaderboard").err


def test_a_manifest_without_a_value_that_json_has_not_is_written(results: Path) -> None:
    text = sealed({"deviation": float("nan"), "more": [float("inf")], "name": "a\udc80"})
    assert {key: value for key, value in json.loads(text).items() if key != "digest"} == {
        "deviation": None, "more": [None], "name": "a\\udc80"
    }  # fmt: skip


# Files of a run that are missing, empty, of another kind, or without end


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


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are files on POSIX systems alone")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.json", "predictions.parquet"])
def test_a_run_without_its_files_is_named_and_set_aside(
    harness: Commands, results: Path, name: str, damage: str
) -> None:
    plain, shots, _, _ = folders(results)
    before = own(rows(harness.ok("leaderboard", "--json")), shots=0)
    DAMAGES[damage](shots / name)
    ranked = harness.ok("leaderboard", "--json")
    assert own(rows(ranked), shots=0) == before
    assert ranked.err.count(f"{shots}: damaged, not read: {name}: ") == 1
    assert f"{shots}: damaged, not read: {name}: " in harness.ok("list", "runs").err
    assert f"{shots / name}: " in harness("compare", plain.name, shots.name).mistake
    assert harness.ok("breakeven", "--json").err.count("damaged") == 1
    assert any(f"{shots}: damaged" in line for line in package.leaderboard().notices)


def test_what_is_no_run_is_named(harness: Commands, results: Path) -> None:
    (results / "runs" / "mine").mkdir()
    assert "damaged" not in harness.ok("leaderboard").err  # it is just being made
    (results / "runs" / "mine" / "notes.txt").touch()
    assert "runs/mine: damaged, not read: manifest.json: is missing" in harness.ok("leaderboard").err


def test_where_no_run_can_be_read_it_is_said(harness: Commands, results: Path) -> None:
    for path in results.glob("runs/*/predictions.parquet"):
        path.unlink()
    done = harness("leaderboard")
    assert "no finished run that can be read" in done.mistake
    assert done.err.count("predictions.parquet: is missing") == 4


# Predictions


Alter = Callable[[pa.Table], pa.Table]


def altered(name: str, change: Callable[[list[Any]], object], kind: pa.DataType | None = None) -> Alter:
    """A table with one column changed in place."""

    def alter(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        change(values)
        place = table.schema.get_field_index(name)
        return table.set_column(place, name, pa.array(values, kind or table.schema.field(name).type))

    return alter


def put(value: Any) -> Callable[[list[Any]], object]:
    return lambda values: values.__setitem__(0, value)


TABLES: dict[str, Alter] = {
    "no rows": lambda table: table.slice(0, 0),
    "a row less": lambda table: table.slice(1),
    "an item twice": lambda table: pa.concat_tables([table.slice(1), table.slice(1, 1)]),
    "an unknown cell": altered("cell", put("x" * 32)),
    "no cell": altered("cell", put(None)),
    "a column less": lambda table: table.drop_columns(["margin"]),
    "cells as numbers": altered("cell", lambda values: values.__setitem__(slice(None), range(len(values))), pa.int64()),
    "scores as text": altered("scores", lambda v: v.__setitem__(slice(None), ["x"] * len(v)), pa.string()),
    "a score of nan": altered("scores", put([float("nan"), 0.0])),
    "an infinite score": altered("scores", put([float("inf"), 0.0])),
    "no score": altered("scores", put([None, 0.0])),
    "a score too few": altered("scores", put([0.0])),
    "a score too many": altered("scores", put([0.0, 0.0, 0.0])),
    "no scores": altered("scores", put(None)),
    "gold beyond": altered("gold", put("2")),
    "gold below": altered("gold", put("-1")),
    "gold as truth": altered("gold", put("true")),
    "gold nested": altered("gold", put("[" * 100_000)),
    "gold huge": altered("gold", put("9" * 5_000)),
    "gold null": altered("gold", put("null")),
    "no gold": altered("gold", put(None)),
    "prediction beyond": altered("prediction", put("2")),
    "prediction as text": altered("prediction", put('"low"')),
    "no prediction": altered("prediction", put("null")),
    "another status": altered("status", put("fine")),
    "too long with a score": altered("status", put("too_long")),
    "a margin of nan": altered("margin", put(float("nan"))),
    "a margin below 0": altered("margin", put(-1.0)),
    "a tolerance of nan": altered("tolerance", put(float("nan"))),
    "shots below 0": altered("shots", put(-1)),
    "no shots": altered("shots", put(None)),
    "one cluster": altered("cluster", put("x"), pa.string()),
    "a long id": altered("item_id", put("x" * 10_000)),
    "no id": altered("item_id", put(None)),
    "half right": altered("correct", put(0.5)),
}


@pytest.mark.parametrize("damage", TABLES)
def test_impossible_predictions_are_named_and_set_aside(results: Path, damage: str) -> None:
    """As of an earlier version, whose manifest hashed no file."""
    run = folders(results)[1]
    before, _ = read_all(results)
    write(run / "manifest.json", without_digest(run / "manifest.json"))
    path = run / "predictions.parquet"
    pq.write_table(TABLES[damage](pq.read_table(path, partitioning=None)), path)
    after, told = read_all(results)
    assert after == before
    assert len(told) == 1
    assert told[0].startswith(f"{run}: damaged, not read: predictions.parquet: ")


def test_few_bytes_that_stand_for_many_are_not_unpacked(results: Path) -> None:
    run = folders(results)[1]
    path = run / "predictions.parquet"
    table = pq.read_table(path, partitioning=None)
    write(run / "manifest.json", without_digest(run / "manifest.json"))
    megabyte = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000), ["x" * 10**6])
    long = table.take([0] * 3_000).set_column(table.schema.get_field_index("text"), "text", megabyte)
    for many in (table.slice(0, 1).take([0] * 1_000_000), long):
        pq.write_table(many, path)
        before = pa.total_allocated_bytes()
        with pytest.raises(DamagedFileError):
            stored_run(run).predictions()
        assert pa.total_allocated_bytes() - before < 100 * 2**20


# Bytes that change


@pytest.fixture
def victim(results: Path) -> Path:
    return folders(results)[1]


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


RUN_FILES = ["manifest.json", "predictions.parquet", "candidates.parquet"]


def run_reader(victim: Path) -> Callable[[], Any]:
    def read() -> Any:
        run = stored_run(victim)
        return run.manifest, run.predictions().to_pydict(), run.candidates().to_pydict()

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


# Trained baselines


def trained_reader(folder: Path, results: Path) -> Callable[[], Any]:
    """What a trained baseline says of three texts; the encoder is a stand-in."""

    def embed(texts: Any) -> Any:
        return np.stack([np.random.default_rng(len(text)).normal(size=32).astype(np.float32) for text in texts])

    def read() -> Any:
        found = find_trained(results, folder.name)
        if found is None:
            raise DamagedFileError(folder / "cell.json", "is missing")
        model = METHODS[found.signature["method"]].make(Surroundings(embed))
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


# Which run a name is


def test_a_run_of_that_very_name_is_meant(harness: Commands, results: Path) -> None:
    plain, shots, _, baselines = folders(results)
    for folder in (plain, shots, baselines):
        shutil.copytree(folder, folder.with_name(f"{folder.name}-copy"))
        shutil.copytree(folder, folder.with_name(f"{folder.name}:shots=0"))
    compared = json.loads(harness.ok("compare", plain.name, shots, "--json").out)
    assert compared["pairs"]
    assert "fits several runs" in harness("compare", plain.name[:-1], shots.name).mistake
    assert harness.ok("compare", f"{plain.name}:shots=0", f"{shots.name}-copy").out
    run = f"{baselines.name}:method=tfidf,seed=0"
    assert harness.ok("predict", "data/mood/test.jsonl", "--run", run).out
    assert f"{shots.name}-copy" in harness.ok("list", "runs").out


def test_a_name_with_glob_characters_is_itself_first(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    text = (project.root / "prompts/mood/plain.jinja").read_text()
    for name in ("a[1]", "a1", "what?", "whats", "st*r", "star"):
        project.write(f"prompts/mood/{name}.jinja", text)
    run = ("run", "--data-dir", "data", "--model", tiny_gpt2, "--limit", "2", "--tasks")
    for name in ("a[1]", "what?", "st*r"):
        harness.ok(*run, "mood", "--prompts", name)
        (template,) = {cell["signature"]["template"] for cell in folders_manifest(Path("results"))["cells"]}
        assert template == f"mood/{name}"
    assert {row["templates"] for row in rows(harness.ok(*run, "mood", "--prompts", "a[0-9]", "--json"))} == {1}
    assert harness.ok("compare", "latest:template=a1", "latest:template=a1").out


def folders_manifest(results: Path) -> Any:
    return stored_runs(results)[-1].manifest
