"""Small random models of many architectures, and requests to score with them."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from naive import score_rows
from transformers import AutoModelForCausalLM

from harness.columns import Requests
from harness.scorers import Scorer

Row = tuple[list[int], int]  # tokens, and where the scored ones start
Scored = dict[bytes, tuple[list[float], list[bool]]]  # log-probabilities and whether greedy, by key

VOCABULARY = 101
WINDOW = 12
LONGEST = 128

# Weights are drawn wide, so that distributions are sharp and a wrong position, mask or target shows.
_WIDE = 0.3
_TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
_PLAIN: dict[str, Any] = {
    **_TOKENS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": LONGEST, "initializer_range": _WIDE,
}  # fmt: skip
_GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LONGEST,
    "initializer_range": _WIDE, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_BLOOM: dict[str, Any] = {key: _PLAIN[key] for key in ("vocab_size", "hidden_size", "initializer_range")}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2}
_NARROW = {**_GROUPED, "head_dim": 8}
_MIXED = {**_NARROW, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT = {
    **_PLAIN, "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_shared_experts": 1, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8,
    "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
_MAMBA2 = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_n_groups": 1, "mamba_chunk_size": 16,
}  # fmt: skip
_DELTA = {
    **_NARROW, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    "initializer_range": 0.2,
}  # fmt: skip


def _rope(kind: str, **rest: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **rest}}


# Name of a configuration's class without "Config", and what it is made with.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", _GPT2),
    "gpt_neox": ("GPTNeoX", _PLAIN),
    "opt": ("OPT", {**_PLAIN, "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": _WIDE}),
    "phi": ("Phi", _PLAIN),
    "biogpt": ("BioGpt", _PLAIN),
    "bert": ("Bert", {**_PLAIN, "is_decoder": True}),
    # The attention of these cannot be replaced.
    "gptj": ("GPTJ", {**_GPT2, "rotary_dim": 4}),
    "codegen": ("CodeGen", {**_GPT2, "rotary_dim": 4}),
    "xglm": ("XGLM", {
        "vocab_size": VOCABULARY, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4,
        "max_position_embeddings": LONGEST, "init_std": _WIDE,
    }),
    "falcon": ("Falcon", {**_TOKENS, **_BLOOM, "num_hidden_layers": 2, "num_attention_heads": 4}),
    # Heads that share keys and values
    "llama": ("Llama", _GROUPED),
    "qwen2": ("Qwen2", _GROUPED),
    "qwen3": ("Qwen3", _NARROW),
    "gpt_bigcode": ("GPTBigCode", {**_GPT2, "multi_query": True}),
    "stablelm": ("StableLm", _GROUPED),
    "olmo2": ("Olmo2", _GROUPED),
    "cohere": ("Cohere", {**_GROUPED, "logit_scale": 0.5}),
    # Sliding windows, and layers with and without one
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": WINDOW}),
    "starcoder2": ("Starcoder2", {**_GROUPED, "sliding_window": WINDOW}),
    "phi3": ("Phi3", {**_GROUPED, "sliding_window": WINDOW}),
    "qwen2_window": ("Qwen2", {
        **_GROUPED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1,
    }),
    "gemma2": ("Gemma2", {
        **_MIXED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 5.0,
    }),
    "gemma3": ("Gemma3Text", {**_MIXED, "query_pre_attn_scalar": 8}),
    "cohere2": ("Cohere2", {**_MIXED, "logit_scale": 0.5}),
    "smollm3": ("SmolLM3", {**_GROUPED, "no_rope_layers": [1, 0]}),
    "gpt_oss": ("GptOss", {**_MIXED, **_EXPERTS}),  # and attention sinks
    # Layers that share keys and values
    "gemma4": ("Gemma4Text", {
        **_MIXED, "num_hidden_layers": 4, "layer_types": _MIXED["layer_types"] * 2, "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "global_head_dim": 8,
        "initializer_range": 0.2,
    }),
    "gemma3n": ("Gemma3nText", {
        **_MIXED, "num_hidden_layers": 4, "layer_types": _MIXED["layer_types"] * 2, "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "laurel_rank": 4,
        "intermediate_size": [64] * 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4,
    }),
    # Keys that are compressed, or selected: which of equal ones, depends on the length of a forward
    "deepseek_v2": ("DeepseekV2", _LATENT),
    "deepseek_v3": ("DeepseekV3", _LATENT),
    "deepseek_v32": ("DeepseekV32", {**_LATENT, "index_topk": WINDOW, "index_n_heads": 2, "index_head_dim": 8}),
    "mixtral": ("Mixtral", {**_GROUPED, **_EXPERTS}),
    "qwen3_moe": ("Qwen3Moe", {**_NARROW, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}),
    # A bias, a window or a position by index
    "mpt": ("Mpt", {
        "vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": LONGEST,
        "expansion_ratio": 2, "initializer_range": _WIDE,
    }),
    "gpt_neo": ("GPTNeo", {
        **_TOKENS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": LONGEST,
        "attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "initializer_range": _WIDE,
    }),
    "bloom": ("Bloom", {**_BLOOM, "n_layer": 2, "n_head": 4}),
    "falcon_alibi": ("Falcon", {
        **_TOKENS, **_BLOOM, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True,
    }),
    "trocr": ("TrOCR", {  # its forward has no logits_to_keep
        "vocab_size": VOCABULARY, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64, "max_position_embeddings": LONGEST, "init_std": _WIDE,
    }),
    "llama4": ("Llama4Text", {
        **_NARROW, "attention_chunk_size": WINDOW, "intermediate_size_mlp": 64, "num_local_experts": 2,
        "num_experts_per_tok": 1, "no_rope_layers": [1, 0], "layer_types": ["chunked_attention", "full_attention"],
    }),
    # Rotary embeddings of other frequencies beyond a length
    "llama_yarn": ("Llama", {**_GROUPED, **_rope("yarn", factor=4.0, original_max_position_embeddings=32)}),
    "llama_dynamic": ("Llama", {**_GROUPED, "max_position_embeddings": 32, **_rope("dynamic", factor=4.0)}),
    "gpt_neox_dynamic": ("GPTNeoX", {
        **_PLAIN, "max_position_embeddings": 32, **_rope("dynamic", factor=4.0, partial_rotary_factor=0.5),
    }),
    "phi3_longrope": ("Phi3", {
        **_GROUPED, "original_max_position_embeddings": 32,
        **_rope("longrope", original_max_position_embeddings=32, short_factor=[1.0] * 4, long_factor=[1.0, 2, 3, 4]),
    }),
    # States in place of keys and values, in all layers or in some
    "mamba": ("Mamba", {**_PLAIN, "state_size": 4}),
    "mamba2": ("Mamba2", {**_PLAIN, "state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16}),
    "rwkv": ("Rwkv", {**_PLAIN, "attention_hidden_size": 32, "context_length": LONGEST}),
    "falcon_h1": ("FalconH1", {**_NARROW, **_MAMBA2, "mamba_d_ssm": 64}),
    "bamba": ("Bamba", {**_GROUPED, **_MAMBA2, "attn_layer_indices": [1]}),
    "granitemoehybrid": ("GraniteMoeHybrid", {
        **_GROUPED, **_MAMBA2, **_EXPERTS, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 32,
    }),
    "zamba2": ("Zamba2", {
        **_PLAIN, "num_key_value_heads": 4, "mamba_d_state": 4, "mamba_headdim": 8, "n_mamba_heads": 8,
        "mamba_ngroups": 1, "chunk_size": 16, "num_mem_blocks": 1, "layers_block_type": ["mamba", "hybrid"],
        "use_mamba_kernels": False, "adapter_rank": 4, "use_mem_rope": True,
    }),
    "nemotron_h": ("NemotronH", {
        **_NARROW, "layers_block_type": ["mamba", "attention"], "mamba_num_heads": 8, "mamba_head_dim": 8,
        "ssm_state_size": 4, "n_groups": 1, "chunk_size": 16,
    }),
    "jamba": ("Jamba", {
        **_GROUPED, "num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    }),
    "recurrent_gemma": ("RecurrentGemma", {
        **_NARROW, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW,
        "w_init_variance_scale": 1.0,
    }),
    "lfm2": ("Lfm2", {**_GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "qwen3_next": ("Qwen3Next", _DELTA),
    "minimax": ("MiniMax", {**_NARROW, **_EXPERTS, "layer_types": _DELTA["layer_types"], "block_size": 16}),
}  # fmt: skip


def build_new(name: str, **changes: Any) -> Any:
    kind, entries = CONFIGS[name]
    config = getattr(transformers, f"{kind}Config")(**{**entries, **changes})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


build = cache(build_new)


def naive_scores(name: str, rows: list[Row]) -> list[tuple[list[float], list[bool]]]:
    """What the naive twin gives for these rows and a model as ``build`` makes it, computed once."""
    return _naive_scores(name, tuple((tuple(tokens), start) for tokens, start in rows))


@cache
def _naive_scores(name: str, rows: tuple[tuple[tuple[int, ...], int], ...]) -> list[tuple[list[float], list[bool]]]:
    return score_rows(build(name), pack([(list(tokens), start) for tokens, start in rows]))


def pack(rows: list[Row]) -> Requests:
    """Requests of rows, with keys that number them."""
    offsets = np.cumsum([0, *(len(tokens) for tokens, _ in rows)]).astype(np.int64)
    flat = [token for tokens, _ in rows for token in tokens]
    keys = np.array([list(i.to_bytes(16, "big")) for i in range(len(rows))], np.uint8).reshape(-1, 16)
    return Requests(np.array(flat, np.int32), offsets, np.array([start for _, start in rows], np.int32), keys)


def random_rows(seed: int = 0, count: int = 14, longest: int = 40) -> list[Row]:
    """Rows of all lengths: some of one input token, some that share a beginning, some one string split in two ways."""
    rng = random.Random(seed)
    rows: list[Row] = [([5, 9], 1), ([5, 9, 12], 1), ([7] * longest, longest - 1)]
    while len(rows) < count:
        tokens = [rng.randrange(VOCABULARY) for _ in range(rng.randint(2, longest))]
        if len(rows) % 3 == 0:
            shared = rows[-1][0][: len(tokens) - 1]
            tokens = shared + tokens[len(shared) :]
        rows.append((tokens, rng.randint(1, len(tokens) - 1)))
    return [*rows, (rows[-1][0], 1), (rows[-1][0], len(rows[-1][0]) - 1)]


def few_shot_rows(seed: int = 0) -> list[Row]:
    """Rows as a run has them: items after shots they share, answers of several tokens, lengths from 2 to 70, equal
    inputs with other targets, some that begin others, and some beyond every border that the models above have.
    """
    rng = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(count)]

    shots, other, long = tokens(20), tokens(33), tokens(70)
    rows: list[Row] = [([5, 9], 1), ([5, 11], 1), ([5, 9, 12], 1), ([5, 9], 1), (tokens(12), 1)]
    for asked in [shots + tokens(length) for length in (2, 9, 1)] + [other + tokens(3), other + tokens(12)]:
        rows += [(asked + tokens(length), len(asked)) for length in (1, 2, 2)]
    rows += [(long, 60), (long[:50], 45), (long[:33], 32), (long[:32], 1), (long[:67] + tokens(3), 67)]
    rng.shuffle(rows)
    return rows


def distinct_tokens(rows: list[Row]) -> int:
    """Nodes of the trie of the inputs."""
    return len({tuple(tokens[:end]) for tokens, _ in rows for end in range(1, len(tokens))})


def distinct_rows(rows: list[Row]) -> set[tuple[int, ...]]:
    """The inputs that are no other's beginning."""
    inputs = {tuple(tokens[:-1]) for tokens, _ in rows}
    return {row for row in inputs if not any(len(other) > len(row) and other[: len(row)] == row for other in inputs)}


def collect(scorer: Scorer, requests: Requests) -> tuple[Scored, int]:
    """Scores by key, and the tokens computed. Each request must come exactly once."""
    found: Scored = {}
    computed = 0
    for scores, tokens in scorer.score(requests):
        computed += tokens
        for i, key in enumerate(map(bytes, scores.keys)):
            assert key not in found, "a request was scored twice"
            span = slice(scores.offsets[i], scores.offsets[i + 1])
            found[key] = (scores.logprobs[span].tolist(), scores.greedy[span].tolist())
    assert found.keys() == set(map(bytes, requests.keys))
    return found, computed


def assert_scored(scorer: Scorer, requests: Requests, expected: list[tuple[list[float], list[bool]]]) -> int:
    """Compare with what the naive twin gave; gives the tokens computed."""
    found, computed = collect(scorer, requests)
    for key, (values, greedy) in zip(map(bytes, requests.keys), expected, strict=True):
        tolerance = 1e-5 * len(values)
        assert found[key][0] == pytest.approx(values, rel=0, abs=tolerance)
        assert sum(found[key][0]) == pytest.approx(sum(values), rel=0, abs=tolerance)
        assert found[key][1] == greedy
    return computed
