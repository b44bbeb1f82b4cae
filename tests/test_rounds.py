"""A large grid is scored in rounds, while later ones are still being rendered and tokenised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import Commands
from conftest import Project
from naive import score_rows
from small_models import VOCABULARY, build_new, pack

from harness import grid
from harness.columns import Requests
from harness.encode import Encoder
from harness.errors import ModelError
from harness.processes import Processes
from harness.progress import QuietReporter
from harness.score_store import ScoreStore
from harness.scoring import Scoring

pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(model: Path, results: str, *more: str) -> list[str]:
    return [
        "run", "--tasks", "mood", "--shots", "0,3", "--demo-seeds", "0,1", "--calibrate", "none,contextual",
        "--data-dir", "data", "--model", str(model), "--results", results, "--json", *more,
    ]  # fmt: skip


def manifest(results: str) -> dict[str, Any]:
    path = max(Path(results).glob("runs/*/manifest.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def stored(results: str) -> dict[bytes, list[float]]:
    tables = [pq.read_table(path, columns=["key", "logprobs"]) for path in Path(results).glob("scores/*/*.parquet")]
    return {row["key"]: row["logprobs"] for table in tables for row in table.to_pylist()}


def test_rounds_change_no_score_and_no_table(
    harness: Commands, project: Project, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = harness.ok(*arguments(tiny_gpt2, "whole"))
    monkeypatch.setattr(grid, "ROUND_TOKENS", 1)  # a round for each cell
    rounds = harness.ok(*arguments(tiny_gpt2, "rounds"))
    assert json.loads(whole.out) == json.loads(rounds.out)
    one, other = stored("whole"), stored("rounds")
    assert one.keys() == other.keys()
    assert all(other[key] == pytest.approx(values, rel=0, abs=1e-5) for key, values in one.items())
    assert manifest("whole")["requests"] == manifest("rounds")["requests"]
    again = harness.ok(*arguments(tiny_gpt2, "rounds"))
    assert "were in the store, so the model was not loaded" in again.err
    assert json.loads(again.out) == json.loads(rounds.out)


def test_what_rounds_share_is_all_that_is_computed_again(
    harness: Commands, project: Project, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.ok(*arguments(tiny_gpt2, "whole", "--prompts", "plain"))
    monkeypatch.setattr(grid, "ROUND_TOKENS", 1)
    harness.ok(*arguments(tiny_gpt2, "rounds", "--prompts", "plain"))
    computed = [manifest(results)["tokens_computed"] for results in ("whole", "rounds")]
    assert 0 <= computed[1] - computed[0] < 0.1 * computed[0]


def test_what_fails_in_a_later_round_ends_the_run_and_loses_nothing(
    harness: Commands, project: Project, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "ROUND_TOKENS", 1)
    cell, calls = Encoder.cell, []

    def failing(self: Encoder, *place: Any) -> Any:
        calls.append(1)
        if len(calls) == 8:
            raise ModelError("the tokenizer loses the answer 'x'")
        return cell(self, *place)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "cell", failing)
        assert harness(*arguments(tiny_gpt2, "rounds")).mistake == "the tokenizer loses the answer 'x'"
    assert manifest("rounds")["status"] == "failed"
    kept = len(stored("rounds"))
    assert kept == manifest("rounds")["requests"]["scored"]
    harness.ok(*arguments(tiny_gpt2, "rounds"))
    requests = manifest("rounds")["requests"]
    assert (requests["from store"], requests["scored"]) == (kept, requests["distinct"] - kept)


class Given:
    """Rounds of requests that are all known; ``after`` is called when each has been scored."""

    def __init__(self, rounds: list[Requests], after: Callable[[], object] = lambda: None) -> None:
        self._rounds, self._after = rounds, after
        self.closed = False

    def rounds(self) -> Iterator[Requests]:
        for requests in self._rounds:
            yield requests
            self._after()

    def known(self) -> int:
        return sum(map(len, self._rounds))

    def check(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def random_requests(*lengths: int) -> Requests:
    rng = np.random.default_rng(0)
    return pack([(rng.integers(0, VOCABULARY, length).tolist(), length - 3) for length in lengths])


def scoring_of(model: Any, folder: Path) -> Scoring:
    return Scoring(lambda: model, ScoreStore(folder, "m", "float32"), Processes(), QuietReporter(), provenance={})


def test_an_engine_is_chosen_again_for_requests_beyond_a_border(tmp_path: Path) -> None:
    """The frequencies of this model change at 32 tokens: up to there a tree is right, beyond it only rows are."""
    model, requests = build_new("llama_dynamic"), random_requests(20, 12, 30, 60, 25, 40)
    expected = score_rows(model, requests, copies=True)
    scoring, engines = scoring_of(model, tmp_path), list[str | None]()
    rounds = [requests.take(np.arange(3)), requests.take(np.arange(3, 6))]
    given = Given(rounds, lambda: engines.append(scoring.report.engine))
    sums = scoring.sums(given)
    assert engines == ["tree", "rows"]
    assert given.closed
    assert sums == pytest.approx([sum(values) for values, _ in expected], rel=0, abs=3e-5)


def test_an_engine_is_compared_with_rows_again_where_requests_are_twice_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, checked = random_requests(20, 12, 30, 25, 61, 40), []

    def check(scorer: Any, model: Any, shown: Requests) -> tuple[float, bool]:
        checked.append(int(shown.lengths.max()))
        return 0.001 * len(checked), len(checked) != 2  # the second time, it is found to be off

    monkeypatch.setattr("harness.scoring.spot_check", check)
    scoring = scoring_of(build_new("llama"), tmp_path)
    scoring.sums(Given([requests.take(np.arange(begin, begin + 2)) for begin in (0, 2, 4)]))
    assert checked == [20, 61, 61]  # not at 30; at 61, and when another is chosen
    assert scoring.report.engine == "tree"
    assert scoring.report.deviation == pytest.approx(0.003)
