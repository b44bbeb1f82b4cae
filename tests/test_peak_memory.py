"""The peak of a stretch of work is that of the stretch, not of what came before."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from harness import peak_memory as module
from harness.peak_memory import peak_memory

MIB = 2**20


def held(size: int) -> int | None:
    """The peak while ``size`` bytes are written and freed."""
    with peak_memory() as peak:
        assert np.ones(size, np.uint8).all()
    return peak.bytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems keep one peak for the whole process")
def test_linux_counts_every_stretch_anew() -> None:
    small, large, again = held(MIB), held(200 * MIB), held(MIB)
    assert small is not None
    assert large is not None
    assert again is not None
    assert 190 * MIB < large - small < 210 * MIB
    assert again < small + 20 * MIB


def test_elsewhere_only_a_new_peak_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_RESET", tmp_path / "none" / "clear_refs")
    most = iter([100 * MIB, 150 * MIB, 150 * MIB, 150 * MIB])  # before and after two stretches
    monkeypatch.setattr(module, "_most_ever", lambda: next(most))
    assert held(MIB) == 150 * MIB
    assert held(MIB) is None


def test_the_most_ever_is_in_bytes_and_never_falls() -> None:
    before = module._most_ever()
    assert 10 * MIB < before <= module._most_ever()
