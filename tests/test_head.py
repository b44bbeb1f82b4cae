"""The last layer in slices of the vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import build_new

from harness.scorers import head
from harness.scorers.head import sliced_head


@pytest.fixture(autouse=True)
def _all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LARGE", 0)


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [1, 10, 101, 1_000])  # of a vocabulary of 101
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "cohere"])  # tied, plain, soft-capped, scaled
def test_slices_give_the_logits_of_the_whole(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "SLICE", size)
    model, ids = build_new(name), torch.arange(3, 15).reshape(2, 6)
    expected = logits(model, ids)
    calls: list[int] = []
    product = head._product
    monkeypatch.setattr(head, "_product", lambda *operands: (calls.append(1), product(*operands))[1])
    with sliced_head(model):
        assert torch.allclose(logits(model, ids), expected, rtol=0, atol=1e-5)
    assert calls == [1]
    assert torch.equal(logits(model, ids), expected)
    assert calls == [1]  # and not afterwards


def test_a_head_with_a_bias_is_left_alone() -> None:
    model = build_new("phi")
    with sliced_head(model):
        assert "forward" not in vars(model.lm_head)


def test_a_head_whose_forward_is_a_hooks_keeps_it() -> None:
    """As accelerate's hooks, which bring weights in from elsewhere."""
    model = build_new("llama")
    forward = model.lm_head.forward
    model.lm_head.forward = hooked = lambda states: forward(states)
    with sliced_head(model):
        assert model.lm_head.forward is hooked
    assert model.lm_head.forward is hooked


def test_a_small_head_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LARGE", 10_000)
    model = build_new("llama")
    with sliced_head(model):
        assert "forward" not in vars(model.lm_head)


def test_half_precision_is_computed_in_one_piece() -> None:
    model = build_new("llama").to(torch.bfloat16)
    with sliced_head(model):
        assert "forward" not in vars(model.lm_head)
