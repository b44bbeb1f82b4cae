"""Scoring requests: every scorer against one unpadded row per request, and what happens when a model misbehaves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive import score_row, score_rows
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness import scorers
from harness.columns import Requests
from harness.errors import ModelError
from harness.models import ModelSpec, load_model, locate_model
from harness.scorers import RowScorer

VOCABULARY = 101
WINDOW = 5
HUGE = 1_000_000
Row = tuple[list[int], int]
Scored = dict[bytes, tuple[list[float], list[bool]]]

# Weights are drawn wide, so that distributions are sharp and a wrong position, mask or target shows.
LLAMA = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.4,
}  # fmt: skip
CONFIGS: dict[str, Callable[..., Any]] = {
    "gpt2": partial(
        transformers.GPT2Config, vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4,
        initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    ),
    "llama": partial(transformers.LlamaConfig, **LLAMA),
    "mistral": partial(transformers.MistralConfig, **LLAMA, sliding_window=WINDOW),
    "gemma2": partial(
        transformers.Gemma2Config, **LLAMA, head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW,
        final_logit_softcapping=5.0,
    ),
    "opt": partial(
        transformers.OPTConfig, vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, word_embed_proj_dim=32, init_std=0.4,
    ),
    "bloom": partial(
        transformers.BloomConfig, vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4
    ),
    "mamba": partial(
        transformers.MambaConfig, vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4,
        initializer_range=0.3,
    ),
    "trocr": partial(  # its forward has no logits_to_keep
        transformers.TrOCRConfig, vocab_size=VOCABULARY, d_model=32, decoder_layers=2, decoder_attention_heads=4,
        decoder_ffn_dim=64, max_position_embeddings=64, init_std=0.3,
    ),
}  # fmt: skip


@cache
def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name](**changes)).eval()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pack(rows: list[Row]) -> Requests:
    """Requests of rows of (tokens, start), with keys that number them."""
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


def collect(scorer: RowScorer, requests: Requests) -> Scored:
    """Scores by key; each request must come exactly once, and each of its input tokens be computed once."""
    found: Scored = {}
    computed = 0
    for scores, tokens in scorer.score(requests):
        computed += tokens
        for i, key in enumerate(map(bytes, scores.keys)):
            assert key not in found, "a request was scored twice"
            span = slice(scores.offsets[i], scores.offsets[i + 1])
            found[key] = (scores.logprobs[span].tolist(), scores.greedy[span].tolist())
    assert found.keys() == set(map(bytes, requests.keys))
    assert computed == requests.lengths.sum() - len(requests)
    return found


def assert_as_naive(model: Any, requests: Requests, found: Scored) -> None:
    for key, (values, greedy) in zip(map(bytes, requests.keys), score_rows(model, requests), strict=True):
        tolerance = 1e-5 * len(values)
        assert found[key][0] == pytest.approx(values, rel=0, abs=tolerance)
        assert sum(found[key][0]) == pytest.approx(sum(values), rel=0, abs=tolerance)
        assert found[key][1] == greedy


# The same inputs give the same numbers


@pytest.mark.parametrize("batch_tokens", [1, 7, 64, HUGE])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_of_any_size_scores_as_one_row_per_request(name: str, batch_tokens: int) -> None:
    model, requests = build(name), pack(random_rows())
    assert_as_naive(model, requests, collect(RowScorer(model, batch_tokens=batch_tokens), requests))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mistral", {"sliding_window": None}),
        ("gemma2", {"sliding_window": 64}),
        ("gemma2", {"final_logit_softcapping": None}),
    ],
)
def test_the_rows_reach_what_is_special_about_a_model(name: str, change: dict[str, Any]) -> None:
    """Otherwise the test above would say nothing of windows and soft caps."""
    requests = pack(random_rows())
    as_it_is, without = (score_rows(model, requests) for model in (build(name), build(name, **change)))
    assert max(abs(sum(a) - sum(b)) for (a, _), (b, _) in zip(as_it_is, without, strict=True)) > 0.1


@st.composite
def _row(draw: st.DrawFn) -> Row:
    tokens = draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=24))
    return tokens, draw(st.integers(1, len(tokens) - 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_order_and_no_cut_into_parts_changes_a_sum(data: st.DataObject) -> None:
    model = build(data.draw(st.sampled_from(["gpt2", "mistral"])))
    rows = data.draw(st.lists(_row(), min_size=1, max_size=12))
    requests = pack(rows)
    order = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=3)))
    scorer = RowScorer(model, batch_tokens=data.draw(st.integers(1, 200)))
    found: Scored = {}
    for part in np.split(order, cuts):
        found |= collect(scorer, requests.take(part))
    assert_as_naive(model, requests, found)


def test_what_the_model_generates_greedily_is_marked_greedy() -> None:
    model, prompt = build("llama"), [3, 14, 15, 92]
    made = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 4, dtype=torch.long), max_new_tokens=8,
        do_sample=False, eos_token_id=None, pad_token_id=0,
    )[0].tolist()  # fmt: skip
    other = [*made[:-1], (made[-1] + 1) % VOCABULARY]
    found = list(collect(RowScorer(model), pack([(made, 4), (other, 4)])).values())
    assert [greedy for _, greedy in found] == [[True] * 8, [True] * 7 + [False]]


def test_probabilities_of_the_whole_vocabulary_add_up_to_one() -> None:
    context = [8, 3, 77]
    found = collect(RowScorer(build("gpt2")), pack([([*context, token], 3) for token in range(VOCABULARY)]))
    assert np.exp([values[0] for values, _ in found.values()]).sum() == pytest.approx(1, abs=1e-5)


def test_an_answer_scores_the_same_in_one_piece_or_in_two() -> None:
    """The chain rule: log p(ab) = log p(a) + log p(b | a)."""
    tokens = [4, 8, 15, 16, 23, 42, 10]
    whole, first, second = collect(RowScorer(build("gpt2")), pack([(tokens, 2), (tokens[:4], 2), (tokens, 4)])).values()
    assert sum(whole[0]) == pytest.approx(sum(first[0]) + sum(second[0]), abs=1e-5 * 5)


def test_no_requests_give_no_scores() -> None:
    assert list(RowScorer(build("gpt2")).score(Requests.concatenate([]))) == []


# What is computed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Rows, width and positions of logits of every forward of the llama model."""
    seen: list[tuple[int, int, int]] = []
    model = build("llama")
    forward = model.forward

    def watched(input_ids: torch.Tensor, logits_to_keep: Any = 0, **rest: Any) -> Any:
        output = forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **rest)
        seen.append((*input_ids.shape, output.logits.shape[1]))
        return output

    monkeypatch.setattr(model, "forward", watched)
    return seen


def test_a_batch_stays_within_its_tokens(calls: list[tuple[int, int, int]]) -> None:
    collect(RowScorer(build("llama"), batch_tokens=64), pack(random_rows(count=40)))
    assert all(rows * width <= 64 or rows == 1 for rows, width, _ in calls)
    assert max(rows for rows, _, _ in calls) > 1


def test_logits_are_made_only_where_they_are_scored(calls: list[tuple[int, int, int]]) -> None:
    collect(RowScorer(build("llama"), batch_tokens=HUGE), pack([([1] * 30, 27), ([2] * 30, 28), ([3] * 29, 28)]))
    assert calls == [(3, 29, 3)]


def test_a_batch_is_cut_so_that_its_logits_stay_small(
    calls: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorers, "LOGIT_VALUES", 60 * VOCABULARY)
    model, requests = build("llama"), pack([([i] * 31, 1) for i in range(10)])
    found = collect(RowScorer(model, batch_tokens=HUGE), requests)
    assert all(rows * positions <= 60 for rows, _, positions in calls)
    assert_as_naive(model, requests, found)


# Out of memory


def no_torch_memory() -> None:
    raise torch.OutOfMemoryError("no memory left")


def no_cpu_memory() -> None:
    torch.empty(10**15)  # 4 petabytes


def no_python_memory() -> None:
    raise MemoryError


def fails_above(limit: int, fail: Callable[[], None], forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that fails for more than ``limit`` rows."""

    def limited(input_ids: torch.Tensor, logits_to_keep: Any = 0, **rest: Any) -> Any:
        if len(input_ids) > limit:
            fail()
        return forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **rest)

    return limited


@pytest.mark.parametrize("fail", [no_torch_memory, no_cpu_memory, no_python_memory])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    limit: int, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, requests = build("llama"), pack(random_rows(count=20))
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", fails_above(limit, fail, model.forward))
        found = collect(RowScorer(model, batch_tokens=HUGE), requests)
    assert_as_naive(model, requests, found)


def test_after_out_of_memory_later_batches_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []

    def fail() -> None:
        failures.append(1)
        no_torch_memory()

    model = build("llama")
    monkeypatch.setattr(model, "forward", fails_above(2, fail, model.forward))
    scorer = RowScorer(model, batch_tokens=HUGE)
    collect(scorer, pack([([i] * 9, 8) for i in range(20)]))
    assert scorer.batch_tokens == 2 * 8
    assert len(failures) == 3  # of 20, 10 and 5 rows, and then no more


def test_a_row_that_does_not_fit_by_itself_is_an_error_that_gives_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    monkeypatch.setattr(model, "forward", fails_above(0, no_torch_memory, model.forward))
    with pytest.raises(ModelError, match="a row of 9 tokens does not fit"):
        collect(RowScorer(model), pack([([1] * 9, 8), ([1] * 5, 4)]))


def test_another_failure_of_the_model_is_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not match")

    model = build("llama")
    monkeypatch.setattr(model, "forward", fails_above(1, fail, model.forward))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        collect(RowScorer(model), pack(random_rows()))


# Models and tokenizers that do not fit


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_numbers_are_an_error(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    forward = model.forward

    def broken(**arguments: Any) -> Any:
        output = forward(**arguments)
        output.logits.fill_(value)
        return output

    monkeypatch.setattr(model, "forward", broken)
    with pytest.raises(ModelError, match="not a finite number"):
        collect(RowScorer(model), pack([([1, 2, 3], 1)]))


def test_a_token_beyond_the_vocabulary_is_an_error_that_names_it() -> None:
    scorer = RowScorer(build("gpt2"))
    collect(scorer, pack([([1, VOCABULARY - 1], 1)]))
    with pytest.raises(ModelError, match=f"id {VOCABULARY}, .* {VOCABULARY} entries"):
        collect(scorer, pack([([1, 2], 1), ([1, VOCABULARY], 1)]))


# Loading


def load(folder: Path) -> Any:
    return load_model(locate_model(ModelSpec(str(folder), device="cpu")))


def saved_bert(folder: Path, *, decoder: bool) -> Path:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.4, is_decoder=decoder,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertLMHeadModel(config).save_pretrained(folder)
    return folder


def saved_llama(folder: Path) -> Path:
    build("llama").save_pretrained(folder)
    return folder


def test_a_model_that_sees_later_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a causal language model"):
        load(saved_bert(tmp_path, decoder=False))


def test_the_same_model_made_causal_is_loaded_and_scored(tmp_path: Path) -> None:
    model, requests = load(saved_bert(tmp_path, decoder=True)), pack(random_rows())
    assert_as_naive(model, requests, collect(RowScorer(model, batch_tokens=64), requests))


def test_a_loaded_model_scores_as_the_one_that_was_saved(tmp_path: Path) -> None:
    model = load(saved_llama(tmp_path))
    assert not model.training
    assert score_row(model, [1, 2, 3, 4], 1) == score_row(build("llama"), [1, 2, 3, 4], 1)


@pytest.mark.parametrize("weight", ["lm_head.weight", "model.layers.1.self_attn.k_proj.weight"])
def test_missing_weights_are_refused_by_name(tmp_path: Path, weight: str) -> None:
    """transformers would fill them in at random."""
    path = saved_llama(tmp_path) / "model.safetensors"
    weights = load_file(path)
    del weights[weight]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"lack 1 weights.*{weight}"):
        load(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = saved_llama(tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1].clone()
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="model cannot be loaded"):
        load(tmp_path)


def test_a_base_model_without_its_head_is_refused(tmp_path: Path) -> None:
    build("llama").model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        load(tmp_path)
