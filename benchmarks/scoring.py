"""Scores the same requests with harness and with lm-eval, in alternating runs, and prints one table.

python -m benchmarks.scoring                            # all workloads of both models, one thread
python -m benchmarks.scoring --models gpt2 --workloads 4-shot
python -m benchmarks.scoring --threads 2 --without-lm-eval
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.measure import (
    CLOCKS,
    Clock,
    LmEval,
    Timed,
    Work,
    best_batch_size,
    gemm_rate,
    n_tokens,
    ours,
    plan_of,
    quiet,
    timed,
    use_threads,
)
from benchmarks.tables import markdown, megabytes
from benchmarks.workloads import Subject, Workload, build, standard
from harness.plan import Plan

MODELS = ("qwen2", "gpt2")
COLUMNS = (
    "model", "workload", "items", "requests", "tokens", "distinct", "computed / distinct", "ours s", "lm-eval s",
    "batch", "ratio", "target", "ratio at mm", "ours MB", "lm-eval MB", "largest difference", "mm GFLOP/s",
    "time over mm",
)  # fmt: skip
# What is expected of every workload, beside its ratio.
MOST_OVER_MM, MOST_DIFFERENCE = 1.4, 1e-4


@dataclass(slots=True)
class Measured:
    """A workload's runs, in the order in which they were made."""

    workload: Workload
    plan: Plan
    work: Work
    batch_size: int | None = None
    ours: list[Timed] = field(default_factory=list)
    theirs: list[Timed] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.ours)

    @property
    def ratio(self) -> float | None:
        return statistics.median(run.seconds for run in self.theirs) / self.seconds if self.theirs else None

    @property
    def computed(self) -> float:
        """Tokens computed for each distinct one."""
        return self.ours[0].value.computed / self.plan.n_nodes

    @property
    def difference(self) -> float:
        """The largest between two log-likelihoods of an answer."""
        return max((float(np.abs(self.ours[0].value.logprobs - run.value).max()) for run in self.theirs), default=0.0)

    @property
    def seconds_of_mm(self) -> float:
        """Those in which torch.mm, at its best, does as many operations."""
        return float(self.work.total / max(self.rates))

    @property
    def over_mm(self) -> float:
        return min(run.seconds for run in self.ours) / self.seconds_of_mm

    @property
    def ratio_at_mm(self) -> float | None:
        """The ratio if those products took all of the time."""
        return statistics.median(run.seconds for run in self.theirs) / self.seconds_of_mm if self.theirs else None

    def row(self) -> list[str]:
        compared = self.ratio is not None
        return [
            self.workload.name,
            f"{self.workload.n_items}",
            f"{len(self.plan.order)}",
            f"{n_tokens(self.plan):,}",
            f"{self.plan.n_nodes:,}",
            f"{self.computed:.2f}",
            f"{self.seconds:.2f}",
            f"{statistics.median(run.seconds for run in self.theirs):.1f}" if compared else "",
            f"{self.batch_size or ''}",
            f"{self.ratio:.1f}" if compared else "",
            f"{self.workload.target or ''}",
            f"{self.ratio_at_mm:.1f}" if compared else "",
            megabytes(self.ours),
            megabytes(self.theirs),
            f"{self.difference:.0e}" if compared else "",
            f"{max(self.rates) / 1e9:.0f}",
            f"{self.over_mm:.2f}",
        ]

    def misses(self) -> list[str]:
        """What is not as expected."""
        found = []
        if self.ratio is not None and self.workload.target is not None and self.ratio < self.workload.target:
            found.append(f"{self.ratio:.1f} times as fast, not {self.workload.target}")
        if self.computed > 1.005:
            found.append(f"{self.computed:.2f} tokens computed for each distinct one")
        if self.difference > MOST_DIFFERENCE:
            found.append(f"differs by {self.difference:.0e}")
        if self.over_mm > MOST_OVER_MM:
            found.append(f"{self.over_mm:.2f} times the time of torch.mm, not {MOST_OVER_MM}")
        return found


def measure(subject: Subject, workload: Workload, *, repeats: int, with_lm_eval: bool, clock: Clock) -> Measured:
    """Warm both up, then let them take turns."""
    plan = plan_of(subject, workload)
    measured = Measured(workload, plan, Work.of(plan, subject.model))
    ours(subject, workload.first(2))
    theirs = None
    if with_lm_eval:
        measured.batch_size = best_batch_size(subject, workload, clock=clock)
        theirs = LmEval(subject, measured.batch_size)
    for _ in range(repeats):
        measured.rates.append(gemm_rate(subject.model, clock))
        measured.ours.append(timed(partial(ours, subject, workload), clock))
        if theirs is not None:
            measured.theirs.append(timed(partial(theirs, workload), clock))
    measured.rates.append(gemm_rate(subject.model, clock))
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--workloads", help="names, separated by ';' (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="how often both take their turn")
    parser.add_argument("--items", type=int, help="take fewer items than the table has (for a quick try)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: the process's, where others compute, too")
    parser.add_argument("--without-lm-eval", action="store_true")
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    quiet()

    rows, misses = [], []
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            subject = build(model, Path(folder))
            for workload in standard(model, subject):
                if options.workloads and workload.name not in options.workloads.split(";"):
                    continue
                chosen = workload.first(options.items) if options.items else workload
                measured = measure(
                    subject,
                    chosen,
                    repeats=options.repeats,
                    with_lm_eval=not options.without_lm_eval,
                    clock=CLOCKS[options.clock],
                )
                rows.append([model, *measured.row()])
                misses += [f"{model}, {workload.name}: {miss}" for miss in measured.misses()]
                print(log_line(model, measured), flush=True)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "lm-eval"))
    print(f"\n{platform.machine()}, {options.threads} thread(s), {versions}")
    print(f"medians of {options.repeats} runs, {options.clock} time\n")
    print(markdown(COLUMNS, rows, words=2))
    print("\n".join(["", "not as expected:", *misses] if misses else ["", "all as expected"]))


def log_line(model: str, measured: Measured) -> str:
    """Every run, so that a disturbed one can be seen."""
    runs = [" ".join(f"{run.seconds:.2f}" for run in runs) for runs in (measured.ours, measured.theirs)]
    return (
        f"{model}, {measured.workload.name}: ours {runs[0]}; lm-eval {runs[1]} (batch {measured.batch_size});"
        f" mm {' '.join(f'{rate / 1e9:.0f}' for rate in measured.rates)} GFLOP/s"
    )


if __name__ == "__main__":
    main()
