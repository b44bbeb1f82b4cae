"""The tail of a forward, what a model computes after its last keys and values, for the nodes that are read alone.

Every layer needs the keys and values of every node of the one before. After the last ones, a node's states serve
nothing but its own logits, so that the rest of the last layer is left out for nodes that nobody reads. Where a trie
can be scored at all, everything but attention treats each node by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from harness.plan import Integers
from harness.scorers.base import on_device

if TYPE_CHECKING:
    import torch

_TAILS: WeakKeyDictionary[torch.nn.Module, tuple[torch.nn.Module, ...]] = WeakKeyDictionary()


@contextmanager
def short_tail(model: torch.nn.Module, states: Any, kept: Integers, count: int) -> Iterator[None]:
    """Have a model's next forward, of ``count`` nodes in one row, end with the ``kept`` ones.

    Rows of the others are zero in what the tail's modules give. A model's first forward computes all rows, and shows
    which modules these are.

    Args:
        states: the cache that the model will be called with.
        kept: places of nodes in the row, ascending.
    """
    with ExitStack() as stack:
        if model not in _TAILS and len(kept) < count:
            stack.enter_context(_watched(model, states, count))
        elif len(kept) < count:
            rows = _Rows(kept, count)
            for module in _TAILS[model]:
                stack.callback(module.register_forward_pre_hook(rows.choose).remove)
                stack.callback(module.register_forward_hook(rows.spread).remove)
        yield


class _Rows:
    """Hooks that have a module compute some rows of its input, and leave zeros in the place of the others."""

    def __init__(self, kept: Integers, count: int) -> None:
        self._kept, self._count = kept, count
        self._index: dict[torch.device, torch.Tensor] = {}
        self._chosen: set[torch.nn.Module] = set()

    def choose(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not _is_rows(args, self._count):
            return None
        self._chosen.add(module)
        return (args[0].index_select(-2, self._on(args[0].device)),)

    def spread(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if module not in self._chosen:
            return output
        self._chosen.discard(module)
        whole = output.new_zeros(*output.shape[:-2], self._count, output.shape[-1])
        return whole.index_copy_(-2, self._on(output.device), output)

    def _on(self, device: torch.device) -> torch.Tensor:
        if device not in self._index:
            self._index[device] = on_device(self._kept, device)
        return self._index[device]


@contextmanager
def _watched(model: torch.nn.Module, states: Any, count: int) -> Iterator[None]:
    """Note which modules turn rows into rows after the last write to the cache, once in a forward."""
    writes = 0
    begun: dict[torch.nn.Module, list[int]] = defaultdict(list)  # writes to the cache before each call of a module
    by_rows: set[torch.nn.Module] = set()

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal writes
            writes += 1
            return write(*args, **kwargs)

        return counting

    def begin(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        begun[module].append(writes)

    def end(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not kwargs and _is_rows(args, count) and _is_rows((output,), count):
            by_rows.add(module)

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(begin).remove)
            stack.callback(module.register_forward_hook(end, with_kwargs=True).remove)
        # Keys and values, and whatever else an architecture keeps of a node.
        for name in (name for name in dir(states) if name.startswith("update")):
            stack.callback(vars(states).pop, name, None)
            setattr(states, name, counted(getattr(states, name)))
        yield
    tail = [module for module in by_rows if writes and begun[module] == [writes] and _multiplies(module)]
    inner = {part for module in tail for part in module.modules() if part is not module}
    _TAILS[model] = tuple(module for module in tail if module not in inner)


def _is_rows(values: tuple[Any, ...], count: int) -> bool:
    """Whether it is one tensor, [count, width] or [1, ..., 1, count, width]: not [1, heads, count, width]."""
    import torch

    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].ndim < 2:
        return False
    return values[0].shape[-2] == count and values[0].shape[:-2].numel() == 1


def _multiplies(module: torch.nn.Module) -> bool:
    """Whether leaving rows out is worth it: a norm takes no longer than choosing them."""
    return any(parameter.ndim > 1 for parameter in module.parameters())
