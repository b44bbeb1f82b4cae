"""Task files: what they may say, what is refused and how, and how they are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import FileError, UsageError
from harness.search_path import SearchPath
from harness.tasks import BrokenTask, Catalogue, SplitSlice, Task, load_task

BASE = {
    "name": "name: t",
    "family": "family: f",
    "source": "source: {folder: t}",
    "splits": "splits: {pool: train, report: test}",
    "fields": "fields: [text]",
    "target": "target: label",
    "labels": "labels: [low, high]",
}


def write(folder: Path, *changes: str, drop: str = "", name: str = "t") -> Path:
    """A task file: ``BASE`` with some keys replaced, added or dropped."""
    lines = {**BASE, **{change.split(":")[0]: change for change in changes}}
    lines.pop(drop, None)
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines.values()) + "\n", encoding="utf-8")
    return path


def load(folder: Path, *changes: str, drop: str = "") -> Task:
    return load_task(write(folder, *changes, drop=drop))


def refused(folder: Path, *changes: str, drop: str = "") -> str:
    path = write(folder, *changes, drop=drop)
    with pytest.raises(FileError) as caught:
        load_task(path)
    return str(caught.value).removeprefix(str(path)).removeprefix(":").strip()


# What a task says


def test_defaults(tmp_path: Path) -> None:
    task = load(tmp_path)
    assert (task.language, task.metrics, task.primary_rule, task.prompt_folders) == ("en", ("accuracy",), "sum", ("t",))
    assert task.fields == {"text": "text"}
    assert task.labels == ("low", "high")
    assert task.cluster is None


def test_fields_may_be_renamed(tmp_path: Path) -> None:
    assert load(tmp_path, "fields: {text: passage}").fields == {"text": "passage"}


def test_yes_and_no_are_label_names(tmp_path: Path) -> None:
    assert load(tmp_path, "labels: [no, yes]").labels == ("no", "yes")


def test_options_are_scored_by_character_unless_the_task_says_otherwise(tmp_path: Path) -> None:
    options = 'options: "{{ choices }}"'
    assert load(tmp_path, options, drop="labels").primary_rule == "char"
    assert load(tmp_path, options, "rule: token", drop="labels").primary_rule == "token"


def test_prompt_folders_may_be_named(tmp_path: Path) -> None:
    assert load(tmp_path, "prompts: [shared, t]").prompt_folders == ("shared", "t")


def test_the_reading_changes_with_what_decides_the_examples_alone(tmp_path: Path) -> None:
    plain = load(tmp_path).reading
    same = ["description: other words", "metrics: [macro_f1]", "prompts: [x]", "rule: token", "source: {hub: a/b}"]
    assert {load(tmp_path, change).reading for change in same} == {plain}
    others = ["labels: [high, low]", "target: other", "fields: {text: body}", "splits: {report: train}", "cluster: id"]
    assert len({plain, *(load(tmp_path, change).reading for change in others)}) == 6


# What is refused


@pytest.mark.parametrize("key", ["name", "family", "source", "splits", "fields", "target"])
def test_a_key_is_missing(tmp_path: Path, key: str) -> None:
    assert refused(tmp_path, drop=key) == f"the key '{key}' is missing"


@pytest.mark.parametrize(
    ("change", "line", "part"),
    [
        ("name: other", 1, "name: 'other' must equal the file's name, 't'"),
        ("source: {}", 3, "names neither a folder nor a hub data set"),
        ("source: {folder: /etc}", 3, "below the data folder"),
        ("source: {folder: ../secret}", 3, "below the data folder"),
        ("source: {hub: ./folder/name}", 3, "hub must be a data set's id, owner/name"),
        ("source: {hub: csv}", 3, "hub must be a data set's id, owner/name"),
        ("name: 'a,b'", 1, "may hold letters, digits"),
        ("splits: {pool: train}", 4, "the role 'report' is missing"),
        ("splits: {report: 'test[1]'}", 4, "report: must be a split's name, or a slice"),
        ("splits: {report: 'test[1:2:3]'}", 4, "report: must be a split's name, or a slice"),
        ("splits: {report: 'test[:1.5%]'}", 4, "report: must be a split's name, or a slice"),
        ("splits: {train: x, report: test}", 4, "unknown value 'train'"),
        ("fields: {}", 5, "fields: must name at least 1, and names 0"),
        ("fields: [answer]", 5, "'answer' is taken by the prompt itself"),
        ("fields: {options: x}", 5, "'options' is taken by the prompt itself"),
        ("fields: {two words: x}", 5, "cannot be a name in a template"),
        ("fields: {_private: x}", 5, "cannot be a name in a template"),
        ("fields: {text: '{{ a b }}'}", 5, "unexpected 'b' after the expression"),
        ("target: '{{ x | nonesuch }}'", 6, "unknown filter 'nonesuch'"),
        ("labels: [low]", None, "at least two are needed, each named once"),
        ("labels: [low, low]", None, "at least two are needed, each named once"),
        ("labels: [0, 1]", 7, "labels.0: must be a string, not 0; put it in quotes"),
        ("labels: [true, false]", 7, "labels.0: must be a string, not True; put it in quotes"),
        ("options: '{{ x }}'", None, "either labels"),
        ("metrics: [acuracy]", 8, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("prompts: [../secret]", 8, "'../secret' is not the plain name of a folder"),
        ("metrics: []", 8, "names no metric"),
        ("rule: total", 8, "rule: unknown value 'total'"),
        ("lables: [a]", 8, "unknown key 'lables'; did you mean 'labels'?"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, change: str, line: int | None, part: str) -> None:
    message = refused(tmp_path, change)
    assert part in message
    assert message.startswith(f"{line}: " if line else "")


def test_options_must_be_an_expression(tmp_path: Path) -> None:
    assert "must be an expression" in refused(tmp_path, "options: choices", drop="labels")


def test_a_task_needs_labels_or_options(tmp_path: Path) -> None:
    assert "either labels" in refused(tmp_path, drop="labels")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes("name: 情感".encode("gb18030"))
    with pytest.raises(FileError, match=r"t\.yaml:1: is not UTF-8: it has the byte 0xc7, as GB18030"):
        load_task(path)


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    changes = ("labls: [a, b]", "family: 3", "fields: {text: '{{ a b }}'}", "target: '{{ x | nonesuch }}'")
    message = refused(tmp_path, *changes, drop="labels")
    assert message.startswith("7: unknown key 'labls'; did you mean 'labels'?")
    for part in (
        "line 2: family: must be a string, not 3",
        "line 5: unexpected 'b'",
        "line 6: unknown filter 'nonesuch'",
    ):
        assert f"; and {part}" in message
    both = refused(tmp_path, "name: other", "target: '{{ x | nonesuch }}'")
    assert both.startswith("1: name: 'other' must equal the file's name, 't'; and line 6: unknown filter")


# Slices


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("train", 5, [0, 1, 2, 3, 4]),
        ("train[:]", 3, [0, 1, 2]),
        ("train[:2]", 5, [0, 1]),
        ("train[1:3]", 5, [1, 2]),
        ("train[-2:]", 5, [3, 4]),
        ("train[:-2]", 5, [0, 1, 2]),
        ("train[-9:]", 5, [0, 1, 2, 3, 4]),
        ("train[:9]", 5, [0, 1, 2, 3, 4]),
        ("train[3:1]", 5, []),
        ("train[:40%]", 5, [0, 1]),
        ("train[-40%:]", 5, [3, 4]),
        ("train[:-40%]", 5, [0, 1, 2]),
        ("train[20%:80%]", 5, [1, 2, 3]),
        ("train[-100%:]", 5, [0, 1, 2, 3, 4]),
        ("train[-150%:]", 5, [0, 1, 2, 3, 4]),
        ("train[:0%]", 5, []),
        ("train[:20%]", 8, [0, 1]),  # 1.6 rows
        ("train[-10%:]", 2, []),  # rounds to no row, which must not mean all of them
        ("train[:-10%]", 2, [0, 1]),
    ],
)
def test_the_positions_of_a_slice(text: str, size: int, expected: list[int]) -> None:
    assert list(SplitSlice.parse(text).indices(size)) == expected


@pytest.mark.parametrize("split", ["validation_matched", "test-2016", "train.10k"])
def test_a_split_may_have_any_ordinary_name(split: str) -> None:
    assert SplitSlice.parse(split).split == split
    assert SplitSlice.parse(f"{split}[:10]").split == split


@given(size=st.integers(0, 2_000), share=st.integers(0, 100))
def test_a_head_and_the_tail_after_it_share_out_a_split(size: int, share: int) -> None:
    cuts = [(f"{share}%", f"{share}%"), (f"-{share}%", f"-{share}%")]
    for stop, start in cuts if share else cuts[:1]:
        head = list(SplitSlice.parse(f"x[:{stop}]").indices(size))
        tail = list(SplitSlice.parse(f"x[{start}:]").indices(size))
        assert head + tail == list(range(size))


# The catalogue


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    for name in ("clue_a", "clue_b", "sst2"):
        write(tmp_path / "mine/tasks", f"name: {name}", name=name)
    write(tmp_path / "mine/tasks", "name: other", name="broken")
    write(tmp_path / "theirs/tasks", "name: sst2", name="sst2")
    write(tmp_path / "theirs/tasks", "name: .hidden", name=".hidden")
    return Catalogue(SearchPath((tmp_path / "mine", tmp_path / "theirs")))


def test_the_first_place_wins_and_the_other_is_known_as_shadowed(catalogue: Catalogue, tmp_path: Path) -> None:
    assert catalogue.get("sst2").path == tmp_path / "mine/tasks/sst2.yaml"
    assert catalogue.shadowed == {"sst2": tmp_path / "theirs/tasks/sst2.yaml"}


def test_patterns_and_names_give_each_task_once_in_the_order_named(catalogue: Catalogue) -> None:
    assert [task.name for task in catalogue.select(["sst2", "clue_*", "sst2", "clue_a"])] == [
        "sst2",
        "clue_a",
        "clue_b",
    ]


def test_an_unknown_task_gets_a_suggestion(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="unknown task 'sst3'; did you mean 'sst2'"):
        catalogue.select(["sst3"])


def test_a_pattern_without_a_match_lists_the_tasks(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match=r"no task matches 'x\*' \(tasks: broken, clue_a, clue_b, sst2\)"):
        catalogue.select(["x*"])


def test_a_broken_file_fails_only_what_uses_it(catalogue: Catalogue) -> None:
    found = {task.name: task for task in catalogue.all()}
    assert isinstance(found["broken"], BrokenTask)
    assert all(isinstance(task, Task) for name, task in found.items() if name != "broken")
    with pytest.raises(FileError, match="must equal the file's name"):
        catalogue.get("broken")


# The search path


def test_task_files_may_end_in_yml(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks", name="t")
    path.rename(path.with_suffix(".yml"))
    catalogue = Catalogue(SearchPath((tmp_path,)))
    assert catalogue.get("t").path == tmp_path / "tasks/t.yml"
    write(tmp_path / "tasks", name="t")
    catalogue = Catalogue(SearchPath((tmp_path,)))
    assert catalogue.paths == {"t": tmp_path / "tasks/t.yaml"}
    assert catalogue.shadowed == {"t": tmp_path / "tasks/t.yml"}


@pytest.mark.parametrize("name", ["t.json", "t.yaml.txt", "t"])
def test_a_file_with_another_ending_is_pointed_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / name).touch()
    with pytest.raises(UsageError, match=rf"unknown task 't'.*; {tmp_path}/tasks/{name} does not end in \.yaml"):
        Catalogue(SearchPath((tmp_path,))).get("t")


def test_named_folders_come_first_then_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named/prompts").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert SearchPath.default([tmp_path / "named"]).roots[:2] == (tmp_path / "named", tmp_path / "here")


def test_a_place_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert SearchPath.default([tmp_path]).roots.count(tmp_path) == 1


def test_a_named_folder_must_exist_and_hold_tasks_or_prompts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        SearchPath.default([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="neither a tasks nor a prompts folder"):
        SearchPath.default([tmp_path])
