"""Several processes for one run, started as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Project

ALONE = [sys.executable]
# On a machine without GPUs, too, this is how accelerate starts processes of its own (with gloo).
TOGETHER = [
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no",
]  # fmt: skip


def command(launcher: list[str], model: Path, *more: str) -> list[str]:
    return [
        *launcher, "-m", "harness", "run", "--tasks", "mood", "--shots", "0,3", "--demo-seeds", "0,1",
        "--data-dir", "data", "--model", str(model), "--json", *more,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=environment(), check=False)


def manifest(results: str) -> dict[str, Any]:
    (path,) = Path(results).glob("runs/*/manifest.json")
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def stored(results: str) -> list[Any]:
    tables = [pq.read_table(path, columns=["key", "logprobs"]) for path in Path(results).glob("scores/*/*.parquet")]
    return sorted((row["key"], row["logprobs"]) for table in tables for row in table.to_pylist())


@pytest.mark.slow
def test_two_processes_share_the_work_and_print_what_one_prints(project: Project, tiny_gpt2: Path) -> None:
    one = run(command(ALONE, tiny_gpt2, "--results", "one"))
    two = run(command(TOGETHER, tiny_gpt2, "--results", "two"))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert json.loads(one.stdout) == json.loads(two.stdout)
    single, double = manifest("one"), manifest("two")
    assert (single["model"]["processes"], double["model"]["processes"]) == (1, 2)
    assert single["requests"] == double["requests"]
    # The second process computes the path to its first request again, which is counted, and nothing else.
    assert 0 <= double["tokens_computed"] - single["tokens_computed"] < 128
    alone, shared = stored("one"), stored("two")
    assert [key for key, _ in alone] == [key for key, _ in shared]
    for (_, left), (_, right) in zip(alone, shared, strict=True):
        assert left == pytest.approx(right, rel=0, abs=1e-5)
    assert len(list(Path("two").glob("scores/*/*.parquet"))) == 2


@pytest.mark.slow
def test_two_processes_agree_on_rounds(project: Project, tiny_gpt2: Path) -> None:
    """A round for each cell, which one process encodes no faster than the other scores."""
    driver = project.write(
        "driver.py",
        "from harness import cli, grid\ngrid.ROUND_TOKENS = 1\nif __name__ == '__main__':\n    cli.main()\n",
    )
    one = run(command(ALONE, tiny_gpt2, "--results", "one"))
    started = command([*TOGETHER, str(driver)], tiny_gpt2, "--results", "two")
    place = started.index(str(driver))
    two = run([*started[: place + 1], *started[place + 3 :]])  # in place of -m harness
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert json.loads(one.stdout) == json.loads(two.stdout)
    single, double = manifest("one"), manifest("two")
    assert double["model"]["processes"] == 2
    assert single["requests"] == double["requests"]
    assert [key for key, _ in stored("one")] == [key for key, _ in stored("two")]


@pytest.mark.slow
def test_a_mistake_is_told_once(project: Project, tiny_gpt2: Path) -> None:
    done = run(command(TOGETHER, tiny_gpt2, "--prompts", "terze"))
    assert done.returncode != 0
    assert done.stderr.count("did you mean 'terse'") == 1
    assert done.stdout == ""


@pytest.mark.slow
def test_a_process_that_dies_costs_only_what_it_had_not_finished(project: Project, tiny_gpt2: Path) -> None:
    project.write_rows("data/mood/test.jsonl", 3000, seed=2)
    arguments = command(TOGETHER, tiny_gpt2, "--results", "two", "--prompts", "plain")
    launched = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    )
    limit = time.monotonic() + 120
    while not list(Path("two").glob("scores/*/*.parquet")):
        assert time.monotonic() < limit
        assert launched.poll() is None, launched.stderr.read() if launched.stderr else ""
        time.sleep(0.05)
    os.kill(last_worker(launched.pid), signal.SIGKILL)
    launched.communicate(timeout=120)
    assert launched.returncode != 0
    kept = len(stored("two"))
    assert kept > 0
    again = run(arguments)
    assert again.returncode == 0, again.stderr
    newest = max(Path("two").glob("runs/*/manifest.json"), key=lambda path: path.parent.name)
    counts = json.loads(newest.read_text())["requests"]
    assert counts["from store"] == kept
    assert counts["scored"] == counts["distinct"] - kept
    whole = run(command(ALONE, tiny_gpt2, "--results", "one", "--prompts", "plain"))
    assert json.loads(again.stdout) == json.loads(whole.stdout)


def last_worker(parent: int) -> int:
    """The process of the highest rank below a launcher."""
    import psutil

    workers = [
        child for child in psutil.Process(parent).children(recursive=True) if "harness" in " ".join(child.cmdline())
    ]
    return max(workers, key=lambda child: int(child.environ().get("RANK", "-1"))).pid
