"""The records that come in millions, as numpy columns: requests to score, their scores, and the answers they stand
for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.records import KEY_BYTES

# Two float32 computations of one log-probability (another batch, packing, order, or number of processes) differ by no
# more than this for each scored token, in nats. An engine must keep to it on real requests before it is used, and
# predictions that such differences can turn are counted. Seen with 30 layers: 7e-5 at most, 1 answer of 12 beyond 1e-5.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Token sequences to score, as columns.

    Request ``i`` is ``tokens[offsets[i]:offsets[i + 1]]``; the log-probabilities of its tokens from ``starts[i]``
    (counted from the request's own beginning, at least 1) to its end are asked for, each given everything before it.

    Shapes: tokens int32 [total], offsets int64 [n + 1], starts int32 [n], keys uint8 [n, 16].
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int32]
    keys: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens per request, context and scored span together."""
        return np.diff(self.offsets)

    @property
    def span_lengths(self) -> npt.NDArray[np.int64]:
        """Scored tokens per request."""
        return self.lengths - self.starts

    def row(self, index: int) -> npt.NDArray[np.int32]:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def take(self, indices: npt.NDArray[np.int64]) -> Requests:
        """The requests at ``indices``, in that order."""
        rows = [self.row(int(index)) for index in indices]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        return Requests(tokens, offsets, self.starts[indices], self.keys[indices])

    @staticmethod
    def concatenate(parts: list[Requests]) -> Requests:
        if not parts:
            return Requests(
                np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros((0, KEY_BYTES), np.uint8)
            )
        lengths = np.concatenate([part.lengths for part in parts])
        return Requests(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.keys for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Log-probabilities per scored token, as columns; score ``i`` owns ``[offsets[i], offsets[i + 1])`` of the flat
    ones.

    Shapes: keys uint8 [n, 16], offsets int64 [n + 1], logprobs float32 [total] in nats, greedy bool [total]: whether
    the token was the model's most probable one there.
    """

    keys: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    logprobs: npt.NDArray[np.float32]
    greedy: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sums(self) -> npt.NDArray[np.float64]:
        """Total log-probability per score, in nats, added in double precision."""
        if not len(self):
            return np.zeros(0)
        return np.add.reduceat(self.logprobs.astype(np.float64), self.offsets[:-1])  # no span is empty

    def take(self, indices: npt.NDArray[np.int64]) -> Scores:
        """The scores at ``indices``, in that order."""
        spans = [slice(self.offsets[index], self.offsets[index + 1]) for index in indices]
        offsets = np.zeros(len(spans) + 1, np.int64)
        np.cumsum([span.stop - span.start for span in spans], out=offsets[1:])
        pick = np.concatenate([np.arange(span.start, span.stop) for span in spans]) if spans else np.zeros(0, np.int64)
        return Scores(self.keys[indices], offsets, self.logprobs[pick], self.greedy[pick])

    @staticmethod
    def concatenate(parts: list[Scores]) -> Scores:
        if not parts:
            return Scores(
                np.zeros((0, KEY_BYTES), np.uint8),
                np.zeros(1, np.int64),
                np.zeros(0, np.float32),
                np.zeros(0, np.bool_),
            )
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return Scores(
            np.concatenate([part.keys for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.logprobs for part in parts]),
            np.concatenate([part.greedy for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The scored answers of one cell in long form, one row per label word, ordered by item.

    Row ``i`` stands for request ``i`` of the cell. Shapes, all [n]: item int64 (index into the cell's items), label
    int32, word object (str), n_tokens int32, n_chars and n_bytes int32 (of the scored text without its delimiter).
    """

    item: npt.NDArray[np.int64]
    label: npt.NDArray[np.int32]
    word: npt.NDArray[np.object_]
    n_tokens: npt.NDArray[np.int32]
    n_chars: npt.NDArray[np.int32]
    n_bytes: npt.NDArray[np.int32]
