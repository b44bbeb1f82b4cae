"""Template files: what each part of one renders to, and the one message for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_task

from harness.errors import FileError, TemplateError, UsageError
from harness.records import Example
from harness.search_path import SearchPath
from harness.tasks import Task
from harness.templates import MAX_CHARACTERS, Rendered, Template, load_template, load_templates

CHOICE: dict[str, object] = {"labels": None, "options": "{{ choices }}"}


def make_task(**changes: Any) -> Task:
    return small_task.make_task(fields={"text": "text", "title": "title"}, **changes)


def example(text: object = "fine", *, gold: int = 1, options: tuple[str, ...] = ("low", "high")) -> Example:
    return Example("id1", {"text": text, "title": "T"}, options, gold, None, "test.jsonl:7")


def load(folder: Path, source: str, task: Task | None = None) -> Template:
    path = folder / "prompts/t/plain.jinja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return load_template(path, task or make_task())


def render(folder: Path, source: str, item: Example | None = None, task: Task | None = None) -> Rendered:
    return load(folder, source, task).render(item or example())


def refused(folder: Path, source: str, item: Example | None = None, task: Task | None = None) -> str:
    """The message without the file's name."""
    with pytest.raises(FileError) as caught:
        render(folder, source, item, task)
    path = str(folder / "prompts/t/plain.jinja")
    assert str(caught.value).startswith(path)
    return str(caught.value).removeprefix(path).removeprefix(":").strip()


# What is rendered


def test_the_text_before_and_after_the_slot_and_the_words(tmp_path: Path) -> None:
    source = "---\nanswers: [bad, good]\nscore: answer\n---\nIt is {{ answer }}, says {{ title }}: {{ text }}.\n"
    words = (("bad",), ("good",))
    assert render(tmp_path, source) == Rendered("It is ", ", says T: fine.", words, None, "")


def test_one_final_newline_is_dropped_and_no_more(tmp_path: Path) -> None:
    assert render(tmp_path, "---\nanswers: [a, b]\n---\n{{ text }}: {{ answer }}\n").suffix == ""
    assert render(tmp_path, "---\nanswers: [a, b]\n---\n{{ text }}: {{ answer }}\n\n").suffix == "\n"


def test_trailing_space_before_the_slot_is_kept(tmp_path: Path) -> None:
    assert render(tmp_path, "---\nanswers: [a, b]\n---\n{{ text }}\n\n {{ answer }}").prefix == "fine\n\n "


def test_lines_of_tags_leave_no_trace(tmp_path: Path) -> None:
    source = "---\nanswers: [a, b]\n---\nA\n  {% if text %}\nB\n  {% endif %}\n{{ answer }}\n"
    assert render(tmp_path, source).prefix == "A\nB\n"


def test_windows_line_ends_are_read_as_plain_ones(tmp_path: Path) -> None:
    source = "---\nanswers: [a, b]\n---\nOne: {{ text }}\nTwo: {{ answer }}\n"
    plain = load(tmp_path, source)
    path = tmp_path / "prompts/t/plain.jinja"
    path.write_bytes(source.replace("\n", "\r\n").encode())
    windows = load_template(path, make_task())
    assert windows.render(example()) == plain.render(example())
    assert windows.render(example()).prefix == "One: fine\nTwo: "
    assert windows.fingerprint == plain.fingerprint


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert render(tmp_path, "\ufeff---\nanswers: [a, b]\n---\n{{ answer }}").prefix == ""


def test_text_of_the_data_that_looks_like_a_template_stays_text(tmp_path: Path) -> None:
    shown = render(tmp_path, "---\nanswers: [a, b]\n---\n{{ text }} {{ answer }}", example("{{ answer }} {% if %}"))
    assert shown.prefix == "{{ answer }} {% if %} "


def test_the_front_matter_may_be_followed_by_dashes_of_the_body(tmp_path: Path) -> None:
    assert (
        render(tmp_path, "---\nanswers: [a, b]\n---\n---\n{{ text }}\n---\n{{ answer }}").prefix == "---\nfine\n---\n"
    )


# Score modes: what is given and what is scored, by hand


@pytest.mark.parametrize(
    ("score", "scored", "tail"),
    [
        ("answer", None, ""),
        ("completion", None, " of T: fine!"),
        ("rest", " of T: fine!", ""),
        ("text", "fine", ""),
        ("title", "T", ""),
    ],
)
def test_what_a_score_mode_scores(tmp_path: Path, score: str, scored: str | None, tail: str) -> None:
    source = f"---\nanswers: [a, b]\nscore: {score}\n---\nA {{{{ answer }}}} of {{{{ title }}}}: {{{{ text }}}}!"
    shown = render(tmp_path, source)
    assert (shown.prefix, shown.suffix, shown.tail) == ("A ", " of T: fine!", tail)
    assert (None if shown.scored is None else shown.suffix[shown.scored]) == scored


def test_a_scored_field_is_found_by_its_place_and_not_by_its_text(tmp_path: Path) -> None:
    source = "---\nanswers: [a, b]\nscore: text\n---\n{{ answer }} says T, twice T: {{ text }} T"
    shown = render(tmp_path, source, example("T"))
    assert shown.scored == slice(len(" says T, twice T: "), len(" says T, twice T: ") + 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("---\n{{ answer }} so", "the text 'so' follows {{ answer }}"),
        ("score: tixt\n---\n{{ answer }} {{ text }}", "3: score: unknown 'tixt'; did you mean 'text'?"),
        ("score: title\n---\n{{ answer }} {{ text }}", "3: score: title: the template does not write this field"),
        ("score: text\n---\n{{ text }} {{ answer }}", "score: text: the field must come after the answer slot"),
        ("score: text\n---\n{{ answer }} {{ text }} {{ text }}", "{{ text }} must be written exactly once"),
        ("score: text\n---\n{{ answer }} {{ text | upper }}", "'text' can only be written out as {{ text }}"),
        ("score: rest\n---\n{{ text }} {{ answer }} ", "score: rest: there is no text to score"),
    ],
)
def test_score_modes_that_make_no_sense_are_refused(tmp_path: Path, source: str, message: str) -> None:
    assert message in refused(tmp_path, f"---\nanswers: [a, b]\n{source}")


@pytest.mark.parametrize("text", ["", "  ", 3, None])
def test_a_scored_field_must_be_text(tmp_path: Path, text: object) -> None:
    message = refused(tmp_path, "---\nanswers: [a, b]\nscore: text\n---\n{{ answer }}: {{ text }}", example(text))
    assert "score: text: " in message
    assert "test.jsonl:7" in message


def test_white_space_after_the_slot_needs_no_score(tmp_path: Path) -> None:
    assert render(tmp_path, "---\nanswers: [a, b]\n---\n{{ text }} {{ answer }}\n \n").suffix == "\n "


# The slot


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{{ text }}", "does not write {{ answer }}"),
        ("{{ answer }} {{ answer }}", "exactly once and unaltered, but was written 2 times"),
        ("{% if text == 'x' %}{{ answer }}{% endif %}", "exactly once and unaltered, but was written never"),
        ("{{ answer | upper }}", "'answer' can only be written out"),
        ("{{ answer ~ '.' }}", "'answer' can only be written out"),
        ("{{ text if answer == 'good' }}", "'answer' can only be written out"),
        ("{{ label }} {{ answer }}", "unknown name 'label'"),
        ("{{ choices }} {{ answer }}", "unknown name 'choices'"),
    ],
)
def test_the_slot_can_only_be_written_once_and_gold_is_out_of_scope(tmp_path: Path, body: str, message: str) -> None:
    assert message in refused(tmp_path, f"---\nanswers: [a, b]\n---\n{body}")


def test_an_error_in_the_body_has_the_line_of_the_file(tmp_path: Path) -> None:
    source = "---\nanswers: [a, b]\n# a remark\n---\n{{ answer }}\n{{ titel }}"
    assert refused(tmp_path, source).startswith("6: unknown name 'titel'; did you mean 'title'?")


def test_an_error_of_one_item_names_it_and_the_line(tmp_path: Path) -> None:
    message = refused(tmp_path, "---\nanswers: [a, b]\n---\n{{ answer }}\n{{ text.missing }}", example({"some": "x"}))
    assert message.startswith("5: no field 'missing'")
    assert message.endswith("(item test.jsonl:7)")


# Answers


def test_several_words_for_a_label(tmp_path: Path) -> None:
    shown = render(tmp_path, "---\nanswers: [[bad, awful], good]\n---\n{{ answers | join('/') }}: {{ answer }}")
    assert shown.words == (("bad", "awful"), ("good",))
    assert shown.prefix == "bad/good: "  # a template sees the first word of each


def test_letters_for_the_options_of_each_item(tmp_path: Path) -> None:
    source = (
        "---\nanswers: letters\n---\n{% for option in options %}\n{{ answers[loop.index0] }}. {{ option }}\n"
        "{% endfor %}\n{{ answer }}"
    )
    template = load(tmp_path, source, make_task(**CHOICE))
    three = template.render(example(options=("x", "y", "z")))
    assert (three.prefix, three.words) == ("A. x\nB. y\nC. z\n", (("A",), ("B",), ("C",)))
    assert template.render(example(options=("x", "y"))).words == (("A",), ("B",))


def test_letters_serve_labels_too(tmp_path: Path) -> None:
    shown = render(tmp_path, "---\nanswers: letters\n---\n{{ options | join(', ') }}: {{ answer }}")
    assert (shown.words, shown.prefix) == ((("A",), ("B",)), "low, high: ")


def test_letters_end_with_the_alphabet(tmp_path: Path) -> None:
    source, task = "---\nanswers: letters\n---\n{{ answer }}", make_task(**CHOICE)
    assert render(tmp_path, source, example(options=("x",) * 26), task).words[-1] == ("Z",)
    message = refused(tmp_path, source, example(options=("x",) * 27), task)
    assert message == "answers: letters serve at most 26 options (item test.jsonl:7)"


def test_options_as_answers(tmp_path: Path) -> None:
    source = '---\nanswers: "{{ options }}"\n---\n{{ text }} {{ answer }}'
    assert render(tmp_path, source, example(options=("x", "y", "z")), make_task(**CHOICE)).words == (
        ("x",), ("y",), ("z",),
    )  # fmt: skip


def test_an_expression_over_fields_and_options(tmp_path: Path) -> None:
    source = '---\nanswers: "{{ [[title, text], options[1]] }}"\n---\n{{ answer }}'
    assert render(tmp_path, source).words == (("T", "fine"), ("high",))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("options[:1]", "answers: gives 1 answers for 2 options"),
        ("options + ['x']", "answers: gives 3 answers for 2 options"),
        ("text", "answers: must give a list of words, not 'fine'"),
        ("[1, 2]", "answers: must give a list of words"),
        ("['', 'x']", "answers: every label word must be non-empty text, not ''"),
        ("[[], 'x']", "answers: must give a list of words"),
        ("options[5]", "no element 5"),
    ],
)
def test_an_expression_that_gives_no_words_names_the_item(tmp_path: Path, expression: str, message: str) -> None:
    got = refused(tmp_path, f'---\nanswers: "{{{{ {expression} }}}}"\n---\n{{{{ answer }}}}')
    assert message in got
    assert got.endswith("(item test.jsonl:7)")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("[bad]", "2: answers: 1 given for the 2 labels low, high"),
        ("[a, b, c]", "2: answers: 3 given for the 2 labels low, high"),
        ("[yes, 1]", "2: answers: the label word 1 is not text; put it in quotes"),
        ("[true, false]", "2: answers: the label word True is not text; put it in quotes"),
        ("[[a, null], b]", "2: answers: the label word None is not text; put it in quotes"),
        ('["", b]', "2: answers: every label word must be non-empty text"),
        ('["  ", b]', "2: answers: every label word must be non-empty text"),
        ("[a, a]", "2: answers: the label word 'a' is given twice"),
        ("[[a, b], [b, c]]", "2: answers: the label word 'b' is given twice"),
        ("[[], b]", "2: answers: must give a list of words"),
        ("words", "2: answers: must be a list of words, letters, or an expression"),
        ("{a: b}", "2: answers: must be a list of words, letters, or an expression"),
        ("3", "2: answers: must be a list of words, letters, or an expression"),
        ('"{{ optoins }}"', "2: unknown name 'optoins'; did you mean 'options'?"),
        ('"{{ answers }}"', "2: unknown name 'answers'"),
        ('"{{ label }}"', "2: unknown name 'label'"),
    ],
)
def test_answers_that_cannot_be_are_refused_with_their_line(tmp_path: Path, answers: str, message: str) -> None:
    assert message in refused(tmp_path, f"---\nanswers: {answers}\n---\n{{{{ answer }}}}")


def test_fixed_words_for_options_of_each_item_are_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "---\nanswers: [a, b]\n---\n{{ answer }}", task=make_task(**CHOICE))
    assert message.startswith("2: answers: t has per-item options")


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    assert render(tmp_path, "---\nanswers: [no, yes]\n---\n{{ answer }}").words == (("no",), ("yes",))


# The file


@pytest.mark.parametrize(
    "source",
    ["{{ answer }}", "answers: [a, b]\n---\n{{ answer }}", "---\nanswers: [a, b]\n{{ answer }}", "", "\n---\n---\n"],
)
def test_a_file_without_front_matter_is_refused(tmp_path: Path, source: str) -> None:
    assert refused(tmp_path, source).startswith("1: must begin with front matter")


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("description: x", "the key 'answers' is missing"),
        ("answers: [a, b]\ndescripton: x", "3: unknown key 'descripton'; did you mean 'description'?"),
        ("answers: [a, b]\nseparator: 3", "3: separator: must be a string, not 3; put it in quotes"),
        ("answers: [a, b]\nanswers: [a, b]", "3: not valid YAML: the key 'answers' appears twice"),
        ("answers: [a, b", "not valid YAML"),
    ],
)
def test_mistakes_in_front_matter(tmp_path: Path, front: str, message: str) -> None:
    assert message in refused(tmp_path, f"---\n{front}\n---\n{{{{ answer }}}}")


def test_a_very_large_file_is_refused(tmp_path: Path) -> None:
    assert "is larger than 100,000 characters" in refused(tmp_path, "x" * (MAX_CHARACTERS + 1))


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_bytes("---\nanswers: [好, 坏]\n---\n".encode("gb18030"))
    with pytest.raises(FileError, match=r"plain\.jinja:2: is not UTF-8: it has the byte 0xba, as GB18030"):
        load_template(path, make_task())


def test_the_fingerprint_changes_with_every_part(tmp_path: Path) -> None:
    base = "---\nanswers: [a, b]\ndescription: d\n---\n{{ text }} {{ answer }}"
    changes = [("[a, b]", "[b, a]"), ("description: d", "description: e"), ("{{ text }}", "{{ text }}:")]
    found = [
        load(tmp_path, base).fingerprint,
        *(load(tmp_path, base.replace(*change)).fingerprint for change in changes),
    ]
    assert len(set(found)) == 4
    assert load(tmp_path, base).fingerprint == found[0]


# Choosing templates


@pytest.fixture
def search(tmp_path: Path) -> SearchPath:
    for place, folder, stem in [
        ("mine", "t", "plain"),
        ("mine", "t", "terse"),
        ("theirs", "t", "plain"),
        ("theirs", "shared", "plain"),
        ("theirs", "shared", "long"),
    ]:
        path = tmp_path / place / "prompts" / folder / f"{stem}.jinja"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("---\nanswers: [a, b]\n---\n{{ text }} {{ answer }}\n")
    (tmp_path / "mine/prompts/t/broken.jinja.bak").touch()
    return SearchPath((tmp_path / "mine", tmp_path / "theirs"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["all"], ["shared/long", "shared/plain", "t/plain", "t/terse"]),
        (["plain"], ["shared/plain", "t/plain"]),
        (["t/plain", "long"], ["shared/long", "t/plain"]),
        (["t*"], ["t/plain", "t/terse"]),
        (["*e"], ["t/terse"]),
        (["terse", "t/terse"], ["t/terse"]),
    ],
)
def test_templates_by_name_or_pattern(search: SearchPath, wanted: list[str], expected: list[str]) -> None:
    task = make_task(prompts=["t", "shared"])
    assert [template.name for template in load_templates(task, search, wanted)] == expected


def test_the_first_place_wins(search: SearchPath, tmp_path: Path) -> None:
    (template,) = load_templates(make_task(), search, ["t/plain"])
    assert template.path == tmp_path / "mine/prompts/t/plain.jinja"


def test_an_unknown_template_gets_a_suggestion(search: SearchPath) -> None:
    with pytest.raises(
        UsageError, match=r"unknown prompt 'plane' for t; did you mean 'plain'\? \(prompts: plain, terse\)"
    ):
        load_templates(make_task(), search, ["plane"])


def test_a_task_without_templates_says_where_they_would_be(search: SearchPath) -> None:
    with pytest.raises(
        UsageError, match=r"task 't' has no template: no \.jinja or \.jinja2 or \.j2 file in prompts/none of"
    ):
        load_templates(make_task(prompts=["none"]), search)


def test_a_broken_template_fails_only_where_it_is_chosen(search: SearchPath, tmp_path: Path) -> None:
    (tmp_path / "mine/prompts/t/odd.jinja").write_text("no front matter")
    assert len(load_templates(make_task(), search, ["plain"])) == 1
    with pytest.raises(FileError, match="front matter"):
        load_templates(make_task(), search)


def test_errors_of_a_body_are_template_errors(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        load(tmp_path, "---\nanswers: [a, b]\n---\n{{ answer")
    assert caught.value.line == 4


@pytest.mark.parametrize("name", ["plain.j2", "plain.jinja2"])
def test_templates_may_end_in_what_jinja_files_end_in(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "prompts/t"
    folder.mkdir(parents=True)
    (folder / name).write_text("---\nanswers: [a, b]\n---\n{{ text }} {{ answer }}\n")
    (folder / "other.txt").touch()
    search = SearchPath((tmp_path,))
    (template,) = load_templates(make_task(), search)
    assert template.name == "t/plain"
    with pytest.raises(UsageError, match=rf"{folder}/other\.txt does not end in \.jinja or"):
        load_templates(make_task(), search, ["other"])


def test_all_mistakes_of_a_template_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_text("---\nanswers: [a, b]\nscor: rest\nseparator: 3\n---\n{{ txet }} {{ answer }}\n")
    with pytest.raises(FileError) as caught:
        load_template(path, make_task())
    message = str(caught.value).removeprefix(str(path))
    assert message.startswith(":3: unknown key 'scor'; did you mean 'score'?")
    assert "; and line 4: separator: must be a string, not 3" in message
    assert "; and line 6: unknown name 'txet'; did you mean 'text'?" in message
