"""Rendering: the exact text a model is given, and the exact text it is scored on, all written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_task import make_task

from harness.errors import TemplateError
from harness.records import Answer, Example, Prompt, Segment
from harness.render import Renderer, without_last_demo
from harness.templates import Template, load_template


def make_template(folder: Path, source: str, **changes: Any) -> Template:
    path = folder / "plain.jinja"
    path.write_text(source, encoding="utf-8")
    return load_template(path, make_task(**changes))


def example(name: str, gold: int = 0, options: tuple[str, ...] = ("low", "high")) -> Example:
    return Example(f"id-{name}", {"text": name}, options, gold, None, f"test.jsonl:{name}")


DEMOS = [example("first", 0), example("second", 1)]
ITEM = example("item", 1)

DIRECT = "---\nanswers: [bad, good]\n---\nText: {{ text }}\nMood: {{ answer }}\n"
AFTER = "---\nanswers: [bad, good]\nscore: %s\n---\nA {{ answer }} note: {{ text }}!\n"


def prompt_of(folder: Path, source: str, demos: int = 2, **changes: Any) -> Prompt:
    return Renderer(make_template(folder, source, **changes)).prompt(ITEM, DEMOS[:demos])


# What is given and what is scored


def test_a_query_without_demonstrations_is_given_up_to_the_slot(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, DIRECT, demos=0)
    assert prompt.text == "Text: item\nMood: "
    assert prompt.answers == (Answer(0, "bad", "", "bad"), Answer(1, "good", "", "good"))


def test_demonstrations_are_separated_by_a_blank_line_by_default(tmp_path: Path) -> None:
    assert prompt_of(tmp_path, DIRECT).text == (
        "Text: first\nMood: bad\n\nText: second\nMood: good\n\nText: item\nMood: "
    )


def test_the_description_comes_first_and_is_separated_in_the_same_way(tmp_path: Path) -> None:
    source = DIRECT.replace("answers", 'description: "Judge {{ text }}."\nseparator: " ## "\nanswers')
    assert prompt_of(tmp_path, source, demos=1).text == (
        "Judge {{ text }}. ## Text: first\nMood: bad ## Text: item\nMood: "
    )
    assert prompt_of(tmp_path, source, demos=0).text == "Judge {{ text }}. ## Text: item\nMood: "


@pytest.mark.parametrize(
    ("score", "context", "answers"),
    [
        ("answer", "A ", [("", "bad"), ("", "good")]),
        ("completion", "A ", [("", "bad note: item!"), ("", "good note: item!")]),
        ("rest", "A ", [("bad", " note: item!"), ("good", " note: item!")]),
        ("text", "A ", [("bad note: ", "item"), ("good note: ", "item")]),
    ],
)
def test_what_each_score_mode_gives_and_scores(
    tmp_path: Path, score: str, context: str, answers: list[tuple[str, str]]
) -> None:
    prompt = prompt_of(tmp_path, AFTER % score, demos=1)
    assert prompt.text == "A bad note: first!\n\n" + context
    assert [(answer.given, answer.scored) for answer in prompt.answers] == answers
    assert [(answer.label, answer.word) for answer in prompt.answers] == [(0, "bad"), (1, "good")]


def test_several_words_are_several_answers_and_demonstrations_show_the_first(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, DIRECT.replace("[bad, good]", "[[bad, awful], [good, great, fine]]"))
    assert [(answer.label, answer.scored) for answer in prompt.answers] == [
        (0, "bad"), (0, "awful"), (1, "good"), (1, "great"), (1, "fine"),
    ]  # fmt: skip
    assert prompt.text == "Text: first\nMood: bad\n\nText: second\nMood: good\n\nText: item\nMood: "


def test_several_words_with_the_text_after_them(tmp_path: Path) -> None:
    source = (AFTER % "rest").replace("[bad, good]", "[[bad, awful], good]")
    assert [(a.label, a.given, a.scored) for a in prompt_of(tmp_path, source).answers] == [
        (0, "bad", " note: item!"), (0, "awful", " note: item!"), (1, "good", " note: item!"),
    ]  # fmt: skip


def test_options_of_each_item_and_its_demonstrations(tmp_path: Path) -> None:
    source = '---\nanswers: "{{ options }}"\nseparator: "\\n"\n---\n{{ text }} -> {{ answer }}\n'
    renderer = Renderer(make_template(tmp_path, source, labels=None, options="{{ choices }}"))
    prompt = renderer.prompt(example("q", 0, ("x", "y", "z")), [example("d", 1, ("no", "yes"))])
    assert prompt.text == "d -> yes\nq -> "
    assert [(answer.label, answer.scored) for answer in prompt.answers] == [(0, "x"), (1, "y"), (2, "z")]


def test_letters_follow_the_number_of_options(tmp_path: Path) -> None:
    source = "---\nanswers: letters\n---\n{{ text }}: {{ options | join(', ') }}\n{{ answer }}\n"
    renderer = Renderer(make_template(tmp_path, source, labels=None, options="{{ choices }}"))
    prompt = renderer.prompt(example("q", 0, ("x", "y")), [example("d", 2, ("i", "j", "k"))])
    assert prompt.text == "d: i, j, k\nC\n\nq: x, y\n"
    assert [answer.scored for answer in prompt.answers] == ["A", "B"]


# Segments


def test_every_segment_knows_what_it_is(tmp_path: Path) -> None:
    source = (AFTER % "completion").replace("answers", "description: Note\nanswers")
    assert prompt_of(tmp_path, source, demos=1).segments == (
        Segment("description", "prefix", "Note"),
        Segment("description", "separator", "\n\n"),
        Segment("demo", "prefix", "A ", "id-first"),
        Segment("demo", "answer", "bad", "id-first"),
        Segment("demo", "suffix", " note: first!", "id-first"),
        Segment("demo", "separator", "\n\n", "id-first"),
        Segment("query", "prefix", "A "),
    )


def test_empty_parts_of_a_demonstration_are_left_out(tmp_path: Path) -> None:
    source = '---\nanswers: [bad, good]\nseparator: ""\nscore: rest\n---\n{{ answer }}: {{ text }}\n'
    assert [segment.part for segment in prompt_of(tmp_path, source, demos=1).segments] == ["answer", "suffix", "prefix"]


def test_demo_ids_stand_in_the_order_given(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, DIRECT)
    assert prompt.demo_ids == ("id-first", "id-second")
    assert prompt.item_id == "id-item"


def test_without_the_last_demonstration_a_prompt_is_the_one_that_never_had_it(tmp_path: Path) -> None:
    source = (AFTER % "text").replace("answers", "description: Note\nanswers")
    assert without_last_demo(prompt_of(tmp_path, source, demos=2)) == prompt_of(tmp_path, source, demos=1)
    assert without_last_demo(prompt_of(tmp_path, source, demos=1)) == prompt_of(tmp_path, source, demos=0)


# Cost and failure


def test_each_demonstration_is_rendered_once_and_each_item_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    original = Template.render

    def render(self: Template, item: Example) -> Any:
        rendered.append(item.item_id)
        return original(self, item)

    monkeypatch.setattr(Template, "render", render)
    renderer = Renderer(make_template(tmp_path, DIRECT))
    for name in ("a", "b", "c"):
        renderer.prompt(example(name), DEMOS)
    assert sorted(rendered) == ["id-a", "id-b", "id-c", "id-first", "id-second"]


@pytest.mark.parametrize("failing", ["item", "demonstration"])
def test_a_failure_names_the_item_or_demonstration(tmp_path: Path, failing: str) -> None:
    template = make_template(tmp_path, "---\nanswers: [bad, good]\n---\n{{ 1 // (text | length - 3) }} {{ answer }}\n")
    good, bad = example("fine"), example("bad")
    with pytest.raises(TemplateError, match=r"plain\.jinja:4: .*\(item test\.jsonl:bad\)$"):
        Renderer(template).prompt(*((bad, [good]) if failing == "item" else (good, [bad])))
