"""Prompt template files: YAML front matter and a sandboxed Jinja body with one answer slot.

A template renders one example into the text before and after the slot and the label words that may fill it. It does
not know of demonstrations, tokens or models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harness.errors import FileError, Problems, TemplateError, UsageError, suggest
from harness.name_patterns import fitting
from harness.records import Example, digest
from harness.sandbox import Expression, Slot, Text, compile_expression, compile_text
from harness.search_path import SearchPath
from harness.strict_yaml import fit, parse_mapping
from harness.tasks import Task, expression_source
from harness.text_files import UserFile

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MODES = ("answer", "completion", "rest")
SUFFIXES = (".jinja", ".jinja2", ".j2")
MAX_CHARACTERS = 100_000

_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*\n", re.DOTALL | re.MULTILINE)

Words = tuple[tuple[str, ...], ...]


def _word_lists(value: object) -> object:
    """``[a, [b, c]]`` as ``((a,), (b, c))``; anything odd is left for the type check to name."""
    if isinstance(value, list):
        return tuple(
            (word,) if isinstance(word, str) else tuple(word) if isinstance(word, list) else word for word in value
        )
    return value


def _declared_words(value: object) -> object:
    """The word lists of front matter; names a word that is no text, since YAML reads 1, true and null as such."""
    words = _word_lists(value)
    if isinstance(words, str):
        return words
    if not isinstance(words, tuple):
        raise ValueError("must be a list of words, letters, or an expression in {{ }}")
    for group in words:
        for word in group if isinstance(group, tuple) else (group,):
            if not isinstance(word, str):
                raise ValueError(f"the label word {word!r:.60} is not text; put it in quotes")
    return words


class FrontMatter(BaseModel):
    """The keys a template may set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    answers: Annotated[str | Words, BeforeValidator(_declared_words)]
    description: str = ""
    separator: str = "\n\n"
    score: str | None = None
    premise: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """One example under one template.

    ``words`` holds the label words, by label. A demonstration is ``prefix + words[gold][0] + suffix``. For a query the
    model is given ``prefix``, the word and ``suffix[: scored.start]`` and scored on ``suffix[scored]``; unless
    ``scored`` is None, when it is given ``prefix`` and scored on the word and ``tail``.
    """

    prefix: str
    suffix: str
    words: Words
    scored: slice | None
    tail: str

    @property
    def after_answer(self) -> str:
        """What is scored besides the label word itself."""
        return self.tail if self.scored is None else self.suffix[self.scored]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A compiled template file, bound to the task whose fields it uses. ``name`` is ``folder/stem``."""

    name: str
    path: Path
    front: FrontMatter
    fingerprint: str
    score: str
    _body: Text
    _answers: Expression | None
    _premise: Text | None = None
    _slots: dict[str, Slot] = field(default_factory=dict)

    def render(self, example: Example) -> Rendered:
        """Render one example.

        Raises:
            TemplateError: the template fails on this example; the message names it.
        """
        try:
            words = self._words(example)
            variables = {**example.fields, "options": list(example.options), "answers": [group[0] for group in words]}
            return self._split(self._body.render({**variables, **self._slots}), words, example)
        except TemplateError as error:
            raise TemplateError(self.path, f"{error.message} (item {example.place})", error.line) from error

    def premise(self, example: Example) -> str:
        """What the answers stand after when nothing is known of the item: the domain premise of the rule ``pmi``.

        It is ``premise:`` of the front matter, or else the last line of the prompt with all text fields empty, which
        may be nothing where the label comes first. The white space before the answer is the companion's to add.

        Raises:
            TemplateError: the template fails without text, or its last line says nothing then.
        """
        if self._premise is not None:
            return self._premise.render({**example.fields, "options": list(example.options)}).rstrip()
        label_first = self.score not in ("answer", "completion")
        filler = "x" if label_first else ""  # there must be something to score
        empty = {name: filler if isinstance(value, str) else value for name, value in example.fields.items()}
        try:
            found = self.render(replace(example, fields=empty)).prefix.rpartition("\n")[2]
        except TemplateError:
            found = ""
        if not found.strip() and not label_first:
            raise TemplateError(self.path, "the rule pmi needs a domain premise: set premise: in the front matter", 1)
        return found.rstrip()

    def _words(self, example: Example) -> Words:
        answers = self.front.answers
        if self._answers is not None:
            value = self._answers.evaluate({**example.fields, "options": list(example.options)})
            groups = _word_lists(list(value)) if isinstance(value, list | tuple) else value
            words = _checked_words(groups, self.path)
        elif isinstance(answers, str):
            if len(example.options) > len(LETTERS):
                raise TemplateError(self.path, f"answers: letters serve at most {len(LETTERS)} options")
            words = tuple((letter,) for letter in LETTERS[: len(example.options)])
        else:
            return answers
        if len(words) != len(example.options):
            raise TemplateError(self.path, f"answers: gives {len(words)} answers for {len(example.options)} options")
        return words

    def _split(self, text: str, words: Words, example: Example) -> Rendered:
        prefix, suffix = _cut(text, self._slots["answer"], self.path)
        if self.front.score is None and suffix.strip():
            raise TemplateError(
                self.path,
                f"the text {suffix.strip()[:40]!r} follows {{{{ answer }}}}, where a causal model cannot see it when"
                " it answers: set score: completion (score it with the answer), rest (score it given the answer), a"
                " field's name, or answer (only demonstrations show it)",
            )
        if self.score == "answer":
            return Rendered(prefix, suffix, words, None, "")
        if self.score == "completion":
            return Rendered(prefix, suffix, words, None, suffix)
        if self.score == "rest":
            scored = slice(0, len(suffix))
        else:
            slot = self._slots[self.score]
            if slot.mark in prefix:
                raise TemplateError(self.path, f"score: {self.score}: the field must come after the answer slot")
            before, after = _cut(suffix, slot, self.path)
            value = example.fields[self.score]
            if not isinstance(value, str):
                raise TemplateError(self.path, f"score: {self.score}: the field must be text, not {value!r:.60}")
            suffix = before + value + after
            scored = slice(len(before), len(before) + len(value))
        if not suffix[scored].strip():
            raise TemplateError(self.path, f"score: {self.score}: there is no text to score after the answer slot")
        return Rendered(prefix, suffix, words, scored, "")


def load_template(path: Path, task: Task) -> Template:
    """Read, check and compile one template for a task.

    Raises:
        FileError: a mistake in the front matter, and all others with it.
        TemplateError: one in the body.
    """
    source = UserFile(path).text(MAX_CHARACTERS)
    match = _FRONT.match(source)
    if match is None:
        raise FileError(
            path, "must begin with front matter between two lines of '---' that holds at least 'answers:'", 1
        )
    document = parse_mapping(match.group(1), path, first_line=2)
    lines = document.lines
    problems = Problems()
    front = body = answers = premise = None
    score = "answer"
    with problems:
        front = fit(FrontMatter, document)
        answers = _check_answers(front, task, path, lines.get("answers"))
    scope = {*task.fields, "answer", "answers", "options"}
    first_line = match.group(0).count("\n") + 1
    with problems:
        body = compile_text(source[match.end() :], origin=path, scope=scope, first_line=first_line)
        if "answer" not in body.names:
            raise TemplateError(path, "does not write {{ answer }}, which marks where the label word goes", first_line)
    if front is not None and body is not None:
        with problems:
            score = _score_mode(front, task, path, lines.get("score"), body)
    if front is not None and front.premise is not None:
        with problems:
            own = {*task.fields, "options"}
            premise = compile_text(front.premise, origin=path, scope=own, first_line=lines.get("premise", 1))
    problems.end()
    assert front is not None
    assert body is not None
    slots = {"answer": Slot("answer")}
    if score not in MODES:
        slots[score] = Slot(score)
    return Template(
        name=f"{path.parent.name}/{path.stem}",
        path=path,
        front=front,
        fingerprint=digest([source.replace("\r\n", "\n"), score]),
        score=score,
        _body=body,
        _answers=answers,
        _premise=premise,
        _slots=slots,
    )


def _check_answers(front: FrontMatter, task: Task, path: Path, line: int | None) -> Expression | None:
    answers = front.answers
    if not isinstance(answers, str):
        words = _checked_words(answers, path, line)
        if task.labels is None:
            raise FileError(
                path, f'answers: {task.name} has per-item options; use "{{{{ options }}}}" or letters', line
            )
        if len(words) != len(task.labels):
            raise FileError(
                path, f"answers: {len(words)} given for the {len(task.labels)} labels {', '.join(task.labels)}", line
            )
        flat = [word for group in words for word in group]
        twice = next((word for word in flat if flat.count(word) > 1), None)
        if twice is not None:
            raise FileError(path, f"answers: the label word {twice!r:.60} is given twice", line)
        return None
    if answers == "letters":
        return None
    source = expression_source(answers)
    if source is None:
        raise FileError(
            path, f"answers: must be a list of words, letters, or an expression in {{{{ }}}}, not {answers!r}", line
        )
    return compile_expression(source, origin=path, scope={*task.fields, "options"}, line=line)


def _checked_words(value: object, path: Path, line: int | None = None) -> Words:
    if not isinstance(value, tuple) or not all(isinstance(group, tuple) and group for group in value):
        raise TemplateError(path, f"answers: must give a list of words, not {value!r:.80}", line)
    flat = [word for group in value for word in group]
    for word in flat:
        if not isinstance(word, str) or not word.strip():
            raise TemplateError(path, f"answers: every label word must be non-empty text, not {word!r:.60}", line)
    return value


def _score_mode(front: FrontMatter, task: Task, path: Path, line: int | None, body: Text) -> str:
    choices = [*MODES, *task.fields]
    if front.score is not None and front.score not in choices:
        raise FileError(path, f"score: unknown {front.score!r}{suggest(front.score, choices)}", line)
    if front.score is not None and front.score in task.fields and front.score not in body.names:
        raise FileError(path, f"score: {front.score}: the template does not write this field", line)
    return front.score or "answer"


def _cut(text: str, slot: Slot, path: Path) -> tuple[str, str]:
    pieces = text.split(slot.mark)
    if len(pieces) != 2:
        times = "never" if len(pieces) == 1 else f"{len(pieces) - 1} times"
        raise TemplateError(
            path, f"{{{{ {slot.name} }}}} must be written exactly once and unaltered, but was written {times}"
        )
    return pieces[0], pieces[1]


def find_templates(task: Task, search: SearchPath) -> tuple[dict[str, Path], dict[str, Path]]:
    """Template files of a task by ``folder/stem``, and those that an earlier place shadows."""
    found: dict[str, Path] = {}
    shadowed: dict[str, Path] = {}
    for folder in task.prompt_folders:
        first, behind = search.files(f"prompts/{folder}", SUFFIXES)
        found.update({f"{folder}/{stem}": path for stem, path in first.items()})
        shadowed.update({f"{folder}/{stem}": path for stem, path in behind.items()})
    return found, shadowed


def default_prompt(task: Task, search: SearchPath) -> str:
    """The template that is taken where one is needed and none is named: ``plain``, else the first by name."""
    names = sorted(find_templates(task, search)[0])
    return next((name for name in names if name.endswith("/plain")), next(iter(names), "all"))


def load_templates(task: Task, search: SearchPath, wanted: Sequence[str] = ("all",)) -> list[Template]:
    """The templates of a task that ``wanted`` names: ``all``, ``plain``, ``sst2/plain`` or a pattern, sorted by name.

    Raises:
        UsageError: a name matches nothing, or the task has no template at all.
        FileError: a chosen file is wrong.
    """
    found, _ = find_templates(task, search)
    if not found:
        folders = ", ".join(f"prompts/{folder}" for folder in task.prompt_folders)
        raise UsageError(
            f"the task {task.name!r} has no template: no {' or '.join(SUFFIXES)} file in {folders} of {_places(search)}"
        )
    chosen: set[str] = set()
    for pattern in wanted:
        matches = set(found) if pattern == "all" else _matching(pattern, found)
        if not matches:
            stems = [name.split("/")[1] for name in found]
            others = [
                path for folder in task.prompt_folders for path in search.others(f"prompts/{folder}", pattern, SUFFIXES)
            ]
            told = f"; {others[0]} does not end in {' or '.join(SUFFIXES)}" if others else ""
            raise UsageError(
                f"unknown prompt {pattern!r} for {task.name}{suggest(pattern, stems, what='prompts')}{told}"
            )
        chosen |= matches
    return [load_template(found[name], task) for name in sorted(chosen)]


def _matching(pattern: str, names: Iterable[str]) -> set[str]:
    """The templates of that very name, with its folder or without, or else those that a pattern fits."""
    both = {name: (name, name.split("/")[1]) for name in names}
    exact = {name for name, spellings in both.items() if pattern in spellings}
    return exact or {name for name, spellings in both.items() if fitting(pattern, spellings)}


def _places(search: SearchPath) -> str:
    return ", ".join(str(root) for root in search.roots)
