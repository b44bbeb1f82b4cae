"""Scoring requests: every scorer against one unpadded row per request, whatever it computes at once, in any order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import score_rows
from small_models import (
    VOCABULARY,
    Row,
    assert_scored,
    build,
    collect,
    distinct_rows,
    distinct_tokens,
    few_shot_rows,
    naive_scores,
    pack,
    random_rows,
)

from harness.columns import TOLERANCE, Requests
from harness.errors import ModelError
from harness.plan import plan_requests, shares, work_units
from harness.scorers import ExpandScorer, RowScorer, Scorer, TreeScorer, expand, readout
from harness.scorers import rows as row_scorer
from harness.scorers.readout import log_probabilities

HUGE = 1_000_000
# Every scorer, by how much it computes at once.
SCORERS: dict[str, Callable[[Any, int], Scorer]] = {
    "tree": lambda model, size: TreeScorer(model, width=size, block=size // 3 + 1),
    "tree whole": lambda model, size: TreeScorer(model, width=size, blocked=False),
    "expand": lambda model, size: ExpandScorer(model, batch_tokens=size),
    "rows": lambda model, size: RowScorer(model, batch_tokens=size),
    "equal rows": lambda model, size: RowScorer(model, batch_tokens=size, equal_lengths=True),
}
TREES = ["tree", "tree whole"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# The same inputs give the same numbers


@pytest.mark.parametrize("batch_tokens", [1, 7, 64, HUGE])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gemma2", "opt", "bloom", "mamba", "trocr"])
def test_a_batch_of_any_size_scores_as_one_row_per_request(name: str, batch_tokens: int) -> None:
    model, rows = build(name), random_rows()
    computed = assert_scored(RowScorer(model, batch_tokens=batch_tokens), pack(rows), naive_scores(name, rows))
    assert computed == sum(map(len, distinct_rows(rows)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mistral", {"sliding_window": None}),
        ("gemma2", {"sliding_window": 64}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
    ],
)
def test_the_rows_reach_what_is_special_about_a_model(name: str, change: dict[str, Any]) -> None:
    """Otherwise the test above would say nothing of windows and soft caps."""
    requests = pack(random_rows())
    as_it_is, without = (score_rows(model, requests) for model in (build(name), build(name, **change)))
    assert max(abs(sum(a) - sum(b)) for (a, _), (b, _) in zip(as_it_is, without, strict=True)) > 0.1


@pytest.mark.parametrize("size", [1, 2, 30, HUGE])
@pytest.mark.parametrize("scorer", SCORERS)
def test_no_size_changes_a_number(scorer: str, size: int) -> None:
    rows = few_shot_rows()
    assert_scored(SCORERS[scorer](build("mistral"), size), pack(rows), naive_scores("mistral", rows))


@st.composite
def sharing_rows(draw: st.DrawFn) -> list[Row]:
    """Rows over few tokens, so that they share a lot; some twice, or with another start."""
    sequences = draw(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=20), min_size=1, max_size=10))
    return [(tokens, draw(st.integers(1, len(tokens) - 1))) for tokens in [*sequences, sequences[0]]]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_order_cut_or_size_changes_a_number(data: st.DataObject) -> None:
    model, rows = build(data.draw(st.sampled_from(["gpt2", "llama"]))), data.draw(sharing_rows())
    order = data.draw(st.permutations(range(len(rows))))
    cut, size = data.draw(st.integers(0, len(rows))), data.draw(st.integers(2, 70))
    expected = score_rows(model, pack(rows))
    for build_scorer in SCORERS.values():
        scorer = build_scorer(model, size)
        for part in (order[:cut], order[cut:]):
            assert_scored(scorer, pack([rows[i] for i in part]), [expected[i] for i in part])


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gemma2", "gpt_oss"])
@pytest.mark.parametrize(("block", "batch"), [(4, 400), (4, 2_000), (16, 10**6)])
def test_blocks_in_batches_score_as_one_row_per_request(name: str, block: int, batch: int) -> None:
    """As on a GPU: blocks of other widths in one batch, and a last one that is shorter."""
    model, requests = build(name), pack(few_shot_rows() + random_rows(count=40))
    assert_scored(TreeScorer(model, width=50, block=block, batch=batch), requests, score_rows(model, requests))


@pytest.mark.parametrize("scorer", SCORERS)
def test_what_the_model_generates_greedily_is_marked_greedy(scorer: str) -> None:
    model, prompt = build("llama"), [3, 14, 15, 92]
    made = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 4, dtype=torch.long), max_new_tokens=8,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )[0].tolist()  # fmt: skip
    other = [*made[:-1], (made[-1] + 1) % VOCABULARY]
    requests = pack([(made, 4), (other, 4)])
    found, _ = collect(SCORERS[scorer](model, HUGE), requests)
    assert [found[bytes(key)][1] for key in requests.keys] == [[True] * 8, [True] * 7 + [False]]


@pytest.mark.parametrize("scorer", SCORERS)
def test_probabilities_of_the_whole_vocabulary_add_up_to_one(scorer: str) -> None:
    requests = pack([([8, 3, 77, token], 3) for token in range(VOCABULARY)])
    found, _ = collect(SCORERS[scorer](build("gpt2"), HUGE), requests)
    assert np.exp([values[0] for values, _ in found.values()]).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scorer", SCORERS)
def test_an_answer_scores_the_same_in_one_piece_or_in_two(scorer: str) -> None:
    """The chain rule: log p(ab) = log p(a) + log p(b | a)."""
    tokens = [4, 8, 15, 16, 23, 42, 10]
    requests = pack([(tokens, 2), (tokens[:4], 2), (tokens, 4)])
    found, _ = collect(SCORERS[scorer](build("gpt2"), HUGE), requests)
    whole, first, second = (found[bytes(key)] for key in requests.keys)
    assert sum(whole[0]) == pytest.approx(sum(first[0]) + sum(second[0]), abs=1e-5 * 5)


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_requests_give_no_scores(scorer: str) -> None:
    assert list(SCORERS[scorer](build("gpt2"), HUGE).score(Requests.concatenate([]))) == []


# What is computed


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 7, 40, HUGE])
@pytest.mark.parametrize("scorer", TREES)
@pytest.mark.parametrize("rows", [few_shot_rows(), random_rows(count=40)], ids=["few shots", "random"])
def test_a_tree_computes_every_distinct_token_once(rows: list[Row], scorer: str, size: int) -> None:
    _, computed = collect(SCORERS[scorer](build("llama"), size), pack(rows))
    assert computed == distinct_tokens(rows)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(rows=sharing_rows(), size=st.integers(1, 70))
def test_a_tree_computes_every_distinct_token_once_whatever_is_shared(rows: list[Row], size: int) -> None:
    _, computed = collect(TreeScorer(build("llama"), width=size), pack(rows))
    assert computed == distinct_tokens(rows)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_shares_score_as_the_whole_and_compute_their_paths_again(workers: int) -> None:
    model, rows = build("llama"), few_shot_rows() + few_shot_rows(seed=1)
    requests, expected = pack(rows), naive_scores("llama", rows)
    plan = plan_requests(requests)
    parts = shares(plan, work_units(plan, 40), workers)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    assert min(map(len, parts)) > 0
    computed = [
        assert_scored(TreeScorer(model, width=30), requests.take(part), [expected[i] for i in part]) for part in parts
    ]
    assert computed == [distinct_tokens([rows[i] for i in part]) for part in parts]
    begins = np.cumsum([0, *map(len, parts[:-1])])
    assert sum(computed) == distinct_tokens(rows) + int(plan.shared[begins].sum())


def test_expansion_computes_little_more_than_the_distinct_tokens() -> None:
    shots = [7] * 60
    rows = [([*shots, item, item + 1, item + 2, answer, 9, 9], 63) for item in range(10) for answer in (50, 60, 70)]
    _, computed = collect(ExpandScorer(build("gpt2"), batch_tokens=500), pack(rows))
    assert distinct_tokens(rows) == 60 + 10 * (3 + 3 * 2)
    assert computed == 60 + 10 * 3 + 30 * 2
    rows = few_shot_rows()
    _, computed = collect(ExpandScorer(build("gpt2"), batch_tokens=500), pack(rows))
    assert distinct_tokens(rows) <= computed < 0.8 * sum(map(len, distinct_rows(rows)))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Rows, width and positions of logits of every forward of the llama model."""
    return watch(build("llama"), monkeypatch)


def watch(model: Any, patch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    seen: list[tuple[int, int, int]] = []
    forward = model.forward

    @wraps(forward)
    def watched(input_ids: torch.Tensor, logits_to_keep: Any = 0, **rest: Any) -> Any:
        output = forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **rest)
        seen.append((*input_ids.shape, output.logits.shape[1]))
        return output

    patch.setattr(model, "forward", watched)
    return seen


def test_a_batch_stays_within_its_tokens(calls: list[tuple[int, int, int]]) -> None:
    collect(RowScorer(build("llama"), batch_tokens=64), pack(random_rows(count=40)))
    assert all(rows * width <= 64 or rows == 1 for rows, width, _ in calls)
    assert max(rows for rows, _, _ in calls) > 1


def test_logits_are_made_only_where_they_are_scored(calls: list[tuple[int, int, int]]) -> None:
    requests = pack([([1] * 30, 27), ([2] * 30, 28), ([3] * 29, 28)])
    collect(RowScorer(build("llama"), batch_tokens=HUGE), requests)
    assert calls == [(3, 29, 3)]
    calls.clear()
    collect(TreeScorer(build("llama"), width=HUGE), requests)
    assert calls == [(1, 29 + 29 + 28, 3 + 2 + 1)]
    calls.clear()
    collect(ExpandScorer(build("llama"), batch_tokens=HUGE), requests)
    assert calls == [(3, 29, 3)]


@pytest.mark.parametrize(("scorer", "module"), [("rows", row_scorer), ("expand", expand)])
def test_a_batch_is_cut_so_that_its_logits_stay_small(
    scorer: str, module: Any, calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGIT_VALUES", 60 * VOCABULARY)
    model, rows = build("llama"), [([i] * 31, 1) for i in range(10)]
    rows += [([20] * 70 + [i] * 5, 1) for i in range(4)]  # here the trunk gives most of the logits
    expected = score_rows(model, pack(rows))
    calls.clear()
    assert_scored(SCORERS[scorer](model, HUGE), pack(rows), expected)
    assert all(n * positions <= 60 for n, width, positions in calls if n > 1)
    assert all(positions <= 60 for _, _, positions in calls) or scorer == "rows"


@pytest.mark.parametrize("name", ["llama", "gemma2"])  # gemma 2 changes its logits, and gives them in every tree
@pytest.mark.parametrize("scorer", TREES)
def test_a_tree_gives_no_more_rows_of_logits_than_fit(scorer: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build(name), few_shot_rows()
    expected = naive_scores(name, rows)
    made: Any = SCORERS[scorer](model, 64)
    made._width.logit_rows = 5
    calls = watch(model, monkeypatch)
    assert_scored(made, pack(rows), expected)
    read = len({tuple(tokens[:end]) for tokens, start in rows for end in range(start, len(tokens))})
    # States of many rows fit where their logits would not.
    assert max(kept for _, _, kept in calls) == 5 or (scorer, name) == ("tree", "llama")
    assert max(width for _, width, _ in calls) > 15
    assert read <= sum(kept for _, _, kept in calls) <= read + len(calls)


def test_a_tree_of_a_model_that_gives_all_logits_is_computed_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model, requests = build("llama"), pack(few_shot_rows())
    expected = score_rows(model, requests)
    calls = watch(model, monkeypatch)
    watched = model.forward
    monkeypatch.setattr(model, "forward", lambda input_ids, **rest: watched(input_ids, **rest))
    scorer = TreeScorer(model, width=64)
    scorer._width.logit_rows = 9
    assert_scored(scorer, requests, expected)
    assert max(kept for _, _, kept in calls) == 9


# Logits to log-probabilities


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("slices", [1, 3])
def test_the_softmax_is_taken_in_single_precision(
    dtype: torch.dtype, slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 4, (7, 30_000))).to(dtype)
    row, target = rng.integers(0, 7, 40), rng.integers(0, 30_000, 40)
    target[:7] = logits.float().numpy().argmax(axis=1)
    row[:7] = np.arange(7)
    monkeypatch.setattr(readout, "SLICE_VALUES", {"cpu": logits.numel() // slices})
    logprobs, greedy = log_probabilities(logits, row, target)
    exact = logits.double().numpy()
    assert logprobs == pytest.approx(scipy.special.log_softmax(exact, axis=1)[row, target], rel=0, abs=1e-5)
    assert greedy.tolist() == (exact.argmax(axis=1)[row] == target).tolist()
    assert greedy[:7].all()


# Models and tokenizers that do not fit


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("scorer", SCORERS)
def test_logits_that_are_not_numbers_are_an_error(scorer: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    forward = model.forward

    def broken(**arguments: Any) -> Any:
        output = forward(**arguments)
        output.logits.fill_(value)
        return output

    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(ModelError, match="not a finite number"):
        collect(SCORERS[scorer](model, HUGE), pack([([1, 2, 3], 1)]))


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_token_beyond_the_vocabulary_is_an_error_that_names_it(scorer: str) -> None:
    made = SCORERS[scorer](build("gpt2"), HUGE)
    collect(made, pack([([1, VOCABULARY - 1], 1)]))
    with pytest.raises(ModelError, match=f"id {VOCABULARY}, .* {VOCABULARY} entries"):
        collect(made, pack([([1, 2], 1), ([1, VOCABULARY], 1)]))


def test_a_deep_model_keeps_to_the_tolerance_whatever_is_computed_at_once() -> None:
    """Thirty layers, as many as those of models whose answers were seen to move by more than 1e-5 a token."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=192, num_hidden_layers=30, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.1,
    )  # fmt: skip
    model, requests = transformers.LlamaForCausalLM(config).eval(), pack(few_shot_rows())
    ways = [SCORERS[name](model, size) for name, size in [("rows", 1), ("rows", HUGE), ("tree", 7), ("tree", HUGE),
                                                          ("tree whole", 64), ("expand", 64)]]  # fmt: skip
    found = [collect(way, requests)[0] for way in ways]
    apart = [
        abs(sum(one[key][0]) - sum(other[key][0])) / len(one[key][0])
        for one, other in itertools.combinations(found, 2)
        for key in one
    ]
    assert 1e-7 < max(apart) < TOLERANCE
