"""``--engine`` and the checks of a run's engine on the run's own requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Commands
from conftest import Project

from harness import scoring
from harness.errors import ModelError
from harness.options import RunOptions
from harness.progress import QuietReporter
from harness.runner import FinishedRun, run
from harness.scorers import ENGINES, TreeScorer

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


def test_a_named_engine_that_is_wrong_for_the_model_is_refused(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.scorers.probe.Engines._tolerance", lambda _: -1.0)
    with pytest.raises(ModelError, match="--engine expand: does not score this model as plain rows do"):
        evaluate(engine="expand")


def test_half_precision_tells_how_far_off_it_may_be(evaluate: Evaluate, harness: Commands, tiny_gpt2: Path) -> None:
    given = ("--tasks", "mood", "--model", tiny_gpt2, "--data-dir", "data", "--dtype", "bfloat16")
    done = harness.ok("run", *given)
    assert "bfloat16: scores differ from plain rows by up to" in done.err
    assert "predictions have a margin below that" in done.err


def test_an_engine_that_does_not_exist_is_a_mistake(harness: Commands, project: Project) -> None:
    done = harness("run", "--tasks", "mood", "--engine", "treee")
    assert done.status == 2
    assert "--engine" in done.mistake
    assert "did you mean 'tree'?" in done.mistake
