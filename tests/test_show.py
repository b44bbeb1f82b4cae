"""``harness show``: the prompt as the model gets it, its parts, tokens and scored spans."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Project
from rich.console import Console

from harness.encode import EncodedAnswer
from harness.preview import preview, print_preview
from harness.progress import QuietReporter
from harness.records import Answer, Example, Prompt, Segment
from harness.show import show_prompt, show_tokens

ITEM = Example("id", {}, ("low", "high"), 1, None, "test.jsonl:1")
PROMPT = Prompt(
    "id",
    (
        Segment("description", "prefix", "Say the mood."),
        Segment("description", "separator", "\n\n"),
        Segment("demo", "prefix", "Text: it rains\nMood: ", "d"),
        Segment("demo", "answer", "bad", "d"),
        Segment("demo", "separator", "\n\n", "d"),
        Segment("query", "prefix", "Text: it [b]shines[/b]\nMood: "),
    ),
    (Answer(0, "bad", "", "bad"), Answer(1, "good", "", "good")),
    ("d",),
)


def shown(draw: object, *, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=40, color_system="truecolor" if terminal else None
    )
    draw(console)  # type: ignore[operator]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_piped_output_holds_the_prompt_unchanged_and_unwrapped() -> None:
    text = shown(lambda console: show_prompt(console, PROMPT, ITEM))
    assert text.startswith(PROMPT.text)


def test_each_part_has_its_own_colour_on_a_terminal() -> None:
    text = shown(lambda console: show_prompt(console, PROMPT, ITEM), terminal=True)
    colours = [
        text[: text.index(part)].rsplit("\x1b[", 1)[1]
        for part in ("Say the mood", "Text: it rains", "bad", "Text: it [b]")
    ]
    assert len(set(colours)) == 4


def test_the_right_answer_has_the_star() -> None:
    text = shown(lambda console: show_prompt(console, PROMPT, ITEM))
    assert "* high: [good]\n" in text
    assert "  low: [bad]\n" in text


def test_escape_sequences_in_data_do_not_reach_a_terminal() -> None:
    hostile = Prompt("id", (Segment("query", "prefix", "\x1b]0;owned\x07\x9b31m Mood: "),), PROMPT.answers, ())
    text = shown(lambda console: show_prompt(console, hostile, ITEM), terminal=True)
    assert "␛]0;owned␇\ufffd31m" in text
    assert not {"\x07", "\x9b"} & set(text)


def test_control_characters_and_tabs_are_piped_as_they_are() -> None:
    odd = Prompt("id", (Segment("query", "prefix", "a\tb\r\nc\x0bd\x07 Mood: "),), PROMPT.answers, ())
    assert shown(lambda console: show_prompt(console, odd, ITEM)).startswith(odd.text)


def test_tokens_stand_between_bars_and_the_scored_span_in_brackets() -> None:
    prompt = Prompt("id", (Segment("query", "prefix", "Mood: "),), PROMPT.answers, ())
    answers = [
        EncodedAnswer((0, 1, 2, 3), 1, 3, [(0, 4), (4, 5), (5, 9)], 5),
        EncodedAnswer((0, 1, 2, 4, 5), 1, 3, [(0, 4), (4, 5), (5, 8), (8, 10)], 5),
    ]
    text = shown(lambda console: show_tokens(console, prompt, ITEM, answers, ["<s>"]))
    assert "<s>|Mood|:|[ go|od]" in text
    assert "  low: [ bad]  1 token\n" in text


@pytest.mark.parametrize("shots", [0, 3])
def test_preview_prints_the_wanted_item_with_its_demonstrations(
    project: Project, capsys: pytest.CaptureFixture[str], shots: int
) -> None:
    (project.root / "prompts/mood/a-broken.jinja").write_text("no front matter")  # fails only what uses it
    print_preview(
        preview("mood", None, 2, {"shots": shots, "data_dir": project.root / "data"}, QuietReporter()), QuietReporter()
    )
    out = capsys.readouterr().out
    assert out.startswith("mood/plain, item 2 of 20")
    assert out.split("\n-- answers")[0].count("Mood:") == shots + 1


def test_preview_with_a_model_shows_the_span(
    project: Project, tiny_gpt2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"model": str(tiny_gpt2), "data_dir": project.root / "data"}
    print_preview(preview("mood", "plain", 0, values, QuietReporter()), QuietReporter())
    answers: Sequence[str] = capsys.readouterr().out.split("scored tokens of each answer\n")[1].splitlines()
    assert [line[2:].split(" [")[0] for line in answers] == ["low:", "high:"]
    assert all("[" in line and "]" in line and "token" in line for line in answers)
