"""Scores by cache expansion: a shared beginning is computed once, its cache copied to as many rows as go on from it.

For models that cannot follow a tree (a bias by index, a state in place of keys and values), which nearly all can go on
from a cache. Rows are grouped where that saves most: a group is either run as it is, its rows padded on the right, or
taken apart where its rows part.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.plan import Integers, Plan, plan_requests
from harness.scorers.base import ScoredModel, is_out_of_memory
from harness.scorers.readout import Readout
from harness.scorers.rows import BATCH_TOKENS, LOGIT_VALUES, Rows

if TYPE_CHECKING:
    import torch

# A group is taken apart if running it as rows would compute this much more than its distinct tokens.
WASTE = 1.25
# Tokens that go on from a cache: for a single one, some models take another way, which is not quite the same (the
# recurrent step of Zamba 2 and Nemotron-H).
FEWEST = 2


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """The ``length`` first tokens of a group's rows, computed: their cache, of one row. None where there are none."""

    length: int
    cache: Any


class ExpandScorer:
    """Descends the trie, and runs batches of rows that go on from a trunk's cache."""

    name = "expand"

    def __init__(self, model: torch.nn.Module, *, batch_tokens: int | None = None) -> None:
        self._model = ScoredModel(model)
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(self._model.device.type, 4_096)
        parameters = inspect.signature(self._model.module.forward).parameters
        self._cache_name = "past_key_values" if "past_key_values" in parameters else "cache_params"
        self._takes_positions = "position_ids" in parameters

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        self._model.check(requests)
        plan = plan_requests(requests)
        rows, readout = Rows.of(plan), Readout(plan, requests)
        # Row i + 1 parts from row i where the node after row i's last one hangs.
        parting = plan.depth[plan.leaves[:-1] + 1].astype(np.int64)
        work = _Work(plan, requests, rows, parting, readout)
        # Groups of neighbouring rows that are still to be scored, and the trunk that each shares.
        groups = [(np.arange(len(rows.request)), Trunk(0, None))] if len(rows.request) else []
        while groups:
            members, trunk = groups.pop()
            common, before = work.common(members), trunk.length
            trunk = self._extended(work, members, trunk, common)
            if trunk.length > before:
                yield readout.completed(), trunk.length - before
            together, alone = members, []
            if int((work.rows.length[members] - common).sum()) > WASTE * work.distinct(members, common):
                parts = np.split(members, np.flatnonzero(work.parting[members[:-1]] == common) + 1)
                groups += [(part, trunk) for part in reversed(parts) if len(part) > 1]
                alone = [part for part in parts if len(part) == 1]
                together = np.concatenate(alone) if alone else members[:0]
            for computed in self._batches(work, together, trunk):
                yield readout.completed(), computed

    def _batches(self, work: _Work, members: Integers, trunk: Trunk) -> Iterator[int]:
        rest = members[np.argsort(-work.rows.length[members], kind="stable")]
        while len(rest):
            batch = self._batch(work, rest, trunk)
            try:
                self._run(work, batch, trunk)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise ModelError(
                        f"a row of {work.rows.length[batch[0]] + 1} tokens does not fit in the device's memory"
                    ) from error
                self.batch_tokens = len(batch) // 2 * int(work.rows.length[batch[0]])
                continue
            rest = rest[len(batch) :]
            yield int((work.rows.length[batch] - trunk.length).sum())

    def _batch(self, work: _Work, rest: Integers, trunk: Trunk) -> Integers:
        length = int(work.rows.length[rest[0]])
        batch = rest[: max(1, self.batch_tokens // length)]  # the copies of the trunk take memory, too
        while len(batch) > 1:
            positions = len(work.positions(batch, trunk.length)) if self._model.keeps_logits else length - trunk.length
            if len(batch) * positions * self._model.n_vocabulary <= LOGIT_VALUES:
                break
            batch = batch[: len(batch) // 2]
        return batch

    def _extended(self, work: _Work, members: Integers, trunk: Trunk, common: int) -> Trunk:
        """The trunk grown by what its members have in ``common``, in pieces that fit in memory."""
        row, length = int(members[0]), min(common, int(work.rows.length[members].min()) - FEWEST)
        while length - trunk.length >= FEWEST:
            size = self._piece(work, row, trunk.length, length)
            try:
                trunk = self._grown(work, row, trunk, trunk.length + size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == FEWEST:
                    raise ModelError(
                        f"{trunk.length + size} tokens of a prompt do not fit in the device's memory"
                    ) from error
                self.batch_tokens = size // 2
        return trunk

    def _piece(self, work: _Work, row: int, begin: int, end: int) -> int:
        """How many tokens to compute at once, so that they and their logits stay bounded."""
        size = max(FEWEST, min(self.batch_tokens, end - begin))
        while size > FEWEST:
            rows = (
                len(np.unique(work.depth(work.pairs(row, begin, begin + size)))) if self._model.keeps_logits else size
            )
            if rows * self._model.n_vocabulary <= LOGIT_VALUES:
                break
            size = max(FEWEST, size // 2)
        return size

    def _grown(self, work: _Work, row: int, trunk: Trunk, length: int) -> Trunk:
        """The trunk grown to ``length`` tokens of ``row``; what is to be read off them is read."""
        cache = copy.deepcopy(trunk.cache)
        pairs = work.pairs(row, trunk.length, length)
        kept = np.unique(work.depth(pairs)) - trunk.length
        places = kept if len(kept) else np.array([length - trunk.length - 1])
        output = self._forward(work.tokens(row, trunk.length, length)[None], None, places, trunk.length, cache)
        if len(pairs):
            work.readout.fill(pairs, output.logits[0], np.searchsorted(kept, work.depth(pairs) - trunk.length))
        return Trunk(length, getattr(output, self._cache_name))

    def _run(self, work: _Work, batch: Integers, trunk: Trunk) -> None:
        import torch

        lengths = work.rows.length[batch] - trunk.length
        width = int(lengths[0])
        inputs = np.zeros((len(batch), width), np.int64)
        for i, row in enumerate(batch):
            inputs[i, : lengths[i]] = work.tokens(int(row), trunk.length, trunk.length + int(lengths[i]))
        mask = np.arange(trunk.length + width) < work.rows.length[batch][:, None]
        cache = copy.deepcopy(trunk.cache)
        if cache is not None:
            with torch.inference_mode():
                cache.reorder_cache(torch.zeros(len(batch), dtype=torch.long, device=self._model.device))
        kept = work.positions(batch, trunk.length)
        output = self._forward(inputs, mask.astype(np.int64), kept - trunk.length, trunk.length, cache)
        parts = [work.pairs(int(row), trunk.length, int(work.rows.length[row])) for row in batch]
        pairs = np.concatenate(parts)
        row_of = np.repeat(np.arange(len(batch)), [len(part) for part in parts])
        nodes, at, index = np.unique(work.plan.pair_node[pairs], return_index=True, return_inverse=True)
        place = np.searchsorted(kept, work.plan.depth[nodes])
        logits = output.logits[self._model.tensor(row_of[at]), self._model.tensor(place)]
        work.readout.fill(pairs, logits, index)

    def _forward(self, inputs: Integers, mask: Integers | None, kept: Integers, before: int, cache: Any) -> Any:
        import torch

        arguments: dict[str, Any] = {"input_ids": self._model.tensor(inputs), "use_cache": True}
        if self._takes_positions:
            arguments["position_ids"] = self._model.tensor(
                np.broadcast_to(np.arange(before, before + inputs.shape[1]), inputs.shape)
            )
        if mask is not None:
            arguments["attention_mask"] = self._model.tensor(mask)
        if cache is not None:
            arguments[self._cache_name] = cache
        with torch.inference_mode():
            return self._model.output(kept, **arguments)


class _Work:
    """The rows of a plan, and what is to be read off them."""

    def __init__(self, plan: Plan, requests: Requests, rows: Rows, parting: Integers, readout: Readout) -> None:
        self.plan, self.requests, self.rows, self.parting, self.readout = plan, requests, rows, parting, readout

    def common(self, members: Integers) -> int:
        """Tokens that all the rows share; of a row alone, none is set apart."""
        return int(self.parting[members[:-1]].min()) if len(members) > 1 else 0

    def distinct(self, members: Integers, common: int) -> int:
        """Distinct tokens of neighbouring rows, without the ``common`` first."""
        first, last = int(members[0]), int(members[-1])
        begin = self.plan.leaves[first] - (int(self.rows.length[first]) - 1 - common)
        return int(self.plan.leaves[last] - begin + 1)

    def tokens(self, row: int, begin: int, end: int) -> Integers:
        return self.requests.row(int(self.rows.request[row]))[begin:end].astype(np.int64)

    def pairs(self, row: int, begin: int, end: int) -> Integers:
        """The pairs of a row that stand from position ``begin`` up to ``end``."""
        found = np.arange(self.rows.pairs[row], self.rows.pairs[row + 1])
        depth = self.depth(found)
        return found[(depth >= begin) & (depth < end)]

    def depth(self, pairs: Integers) -> Integers:
        return self.plan.depth[self.plan.pair_node[pairs]].astype(np.int64)

    def positions(self, batch: Integers, begin: int) -> Integers:
        """Every position from ``begin`` on that predicts a scored token of some row of the batch, sorted."""
        found = np.concatenate([self.depth(np.arange(self.rows.pairs[r], self.rows.pairs[r + 1])) for r in batch])
        return np.unique(found[found >= begin])
