"""Draws learning curves with the levels of prompts, as PNG and SVG. It computes nothing.

matplotlib is used without pyplot, so that no window, display or global state comes in.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import regex

from harness.breakeven import Baseline, Pair, Prompt, Report
from harness.files import write_atomically
from harness.terminal import one_line
from harness.words import IN_WORDS

# Okabe and Ito (2008), told apart by colour-blind readers and in grey; markers and dashes tell the same again.
_BASELINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_PROMPTS = ("#000000", "#E69F00", "#7F7F7F", "#882255")
_LINES = ("-", "--", "-.", ":")
_DOTS = ("o", "s", "^", "v")
_MARKS = ("D", "P", "X", "*")


def draw(report: Report, prefix: Path) -> list[Path]:
    """Write the plot of a report as ``<prefix>-<task>.png`` and ``.svg``.

    Raises:
        HarnessError: a file cannot be written.
    """
    import matplotlib

    paths = []
    name = regex.sub(rf"[^{IN_WORDS}.]+", "-", report.task).strip("-")
    # Text in the SVG stays text, also where a name has dollars, and the same report gives the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "harness", "font.size": 9, "text.parse_math": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Of a script that the font does not have, the PNG shows boxes; the SVG has the text.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = _figure(report)
        for kind in ("png", "svg"):
            path = prefix.with_name(f"{prefix.name}-{name}.{kind}")
            metadata = {"Date": None} if kind == "svg" else None
            write_atomically(path, partial(figure.savefig, format=kind, dpi=150, metadata=metadata))
            paths.append(path)
    return paths


def _figure(report: Report) -> Any:
    from matplotlib.figure import Figure

    entries = len(report.baselines) + len(report.prompts) + 1
    figure = Figure(figsize=(7.4, 4.2 + 0.18 * math.ceil(entries / 2)), layout="constrained")
    axes = figure.add_subplot()
    for number, baseline in enumerate(report.baselines):
        _draw_baseline(axes, baseline, report.scale, number)
    families = list(dict.fromkeys(_line(prompt, report.prompts) for prompt in report.prompts))
    for colour, mark, family in zip(cycle(_PROMPTS), cycle(_MARKS), families, strict=False):
        members = [prompt for prompt in report.prompts if _line(prompt, report.prompts) == family]
        _draw_prompts(axes, members, report.scale, colour, mark)
    for pair in report.pairs:
        _draw_crossing(axes, pair, report.scale)
    _label(axes, report)
    return figure


def _line(prompt: Prompt, prompts: Sequence[Prompt]) -> str:
    """The family that a prompt is drawn with: one without demonstrations goes with the first that has some."""
    base, demos = prompt.family.split(" ")
    if demos:
        return prompt.family
    kin = [one.family for one in prompts if one.family.split(" ")[0] == base and one.family.split(" ")[1]]
    return kin[0] if kin else prompt.family


def _draw_baseline(axes: Any, baseline: Baseline, scale: int, number: int) -> None:
    line = baseline.curve
    colour = _BASELINES[number % len(_BASELINES)]
    low, high = line.band
    axes.fill_between(line.sizes, scale * low, scale * high, color=colour, alpha=0.18, linewidth=0)
    seeds = f"{line.seeds} seeds" if line.seeds > 1 else "1 seed"
    style = _LINES[number % len(_LINES)]
    axes.plot(
        line.sizes, scale * line.fitted, style, color=colour, label=_entry(f"{baseline.name} ({seeds})"), zorder=3
    )
    dot = _DOTS[number % len(_DOTS)]
    axes.plot(line.sizes, scale * line.mean, dot, color=colour, markersize=3.5, zorder=3)


def _draw_prompts(axes: Any, prompts: Sequence[Prompt], scale: int, colour: str, mark: str) -> None:
    for prompt, size in zip(prompts, np.linspace(5, 8, len(prompts)), strict=True):
        score, used = prompt.level.score, prompt.budget.total
        ends = prompt.level.interval
        known = ends.low < ends.high
        gaps = [[scale * (score - ends.low)], [scale * (ends.high - score)]] if known else None
        axes.axhline(scale * score, color=colour, linewidth=0.8, linestyle=(0, (1, 2)), alpha=0.7, zorder=1)
        axes.errorbar(
            [used], [scale * score], yerr=gaps, fmt=mark, color=colour, markersize=size, markeredgecolor="white",
            markeredgewidth=0.6, capsize=2.5, elinewidth=1, zorder=5,
            label=_entry(f"{prompt.name}: {_score(scale * score, scale)}, {used:,} labels"),
        )  # fmt: skip


def _draw_crossing(axes: Any, pair: Pair, scale: int) -> None:
    if pair.break_even.censored is None:
        place = [pair.break_even.n], [scale * pair.prompt.level.score]
        axes.plot(*place, "o", markersize=7, markerfacecolor="none", markeredgecolor="black", zorder=6)


def _label(axes: Any, report: Report) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    sizes = sorted({*(n for one in report.baselines for n in one.curve.sizes), *_used(report)})
    positive = [n for n in sizes if n > 0] or [1.0]
    # Logarithmic, and linear from 0 to the first size, just as curves are interpolated.
    if sizes[0] <= 0:
        axes.set_xscale("symlog", base=2, linthresh=positive[0], linscale=0.8)
        axes.set_xlim(left=-0.12 * positive[0], right=positive[-1] * 1.25)
    else:
        axes.set_xscale("log", base=2)
    axes.set_xticks(_spread(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    axes.set_xlabel("labels used (log scale)")
    unit = " %" if report.scale == 100 else ""
    axes.set_ylabel({"accuracy": "accuracy", "macro_f1": "macro-F1"}.get(report.metric, report.metric) + unit)
    where = f", {report.items:,} items" if report.items is not None else ""
    axes.set_title(
        f"{one_line(report.task)}{where}: prompts and learning curves, 95% intervals", loc="left", fontsize=10
    )
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if any(pair.break_even.censored is None for pair in report.pairs):
        axes.plot([], [], "o", markerfacecolor="none", markeredgecolor="black", markersize=7, label="break-even")
    axes.figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)


def _entry(name: str) -> str:
    """A name in the legend, which leaves those out that begin with a low line."""
    return f" {one_line(name)}" if name.startswith("_") else one_line(name)


def _used(report: Report) -> list[float]:
    return [float(one.budget.total) for one in report.prompts]


def _spread(sizes: Sequence[float]) -> list[float]:
    """Ticks at sizes that occur, leaving out those too close to the one behind them for their numbers to fit."""
    kept: list[float] = []
    for n in reversed(sizes):
        if not kept or kept[-1] >= (1.5 if n < 1_000 else 1.9) * n:
            kept.append(n)
    return kept[::-1]


def _score(value: float, scale: int) -> str:
    return f"{value:.1f}%" if scale == 100 else f"{value:.3f}"
