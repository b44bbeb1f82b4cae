"""Activations in one pass."""

from __future__ import annotations

import pytest
import torch
from small_models import assert_scored, build_new, few_shot_rows, naive_scores, pack
from transformers.activations import ACT2FN

from harness.scorers import TreeScorer
from harness.scorers.activation import fused_activations


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_one_pass_gives_what_many_give(name: str) -> None:
    module = ACT2FN[name]
    model = torch.nn.Sequential(module)
    values = torch.linspace(-12, 12, 10_001)
    expected = module(values)
    with fused_activations(model):
        assert "forward" in vars(module)
        assert torch.allclose(model(values), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(model(values), expected)


@pytest.mark.parametrize("name", ["gelu", "gelu_10", "quick_gelu", "relu", "silu"])
def test_another_activation_is_left_alone(name: str) -> None:
    module = ACT2FN[name]
    with fused_activations(torch.nn.Sequential(module)):
        assert "forward" not in vars(module)


def test_a_forward_of_a_hooks_is_kept() -> None:
    module = ACT2FN["gelu_new"]
    module.forward = hooked = lambda states: states
    with fused_activations(torch.nn.Sequential(module)):
        assert module.forward is hooked
    assert module.forward is hooked


@pytest.mark.parametrize("blocked", [True, False])
def test_the_tree_alone_takes_it(blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = build_new("gpt2"), few_shot_rows()
    expected, scorer, calls = naive_scores("gpt2", rows), TreeScorer(model, width=30, blocked=blocked), []
    module = model.transformer.h[0].mlp.act
    forward = type(module).forward
    monkeypatch.setattr(type(module), "forward", lambda self, states: (calls.append(1), forward(self, states))[1])
    assert_scored(scorer, pack(rows), expected)
    assert (len(calls) > 0) != blocked
