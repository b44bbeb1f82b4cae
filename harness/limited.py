"""Runs a script of this package in a process of its own, so that what it reads can neither hang nor kill the command.

The script reads one JSON document from standard input and writes one to standard output; it sets the
limits on itself before it does anything else. This module knows nothing of what it does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import interrupts


class LimitError(Exception):
    """The script did not end as it should; the message says what of its limits it broke, or how it ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of processor time, megabytes of address space, and seconds of wall time."""

    cpu: int
    memory: int
    wall: int


def run_limited(script: Path, given: Any, limits: Limits) -> Any:
    """What the script answers to ``given``.

    Raises:
        LimitError: it broke a limit, or crashed.
    """
    # -P: the folder of the script is no place to look for modules, since ours have names such as "select".
    program = [sys.executable, "-P", "-B", str(script)]
    document = json.dumps({"limits": asdict(limits), "given": given})
    quiet = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - a script of ours
            program,
            input=document.encode(),
            capture_output=True,
            timeout=limits.wall,
            env={**os.environ, **quiet},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LimitError(f"takes longer than {limits.wall} s") from error
    interrupts.check()  # Ctrl-C reaches the script, too, which then ends as if it had crashed
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode in (-getattr(signal, "SIGXCPU", 24), -getattr(signal, "SIGKILL", 9)):
        raise LimitError(f"takes more than {limits.cpu} s of processor time")
    if b"memory allocation" in done.stderr or b"MemoryError" in done.stderr:
        raise LimitError(f"takes more than {limits.memory:,} MB of memory")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    raise LimitError(f"crashes (status {done.returncode}){f': {lines[-1]:.200}' if lines else ''}")
