"""The built-in model and samples: what they are, and that the main job runs on them alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Commands

from harness.models import ModelSpec, load_model, locate_model
from harness.search_path import SearchPath, builtin_folder
from harness.sources import sampled_tasks
from harness.tasks import Catalogue
from harness.tokenizer import PretrainedTokenizer

ROLES = ("pool", "select", "report")


def test_the_model_is_small_and_needs_no_pickle_and_no_code() -> None:
    files = [path for path in (builtin_folder() / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}


def test_the_model_is_loaded_like_any_other() -> None:
    files = locate_model(ModelSpec("builtin"))
    assert files.label == "builtin"
    assert 1_000_000 <= sum(parameter.numel() for parameter in load_model(files).parameters()) <= 2_500_000
    assert len(PretrainedTokenizer(files).prefix) == 1


def test_the_samples_are_of_the_first_four_tasks() -> None:
    assert sampled_tasks() == ["ag_news", "rte", "sst2", "trec"]


@pytest.mark.parametrize("name", ["ag_news", "rte", "sst2", "trec"])
def test_a_sample_serves_every_role_and_holds_no_row_twice(name: str) -> None:
    from harness.data import load_data
    from harness.sources import sample_source

    task = Catalogue(SearchPath.default()).get(name)
    data = load_data(task, sample_source(task), ROLES)
    assert data.origin == "sample"
    assert all(len(data.role(role)) >= 75 for role in ROLES)
    assert data.duplicates <= 3
    golds = [example.gold for example in data.role("report")]
    assert task.labels is not None
    assert min(golds.count(label) for label in range(len(task.labels))) >= 20


@pytest.mark.usefixtures("one_thread")
def test_the_main_job_needs_no_network_no_data_and_no_model(
    harness: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = harness.ok("run", "--tasks", "sst2", "--shots", "0,4", "--prompts", "plain", "--limit", "20", "--json")
    rows = json.loads(done.out)["rows"]
    assert [(row["data"], row["model"], row["n"]) for row in rows] == [("sample", "builtin", 20)] * 2
    assert "no --model given: the small built-in one is used" in done.err
    assert "the small built-in sample is used instead of the real data" in done.err
    assert rows[0]["accuracy"]["mean"] > 0.6
