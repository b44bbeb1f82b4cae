"""The Python API: its names and keywords, what its results hold, and how they show themselves."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import Commands, outcome, start
from conftest import ROOT, Project, build_gpt2

import harness
from harness import progress
from harness.baselines import BaselineOptions
from harness.errors import HarnessError, UsageError
from harness.option_signatures import accepted
from harness.options import RunOptions
from harness.progress import ConsoleReporter, QuietReporter
from harness.stub import package_stub

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def given(project: Project, tiny_gpt2: Path) -> dict[str, Any]:
    """What every run of these tests has in common."""
    return {"tasks": "mood", "model": str(tiny_gpt2), "data_dir": "data"}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The command line, whose usual fixture has the name of the package."""
    return Commands(monkeypatch, capsys)


# Names and keywords


def test_every_name_is_listed_and_there() -> None:
    assert {"run", "compare", "select", "breakeven", "predict", "show", "HarnessError", "variance"} <= set(dir(harness))
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    assert harness.HarnessError is HarnessError
    assert callable(harness.variance.variance_components)
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        harness.rnu  # noqa: B018


@pytest.mark.parametrize(
    ("function", "options"), [("run", RunOptions), ("baseline", BaselineOptions), ("select", RunOptions)]
)
def test_the_keywords_are_the_options(function: str, options: Any) -> None:
    found = inspect.signature(getattr(harness, function)).parameters
    without = {"split"} if function == "select" else set()
    assert set(found) == {*options.model_fields, "reporter", *(["budget"] if function == "select" else [])} - without
    assert found["tasks"].default is inspect.Parameter.empty
    assert found["seed"].default == 0
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in found.values())


def test_the_stub_for_type_checkers_says_the_same() -> None:
    text = (ROOT / "harness" / "__init__.pyi").read_text(encoding="utf-8")
    assert text == package_stub(), "python scripts/write_stub.py writes it again"


@pytest.mark.slow
def test_type_checkers_know_the_keywords(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import harness\n"
        'reveal_type(harness.run(tasks="sst2", shots=[0, 4], model="m").table)\n'
        'harness.run(tasks=["sst2"], shots="0,4")\n'
        'harness.run(task="sst2")\n'
        'harness.compare("a", "b").pairs[0].p_value + 1\n'
        "harness.power.detectable_difference(1.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(program)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "program.py:2: note: Revealed type is" in done.stdout
    assert 'program.py:4: error: Unexpected keyword argument "task"' in done.stdout
    assert "program.py:3:" not in done.stdout
    assert "program.py:5:" not in done.stdout
    assert "program.py:6:" not in done.stdout


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("tasks", "str | Sequence[str]"),
        ("shots", "int | str | Sequence[int]"),
        ("rule", "str | Sequence[str]"),
        ("split", "Literal['select', 'report']"),
        ("data_dir", "str | Path | None"),
        ("include_path", "str | Path | Sequence[str | Path]"),
        ("model_arg", "Mapping[str, Any]"),
        ("limit", "int | None"),
    ],
)
def test_what_a_keyword_takes(field: str, text: str) -> None:
    assert accepted(RunOptions.model_fields[field].annotation) == text


def test_functions_stay_whatever_modules_are_imported(project: Project) -> None:
    names = ["compare", "select", "predict", "show", "breakeven", "leaderboard", "tables"]
    lines = [f"import harness.{name}" for name in names if name != "leaderboard"]
    checks = [f"assert callable(harness.{name}), '{name}'" for name in names[:-1]]
    driver = project.write("order.py", "\n".join(["import harness", *lines, *checks, *lines, *checks]))
    done = outcome(start([], project.root, driver=driver))
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize(
    "shots", [4, "4", [4], (4,), np.int64(4), np.array([4]), pd.Series([4]), range(4, 5), "4,", {4}]
)
def test_one_value_a_list_and_text_with_commas_are_taken_alike(shots: Any) -> None:
    found = RunOptions.read({"tasks": "a, b", "shots": shots, "rule": "sum,pmi"})
    assert (found.tasks, found.shots, found.rule) == (("a", "b"), (4,), ("sum", "pmi"))
    assert all(type(number) is int for number in found.shots)
    assert BaselineOptions.read({"tasks": ["a"], "sizes": shots, "methods": "knn, probe"}).sizes == (4,)


@pytest.mark.parametrize("wrong", [True, 1.5, {"a": 1}, None, "four"])
def test_what_is_no_number_of_shots_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="--shots"):
        RunOptions.read({"tasks": "a", "shots": wrong})


# Results


def test_a_run_gives_tables_and_prints_nothing(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = harness.run(**given, shots=[0, 2])
    assert capsys.readouterr() == ("", "")
    assert list(result.table["shots"]) == [0, 2]
    assert list(result.table["n"]) == [20, 20]
    means = result.predictions.groupby("shots")["correct"].mean()
    assert list(result.table["accuracy"]) == pytest.approx(list(means))
    assert result.path.is_dir()
    assert repr(result) == f"<Result {result.path.name}: mood; {given['model']}; 2 rows>"


def test_predictions_say_what_they_are_of(given: dict[str, Any], project: Project) -> None:
    frame = harness.run(**given, shots="0,2", demo_seeds=[0, 1], controls="permuted").predictions
    assert {"mood/plain", "mood/terse"} == set(frame["template"])
    assert set(frame["task"]) == {"mood"}
    assert set(frame["model"]) == {"tiny-gpt2"}
    assert set(frame["shots"]) == {0, 2}
    assert set(frame.loc[frame["shots"] == 2, "seed"]) == {0, 1}
    rows = [json.loads(line) for line in (project.root / "data/mood/test.jsonl").read_text().splitlines()]
    assert set(frame["text"]) == {row["text"] for row in rows}
    gold = {row["text"]: ["low", "high"][row["label"]] for row in rows}
    assert [gold[text] for text in frame["text"]] == list(frame["gold_label"])
    assert list(frame["correct"] == 1) == list(frame["gold_label"] == frame["predicted_label"])
    plain = frame[(frame["template"] == "mood/plain") & frame["control"].isna()]
    zero = plain[plain["shots"] == 0]
    assert list(zero["prompt"]) == [f"Text: {text}\nMood: " for text in zero["text"]]
    two = plain[plain["shots"] == 2]
    assert all(prompt.count("Mood:") == 3 and prompt.endswith(f"Text: {text}\nMood: ")
               for prompt, text in zip(two["prompt"], two["text"], strict=True))  # fmt: skip
    assert two.groupby("item_id")["prompt"].nunique().eq(2).all()  # one for each seed


def test_prompts_are_those_that_were_scored(given: dict[str, Any], project: Project) -> None:
    project.write_rows("data/mood/train.jsonl", 40, seed=1)
    result = harness.run(**given, shots=6, prompts="plain")
    frame = result.predictions
    assert (frame["shown"] < 6).any()  # the model reads 128 tokens
    assert [prompt.count("Mood:") - 1 for prompt in frame["prompt"]] == list(frame["shown"])
    view = harness.show("mood", prompt="plain", shots=0, data_dir="data", item=3)
    assert view.text in set(harness.run(**given, prompts="plain").predictions["prompt"])


def test_what_has_changed_since_is_not_shown_and_said(given: dict[str, Any], project: Project) -> None:
    result = harness.run(**given)
    project.write("prompts/mood/plain.jinja", "---\nanswers: [bad, good]\n---\nOther: {{ text }} {{ answer }}\n")
    with pytest.warns(UserWarning, match="prompts cannot be rendered again: the template has changed since"):
        frame = harness.leaderboard().predictions
    assert frame.loc[frame["template"] == "mood/plain", "prompt"].isna().all()
    assert frame.loc[frame["template"] == "mood/terse", "prompt"].notna().all()
    (project.root / "data/mood/test.jsonl").unlink()
    with pytest.warns(UserWarning, match="cannot be re.* again") as told:
        assert harness.leaderboard().predictions["text"].isna().all()
    assert {str(one.message).split(": ")[1] for one in told} == {
        "its texts cannot be read again", "its prompts cannot be rendered again"
    }  # fmt: skip
    assert len(result.table) == 1


def test_candidates_have_their_log_probabilities(given: dict[str, Any]) -> None:
    result = harness.run(**given, shots=2, rule="sum,token")
    frame = result.candidates
    assert set(frame["word"]) == {"bad", "good", "no", "yes"}
    assert set(frame["label_name"]) == {"low", "high"}
    predictions = result.predictions.set_index(["cell", "item_id"])
    for (cell, item), group in frame.groupby(["cell", "item_id"]):
        scores = predictions.loc[(cell, item), "scores"]
        expected = group["logprob"] / (group["n_tokens"] if group["rule"].iloc[0] == "token" else 1)
        assert list(expected) == pytest.approx(list(scores))


def test_a_baseline_has_texts_and_no_prompts(project: Project) -> None:
    result = harness.baseline(tasks="mood", methods="majority", sizes=8, seeds=0, data_dir="data")
    frame = result.predictions
    assert frame["text"].notna().all()
    assert frame["prompt"].isna().all()
    assert set(frame["labels_used"]) == {8}
    assert len(result.candidates) == 0


def test_a_leaderboard_ranks_the_stored_runs(given: dict[str, Any], project: Project, tiny_gpt2: Path) -> None:
    other = build_gpt2(project.root / "other-gpt2", seed=3)
    for model in (tiny_gpt2, other):
        harness.run(**{**given, "model": str(model)})
    for tasks in ("mood", ["mood"], "moo*", ()):
        board = harness.leaderboard(tasks=tasks)
        assert set(board.table["model"]) == {"tiny-gpt2", "other-gpt2"}
        assert list(board.table["accuracy"]) == sorted(board.table["accuracy"], reverse=True)
    assert repr(board) == "<Leaderboard of 2 runs, 2 rows>"
    assert len(board.predictions) == 2 * 2 * 20


def test_html_escapes_what_comes_from_files(given: dict[str, Any], project: Project) -> None:
    task = (project.root / "tasks/mood.yaml").read_text()
    project.write("tasks/mood.yaml", task.replace("labels: [low, high]", "labels: ['<b>low', high]"))
    result = harness.run(**given)
    html = result._repr_html_()
    assert "<table" in html
    assert "mood" in html
    for shown in (result, harness.compare(result, result), harness.show("mood", data_dir="data")):
        assert "<b>low" not in shown._repr_html_()
    assert "&lt;b&gt;low" in harness.show("mood", data_dir="data")._repr_html_()


def test_compare_takes_results_and_names(given: dict[str, Any], commands: Commands) -> None:
    result = harness.run(**given, shots=[0, 2])
    found = harness.compare("latest:shots=0", "latest:shots=2")
    printed = json.loads(commands.ok("compare", "latest:shots=0", "latest:shots=2", "--json").out)["pairs"][0]
    line = found.table.iloc[0]
    assert (line["difference"], line["p_value"]) == pytest.approx((printed["difference"]["mean"], printed["p_value"]))
    assert line["second"] - line["first"] == pytest.approx(line["difference"])
    assert len(found.changed) == len(printed["changed"])
    assert repr(found).startswith("<Comparison: mood, ")
    same = harness.compare(result, result)
    assert list(same.table["difference"]) == [0, 0]


def test_select_gives_the_choice_and_its_result(given: dict[str, Any], project: Project) -> None:
    task = (project.root / "tasks/mood.yaml").read_text()
    project.write("tasks/mood.yaml", task.replace("report: test", "select: 'train[-20:]', report: test"))
    found = harness.select(**given, shots="0,2", budget=80)
    assert len(found.table) == 4
    assert found.table["prompt"].iloc[0] == found.winner
    assert list(found.result.table["n"]) == [20]
    assert found.winner in found.sentence
    assert found.result.predictions["prompt"].notna().all()
    assert "Choice: mood/" in repr(found)


def test_breakeven_gives_numbers(given: dict[str, Any]) -> None:
    harness.run(**given, shots=[0, 2])
    harness.baseline(tasks="mood", methods="tfidf", sizes=[8, 16, 32], seeds="0,1,2", data_dir="data")
    found = harness.breakeven("mood", shots=2)
    assert list(found.table["prompt"]) == ["tiny-gpt2 2-shot (mean of 2 templates)"]
    assert {"break_even_n", "break_even_low", "break_even_high", "data_advantage_mean"} <= set(found.table.columns)
    assert len(found.sentences) == 1
    assert len(found.costs) == 2
    assert "<table" in found._repr_html_()


def test_predict_labels_with_a_prompt_or_a_baseline(given: dict[str, Any], project: Project) -> None:
    project.write("new.jsonl", '{"text": "The room was dull."}\n{"text": "A lovely song."}\n')
    of_prompt = harness.predict("new.jsonl", task="mood", model=given["model"], data_dir="data")
    assert list(of_prompt.table.columns) == ["line", "label", "probability low", "probability high"]
    assert len(of_prompt) == 2
    assert of_prompt.table[["probability low", "probability high"]].sum(axis=1).tolist() == pytest.approx([1, 1])
    harness.baseline(tasks="mood", methods="majority", sizes=8, seeds=0, data_dir="data")
    of_baseline = harness.predict(project.root / "new.jsonl", run="latest:method=majority")
    assert len(of_baseline.table) == 2
    texts = ["The room was dull.", "A lovely song."]
    for same in (texts, [{"text": text} for text in texts], pd.DataFrame({"text": texts}), pd.Series(texts)):
        found = harness.predict(same, task="mood", model=given["model"], data_dir="data")
        pd.testing.assert_frame_equal(found.table, of_prompt.table)
    with pytest.raises(HarnessError, match="the texts given:2: must be a text or a mapping, not '3'"):
        harness.predict(["a", 3], run="latest:method=majority")
    with pytest.raises(UsageError, match="names all that is needed; leave out task"):
        harness.predict("new.jsonl", run="latest", task="mood")
    with pytest.raises(UsageError, match="run=, or a prompt with task="):
        harness.predict("new.jsonl")


def test_show_gives_the_prompt_its_answers_and_demonstrations(project: Project, commands: Commands) -> None:
    view = harness.show("mood", shots=2, item=1, data_dir="data")
    printed = commands.ok("show", "mood", "--shots", "2", "--item", "1", "--data-dir", "data").out
    assert str(view) in printed
    assert list(view.table["scored"]) == ["bad", "good"]
    assert view.table["right"].sum() == 1
    assert all(item in printed for item in view.demonstrations["item_id"])
    assert repr(view).startswith("<PromptView: mood/plain, item 1 of 20 (")


def test_a_mistake_is_the_line_that_the_command_prints(project: Project) -> None:
    with pytest.raises(harness.HarnessError, match=r"^unknown task 'mod'; did you mean 'mood'\?"):
        harness.run(tasks="mod", model="./nothing")
    with pytest.raises(harness.HarnessError, match="unknown option 'shot'; did you mean 'shots'"):
        harness.run(tasks="mood", shot=4)  # type: ignore[call-arg]
    with pytest.raises(harness.HarnessError, match="nowhere: holds no run"):
        harness.leaderboard("nowhere")


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: harness.select(tasks="mood", budget=0), "--budget: must be a whole number of at least 1, not 0"),
        (lambda: harness.select(tasks="mood", budget="few"), "--budget: must be a whole number of at least 1"),  # type: ignore[arg-type]
        (
            lambda: harness.breakeven(development_labels=-3),
            "--development-labels: must be a whole number of at least 0",
        ),
        (lambda: harness.breakeven(price_per_hour=-1), "--price-per-hour: must be a number of at least 0, not -1"),
        (
            lambda: harness.breakeven(price_per_million_tokens="x"),  # type: ignore[arg-type]
            "--price-per-million-tokens: must be a number of at least 0, not 'x'",
        ),
        (lambda: harness.breakeven(curve="bst"), "--curve: unknown value 'bst'; did you mean 'best'"),  # type: ignore[arg-type]
    ],
)
def test_numbers_are_checked_as_the_command_line_checks_them(call: Any, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        call()


def test_models_may_be_named_by_a_path(tiny_gpt2: Path) -> None:
    assert RunOptions.read({"tasks": "a", "model": tiny_gpt2, "demo_encoder": tiny_gpt2}).model == str(tiny_gpt2)
    assert BaselineOptions.read({"tasks": "a", "encoder": tiny_gpt2}).encoder == str(tiny_gpt2)
    assert inspect.signature(harness.run).parameters["model"].annotation == "str | Path"


# Progress


def test_progress_is_shown_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(progress.default_reporter()) is QuietReporter
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert type(progress.default_reporter()) is ConsoleReporter


def test_a_notebook_is_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        kernel = object()

    class IPython:
        get_ipython = staticmethod(Shell)

    monkeypatch.setitem(sys.modules, "IPython", IPython)  # type: ignore[arg-type]
    assert type(progress.default_reporter()) is ConsoleReporter


def test_a_reporter_of_ones_own_is_told(given: dict[str, Any]) -> None:
    reporter = QuietReporter()
    result = harness.run(**given, shots=2, reporter=reporter)
    assert reporter.notices == result.manifest["notices"]
