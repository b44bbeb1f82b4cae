"""Folders whose names are not UTF-8, and a source tree without package metadata."""

from __future__ import annotations

import json
import os
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from commands import Commands
from conftest import Project

from harness.versions import VERSION, versions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def odd(project: Project) -> Path:
    """The project's data in a folder whose name is Latin-1."""
    folder = project.root / os.fsdecode(b"caf\xe9")
    try:
        shutil.copytree(project.root / "data", folder)
    except OSError:
        pytest.skip("this file system takes no names but UTF-8")
    return folder


def test_folders_may_have_names_that_are_not_utf8(
    harness: Commands, project: Project, odd: Path, tiny_gpt2: Path
) -> None:
    given = ("--tasks", "mood", "--data-dir", odd, "--results", odd / "results")
    for prompts in ("plain", "plain,terse"):  # the second reads what the first stored
        harness.ok("run", *given, "--model", tiny_gpt2, "--prompts", prompts, "--limit", "4")
    harness.ok("baseline", *given, "--methods", "tfidf", "--sizes", "8", "--seeds", "0")
    shown = harness.ok("leaderboard", "--results", odd / "results", "--json")
    assert {row["method"] for row in json.loads(shown.out)["rows"]} == {None, "tfidf"}
    assert len(harness.ok("list", "runs", "--results", odd / "results").out.splitlines()) == 4
    for path in (odd / "results/runs").glob("*/manifest.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["options"]["data_dir"].endswith("/caf\\udce9")
    odd.joinpath("new.csv").write_text("text\nfine\n")
    harness.ok("predict", "--run", "latest:method=tfidf", "--results", odd / "results", odd / "new.csv")
    mistake = harness("run", "--tasks", "mood", "--data-dir", odd / "nowhere").mistake
    assert "caf\\udce9/nowhere: no such data folder" in mistake


def test_a_list_of_demonstrations_may_have_such_a_name(harness: Commands, odd: Path, tiny_gpt2: Path) -> None:
    listed = odd / os.fsdecode(b"pr\xe9f\xe9r\xe9s.jsonl")
    listed.write_text(json.dumps({"text": "A lovely day out", "label": 1}) + "\n")
    given = ("--tasks", "mood", "--data-dir", odd, "--model", tiny_gpt2, "--limit", "4", "--shots", "1")
    harness.ok("run", *given, "--prompts", "plain", "--demos", f"file:{listed}")
    (row,) = json.loads(harness.ok("leaderboard", "--json").out)["rows"]
    assert row["demos"] == r"file:pr\udce9f\udce9r\udce9s.jsonl"


def test_a_source_tree_needs_no_metadata(
    harness: Commands, project: Project, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(package: str) -> str:
        if package in ("harness", "jinja2"):
            raise metadata.PackageNotFoundError(package)
        return "1"

    assert metadata.version("harness") == VERSION
    monkeypatch.setattr(metadata, "version", missing)
    assert harness.ok("--version").out.rstrip().endswith(VERSION)
    assert versions(("harness", "jinja2", "numpy")) == {"harness": VERSION, "jinja2": "unknown", "numpy": "1"}
