"""What is read off the logits: log-probabilities of the plan's pairs, and the requests that they complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.plan import Integers, Plan
from harness.scorers.base import on_device
from harness.scorers.head import Head

if TYPE_CHECKING:
    import torch

# Logits turned into log-probabilities at once: the float32 copy of a slice takes four bytes for each. On a CPU, a slice
# is read several times, best from its cache.
SLICE_VALUES = {"cpu": 250_000}
SLICE_VALUES_ELSEWHERE = 16_000_000


class Readout:
    """The log-probabilities of a plan's pairs as they come in, in any order."""

    def __init__(self, plan: Plan, requests: Requests) -> None:
        self._plan = plan
        self._keys = requests.keys[plan.order]
        self._logprobs = np.full(len(plan.pair_node), np.nan, np.float32)
        self._greedy = np.zeros(len(plan.pair_node), np.bool_)
        spans = np.diff(plan.span_offsets)
        by_pair = np.argsort(plan.span_pairs, kind="stable")
        self._readers = np.repeat(np.arange(len(plan.order)), spans)[by_pair]  # the requests that read each pair ...
        self._of_pair = np.searchsorted(plan.span_pairs[by_pair], np.arange(len(plan.pair_node) + 1))  # ... from here
        self._missing = spans  # pairs that each request waits for
        self._completed: list[Integers] = [np.flatnonzero(spans == 0)]

    def fill(self, pairs: Integers, states: torch.Tensor, row: Integers, head: Head | None = None) -> None:
        """Read pairs off logits, or off the states that a head makes them of.

        Args:
            pairs: which of the plan's, shape [pairs].
            states: shape [rows, vocabulary], or [rows, width] where there is a head; of any dtype, but the softmax is
                taken in float32.
            row: where each pair stands, shape [pairs].

        Raises:
            ModelError: a log-probability is not a finite number.
        """
        read = log_probabilities if head is None else head.log_probabilities
        logprobs, greedy = read(states, row, self._plan.pair_target[pairs].astype(np.int64))
        if not np.isfinite(logprobs).all():
            raise ModelError(f"the model gave a log-probability that is not a finite number (dtype {states.dtype})")
        new = np.unique(pairs[np.isnan(self._logprobs[pairs])])  # work that is done again brings nothing new
        self._logprobs[pairs], self._greedy[pairs] = logprobs, greedy
        readers = self._readers[_ranges(self._of_pair[new], self._of_pair[new + 1] - self._of_pair[new])]
        touched, counts = np.unique(readers, return_counts=True)
        self._missing[touched] -= counts
        self._completed.append(touched[self._missing[touched] == 0])

    def completed(self) -> Scores:
        """The scores of the requests whose last pairs came in since this was last asked."""
        plan = self._plan
        done = np.concatenate(self._completed)
        self._completed = [done[:0]]
        spans = plan.span_offsets[done + 1] - plan.span_offsets[done]
        chosen = plan.span_pairs[_ranges(plan.span_offsets[done], spans)]
        return Scores(
            self._keys[done],
            np.concatenate([[0], np.cumsum(spans)]).astype(np.int64),
            self._logprobs[chosen],
            self._greedy[chosen],
        )


def log_probabilities(
    logits: torch.Tensor, row: Integers, target: Integers
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Log-probability of each target under its row of logits, and whether it is the most probable entry there.

    Rows are taken in slices, so that no float32 copy of all logits is ever made.
    """
    import torch

    device = logits.device
    normaliser = torch.empty(len(logits), dtype=torch.float32, device=device)
    best = torch.empty(len(logits), dtype=torch.long, device=device)
    size = max(1, SLICE_VALUES.get(device.type, SLICE_VALUES_ELSEWHERE) // logits.shape[1])
    for begin in range(0, len(logits), size):
        part = logits[begin : begin + size].float()
        highest, best[begin : begin + size] = part.max(dim=1)
        normaliser[begin : begin + size] = (part - highest[:, None]).exp_().sum(dim=1).log_() + highest
    rows, targets = on_device(row, device), on_device(target, device)
    logprobs = logits[rows, targets].float() - normaliser[rows]
    return logprobs.cpu().numpy(), (best[rows] == targets).cpu().numpy()


def _ranges(begins: Integers, lengths: Integers) -> Integers:
    """``begins[i], begins[i] + 1, ...``, ``lengths[i]`` of them, one run after the other."""
    after = np.cumsum(lengths)
    total = int(after[-1]) if len(after) else 0
    found: Integers = np.arange(total) + np.repeat(begins - (after - lengths), lengths)
    return found
