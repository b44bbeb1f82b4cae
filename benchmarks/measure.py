"""What the benchmarks measure: both tools on the same requests, their time and memory, and what the hardware allows.

Time is from rendered prompts to log-likelihoods, tokenising and planning in it, loading not. It is wall time, or the
process's CPU time where others use the machine, too.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import Subject, Workload
from harness.columns import Requests
from harness.encode import Encoder
from harness.plan import Plan, plan_requests
from harness.scorers.tree import TreeScorer

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # those that lm-eval's is searched among
SEARCH_ITEMS = 16
GEMM_ROWS = 512  # as many as the scorer computes at once on a CPU
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def use_threads(count: int) -> None:
    """To be called before torch or tokenizers are used. The thread pools of both read these when they start."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(count)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    import torch

    torch.set_num_threads(count)


def quiet() -> None:
    """No progress bars or warnings of libraries between the lines of a table."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


# The two tools


@dataclass(frozen=True, slots=True)
class Outcome:
    """The log-likelihood of each answer of each prompt of each cell, in order, and the tokens computed for them."""

    logprobs: np.ndarray[Any, np.dtype[np.float64]]
    computed: int


def encode(subject: Subject, workload: Workload) -> Requests:
    """The requests of all cells, one for each answer, in order."""
    encoder = Encoder(subject.tokenizer, scope=subject.files.fingerprint, max_inputs=subject.files.max_inputs)
    encoded = [encoder.cell(prompts) for prompts in workload.cells]
    assert not any(cell.too_long for cell, _ in encoded), "an item is too long for the model"
    return Requests.concatenate([requests for _, requests in encoded])


def ours(subject: Subject, workload: Workload) -> Outcome:
    requests = encode(subject, workload)
    found: dict[bytes, float] = {}
    computed = 0
    for scores, tokens in TreeScorer(subject.model).score(requests):
        found.update(zip(map(bytes, scores.keys), scores.sums.tolist(), strict=True))
        computed += tokens
    return Outcome(np.array([found[key] for key in map(bytes, requests.keys)]), computed)


class LmEval:
    """The wheel's HFLM, with its own defaults (logits_cache among them) and a batch size."""

    def __init__(self, subject: Subject, batch_size: int) -> None:
        from lm_eval.models.huggingface import HFLM

        self._lm = HFLM(
            pretrained=subject.model,
            tokenizer=subject.reference_tokenizer,
            batch_size=batch_size,
            device=subject.files.device,
        )

    def __call__(self, workload: Workload) -> np.ndarray[Any, np.dtype[np.float64]]:
        from lm_eval.api.instance import Instance

        pairs = workload.strings()
        instances = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        return np.array([total for total, _ in self._lm.loglikelihood(instances, disable_tqdm=True)])


def best_batch_size(
    subject: Subject, workload: Workload, sizes: Sequence[int] = BATCH_SIZES, clock: Clock = time.perf_counter
) -> int:
    """At which batch size lm-eval is fastest on the first items; one that does not fit in memory ends the search."""
    import torch

    some = workload.first(SEARCH_ITEMS)
    seconds = {}
    for size in sizes:
        try:
            seconds[size] = timed(partial(LmEval(subject, size), some), clock).seconds
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
    return min(seconds, key=seconds.__getitem__)


# Time and memory


@dataclass(frozen=True, slots=True)
class Timed:
    """What a call gave, its time, and the most memory that it took beyond what was held before, in bytes."""

    value: Any
    seconds: float
    memory: int | None


def timed(call: Callable[[], Any], clock: Clock = time.perf_counter) -> Timed:
    """Run a call once. On CUDA, memory is that of the device; else the exact peak of the process, on Linux alone."""
    import torch

    gc.collect()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before: int | None = torch.cuda.memory_allocated()
    else:
        before = _reset_peak()
    begin = clock()
    value = call()
    if cuda:
        torch.cuda.synchronize()
    seconds = clock() - begin
    peak = torch.cuda.max_memory_allocated() if cuda else _status("VmHWM")
    return Timed(value, seconds, peak - before if peak is not None and before is not None else None)


def _reset_peak() -> int | None:
    """Start anew to count the peak of resident memory; gives what is resident now."""
    if not sys.platform.startswith("linux"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed is given back, and not had for nothing by this one
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


# What the hardware allows


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations that scoring a plan takes if every layer computes every distinct token once."""

    body: int
    head: int
    attention: int

    @property
    def total(self) -> int:
        return self.body + self.head + self.attention

    @classmethod
    def of(cls, plan: Plan, model: Any) -> Work:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
        rows = len(np.unique(plan.pair_node))
        return cls(
            body=2 * sum(weight.numel() for weight in matrices(model)) * plan.n_nodes,
            head=2 * config.hidden_size * model.get_input_embeddings().num_embeddings * rows,
            attention=4 * width * int((plan.depth.astype(np.int64) + 1).sum()) * config.num_hidden_layers,
        )


def matrices(model: Any) -> list[Any]:
    """The weight matrices of all layers: what every token is multiplied with, without embedding and head."""
    import torch

    layers = next(child for child in model.base_model.children() if isinstance(child, torch.nn.ModuleList))
    return [weight.detach() for weight in layers.parameters() if weight.ndim == 2]


def gemm_rate(model: Any, clock: Clock = time.perf_counter, rows: int = GEMM_ROWS, repeats: int = 3) -> float:
    """Operations per second of torch.mm over the model's own matrices, layer after layer; the best of ``repeats``."""
    import torch

    transposed = _keeps_rows_of_outputs(model)
    weights = [weight.t() if transposed else weight for weight in matrices(model)]
    inputs = {
        weight.shape[0]: torch.randn(rows, weight.shape[0], dtype=weight.dtype, device=weight.device)
        for weight in weights
    }
    work = 2 * rows * sum(weight.numel() for weight in weights)

    def once() -> None:
        with torch.inference_mode():
            for weight in weights:
                torch.mm(inputs[weight.shape[0]], weight)

    once()
    return float(work / min(timed(once, clock).seconds for _ in range(repeats)))


def _keeps_rows_of_outputs(model: Any) -> bool:
    """Linear layers keep a matrix as [outputs, inputs], GPT-2's as [inputs, outputs]."""
    from transformers.pytorch_utils import Conv1D

    return not any(isinstance(module, Conv1D) for module in model.modules())


def plan_of(subject: Subject, workload: Workload) -> Plan:
    return plan_requests(encode(subject, workload))


def n_tokens(plan: Plan) -> int:
    """Tokens of all requests, their last ones included."""
    return int(plan.shared.sum()) + plan.n_nodes + len(plan.order)
