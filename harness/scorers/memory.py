"""How much to compute at once: bounded by the device's free memory, and by how fast it turns out to be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.model_config import text_config

if TYPE_CHECKING:
    import torch

    from harness.scorers.base import ScoredModel

# A forward should not take longer than this, so that work is committed and Ctrl-C is heard; nor need it be longer.
SECONDS = 2.0
FEWEST = 64
# Of the rate of a plain product of matrices, what the first forward is reckoned with, before any was timed.
REACHED = 0.6
MULTIPLIED = {"cpu": 512}  # rows and columns of the matrices that are multiplied to measure it
MULTIPLIED_ELSEWHERE = 2_048
UNMEASURED = 1e11  # operations per second, where even these do not fit, or the device cannot multiply such numbers
# Beyond these, more nodes at once gain nothing: the matrices fill the device.
MOST = {"cpu": 512, "cuda": 16_384, "mps": 2_048}
FILLED = {"cpu": 10_000_000, "cuda": 1_000_000_000}  # bytes of activations; a narrow model needs more nodes for as much
MOST_UNBLOCKED = {"cpu": 256, "cuda": 2_048, "mps": 1_024}
SHARE = 0.25  # of the free memory for what a forward holds


@dataclass(slots=True)
class Width:
    """Nodes per forward, and rows of logits. ``most`` bounds ``nodes``; it falls when memory runs out."""

    nodes: int
    most: int
    logit_rows: int
    adaptive: bool = True

    @classmethod
    def fixed(cls, nodes: int) -> Width:
        return cls(nodes, nodes, nodes, adaptive=False)

    @classmethod
    def of(cls, model: ScoredModel, *, blocked: bool) -> Width:
        device = model.device
        size = model.module.dtype.itemsize
        config = text_config(model.module.config)
        hidden = _largest(config, "hidden_size", 1_024)
        inner = _largest(config, "intermediate_size", 4 * hidden)
        per_node = size * (12 * hidden + 3 * inner)  # of one layer's activations at their peak
        if not blocked:
            per_node += 4 * 4_096 * _largest(config, "num_attention_heads", 16)  # weights of all columns
        memory = SHARE * free_memory(device)
        table = MOST if blocked else MOST_UNBLOCKED
        filling = max(table.get(device.type, 1_024), FILLED.get(device.type, 0) // per_node)
        most = max(FEWEST, min(filling, int(memory / 2 / per_node)))
        rows = max(FEWEST, int(memory / 2 / (size * model.n_vocabulary)))
        parameters = sum(parameter.numel() for parameter in model.module.parameters())
        first = int(SECONDS * REACHED * matmul_rate(device, model.module.dtype) / (2 * parameters))
        return cls(min(max(first, FEWEST), most), most, rows)

    def halve(self, tried: int) -> None:
        """After ``tried`` nodes did not fit."""
        self.most = max(1, tried // 2)
        self.nodes = min(self.nodes, self.most)
        self.logit_rows = max(1, min(self.logit_rows, self.nodes))

    def observe(self, nodes: int, seconds: float) -> None:
        """After ``nodes`` took ``seconds``: as many as a forward has time for, at most twice as many as now."""
        if self.adaptive and nodes >= self.nodes // 2:
            wanted = int(nodes * SECONDS / max(seconds, 1e-6))
            self.nodes = min(max(wanted, FEWEST), 2 * self.nodes, self.most)


def _largest(config: Any, name: str, default: int) -> int:
    """An entry that some models give for each layer (Gemma 3n), and others not at all."""
    found = getattr(config, name, None) or default
    return max(found) if isinstance(found, list | tuple) else int(found)


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of two square matrices, the better of two after a first."""
    import torch

    size = MULTIPLIED.get(device.type, MULTIPLIED_ELSEWHERE)

    def seconds() -> float:
        begin = time.perf_counter()
        torch.mm(matrix, matrix)[0, 0].item()  # waits for the device
        return time.perf_counter() - begin

    try:
        matrix = torch.ones(size, size, device=device, dtype=dtype)
        seconds()
        return 2 * size**3 / min(seconds(), seconds())
    except (RuntimeError, MemoryError):
        return UNMEASURED


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    return int(psutil.virtual_memory().available)
