"""Trains the built-in model: a tokenizer, then one model through the stages of a curriculum, then the exported folder.

The order of the stages matters. A model that gets the whole mix from the first step never learns to read its examples;
one that first learns what words mean, and then sees dense lists in which the label words mean nothing, does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.builtin.documents import Writer, documents
from scripts.builtin.probes import Probes
from scripts.builtin.tokens import BOS, EOS, VOCABULARY, Batch, batches, train_tokenizer

TOKENS_PER_STEP = 2048
TEXT_SHARE = 0.2  # of the tokens that are no answers: how many the loss counts ...
TEXT_WEIGHT = 0.4  # ... and how much each of them weighs against a token of an answer
TOKENIZER_DOCUMENTS = 30_000
TOKENIZER_MIX = {
    "arbitrary review": 3.5, "arbitrary news": 0.5, "arbitrary question": 0.5, "phrases": 0.5, "words": 0.7,
    "natural review": 5, "natural news": 1, "natural question": 1, "natural pair": 1, "plain": 1.5,
    "label-first review": 0.8, "label-first news": 0.3, "label-first question": 0.3,
}  # fmt: skip
MUON_RATE, ADAM_RATE = 0.006, 0.002
WARM_UP = 200  # steps


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: how many tokens, in rows of what length, of which documents."""

    name: str
    tokens: int
    length: int
    mix: Mapping[str, float]
    biased: bool = False


CURRICULUM = (
    Stage(
        "meaning",
        1_800_000,
        256,
        {
            "meanings word": 5, "meanings phrase": 3,
            "natural review": 2.5, "natural news": 0.4, "natural question": 0.5, "plain": 0.7,
        },
    ),
    Stage(
        "examples",
        4_200_000,
        256,
        {
            "echo": 2, "recall": 4, "words": 4, "phrases": 0.5,
            "meanings word": 1, "meanings phrase": 0.5, "natural review": 1, "plain": 0.7,
        },
    ),
    Stage(
        "sentences",
        1_200_000,
        320,
        {
            "arbitrary review": 4, "arbitrary news": 0.5, "arbitrary question": 0.5, "phrases": 2, "words": 1.5,
            "recall": 0.5, "natural review": 2, "natural news": 0.7, "natural question": 0.7, "natural pair": 0.7,
            "plain": 1.5,
        },
    ),
    Stage(
        "habits",
        3_000_000,
        384,
        {
            "novel review": 3.0, "novel news": 0.3, "novel question": 0.3, "arbitrary review": 2.0,
            "arbitrary news": 0.4, "arbitrary question": 0.4, "phrases": 0.5, "words": 0.7,
            "natural review": 5, "natural news": 1, "natural question": 1, "natural pair": 1, "plain": 1.5,
            "label-first review": 0.8, "label-first news": 0.3, "label-first question": 0.3,
        },
        biased=True,
    ),
)  # fmt: skip


def train(
    folder: Path,
    checkpoints: Path,
    writer: Writer,
    seed: int,
    log: Callable[[str], None],
    scale: float = 1.0,
    resume: str | None = None,
) -> None:
    """Train and write the model to ``folder``; the state after each stage goes to ``checkpoints``.

    ``scale`` shortens every stage alike; ``resume`` names the stage whose checkpoint to go on from.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    if not resume:
        _tokenizer(writer, seed).save(str(checkpoints / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(str(checkpoints / "tokenizer.json"))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(_config())
    log(f"{sum(p.numel() for p in model.parameters()):,} parameters, {torch.get_num_threads()} threads")
    optimizers = _optimizers(model)
    probes = Probes(writer, tokenizer, seed + 1)
    stages = list(CURRICULUM)
    total = sum(_steps(stage, scale) for stage in stages)
    step, began = 0, time.monotonic()
    while resume and stages:
        stage = stages.pop(0)
        step += _steps(stage, scale)
        if stage.name == resume:
            _restore(checkpoints / f"{resume}.pt", model, optimizers)
            break
    for stage in stages:
        rng = random.Random(f"{seed} {stage.name}")
        generator = torch.Generator().manual_seed(seed)
        feed = batches(
            documents(stage.mix, writer, rng, biased=stage.biased),
            tokenizer,
            TOKENS_PER_STEP // stage.length,
            stage.length,
        )
        losses: list[float] = []
        since = time.monotonic()
        for number in range(1, _steps(stage, scale) + 1):
            _set_rate(optimizers, step, decay=number / _steps(stage, scale) if stage is CURRICULUM[-1] else 0.0)
            losses.append(_step(model, next(feed), optimizers, generator))
            step += 1
            if number % 200 == 0 or number == _steps(stage, scale):
                speed = len(losses) * TOKENS_PER_STEP / (time.monotonic() - since)
                found = " ".join(f"{name} {value:.2f}" for name, value in probes.accuracy(model).items())
                log(
                    f"{stage.name:9} step {step:5}/{total} {step * TOKENS_PER_STEP / 1e6:5.1f}M tokens "
                    f"{(time.monotonic() - began) / 60:5.1f} min {speed:5.0f} tokens/s "
                    f"loss {sum(losses) / len(losses):.3f}  {found}"
                )
                losses, since = [], time.monotonic()
        torch.save(
            {"model": model.state_dict(), "optimizers": [one.state_dict() for one in optimizers]},
            checkpoints / f"{stage.name}.pt",
        )
        export(model, tokenizer, folder)


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load."""
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=_config().max_position_embeddings,
    ).save_pretrained(folder)


def _config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def _tokenizer(writer: Writer, seed: int) -> Tokenizer:
    rng = random.Random(f"{seed} tokenizer")
    source = documents(TOKENIZER_MIX, writer, rng, biased=False)
    return train_tokenizer(next(source).text for _ in range(TOKENIZER_DOCUMENTS))


def _steps(stage: Stage, scale: float) -> int:
    return max(1, round(scale * stage.tokens / TOKENS_PER_STEP))


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, Adam for the embedding and the norms."""
    layers = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(layers, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _set_rate(optimizers: list[torch.optim.Optimizer], step: int, decay: float) -> None:
    """Warm up, stay, and fall to a twentieth as ``decay``, the share of the last stage that is done, goes to 1."""
    factor = min(1.0, (step + 1) / WARM_UP, max(0.05, 1 - decay))
    for optimizer, rate in zip(optimizers, (MUON_RATE, ADAM_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor


def _step(
    model: LlamaForCausalLM, batch: Batch, optimizers: list[torch.optim.Optimizer], generator: torch.Generator
) -> float:
    """One update; the loss, over the tokens of answers and a random share of the others."""
    ids, document = torch.from_numpy(batch.ids), torch.from_numpy(batch.document)
    rows, length = ids.shape
    same = document[:, :, None] == document[:, None, :]
    mask = (same & torch.ones(length, length, dtype=torch.bool).tril())[:, None]  # [rows, 1, query, key]
    with torch.autocast("cpu", torch.bfloat16):  # a third faster on cores that have the instructions
        hidden = model.model(
            input_ids=ids, attention_mask=mask, position_ids=torch.from_numpy(batch.position), use_cache=False
        ).last_hidden_state
    inside = same.diagonal(offset=-1, dim1=1, dim2=2) & (document[:, 1:] >= 0)  # target and context: one document
    answer = torch.from_numpy(batch.answer)[:, 1:]
    chosen = inside & (answer | (torch.rand(rows, length - 1, generator=generator) < TEXT_SHARE))
    weights = torch.where(answer[chosen], 1.0, TEXT_WEIGHT)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.lm_head(hidden[:, :-1][chosen]).float()
    losses = functional.cross_entropy(logits, ids[:, 1:][chosen], reduction="none")
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _restore(path: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer]) -> None:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, found in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(found)
