"""Attention over a stretch of a trie: which earlier nodes each node may see, and a way to compute no more than that.

A node sees its ancestors and itself. In preorder, ``kv`` is an ancestor of ``q`` or ``q`` itself exactly if
``kv <= q < end[kv]``; with a sliding window of W, ``depth[q] - depth[kv] < W`` besides. Cached nodes all lie on one
path, so a block of neighbouring queries sees few columns, and attention over the others is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.plan import Integers

if TYPE_CHECKING:
    import torch

NAME = "harness_tree"  # in the registry of attention functions of transformers

# Queries per block: small ones skip more columns, large ones fill the device.
BLOCK = {"cpu": 64, "cuda": 256, "mps": 256}


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The nodes ``begin`` up to ``end``, to be computed after the cached ones.

    Shapes: columns int64 [P + T], the cached nodes and then the new ones; ends and depth int64 [P + T], of each column.
    """

    begin: int
    end: int
    columns: Integers
    ends: Integers
    depth: Integers

    @property
    def n_cached(self) -> int:
        return len(self.columns) - (self.end - self.begin)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Queries ``rows`` and the columns that any of them sees.

    ``columns`` is a slice or an int64 tensor; ``mask``, shape [rows, columns], is added to logits: 0 where a query sees
    a column, and -inf elsewhere.
    """

    rows: slice
    columns: slice | torch.Tensor
    mask: torch.Tensor


def visible(stretch: Stretch, device: torch.device, window: int | None = None) -> torch.Tensor:
    """Which column each new node sees, boolean [T, P + T]."""
    columns, ends, depth = (_on(values, device) for values in (stretch.columns, stretch.ends, stretch.depth))
    return _sees(columns[stretch.n_cached :], depth[stretch.n_cached :], columns, ends, depth, window)


def blocks(
    stretch: Stretch, device: torch.device, dtype: torch.dtype, size: int, window: int | None = None
) -> list[Block]:
    """The same in blocks of ``size`` queries, without the columns that no query of a block sees.

    ``dtype`` is that of the queries. Kernels take boolean masks too, but turn them into such ones anew in every layer.
    """
    import torch

    columns, ends, depth = (_on(values, device) for values in (stretch.columns, stretch.ends, stretch.depth))
    cached, found = stretch.n_cached, []
    for begin in range(0, stretch.end - stretch.begin, size):
        stop = min(begin + size, stretch.end - stretch.begin)
        before = np.flatnonzero(stretch.ends[: cached + begin] > stretch.begin + begin)
        if window is not None:
            shallowest = int(stretch.depth[cached + begin : cached + stop].min())
            before = before[stretch.depth[before] > shallowest - window]
        rows = slice(cached + begin, cached + stop)
        seen = np.concatenate([before, np.arange(rows.start, rows.stop)])
        if len(seen) and seen[-1] - seen[0] + 1 == len(seen):
            chosen: slice | torch.Tensor = slice(int(seen[0]), int(seen[-1]) + 1)
        else:
            chosen = _on(seen, device)
        seen_by = _sees(columns[rows], depth[rows], columns[chosen], ends[chosen], depth[chosen], window)
        mask = torch.zeros(seen_by.shape, dtype=dtype, device=device).masked_fill_(~seen_by, -torch.inf)
        found.append(Block(slice(begin, stop), chosen, mask))
    return found


def carrier(stretch: Stretch, device: torch.device, found: list[Block]) -> torch.Tensor:
    """A mask that takes no memory and carries blocks through a model's forward to :func:`attend`.

    A model that changes it on the way loses them and attends to everything, which the probe of the scorer sees.
    """
    import torch

    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    mask = mask.expand(1, 1, stretch.end - stretch.begin, len(stretch.columns))
    mask.tree_blocks = found  # type: ignore[attr-defined]
    return mask


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by blocks, as a function for the registry of transformers.

    Args:
        query: [1, heads, T, width]; key and value [1, key heads, P + T, width]. Key heads are the batch, and the heads
            that share one see it through an expanded view, so that keys and values are never copied for them.
        softcap: logits x become softcap * tanh(x / softcap) (Gemma 2).
        s_aux: one more logit per head that takes probability and gives nothing (attention sinks of gpt-oss).
    """
    if kwargs.get("position_bias") is not None:
        raise NotImplementedError("a bias by index cannot follow a tree")
    found: list[Block] = attention_mask.tree_blocks  # type: ignore[union-attr]
    heads, shared = query.shape[1], key.shape[1]
    grouped = query[0].reshape(shared, heads // shared, *query.shape[2:])
    output = query.new_empty(1, query.shape[2], heads, value.shape[-1])
    for block in found:
        queries, mask = grouped[:, :, block.rows], block.mask.to(query.dtype)
        keys, values = (_columns(states[0], block.columns)[:, None] for states in (key, value))
        if softcap is None and s_aux is None:
            part = _plain(queries, keys, values, mask, scaling)
        else:
            part = _explicit(queries, keys, values, mask, scaling, softcap, s_aux)
        output[0, block.rows] = part.flatten(0, 1).transpose(0, 1)
    return output, None


@contextmanager
def tree_attention(model: Any) -> Iterator[None]:
    """Have a model attend by blocks.

    Raises:
        NotImplementedError: its attention cannot be replaced.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    # An attention function without a mask function of its own would get no mask for padded rows, silently.
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    before = model.config._attn_implementation
    if not model._can_set_attn_implementation():
        raise NotImplementedError("the model's attention cannot be replaced")
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def masks(config: Any, full: Any, windowed: Any) -> Any:
    """What a model takes as its mask: one, or one for each kind of its layers.

    Args:
        full: gives the mask without a window.
        windowed: gives the mask for a window's width.
    """
    width = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if width and "sliding_attention" in kinds:
        return {"full_attention": full(), "sliding_attention": windowed(width)}
    return windowed(width) if width and not kinds else full()


def _sees(
    query: torch.Tensor,
    query_depth: torch.Tensor,
    columns: torch.Tensor,
    ends: torch.Tensor,
    depth: torch.Tensor,
    window: int | None,
) -> torch.Tensor:
    found = (columns[None] <= query[:, None]) & (query[:, None] < ends[None])
    if window is not None:
        found &= query_depth[:, None] - depth[None] < window
    return found


def _columns(states: torch.Tensor, columns: slice | torch.Tensor) -> torch.Tensor:
    return states[:, columns] if isinstance(columns, slice) else states.index_select(1, columns)


def _plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    from torch.nn.functional import scaled_dot_product_attention

    key, value = (states.expand(-1, query.shape[1], -1, -1) for states in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def _explicit(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    import torch

    # Multiplied as [key heads, 1, group x rows, width]: a product with an expanded view would copy it.
    shape = query.shape[:3]
    logits = (query.flatten(1, 2)[:, None] @ key.transpose(2, 3)).reshape(*shape, -1)
    logits = logits * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.float() + mask
    if sinks is not None:
        extra = sinks.float().reshape(*shape[:2], 1, 1).expand(*shape, 1)
        logits = torch.cat([logits, extra], dim=-1)
    weights = logits.softmax(dim=-1)[..., : key.shape[2]].to(value.dtype)
    return (weights.flatten(1, 2)[:, None] @ value).reshape(*shape, -1)


def _on(values: Integers, device: torch.device) -> torch.Tensor:
    import torch

    found = torch.from_numpy(np.ascontiguousarray(values, np.int64))
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)
