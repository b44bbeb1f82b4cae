"""What a model computes after its last keys and values: rows that nobody reads are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
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
    scorer = TreeScorer(model, width=25)
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


def assert_untouched(model: Any) -> None:
    assert not any(
        part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in model.modules()
    )


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_nothing_is_left_in_the_model(name: str) -> None:
    model = build_new(name)
    for _ in range(2):
        list(TreeScorer(model, width=25).score(REQUESTS))
        assert_untouched(model)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_in_the_model_after_a_shortened_forward_failed(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_new("gpt2")
    list(TreeScorer(model, width=25).score(REQUESTS))

    def fail(*call: Any) -> None:
        raise error

    monkeypatch.setattr(tail._Rows, "spread", fail)
    with pytest.raises(error):
        list(TreeScorer(model, width=25).score(REQUESTS))
    assert_untouched(model)


def test_a_forward_that_fails_shows_nothing() -> None:
    model, states = build_new("llama"), DynamicCache()
    kept = np.array([3])
    with pytest.raises(MemoryError), tail.short_tail(model, states, kept, 4):
        raise MemoryError
    assert model not in tail._TAILS
    assert not any(name.startswith("update") for name in vars(states))
    assert_untouched(model)


def test_a_model_without_keys_and_values_has_no_tail() -> None:
    model, states = build_new("rwkv"), DynamicCache()
    kept = np.array([3])
    ids = torch.arange(3, 7)[None]
    with torch.inference_mode(), tail.short_tail(model, states, kept, 4):
        ScoredModel(model).output(kept, input_ids=ids)
    assert tail._TAILS[model] == ()


def test_a_module_that_is_called_again_with_other_rows_gives_these() -> None:
    rows, module = tail._Rows(np.array([1, 3]), 5), torch.nn.Identity()
    module.register_forward_pre_hook(rows.choose)
    module.register_forward_hook(rows.spread)
    states = torch.arange(10.0).view(1, 5, 2)
    assert module(states)[0].tolist() == [[0, 0], [2, 3], [0, 0], [6, 7], [0, 0]]
    assert torch.equal(module(states[:, :2]), states[:, :2])
