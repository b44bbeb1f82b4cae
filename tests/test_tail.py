"""What a model computes after its last keys and values: rows that nobody reads are left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import assert_scored, build_new, few_shot_rows, naive_scores, pack
from transformers import DynamicCache

from harness.plan import plan_requests
from harness.scorers import TreeScorer, tail
from harness.scorers.base import ScoredModel

ROWS = few_shot_rows()
REQUESTS = pack(ROWS)
# Modules that should compute the nodes that are read, and one that must compute all.
SHORT = {
    "gpt2": (["transformer.h.1.mlp.c_fc", "transformer.h.1.attn.c_proj"], "transformer.h.1.attn.c_attn"),
    "opt": (["model.decoder.layers.1.fc1", "model.decoder.layers.1.fc2"], "model.decoder.layers.1.self_attn.k_proj"),
    "phi": (["model.layers.1.mlp.fc1"], "model.layers.1.self_attn.v_proj"),  # beside the attention
    "gptj": (["transformer.h.1.mlp.fc_in"], "transformer.h.1.attn.v_proj"),  # its attention cannot be replaced
    "llama": (["model.layers.1.mlp.gate_proj", "model.layers.1.self_attn.o_proj"], "model.layers.0.mlp.gate_proj"),
    "mixtral": (["model.layers.1.mlp.gate"], "model.layers.0.mlp.gate"),
    "deepseek_v3": (["model.layers.1.self_attn.o_proj"], "model.layers.1.self_attn.kv_a_proj_with_mqa"),
    # Layers 2 and 3 use keys and values of those before.
    "gemma3n": (["model.layers.2.mlp.gate_proj", "model.layers.3.self_attn.o_proj"], "model.layers.0.mlp.gate_proj"),
}


def rows_through(model: Any, name: str) -> list[int]:
    """Filled with the rows that each call of a module computes."""
    found: list[int] = []
    module = model.get_submodule(name)
    forward = module.forward

    def noted(states: torch.Tensor) -> Any:
        found.append(states.shape[:-1].numel())
        return forward(states)

    module.forward = noted
    return found


@pytest.mark.parametrize("name", SHORT)
def test_nodes_that_nobody_reads_end_with_their_keys_and_values(name: str) -> None:
    model = build_new(name)
    scorer = TreeScorer(model, width=25, blocked=name != "gptj")
    expected = naive_scores(name, ROWS)
    assert_scored(scorer, REQUESTS, expected)  # a first pass, which shows what the tail is
    short, whole = ([rows_through(model, module) for module in SHORT[name][0]], rows_through(model, SHORT[name][1]))
    assert_scored(scorer, REQUESTS, expected)
    plan = plan_requests(REQUESTS)
    read = len(set(plan.pair_node.tolist()))
    assert read < plan.n_nodes
    assert sum(whole) == plan.n_nodes
    # Where a forward has nothing to read, its last node goes on.
    forwards = -(-plan.n_nodes // 25)
    assert all(read <= sum(rows) <= read + forwards for rows in short)


def test_hooks_are_gone_afterwards() -> None:
    model = build_new("llama")
    for _ in range(2):
        list(TreeScorer(model, width=25).score(REQUESTS))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_forward_that_fails_shows_nothing() -> None:
    model, states = build_new("llama"), DynamicCache()
    kept = torch.tensor([3]).numpy()
    with pytest.raises(MemoryError), tail.short_tail(model, states, kept, 4):
        raise MemoryError
    assert model not in tail._TAILS
    assert "update" not in vars(states)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_model_without_keys_and_values_has_no_tail() -> None:
    model, states = build_new("rwkv"), DynamicCache()
    kept = torch.tensor([3]).numpy()
    ids = torch.arange(3, 7)[None]
    with torch.inference_mode(), tail.short_tail(model, states, kept, 4):
        whole = ScoredModel(model).output(kept, input_ids=ids).logits
    assert tail._TAILS[model] == ()
    with torch.inference_mode(), tail.short_tail(model, states, kept, 4):
        assert torch.equal(ScoredModel(model).output(kept, input_ids=ids).logits, whole)
