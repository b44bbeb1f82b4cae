"""Out of memory: less is computed at once, nothing is lost, and nothing is computed wrongly afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest
import torch
from small_models import (
    Row,
    assert_scored,
    build,
    build_new,
    collect,
    distinct_tokens,
    few_shot_rows,
    naive_scores,
    pack,
    random_rows,
)

from harness.errors import ModelError
from harness.scorers import ExpandScorer, RowScorer, Scorer, TreeScorer
from harness.scorers.tree import PathCache

HUGE = 1_000_000
SCORERS: dict[str, Callable[[Any], Scorer]] = {
    "tree": lambda model: TreeScorer(model, width=HUGE),
    "tree whole": lambda model: TreeScorer(model, width=HUGE, blocked=False),
    "expand": lambda model: ExpandScorer(model, batch_tokens=HUGE),
    "rows": lambda model: RowScorer(model, batch_tokens=HUGE),
    "equal rows": lambda model: RowScorer(model, batch_tokens=HUGE, equal_lengths=True),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def no_torch_memory() -> None:
    raise torch.OutOfMemoryError("no memory left")


def no_cpu_memory() -> None:
    torch.empty(10**15)  # 4 petabytes


def no_python_memory() -> None:
    raise MemoryError


Fails = Callable[[int, int], bool]  # by rows and width


def failing(
    model: Any, fails: Fails, patch: pytest.MonkeyPatch, fail: Callable[[], None] = no_torch_memory
) -> list[int]:
    """Let forwards fail; gives the sizes of those that did not."""
    forward, sizes = model.forward, []

    @wraps(forward)
    def limited(input_ids: torch.Tensor, **rest: Any) -> Any:
        if fails(*input_ids.shape):
            fail()
        sizes.append(input_ids.numel())
        return forward(input_ids=input_ids, **rest)

    patch.setattr(model, "forward", limited)
    return sizes


FAILURES = [no_torch_memory, no_cpu_memory, no_python_memory]
LIMITS = [75, 150, 300]


@pytest.mark.parametrize(
    ("limit", "fail"),
    [
        pytest.param(limit, fail, marks=[] if i == j else pytest.mark.slow)  # each once with each scorer
        for i, limit in enumerate(LIMITS)
        for j, fail in enumerate(FAILURES)
    ],
)
@pytest.mark.parametrize("scorer", SCORERS)
def test_what_does_not_fit_is_halved_and_nothing_is_lost(
    scorer: str, limit: int, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = build("llama"), few_shot_rows() + random_rows(count=20)
    requests, expected = pack(rows), naive_scores("llama", rows)
    made = SCORERS[scorer](model)
    sizes = failing(model, lambda rows, width: rows * width > limit, monkeypatch, fail)
    assert_scored(made, requests, expected)
    assert limit / 3 < max(sizes) <= limit


@pytest.mark.parametrize("limit", [1, pytest.param(3, marks=pytest.mark.slow), 10])
@pytest.mark.parametrize("scorer", ["tree", "tree whole"])
def test_a_tree_goes_down_to_single_tokens(scorer: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build("mistral"), few_shot_rows()
    expected = naive_scores("mistral", rows)
    made = SCORERS[scorer](model)
    failing(model, lambda _, width: width > limit, monkeypatch)
    assert assert_scored(made, pack(rows), expected) == distinct_tokens(rows)


def test_a_trunk_is_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build("mistral"), [([7] * 60 + [item, answer, 9, 9], 62) for item in range(5) for answer in range(2)]
    expected = naive_scores("mistral", rows)
    sizes = failing(model, lambda _, width: width > 10, monkeypatch)
    assert_scored(ExpandScorer(model), pack(rows), expected)
    assert sum(sizes) == 60 + 10 * 3  # no piece was computed twice


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
@pytest.mark.parametrize("scorer", SCORERS)
def test_failures_at_random_change_nothing(scorer: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build("llama"), few_shot_rows(seed) + random_rows(seed)
    requests, expected = pack(rows), naive_scores("llama", rows)
    rng = random.Random(seed)
    made = SCORERS[scorer](model)
    failing(model, lambda rows, width: rows > 1 and rng.random() < 0.3, monkeypatch)
    if scorer.startswith("tree"):
        failing(model, lambda _, width: width > 1 and rng.random() < 0.3, monkeypatch)
    assert_scored(made, requests, expected)


@pytest.mark.parametrize("part", ["self_attn", "mlp"])
@pytest.mark.parametrize("call", [0, 2, *(pytest.param(call, marks=pytest.mark.slow) for call in (1, 5))])
@pytest.mark.parametrize("scorer", ["tree", "tree whole", "expand"])
def test_a_forward_that_fails_halfway_leaves_no_trace(
    scorer: str, call: int, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then, some layers have added to the cache."""
    rows = [([7] * 60 + [item, 3, 1, 4, 1, 5, answer, 9, 9], 66) for item in range(9) for answer in (1, 2)]
    model = build_new("llama")
    requests, expected = pack(rows), naive_scores("llama", rows)
    made = TreeScorer(model, width=20, blocked=scorer == "tree") if scorer != "expand" else ExpandScorer(model)
    layer = getattr(model.model.layers[1], part)
    forward, calls = layer.forward, []

    @wraps(forward)
    def limited(*args: Any, **rest: Any) -> Any:
        output = forward(*args, **rest)  # it has updated its own layer of the cache
        calls.append(1)
        if len(calls) - 1 == call:
            no_torch_memory()
        return output

    monkeypatch.setattr(layer, "forward", limited)
    computed = assert_scored(made, requests, expected)
    assert len(calls) > call
    assert computed == distinct_tokens(rows) or scorer == "expand"


@pytest.mark.parametrize("call", [0, 1, 4])
def test_a_cache_that_fails_to_keep_a_path_is_as_it_was(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build("llama"), few_shot_rows()
    expected = naive_scores("llama", rows)
    keep, calls = PathCache.keep, []

    def limited(self: PathCache, *place: Any) -> None:
        calls.append(1)
        if len(calls) - 1 == call:
            layer = self.states.layers[0]
            layer.keys, layer.values = layer.keys[:, :, :1], layer.values[:, :, :1]
            no_torch_memory()
        keep(self, *place)

    monkeypatch.setattr(PathCache, "keep", limited)
    assert assert_scored(TreeScorer(model, width=20), pack(rows), expected) == distinct_tokens(rows)


def test_after_out_of_memory_later_batches_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []

    def fail() -> None:
        failures.append(1)
        no_torch_memory()

    model = build("llama")
    failing(model, lambda rows, _: rows > 2, monkeypatch, fail)
    scorer = RowScorer(model, batch_tokens=HUGE)
    collect(scorer, pack([([i] * 9, 8) for i in range(20)]))
    assert scorer.batch_tokens == 2 * 8
    assert len(failures) == 3  # of 20, 10 and 5 rows, and then no more


def test_after_out_of_memory_a_tree_stays_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    sizes = failing(model, lambda _, width: width > 30, monkeypatch)
    failures = []
    made = TreeScorer(model, width=200)
    failing(model, lambda _, width: width > 30, monkeypatch, lambda: (failures.append(1), no_torch_memory()))
    collect(made, pack(random_rows(count=40)))
    assert len(failures) == 3  # of 200, 100 and 50 tokens, and then no more
    assert max(sizes) == 25


SHARING: list[Row] = [([1] * 20 + [2] * 5, 22), ([1] * 20 + [3] * 5, 22)]


@pytest.mark.parametrize(
    ("scorer", "limit", "message"),
    [
        ("tree", 0, "token 1 of a prompt does not fit"),
        ("tree whole", 0, "token 1 of a prompt does not fit"),
        ("expand", 1, "2 tokens of a prompt do not fit"),
        ("expand", 3, "a row of 25 tokens does not fit"),  # what goes on from the trunk
        ("rows", 8, "a row of 25 tokens does not fit"),
        ("equal rows", 8, "a row of 25 tokens does not fit"),
    ],
)
def test_what_does_not_fit_by_itself_is_an_error_that_says_how_long_it_is(
    scorer: str, limit: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama")
    made = SCORERS[scorer](model)
    failing(model, lambda rows, width: width > limit, monkeypatch)
    with pytest.raises(ModelError, match=message) as error:
        collect(made, pack(SHARING))
    assert isinstance(error.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.parametrize("scorer", SCORERS)
def test_another_failure_of_the_model_is_not_taken_for_lack_of_memory(
    scorer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not match")

    model = build("llama")
    made = SCORERS[scorer](model)
    failing(model, lambda rows, width: rows * width > 5, monkeypatch, fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        collect(made, pack(random_rows()))
