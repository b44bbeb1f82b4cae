"""What every scorer is, and what they share: the checks on token ids, and what counts as out of memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.errors import ModelError, contained
from harness.models import input_device

if TYPE_CHECKING:
    import torch


class Scorer(Protocol):
    """Computes the log-probability of every scored token of every request."""

    name: str

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        """Yield scores as they are finished, in any order, each request exactly once, with the tokens that were
        computed since the last time.

        Raises:
            ModelError: the model gave something that is not a finite number, or does not fit on the device at all.
        """
        ...


class ScoredModel:
    """A causal language model as scorers call it."""

    def __init__(self, model: torch.nn.Module) -> None:
        import torch

        self.module = cast(Any, model)
        self.device = input_device(model)
        if self.device.type == "cuda":
            # cuDNN's attention compiles a plan for every new shape, a fifth of a second each, and ours are many.
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.n_vocabulary = _n_vocabulary(self.module)
        self.keeps_logits = "logits_to_keep" in inspect.signature(self.module.forward).parameters

    def logits(self, positions: npt.NDArray[np.int64], **arguments: Any) -> torch.Tensor:
        """Run the model; logits at ``positions`` of every row, shape [rows, positions, vocabulary]."""
        return self.output(positions, **arguments).logits  # type: ignore[no-any-return]

    def output(self, positions: npt.NDArray[np.int64], **arguments: Any) -> Any:
        """Run the model; its whole output, with the logits at ``positions`` of every row alone."""
        kept = self.tensor(positions)
        with contained():
            if self.keeps_logits:
                return self.module(**arguments, logits_to_keep=kept)
            output = self.module(**arguments)
        output.logits = output.logits[:, kept]
        return output

    def tensor(self, values: npt.NDArray[Any]) -> torch.Tensor:
        """A copy on the model's device."""
        return on_device(values, self.device)

    def check(self, requests: Requests) -> None:
        """Raises ModelError where a token id lies beyond the vocabulary."""
        if len(requests) and int(requests.tokens.max()) >= self.n_vocabulary:
            raise ModelError(
                f"the tokenizer gives the id {requests.tokens.max()}, but the model's vocabulary has"
                f" {self.n_vocabulary} entries"
            )


def on_device(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The values on a device; a copy on CUDA is made without waiting for what the device is doing."""
    import torch

    found = torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)


def _n_vocabulary(module: Any) -> int:
    """Token ids that a model both reads and predicts: some read more than they predict (images, audio)."""
    read = int(module.get_input_embeddings().num_embeddings)
    head = module.get_output_embeddings()
    return min(read, int(head.weight.shape[0])) if hasattr(head, "weight") else read


def is_out_of_memory(error: Exception) -> bool:
    """torch raises its own class for it on CUDA, and a plain RuntimeError on CPU and MPS."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(should_reduce_batch_size(error))
