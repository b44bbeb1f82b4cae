"""Where a task's rows come from, and what happens where they cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_task import make_task

from harness import sources
from harness.errors import DataError, HubUnavailableError, UsageError
from harness.sources import row_source


class FakeHub:
    """Stands in for ``HubSource``: a hub that has everything."""

    origin, location, revision = "hub", "hub/t", None

    def __init__(self, task: Any) -> None:
        pass


class NoHub(FakeHub):
    """A hub that cannot be reached."""

    def __init__(self, task: Any) -> None:
        raise HubUnavailableError("a/b", "the hub is away", "there is no copy")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.hub_data.HubSource", FakeHub)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.hub_data.HubSource", NoHub)


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose built-in sample is of the folder ``t``."""
    monkeypatch.setattr(sources, "builtin_folder", lambda: tmp_path / "builtin")
    folder = tmp_path / "builtin" / "samples" / "t"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text(json.dumps({"text": "from the sample", "label": 0}), encoding="utf-8")
    return folder


def choose(choice: Any = "auto", data_dir: Path | None = None, told: list[str] | None = None, **task: Any) -> Any:
    return row_source(make_task(**task), choice, data_dir, (told if told is not None else []).append)


@pytest.mark.usefixtures("hub")
def test_the_named_folder_comes_before_the_environment_and_both_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("named", "environment"):
        (tmp_path / name / "t").mkdir(parents=True)
    assert choose().origin == "hub"
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "environment"))
    assert choose().location == str(tmp_path / "environment/t")
    assert choose(data_dir=tmp_path / "named").location == str(tmp_path / "named/t")
    assert choose("hub").origin == "hub"


@pytest.mark.parametrize("choice", ["hub", "sample"])
def test_a_folder_beside_another_choice_is_an_error(tmp_path: Path, choice: str) -> None:
    with pytest.raises(UsageError, match="name one of them"):
        choose(choice, tmp_path)


@pytest.mark.usefixtures("no_hub", "sample")
def test_a_named_folder_that_is_missing_or_lacks_the_task_is_an_error_and_never_a_fallback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder"):
        choose(data_dir=tmp_path / "nowhere")
    (tmp_path / "named" / "tt").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no folder 't' for the task 't'.*\(folders: tt\)"):
        choose(data_dir=tmp_path / "named")


def test_a_task_without_a_folder_cannot_be_read_from_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names no folder"):
        choose(data_dir=tmp_path, source={"hub": "a/b"})


def test_a_task_without_a_hub_data_set_needs_a_folder() -> None:
    with pytest.raises(DataError, match="names no hub data set"):
        choose(source={"folder": "t"})


@pytest.mark.usefixtures("no_hub")
def test_the_sample_stands_in_where_nothing_was_named_and_says_so(sample: Path) -> None:
    told: list[str] = []
    source = choose(told=told)
    assert (source.origin, source.location) == ("sample", str(sample))
    assert [row.values["text"] for row in source.rows("test")] == ["from the sample"]
    assert told == ["t: the hub is away; the small built-in sample is used instead of the real data"]


@pytest.mark.usefixtures("no_hub", "sample")
def test_the_hub_when_asked_for_has_no_stand_in() -> None:
    with pytest.raises(HubUnavailableError, match="the hub is away, and there is no copy"):
        choose("hub")


@pytest.mark.usefixtures("no_hub", "sample")
def test_a_task_without_a_sample_has_no_stand_in() -> None:
    with pytest.raises(HubUnavailableError):
        choose(source={"folder": "other", "hub": "a/b"})


@pytest.mark.usefixtures("hub")
def test_the_sample_when_asked_for_comes_before_all_else(sample: Path) -> None:
    assert choose("sample").location == str(sample)


@pytest.mark.usefixtures("sample")
def test_asking_for_a_sample_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'t' has no built-in sample.*\(samples: t\)"):
        choose("sample", source={"folder": "other"})
