"""A null in the data: no text for what compares texts, none for templates, and never a word in a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from commands import Commands, Outcome
from conftest import Project

from harness.records import Example, plain_text
from harness.render import Renderer

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = """\
name: notes
family: sentiment
source: {folder: notes}
splits: {pool: train, select: "train[-6:]", report: test}
fields: [text, note]
target: label
labels: [low, high]
"""
TEMPLATE = "---\nanswers: [bad, good]\n---\n{{ text }}{% if note %} ({{ note }}){% endif %}\nMood: {{ answer }}\n"

Run = Callable[..., Outcome]


@pytest.fixture
def notes(project: Project) -> Project:
    project.write("tasks/notes.yaml", TASK)
    project.write("prompts/notes/plain.jinja", TEMPLATE)
    return project


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All prompts that are rendered."""
    found: list[str] = []
    render = Renderer.prompt

    def spy(self: Renderer, item: Example, demos: list[Example]) -> object:
        prompt = render(self, item, demos)
        found.append(prompt.text)
        return prompt

    monkeypatch.setattr(Renderer, "prompt", spy)
    return found


def frame(count: int, notes: dict[int, object], word: str) -> pandas.DataFrame:
    rows = [
        {"text": f"the {word} number {n} was {'fine' if n % 2 else 'dull'}", "note": notes.get(n, f"seen {n}")}
        for n in range(count)
    ]
    return pandas.DataFrame([{**row, "label": n % 2} for n, row in enumerate(rows)])


def write(path: Path, rows: pandas.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    elif path.suffix == ".csv":
        rows.to_csv(path, index=False)
    else:  # as Python writes them: NaN
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_dict("records")))


EVERYTHING = ("--calibrate", "none,contextual,domain", "--controls", "content-free,partial", "--shots", "0,2")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize(
    "pool",
    [{0: None, 3: float("nan")}, dict.fromkeys(range(20))],
    ids=["some of the pool", "all of the pool"],
)
def test_a_null_is_in_no_prompt_and_takes_nothing_away(
    harness: Commands, notes: Project, tiny_gpt2: Path, prompts: list[str], suffix: str, pool: dict[int, object]
) -> None:
    write(notes.root / f"data/notes/train{suffix}", frame(20, pool, "film"))
    write(notes.root / f"data/notes/test{suffix}", frame(4, {0: None, 2: float("nan")}, "meal"))
    done = harness.ok("run", "--tasks", "notes", "--model", tiny_gpt2, "--data-dir", "data", "--json", *EVERYTHING)
    assert {row["control"] for row in json.loads(done.out)["rows"]} == {
        None,
        "content-free",
        "partial:text",
        "partial:note",
    }
    assert len(prompts) > 40
    assert not [text for text in prompts if re.search(r"\b(?:None|nan|NaN|null)\b", text)]


def test_draws_and_baselines_take_a_null_for_no_text(
    harness: Commands, notes: Project, tiny_gpt2: Path, prompts: list[str]
) -> None:
    write(notes.root / "data/notes/train.parquet", frame(20, {0: None, 3: None}, "film"))
    write(notes.root / "data/notes/test.parquet", frame(4, {0: None}, "meal"))
    given = ("--tasks", "notes", "--data-dir", "data")
    harness.ok("run", *given, "--model", tiny_gpt2, "--shots", "2", "--demos", "bm25", "--split", "select")
    assert not [text for text in prompts if "None" in text]
    harness.ok("baseline", *given, "--methods", "tfidf", "--sizes", "8", "--seeds", "0")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("a", "a"), (3, "3"), (["a", None, "b"], "a b"), ({"x": None, "y": ["c"]}, "c"), ([None], "")],
)
def test_the_text_of_a_value(value: object, text: str) -> None:
    assert plain_text(value) == text


@pytest.mark.parametrize(("place", "told"), [("train", "train.jsonl:1"), ("test", "test.jsonl:1")])
def test_a_null_that_a_template_writes_is_an_error_that_says_what_to_do(
    harness: Commands, notes: Project, tiny_gpt2: Path, place: str, told: str
) -> None:
    notes.write("prompts/notes/plain.jinja", TEMPLATE.replace("{% if note %} ({{ note }}){% endif %}", "{{ note }}"))
    for name in ("train", "test"):
        gone = dict.fromkeys(range(20)) if name == place else {}
        write(notes.root / f"data/notes/{name}.jsonl", frame(20, gone, name))
    mistake = harness("run", "--tasks", "notes", "--model", tiny_gpt2, "--data-dir", "data", "--shots", "2").mistake
    assert "plain.jinja:4: the value is None, which would be written as that word (use an if, or default" in mistake
    assert f"{place}.jsonl:" in mistake


@pytest.mark.parametrize("expression", ["note ~ ''", "[text, note] | join(' ')", "note | upper", "'nan' | float"])
def test_no_expression_writes_a_null_or_nan_as_a_word(
    harness: Commands, notes: Project, tiny_gpt2: Path, expression: str
) -> None:
    notes.write("prompts/notes/plain.jinja", TEMPLATE.replace("{{ text }}", f"{{{{ {expression} }}}}"))
    write(notes.root / "data/notes/train.jsonl", frame(20, {}, "film"))
    write(notes.root / "data/notes/test.jsonl", frame(2, {0: None}, "meal"))
    mistake = harness("run", "--tasks", "notes", "--model", tiny_gpt2, "--data-dir", "data").mistake
    assert re.search(r"the value is (?:None|nan), which would be written as that word", mistake)
