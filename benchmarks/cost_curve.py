"""Time against the number of demonstrations, items, templates and answers, beside lm-eval's: a plot and a table.

    python -m benchmarks.cost_curve -o benchmarks/cost_curve        # writes .png and .svg

Each axis moves alone; the others stay where ``BASE`` has them. lm-eval is stopped on an axis where its next point would
take longer than the limit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import LmEval, best_batch_size, n_tokens, ours, plan_of, quiet, timed, use_threads
from benchmarks.tables import markdown
from benchmarks.workloads import Subject, Workload, build, few_shot, labels, layouts


@dataclass(frozen=True, slots=True)
class Size:
    """How large a workload is; its answers are of two tokens each."""

    shots: int = 4
    items: int = 32
    templates: int = 1
    answers: int = 2


BASE = Size()
AXES = {
    "shots": (0, 1, 2, 4, 8, 16, 32, 64),
    "items": (8, 16, 32, 64, 128, 256),
    "templates": (1, 2, 4, 8),
    "answers": (2, 4, 8, 16),
}
LABELS = {"shots": "demonstrations (k)", "items": "items", "templates": "templates", "answers": "answers per item"}


@dataclass(frozen=True, slots=True)
class Point:
    """Seconds at one place of an axis; None where lm-eval was not run, which would have taken about ``expected``."""

    value: int
    tokens: int
    distinct: int
    ours: float
    theirs: float | None
    expected: float


def workload(subject: Subject, size: Size) -> Workload:
    words = labels(size.answers, subject, words=2)
    return few_shot(f"{size}", layouts(size.templates, words), items=size.items, shots=size.shots)


def curve(subject: Subject, axis: str, theirs: LmEval, limit: float) -> list[Point]:
    """Ours is the best of two runs, lm-eval's the only one."""
    points: list[Point] = []
    rate = 0.0  # lm-eval's seconds per token so far
    for value in AXES[axis]:
        chosen = workload(subject, replace(BASE, **{axis: value}))
        plan = plan_of(subject, chosen)
        tokens = n_tokens(plan)
        mine = min(timed(partial(ours, subject, chosen)).seconds for _ in range(2))
        expected = rate * tokens
        seconds = timed(partial(theirs, chosen)).seconds if expected <= limit else None
        if seconds is not None:
            rate = seconds / tokens
        points.append(Point(value, tokens, plan.n_nodes, mine, seconds, expected))
        print(f"{axis} {value}: ours {mine:.2f} s, lm-eval {_seconds(points[-1])}", flush=True)
    return points


def _seconds(point: Point) -> str:
    return f"{point.theirs:.1f} s" if point.theirs is not None else f"not run, about {point.expected:.0f} s"


def rows(curves: dict[str, list[Point]]) -> list[list[str]]:
    return [
        [
            axis,
            f"{point.value}",
            f"{point.tokens:,}",
            f"{point.distinct:,}",
            f"{point.ours:.2f}",
            f"{point.theirs:.1f}" if point.theirs is not None else f"(about {point.expected:.0f})",
            f"{point.theirs / point.ours:.1f}" if point.theirs is not None else "",
        ]
        for axis, points in curves.items()
        for point in points
    ]


def plot(curves: dict[str, list[Point]], title: str) -> Any:
    """One panel for each axis; both scales are logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True)
    for panel, (axis, points) in zip(panels, curves.items(), strict=True):
        run = [point for point in points if point.theirs is not None]
        panel.plot([p.value for p in run], [p.theirs for p in run], "s--", color="#b45309", label="lm-eval 0.4.13")
        panel.plot([p.value for p in points], [p.ours for p in points], "o-", color="#1d4ed8", label="harness")
        panel.set_xscale("symlog", base=2, linthresh=1)
        panel.set_yscale("log")
        panel.set_xticks([p.value for p in points], [str(p.value) for p in points])
        panel.minorticks_off()
        panel.set_xlabel(LABELS[axis])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[0].legend(frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost_curve", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("cost_curve"), help="without .png or .svg")
    parser.add_argument("--axes", default=",".join(AXES), help=f"of {', '.join(AXES)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60, help="seconds that a point of lm-eval may take")
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    quiet()

    with tempfile.TemporaryDirectory() as folder:
        subject = build("small", Path(folder))
        base = workload(subject, BASE)
        size = best_batch_size(subject, base)
        theirs = LmEval(subject, size)
        ours(subject, base.first(2))
        curves = {axis: curve(subject, axis, theirs, options.limit) for axis in options.axes.split(",")}
    fixed = ", ".join(f"{getattr(BASE, axis)} {LABELS[axis]}" for axis in AXES)
    title = f"4-layer model of width 256, {options.threads} CPU thread(s), lm-eval's batch {size}; elsewhere {fixed}"
    print(f"\n{title}\n")
    print(markdown(("axis", "value", "tokens", "distinct", "ours s", "lm-eval s", "ratio"), rows(curves), words=1))
    figure = plot(curves, title)
    for ending in (".png", ".svg"):
        path = options.output.with_suffix(ending)
        figure.savefig(path, dpi=150)
        print(path)


if __name__ == "__main__":
    main()
