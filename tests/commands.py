"""Runs the command line, in this process or in one of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import cli, hub
from harness.background import leave_with

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def mistake(self) -> str:
        """The one line with which a command that failed ends; everything else about it is checked here."""
        lines = self.err.splitlines()
        assert self.status in (1, 2, 130, 143), f"status {self.status}: {self.err}"
        assert self.out == ""
        assert "Traceback" not in self.err
        assert [line for line in lines if line.startswith("harness: ")] == lines[-1:], self.err
        return lines[-1].removeprefix("harness: ")


class Commands:
    """Calls ``harness`` as its user would; the arguments are those of the command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        """Run a command in this process, which spares the import of torch."""
        self._monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        self._capsys.readouterr()
        hub.reachable.cache_clear()
        begin = time.monotonic()
        try:
            cli.main()
            status: object = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            leave_with(None)  # this process is not the command's
        seconds = time.monotonic() - begin
        printed = self._capsys.readouterr()
        assert isinstance(status, int)
        return Outcome(status, printed.out, printed.err, seconds)

    def ok(self, *arguments: object) -> Outcome:
        """A command that must succeed."""
        outcome = self(*arguments)
        assert outcome.status == 0, outcome.err
        return outcome


def start(
    arguments: Sequence[object], folder: Path, *, driver: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start a command in a process of its own; ``driver`` is a script that stands in for ``python -m harness``."""
    program = [str(driver)] if driver is not None else ["-m", "harness"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    """Wait for a process to end."""
    begin = time.monotonic()
    out, err = process.communicate(timeout=timeout)
    return Outcome(process.returncode, out, err, time.monotonic() - begin)


# A process of its own that starts without the seconds that importing torch takes: it is forked from a server that did.
# It can be told to get a signal at one exact moment of its work.

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["torch", "transformers", "transformers.models.gpt2.modeling_gpt2", "accelerate", "scipy.stats", "pyarrow.parquet"]
)


@dataclass(frozen=True)
class Moment:
    """The ``count``-th time that ``what`` happens, when the process sends itself a signal; see ``_moments``."""

    what: str
    count: int = 1
    signal: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.signal.name} at {self.what} {self.count}"


class Forked:
    """A command at work in a process of its own, whose scores are committed after every small batch."""

    def __init__(
        self, arguments: Sequence[object], folder: Path, moment: Moment | None = None, pause: float = 0
    ) -> None:
        self._output = folder / f".output-{uuid.uuid4().hex}"
        given = (list(map(str, arguments)), str(folder), moment, pause, str(self._output))
        self.process = _SERVER.Process(target=_command, args=given, daemon=True)
        self.process.start()

    def outcome(self, timeout: float = 60) -> Outcome:
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"no end after {timeout} s"
        out, err = (Path(f"{self._output}.{name}").read_text() for name in ("out", "err"))
        return Outcome(self.process.exitcode, out, err)


def _command(arguments: list[str], folder: str, moment: Moment | None, pause: float, output: str) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    sys.argv = ["harness", *arguments]
    _small_steps(pause)
    if moment is not None:
        _moments(moment)
    cli.main()


class Watched:
    """A scorer of small forwards that calls ``each`` after every one, before it gives what came out."""

    def __init__(self, scorer: Any, each: Callable[[], None]) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._each = each

    def score(self, requests: Any) -> Iterator[Any]:
        for found in self._scorer.score(requests):
            self._each()
            yield found


def watch_scoring(each: Callable[[], None]) -> Callable[..., Any]:
    """Something to stand in for ``Scoring._choose``: the engine takes small steps, and calls ``each`` at every one."""
    from harness.scorers import TreeScorer

    return lambda scoring, requests: Watched(TreeScorer(scoring._load(), width=60), each)


def _small_steps(pause: float) -> None:
    import torch

    from harness import scoring

    torch.set_num_threads(1)
    scoring.COMMIT_SECONDS = -1.0
    scoring.Scoring._choose = watch_scoring(lambda: time.sleep(pause))  # type: ignore[method-assign]


def _moments(moment: Moment) -> None:
    """Have the signal sent when the moment comes."""
    import pyarrow.parquet as pq

    from harness import run_store, runner, score_store, scoring
    from harness.baselines import cells, trained

    seen = 0

    def strike() -> None:
        nonlocal seen
        seen += 1
        if seen == moment.count:
            os.kill(os.getpid(), moment.signal)

    def around(owner: Any, name: str, *, after: bool = False, when: Any = lambda *_: True) -> None:
        work = getattr(owner, name)

        def watched(*args: Any, **more: Any) -> Any:
            if not after and when(*args):
                strike()
            found = work(*args, **more)
            if after and when(*args):
                strike()
            return found

        setattr(owner, name, watched)

    match moment.what:
        case "tokenizer loads":
            around(runner, "locate_model")
        case "model loads":
            around(runner, "load_model")
        case "batch":
            scoring.Scoring._choose = watch_scoring(strike)  # type: ignore[method-assign]
        case "commit":
            around(score_store.ScoreStore, "add", after=True)
        case "half commit":  # the file is written, but not under its name
            around(pq, "write_table", after=True)
        case "merge":
            around(score_store.ScoreStore, "compact")
        case "half merge":  # the merged file is there, and so are those that it replaces
            around(Path, "unlink", when=lambda path, **_: path.suffix == ".parquet")
        case "candidates":
            around(run_store.RunFolder, "write_candidates")
        case "predictions":
            around(run_store.RunFolder, "write_predictions")
        case "manifest":  # the first is written before scoring, the second when all is done
            around(run_store.RunFolder, "write_manifest")
        case "cell":  # a trained baseline is stored
            around(cells, "store_trained", after=True)
        case "half cell":  # its model and scores are, but not the record without which they do not count
            around(trained, "write_atomically")
        case _:
            raise AssertionError(moment)
