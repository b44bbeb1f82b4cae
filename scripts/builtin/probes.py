"""How well a model under training labels items, measured on documents of the generator that it does not train on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from scripts.builtin.documents import Document, Writer


@dataclass(frozen=True, slots=True)
class Question:
    """The tokens up to an answer, the first token of each label word, and which label is right."""

    ids: list[int]
    options: list[int]
    label: int
    shots: int


class Probes:
    """Fixed questions of each kind, at 0 shots and at 4."""

    def __init__(self, writer: Writer, tokenizer: Tokenizer, seed: int, size: int = 100) -> None:
        rng = random.Random(seed)
        draw = {
            "natural": lambda: writer.natural("review", rng),
            "arbitrary": lambda: writer.arbitrary("review", rng),
            "phrases": lambda: writer.arbitrary("review", rng, "phrase"),
            "words": lambda: writer.words(rng),
            "recall": lambda: writer.recall(rng),
        }
        self._questions: dict[str, list[Question]] = {}
        for kind, shots in (
            ("natural", 0),
            ("natural", 4),
            ("arbitrary", 4),
            ("phrases", 4),
            ("words", 6),
            ("recall", 8),
        ):
            found = self._questions[f"{kind}-{shots}"] = []
            while len(found) < size:
                question = _question(draw[kind](), tokenizer, shots)
                if question is not None:
                    found.append(question)

    @torch.no_grad()
    def accuracy(self, model: LlamaForCausalLM) -> Mapping[str, float]:
        """Accuracy by kind and number of shots: the right label's first token outscores the others'."""
        return {
            name: sum(_right(model, question) for question in questions) / len(questions)
            for name, questions in self._questions.items()
        }


def _question(document: Document, tokenizer: Tokenizer, shots: int) -> Question | None:
    """The document cut before answer number ``shots``; None if it has fewer, or the labels share their first token."""
    if len(document.answers) <= shots:
        return None
    answer = document.answers[shots]
    before = document.text[: answer.start]
    space = " " if document.text[answer.start] == " " else ""
    options = [tokenizer.encode(space + word, add_special_tokens=False).ids[0] for word in document.words]
    if len(set(options)) < len(options):
        return None
    return Question(tokenizer.encode(before).ids, options, answer.label, shots)


def _right(model: LlamaForCausalLM, question: Question) -> bool:
    logits = model(input_ids=torch.tensor([question.ids]), use_cache=False, logits_to_keep=1).logits[0, -1]
    return int(logits[question.options].argmax()) == question.label
