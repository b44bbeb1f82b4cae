"""Turns prompts into requests: token ids, the span of them that is scored, and the key that a score is stored under.

The span follows from the offsets of the whole string's tokens; nothing is guessed from lengths or prefixes. How strings
become tokens is left to ``segments``; this module neither imports nor knows transformers.

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

import numpy as np
import numpy.typing as npt

from harness import interrupts
from harness.columns import Candidates, Requests
from harness.errors import ModelError
from harness.records import KEY_BYTES, Answer, Prompt
from harness.render import without_last_demo
from harness.segments import Branches, EncodedBranches, Encoding, SharedSegments, Tokenizer, encode_whole

# Prompts of a cell for which shared segments are compared with whole texts: a quarter of them, within these bounds.
_FEWEST_SAMPLED, _MOST_SAMPLED = 4, 32


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


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """What ``EncodedAnswer`` holds but for offsets. The tokens are those of ``parts``; answers share some."""

    parts: tuple[npt.NDArray[np.int32], ...]
    length: int
    lead: int
    start: int
    boundary: int
    straddles: bool


class Encoder:
    """Encodes prompts for one model.

    Args:
        scope: what a stored score depends on besides tokens (model fingerprint and dtype); it enters every key.
        max_inputs: how many tokens the model can read at once; None if there is no limit.
        vocabulary: how many tokens the model knows; None if that is not known.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, scope: str, max_inputs: int | None, vocabulary: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.max_inputs = max_inputs
        self._vocabulary = vocabulary
        self._scope = scope.encode()
        self._segments = SharedSegments(tokenizer)

    @property
    def shares_segments(self) -> bool:
        """Whether cells are tokenised by the segments that texts share, not each text whole, which takes longer."""
        return self._segments.in_use

    def answers(self, prompts: Sequence[Prompt]) -> list[list[EncodedAnswer]]:
        """Tokenise each prompt with each of its answers, every text whole, and settle the spans.

        Raises:
            ModelError: the tokenizer lost an answer, or has no token to stand for an empty context.
        """
        texts = [_texts(prompt) for prompt in prompts]
        found = encode_whole(self.tokenizer, texts)
        return [
            [
                EncodedAnswer(
                    ids=tuple(np.concatenate(row.parts).tolist()),
                    lead=row.lead,
                    start=row.start,
                    offsets=[(begin, end) for begin, end in encoding.offsets.tolist()],
                    boundary=row.boundary,
                )
                for row, encoding in zip(self._align(prompt, own, branches), branches.endings, strict=True)
            ]
            for prompt, own, branches in zip(prompts, texts, found, strict=True)
        ]

    def cell(self, prompts: Sequence[Prompt], *, block: int = 256) -> tuple[EncodedCell, Requests]:
        """Encode all prompts of a cell, ``block`` at a time, dropping the last-drawn demonstrations of those too long.

        Returns the cell and its requests, one for each candidate, in the same order. Their tokens and spans are those
        that ``answers`` gives.
        """
        self._segments.check(_sample(prompts))
        sharing = self.shares_segments
        final: list[Prompt] = []
        encoded: list[list[_Row]] = []
        for begin in range(0, len(prompts), block):
            interrupts.check()
            for prompt, rows in self._fitting(prompts[begin : begin + block]):
                final.append(prompt)
                encoded.append(rows)
        if sharing and not self.shares_segments:  # the blocks before are in doubt
            return self.cell(prompts, block=block)
        too_long = frozenset(index for index, rows in enumerate(encoded) if not self._fits(rows))
        kept = [(index, rows) for index, rows in enumerate(encoded) if index not in too_long]
        requests = self._requests([row for _, rows in kept for row in rows])
        cell = EncodedCell(
            shots=tuple(len(prompt.demo_ids) for prompt in final),
            candidates=_candidates([(index, answer) for index, _ in kept for answer in final[index].answers], requests),
            keys=requests.keys,
            too_long=too_long,
            straddling=sum(any(row.straddles for row in rows) for _, rows in kept),
        )
        return cell, requests

    def _fitting(self, prompts: Sequence[Prompt]) -> list[tuple[Prompt, list[_Row]]]:
        results = list(zip(prompts, self._rows(prompts), strict=True))
        while excess := [i for i, (prompt, rows) in enumerate(results) if prompt.demo_ids and not self._fits(rows)]:
            shorter = [without_last_demo(results[i][0]) for i in excess]
            for i, prompt, rows in zip(excess, shorter, self._rows(shorter), strict=True):
                results[i] = (prompt, rows)
        return results

    def _rows(self, prompts: Sequence[Prompt]) -> list[list[_Row]]:
        texts = [_texts(prompt) for prompt in prompts]
        return list(map(self._align, prompts, texts, self._segments.encode(texts)))

    def _align(self, prompt: Prompt, texts: Branches, found: EncodedBranches) -> list[_Row]:
        prefix, before = self.tokenizer.prefix, len(found.shared)
        boundaries = [
            len(texts.stem) + len(ending[: len(ending) - len(answer.scored)].rstrip())
            for answer, ending in zip(prompt.answers, texts.endings, strict=True)
        ]
        # Nothing that is scored is shared, so that places of tokens and characters are counted from there on.
        places = [boundary - found.length for boundary in boundaries]
        starts = [
            _first_beyond(encoding, place, answer.scored)
            for answer, encoding, place in zip(prompt.answers, found.endings, places, strict=True)
        ]
        if not any(answer.given for answer in prompt.answers):
            starts = [_common_prefix([encoding.ids[: min(starts)] for encoding in found.endings])] * len(starts)
        if not prefix and before + min(starts) == 0:
            if self.tokenizer.opening is None:
                raise ModelError(
                    "the context is empty, and the tokenizer has neither a BOS nor an EOS token to stand for it"
                )
            prefix = (self.tokenizer.opening,)
        rows = []
        for encoding, start, place, boundary in zip(found.endings, starts, places, boundaries, strict=True):
            # A text may itself begin with BOS (a chat template's does): it is never put there twice.
            first = (*found.shared[: len(prefix)].tolist(), *encoding.ids[: len(prefix)].tolist())[: len(prefix)]
            lead = () if first == prefix and before + start >= len(prefix) else prefix
            rows.append(
                _Row(
                    parts=(np.array(lead, np.int32), found.shared, encoding.ids),
                    length=len(lead) + before + len(encoding.ids),
                    lead=len(lead),
                    start=len(lead) + before + start,
                    boundary=boundary,
                    straddles=bool(encoding.offsets[start, 0] < place),
                )
            )
        return rows

    def _fits(self, rows: list[_Row]) -> bool:
        # The last token is only ever a target, so a sequence of n tokens takes n - 1 inputs.
        return self.max_inputs is None or max(row.length for row in rows) - 1 <= self.max_inputs

    def _requests(self, rows: list[_Row]) -> Requests:
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([row.length for row in rows], out=offsets[1:])
        tokens = np.concatenate([np.zeros(0, np.int32), *(part for row in rows for part in row.parts)])
        if self._vocabulary is not None and tokens.max(initial=0) >= self._vocabulary:
            raise ModelError(
                f"the tokenizer gives the token {tokens.max():,}, and the model knows {self._vocabulary:,} tokens,"
                " counted from 0: they do not belong together"
            )
        starts = np.array([row.start for row in rows], np.int32)
        keys = np.zeros((len(rows), KEY_BYTES), np.uint8)
        for i, row in enumerate(rows):
            content = row.start.to_bytes(4, "big") + tokens[offsets[i] : offsets[i + 1]].tobytes()
            key = hashlib.blake2b(self._scope + b"\0" + content, digest_size=KEY_BYTES).digest()
            keys[i] = np.frombuffer(key, np.uint8)
        return Requests(tokens, offsets, starts, keys)


def _texts(prompt: Prompt) -> Branches:
    """The context up to its trailing white space, and what follows with each answer."""
    context = prompt.text
    stem = context.rstrip()
    space = context[len(stem) :]
    return Branches(stem, [space + answer.given + answer.scored for answer in prompt.answers])


def _sample(prompts: Sequence[Prompt]) -> list[Branches]:
    """Texts spread over a cell, each with one of its answers."""
    count = min(max(len(prompts) // 4, _FEWEST_SAMPLED), _MOST_SAMPLED, len(prompts))
    places = np.linspace(0, len(prompts) - 1, count).astype(int)
    texts = [_texts(prompts[place]) for place in places]
    return [Branches(own.stem, [own.endings[i % len(own.endings)]]) for i, own in enumerate(texts)]


def _candidates(answers: list[tuple[int, Answer]], requests: Requests) -> Candidates:
    bare = [answer.scored.strip() for _, answer in answers]
    return Candidates(
        item=np.array([index for index, _ in answers], np.int64),
        label=np.array([answer.label for _, answer in answers], np.int32),
        word=np.array([answer.word for _, answer in answers], np.object_),
        n_tokens=requests.span_lengths.astype(np.int32),
        n_chars=np.array([len(text) for text in bare], np.int32),
        n_bytes=np.array([len(text.encode("utf-8", "surrogatepass")) for text in bare], np.int32),
    )


def _first_beyond(encoding: Encoding, boundary: int, answer: str) -> int:
    if boundary <= 0 and len(encoding.ids):  # nearly always: there was a cut before the answer
        return 0
    begins, ends = encoding.offsets.T
    # A token may have no width: a space put before the text, then trimmed.
    beyond = np.flatnonzero((ends > boundary) | (begins >= boundary))
    if not len(beyond):
        raise ModelError(f"the tokenizer leaves nothing of the answer {answer!r:.60} to score")
    return int(beyond[0])


def _common_prefix(sequences: Sequence[npt.NDArray[np.int32]]) -> int:
    """How many first ids are the same in all of the sequences, which are equally long."""
    first, *others = (sequence.tobytes() for sequence in sequences)
    if all(other == first for other in others):  # nearly always, and much faster
        return len(sequences[0])
    return int((np.stack(sequences) != sequences[0]).any(axis=0).argmax())
