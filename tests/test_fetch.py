"""``harness fetch``, with a hub that is a dictionary."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Project

from harness import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, project: Project, tiny_gpt2: Path) -> Project:
    """A hub with one data set, ``someone/mood``, and one model, ``someone/tiny``."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(hub, "reachable", functools.cache(lambda: True))
    rows = datasets.Dataset.from_list([{"text": "fine", "label": 1}, {"text": "poor", "label": 0}])
    made = datasets.DatasetDict({"train": rows, "test": rows})
    made.save_to_disk(project.root / "datasets" / COMMIT)
    made = datasets.load_from_disk(project.root / "datasets" / COMMIT)

    def load_dataset(path: str, *_: Any, **__: Any) -> datasets.DatasetDict:
        if path != "someone/mood":
            raise datasets.exceptions.DatasetNotFoundError(path)
        return made

    class Api:
        def model_info(self, repo_id: str, revision: str | None = None) -> Any:
            return huggingface_hub.hf_api.ModelInfo(id=repo_id, sha=COMMIT, siblings=[])

    def snapshot_download(repo_id: str, **_: Any) -> str:
        copy = project.root / "cache" / COMMIT
        shutil.copytree(tiny_gpt2, copy, dirs_exist_ok=True)
        return str(copy)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    task = (project.root / "tasks/mood.yaml").read_text()
    project.write("tasks/mood.yaml", task.replace("{folder: mood}", "{hub: someone/mood}"))
    project.write("tasks/local.yaml", task.replace("name: mood", "name: local"))
    return project


@pytest.mark.usefixtures("fake_hub")
def test_fetching_names_what_came_at_which_commit(harness: Commands) -> None:
    found = harness("fetch", "--tasks", "mood", "--model", "someone/tiny")
    assert found.status == 0
    data, model = found.out.splitlines()
    assert data == f"mood: someone/mood at {COMMIT}, rows: train 2, test 2"
    assert model.startswith(f"someone/tiny: at {COMMIT}, ")


@pytest.mark.usefixtures("fake_hub")
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "name --tasks, --model, or both"),
        (["--tasks", "local"], 2, "local is not on the hub"),
        (["--tasks", "mod"], 2, "did you mean 'mood'?"),
        (["--model", "."], 1, "not a model folder"),
    ],
)
def test_mistakes(harness: Commands, arguments: list[str], status: int, message: str) -> None:
    found = harness("fetch", *arguments)
    assert found.status == status
    assert message in found.err
    assert found.err.count("\n") == 1


def test_without_the_hub_nothing_is_fetched(harness: Commands, project: Project) -> None:
    found = harness("fetch", "--tasks", "mood")
    assert (found.status, found.err) == (1, "harness: nothing can be fetched: HF_HUB_OFFLINE is set\n")
