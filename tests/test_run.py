"""Running an evaluation from Python: scores against plain transformers, what is stored, and what fails."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import watch_scoring
from conftest import MOOD_TASK, Project, build_gpt2, made_up_text

from harness import api, runner
from harness.errors import DataError, InterruptedRunError, ModelError, UsageError
from harness.options import RunOptions, read_grid
from harness.progress import QuietReporter
from harness.runner import FinishedRun, run
from harness.scoring import Scoring

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., FinishedRun]


@pytest.fixture
def evaluate(project: Project, tiny_gpt2: Path) -> Run:
    """``run`` of the project's task with the tiny model; options as keywords."""

    def call(reporter: QuietReporter | None = None, **options: Any) -> FinishedRun:
        given = {"tasks": "mood", "model": str(tiny_gpt2), "data_dir": project.root / "data", **options}
        return run(RunOptions.read(given), reporter)

    return call


def stored(finished: FinishedRun, name: str = "predictions") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(finished.path / f"{name}.parquet", partitioning=None).to_pylist()
    return rows


def data(project: Project, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / f"data/mood/{name}.jsonl").read_text().splitlines()]


class Oracle:
    """Log-probabilities of the tokens of an answer after a context, with transformers alone."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def __call__(self, context: str, answer: str) -> list[float]:
        """The answer brings its own leading space; in this tokenizer, a word never shares a token with what precedes
        it."""
        import torch

        before = self.tokenizer(context, add_special_tokens=False).input_ids
        after = self.tokenizer(answer, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = self.model(torch.tensor([[*before, *after]])).logits[0]
        logprobs = torch.log_softmax(logits.double(), dim=-1)
        return [float(logprobs[len(before) + i - 1, token]) for i, token in enumerate(after)]


@pytest.fixture(scope="module")
def oracle(tiny_gpt2: Path) -> Oracle:
    return Oracle(tiny_gpt2)


# Scores


def test_zero_shot_scores_are_those_of_plain_transformers(evaluate: Run, project: Project, oracle: Oracle) -> None:
    (cell,) = evaluate(prompts="plain").cells
    rows = data(project, "test")
    assert len(cell.predictions) == len(rows) == 20
    for row, prediction in zip(rows, cell.predictions, strict=True):
        expected = [sum(oracle(f"Text: {row['text']}\nMood:", word)) for word in (" bad", " good")]
        assert prediction.scores == pytest.approx(expected, abs=1e-4)
        assert prediction.prediction == int(np.argmax(expected))
        assert prediction.margin == pytest.approx(abs(expected[0] - expected[1]), abs=1e-4)


def test_each_rule_divides_by_its_own_length(evaluate: Run, project: Project, oracle: Oracle) -> None:
    path = project.root / "prompts/mood/plain.jinja"
    path.write_text(path.read_text().replace("[bad, good]", "[bad and dull, 好的]"))
    finished = evaluate(prompts="plain", rule="sum,token,char,byte")
    words = (" bad and dull", " 好的")
    for index, row in enumerate(data(project, "test")):
        spans = [oracle(f"Text: {row['text']}\nMood:", word) for word in words]
        lengths = {"sum": (1, 1), "token": tuple(map(len, spans)), "char": (12, 2), "byte": (12, 6)}
        for cell in finished.cells:
            by = lengths[cell.signature.rule]
            expected = [sum(span) / length for span, length in zip(spans, by, strict=True)]
            assert cell.predictions[index].scores == pytest.approx(expected, abs=1e-4)


def test_demonstrations_stand_before_the_query_as_the_template_writes_them(
    evaluate: Run, project: Project, oracle: Oracle
) -> None:
    """A pool of two leaves two orders; all items must have the same one."""
    pool = [{"text": "The film was weak.", "label": 0}, {"text": "The song was lovely.", "label": 1}]
    project.write("data/mood/train.jsonl", "".join(json.dumps(row) + "\n" for row in pool))
    (cell,) = evaluate(prompts="plain", shots=2).cells
    shown = [f"Text: {row['text']}\nMood: {('bad', 'good')[int(str(row['label']))]}\n\n" for row in pool]

    def scores(text: str, demos: list[str]) -> list[float]:
        return [sum(oracle(f"{''.join(demos)}Text: {text}\nMood:", word)) for word in (" bad", " good")]

    texts = [row["text"] for row in data(project, "test")]
    matches = {
        order
        for order, demos in (("kept", shown), ("turned", shown[::-1]))
        if all(
            prediction.scores == pytest.approx(scores(text, demos), abs=1e-4)
            for text, prediction in zip(texts, cell.predictions, strict=True)
        )
    }
    assert len(matches) == 1


def test_several_words_of_a_label_add_as_probabilities(evaluate: Run, project: Project, oracle: Oracle) -> None:
    path = project.root / "prompts/mood/plain.jinja"
    path.write_text(path.read_text().replace("[bad, good]", "[[bad, awful], good]"))
    (cell,) = evaluate(prompts="plain", limit=3).cells
    texts = {row["text"] for row in data(project, "test")}
    for item, prediction in zip(cell.items, cell.predictions, strict=True):
        assert item.fields["text"] in texts
        bad, awful, good = (sum(oracle(f"Text: {item.fields['text']}\nMood:", w)) for w in (" bad", " awful", " good"))
        both = math.log(math.exp(bad) + math.exp(awful))
        assert prediction.scores == pytest.approx([both, good], abs=1e-4)


def test_options_of_an_item_are_scored_per_character(evaluate: Run, project: Project, oracle: Oracle) -> None:
    project.write(
        "tasks/pick.yaml",
        "name: pick\nfamily: choice\nsource: {folder: pick}\nsplits: {report: test}\nfields: {stem: q}\n"
        'target: best\noptions: "{{ choices }}"\n',
    )
    project.write("prompts/pick/plain.jinja", '---\nanswers: "{{ options }}"\n---\n{{ stem }} {{ answer }}\n')
    rows = [
        {"q": "The film", "choices": ["was good", "stayed dull and weak"], "best": 0},
        {"q": "The lamp", "choices": ["felt bright", "was bad", "looked fine"], "best": 2},
    ]
    project.write("data/pick/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (cell,) = evaluate(tasks="pick").cells
    assert cell.signature.rule == "char"
    for row, prediction in zip(rows, cell.predictions, strict=True):
        expected = [sum(oracle(str(row["q"]), f" {o}")) / len(str(o)) for o in list(row["choices"])]  # type: ignore[call-overload]
        assert prediction.scores == pytest.approx(expected, abs=1e-4)
        assert prediction.gold == row["best"]


def test_equal_tokens_with_another_answer_span_are_another_score(
    evaluate: Run, project: Project, oracle: Oracle
) -> None:
    project.write("prompts/mood/short.jinja", "---\nanswers: [bad, good]\n---\n{{ text }} so {{ answer }}\n")
    project.write("prompts/mood/long.jinja", "---\nanswers: [so bad, so good]\n---\n{{ text }} {{ answer }}\n")
    long, short = evaluate(prompts="long,short", limit=3).cells
    for item, whole, part in zip(long.items, long.predictions, short.predictions, strict=True):
        context = str(item.fields["text"])
        assert whole.scores == pytest.approx([sum(oracle(context, f" so {w}")) for w in ("bad", "good")], abs=1e-4)
        assert part.scores == pytest.approx([sum(oracle(f"{context} so", f" {w}")) for w in ("bad", "good")], abs=1e-4)


def test_prompts_that_are_equal_are_scored_once(evaluate: Run, project: Project) -> None:
    row = {"text": "The film was fine.", "label": 1}
    rows = [row, row, {**row, "label": 0}, {"text": "The song was weak.", "label": 0}]
    project.write("data/mood/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    finished = evaluate(prompts="plain")
    assert finished.manifest.requests == {"distinct": 2 * 2, "from store": 0, "scored": 2 * 2}
    (cell,) = finished.cells
    assert len({item.item_id for item in cell.items}) == 4
    assert cell.predictions[0].scores == cell.predictions[1].scores == cell.predictions[2].scores


# Demonstrations that do not fit


def test_prompt_that_is_too_long_loses_demonstrations_and_says_so(evaluate: Run, oracle: Oracle) -> None:
    (cell,) = evaluate(prompts="plain", shots=30).cells
    assert all(0 < prediction.shots < 30 for prediction in cell.predictions)
    assert {prediction.status for prediction in cell.predictions} == {"ok"}


def test_prompt_that_never_fits_is_wrong_and_has_its_own_status(evaluate: Run, project: Project) -> None:
    rows = data(project, "test")
    rows[3]["text"] = " ".join(made_up_text(20))
    project.write("data/mood/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    finished = evaluate(prompts="plain", shots=1)
    (cell,) = finished.cells
    statuses = Counter(prediction.status for prediction in cell.predictions)
    assert statuses == {"ok": 19, "too_long": 1}
    lost = stored(finished)[3]
    assert (lost["status"], lost["prediction"], lost["text"], lost["correct"]) == ("too_long", "null", None, 0.0)
    result = api.leaderboard(project.root / "results")
    assert result.rows[0].n == 20
    assert result.rows[0].metrics["accuracy"].mean == sum(p.correct for p in cell.predictions) / 20


# The grid


def test_grid_has_a_cell_for_each_combination_and_seeds_matter_only_with_shots(evaluate: Run) -> None:
    finished = evaluate(shots="0,1,2", demo_seeds="0,1,2", rule="sum,token", limit=2)
    found = Counter((c.signature.shots, c.signature.demo_seed) for c in finished.cells)
    seeded = {(shots, seed): 4 for shots in (1, 2) for seed in (0, 1, 2)}
    assert found == {(0, None): 4, **seeded}
    assert len({c.signature.id for c in finished.cells}) == len(finished.cells) == 28


@pytest.mark.parametrize(
    "options",
    [
        {"shots": 2}, {"demos": "balanced", "shots": 2}, {"demos": "per-item", "shots": 2},
        {"demo_seeds": 1, "shots": 2}, {"rule": "byte"}, {"dtype": "bfloat16"}, {"bos": "always"},
        {"prompts": "terse"},
    ],
    ids=str,
)  # fmt: skip
def test_cell_is_another_when_what_changes_predictions_is(evaluate: Run, options: dict[str, Any]) -> None:
    base = {"prompts": "plain", "limit": 3, **({"shots": 2} if len(options) == 2 else {})}
    (plain,) = evaluate(**base).cells
    (other,) = evaluate(**{**base, **options}).cells
    assert plain.signature.id != other.signature.id


def test_cell_is_the_same_whenever_and_wherever_it_is_computed(evaluate: Run, project: Project) -> None:
    first = evaluate(shots="0,2")
    again = evaluate(shots="2,0", results=project.root / "elsewhere", device="cpu", fresh=True)
    assert {c.signature.id for c in first.cells} == {c.signature.id for c in again.cells}
    assert first.manifest.id != again.manifest.id


@pytest.mark.parametrize("demos", ["fixed", "balanced", "per-item"])
def test_smaller_set_of_demonstrations_opens_the_larger_one(
    evaluate: Run, monkeypatch: pytest.MonkeyPatch, demos: str
) -> None:
    """The drawn examples are read off the prompts, by the pool's texts."""
    prompts: list[str] = []
    encode = runner.Encoder.cell

    def spy(self: Any, rendered: Any, **more: Any) -> Any:
        prompts.extend(prompt.text for prompt in rendered)
        return encode(self, rendered, **more)

    monkeypatch.setattr(runner.Encoder, "cell", spy)
    evaluate(shots="1,3", demos=demos, limit=4)
    shown = [
        [line.removeprefix("Text: ").split(" good?")[0] for line in text.splitlines() if line and "Mood:" not in line]
        for text in prompts
    ]
    one_plain, one_terse, three_plain, three_terse = (shown[i : i + 4] for i in range(0, 16, 4))
    for few, many in ((one_plain, three_plain), (one_terse, three_terse)):
        assert [texts[:1] for texts in many] == [texts[:1] for texts in few]
        assert all(len(set(texts)) == 4 for texts in many)
    assert one_plain == one_terse, "templates share draws"
    assert three_plain == three_terse
    same_for_all = len({tuple(texts[:3]) for texts in three_plain}) == 1
    assert same_for_all == (demos != "per-item")


def test_limit_is_a_seeded_part_of_every_larger_one(evaluate: Run) -> None:
    ids = {
        (limit, seed): {item.item_id for item in evaluate(prompts="plain", limit=limit, seed=seed).cells[0].items}
        for limit in (4, 9, None)
        for seed in (0, 1)
    }
    for seed in (0, 1):
        assert ids[4, seed] < ids[9, seed] < ids[None, seed]
        assert len(ids[4, seed]) == 4
    assert ids[9, 0] != ids[9, 1]


def test_select_role_has_its_own_items(evaluate: Run, project: Project) -> None:
    splits = 'splits: {pool: train, select: "train[-8:]", report: test}'
    project.write("tasks/mood.yaml", MOOD_TASK.replace("splits: {pool: train, report: test}", splits))
    chosen, reported = (evaluate(prompts="plain", split=split, shots=1).cells[0] for split in ("select", "report"))
    assert len(chosen.items) == 8
    train, test = ({row["text"] for row in data(project, name)} for name in ("train", "test"))
    assert {item.fields["text"] for item in chosen.items} <= train
    assert {item.fields["text"] for item in reported.items} == test
    assert chosen.signature.role == "select"
    assert chosen.signature.split == "train[-8:]"


def test_several_tasks_by_pattern_each_keep_their_rows(evaluate: Run, project: Project) -> None:
    project.write(
        "tasks/mood_two.yaml",
        MOOD_TASK.replace("name: mood", "name: mood_two").replace("folder: mood", "folder: two") + "prompts: [mood]\n",
    )
    project.write_rows("data/two/train.jsonl", 10, seed=11)
    project.write_rows("data/two/test.jsonl", 6, seed=12)
    finished = evaluate(tasks=["mood*"], shots=1)
    assert Counter(c.signature.task for c in finished.cells) == {"mood": 2, "mood_two": 2}
    assert {(c.signature.task, len(c.items)) for c in finished.cells} == {("mood", 20), ("mood_two", 6)}
    assert finished.manifest.tasks["mood_two"]["rows"] == {"report": 6, "pool": 10}


# What is stored


def test_manifest_tells_what_was_asked_and_used(evaluate: Run, project: Project, tiny_gpt2: Path) -> None:
    finished = evaluate(shots="0,2", limit=5)
    manifest = json.loads((finished.path / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["status"] == "done"
    assert manifest["options"]["shots"] == [0, 2]
    assert manifest["options"]["limit"] == 5
    assert {"python", "harness", "torch", "transformers"} <= set(manifest["versions"])
    assert manifest["model"]["name"] == str(tiny_gpt2)
    assert (manifest["model"]["dtype"], manifest["model"]["device"]) == ("float32", "cpu")
    assert (manifest["model"]["max_inputs"], manifest["model"]["prefix"]) == (128, [])
    assert manifest["tasks"]["mood"]["data"] == "folder"
    assert manifest["tasks"]["mood"]["rows"] == {"report": 20, "pool": 40}
    assert manifest["requests"] == {"distinct": 40, "from store": 0, "scored": 40}
    assert manifest["tokens_computed"] > 0
    assert [cell["n"] for cell in manifest["cells"]] == [5] * 4
    assert finished.path.parent == Path("results/runs")


def test_predictions_file_has_each_item_of_each_cell_with_its_gold_label(evaluate: Run, project: Project) -> None:
    finished = evaluate(shots="0,2")
    rows = stored(finished)
    assert Counter(row["cell"] for row in rows) == {cell.signature.id: 20 for cell in finished.cells}
    assert len({(row["cell"], row["item_id"]) for row in rows}) == 80
    golds = [row["label"] for row in data(project, "test")]
    assert [json.loads(row["gold"]) for row in rows] == golds * 4
    for row in rows:
        said = json.loads(row["prediction"])
        assert row["text"] == ("low", "high")[said]
        assert said == int(np.argmax(row["scores"]))
        assert row["correct"] == float(row["prediction"] == row["gold"])


def test_candidates_lead_to_the_stored_score_of_every_token(evaluate: Run, project: Project) -> None:
    finished = evaluate(prompts="plain")
    (path,) = project.root.glob("results/scores/*/*.parquet")
    scores = {row["key"]: row for row in pq.read_table(path, partitioning=None).to_pylist()}
    predicted = {row["item_id"]: row["scores"] for row in stored(finished)}
    candidates = stored(finished, "candidates")
    assert len(candidates) == 40
    for row in candidates:
        assert len(scores[row["key"]]["logprobs"]) == row["n_tokens"]
        assert sum(scores[row["key"]]["logprobs"]) == pytest.approx(predicted[row["item_id"]][row["label"]], abs=1e-5)
        assert row["word"] == ("bad", "good")[row["label"]]
        assert (row["n_chars"], row["n_bytes"]) == (len(row["word"]), len(row["word"]))
    assert {row["engine"] for row in scores.values()} == {finished.manifest.model["engine"]}


def test_bfloat16_model_is_scored_in_bfloat16(evaluate: Run, project: Project) -> None:
    exact, half = (evaluate(prompts="plain", dtype=dtype) for dtype in ("float32", "bfloat16"))
    one, other = (np.array([p.scores for p in finished.cells[0].predictions]) for finished in (exact, half))
    assert 1e-4 < np.abs(one - other).max() < 1.0
    assert len(list(project.root.glob("results/scores/*-bfloat16"))) == 1


def test_notices_reach_the_reporter_and_the_manifest(evaluate: Run, project: Project) -> None:
    train = project.root / "data/mood/train.jsonl"
    train.write_text(
        train.read_text() + "\n".join((project.root / "data/mood/test.jsonl").read_text().splitlines()[:3])
    )
    reporter = QuietReporter()
    finished = evaluate(reporter, shots=1)
    assert reporter.notices == ["mood: 3 rows of the pool equal a reported item and are not used"]
    assert finished.manifest.notices == reporter.notices
    assert finished.manifest.tasks["mood"]["pool_duplicates_removed"] == 3


# What fails


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (ModelError("no more memory"), ModelError, "failed"),
        (KeyboardInterrupt(), InterruptedRunError, "interrupted"),
        (ZeroDivisionError("a bug"), ModelError, "failed"),
        (IndexError("index out of range in self"), ModelError, "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_scores_survive_whatever_stops_the_scoring(
    evaluate: Run,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    status: str,
) -> None:
    steps = iter([None, None, None])

    def fail_at_fourth() -> None:
        if next(steps, error) is not None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(Scoring, "_choose", watch_scoring(fail_at_fourth))
        with pytest.raises(raised):
            evaluate()
    (path,) = project.root.glob("results/runs/*/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["status"] == status
    kept = manifest["requests"]["scored"]
    assert 0 < kept < 80
    assert not (path.parent / "predictions.parquet").exists()
    assert evaluate().manifest.requests == {"distinct": 80, "from store": kept, "scored": 80 - kept}


def test_weights_that_are_not_numbers_are_told_apart_from_a_model_that_is_not_causal(
    evaluate: Run, project: Project
) -> None:
    from safetensors.torch import load_file, save_file

    model = build_gpt2(project.root / "nan")
    weights = load_file(model / "model.safetensors")
    weights["transformer.ln_f.weight"][0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not a finite number") as caught:
        evaluate(model=str(model))
    assert "causal" not in str(caught.value)


def test_mistake_in_data_or_template_shows_before_any_model_is_sought(evaluate: Run, project: Project) -> None:
    project.write("data/mood/test.jsonl", '{"text": "x", "label": 7}\n')
    with pytest.raises(DataError, match=r"test\.jsonl:1"):
        evaluate(model="./nothing")
    assert not (project.root / "results").exists()


def test_more_demonstrations_than_the_pool_holds_leave_no_run_behind(evaluate: Run, project: Project) -> None:
    with pytest.raises(UsageError, match="41 demonstrations were asked for, but the pool holds 40"):
        evaluate(shots=41)
    assert not (project.root / "results").exists()


# Options


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"tasks": "a, b,a"}, "tasks", ("a", "b")),
        ({"tasks": ["a", "b"]}, "tasks", ("a", "b")),
        ({"shots": 4}, "shots", (4,)),
        ({"shots": "0, 4,16"}, "shots", (0, 4, 16)),
        ({"shots": [4, 0, 4]}, "shots", (4, 0)),
        ({"demo_seeds": range(3)}, "demo_seeds", (0, 1, 2)),
        ({"rule": "sum,byte"}, "rule", ("sum", "byte")),
        ({"data_dir": "d"}, "data_dir", Path("d")),
        ({"include_path": ["a", Path("b")]}, "include_path", (Path("a"), Path("b"))),
        ({"model_arg": {"x": 1}}, "model_arg", {"x": 1}),
        ({}, "prompts", ("all",)),
    ],
    ids=str,
)
def test_options_take_what_is_natural_to_write(given: dict[str, Any], field: str, value: object) -> None:
    assert getattr(RunOptions.read({"tasks": "a", "model": "m", **given}), field) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "a"}, r"unknown option 'task'; did you mean 'tasks'\?"),
        ({"model": None}, "--model: .*string"),
        ({"shots": True}, "--shots: .*whole number"),
        ({"shots": 1.5}, "--shots: .*whole number"),
        ({"shots": None}, "--shots: .*whole number"),
        ({"limit": "5"}, "--limit: .*whole number"),
        ({"demo_seeds": []}, "--demo-seeds: names nothing"),
        ({"include_path": 3}, "--include-path: "),
    ],
    ids=str,
)
def test_wrong_options_are_named_as_the_command_line_spells_them(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunOptions.read({"tasks": "a", "model": "m", **given})


def test_missing_options_are_named() -> None:
    with pytest.raises(UsageError, match="--tasks is needed"):
        RunOptions.read({"model": "m"})


def test_the_built_in_model_is_the_default() -> None:
    assert RunOptions.read({"tasks": "a"}).model == "builtin"


def test_grid_file_gives_the_options_of_the_python_api(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("tasks: [a, b]\nmodel: m\nshots: 0,4\ndata_dir: d\nmodel_arg: {x: 1}\nfresh: true\n")
    assert RunOptions.read(read_grid(path)) == RunOptions.read(
        {"tasks": "a,b", "model": "m", "shots": [0, 4], "data_dir": "d", "model_arg": {"x": 1}, "fresh": True}
    )
