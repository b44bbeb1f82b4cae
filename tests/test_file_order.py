"""The order of rows in a file changes nothing: roles, draws, limits, training sets and choices are the same."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def task(project: Project) -> Project:
    """All three roles are of one split."""
    text = (project.root / "tasks/mood.yaml").read_text()
    project.write(
        "tasks/mood.yaml",
        text.replace("pool: train, report: test", 'pool: train, select: "train[-30:]", report: "train[:24]"'),
    )
    project.write_rows("data/mood/train.jsonl", 120, seed=4)
    project.write("prompts/mood/zh.jinja", "---\nanswers: [坏, 好]\n---\n{{ text }} {{ answer }}\n")
    return project


def shuffled(path: Path, seed: int) -> None:
    rows = path.read_text().splitlines()
    random.Random(seed).shuffle(rows)
    path.write_text("\n".join(rows) + "\n")


def latest() -> Path:
    return max(
        Path("results/runs").iterdir(), key=lambda path: json.loads((path / "manifest.json").read_text())["created"]
    )


def answers() -> tuple[list[str], set[tuple[object, ...]]]:
    """The cells of the latest run, and what each said of each item."""
    rows = pq.read_table(latest() / "predictions.parquet").to_pylist()
    cells = json.loads((latest() / "manifest.json").read_text())["cells"]
    return [cell["id"] for cell in cells], {(row["cell"], row["item_id"], row["prediction"]) for row in rows}


RUN = ("run", "--tasks", "mood", "--data-dir", "data", "--prompts", "plain", "--limit", "20", "--shots", "3")


@pytest.mark.parametrize(
    "command",
    [
        (*RUN, "--demos", "balanced", "--controls", "noise,permuted"),
        (*RUN, "--demos", "bm25", "--calibrate", "domain,batch,prototypical"),
        (*RUN, "--demos", "per-item", "--split", "select"),
        (
            "baseline", "--tasks", "mood", "--data-dir", "data", "--methods", "majority,tfidf,random", "--sizes",
            "12,40", "--seeds", "0,1",
        ),
        ("select", "--tasks", "mood", "--data-dir", "data", "--budget", "60", "--shots", "0,2"),
    ],
    ids=["balanced", "bm25", "per-item", "baseline", "select"],
)  # fmt: skip
def test_a_shuffled_file_gives_the_same(
    harness: Commands, task: Project, tiny_gpt2: Path, command: Sequence[str]
) -> None:
    model = () if command[0] == "baseline" else ("--model", tiny_gpt2)
    first = harness.ok(*command, *model)
    before = answers()
    shuffled(task.root / "data/mood/train.jsonl", 7)
    second = harness.ok(*command, *model)
    assert answers() == before
    assert second.out.splitlines()[:3] == first.out.splitlines()[:3]
