"""Loading a model: what is refused, and that what is loaded scores as what was saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from naive import score_row, score_rows
from safetensors.torch import load_file, save_file
from small_models import VOCABULARY, assert_scored, build, build_new, pack, random_rows

from harness import models
from harness.errors import ModelError
from harness.models import ModelSpec, load_model, locate_model
from harness.scorers import RowScorer


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


class Padded(torch.nn.Module):
    """Looks at all tokens at once to see whether some are padding, and reads what is left causally."""

    def __init__(self, pad: int, *, told: bool) -> None:
        super().__init__()
        self.inner = build("llama")
        self.config = copy.deepcopy(self.inner.config)
        self.config.pad_token_id = pad if told else None
        self.dtype, self.pad = self.inner.dtype, pad

    def get_input_embeddings(self) -> Any:
        return self.inner.get_input_embeddings()

    def forward(self, input_ids: Any, **arguments: Any) -> Any:
        shifted = (input_ids + (input_ids == self.pad).any().long()) % VOCABULARY
        return self.inner(input_ids=shifted, **arguments)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("pad", range(12))
def test_a_causal_model_is_not_refused_for_its_padding(pad: int, told: bool) -> None:
    models._check_causal(Padded(pad, told=told), "m")


@pytest.mark.parametrize("pad", range(12))
def test_real_code_that_looks_for_padding_is_causal(pad: int) -> None:
    """XLM counts the tokens that are not padding, and cuts its mask there."""
    config = transformers.XLMConfig(
        vocab_size=VOCABULARY, n_words=VOCABULARY, emb_dim=32, n_layers=1, n_heads=4, causal=True, pad_token_id=pad,
        pad_index=pad, init_std=0.3, embed_init_std=0.3,
    )  # fmt: skip
    models._check_causal(transformers.XLMWithLMHeadModel(config).eval(), "m")


def test_a_model_whose_own_code_fails_at_once_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, **arguments: Any) -> None:
        raise IndexError("index out of range in self\nand more")

    folder = saved_llama(tmp_path)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", fails)
    with pytest.raises(
        ModelError, match=r"its own code fails on eight tokens: IndexError: index out of range in self$"
    ):
        load(folder)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise TypeError("no words")


class Panic(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (Panic("index out of bounds"), "Panic: index out of bounds"),
        (GeneratorExit(), "GeneratorExit"),
        (UnspeakableError(), "UnspeakableError"),
    ],
    ids=["it ends Python", "it panics", "it ends a generator", "its error has no words"],
)
@pytest.mark.parametrize("where", ["__init__", "forward"])
def test_whatever_a_model_s_own_code_raises_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException, said: str
) -> None:
    def fails(self: Any, *given: Any, **arguments: Any) -> None:
        raise error

    folder, model = saved_llama(tmp_path), build_new("llama")
    monkeypatch.setattr(transformers.LlamaForCausalLM, where, fails)
    what = "its own code fails on eight tokens" if where == "forward" else "its model cannot be loaded"
    with pytest.raises(ModelError, match=what) as caught:
        load(folder)
    assert str(caught.value).endswith(f": {said}")
    if where == "forward":  # nor does it end the scoring
        with pytest.raises(Exception, match=said if not isinstance(error, UnspeakableError) else None):
            list(RowScorer(model).score(pack(random_rows())))


def test_ctrl_c_passes_through_a_model_s_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, **arguments: Any) -> None:
        raise KeyboardInterrupt

    folder = saved_llama(tmp_path)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", fails)
    with pytest.raises(KeyboardInterrupt):
        load(folder)


def test_a_model_that_never_says_the_same_twice_is_told_of_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = transformers.LlamaForCausalLM.forward

    def noisy(self: Any, **arguments: Any) -> Any:
        found = forward(self, **arguments)
        found.logits += torch.rand_like(found.logits)
        return found

    folder = saved_llama(tmp_path)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", noisy)
    with pytest.raises(ModelError, match="predicts something else each time for the same text"):
        load(folder)


def test_the_same_model_made_causal_is_loaded_and_scored(tmp_path: Path) -> None:
    model, requests = load(saved_bert(tmp_path, decoder=True)), pack(random_rows())
    assert_scored(RowScorer(model, batch_tokens=64), requests, score_rows(model, requests))


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
