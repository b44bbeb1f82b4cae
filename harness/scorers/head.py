"""The last layer in slices of the vocabulary: on a CPU, a product with so large a matrix is faster by parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SLICE = 1_024  # entries of the vocabulary
LARGE = 4_000_000  # weights; smaller matrices are in the cache as they are


@contextmanager
def sliced_head(model: Any) -> Iterator[None]:
    """Have a model compute its logits slice by slice, where its last layer is a plain matrix on the CPU."""
    import torch

    head: Any = model.get_output_embeddings()
    if (
        type(head) is not torch.nn.Linear
        or "forward" in vars(head)  # replaced by a hook
        or getattr(head, "bias", None) is not None
        or head.weight.device.type != "cpu"
        or head.weight.dtype != torch.float32
        or head.weight.numel() < LARGE
    ):
        yield
        return
    weight = head.weight
    head.forward = lambda states: _product(states, weight)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del head.forward


def _product(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """states @ weight.T, for states [..., width] and weight [vocabulary, width]."""
    import torch

    rows = states.reshape(-1, states.shape[-1])
    logits = rows.new_empty(len(rows), len(weight))
    for begin in range(0, len(weight), SLICE):
        part = slice(begin, begin + SLICE)
        torch.mm(rows, weight[part].T, out=logits[:, part])
    return logits.view(*states.shape[:-1], len(weight))
