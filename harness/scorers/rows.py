"""Scores one padded row per distinct input: the slow twin of every other scorer, and the last to fall back on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.plan import Integers, Plan, plan_requests
from harness.scorers.base import ScoredModel, is_out_of_memory
from harness.scorers.readout import Readout

if TYPE_CHECKING:
    import torch

# Small enough that attention and logits of a batch stay in cache or in a few hundred MB, large enough to fill the
# cores.
BATCH_TOKENS = {"cpu": 4_096, "cuda": 32_768, "mps": 8_192}
LOGIT_VALUES = 32_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows to run, one for each leaf of a plan.

    Row ``i`` is the input of request ``request[i]``, ``length[i]`` tokens; the pairs from ``pairs[i]`` up to
    ``pairs[i + 1]`` are read off it, each pair off the first row that has its node.
    """

    request: Integers
    length: Integers
    pairs: Integers

    @classmethod
    def of(cls, plan: Plan) -> Rows:
        leaves = plan.leaves
        adding = np.flatnonzero(np.diff(plan.first))  # a leaf is the last node that some request adds
        request = plan.order[adding[np.searchsorted(plan.first[adding + 1] - 1, leaves)]]
        pairs = np.searchsorted(plan.pair_node, leaves, side="right")
        return cls(request, plan.depth[leaves].astype(np.int64) + 1, np.concatenate([[0], pairs]).astype(np.int64))


class RowScorer:
    """Batches of rows of similar length, longest first; one that does not fit in memory is halved.

    ``equal_lengths``: no row is padded, none stands in for a shorter one, and lengths rise from a single token on. Some
    models need that: the frequencies of their rotary embedding depend on the longest row of a batch, or even on the
    longest one since the last short one.
    """

    name = "rows"

    def __init__(self, model: torch.nn.Module, *, batch_tokens: int | None = None, equal_lengths: bool = False) -> None:
        self._model = ScoredModel(model)
        self._equal_lengths = equal_lengths
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(self._model.device.type, 4_096)

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        self._model.check(requests)
        if not self._equal_lengths:
            yield from self._score(requests)
            return
        if len(requests):
            self._forget()
        for length in np.unique(requests.lengths):
            yield from self._score(requests.take(np.flatnonzero(requests.lengths == length)))

    def _forget(self) -> None:
        """Run one token, at which a model falls back to the frequencies of short rows."""
        import torch

        with torch.inference_mode():
            self._model.logits(
                np.zeros(1, np.int64), input_ids=self._model.tensor(np.zeros((1, 1), np.int64)), use_cache=False
            )

    def _score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        plan = plan_requests(requests)
        rows, readout = Rows.of(plan), Readout(plan, requests)
        rest = np.argsort(-rows.length, kind="stable")
        while len(rest):
            batch = self._batch(plan, rows, rest)
            try:
                self._run(plan, requests, rows, batch, readout)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                width = int(rows.length[batch[0]])
                if len(batch) == 1:
                    raise ModelError(f"a row of {width + 1} tokens does not fit in the device's memory") from error
                self.batch_tokens = len(batch) // 2 * width  # for this batch and for all that follow
                continue
            rest = rest[len(batch) :]
            yield readout.completed(), int(rows.length[batch].sum())

    def _batch(self, plan: Plan, rows: Rows, rest: Integers) -> Integers:
        """The head of ``rest``, as long as rows x width and rows x positions x vocabulary stay bounded."""
        width = int(rows.length[rest[0]])
        batch = rest[: max(1, self.batch_tokens // width)]
        while len(batch) > 1:
            positions = len(_positions(plan, rows, batch)) if self._model.keeps_logits else width
            if len(batch) * positions * self._model.n_vocabulary <= LOGIT_VALUES:
                break
            batch = batch[: len(batch) // 2]
        return batch

    def _run(self, plan: Plan, requests: Requests, rows: Rows, batch: Integers, readout: Readout) -> None:
        import torch

        width = int(rows.length[batch[0]])
        inputs = np.zeros((len(batch), width), np.int64)
        mask = np.arange(width) < rows.length[batch][:, None]  # padding is on the right: no row's positions move
        for i, row in enumerate(batch):
            inputs[i, : rows.length[row]] = requests.row(int(rows.request[row]))[: rows.length[row]]
        kept = _positions(plan, rows, batch)
        with torch.inference_mode():
            logits = self._model.logits(
                kept,
                input_ids=self._model.tensor(inputs),
                attention_mask=self._model.tensor(mask.astype(np.int64)),
                use_cache=False,
            )
            pairs = np.concatenate([np.arange(rows.pairs[row], rows.pairs[row + 1]) for row in batch])
            row_of = np.repeat(np.arange(len(batch)), rows.pairs[batch + 1] - rows.pairs[batch])
            nodes, at, index = np.unique(plan.pair_node[pairs], return_index=True, return_inverse=True)
            place = np.searchsorted(kept, plan.depth[nodes])
            readout.fill(pairs, logits[self._model.tensor(row_of[at]), self._model.tensor(place)], index)


def _positions(plan: Plan, rows: Rows, batch: Integers) -> Integers:
    """Every position that predicts a scored token of some row of the batch, sorted."""
    spans = [plan.depth[plan.pair_node[rows.pairs[row] : rows.pairs[row + 1]]] for row in batch]
    return np.unique(np.concatenate(spans)).astype(np.int64)
