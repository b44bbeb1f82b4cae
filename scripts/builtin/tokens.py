"""The tokenizer, and documents as rows of token ids that a model can train on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from scripts.builtin.documents import Document

VOCABULARY = 4096
BOS, EOS = 0, 1
IntArray = npt.NDArray[np.int64]


def train_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """A byte-level BPE tokenizer that puts ``<s>`` before every text by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]),
        ]
    )
    return tokenizer


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document's token ids, and the positions (in the document) of its answers' tokens."""

    ids: list[int]
    answers: list[int]


def encode(document: Document, tokenizer: Tokenizer) -> Encoded:
    encoding = tokenizer.encode(document.text)
    spans = iter(document.answers)
    answer = next(spans, None)
    found = []
    for position, (start, end) in enumerate(encoding.offsets):
        while answer and start >= answer.end:
            answer = next(spans, None)
        if answer and end > answer.start and position:
            found.append(position)
    return Encoded([*encoding.ids, EOS], found)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of packed documents, all [rows, length].

    ``document`` numbers a row's documents, so that none sees another; ``position`` starts anew with each.
    ``answer`` marks tokens of answers, and padding is what has ``document`` -1.
    """

    ids: IntArray
    position: IntArray
    document: IntArray
    answer: npt.NDArray[np.bool_]


def batches(documents: Iterator[Document], tokenizer: Tokenizer, rows: int, length: int) -> Iterator[Batch]:
    """Pack documents into rows, first fit from a small queue, so that little is padding."""
    encoded = (encode(document, tokenizer) for document in documents)
    waiting: list[Encoded] = []
    while True:
        batch = Batch(
            np.full((rows, length), EOS),
            np.zeros((rows, length), dtype=np.int64),
            np.full((rows, length), -1),
            np.zeros((rows, length), dtype=np.bool_),
        )
        for row in range(rows):
            used = 0
            for number in itertools.count():
                waiting.extend(itertools.islice(encoded, 32 - len(waiting)))
                room = length - used
                chosen = next((one for one in waiting if len(one.ids) <= room), None)
                if chosen is None and number:
                    break
                if chosen is None:  # longer than a whole row: its first part is as good a document
                    chosen = waiting[0]
                waiting.remove(chosen)
                size = min(len(chosen.ids), room)
                batch.ids[row, used : used + size] = chosen.ids[:size]
                batch.position[row, used : used + size] = np.arange(size)
                batch.document[row, used : used + size] = number
                batch.answer[row, [used + place for place in chosen.answers if place < size]] = True
                used += size
        yield batch
