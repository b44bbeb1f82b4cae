"""Rules, calibrations and controls of one scoring pass, against arithmetic on the stored scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project
from naive import score_row

from harness.companions import domain
from harness.data import load_data
from harness.errors import TemplateError, UsageError
from harness.models import ModelSpec, load_model, locate_model
from harness.options import RunOptions
from harness.records import Prediction
from harness.render import Renderer
from harness.runner import FinishedCell, FinishedRun, run
from harness.search_path import SearchPath
from harness.sources import FolderSource
from harness.tasks import Catalogue
from harness.templates import load_template
from harness.tokenizer import PretrainedTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Evaluate = Callable[..., FinishedRun]


@pytest.fixture
def evaluate(project: Project, tiny_gpt2: Path) -> Evaluate:
    def call(**options: Any) -> FinishedRun:
        given = {"tasks": "mood", "model": str(tiny_gpt2), "data_dir": project.root / "data", "prompts": "plain"}
        return run(RunOptions.read({**given, **options}))

    return call


def cell(found: FinishedRun, **wanted: object) -> FinishedCell:
    (one,) = (cell for cell in found.cells if all(cell.signature.value(key) == value for key, value in wanted.items()))
    return one


def scores(found: FinishedRun, **wanted: object) -> np.ndarray:
    """Label scores by item, shape [n, labels]."""
    predictions: list[Prediction] = list(cell(found, **wanted).predictions)
    return np.array([prediction.scores for prediction in predictions])


def logprob(model: Path, context: str, answer: str) -> float:
    """Of the answer after the context, by one forward of plain transformers."""
    files = locate_model(ModelSpec(str(model)))
    tokenizer = PretrainedTokenizer(files)
    whole, before = (list(tokenizer.encode([text])[0].ids) for text in (context + answer, context))
    lead = [] if before else [tokenizer.opening or 0]
    values, _ = score_row(load_model(files), lead + whole, len(lead + before))
    return sum(values)


def test_pmi_compares_with_the_end_of_the_template_alone(evaluate: Evaluate, tiny_gpt2: Path) -> None:
    found = evaluate(rule="sum,pmi")
    premises = [logprob(tiny_gpt2, "Mood:", f" {word}") for word in ("bad", "good")]
    assert scores(found, rule="pmi") == pytest.approx(scores(found, rule="sum") - premises, abs=1e-4)


def test_a_template_may_bring_its_own_premise(evaluate: Evaluate, project: Project, tiny_gpt2: Path) -> None:
    project.write(
        "prompts/mood/own.jinja",
        '---\nanswers: [bad, good]\npremise: "the answer is:"\n---\nText: {{ text }}\nMood: {{ answer }}\n',
    )
    found = evaluate(rule="sum,pmi", prompts="own")
    premises = [logprob(tiny_gpt2, "the answer is:", f" {word}") for word in ("bad", "good")]
    assert scores(found, rule="pmi") == pytest.approx(scores(found, rule="sum") - premises, abs=1e-4)


def test_a_template_whose_end_says_nothing_needs_a_premise(evaluate: Evaluate, project: Project) -> None:
    project.write("prompts/mood/bare.jinja", "---\nanswers: [bad, good]\n---\n{{ text }}\n{{ answer }}\n")
    with pytest.raises(UsageError, match=r"the rule pmi for mood/bare \(its last line .* set premise: in the front"):
        evaluate(rule="pmi", prompts="bare")


def test_unconditional_compares_with_nothing(evaluate: Evaluate, tiny_gpt2: Path) -> None:
    found = evaluate(rule="sum,unconditional", shots=2)
    alone = [logprob(tiny_gpt2, "", f" {word}") for word in ("bad", "good")]
    assert scores(found, rule="unconditional") == pytest.approx(scores(found, rule="sum") - alone, abs=1e-4)


@pytest.mark.parametrize("shots", [0, 2])
def test_contextual_calibration_asks_the_same_prompt_about_nothing(
    evaluate: Evaluate, tiny_gpt2: Path, shots: int
) -> None:
    found = evaluate(calibrate="none,contextual", shots=shots)
    plain = scores(found, calibration="none")
    shown = cell(found, calibration="none")
    examples = "".join(_demo(found, index) for index in range(shots))
    probabilities = np.array(
        [
            [np.exp(logprob(tiny_gpt2, f"{examples}Text: {text}\nMood:", f" {word}")) for word in ("bad", "good")]
            for text in ("N/A", "", "[MASK]")
        ]
    )
    prior = probabilities.mean(axis=0) / probabilities.mean(axis=0).sum()
    p = np.exp(plain) / np.exp(plain).sum(axis=1, keepdims=True)
    expected = p / prior / (p / prior).sum(axis=1, keepdims=True)
    assert np.exp(scores(found, calibration="contextual")) == pytest.approx(expected, abs=1e-4)
    assert len(shown.items) == 20


def test_what_is_compared_with_stands_after_the_demonstrations_that_the_item_kept(
    evaluate: Evaluate, project: Project, tiny_gpt2: Path
) -> None:
    """Items of different lengths keep different numbers of demonstrations in 128 positions."""
    rows = [{"text": "A dull film." + " It was long." * n, "label": n % 2} for n in range(0, 12, 2)]
    project.write("data/mood/test.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = evaluate(calibrate="none,contextual", shots=4)
    kept = cell(found, calibration="contextual").encoded.shots
    assert len(set(kept)) > 2, kept
    plain, calibrated = (scores(found, calibration=name) for name in ("none", "contextual"))
    for index, shots in enumerate(kept):
        examples = "".join(_demo(found, number) for number in range(shots))
        probabilities = np.mean(
            [
                [np.exp(logprob(tiny_gpt2, f"{examples}Text: {text}\nMood:", f" {word}")) for word in ("bad", "good")]
                for text in ("N/A", "", "[MASK]")
            ],
            axis=0,
        )
        p = np.exp(plain[index]) / probabilities
        assert np.exp(calibrated[index]) == pytest.approx(p / p.sum(), abs=1e-4)


def said_of_lengths(harness: Commands, project: Project, model: Path, words: int, shots: int) -> str:
    """What is said when the texts of the pool are of so many words, and those of the items of one."""
    project.write_rows("data/mood/train.jsonl", 6, seed=1, change=lambda row: row.update(text="dull " * words))
    project.write_rows(
        "data/mood/test.jsonl", 8, seed=2, change=lambda row: row.update(text=f"Fine {row['text'][-4:]}")
    )
    options = ("--prompts", "plain", "--calibrate", "none,domain", "--shots", shots, "--model", model)
    done = harness.ok("run", "--tasks", "mood", "--data-dir", "data", *options)
    return next((line for line in done.err.splitlines() if "prompts without text" in line), "")


@pytest.mark.parametrize(
    ("words", "shots", "told"),
    [
        (10, 1, ""),
        (60, 1, "they show fewer demonstrations than the item's for 8 of 8 answers"),
        (
            200,
            0,
            "they do not fit with none, and are left out, for 8 of 8 answers; none is left for 8 answers, which stay as"
            " they are",
        ),
    ],
)
def test_prompts_without_text_that_are_too_long_are_told(
    harness: Commands, project: Project, tiny_gpt2: Path, words: int, shots: int, told: str
) -> None:
    before = "mood: some prompts without text, for domain calibration, are too long for the model; "
    assert said_of_lengths(harness, project, tiny_gpt2, words, shots) == (before + told if told else "")


def test_answers_after_nothing_left_as_they_are(evaluate: Evaluate, project: Project) -> None:
    project.write_rows("data/mood/train.jsonl", 6, seed=1, change=lambda row: row.update(text="dull " * 200))
    found = evaluate(calibrate="none,domain")
    plain, calibrated = (scores(found, calibration=name) for name in ("none", "domain"))
    assert calibrated == pytest.approx(plain - np.logaddexp(plain[:, :1], plain[:, 1:]))


def test_a_premise_that_is_too_long_is_named(evaluate: Evaluate, project: Project) -> None:
    front = f'---\nanswers: [bad, good]\npremise: "{"so " * 200}"\n---\n'
    project.write("prompts/mood/long.jinja", front + "Text: {{ text }}\nMood: {{ answer }}\n")
    with pytest.raises(
        TemplateError, match=r"long\.jinja: the answers after the premise are longer than the model can"
    ):
        evaluate(prompts="long", rule="pmi")


def test_domain_texts_are_of_words_of_their_scripts(project: Project) -> None:
    """One row with a space makes no words of the clauses of the others."""
    texts = iter(["房间很大，服务也很好。", "电影 真的好看", "音乐有点吵。"] * 20)
    project.write_rows("data/mood/train.jsonl", 6, seed=3, change=lambda row: row.update(text=next(texts)))
    task = Catalogue(SearchPath.default(())).get("mood")
    pool = load_data(task, FolderSource(Path("data"), task), ["pool"]).role("pool")
    template = load_template(Path("prompts/mood/plain.jinja"), task)
    found = domain(pool[:1], [()], Renderer(template), pool, "mood")
    drawn = [prompt.text.removeprefix("Text: ").removesuffix("\nMood: ") for prompt in found.prompts]
    assert {len(text.strip()) for text in drawn} <= {8, 9}
    assert all(" " not in text for text in drawn)
    assert len(set("".join(drawn))) > 15


def _demo(found: FinishedRun, index: int) -> str:
    """The text of a demonstration that all items share."""
    from harness.shots import Demonstrations
    from harness.sources import row_source

    task = Catalogue(SearchPath.default(())).get("mood")
    data = load_data(task, row_source(task, "auto", Path("data"), print), {"pool", "report"})
    drawing = Demonstrations("mood", data.role("pool"), "fixed", 0)
    example = drawing.draw(data.role("report")[0], index + 1)[index]
    return f"Text: {example.fields['text']}\nMood: {('bad', 'good')[example.gold]}\n\n"


def test_everything_is_scored_in_one_pass_and_read_later_without_a_model(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = {"rule": "sum,pmi,unconditional", "shots": "0,2"}
    evaluate(**every)
    evaluate(calibrate="none,contextual,domain,batch,prototypical", shots="0,2")
    monkeypatch.setattr("harness.runner.load_model", lambda *_: pytest.fail("the model was loaded"))
    assert evaluate(rule="unconditional", shots=2).manifest.requests["scored"] == 0
    for name in ("contextual", "domain", "batch", "prototypical"):
        assert evaluate(calibrate=name, shots="0,2").manifest.requests["scored"] == 0


def test_companions_cost_little(evaluate: Evaluate) -> None:
    """One premise and one null prompt for each answer, three content-free ones for each answer and context."""
    assert evaluate(rule="sum").manifest.requests["distinct"] == 40
    assert evaluate(rule="sum,pmi,unconditional").manifest.requests["distinct"] == 40 + 2 + 2
    assert evaluate(rule="sum", calibrate="contextual").manifest.requests["distinct"] == 40 + 6
    assert evaluate(rule="sum", calibrate="domain").manifest.requests["distinct"] == 40 + 40


def test_the_content_free_control_gives_every_item_one_label(evaluate: Evaluate) -> None:
    found = evaluate(controls="content-free")
    answers = {prediction.prediction for prediction in cell(found, control="content-free").predictions}
    assert len(answers) == 1
    assert [item.item_id for item in cell(found, control="content-free").items] == [
        item.item_id for item in cell(found, control=None).items
    ]


def test_controls_of_demonstrations_need_demonstrations(evaluate: Evaluate) -> None:
    found = evaluate(controls="permuted,noise,partial", shots="0,6")
    controls = [(one.signature.shots, one.signature.control) for one in found.cells]
    assert controls == [(0, None), (6, None), (6, "permuted"), (6, "noise")]


def test_a_result_that_does_not_beat_its_control_is_told(evaluate: Evaluate, project: Project) -> None:
    """A random model knows nothing, so its prompts do no better than without their text."""
    from harness.cell_results import read_cells
    from harness.notices import notices
    from harness.run_store import stored_run
    from harness.summary import summarise

    found = evaluate(controls="content-free")
    lines = notices(summarise(read_cells([stored_run(found.path)])))
    assert any("does not beat its control content-free" in line for line in lines)
    document = json.loads((found.path / "manifest.json").read_text())
    assert document["cells"][0]["signature"]["control"] is None


def test_flipped_copa_reads_the_same_by_every_rule(
    harness: Commands, project: Project, shared_data: Path, stories_model: Path
) -> None:
    """Every alternative is scored by the premise that follows it: one text, whose length and likelihood drop out
    (Holtzman et al. 2021, section 4)."""
    project.write(
        "prompts/copa/flipped.jinja",
        '---\nanswers: "{{ options }}"\nscore: premise\npremise: "so"\n---\n'
        "{{ answer }} {{ 'so' if question == 'cause' else 'because' }} {{ premise }}\n",
    )
    options = ("--prompts", "flipped", "--rule", "sum,token,pmi,unconditional", "--model", stories_model)
    harness.ok("run", "--tasks", "copa", "--data-dir", shared_data, "--split", "report", *options)
    (path,) = Path("results/runs").iterdir()
    rows = pq.read_table(path / "predictions.parquet").to_pylist()
    cells = json.loads((path / "manifest.json").read_text())["cells"]
    by_rule = {cell["signature"]["rule"]: cell["id"] for cell in cells}
    found = {
        rule: {row["item_id"]: row["prediction"] for row in rows if row["cell"] == cell}
        for rule, cell in by_rule.items()
    }
    assert len(found["sum"]) == 100
    assert found["sum"] == found["token"] == found["pmi"] == found["unconditional"]
    assert len(set(found["sum"].values())) == 2
