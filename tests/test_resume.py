"""Killed, stopped, resumed, run twice at once, run again after a change: no score is lost, computed twice or stale."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Commands, Forked, Moment, outcome, start
from conftest import Project, build_gpt2

pytestmark = pytest.mark.usefixtures("one_thread")

Grid = tuple[object, ...]


@pytest.fixture
def grid(project: Project, tiny_gpt2: Path) -> Grid:
    """A command of 160 distinct requests: 20 items, 2 templates, 2 answers, 0 and 2 shots."""
    return ("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--shots", "0,2")


DISTINCT = 160


@pytest.fixture
def done(harness: Commands, project: Project, grid: Grid, kept: Path) -> None:
    """The grid was run in this project before: once for all tests, from the same files."""
    if kept.exists():
        shutil.copytree(kept, project.root / "results")
    else:
        harness.ok(*grid)
        shutil.copytree(project.root / "results", kept)


def manifests(results: Path) -> list[dict[str, Any]]:
    """All manifests, oldest first."""
    found = [json.loads(path.read_text()) for path in results.glob("runs/*/manifest.json")]
    return sorted(found, key=lambda manifest: manifest["created"])


def requests(results: Path) -> dict[str, int]:
    """How many requests the last run had, looked up and scored."""
    counts = manifests(results)[-1]["requests"]
    assert counts["distinct"] == counts["from store"] + counts["scored"]
    return counts


def stored_keys(results: Path) -> list[bytes]:
    """The key of every stored score, as often as it is stored."""
    tables = [pq.read_table(path, columns=["key"], partitioning=None) for path in results.glob("scores/*/*.parquet")]
    return pa.concat_tables(tables)["key"].to_pylist() if tables else []


def predictions(results: Path) -> dict[tuple[str, str], tuple[Any, list[float]]]:
    """The last run's prediction and scores of each item of each cell."""
    found = manifests(results)[-1]
    assert found["status"] == "done"
    table = pq.read_table(results / "runs" / found["id"] / "predictions.parquet", partitioning=None)
    return {(row["cell"], row["item_id"]): (row["prediction"], row["scores"]) for row in table.to_pylist()}


def assert_same(results: Path, reference: Path) -> None:
    """The last runs of two results folders say the same, within float32 rounding of the scores."""
    one, other = predictions(results), predictions(reference)
    assert one.keys() == other.keys()
    for key, (prediction, scores) in one.items():
        assert prediction == other[key][0]
        assert scores == pytest.approx(other[key][1], abs=1e-4)


def rows(harness: Commands, *arguments: object) -> list[Any]:
    found: list[Any] = json.loads(harness.ok(*arguments, "--json").out)["rows"]
    return found


def state(harness: Commands, results: object = "results") -> list[str]:
    """The status that ``harness list runs`` gives each run."""
    return [line.split()[1] for line in harness.ok("list", "runs", "--results", results).out.splitlines()[1:]]


# Killed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        (Moment("model loads"), "none"),
        (Moment("batch"), "none"),
        (Moment("half commit"), "none"),
        (Moment("commit"), "some"),
        (Moment("half commit", 3), "some"),
        (Moment("batch", 5), "some"),
        (Moment("merge"), "all"),
        (Moment("half merge", 2), "all"),
        (Moment("candidates"), "all"),
        (Moment("predictions"), "all"),
        (Moment("manifest", 2), "all"),
    ],
    ids=str,
)
def test_killed_run_goes_on_from_what_it_stored(
    harness: Commands, project: Project, grid: Grid, moment: Moment, kept: str
) -> None:
    assert Forked(grid, project.root, moment).outcome().status == -signal.SIGKILL
    stored = len(set(stored_keys(project.root / "results")))
    assert {"none": stored == 0, "some": 0 < stored < DISTINCT, "all": stored == DISTINCT}[kept]

    resumed = rows(harness, *grid)

    assert requests(project.root / "results") == {
        "distinct": DISTINCT, "from store": stored, "scored": DISTINCT - stored,
    }  # fmt: skip
    assert resumed == rows(harness, *grid, "--results", "other")
    assert_same(project.root / "results", project.root / "other")
    assert set(stored_keys(project.root / "results")) == set(stored_keys(project.root / "other"))


@pytest.mark.parametrize(
    "moment", [Moment("commit"), pytest.param(Moment("manifest", 2), marks=pytest.mark.slow)], ids=str
)
def test_killed_run_is_listed_as_unfinished_and_in_no_table(
    harness: Commands, project: Project, grid: Grid, moment: Moment
) -> None:
    Forked(grid, project.root, moment).outcome()
    listed = harness.ok("list", "runs")
    assert state(harness) == ["unfinished"]
    assert "running" not in listed.out
    assert "the same command goes on" in listed.err
    assert "no finished run" in harness("leaderboard").mistake
    harness.ok(*grid)
    assert state(harness) == ["unfinished", "done"]
    assert [row["n"] for row in rows(harness, "leaderboard")] == [20, 20]


def test_killed_again_and_again_still_ends(harness: Commands, project: Project, grid: Grid) -> None:
    stored = [0]
    for _ in range(3):
        Forked(grid, project.root, Moment("commit", 2)).outcome()
        stored.append(len(stored_keys(project.root / "results")))
    assert stored == sorted(set(stored)), "every attempt adds"
    resumed = rows(harness, *grid)
    assert requests(project.root / "results")["from store"] == stored[-1]
    assert Counter(stored_keys(project.root / "results")).most_common(1)[0][1] == 1
    assert resumed == rows(harness, *grid, "--results", "other")


# Stopped


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM], ids=lambda name: name.name)
@pytest.mark.parametrize("what", ["batch", "half commit", "commit"])
def test_stopped_scoring_says_what_is_stored_and_how_to_go_on(
    harness: Commands, project: Project, grid: Grid, name: signal.Signals, what: str
) -> None:
    stopped = Forked(grid, project.root, Moment(what, 4, name)).outcome()
    assert stopped.status == 128 + name
    found = re.fullmatch(r"interrupted: (\d+) of 160 scores are stored; the same command goes on.*", stopped.mistake)
    assert found is not None, stopped.mistake
    assert len(stopped.err.splitlines()) == 1
    stored = len(set(stored_keys(project.root / "results")))
    assert 0 < stored < DISTINCT
    assert int(found[1]) == stored
    assert state(harness) == ["interrupted"]
    assert not list((project.root / "results").rglob("*.tmp"))

    assert rows(harness, *grid) == rows(harness, *grid, "--results", "other")
    assert requests(project.root / "results")["from store"] == stored
    assert state(harness) == ["interrupted", "done"]


@pytest.mark.parametrize(
    ("moment", "listed", "stored", "name"),
    [
        pytest.param(
            moment, listed, stored, name, id=f"{moment}-{name.name}", marks=[] if name == fast else pytest.mark.slow
        )
        for moment, listed, stored, fast in [
            ("tokenizer loads", [], 0, signal.SIGINT),
            ("model loads", [], 0, signal.SIGTERM),  # while prompts are tokenised, before there is a run to list
            ("merge", ["interrupted"], DISTINCT, signal.SIGTERM),
            ("half merge", ["interrupted"], DISTINCT, signal.SIGINT),
            ("predictions", ["interrupted"], DISTINCT, signal.SIGTERM),
        ]
        for name in (signal.SIGINT, signal.SIGTERM)
    ],
)
def test_stopped_before_or_after_scoring_is_one_line(
    harness: Commands, project: Project, grid: Grid, moment: str, listed: list[str], stored: int, name: signal.Signals
) -> None:
    stopped = Forked(grid, project.root, Moment(moment, 1, name)).outcome()
    assert stopped.status == 128 + name
    assert re.fullmatch("interrupted; the same command starts again from what is stored", stopped.mistake)
    assert state(harness) == listed
    assert len(set(stored_keys(project.root / "results"))) == stored
    harness.ok(*grid)
    assert requests(project.root / "results")["from store"] == stored


# Several at once


def test_two_processes_at_once_both_finish_and_agree(harness: Commands, project: Project, grid: Grid) -> None:
    both = [Forked((*grid, "--json"), project.root, pause=0.02) for _ in range(2)]
    ends = [one.outcome() for one in both]
    assert [end.status for end in ends] == [0, 0], ends
    assert json.loads(ends[0].out)["rows"] == json.loads(ends[1].out)["rows"]
    assert state(harness) == ["done", "done"]
    assert set(Counter(stored_keys(project.root / "results")).values()) <= {1, 2}
    assert not list((project.root / "results").rglob("*.tmp"))

    again = rows(harness, *grid)
    assert requests(project.root / "results") == {"distinct": DISTINCT, "from store": DISTINCT, "scored": 0}
    assert again == json.loads(ends[0].out)["rows"] == rows(harness, *grid, "--results", "other")


@pytest.mark.slow
def test_process_that_is_killed_does_not_disturb_another(harness: Commands, project: Project, grid: Grid) -> None:
    other = Forked((*grid, "--json"), project.root, pause=0.05)
    victim = Forked(grid, project.root, Moment("half commit", 3))
    assert victim.outcome().status == -signal.SIGKILL
    end = other.outcome()
    assert end.status == 0, end.err
    assert json.loads(end.out)["rows"] == rows(harness, *grid, "--results", "other")
    assert sorted(state(harness)) == ["done", "unfinished"]


@pytest.mark.slow  # tests of the score store have readers beside writers
def test_other_process_may_merge_its_files_while_a_run_looks_scores_up(
    harness: Commands, project: Project, grid: Grid
) -> None:
    """Many short runs look up what one long run commits and merges."""
    harness.ok(*grid, "--limit", 2)
    long = Forked((*grid, "--json"), project.root, pause=0.05)
    while long.process.is_alive():
        assert "damaged" not in harness.ok(*grid, "--limit", 2).err
        assert requests_of_limit(project.root / "results") == 0
    assert long.outcome().status == 0


def requests_of_limit(results: Path) -> int:
    """How many requests the last finished run of two items scored."""
    found = [m for m in manifests(results) if m["options"]["limit"] == 2 and m["status"] == "done"]
    scored: int = found[-1]["requests"]["scored"]
    return scored


@pytest.mark.slow
def test_two_real_commands_at_once(harness: Commands, project: Project, grid: Grid) -> None:
    both = [start((*grid, "--json"), project.root) for _ in range(2)]
    ends = [outcome(one) for one in both]
    assert [end.status for end in ends] == [0, 0], ends
    assert json.loads(ends[0].out)["rows"] == json.loads(ends[1].out)["rows"] == rows(harness, *grid)
    assert requests(project.root / "results")["scored"] == 0


# Damaged stores


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        pytest.param(_truncate, True, id="truncated"),
        pytest.param(lambda path: path.write_bytes(b""), True, id="empty", marks=pytest.mark.slow),
        pytest.param(
            lambda path: pq.write_table(pa.table({"a": [1]}), path.with_name("0-foreign.parquet")), False, id="foreign"
        ),
    ],
)
def test_damaged_store_file_is_passed_over_with_a_notice(
    harness: Commands, project: Project, grid: Grid, damage: Callable[[Path], object], lost: bool
) -> None:
    before = rows(harness, *grid)
    (path,) = (project.root / "results").glob("scores/*/*.parquet")
    damage(path)
    said = harness.ok(*grid, "--json")
    assert json.loads(said.out)["rows"] == before
    assert re.search(r"results/scores/\S+\.parquet: damaged, not read", said.err)
    assert requests(project.root / "results")["scored"] == (DISTINCT if lost else 0)
    assert harness.ok(*grid, "--json").err.count("damaged") == 1
    assert requests(project.root / "results")["scored"] == 0


# Stale or not


@pytest.fixture
def own_model(project: Project, tiny_gpt2: Path) -> Path:
    """A copy of the model that a test may change."""
    return shutil.copytree(tiny_gpt2, project.root / "model")


@pytest.fixture
def own_grid(own_model: Path) -> Grid:
    return ("run", "--tasks", "mood", "--data-dir", "data", "--model", "./model", "--shots", "0,2")


def other_weights(model: Path) -> None:
    """Other weights in as many bytes, with the time of the old ones."""
    path = model / "model.safetensors"
    before = path.stat()
    other = build_gpt2(model.parent / "other-weights", seed=1) / "model.safetensors"
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def one_other_weight(model: Path) -> None:
    """One bit of one weight, in place, with the old time."""
    path = model / "model.safetensors"
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-3, os.SEEK_END)
        stream.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_config(model: Path) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "layer_norm_epsilon": 0.1}))


def other_tokenizer(model: Path) -> None:
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    path.write_text(json.dumps({**tokenizer, "normalizer": {"type": "Lowercase"}}))


@pytest.mark.slow
@pytest.mark.parametrize("change", [other_weights, one_other_weight, other_config, other_tokenizer])
def test_changed_model_is_scored_anew(
    harness: Commands, project: Project, own_model: Path, own_grid: Grid, change: Callable[[Path], None]
) -> None:
    before = harness.ok(*own_grid) and predictions(project.root / "results")
    change(own_model)
    changed = rows(harness, *own_grid)
    assert requests(project.root / "results") == {"distinct": DISTINCT, "from store": 0, "scored": DISTINCT}
    assert predictions(project.root / "results").keys().isdisjoint(before), "cells of a changed model are others"
    assert changed == rows(harness, *own_grid, "--results", "other")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--dtype", "bfloat16"),
        ("--bos", "always"),
        ("--model-arg", "attn_implementation=eager"),
        ("--model-arg", "tie_word_embeddings=true"),
    ],
    ids=" ".join,
)
def test_changed_option_is_scored_anew(harness: Commands, project: Project, grid: Grid, options: Grid) -> None:
    harness.ok(*grid)
    before = predictions(project.root / "results")
    changed = rows(harness, *grid, *options)
    assert requests(project.root / "results") == {"distinct": DISTINCT, "from store": 0, "scored": DISTINCT}
    assert predictions(project.root / "results").keys().isdisjoint(before)
    assert changed == rows(harness, *grid, *options, "--results", "other")
    harness.ok(*grid)
    assert requests(project.root / "results")["scored"] == 0


def test_changed_template_is_scored_anew_and_the_other_is_not(
    harness: Commands, project: Project, done: None, grid: Grid
) -> None:
    path = project.root / "prompts/mood/plain.jinja"
    path.write_text(path.read_text().replace("Mood:", "Tone:"))
    changed = rows(harness, *grid)
    assert requests(project.root / "results")["scored"] == DISTINCT // 2
    assert changed == rows(harness, *grid, "--results", "other")
    assert changed == rows(harness, "leaderboard"), "the latest run of a template counts"


def test_new_template_costs_its_own_requests_alone(harness: Commands, project: Project, done: None, grid: Grid) -> None:
    project.write("prompts/mood/third.jinja", "---\nanswers: [bad, good]\n---\nIs it {{ text }}? {{ answer }}\n")
    harness.ok(*grid)
    assert requests(project.root / "results") == {
        "distinct": DISTINCT * 3 // 2, "from store": DISTINCT, "scored": DISTINCT // 2,
    }  # fmt: skip


def test_changed_row_is_scored_anew_and_no_other(harness: Commands, project: Project, grid: Grid) -> None:
    zero_shot = (*grid[:-1], "0")
    harness.ok(*zero_shot)
    path = project.root / "data/mood/test.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first.replace('"text": "The', '"text": "That'), *rest]))
    changed = rows(harness, *zero_shot)
    assert requests(project.root / "results")["scored"] == 2 * 2, "two templates, two answers"
    assert changed == rows(harness, *zero_shot, "--results", "other")


def test_changed_demonstration_is_scored_anew(harness: Commands, project: Project, done: None, grid: Grid) -> None:
    path = project.root / "data/mood/train.jsonl"
    path.write_text(path.read_text().replace("The ", "That "))
    changed = rows(harness, *grid)
    assert requests(project.root / "results")["scored"] == DISTINCT // 2, "all with demonstrations"
    assert changed == rows(harness, *grid, "--results", "other")


def test_changed_gold_label_changes_the_table_and_costs_nothing(
    harness: Commands, project: Project, grid: Grid
) -> None:
    zero_shot = (*grid[:-1], "0")
    (before,) = rows(harness, *zero_shot)
    path = project.root / "data/mood/test.jsonl"
    flipped = [{**row, "label": 1 - row["label"]} for row in map(json.loads, path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in flipped))
    (after,) = rows(harness, *zero_shot)
    assert requests(project.root / "results")["scored"] == 0
    assert after["accuracy"]["mean"] == pytest.approx(1 - before["accuracy"]["mean"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="again", marks=pytest.mark.slow),
        pytest.param(("--rule", "sum,token,char,byte"), id="other rules"),
        pytest.param(("--limit", "7"), id="fewer items"),
        pytest.param(("--shots", "2"), id="fewer shots", marks=pytest.mark.slow),
        pytest.param(("--prompts", "terse"), id="fewer prompts", marks=pytest.mark.slow),
        pytest.param(("--dtype", "float32", "--device", "cpu", "--demos", "fixed"), id="defaults spelled out"),
    ],
)
def test_what_was_scored_before_costs_nothing(
    harness: Commands, project: Project, done: None, grid: Grid, options: Grid
) -> None:
    files = list((project.root / "results/scores").rglob("*"))
    said = harness.ok(*grid, *options)
    assert requests(project.root / "results")["scored"] == 0
    assert "the model was not loaded" in said.err
    assert list((project.root / "results/scores").rglob("*")) == files


def test_same_model_under_another_name_is_not_scored_again(
    harness: Commands, project: Project, done: None, grid: Grid, own_grid: Grid
) -> None:
    harness.ok(*own_grid)
    assert requests(project.root / "results")["scored"] == 0


def test_rows_in_another_order_are_not_scored_again(harness: Commands, project: Project, grid: Grid) -> None:
    before = rows(harness, *grid)
    for name in ("train", "test"):
        path = project.root / f"data/mood/{name}.jsonl"
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert rows(harness, *grid) == before
    assert requests(project.root / "results")["scored"] == 0


def test_more_items_cost_only_the_new_ones(harness: Commands, project: Project, grid: Grid) -> None:
    harness.ok(*grid, "--limit", 5)
    harness.ok(*grid, "--limit", 12)
    assert requests(project.root / "results") == {"distinct": 12 * 8, "from store": 5 * 8, "scored": 7 * 8}


# Fresh


def test_fresh_computes_all_again_and_stores_no_key_twice(harness: Commands, project: Project, grid: Grid) -> None:
    before = rows(harness, *grid)
    keys = sorted(stored_keys(project.root / "results"))
    said = harness.ok(*grid, "--fresh", "--json")
    assert requests(project.root / "results") == {"distinct": DISTINCT, "from store": 0, "scored": DISTINCT}
    assert "160 stored scores were computed again; largest difference" in said.err
    assert json.loads(said.out)["rows"] == before
    assert sorted(stored_keys(project.root / "results")) == keys
    assert len(set(keys)) == len(keys) == DISTINCT


def test_fresh_stores_what_is_new(harness: Commands, project: Project, grid: Grid) -> None:
    harness.ok(*grid, "--prompts", "plain")
    harness.ok(*grid, "--fresh")
    assert Counter(stored_keys(project.root / "results")).most_common(1)[0][1] == 1
    assert len(stored_keys(project.root / "results")) == DISTINCT
    harness.ok(*grid)
    assert requests(project.root / "results")["scored"] == 0


def test_fresh_tells_when_stored_scores_were_others(
    harness: Commands, project: Project, done: None, grid: Grid
) -> None:
    (path,) = (project.root / "results").glob("scores/*/*.parquet")
    table = pq.read_table(path, partitioning=None)
    spans = [[value - 3.0 for value in span] for span in table["logprobs"].to_pylist()]
    column = table.schema.get_field_index("logprobs")
    other = table.set_column(column, "logprobs", pa.array(spans, table.schema.field(column).type))
    pq.write_table(other, path.with_name("0.parquet"))
    path.unlink()
    found = re.search(r"largest difference (\S+)", harness.ok(*grid, "--fresh").err)
    assert found is not None
    assert float(found[1]) >= 3.0
