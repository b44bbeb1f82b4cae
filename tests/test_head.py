"""The last layer read off in slices of the vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from naive import score_rows
from small_models import assert_scored, build, build_new, few_shot_rows, naive_scores, pack
from transformers import LlamaForCausalLM

from harness.scorers import TreeScorer, head
from harness.scorers.base import ScoredModel
from harness.scorers.head import Head


def layer(width: int, vocabulary: int, *, bias: bool) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(width, vocabulary, bias=bias)


def head_of(model: Any) -> Head | None:
    return Head.of(ScoredModel(model))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 10, 101, 1_000])  # of a vocabulary of 101
def test_slices_give_the_softmax_of_the_whole(size: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "FEWEST", size)
    monkeypatch.setattr(head, "SLICE_VALUES", 0)
    rng, last = np.random.default_rng(0), layer(16, 101, bias=bias)
    states = 20 * torch.from_numpy(rng.normal(size=(7, 16)).astype(np.float32))
    row, target = rng.integers(0, 7, 40), rng.integers(0, 101, 40)
    with torch.inference_mode():
        exact = last.double()(states.double()).numpy()
        row[:7], target[:7] = np.arange(7), exact.argmax(axis=1)
        logprobs, greedy = Head(last.float()).log_probabilities(states, row, target)
    assert logprobs == pytest.approx(scipy.special.log_softmax(exact, axis=1)[row, target], rel=0, abs=1e-5)
    assert greedy.tolist() == (exact.argmax(axis=1)[row] == target).tolist()
    assert greedy[:7].all()


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_of_equal_entries_the_first_is_the_most_probable(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As argmax has it; entries of a vocabulary that were never trained can be equal."""
    monkeypatch.setattr(head, "FEWEST", size)
    monkeypatch.setattr(head, "SLICE_VALUES", 0)
    last = layer(4, 8, bias=False)
    with torch.inference_mode():
        last.weight[:] = torch.tensor([0.0, 1, 3, 3, 2, 3, 3, 1])[:, None]
        _, greedy = Head(last).log_probabilities(torch.ones(1, 4), np.zeros(8, np.int64), np.arange(8))
    assert np.flatnonzero(greedy).tolist() == [2]


def test_entries_that_cannot_be_are_left_out_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "FEWEST", 4)
    monkeypatch.setattr(head, "SLICE_VALUES", 0)
    last = layer(4, 12, bias=True)
    with torch.inference_mode():
        last.bias[:5] = last.bias[8:] = -torch.inf  # the first slice and the last, and more
        states = torch.ones(1, 4)
        logprobs, greedy = Head(last).log_probabilities(states, np.zeros(3, np.int64), np.arange(5, 8))
        exact = last(states).log_softmax(dim=1)[0, 5:8].numpy()
    assert logprobs == pytest.approx(exact, abs=1e-6)
    assert np.flatnonzero(greedy) == exact.argmax()


def test_a_number_that_is_none_is_not_hidden() -> None:
    last = layer(4, 8, bias=False)
    with torch.inference_mode():
        last.weight[5] = torch.nan
        logprobs, _ = Head(last).log_probabilities(torch.ones(1, 4), np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert np.isnan(logprobs).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "phi", "gemma3"])  # tied, plain, with a bias, with a cap of None
def test_a_tree_is_scored_without_logits(name: str) -> None:
    model, rows = build(name), few_shot_rows()
    expected, scorer = naive_scores(name, rows), TreeScorer(model, width=30)
    widths: list[int] = []
    hook = model.register_forward_hook(lambda *call: widths.append(call[-1].logits.shape[-1]))
    try:
        assert_scored(scorer, pack(rows), expected)
    finally:
        hook.remove()
    assert set(widths) == {model.config.hidden_size}
    assert "forward" not in vars(model.get_output_embeddings())


@pytest.mark.parametrize("name", ["gemma2", "gemma3n", "cohere", "cohere2"])  # soft-capped, scaled
def test_a_model_that_changes_its_logits_gives_them(name: str) -> None:
    changes = {"logit_scale": 0.5} if name.startswith("cohere") else {}
    model = build_new(name, **changes)
    assert head_of(model) is None
    assert "forward" not in vars(model.get_output_embeddings())


class Masked(LlamaForCausalLM):  # type: ignore[misc]
    """Some entries are never predicted."""

    def forward(self, *args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        found = super().forward(*args, logits_to_keep=logits_to_keep, **kwargs)
        found.logits[:, :, [40, 70]] = -10_000
        return found


class Cut(LlamaForCausalLM):  # type: ignore[misc]
    """The last entries only fill the matrix up."""

    def forward(self, *args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        found = super().forward(*args, logits_to_keep=logits_to_keep, **kwargs)
        found.logits = found.logits[..., :95]
        return found


@pytest.mark.parametrize("kind", [Masked, Cut])
def test_a_model_that_drops_entries_gives_its_logits(kind: type[LlamaForCausalLM]) -> None:
    model = kind(build("llama").config).eval()
    assert head_of(model) is None
    requests = pack([(tokens, start) for tokens, start in few_shot_rows() if max(tokens) < 95])
    assert_scored(TreeScorer(model, width=30), requests, score_rows(model, requests))


def test_a_head_whose_forward_is_a_hooks_keeps_it() -> None:
    """As accelerate's hooks, which bring weights in from elsewhere."""
    model = build_new("llama")
    forward = model.lm_head.forward
    model.lm_head.forward = lambda states: forward(states)
    assert head_of(model) is None


def test_half_precision_gives_logits() -> None:
    assert head_of(build_new("llama").to(torch.bfloat16)) is None
