"""``harness baseline`` and ``harness predict``: cells beside those of prompts, resuming, reports and new text."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import Commands, Forked, Moment
from conftest import Project
from scipy import stats
from sklearn.metrics import classification_report, confusion_matrix

import harness as package
from harness.baselines import cells as baseline_cells
from harness.baselines.tfidf import Tfidf

pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = ("baseline", "--tasks", "mood", "--data-dir", "data")
SMALL = (*TRAIN, "--methods", "majority,tfidf", "--sizes", "8,all", "--seeds", "0,1")


@pytest.fixture
def trained(harness: Commands, project: Project, kept: Path) -> None:
    """The small baselines were trained in this project before: once for all tests, from the same files."""
    if kept.exists():
        shutil.copytree(kept, "results")
    else:
        harness.ok(*SMALL)
        shutil.copytree("results", kept)


def latest() -> Path:
    return max(
        Path("results/runs").iterdir(), key=lambda path: json.loads((path / "manifest.json").read_text())["created"]
    )


def manifest() -> dict[str, object]:
    found = json.loads((latest() / "manifest.json").read_text())
    assert isinstance(found, dict)
    return found


def test_every_method_size_and_seed_is_a_cell_of_a_run(harness: Commands, project: Project) -> None:
    done = harness.ok(*SMALL, "--json")
    rows = json.loads(done.out)["rows"]
    assert {(row["method"], row["labels_used"], row["seeds"], row["shots"]) for row in rows} == {
        ("majority", 8, 2, None), ("majority", 40, 2, None), ("tfidf", 8, 2, None), ("tfidf", 40, 2, None)
    }  # fmt: skip
    cells = manifest()["cells"]
    assert isinstance(cells, list)
    assert len(cells) == 8
    for cell in cells:
        known = cell["signature"]
        assert (known["kind"], known["shots"], known["rule"], known["calibration"]) == ("baseline", None, None, None)
        assert known["model"] == known["template"] == known["method"]
        assert set(cell["costs"]) == {
            "train_seconds", "score_seconds", "items_per_second", "trainable_parameters", "peak_memory_bytes"
        }  # fmt: skip
    assert len(pq.read_table(latest() / "predictions.parquet")) == 8 * 20


def test_tables_and_notices_mix_prompts_and_baselines(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--prompts", "plain")
    assert " labels " not in harness.ok("leaderboard").out
    harness.ok(*SMALL)
    table = harness.ok("leaderboard", "--format", "markdown").out.splitlines()
    titles = [part.strip() for part in table[0].strip("|").split("|")]
    lines = [dict(zip(titles, map(str.strip, line.strip("|").split("|")), strict=True)) for line in table[2:]]
    assert {(line["model"], line["k"], line["labels"]) for line in lines} == {
        ("tiny-gpt2", "0", "0"), ("majority", "-", "8"), ("majority", "-", "40"), ("tfidf", "-", "8"),
        ("tfidf", "-", "40"),
    }  # fmt: skip
    for format_ in ("csv", "latex", "table", "json"):
        harness.ok("leaderboard", "--format", format_)


def test_the_difference_to_the_best_baseline_is_paired(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    for name, seed in (("train", 1), ("test", 2)):
        change = {"change": lambda row: row.update(label=int("good" in row["text"] or "great" in row["text"]))}
        project.write_rows(f"data/mood/{name}.jsonl", 40, seed=seed, **change)
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--prompts", "plain")
    harness.ok(*TRAIN, "--methods", "tfidf,majority", "--sizes", "40", "--seeds", "0,1,2")
    rows = package.leaderboard().rows
    best = max((row for row in rows if row.trained), key=lambda row: row.item_accuracy.mean())
    assert best.best_baseline is None
    (prompt,) = (row for row in rows if not row.trained)
    assert prompt.best_baseline is not None
    assert prompt.best_baseline.name == f"{best.signature.method}, 40 labels"
    known = stats.ttest_rel(prompt.item_accuracy, best.item_accuracy).confidence_interval()
    assert prompt.best_baseline.difference.low == pytest.approx(known.low)
    flat = next(iter(csv.DictReader(io.StringIO(harness.ok("leaderboard", "--format", "csv").out))))
    assert {"over_best_baseline", "over_best_baseline_low", "best_baseline", "labels_used"} <= flat.keys()


def test_compare_narrows_to_a_baseline(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--prompts", "plain")
    prompts = latest().name
    harness.ok(*SMALL)
    done = harness.ok("compare", prompts, "latest:method=tfidf,labels_used=8", "--json")
    (pair,) = json.loads(done.out)["pairs"]
    assert (pair["n"], pair["differs"]["method"]) == (20, [None, "tfidf"])


def test_runs_of_before_are_prompts(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    """Their cells had no kind, and ``method`` was a version."""
    harness.ok(
        "run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--shots", "2", "--prompts", "plain"
    )
    path = latest() / "manifest.json"
    before = package.leaderboard().rows[0]
    known = json.loads(path.read_text())
    del known["digest"], known["files"]
    for cell in known["cells"]:
        signature = cell["signature"]
        del signature["kind"], signature["labels_used"]
        signature["method"] = signature.pop("method_version")
    path.write_text(json.dumps(known))
    after = package.leaderboard().rows[0]
    assert after.as_dict() == before.as_dict()
    assert (after.signature.approach, after.signature.labels_used) == ("prompt", 2)


# Resuming


def test_trained_cells_are_read_and_give_the_same_table(
    harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = harness.ok(*SMALL)
    monkeypatch.setattr(Tfidf, "fit", None)  # would fail
    again = harness.ok(*SMALL)
    assert again.out == first.out
    assert "8 of 8 cells were trained before and are read" in again.err
    some = harness.ok(*SMALL, "--limit", "7", "--json")
    assert {row["n"] for row in json.loads(some.out)["rows"]} == {7}


def test_other_items_are_scored_by_the_stored_model(
    harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Tfidf.fit
    one = (*TRAIN, "--methods", "tfidf", "--sizes", "16", "--seeds", "0", "--json")
    harness.ok(*one, "--limit", "5")
    monkeypatch.setattr(Tfidf, "fit", None)
    reused = harness.ok(*one, "--results", "results").out
    monkeypatch.setattr(Tfidf, "fit", fit)
    fresh = harness.ok(*one, "--results", "other").out
    assert json.loads(reused)["rows"][0]["accuracy"] == json.loads(fresh)["rows"][0]["accuracy"]


def test_a_stopped_run_keeps_what_it_finished(
    harness: Commands, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = baseline_cells.store_trained, []

    def stop(*args: object) -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(store(*args))  # type: ignore[arg-type]

    monkeypatch.setattr(baseline_cells, "store_trained", stop)
    assert harness(*SMALL).status == 130
    assert manifest()["status"] == "interrupted"
    monkeypatch.setattr(baseline_cells, "store_trained", store)
    assert "3 of 8 cells were trained before" in harness.ok(*SMALL).err


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "kept"), [(Moment("cell", 3), 3), (Moment("half cell", 3), 2)], ids=str)
def test_a_killed_run_keeps_what_it_finished(harness: Commands, project: Project, moment: Moment, kept: int) -> None:
    assert Forked(SMALL, project.root, moment).outcome().status == -signal.SIGKILL
    assert manifest()["status"] == "running"
    resumed = harness.ok(*SMALL)
    assert f"{kept} of 8 cells were trained before" in resumed.err
    assert resumed.out == harness.ok(*SMALL, "--results", "other").out


def test_a_damaged_cell_is_trained_again(harness: Commands, project: Project) -> None:
    first = harness.ok(*SMALL)
    for path in Path("results/baselines").glob("*/scores.npz"):
        path.write_bytes(b"damaged")
    assert harness.ok(*SMALL).out == first.out


# Encoders


def test_every_cell_is_charged_the_embedding_of_its_texts(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    options = ("--methods", "knn", "--seeds", "0", "--encoder", tiny_gpt2)
    for sizes in ("16", "8"):  # the second run reads the vectors of the first
        harness.ok(*TRAIN, *options, "--sizes", sizes)
        (path,) = Path("results/embeddings").glob("*/*.npz")
        with np.load(path) as stored:
            per_text = float(stored["seconds"]) / len(stored["keys"])
        (cell,) = manifest()["cells"]  # type: ignore[misc]
        assert cell["costs"]["train_seconds"] >= round(int(sizes) * per_text, 4)
        assert cell["costs"]["score_seconds"] >= round(20 * per_text, 4)
        assert cell["costs"]["peak_memory_bytes"] > 0


def test_embedded_methods_name_their_encoder(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    options = ("--methods", "knn,probe", "--sizes", "16", "--seeds", "0", "--encoder", tiny_gpt2)
    rows = json.loads(harness.ok(*TRAIN, *options, "--json").out)["rows"]
    assert {row["model"] for row in rows} == {"knn:tiny-gpt2", "probe:tiny-gpt2"}
    harness.ok("predict", "--run", "latest:method=probe", "data/mood/test.jsonl")


# The report of classes


def test_the_report_is_scikit_learns(harness: Commands, project: Project) -> None:
    harness.ok(*TRAIN, "--methods", "tfidf", "--sizes", "40", "--seeds", "0,1")
    (row,) = json.loads(harness.ok("leaderboard", "--report", "--json").out)["rows"]
    table = pq.read_table(latest() / "predictions.parquet").to_pylist()
    gold, predicted = ([json.loads(line[key]) for line in table] for key in ("gold", "prediction"))
    known = classification_report(gold, predicted, target_names=["low", "high"], output_dict=True, zero_division=0)
    found = row["report"]["labels"]
    for name in ("low", "high", "macro avg", "weighted avg"):
        assert found[name] == pytest.approx(known[name])
    assert found["micro avg"]["f1-score"] == pytest.approx(known["accuracy"])
    assert np.array(row["report"]["confusion"])[:, :2].tolist() == confusion_matrix(gold, predicted).tolist()
    shown = harness.ok("leaderboard", "--report").out
    assert "2 cells together" in shown
    assert "weighted average" in shown


# New text


def test_new_text_gets_the_labels_of_the_run(harness: Commands, project: Project, trained: None) -> None:
    side = "latest:method=tfidf,labels_used=40,seed=1"
    found = [json.loads(line) for line in harness.ok("predict", "--run", side, "data/mood/test.jsonl").out.splitlines()]
    cells = manifest()["cells"]
    assert isinstance(cells, list)
    (cell,) = (
        cell["id"]
        for cell in cells
        if [cell["signature"][key] for key in ("method", "labels_used", "demo_seed")] == ["tfidf", 40, 1]
    )
    stored = [row for row in pq.read_table(latest() / "predictions.parquet").to_pylist() if row["cell"] == cell]
    assert [one["label"] for one in found] == [row["text"] for row in stored]
    for one, row in zip(found, stored, strict=True):
        assert list(one["probabilities"].values()) == pytest.approx(np.exp(row["scores"]))
    rows = [json.loads(line) for line in Path("data/mood/test.jsonl").read_text().splitlines()]
    lines = project.write("new.txt", "".join(row["text"] + "\n" for row in rows))
    plain = list(csv.DictReader(io.StringIO(harness.ok("predict", "--run", side, lines, "--format", "csv").out)))
    assert [row["label"] for row in plain] == [one["label"] for one in found]
    assert float(plain[0]["probability low"]) == pytest.approx(found[0]["probabilities"]["low"])


def test_a_prompt_labels_new_text_as_its_run_did(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    options = ("--model", tiny_gpt2, "--shots", "2", "--data-dir", "data")
    harness.ok("run", "--tasks", "mood", "--prompts", "plain", *options)
    stored = pq.read_table(latest() / "predictions.parquet").to_pylist()
    rows = [json.loads(line) for line in Path("data/mood/test.jsonl").read_text().splitlines()]
    new = project.write("new.jsonl", "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    done = harness.ok("predict", "--task", "mood", "--prompt", "plain", *options, new)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["label"] for one in found] == [row["text"] for row in stored]
    scores = np.array([row["scores"] for row in stored])
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose([list(one["probabilities"].values()) for one in found], shares, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "status", "fragment"),
    [
        (("--methods", "tfid"), 2, "did you mean 'tfidf'?"),
        (("--sizes", "41"), 2, "--sizes 41: the pool of mood has only 40 labelled examples"),
        (("--sizes", "0"), 2, "must be numbers of labels from 1 on, or all"),
        (("--methods", "probe", "--encoder", "./nowhere"), 1, "--encoder: ./nowhere: no such folder"),
    ],
)
def test_mistakes_are_told(
    harness: Commands, project: Project, options: tuple[str, ...], status: int, fragment: str
) -> None:
    done = harness(*TRAIN, *options)
    assert done.status == status
    assert fragment in done.mistake


def test_options_of_each_items_own_are_refused(harness: Commands, project: Project) -> None:
    text = Path("tasks/mood.yaml").read_text().replace("labels: [low, high]", 'options: "{{ [text, text] }}"')
    project.write("tasks/mood.yaml", text.replace("metrics: [accuracy, macro_f1]", "metrics: [accuracy]"))
    assert "so there is nothing to learn" in harness(*TRAIN).mistake


@pytest.mark.parametrize(
    ("side", "text", "fragment"),
    [
        ("latest:method=tfidf", "x\n", "several of its baselines fit; narrow it by labels_used 8, 40; seed 0, 1"),
        ("latest:methd=tfidf", "x\n", "did you mean 'method'?"),
        ("latest:method=majority,labels_used=8,seed=0", '{"txt": "x"}\n', "new.txt:1: has no column 'text'"),
        ("latest:method=majority,labels_used=8,seed=0", '{"text": "x"}\n{"text"\n', "new.txt:2: not valid JSON"),
        ("latest:method=majority,labels_used=8,seed=0", "\n", "holds no row"),
        ("latest:method=majority,labels_used=8,seed=0", None, "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_labelled_is_told(
    harness: Commands, project: Project, trained: None, side: str, text: str | None, fragment: str
) -> None:
    if text is not None:
        project.write("new.txt", text)
    assert fragment in harness("predict", "--run", side, "new.txt").mistake


def test_python_has_the_same(project: Project) -> None:
    result = package.baseline(tasks="mood", methods="majority", sizes=[8], seeds=[0], data_dir="data")
    assert result.table["labels_used"].tolist() == [8]
    assert result.class_reports[0].support.sum() == 20


def test_what_prompts_may_not_show_is_not_trained_on(harness: Commands, project: Project) -> None:
    """A row of the pool nearly equal to any reported item, even to one beyond the limit."""
    rows = (project.root / "data/mood/test.jsonl").read_text().splitlines()
    near = [json.dumps({"text": f"{json.loads(row)['text']} Indeed.", "label": 0}) for row in rows[:3]]
    same = json.dumps({"text": json.loads(rows[5])["text"].upper(), "label": 1})
    path = project.root / "data/mood/train.jsonl"
    path.write_text("\n".join([*path.read_text().splitlines(), *near, same]) + "\n")
    done = harness.ok(*TRAIN, "--methods", "majority", "--sizes", "all", "--seeds", "0", "--limit", "2", "--json")
    assert [row["labels_used"] for row in json.loads(done.out)["rows"]] == [40]
    assert "mood: 4 rows of the pool with the text of a reported item, or nearly so, are not trained on" in done.err
