"""What README, docs and help texts tell one to type: every command parses and runs as it stands, and shows the same."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Commands
from conftest import ROOT, Project

from harness.cli import cli

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

# What stands for something of the reader's own, beside paths, which the folder of the test simply has.
PLACEHOLDERS = {
    "A": "latest",
    "B": "latest",
    "RUN": "latest",
    "RUN:shots=0": "latest:shots=0",
    "RUN:shots=4": "latest:shots=4",
}
# A smaller number where a page's own would take minutes.
SMALLER = {"--limit 64": "--limit 4", "limit=64": "limit=4"}
# What a page takes for granted.
BEFORE = {
    "docs/reading.md": ["run --tasks sst2 --shots 0,4"],
    "docs/results.md": ["run --tasks sst2 --shots 0,4"],
    "docs/templates.md": [],
    "docs/tasks.md": [],
}
# Blocks that begin with a launcher of several processes, which tests/test_processes.py starts.
LAUNCHER = re.compile(r"accelerate launch .* -m (?=harness )")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What follows ``harness`` in its lines, without comments."""
        lines = [LAUNCHER.sub("", line.removeprefix("$ ")) for line in self.text.splitlines()]
        found = [line.removeprefix("harness ") for line in lines if re.match(r"harness [a-z]", line)]
        return [re.sub(r" +# .*", "", line) for line in found]

    @property
    def transcript(self) -> list[tuple[str, str]]:
        """Commands after a ``$``, each with what it shows."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        return list(zip(parts[1::2], parts[2::2], strict=True))


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])


ALL = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(block.page, command) for block in ALL for command in block.commands]
HELP = [
    (name, match[0])
    for name, command in cli.commands.items()
    for match in re.finditer(
        r"(?<=harness )(?:run|select|baseline|predict|compare)(?: [^\s'.]\S*)+", command.help or ""
    )
]


def words(command: str) -> list[str]:
    for own, smaller in SMALLER.items():
        command = command.replace(own, smaller)
    parts = [word.partition(":") for word in shlex.split(command.replace("$MODEL", "path/to/a/model"))]
    return ["".join((PLACEHOLDERS.get(head, head), colon, rest)) for head, colon, rest in parts]


# Every command parses


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 20
    assert {command.split()[0] for _, command in COMMANDS} >= {
        "run",
        "show",
        "select",
        "compare",
        "baseline",
        "predict",
    }
    assert HELP


@pytest.mark.parametrize(("page", "command"), [*COMMANDS, *HELP])
def test_a_command_parses(page: str, command: str) -> None:
    name, *given = words(command)
    with cli.commands[name].make_context(name, given):
        pass


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_python_api_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    import harness as package

    for name in re.findall(r"`harness\.([a-z_.]+)", text):
        found: Any = package
        for part in name.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES)
def test_options_that_a_page_names_exist(page: str) -> None:
    known = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    prose = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    inline = " ".join(code for code in re.findall(r"`([^`]+)`", prose) if not code.startswith("python -m"))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", inline))
    assert named <= {*known, "--help", "--no-index"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (ROOT / page).parent.joinpath(target).exists(), target


# Every command runs


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Path:
    """A folder in which every path that a page names is there: models, data of the tasks, new texts."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("path/to/a/model", "path/or/hub-id", "PATH"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(tiny_gpt2)
    data = folder / "path/to/data"
    write_rows(data / "sst2/train.jsonl", 2_200, "sentence", 2, 1)
    write_rows(data / "sst2/validation.jsonl", 24, "sentence", 2, 2)
    write_rows(data / "clue_tnews/train.jsonl", 1_100, "sentence", 15, 3)
    write_rows(data / "clue_tnews/validation.jsonl", 12, "sentence", 15, 4)
    (folder / "DIR").symlink_to(data)
    (folder / "data/mood").mkdir(parents=True)
    (folder / "data/mood/train.jsonl").write_text(
        '{"text": "We danced until midnight.", "label": 1}\n'
        + "".join(json.dumps({"text": sentence(random.Random(n)), "label": n % 2}) + "\n" for n in range(8))
    )
    write_rows(folder / "new.jsonl", 3, "sentence", 2, 5)
    (folder / "new.txt").write_text("the film was a joy\nthe film was a bore\n")
    for block in ALL:
        for command, shown in block.transcript:
            if command.startswith("cat "):
                path = folder / command.removeprefix("cat ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(shown)
            elif command.startswith("head -1 "):
                rest = '{"text": "What a lovely morning it was.", "label": 1}\n'
                (folder / command.removeprefix("head -1 ")).write_text(shown + rest)
    (folder / "prompts/mood").mkdir(parents=True)
    (folder / "prompts/mood/feel.jinja").write_text("---\nanswers: [sad, happy]\n---\n{{ text }} I feel {{ answer }}\n")
    return folder


def write_rows(path: Path, count: int, column: str, labels: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    rows = [{column: sentence(rng), "label": number % labels} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sentence(rng: random.Random) -> str:
    """Words that no other sentence has in this order, so that none is a near-duplicate of another."""
    return " ".join("".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3)) for _ in range(6))


@pytest.fixture
def reader(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder with results of its own, as the current folder; the data folder is the environment's."""
    for path in ready.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_DATA_DIR", "path/to/data")
    monkeypatch.setenv("MODEL", "path/to/a/model")
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.commands for block in blocks(page))])
def test_the_commands_of_a_page_run_one_after_another(page: str, reader: Path, harness: Commands) -> None:
    for command in BEFORE.get(page, []):
        harness.ok(*words(command))
    for block in blocks(page):
        for command in block.commands:
            done = harness(*words(command))
            assert done.status == 0, f"{page}:{block.line}: harness {command}\n{done.err}"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "reader")
@pytest.mark.parametrize("page", sorted({block.page for block in ALL if block.language == "python"}))
def test_the_python_of_a_page_runs(page: str) -> None:
    import harness as package

    scores = np.log(np.random.default_rng(0).dirichlet([1, 1], 10))
    names: dict[str, Any] = {"harness": package, "scores": scores, "other_scores": scores[::-1]}
    for block in ALL:
        if block.page == page and block.language == "python":
            code = block.text
            for own, smaller in SMALLER.items():
                code = code.replace(own, smaller)
            exec(compile(code, f"{page}:{block.line}", "exec"), names)  # noqa: S102 - our own pages


@pytest.mark.usefixtures("one_thread")
def test_the_hint_after_a_run_shows_a_prompt_that_was_run(project: Project, tiny_gpt2: Path, harness: Commands) -> None:
    folder = project.root / "a folder"
    (project.root / "data").rename(folder)
    given = ["--tasks", "mood", "--prompts", "terse", "--shots", "2", "--demo-seeds", "1", "--demos", "balanced"]
    done = harness.ok("run", *given, "--model", tiny_gpt2, "--data-dir", folder)
    hint = shlex.split(done.err.rpartition("next, see what the model saw: harness ")[2].splitlines()[0])
    shown = harness.ok(*hint).out
    assert shown.startswith("mood/terse, item 0 of 20 (")
    assert "2 demonstrations (balanced, seed 1)" in shown
    assert "tokens with the right answer" in shown  # of the model that was used


def test_the_hint_after_training_shows_what_was_stored(project: Project, harness: Commands) -> None:
    given = [
        "--tasks",
        "mood",
        "--methods",
        "majority",
        "--sizes",
        "8",
        "--data-dir",
        "data",
        "--results",
        "my results",
    ]
    done = harness.ok("baseline", *given)
    hint = shlex.split(done.err.rpartition("beside prompts: harness ")[2].splitlines()[0])
    assert "majority" in harness.ok(*hint).out


@pytest.mark.usefixtures("one_thread")
def test_predict_takes_plain_where_no_prompt_is_named(project: Project, tiny_gpt2: Path, harness: Commands) -> None:
    project.write("new.jsonl", '{"text": "The room was dull."}\n')
    given = ["predict", "new.jsonl", "--task", "mood", "--model", tiny_gpt2, "--data-dir", "data"]
    assert harness.ok(*given).out == harness.ok(*given, "--prompt", "plain").out
    assert harness.ok(*given).out != harness.ok(*given, "--prompt", "terse").out


# What is shown is what comes out


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_main_job_prints_what_readme_shows(
    harness: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command, shown = next(
        pair for block in blocks("README.md") for pair in block.transcript if "--data sample" in pair[0]
    )
    done = harness.ok(*words(command.removeprefix("harness ")))
    for line in told(done.out):
        assert line in told(shown)
    for line in told(shown):
        assert line in [*told(done.out), *told(done.err)]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_show_prints_what_readme_shows(ready: Path, reader: Path, harness: Commands, stories_model: Path) -> None:
    command, shown = next(pair for block in blocks("README.md") for pair in block.transcript if "show mood" in pair[0])
    (reader / "data").unlink()  # the one with a pool that is large enough for a run
    for name in ("train", "test"):
        path = reader / "data/mood" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (ready / "data/mood" / f"{name}.jsonl").read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: 1 if name == "train" else None]))
    done = harness.ok(*shlex.split(command.removeprefix("harness ").replace("$MODEL", str(stories_model))))
    ours, theirs = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (done.out, shown))
    assert ours == theirs


def told(text: str) -> list[str]:
    """Lines without what differs from run to run: ids, times, and the white space that lines columns up."""
    lines = [re.sub(r"\d{8}T\d{6}-[0-9a-f]{6}", "RUN", " ".join(line.split())) for line in text.splitlines()]
    lines = [re.sub(r"\bin [0-9.,]+ s \([0-9.,]+/s\)", "in TIME", line) for line in lines if line]
    return [line for line in lines if not line.startswith("scoring: ")]  # progress, where it takes half a minute


# Benchmarks


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", re.findall(r"^python -m (benchmarks\.\w+.*)$", (ROOT / "benchmarks/README.md").read_text(), re.MULTILINE)
)
def test_a_benchmark_knows_the_options_that_its_page_gives(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, *given = shlex.split(re.sub(r" +# .*", "", line))
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.syspath_prepend(str(ROOT))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__")
    assert not end.value.code
    for option in [word for word in given if word.startswith("-")]:
        assert re.search(rf"(?<![\w-]){option}\b", printed.getvalue()), f"{module} {option}"
