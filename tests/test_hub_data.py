"""Rows from the hub, which a local data set stands in for."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from small_task import make_task

from harness import hub
from harness.data import load_data
from harness.errors import DataError
from harness.hub_data import HubSource

ROWS = [{"text": "one", "label": 1}, {"text": "two", "label": 0}, {"text": "三", "label": 1}]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: True)


@pytest.fixture
def _switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline is a switch of the whole process; it is put back after the test."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _switch: None) -> dict[str, Any]:
    """Stands in for the hub: one data set, and what it was asked for."""
    import datasets

    made = datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS), "train": datasets.Dataset.from_list(ROWS)})
    cached = tmp_path / "someone___t/small/0.0.0" / COMMIT
    made.save_to_disk(cached)
    made = datasets.load_from_disk(cached)
    seen: dict[str, Any] = {}

    def load_dataset(path: str, name: str | None = None, **options: Any) -> datasets.DatasetDict:
        seen.update(path=path, name=name, offline=datasets.config.HF_HUB_OFFLINE, **options)
        return made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return seen


@pytest.mark.usefixtures("online")
def test_rows_from_the_hub_with_the_revision_that_was_read(asked: dict[str, Any]) -> None:
    source = HubSource(make_task(source={"hub": "someone/t", "config": "small", "revision": "main"}))
    rows = source.rows("test")
    assert [row.values for row in rows] == ROWS
    assert rows[1].place == "someone/t/small test row 2"
    assert source.revision == COMMIT
    assert (asked["path"], asked["name"], asked["revision"]) == ("someone/t", "small", "main")
    assert asked["offline"] is False


@pytest.mark.usefixtures("online", "asked")
def test_the_revision_asked_for_stands_in_where_none_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    made = datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: made)
    assert HubSource(make_task(source={"hub": "someone/t", "revision": "v1"})).revision == "v1"


@pytest.mark.usefixtures("online", "asked")
def test_a_folder_here_is_never_taken_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someone/t").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="someone/t is also a path here"):
        HubSource(make_task())


@pytest.mark.usefixtures("asked")
def test_another_revision_in_the_cache_than_the_task_names_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    with pytest.raises(DataError, match=f"the local cache holds revision {COMMIT}, but tasks/t.yaml names {'f' * 40}"):
        HubSource(make_task(source={"hub": "someone/t", "revision": "f" * 40}))


@pytest.mark.usefixtures("online", "asked")
def test_the_revision_is_part_of_what_is_known_of_the_data() -> None:
    data = load_data(make_task(), HubSource(make_task()), ["report"])
    assert (data.origin, data.revision, len(data.role("report"))) == ("hub", COMMIT, len(ROWS))


@pytest.mark.usefixtures("online", "asked")
def test_an_unknown_split_on_the_hub_gets_a_suggestion() -> None:
    with pytest.raises(
        DataError, match=r"someone/t: has no split 'tests'; did you mean 'test'\? \(splits: test, train\)"
    ):
        HubSource(make_task()).rows("tests")


def test_offline_asks_the_local_cache_alone(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    HubSource(make_task()).rows("test")
    assert asked["offline"] is True


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> str:
    import datasets

    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        HubSource(make_task()).rows("test")
    return str(caught.value)


@pytest.mark.usefixtures("_switch")
def test_offline_without_a_cached_copy_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    message = failing(monkeypatch, ConnectionError("a long\nstory"))
    assert message == (
        "someone/t: HF_HUB_OFFLINE is set, and the data of t is not in the local cache;"
        " name a folder that holds it with --data-dir"
    )
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert "https://hub.example cannot be reached" in failing(monkeypatch, ConnectionError())


@pytest.mark.usefixtures("_switch")
def test_the_real_library_gives_up_at_once_when_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    begin = time.monotonic()
    with pytest.raises(DataError, match="not in the local cache"):
        HubSource(make_task(source={"hub": "nobody-at-all/no-such-data"})).rows("test")
    assert time.monotonic() - begin < 10


@pytest.mark.usefixtures("online", "_switch")
def test_errors_of_the_hub_become_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.exceptions import DatasetNotFoundError

    assert failing(monkeypatch, DatasetNotFoundError("…")) == "someone/t: no such data set on the hub"
    assert failing(monkeypatch, ValueError("bad\n  parquet")) == "someone/t: cannot be read: bad parquet"


def test_the_hub_is_not_probed_when_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(*_: object, **__: object) -> None:
        raise AssertionError("probed")

    monkeypatch.setattr("urllib.request.urlopen", probe)
    hub.reachable.cache_clear()
    assert hub.reachable() is False


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True),
        (urllib.error.HTTPError("https://hub.example", 403, "no", Message(), None), True),  # it answered
        (urllib.error.URLError("no route"), False),
        (http.client.BadStatusLine("not HTTP"), False),
        (TimeoutError(), False),
    ],
)
def test_the_hub_is_reachable_when_anything_answers(
    error: Exception | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(*_: object, **__: object) -> io.BytesIO:
        if error is not None:
            raise error
        return io.BytesIO()

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("urllib.request.urlopen", probe)
    hub.reachable.cache_clear()
    try:
        assert hub.reachable() is expected
    finally:
        hub.reachable.cache_clear()


@pytest.mark.usefixtures("online", "_switch")
def test_values_of_the_hub_are_read_as_those_of_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [{"text": text, "label": 1 - n, "image": b"\x89\xff", "score": float("nan")} for n, text in enumerate("ab")]
    made = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=["high", "low"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict({"test": made.select([1, 0])}))
    task = make_task(fields=["text", "score"])
    found = load_data(task, HubSource(task), ["report"]).role("report")
    assert [example.fields for example in found] == [{"text": "b", "score": None}, {"text": "a", "score": None}]
    assert [example.gold for example in found] == [1, 0]  # by the names of the data, not by its ids
    with pytest.raises(DataError, match=r"the column 'image' cannot be read: it is bytes that are no UTF-8"):
        load_data(make_task(fields={"text": "image"}), HubSource(task), ["report"])
