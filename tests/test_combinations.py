"""What makes no sense is left out with one notice, and what is left is evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Commands, Outcome
from conftest import Project

from harness.combinations import LeftOut, readings
from harness.options import RunOptions
from harness.records import Example
from harness.search_path import shipped_root
from harness.tasks import load_task
from harness.templates import load_template

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., tuple[set[tuple[object, ...]], list[str]]]
KEYS = ("task", "template", "shots", "rule", "calibration", "control")


@pytest.fixture
def own_options(project: Project) -> Project:
    """The task ``pick`` beside ``mood``: its items have options of their own."""
    task = (project.root / "tasks/mood.yaml").read_text().replace("name: mood", "name: pick")
    task = task.replace("labels: [low, high]", "options: \"{{ ['a dull one ' ~ label, 'a fine one ' ~ label] }}\"")
    project.write("tasks/pick.yaml", task.replace(", macro_f1", ""))
    project.write("prompts/pick/plain.jinja", '---\nanswers: "{{ options }}"\n---\n{{ text }}\nIt is {{ answer }}\n')
    return project


@pytest.fixture
def run(harness: Commands, project: Project, tiny_gpt2: Path) -> Run:
    """Gives the cells that ran, by ``KEYS``, and what was said of those left out."""

    def call(*options: object) -> tuple[set[tuple[object, ...]], list[str]]:
        done = attempt(harness, tiny_gpt2, *options)
        assert done.status == 0, done.err
        (path,) = Path("results/runs").iterdir()
        cells = json.loads((path / "manifest.json").read_text())["cells"]
        notices = [line for line in done.err.splitlines() if line.startswith("left out: ")]
        return {tuple(cell["signature"][key] for key in KEYS) for cell in cells}, notices

    return call


def attempt(harness: Commands, model: Path, *options: object) -> Outcome:
    return harness("run", "--model", model, "--data-dir", "data", *options)


def test_the_command_of_the_readme(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    options = ("--model", tiny_gpt2, "--rule", "sum,pmi", "--calibrate", "none,contextual", "--controls", "permuted")
    done = harness.ok("run", "--tasks", "sst2", "--data", "sample", "--limit", "8", "--shots", "0,4", *options)
    (notice,) = (line for line in done.err.splitlines() if line.startswith("left out: "))
    assert notice == (
        "left out: contextual calibration for sst2/channel (the text is what is scored there, and would be missing);"
        " the rule pmi with contextual calibration for sst2 (both compare with another context); the control permuted"
        " for sst2 0-shot (there are no demonstrations)"
    )


@pytest.mark.parametrize(
    ("options", "left", "told"),
    [
        (
            ("--rule", "sum,pmi,unconditional", "--calibrate", "none,domain"),
            {("sum", "none"), ("sum", "domain"), ("pmi", "none"), ("unconditional", "none")},
            "the rule pmi with domain calibration for mood (both compare with another context); the rule unconditional"
            " with domain calibration for mood (both compare with another context)",
        ),
        (
            ("--calibrate", "batch,none,prototypical", "--limit", "3"),
            {("sum", "none")},
            "batch calibration for mood (it needs at least 4 items, not 3); prototypical calibration for mood (it needs"
            " at least 4 items, not 3)",
        ),
    ],
)
def test_readings(run: Run, options: tuple[str, ...], left: set[tuple[str, str]], told: str) -> None:
    cells, notices = run("--tasks", "mood", "--prompts", "plain", *options)
    assert {cell[3:5] for cell in cells} == left
    assert notices == [f"left out: {told}"]


def test_a_template_that_scores_the_text_or_cannot_do_without_it(run: Run, project: Project) -> None:
    front = "---\nanswers: [bad, good]\n"
    project.write("prompts/mood/channel.jinja", front + "score: text\n---\nA {{ answer }} text: {{ text }}\n")
    project.write("prompts/mood/first.jinja", front + "---\n{{ text.split()[0] }} Mood: {{ answer }}\n")
    project.write("prompts/mood/bare.jinja", front + "---\n{{ text }}\n{{ answer }}\n")
    cells, (notice,) = run("--tasks", "mood", "--rule", "sum,pmi", "--calibrate", "none,contextual")
    assert {cell[1] for cell in cells if cell[4] == "contextual"} == {"mood/bare", "mood/plain", "mood/terse"}
    assert {cell[1] for cell in cells if cell[3] == "pmi"} >= {"mood/channel", "mood/plain", "mood/terse"}
    assert {cell[1] for cell in cells if cell[3:5] == ("sum", "none")} == {
        f"mood/{name}" for name in ("bare", "channel", "first", "plain", "terse")
    }
    assert "contextual calibration for mood/channel (the text is what is scored there, and would be missing)" in notice
    assert "contextual calibration for mood/first (it cannot be written with '' for a text: " in notice
    assert (
        "the rule pmi for mood/bare, mood/first (its last line says nothing without the text; set premise: " in notice
    )


def test_a_task_with_options_ends_no_run_of_several_tasks(own_options: Project, run: Run) -> None:
    cells, notices = run("--tasks", "mood,pick", "--prompts", "plain", "--calibrate", "none,batch", "--rule", "sum")
    assert {(cell[0], cell[4]) for cell in cells} == {("mood", "none"), ("mood", "batch"), ("pick", "none")}
    assert notices == [
        "left out: batch calibration for pick (each item has options of its own, and they are no classes)"
    ]


def test_a_task_of_which_nothing_is_left_is_left_out_itself(own_options: Project, run: Run) -> None:
    cells, notices = run("--tasks", "pick,mood", "--prompts", "plain", "--calibrate", "contextual", "--shots", "0,2")
    assert {(cell[0], cell[2]) for cell in cells} == {("mood", 0), ("mood", 2)}
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--tasks", "pick", "--calibrate", "contextual,batch"),
            "contextual calibration for pick (each item has options of its own, and they are no classes); batch"
            " calibration for pick (each item has options of its own, and they are no classes)",
        ),
        (
            ("--tasks", "mood", "--rule", "pmi", "--calibrate", "contextual"),
            "the rule pmi with contextual calibration for mood (both compare with another context)",
        ),
        (
            ("--tasks", "pick", "--shots", "2", "--demo-order", "entropy"),
            "demonstrations in the order of entropy for pick (each item has options of its own, and they are no"
            " classes)",
        ),
    ],
)
def test_nothing_left_is_one_clear_error(
    own_options: Project, harness: Commands, tiny_gpt2: Path, options: tuple[str, ...], told: str
) -> None:
    done = attempt(harness, tiny_gpt2, "--prompts", "plain", *options)
    assert (done.status, done.mistake) == (2, f"nothing is left to evaluate: {told}")


def test_predict_says_what_makes_no_sense(own_options: Project, harness: Commands, tiny_gpt2: Path) -> None:
    own_options.write("new.jsonl", '{"text": "A dull film.", "label": 0}\n')
    options = ("--task", "pick", "--prompt", "plain", "--model", tiny_gpt2, "--calibrate", "contextual")
    assert (
        "nothing is left to evaluate: contextual calibration for pick"
        in harness("predict", *options, "new.jsonl").mistake
    )


def test_baselines_leave_a_task_with_options_out(own_options: Project, harness: Commands) -> None:
    options = ("--methods", "majority", "--sizes", "8", "--seeds", "0", "--data-dir", "data")
    done = harness.ok("baseline", "--tasks", "mood,pick", *options)
    assert "left out: pick: each item has options of its own and no labels, so there is nothing to learn" in done.err
    assert "pick" not in done.out
    assert harness("baseline", "--tasks", "pick", *options).status == 2


# Controls that change nothing


def test_controls_that_change_nothing_are_left_out(run: Run) -> None:
    cells, (notice,) = run(
        "--tasks", "mood", "--prompts", "plain", "--controls", "permuted,noise,partial,content-free", "--shots", "0,1,6"
    )
    assert {cell[2:3] + cell[5:] for cell in cells} == {
        (0, None), (0, "content-free"), (1, None), (1, "content-free"),
        (6, None), (6, "content-free"), (6, "permuted"), (6, "noise"),
    }  # fmt: skip
    assert notice == (
        "left out: the control permuted for mood 0-shot (there are no demonstrations); the control noise for mood"
        " 0-shot (there are no demonstrations); the control partial for mood (its items have one text field); the"
        " control permuted for mood 1-shot (it takes two demonstrations); the control noise for mood 1-shot (it"
        " takes two demonstrations)"
    )


def test_demonstrations_of_one_label_have_nothing_to_change_places_with(run: Run, project: Project) -> None:
    project.write_rows("data/mood/train.jsonl", 20, seed=1, change=lambda row: row.update(label=1))
    cells, (notice,) = run("--tasks", "mood", "--prompts", "plain", "--controls", "permuted,noise", "--shots", "4")
    assert {cell[5] for cell in cells} == {None, "noise"}
    assert notice == ("left out: the control permuted for mood 4-shot, seed 0 (all demonstrations are of one label)")


def test_options_of_an_item_do_not_change_places(own_options: Project, run: Run) -> None:
    cells, (notice,) = run("--tasks", "pick", "--controls", "permuted,noise", "--shots", "3")
    assert {cell[5] for cell in cells} == {None, "noise"}
    assert notice == (
        "left out: the control permuted for pick 3-shot (each item has options of its own, and they are no classes)"
    )


def test_a_field_that_a_template_does_not_show_makes_no_control(run: Run, project: Project) -> None:
    task = (project.root / "tasks/mood.yaml").read_text()
    project.write("tasks/mood.yaml", task.replace("[text]", '{text: text, other: "{{ text | upper }}"}'))
    project.write(
        "prompts/mood/channel.jinja",
        "---\nanswers: [bad, good]\nscore: text\n---\n{{ other }}\nA {{ answer }} text: {{ text }}\n",
    )
    cells, (notice,) = run("--tasks", "mood", "--prompts", "plain,channel", "--controls", "partial")
    assert {cell[1:2] + cell[5:] for cell in cells} == {
        ("mood/channel", None), ("mood/channel", "partial:text"), ("mood/plain", None), ("mood/plain", "partial:other"),
    }  # fmt: skip
    assert notice == (
        "left out: the control partial:other for mood/channel (text is what is scored there, and would be missing); the"
        " control partial:text for mood/plain (no prompt changes)"
    )


def test_a_text_that_only_some_items_have_is_a_text(run: Run, project: Project) -> None:
    """The first reported item decides nothing."""
    task = (project.root / "tasks/mood.yaml").read_text()
    project.write("tasks/mood.yaml", task.replace("[text]", "{text: text, title: title}"))
    project.write(
        "prompts/mood/titled.jinja", "---\nanswers: [bad, good]\n---\n{{ title or '' }}: {{ text }} {{ answer }}\n"
    )
    titles = iter([None, "An Opinion"] * 100)
    for name in ("train", "test"):
        project.write_rows(f"data/mood/{name}.jsonl", 20, seed=3, change=lambda row: row.update(title=next(titles)))
    cells, notices = run("--tasks", "mood", "--prompts", "titled", "--controls", "partial,content-free")
    assert {cell[5] for cell in cells} == {None, "partial:text", "partial:title", "content-free"}
    assert notices == []


def test_shipped_templates_that_score_the_text(project: Project) -> None:
    root = shipped_root()
    left_out = LeftOut()
    for path in sorted(root.glob("prompts/*/*.jinja")):
        task = load_task(root / "tasks" / f"{path.parent.name}.yaml")
        item = Example("i", dict.fromkeys(task.fields, "some text"), task.labels or ("a", "b"), 0, None, "")
        options = RunOptions.read({"tasks": task.name, "calibrate": "contextual"})
        readings(options, task, load_template(path, task), [item], [item], left_out)
    assert left_out.told == (
        "contextual calibration for ag_news/channel, chnsenticorp/channel, clue_tnews/channel, rte/connective and 2"
        " more (the text is what is scored there, and would be missing); contextual calibration for arc_easy, copa"
        " (each item has options of its own, and they are no classes)"
    )
