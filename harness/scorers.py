"""Scores requests with a causal language model. A scorer knows token ids alone: no text, no task, no store.

``RowScorer`` is the obvious implementation, against which every faster one is tested: each request is a row of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.errors import ModelError
from harness.models import input_device

if TYPE_CHECKING:
    import torch

Indices = npt.NDArray[np.int64]

# Small enough that attention and logits of a batch stay in cache or in a few hundred MB, large enough to fill the
# cores.
BATCH_TOKENS = {"cpu": 4_096, "cuda": 32_768, "mps": 8_192}
LOGIT_VALUES = 32_000_000


class Scorer(Protocol):
    """Computes the log-probability of every scored token of every request."""

    name: str

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        """Yield scores as they are finished, in any order, each request exactly once, with the tokens that were
        computed.

        Raises:
            ModelError: the model gave something that is not a finite number, or does not fit on the device at all.
        """
        ...


class RowScorer:
    """One padded row per request, in batches of similar length, longest first."""

    name = "rows"

    def __init__(self, model: torch.nn.Module, *, batch_tokens: int | None = None) -> None:
        self.model = cast(Any, model)
        self.device = input_device(model)
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(self.device.type, 4_096)
        self._keeps_logits = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        self.n_vocabulary = int(self.model.get_input_embeddings().num_embeddings)

    def score(self, requests: Requests) -> Iterator[tuple[Scores, int]]:
        if len(requests) and int(requests.tokens.max()) >= self.n_vocabulary:
            raise ModelError(
                f"the tokenizer gives the id {requests.tokens.max()}, but the model's vocabulary has"
                f" {self.n_vocabulary} entries"
            )
        rest = np.lexsort((-requests.span_lengths, -requests.lengths))  # longest first
        while len(rest):
            batch = self._batch(requests, rest)
            try:
                yield self._score_batch(requests, batch)
                rest = rest[len(batch) :]
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                width = int(requests.lengths[batch[0]]) - 1
                if len(batch) == 1:
                    raise ModelError(f"a row of {width + 1} tokens does not fit in the device's memory") from error
                self.batch_tokens = len(batch) // 2 * width  # for this batch and for all that follow

    def _batch(self, requests: Requests, rest: Indices) -> Indices:
        """The head of ``rest``, as long as rows x width and rows x positions x vocabulary stay bounded."""
        width = max(1, int(requests.lengths[rest[0]]) - 1)
        batch = rest[: max(1, self.batch_tokens // width)]
        while len(batch) > 1:
            positions = len(_positions(requests, batch)) if self._keeps_logits else width
            if len(batch) * positions * self.n_vocabulary <= LOGIT_VALUES:
                break
            batch = batch[: len(batch) // 2]
        return batch

    def _score_batch(self, requests: Requests, batch: Indices) -> tuple[Scores, int]:
        import torch

        rows = [requests.row(int(index)) for index in batch]
        starts = requests.starts[batch]
        width = len(rows[0]) - 1  # the last token is only a target
        inputs = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            inputs[i, : len(row) - 1] = row[:-1]
            mask[i, : len(row) - 1] = 1
        # Position p predicts token p + 1. Padding is on the right, so no row's positions move.
        kept = _positions(requests, batch)
        row_of = np.repeat(np.arange(len(rows)), requests.span_lengths[batch])
        predicting = np.concatenate(
            [np.arange(start - 1, len(row) - 1) for row, start in zip(rows, starts, strict=True)]
        )
        targets = np.concatenate([row[start:] for row, start in zip(rows, starts, strict=True)]).astype(np.int64)

        with torch.inference_mode():
            logits = self._logits(inputs, mask, kept)
            chosen = logits[
                torch.from_numpy(row_of).to(logits.device),
                torch.from_numpy(np.searchsorted(kept, predicting)).to(logits.device),
            ].float()  # [scored tokens of the batch, vocabulary]
            target = torch.from_numpy(targets).to(logits.device)
            logprobs = chosen.gather(1, target[:, None])[:, 0] - chosen.logsumexp(dim=1)
            greedy = chosen.argmax(dim=1) == target
            values, best = logprobs.cpu().numpy(), greedy.cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError(f"the model gave a log-probability that is not a finite number (dtype {self.model.dtype})")
        offsets = np.concatenate([[0], np.cumsum(requests.span_lengths[batch])]).astype(np.int64)
        return Scores(requests.keys[batch], offsets, values, best), int(mask.sum())

    def _logits(self, inputs: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], kept: Indices) -> torch.Tensor:
        """Logits at the kept positions, shape [rows, kept, vocabulary]."""
        import torch

        arguments: dict[str, Any] = {
            "input_ids": torch.from_numpy(inputs).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
            "use_cache": False,
        }
        positions = torch.from_numpy(kept).to(self.device)
        if self._keeps_logits:
            return self.model(**arguments, logits_to_keep=positions).logits  # type: ignore[no-any-return]
        return self.model(**arguments).logits[:, positions]  # type: ignore[no-any-return]


def _positions(requests: Requests, batch: Indices) -> Indices:
    """Every position that predicts a scored token of some row of the batch, sorted."""
    lengths = requests.lengths[batch]
    spans = [np.arange(start - 1, length - 1) for start, length in zip(requests.starts[batch], lengths, strict=True)]
    return np.unique(np.concatenate(spans)).astype(np.int64)


def _is_out_of_memory(error: Exception) -> bool:
    """torch raises its own class for it on CUDA, and a plain RuntimeError on CPU and MPS."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(should_reduce_batch_size(error))
