"""How much memory a stretch of work held at most: that of the CUDA devices, or of this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(slots=True)
class Peak:
    """In bytes, once the stretch has ended; None where the system does not tell."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: str = "cpu") -> Iterator[Peak]:
    """Measure the stretch of work inside ``with``.

    On CUDA it is what the allocators of all devices held, else all memory of this process that was resident. Linux can
    count that anew from any moment; other systems keep the most since the process began, which is that of the stretch
    if it grew.
    """
    found = Peak()
    if device.startswith("cuda"):
        import torch

        devices = range(torch.cuda.device_count())
        for index in devices:
            torch.cuda.reset_peak_memory_stats(index)
        yield found
        found.bytes = sum(map(torch.cuda.max_memory_allocated, devices))
        return
    before = None if _counts_anew() else _most_ever()
    yield found
    most = _most_ever() if before is not None else _resident_peak()
    found.bytes = None if most == before else most


def _counts_anew() -> bool:
    """Have Linux count the peak from now on; whether it does."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _resident_peak() -> int | None:
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _most_ever() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
