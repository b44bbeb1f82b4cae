"""Scores a trie of requests in one pass: every node is computed once, in preorder, a stretch at a time, in one row.

Whatever a stretch needs of earlier nodes lies on the path to its first node, so the cache is one path and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.model_config import text_config
from harness.plan import Integers, Plan, plan_requests
from harness.scorers import attention
from harness.scorers.activation import fused_activations
from harness.scorers.attention import Stretch
from harness.scorers.base import ScoredModel, is_out_of_memory, on_device
from harness.scorers.head import Head
from harness.scorers.memory import Width
from harness.scorers.readout import Readout
from harness.scorers.tail import short_tail

if TYPE_CHECKING:
    import torch


class TreeScorer:
    """Streams a trie through a model that takes masks and positions of its caller's.

    Args:
        blocked: attend by blocks of queries, and leave out or merge what else can be; otherwise the model computes
            everything in its own way, and its attention looks at every column.
        width: nodes per forward; None to follow the device's memory and speed.
        block: queries per block; None for what suits the device.
        batch: logits of a head in a batch of blocks; None for what suits the device.
    """

    name = "tree"

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        blocked: bool = True,
        width: int | None = None,
        block: int | None = None,
        batch: int | None = None,
    ) -> None:
        self._model = ScoredModel(model)
        self._head = Head.of(self._model) if blocked else None
        self._blocked = blocked
        self._block = block or attention.BLOCK.get(self._model.device.type, 256)
        self._batch = attention.batch_logits(self._model) if batch is None else batch
        self._width = Width.fixed(width) if width else Width.of(self._model, blocked=blocked)

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        self._model.check(requests)
        plan = plan_requests(requests)
        readout = Readout(plan, requests)
        cache = PathCache()
        begin, timed, since = 0, 0, time.monotonic()
        while begin < plan.n_nodes:
            end = self._end(plan, begin)
            try:
                waited = self._compute(plan, begin, end, cache, readout)
                cache.keep(plan, begin, end)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cache.undo()
                if end - begin == 1:
                    raise ModelError(
                        f"token {plan.depth[begin] + 1} of a prompt does not fit in the device's memory"
                    ) from error
                self._width.halve(end - begin)
                continue
            if waited:
                self._width.observe(end - timed, time.monotonic() - since)
                timed = end
            yield readout.completed(), end - begin
            begin = end
            if waited:
                since = time.monotonic()

    def _end(self, plan: Plan, begin: int) -> int:
        """How far the next forward goes: as far as its nodes, and the logits that it must give, stay bounded."""
        end = min(begin + self._width.nodes, plan.n_nodes)
        if self._head is not None:
            return end
        if self._model.keeps_logits:
            pairs = plan.pairs_of(begin, end)
            nodes = np.unique(plan.pair_node[pairs])
            if len(nodes) > self._width.logit_rows:
                end = int(nodes[self._width.logit_rows])
        return min(end, begin + self._width.logit_rows) if not self._model.keeps_logits else end

    def _compute(self, plan: Plan, begin: int, end: int, cache: PathCache, readout: Readout) -> bool:
        """Whether it waited for the device to be done, as it must to read something off."""
        import torch

        model = self._model
        pairs = np.arange(*plan.pairs_of(begin, end).indices(len(plan.pair_node))[:2])
        nodes, row = np.unique(plan.pair_node[pairs], return_inverse=True)
        columns = np.concatenate([cache.nodes, np.arange(begin, end)])
        stretch = Stretch(begin, end, columns, plan.end[columns], plan.depth[columns].astype(np.int64))
        # A forward must give some logits; where no pair is read off, they are those of the last node.
        kept = nodes - begin if len(nodes) else np.array([end - begin - 1])
        with torch.inference_mode(), self._shortened(cache.states, kept, end - begin):
            logits = model.logits(
                kept,
                input_ids=model.tensor(plan.token[begin:end].astype(np.int64)[None]),
                position_ids=model.tensor(plan.depth[begin:end].astype(np.int64)[None]),
                attention_mask=self._mask(stretch),
                past_key_values=cache.states,
                use_cache=True,
            )
            if len(pairs):
                readout.fill(pairs, logits[0], row, self._head)
        return len(pairs) > 0 or self._model.device.type == "cpu"

    @contextmanager
    def _shortened(self, states: Any, kept: Integers, count: int) -> Iterator[None]:
        """Have the model do no more in its next forward than it must."""
        with ExitStack() as stack:
            if self._blocked:
                stack.enter_context(attention.tree_attention(self._model.module))
                stack.enter_context(short_tail(self._model.module, states, kept, count))
                stack.enter_context(fused_activations(self._model.module))
            if self._head:
                stack.enter_context(self._head.passed_by())
            yield

    def _mask(self, stretch: Stretch) -> Any:
        config, device, dtype = (
            text_config(self._model.module.config),
            self._model.device,
            self._model.module.dtype,
        )

        def blocked(window: int | None = None) -> torch.Tensor:
            found = attention.batches(stretch, device, dtype, self._block, self._batch, window)
            return attention.carrier(stretch, device, found)

        def whole(window: int | None = None) -> torch.Tensor:
            seen = attention.visible(stretch, device, window)[None, None]
            if config._attn_implementation == "sdpa":
                return seen
            import torch

            return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)

        make: Callable[..., torch.Tensor] = blocked if self._blocked else whole
        return attention.masks(config, make, make)


class PathCache:
    """Keys and values of the nodes on one path, in the order of ``nodes``."""

    def __init__(self) -> None:
        from transformers import DynamicCache

        self.nodes: Integers = np.zeros(0, np.int64)
        self.states: Any = DynamicCache()
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []  # keys and values of each layer for ``nodes``

    def keep(self, plan: Plan, begin: int, end: int) -> None:
        """After the nodes ``begin`` up to ``end`` were added, keep what the node ``end`` can see."""
        nodes = np.concatenate([self.nodes, np.arange(begin, end)])
        kept = np.flatnonzero(plan.end[nodes] > end) if end < plan.n_nodes else np.zeros(0, np.int64)
        index: dict[torch.device, torch.Tensor] = {}  # layers may be spread over devices
        for layer in self.states.layers:
            if len(kept) == 0 or kept[-1] + 1 == len(kept):
                layer.keys, layer.values = layer.keys[..., : len(kept), :], layer.values[..., : len(kept), :]
            else:
                device = layer.keys.device
                index[device] = chosen = index[device] if device in index else on_device(kept, device)
                layer.keys, layer.values = layer.keys.index_select(-2, chosen), layer.values.index_select(-2, chosen)
        self.nodes = nodes[kept]
        self._before = [(layer.keys, layer.values) for layer in self.states.layers]

    def undo(self) -> None:
        """Take back what a forward that failed has added to some of the layers. Allocates nothing."""
        from transformers import DynamicCache

        if not self._before:
            self.states = DynamicCache()
        for layer, (keys, values) in zip(self.states.layers, self._before, strict=True):
            layer.keys, layer.values = keys, values
