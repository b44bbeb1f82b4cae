"""Makes one vector of a text's hidden states, and takes the steps that follow, as a ``SentenceLayout`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from harness import hub
from harness.errors import ModelError, suggest
from harness.sentence_layout import Mode, SentenceLayout, Step

if TYPE_CHECKING:
    from torch import Tensor

# What may follow a dense step, by the names that torch has for them.
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "Softplus", "Mish")

Head = Callable[["Tensor", "Tensor"], "Tensor"]


def make_head(layout: SentenceLayout, width: int, device: str) -> Head:
    """What turns hidden states [n, length, width] and a mask of the tokens that count [n, length] into [n, d].

    Padding is on the right.

    Raises:
        ModelError: the weights of a step are missing, damaged or of other shapes.
    """
    import torch

    steps = []
    size = width * len(layout.modes)
    for step in layout.steps:
        steps.append(_step(step, size, device))
        size = step.config.get("out_features", size)

    def head(hidden: Tensor, mask: Tensor) -> Tensor:
        vectors = torch.cat([_pooled(hidden, mask, mode) for mode in layout.modes], dim=-1)
        for step in steps:
            vectors = step(vectors)
        return vectors

    return head


def _pooled(hidden: Tensor, mask: Tensor, mode: Mode) -> Tensor:
    """Shape [n, width]. Positions count from the first token, those of a prompt that is left out included."""
    import torch

    rows = torch.arange(len(hidden), device=hidden.device)
    weights = mask.to(hidden.dtype)
    match mode:
        case "cls":
            return hidden[rows, mask.to(torch.int32).argmax(1)]
        case "lasttoken":
            return hidden[rows, mask.shape[1] - 1 - mask.flip(1).to(torch.int32).argmax(1)]
        case "max":
            return hidden.masked_fill(mask[..., None] == 0, float("-inf")).max(1).values
        case "weightedmean":
            weights = weights * torch.arange(1, mask.shape[1] + 1, device=hidden.device)
    total, count = (hidden * weights[..., None]).sum(1), weights.sum(1, keepdim=True).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


def _step(step: Step, size: int, device: str) -> Callable[[Tensor], Tensor]:
    from torch import nn

    if step.kind == "Normalize":
        return lambda vectors: nn.functional.normalize(vectors, dim=-1)
    if step.kind == "LayerNorm":
        _fits(step, size, step.config["dimension"])
        norm = nn.LayerNorm(size)
        _load(step, {"norm": norm}, device)
        return norm.eval()
    given, made = step.config["in_features"], step.config["out_features"]
    _fits(step, size, given)
    package, _, name = step.config["activation_function"].rpartition(".")
    if package.partition(".")[0] != "torch" or name not in _ACTIVATIONS:
        raise ModelError(
            f"{_place(step)}: activation_function {step.config['activation_function']!r} is not supported"
            f"{suggest(name, _ACTIVATIONS, what='known')}"
        )
    activation: nn.Module = getattr(nn, name)()
    parts: dict[str, nn.Module] = {"linear": nn.Linear(given, made, bias=step.config["bias"])}
    if step.config["use_residual"] and given != made:
        parts["residual"] = nn.Linear(given, made, bias=False)
    _load(step, parts, device)
    linear, residual = parts["linear"], parts.get("residual", nn.Identity())
    if step.config["use_residual"]:
        return lambda vectors: activation(linear(vectors)) + residual(vectors)
    return lambda vectors: activation(linear(vectors))


def _fits(step: Step, size: int, wanted: int) -> None:
    if size != wanted:
        raise ModelError(f"{_place(step)}: takes vectors of {wanted} numbers, and the step before gives {size}")


def _load(step: Step, parts: Mapping[str, Any], device: str) -> None:
    """Fill modules in with the step's weights, named ``<module>.<parameter>``."""
    import torch
    from safetensors.torch import load_file

    path = step.weights
    assert path is not None
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            own = {key.removeprefix(f"{name}."): found[key] for key in found if key.startswith(f"{name}.")}
            part.load_state_dict(own)
            part.to(device=device, dtype=torch.float32)
    except Exception as error:  # readers of two formats raise many kinds
        raise ModelError(
            f"{path}: cannot be read as the weights of a {step.kind} module: {hub.first_line(error)}"
        ) from error


def _place(step: Step) -> object:
    return step.weights.parent / "config.json" if step.weights else step.kind
