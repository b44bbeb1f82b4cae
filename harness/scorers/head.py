"""The last layer of a model, read off in slices of the vocabulary as they are made: the logits of a row are never kept.

On a CPU, where a slice stays in the cache, this takes less time than logits of all entries that are read afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from harness.plan import Integers
from harness.scorers.base import ScoredModel, is_out_of_memory

if TYPE_CHECKING:
    import torch

SLICE_VALUES = 200_000  # logits of all rows in a slice
FEWEST = 1_024  # entries of the vocabulary in a slice

_BARE: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


class Head:
    """The last layer of a model whose logits are a product with a matrix and nothing else."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer = layer

    @classmethod
    def of(cls, model: ScoredModel) -> Head | None:
        """None where the model's last layer is another, does something to its logits, or is not on a CPU in float32."""
        layer = model.module.get_output_embeddings()
        if not _is_plain(layer) or not model.keeps_logits:
            return None
        if model.module not in _BARE:
            _BARE[model.module] = cls(layer)._is_bare(model)
        return cls(layer) if _BARE[model.module] else None

    def passed_by(self) -> AbstractContextManager[None]:
        """Have the model give, as its logits, the states that its last layer would make them of."""
        return self._giving(lambda states: states)

    def log_probabilities(
        self, states: torch.Tensor, row: Integers, target: Integers
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Log-probability of each target after its row of states, and whether it is the most probable entry there.

        Args:
            states: shape [rows, width].
            row: of each pair, shape [pairs].
            target: of each pair, shape [pairs].
        """
        import torch
        from torch.nn.functional import linear

        weight, bias = self._layer.weight, self._layer.bias
        size = max(FEWEST, SLICE_VALUES // len(states))
        borders = np.arange(0, len(weight) + size, size)
        order = np.argsort(target, kind="stable")
        of_slice = [torch.from_numpy(pairs) for pairs in np.split(order, np.searchsorted(target[order], borders[1:-1]))]
        rows, targets = torch.from_numpy(row), torch.from_numpy(target)
        found, greedy = states.new_empty(len(target)), torch.zeros(len(target), dtype=torch.bool)
        normaliser, highest = states.new_full((2, len(states)), -torch.inf)
        for begin, pairs in zip(borders.tolist(), of_slice, strict=False):
            part = slice(begin, begin + size)
            logits = linear(states, weight[part], None if bias is None else bias[part])
            top = logits.amax(dim=1)
            at, place = rows[pairs], targets[pairs] - begin
            found[pairs] = logits[at, place]
            # Of entries that are equal, the first is taken. Few targets are the highest of their slice.
            leading = torch.nonzero((found[pairs] == top[at]) & (top > highest)[at])[:, 0]
            greedy[pairs[leading]] = logits[at[leading]].argmax(dim=1) == place[leading]
            highest = torch.maximum(top, highest)
            shift = top.clamp_min(torch.finfo(top.dtype).min)  # all entries of a slice may be -inf
            normaliser = torch.logaddexp(normaliser, logits.sub_(shift[:, None]).exp_().sum(dim=1).log_() + shift)
        return (found - normaliser[rows]).numpy(), (greedy & (found == highest[rows])).numpy()

    def _is_bare(self, model: ScoredModel) -> bool:
        """Whether the model gives what its last layer gives, and does nothing to it: no cap, no scale, no mask."""
        import torch

        first = np.zeros(1, np.int64)

        def unchanged(width: int) -> bool:
            """Whether values of such a width, in the place of logits, come out as they went in."""
            values = torch.linspace(-100, 100, width).view(1, 1, -1)
            with torch.inference_mode(), self._giving(lambda states: values.clone()):
                found = model.logits(first, input_ids=model.tensor(first[None]), use_cache=False)
            return torch.equal(found, values)

        try:
            return all(map(unchanged, self._layer.weight.shape))
        except Exception as error:  # a model may fail in any way on values that are no logits
            if is_out_of_memory(error):
                raise
            return False

    @contextmanager
    def _giving(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        try:
            self._layer.forward = forward  # type: ignore[method-assign,assignment]
            yield
        finally:
            vars(self._layer).pop("forward", None)


def _is_plain(layer: Any) -> bool:
    import torch

    return (
        type(layer) is torch.nn.Linear
        and type(layer.weight) is torch.nn.Parameter
        and "forward" not in vars(layer)  # replaced by a hook
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
    )
