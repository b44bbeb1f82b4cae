"""Activations that a model spells out in many passes over memory, in the one that torch has for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import torch

_SPELT_OUT: WeakKeyDictionary[torch.nn.Module, tuple[torch.nn.Module, ...]] = WeakKeyDictionary()


@contextmanager
def fused_activations(model: torch.nn.Module) -> Iterator[None]:
    """Have a model compute the tanh approximation of GELU (Hendrycks and Gimpel, 2016, section 2) in one pass."""
    from torch.nn.functional import gelu
    from transformers.activations import FastGELUActivation, NewGELUActivation

    if model not in _SPELT_OUT:
        kinds = (FastGELUActivation, NewGELUActivation)
        _SPELT_OUT[model] = tuple(part for part in model.modules() if type(part) in kinds)
    # A forward that a hook (accelerate's) has put in its place stays.
    replaced = [part for part in _SPELT_OUT[model] if "forward" not in vars(part)]
    try:
        for part in replaced:
            part.forward = partial(gelu, approximate="tanh")
        yield
    finally:
        for part in replaced:
            vars(part).pop("forward", None)
