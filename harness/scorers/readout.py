"""What is read off the logits: log-probabilities of the plan's pairs, and the requests that they complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.plan import Integers, Plan

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
        self._waiting = np.arange(len(plan.order))

    def fill(self, pairs: Integers, logits: torch.Tensor, row: Integers) -> None:
        """Read pairs off logits.

        Args:
            pairs: which of the plan's, shape [pairs].
            logits: shape [rows, vocabulary], of any dtype; the softmax is taken in float32.
            row: where each pair stands, shape [pairs].

        Raises:
            ModelError: a log-probability is not a finite number.
        """
        logprobs, greedy = log_probabilities(logits, row, self._plan.pair_target[pairs].astype(np.int64))
        if not np.isfinite(logprobs).all():
            raise ModelError(f"the model gave a log-probability that is not a finite number (dtype {logits.dtype})")
        self._logprobs[pairs], self._greedy[pairs] = logprobs, greedy

    def completed(self) -> Scores:
        """The scores of the requests whose pairs are all there by now, each request once."""
        plan, waiting = self._plan, self._waiting
        spans = np.diff(plan.span_offsets)[waiting]
        picked = _ranges(plan.span_offsets[waiting], spans)
        here = ~np.isnan(self._logprobs[plan.span_pairs[picked]])
        offsets = np.concatenate([[0], np.cumsum(spans)]).astype(np.int64)
        whole = np.logical_and.reduceat(here, offsets[:-1]) if len(waiting) else np.zeros(0, np.bool_)
        self._waiting = waiting[~whole]
        done = waiting[whole]
        spans = spans[whole]
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
    rows, targets = torch.from_numpy(row).to(device), torch.from_numpy(target).to(device)
    logprobs = logits[rows, targets].float() - normaliser[rows]
    return logprobs.cpu().numpy(), (best[rows] == targets).cpu().numpy()


def _ranges(begins: Integers, lengths: Integers) -> Integers:
    """``begins[i], begins[i] + 1, ...``, ``lengths[i]`` of them, one run after the other."""
    after = np.cumsum(lengths)
    total = int(after[-1]) if len(after) else 0
    found: Integers = np.arange(total) + np.repeat(begins - (after - lengths), lengths)
    return found
