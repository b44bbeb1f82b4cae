"""Makes sure that what transformers makes of a model's folder is the model that the folder describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, contained, suggest
from harness.model_folder import CONFIG

if TYPE_CHECKING:
    import torch

# A model may be that many times as large as its weights, and by so many numbers larger: tables can be made anew.
_MOST_TIMES, _SMALL = 4, 100_000_000


def check_quantisation(config: Mapping[str, Any], folder: Path) -> None:
    """transformers passes a quantisation over that it does not know, and reads the weights as they are."""
    for values in (config, *(part for part in config.values() if isinstance(part, dict))):
        stated = values.get("quantization_config")
        if not stated:
            continue
        from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

        method = stated.get("quant_method") if isinstance(stated, dict) else None
        if isinstance(stated, dict) and (stated.get("load_in_8bit") or stated.get("load_in_4bit")):
            method = "bitsandbytes"
        if method not in {*AUTO_QUANTIZATION_CONFIG_MAPPING, "bitsandbytes"}:
            known = suggest(str(method), sorted(AUTO_QUANTIZATION_CONFIG_MAPPING), what="known")
            told = "names no quant_method, so that" if method is None else f"names the quant_method {method!r}, which"
            it = " it" if method is None else ""
            raise ModelError(f"{folder / CONFIG}: quantization_config {told} transformers would pass{it} over{known}")


def check_size(kind: Any, config: Any, numbers: int | None, name: str, *, with_code: bool) -> None:
    """Compare the size of the model that a configuration describes with its weights: those that it lacks would be made,
    and filled at random, before anything is said of them.

    Args:
        kind: the class of transformers that will load it.
        numbers: how many its weights are, at most; None where they are packed.

    Raises:
        ModelError: it is many times as large.
    """
    import torch

    if numbers is None:
        return
    try:
        with torch.device("meta"), contained():  # shapes without memory
            model = kind.from_config(deepcopy(config), trust_remote_code=with_code)
    except Exception:  # loading will tell
        return
    described = sum(part.numel() for part in chain(model.parameters(), model.buffers()))
    if described > _MOST_TIMES * numbers + _SMALL:
        raise ModelError(
            f"{name}: config.json describes a model of {described:,} numbers, and its weights are {numbers:,}"
        )


def inside(model: torch.nn.Module, keys: Iterable[str]) -> list[str]:
    """Those of weights that a model does not use which belong to one of its own parts: a further layer, a bias, a
    scale, what an adapter adds. Others (a head for another task) stand beside it."""
    base = model.base_model_prefix
    parts = {name for name, _ in model.named_modules()}
    parts |= {f"{base}.{name}" for name in parts}

    def of_a_part(key: str) -> bool:
        names = key.split(".")
        places = [".".join(names[:length]) for length in range(1, len(names))]
        return any(place in parts for place in places if place not in ("", base, f"{base}."))

    return sorted(filter(of_a_part, map(str, keys)))


def check_leftovers(
    model: torch.nn.Module, keys: Iterable[str], name: str, notice: Callable[[str], object], *, intended: bool
) -> None:
    """Say which weights are not used.

    Args:
        intended: whether the user has changed the configuration, which may leave parts out.

    Raises:
        ModelError: they would change what the model's own parts compute.
    """
    left, own = sorted(map(str, keys)), inside(model, keys)
    if own and not intended:
        raise ModelError(
            f"{name}: its files hold {len(own)} weights that {type(model).__name__} would leave out of its own parts,"
            f" such as {own[0]}: an adapter that is not merged, a quantisation, or another model's configuration"
        )
    if left:
        notice(f"{name}: {len(left)} weights in its files are not used, such as {left[0]}")


def check_architecture(model: torch.nn.Module, config: Any, name: str, notice: Callable[[str], object]) -> None:
    """Say if the configuration names another architecture than the one that transformers has for it."""
    kind = type(model).__name__
    stated = str((config.architectures or [kind])[0])[:100]
    if stated != kind:
        notice(f"{name}: config.json names the architecture {stated}; it is scored as {kind}")
