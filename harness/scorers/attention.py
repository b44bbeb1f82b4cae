"""Attention over a stretch of a trie: which earlier nodes each node may see, and a way to compute no more than that.

A node sees its ancestors and itself. In preorder, ``kv`` is an ancestor of ``q`` or ``q`` itself exactly if
``kv <= q < end[kv]``; with a sliding window of W, ``depth[q] - depth[kv] < W`` besides. Cached nodes all lie on one
path, so a block of neighbouring queries sees few columns, and attention over the others is left out. Several blocks
make a batch, which is one call of a kernel: a GPU is kept busy by few large calls, a CPU has each block in its cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from harness.model_config import text_config
from harness.plan import Integers
from harness.scorers.base import ScoredModel, on_device

if TYPE_CHECKING:
    import torch

NAME = "harness_tree"  # in the registry of attention functions of transformers

# Queries per block: small ones skip more columns, large ones fill the device.
BLOCK = {"cpu": 64, "cuda": 128, "mps": 256}
# Logits that a batch of blocks may come to, of all heads; where there is no number, every block is by itself.
BATCH_LOGITS = {"cuda": 64_000_000}
WASTE = 1.25  # blocks of different widths share a batch while its columns are at most this many times theirs
# Kernels of CUDA want rows of a mask to begin at multiples of so many entries, or copy it in every layer.
ALIGNED = {"cuda": 8}


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
class Batch:
    """Blocks of as many queries each, which follow each other as ``rows``, and the columns that each sees.

    ``columns`` is a slice (of a single block), or int64 [blocks x columns]; ``mask``, shape [blocks, queries, columns],
    is added to logits: 0 where a query sees a column, and -inf elsewhere.
    """

    rows: slice
    columns: slice | torch.Tensor
    mask: torch.Tensor
    _elsewhere: dict[torch.device, Batch] = field(default_factory=dict)

    def on(self, device: torch.device) -> Batch:
        """The same for a layer that a device of its own computes."""
        if device == self.mask.device:
            return self
        if device not in self._elsewhere:
            columns = self.columns if isinstance(self.columns, slice) else self.columns.to(device)
            self._elsewhere[device] = Batch(self.rows, columns, self.mask.to(device))
        return self._elsewhere[device]


def batch_logits(model: ScoredModel) -> int:
    """How many logits of a head a batch of blocks may come to."""
    heads = getattr(text_config(model.module.config), "num_attention_heads", None)
    return BATCH_LOGITS.get(model.device.type, 0) // (heads if isinstance(heads, int) else 64)


def visible(stretch: Stretch, device: torch.device, window: int | None = None) -> torch.Tensor:
    """Which column each new node sees, boolean [T, P + T]."""
    columns, ends, depth = (on_device(values, device) for values in (stretch.columns, stretch.ends, stretch.depth))
    return _sees(columns[stretch.n_cached :], depth[stretch.n_cached :], columns, ends, depth, window)


def batches(
    stretch: Stretch, device: torch.device, dtype: torch.dtype, size: int, most: int, window: int | None = None
) -> list[Batch]:
    """The same in blocks of ``size`` queries, without the columns that no query of a block sees.

    Args:
        dtype: of the queries. Kernels take boolean masks too, but turn them into such ones anew in every layer.
        most: logits of a head in a batch, if it has more than one block.
    """
    cached, count = stretch.n_cached, stretch.end - stretch.begin
    seen = []
    for begin in range(0, count, size):
        stop = min(begin + size, count)
        before = np.flatnonzero(stretch.ends[: cached + begin] > stretch.begin + begin)
        if window is not None:
            shallowest = int(stretch.depth[cached + begin : cached + stop].min())
            before = before[stretch.depth[before] > shallowest - window]
        seen.append(np.concatenate([before, np.arange(cached + begin, cached + stop)]))
    return [
        _batch(stretch, device, dtype, slice(first * size, min(last * size, count)), seen[first:last], window)
        for first, last in _together([len(columns) for columns in seen], size, most, ragged=count % size > 0)
    ]


def _together(widths: Sequence[int], size: int, most: int, *, ragged: bool) -> Iterator[tuple[int, int]]:
    """Which blocks, from the first up to before the last, make a batch; a ``ragged`` last block is by itself."""
    first, full = 0, len(widths) - ragged
    while first < len(widths):
        last, width, total = first + 1, widths[first], widths[first]
        while last < full:
            width, total = max(width, widths[last]), total + widths[last]
            padded = width * (last + 1 - first)
            if padded * size > most or padded > WASTE * total:
                break
            last += 1
        yield first, last
        first = last


def _batch(
    stretch: Stretch,
    device: torch.device,
    dtype: torch.dtype,
    rows: slice,
    seen: Sequence[Integers],
    window: int | None,
) -> Batch:
    import torch

    aligned = ALIGNED.get(device.type, 1)
    width = -(-max(map(len, seen)) // aligned) * aligned
    index, ends = np.zeros((2, len(seen), width), np.int64)  # what only fills up a row ends at 0, seen by none
    for i, own in enumerate(seen):
        index[i, : len(own)], ends[i, : len(own)] = own, stretch.ends[own]
    asking = slice(stretch.n_cached + rows.start, stretch.n_cached + rows.stop)
    query, query_depth = (of[asking].reshape(len(seen), -1) for of in (stretch.columns, stretch.depth))
    columns, depth = stretch.columns[index], stretch.depth[index]
    q, q_depth, kv, kv_end, kv_depth = (on_device(of, device) for of in (query, query_depth, columns, ends, depth))
    hidden = ~_sees(q, q_depth, kv, kv_end, kv_depth, window)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
    if len(seen) == 1 and len(seen[0]) == width == seen[0][-1] + 1 - seen[0][0]:
        return Batch(rows, slice(int(seen[0][0]), int(seen[0][-1]) + 1), mask)
    return Batch(rows, on_device(index.reshape(-1), device), mask)


def carrier(stretch: Stretch, device: torch.device, found: list[Batch]) -> torch.Tensor:
    """A mask that takes no memory and carries batches through a model's forward to :func:`attend`.

    It stays where it is when a model is spread over devices: nobody reads it. A model that makes another mask of it
    loses the batches, and :func:`attend` fails, which the probe of the scorer sees.
    """
    import torch

    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    mask = mask.expand(1, 1, stretch.end - stretch.begin, len(stretch.columns))
    carrying = cast(Any, mask.as_subclass(_carrier()))
    carrying.batches = found
    return cast("torch.Tensor", carrying)


@cache
def _carrier() -> Any:
    import torch

    class Carrier(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.Tensor.to:
                return args[0]
            return super().__torch_function__(function, types, args, kwargs or {})  # type: ignore[no-untyped-call]

    return Carrier


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
    """Attention by batches of blocks, as a function for the registry of transformers.

    Args:
        query: [1, heads, T, width]; key and value [1, key heads, P + T, width]. Keys and values are never copied for
            the heads that share them.
        softcap: logits x become softcap * tanh(x / softcap) (Gemma 2).
        s_aux: one more logit per head that takes probability and gives nothing (attention sinks of gpt-oss).
    """
    if kwargs.get("position_bias") is not None:
        raise NotImplementedError("a bias by index cannot follow a tree")
    shared, group = key.shape[1], query.shape[1] // key.shape[1]
    grouped = query[0].reshape(shared, group, *query.shape[2:])
    output = query.new_empty(query.shape[2], shared * group, value.shape[-1])
    plain = softcap is None and s_aux is None
    for found in attention_mask.batches:  # type: ignore[union-attr]
        batch = found.on(query.device)
        queries, mask = grouped[:, :, batch.rows], batch.mask.to(query.dtype)
        keys, values = (_columns(states, batch.columns, len(mask)) for states in (key, value))
        if plain and len(mask) == 1:
            part = _viewed(queries, keys, values, mask, scaling)
        else:
            part = _folded(queries, keys, values, mask, scaling, softcap, s_aux)
        output[batch.rows].view(part.shape).copy_(part)
    return output[None], None


def _viewed(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """A single block: the heads that share keys and values see them through an expanded view.

    Returns:
        [queries, heads, width].
    """
    from torch.nn.functional import scaled_dot_product_attention

    keys, values = (states[0, :, None].expand(-1, queries.shape[1], -1, -1) for states in (keys, values))
    found = scaled_dot_product_attention(queries, keys, values, attn_mask=mask[0], scale=scaling)
    return found.flatten(0, 1).transpose(0, 1)


def _folded(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Several blocks: the queries of heads that share keys and values stand behind each other, as those of one head.

    Returns:
        [blocks, queries, key heads, heads for each, width].
    """
    from torch.nn.functional import scaled_dot_product_attention

    shared, group, _, width = queries.shape
    parts = queries.reshape(shared, group, len(mask), -1, width).permute(2, 0, 1, 3, 4).flatten(2, 3)
    mask = mask.repeat(1, group, 1)[:, None]
    if softcap is None and sinks is None:
        found = scaled_dot_product_attention(parts, keys, values, attn_mask=mask, scale=scaling)
    else:
        found = _explicit(parts, keys, values, mask, scaling, softcap, sinks)
    return found.reshape(len(mask), shared, group, -1, values.shape[-1]).permute(0, 3, 1, 2, 4)


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
    """Boolean [..., queries, columns], for queries [..., queries] and columns [..., columns]."""
    found = (columns[..., None, :] <= query[..., None]) & (query[..., None] < ends[..., None, :])
    if window is not None:
        found &= query_depth[..., None] - depth[..., None, :] < window
    return found


def _columns(states: torch.Tensor, columns: slice | torch.Tensor, count: int) -> torch.Tensor:
    """Keys or values, [1, key heads, P + T, width], of each of the blocks: [blocks, key heads, columns, width]."""
    if isinstance(columns, slice):
        return states[:, :, columns]
    chosen = states[0].index_select(1, columns)
    if count == 1:
        return chosen[None]
    return chosen.view(len(chosen), count, -1, chosen.shape[2]).transpose(0, 1)


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

    logits = query @ key.transpose(2, 3) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.float() + mask
    if sinks is not None:
        heads = sinks.float().reshape(key.shape[1], -1)
        extra = heads.repeat_interleave(query.shape[2] // heads.shape[1], dim=1)[None, :, :, None]
        logits = torch.cat([logits, extra.expand(len(logits), -1, -1, -1)], dim=-1)
    weights = logits.softmax(dim=-1)[..., : key.shape[2]].to(value.dtype)
    return weights @ value
