"""``--engine`` and the checks of a run's engine on the run's own requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from commands import Commands
from conftest import Project
from small_models import build_new, pack

from harness import scoring
from harness.columns import TOLERANCE
from harness.errors import ModelError
from harness.options import RunOptions
from harness.progress import QuietReporter
from harness.runner import FinishedRun, run
from harness.scorers import ENGINES, TreeScorer, spot_sample

pytestmark = pytest.mark.usefixtures("one_thread")

Evaluate = Callable[..., FinishedRun]


@pytest.fixture
def evaluate(project: Project, tiny_gpt2: Path) -> Evaluate:
    def call(reporter: QuietReporter | None = None, **options: Any) -> FinishedRun:
        given = {"tasks": "mood", "model": str(tiny_gpt2), "data_dir": project.root / "data", "shots": "0,2"}
        return run(RunOptions.read({**given, **options}), reporter)

    return call


def scores(found: FinishedRun) -> np.ndarray:
    return np.array([prediction.scores for cell in found.cells for prediction in cell.predictions])


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_scores_and_is_recorded(evaluate: Evaluate, engine: str) -> None:
    auto = evaluate(results="auto")
    found = evaluate(engine=engine, results="named")
    assert (auto.manifest.model["engine"], found.manifest.model["engine"]) == ("tree", engine)
    assert scores(found) == pytest.approx(scores(auto), rel=0, abs=1e-4)
    assert found.manifest.model["deviation"] < 1e-4


def test_a_named_engine_reads_no_stored_scores(evaluate: Evaluate) -> None:
    evaluate()
    again = evaluate(engine="rows")
    assert again.manifest.requests["from store"] == 0
    assert evaluate().manifest.requests["scored"] == 0


def test_an_engine_that_fails_on_real_requests_gives_way_with_a_notice(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = scoring.spot_check

    def fails_for_trees(scorer: Any, *more: Any) -> tuple[float, bool]:
        return (0.5, False) if isinstance(scorer, TreeScorer) else check(scorer, *more)

    monkeypatch.setattr(scoring, "spot_check", fails_for_trees)
    reporter = QuietReporter()
    found = evaluate(reporter)
    assert found.manifest.model["engine"] == "expand"
    assert "differs from plain rows by 5.0e-01 on real requests" in found.manifest.model["engines_rejected"]["tree"]
    assert any(notice.startswith("the engine tree differs from plain rows") for notice in reporter.notices)


Failing = Callable[[dict[str, Any]], bool]


@pytest.fixture
def fails_when(monkeypatch: pytest.MonkeyPatch) -> Callable[[Failing], None]:
    """Have the model's own code fail on some arguments, from the first forward on."""

    def call(condition: Failing) -> None:
        forward = transformers.GPT2LMHeadModel.forward

        @wraps(forward)
        def failing(self: Any, *more: Any, **arguments: Any) -> Any:
            if condition(arguments):
                raise IndexError("index out of range in self")
            return forward(self, *more, **arguments)

        monkeypatch.setattr(transformers.GPT2LMHeadModel, "forward", failing)

    return call


def is_tree(arguments: dict[str, Any]) -> bool:
    return getattr(arguments.get("attention_mask"), "ndim", 0) == 4


@pytest.mark.parametrize("where", ["in the probe", "on real requests", "while it is used"])
def test_an_engine_at_which_a_models_own_code_fails_gives_way(
    evaluate: Evaluate, fails_when: Callable[[Failing], None], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = evaluate(results="expected")
    state = {"probed": where == "in the probe", "checked": where != "while it is used", "seen": 0}
    check = scoring.spot_check
    monkeypatch.setattr(
        scoring, "spot_check", lambda *given: (state.update(probed=True), check(*given), state.update(checked=True))[1]
    )
    monkeypatch.setattr(TreeScorer, "_end", lambda self, plan, begin: min(begin + 50, plan.n_nodes))

    def fails(arguments: dict[str, Any]) -> bool:
        if not (is_tree(arguments) and state["probed"] and state["checked"]):
            return False
        state["seen"] += 1
        return where != "while it is used" or state["seen"] > 3

    fails_when(fails)
    reporter = QuietReporter()
    found = evaluate(reporter, fresh=True)
    assert found.manifest.model["engine"] == "expand"
    assert "IndexError: index out of range in self" in found.manifest.model["engines_rejected"]["tree"]
    told = [notice for notice in reporter.notices if notice.startswith("the engine tree fails on real requests")]
    assert len(told) == (where != "in the probe")  # the other tree is found out in the probe
    assert scores(found) == pytest.approx(scores(expected), rel=0, abs=1e-4)
    assert found.manifest.requests == {"distinct": 160, "from store": 0, "scored": 160}


@pytest.mark.parametrize("where", ["in the probe", "on real requests", "at a length", "while it is used"])
def test_a_model_whose_code_always_fails_ends_in_one_line(
    harness: Commands, project: Project, tiny_gpt2: Path, fails_when: Callable[[Failing], None],
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    check, state = scoring.spot_check, {"armed": where == "in the probe"}

    def arm(*given: Any) -> Any:
        state["armed"] |= where == "on real requests"
        found = check(*given)
        state["armed"] |= where == "while it is used"
        return found

    monkeypatch.setattr(scoring, "spot_check", arm)
    causal = 8
    fails_when(
        lambda arguments: (
            arguments["input_ids"].shape[1] > 60
            if where == "at a length"
            else state["armed"] and arguments["input_ids"].shape[1] != causal
        )
    )
    done = harness("run", "--tasks", "mood", "--model", tiny_gpt2, "--data-dir", "data", "--shots", "0,2")
    assert done.status == 1
    assert "IndexError: index out of range in self" in done.mistake
    assert len(done.mistake) < 400


def test_a_named_engine_that_is_wrong_for_the_model_is_refused(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.scorers.probe.Engines._tolerance", lambda _: -1.0)
    with pytest.raises(ModelError, match="--engine expand: does not score this model as plain rows do"):
        evaluate(engine="expand")


def test_half_precision_tells_how_far_off_it_may_be(
    evaluate: Evaluate, harness: Commands, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "spot_check", lambda *given: (0.3, True))
    given = ("--tasks", "mood", "--model", tiny_gpt2, "--data-dir", "data", "--dtype", "bfloat16")
    done = harness.ok("run", *given)
    assert "bfloat16: scores differ from plain rows by up to" in done.err
    assert "predictions have a margin below that" in done.err
    told = re.search(r"in the (\d+) answers .* about one of (\d+); ([\d,]+) of ([\d,]+) predictions", done.err)
    assert told is not None
    (path,) = Path("results").glob("runs/*/predictions.parquet")
    found = pq.read_table(path, columns=["margin", "tolerance"])
    manifest = json.loads((path.parent / "manifest.json").read_text())["model"]
    reached = found["tolerance"].to_numpy() / TOLERANCE * manifest["deviation"]
    close = int((found["margin"].to_numpy() < reached).sum())
    assert [int(part) for part in told.groups()] == [
        manifest["deviation_of"], manifest["deviation_of"] + 1, close, found.num_rows,
    ]  # fmt: skip
    assert 0 < close < found.num_rows


def test_more_answers_are_compared_in_half_precision_where_that_costs_little() -> None:
    model, many = build_new("llama"), pack([([1, 2, 3, token, 5], 4) for token in range(90)])
    few = pack([([token] * 60, 4) for token in range(40)])
    assert len(spot_sample(model, many)) <= 4
    model.to(torch.bfloat16)
    assert len(spot_sample(model, many)) <= 4
    assert len(spot_sample(model, pack([([one, two, 3], 2) for one in range(50) for two in range(50)]))) >= 15
    assert len(spot_sample(model, few)) <= 4
    longest = pack([*(([1, 2, token], 2) for token in range(90)), ([5] * 70, 4), ([1, 2, 3, 4], 2)])
    assert int(np.argmax(longest.lengths)) in spot_sample(model, longest)


def test_an_engine_that_does_not_exist_is_a_mistake(harness: Commands, project: Project) -> None:
    done = harness("run", "--tasks", "mood", "--engine", "treee")
    assert done.status == 2
    assert "--engine" in done.mistake
    assert "did you mean 'tree'?" in done.mistake
