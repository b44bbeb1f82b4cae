"""Turns prompts into requests: token ids, the span of them that is scored, and the key that a score is stored under.

The whole string is tokenised once and the span follows from offsets; nothing is guessed from lengths or prefixes. A
tokenizer is anything that fits the protocol here, so this module neither imports nor knows transformers.

Where the scored text begins (``boundary``, a character), and where the span begins (``start``, a token):

    context "Sentiment: "  + answer "good"     all trailing white space of the context moves to the answer
            "Sentiment:" | " good"             boundary
    tokens  ... "iment" ":" | " good"          start = first token whose end lies beyond the boundary

A token that straddles the boundary is scored. All candidates of an item start at the same token, the earliest of
theirs and of where their tokens begin to differ, so that all condition on identical tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.columns import Candidates, Requests
from harness.errors import ModelError
from harness.records import KEY_BYTES, Prompt
from harness.render import without_last_demo


@dataclass(frozen=True, slots=True)
class Encoding:
    """One tokenised text: ids, and the end of each token as a character offset."""

    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer.

    ``prefix`` is put before every sequence (under the BOS policy), ``opening`` stands in for an empty context (BOS,
    else EOS; None if it has neither).
    """

    @property
    def prefix(self) -> tuple[int, ...]: ...

    @property
    def opening(self) -> int | None: ...

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise without special tokens of the tokenizer's own."""
        ...


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """The tokens of a prompt with one answer. ``lead`` of them (BOS) precede the text; ``start`` counts them in."""

    ids: tuple[int, ...]
    lead: int
    start: int
    offsets: Sequence[tuple[int, int]]
    boundary: int

    @property
    def straddles(self) -> bool:
        """Whether the first scored token began before the answer did."""
        return self.start >= self.lead and self.offsets[self.start - self.lead][0] < self.boundary


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCell:
    """All items of a cell, encoded.

    ``shots`` is how many demonstrations each item has after those that did not fit were dropped; ``too_long`` holds
    the indices of items that do not fit with none. ``keys`` [n candidates, 16] names each candidate's request.
    ``straddling`` counts items with a token that is part context, part answer.
    """

    shots: tuple[int, ...]
    candidates: Candidates
    keys: npt.NDArray[np.uint8]
    too_long: frozenset[int]
    straddling: int


class Encoder:
    """Encodes prompts for one model.

    Args:
        scope: what a stored score depends on besides tokens (model fingerprint and dtype); it enters every key.
        max_inputs: how many tokens the model can read at once; None if there is no limit.
    """

    def __init__(self, tokenizer: Tokenizer, *, scope: str, max_inputs: int | None) -> None:
        self.tokenizer = tokenizer
        self.max_inputs = max_inputs
        self._scope = scope.encode()

    def answers(self, prompts: Sequence[Prompt]) -> list[list[EncodedAnswer]]:
        """Tokenise each prompt with each of its answers, and settle the spans.

        Raises:
            ModelError: the tokenizer lost an answer, or has no token to stand for an empty context.
        """
        texts: list[str] = []
        boundaries: list[int] = []
        for prompt in prompts:
            context = prompt.text
            for answer in prompt.answers:
                given = context + answer.given
                texts.append(given + answer.scored)
                boundaries.append(len(given.rstrip()))
        encodings = iter(zip(self.tokenizer.encode(texts), boundaries, texts, strict=True))
        return [self._align([next(encodings) for _ in prompt.answers], prompt) for prompt in prompts]

    def _align(self, rows: list[tuple[Encoding, int, str]], prompt: Prompt) -> list[EncodedAnswer]:
        prefix = self.tokenizer.prefix
        starts = [_first_beyond(encoding, boundary, text) for encoding, boundary, text in rows]
        if not any(answer.given for answer in prompt.answers):
            starts = [_common_prefix([encoding.ids[: min(starts)] for encoding, _, _ in rows])] * len(rows)
        if not prefix and min(starts) == 0:
            if self.tokenizer.opening is None:
                raise ModelError(
                    "the context is empty, and the tokenizer has neither a BOS nor an EOS token to stand for it"
                )
            prefix = (self.tokenizer.opening,)
        encoded = []
        for (encoding, boundary, _), start in zip(rows, starts, strict=True):
            # A text may itself begin with BOS (a chat template's does): it is never put there twice.
            lead = () if prefix and tuple(encoding.ids[: len(prefix)]) == prefix and start >= len(prefix) else prefix
            encoded.append(
                EncodedAnswer((*lead, *encoding.ids), len(lead), len(lead) + start, encoding.offsets, boundary)
            )
        return encoded

    def cell(self, prompts: Sequence[Prompt], *, block: int = 256) -> tuple[EncodedCell, Requests]:
        """Encode all prompts of a cell, ``block`` at a time, dropping the last-drawn demonstrations of those too long.

        Returns the cell and its requests, one for each candidate, in the same order.
        """
        final: list[Prompt] = []
        encoded: list[list[EncodedAnswer]] = []
        for begin in range(0, len(prompts), block):
            for prompt, answers in self._fitting(prompts[begin : begin + block]):
                final.append(prompt)
                encoded.append(answers)
        too_long = frozenset(index for index, answers in enumerate(encoded) if not self._fits(answers))
        kept = [(index, answers) for index, answers in enumerate(encoded) if index not in too_long]
        requests = self._requests([answer for _, answers in kept for answer in answers])
        cell = EncodedCell(
            shots=tuple(len(prompt.demo_ids) for prompt in final),
            candidates=self._candidates(final, kept),
            keys=requests.keys,
            too_long=too_long,
            straddling=sum(any(answer.straddles for answer in answers) for _, answers in kept),
        )
        return cell, requests

    def _fitting(self, prompts: Sequence[Prompt]) -> list[tuple[Prompt, list[EncodedAnswer]]]:
        results = list(zip(prompts, self.answers(prompts), strict=True))
        while excess := [i for i, (prompt, found) in enumerate(results) if prompt.demo_ids and not self._fits(found)]:
            shorter = [without_last_demo(results[i][0]) for i in excess]
            for i, prompt, answers in zip(excess, shorter, self.answers(shorter), strict=True):
                results[i] = (prompt, answers)
        return results

    def _fits(self, answers: list[EncodedAnswer]) -> bool:
        # The last token is only ever a target, so a sequence of n tokens takes n - 1 inputs.
        return self.max_inputs is None or max(len(answer.ids) for answer in answers) - 1 <= self.max_inputs

    def _requests(self, answers: list[EncodedAnswer]) -> Requests:
        offsets = np.zeros(len(answers) + 1, np.int64)
        np.cumsum([len(answer.ids) for answer in answers], out=offsets[1:])
        tokens = np.fromiter((token for answer in answers for token in answer.ids), np.int32, int(offsets[-1]))
        starts = np.array([answer.start for answer in answers], np.int32)
        keys = np.zeros((len(answers), KEY_BYTES), np.uint8)
        for i, answer in enumerate(answers):
            content = answer.start.to_bytes(4, "big") + tokens[offsets[i] : offsets[i + 1]].tobytes()
            key = hashlib.blake2b(self._scope + b"\0" + content, digest_size=KEY_BYTES).digest()
            keys[i] = np.frombuffer(key, np.uint8)
        return Requests(tokens, offsets, starts, keys)

    def _candidates(self, prompts: list[Prompt], kept: list[tuple[int, list[EncodedAnswer]]]) -> Candidates:
        rows = [
            (index, answer, encoded)
            for index, found in kept
            for answer, encoded in zip(prompts[index].answers, found, strict=True)
        ]
        bare = [answer.scored.strip() for _, answer, _ in rows]
        return Candidates(
            item=np.array([index for index, _, _ in rows], np.int64),
            label=np.array([answer.label for _, answer, _ in rows], np.int32),
            word=np.array([answer.word for _, answer, _ in rows], np.object_),
            n_tokens=np.array([len(encoded.ids) - encoded.start for _, _, encoded in rows], np.int32),
            n_chars=np.array([len(text) for text in bare], np.int32),
            n_bytes=np.array([len(text.encode("utf-8", "surrogatepass")) for text in bare], np.int32),
        )


def _first_beyond(encoding: Encoding, boundary: int, text: str) -> int:
    for index, (begin, end) in enumerate(encoding.offsets):
        if end > boundary or begin >= boundary:  # a token may have no width: a space put before the text, then trimmed
            return index
    raise ModelError(f"the tokenizer leaves nothing of the answer {text[boundary:]!r:.60} to score")


def _common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    if all(sequence == sequences[0] for sequence in sequences):  # nearly always, and much faster
        return len(sequences[0])
    columns = zip(*sequences, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
