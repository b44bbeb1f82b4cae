"""Runs that are read back: whatever their files hold, a damaged one is named and set aside, and harms no other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project
from damage import (
    CHOSEN,
    DAMAGES,
    MOOD,
    folders,
    in_order,
    mutations,
    own,
    rows,
    without_digest,
    write,
)

import harness as package
from harness import plots
from harness.cell_results import read_cells
from harness.errors import DamagedFileError
from harness.notices import notices
from harness.order_choice import permuted_scores
from harness.run_store import stored_run, stored_runs
from harness.stored_json import sealed
from harness.summary import summarise


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "draw", lambda report, prefix: [])


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
        [cell.signature.template, cell.item_ids, cell.gold.tolist(), cell.prediction.tolist(), list(cell.status)]
        for cell in cells
        if cell.signature.shots == 0
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
    assert fuzz_manifest(results, number, 20) > 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3], ids=["shots", "orders", "baselines"])
def test_no_mutated_manifest_harms_another_run(results: Path, number: int) -> None:
    assert fuzz_manifest(results, number, 800) > 100


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
    fuzz_commands(harness, results, tiny_gpt2, 30)


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
