"""Texts and options that stand more than once are counted, with an example of where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Commands
from conftest import Project

from harness.records import Example
from harness.repeats import find_repeats, told_of_items, told_of_pool

pytestmark = pytest.mark.usefixtures("one_thread")


def examples(*golds: int, options: tuple[str, ...] = ("low", "high")) -> list[Example]:
    return [Example(f"i{n}", {}, options, gold, None, f"f:{n}") for n, gold in enumerate(golds, 1)]


@pytest.mark.parametrize(
    ("keys", "golds", "items", "pool"),
    [
        ("abc", (0, 1, 0), [], []),
        (
            "aab",
            (0, 0, 1),
            [
                "t: 2 items are 1 text that stands more than once, such as f:1 and f:2; each counts as an item of its"
                " own"
            ],
            [],
        ),
        (
            "aabbcccd",
            (1, 1, 0, 1, 0, 0, 1, 1),
            [
                "t: 7 items are 3 texts that stand more than once, 2 of them with different labels, such as f:3 and"
                " f:4; each counts as an item of its own"
            ],
            ["t: 2 texts of the pool stand there with different labels (5 rows), such as f:3 and f:4"],
        ),
    ],
)
def test_repeats(keys: str, golds: Sequence[int], items: list[str], pool: list[str]) -> None:
    found = find_repeats(examples(*golds), keys)
    assert list(told_of_items("t", found)) == items
    assert list(told_of_pool("t", found)) == pool


def test_options_that_stand_twice() -> None:
    found = find_repeats([*examples(0, options=("a", "b", "a")), *examples(1)], "xy")
    assert list(told_of_items("t", found)) == [
        "t: 1 item has an option twice, such as f:1; equal options are one answer"
    ]


def test_answers_of_options_are_compared_not_their_places() -> None:
    """The same question with its options in another order has the same answer."""
    one, other = examples(0, options=("a", "b")) + examples(1, options=("b", "a"))
    assert find_repeats([one, other], "xx").disputed == []


@pytest.mark.parametrize("command", ["run", "baseline"])
def test_a_run_and_a_baseline_say_so(harness: Commands, project: Project, tiny_gpt2: Path, command: str) -> None:
    rows = [{"text": text, "label": label} for text, label in (("One.", 0), ("one", 1), ("Two", 0))]
    path = project.root / "data/mood/test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (project.root / "data/mood/train.jsonl").open("a") as file:
        file.write("".join(json.dumps({"text": text, "label": n}) + "\n" for n, text in enumerate(("Three!", "three"))))
    more = ("--model", tiny_gpt2, "--shots", "2") if command == "run" else ("--methods", "majority", "--sizes", "8")
    said = harness.ok(command, "--tasks", "mood", "--data-dir", "data", *more).err
    assert (
        "mood: 2 items are 1 text that stands more than once, 1 of them with different labels, such as"
        " data/mood/test.jsonl:1 and data/mood/test.jsonl:2; each counts as an item of its own"
    ) in " ".join(said.split())
    assert (
        "mood: 1 text of the pool stands there with different labels (2 rows), such as data/mood/train.jsonl:41 and"
        " data/mood/train.jsonl:42"
    ) in " ".join(said.split())
