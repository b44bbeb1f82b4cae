"""What is told of a task: its prompts, its baselines, and what each prompt is worth in labels of each baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.breakeven.costs import Cost, prices
from harness.breakeven.wanted import Wanted
from harness.label_worth import Advantage, BreakEven, Curve, Level

_TITLES = {"accuracy": "accuracy %", "macro_f1": "macro-F1 %"}


@dataclass(frozen=True, slots=True)
class Budget:
    """The labels that a prompt used: those it shows, and those it was chosen by.

    No calibration of this package reads a gold label, nor does the choice of an order of demonstrations.
    """

    shown: int
    selection: int = 0
    calibration: int = 0

    @property
    def total(self) -> int:
        return self.shown + self.selection + self.calibration


@dataclass(frozen=True, slots=True)
class Prompt:
    """A frozen prompt: one model, number of shots and set of settings, with the mean over its templates."""

    name: str
    family: str
    budget: Budget
    templates: int
    level: Level
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trained baseline, at every number of labels for which it is stored; ``curve.sizes`` are all labels it used."""

    name: str
    curve: Curve
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and a baseline. ``advantage`` is that of all shots of the prompt's family."""

    task: str
    prompt: Prompt
    baseline: Baseline
    break_even: BreakEven
    advantage: Advantage

    @property
    def net(self) -> BreakEven:
        """The break-even less the labels that the prompt used."""
        return self.break_even.minus(self.prompt.budget.total)

    @property
    def sentence(self) -> str:
        found, used = self.break_even, self.prompt.budget.total
        start, tail = f"on {self.task}, {self.prompt.name} is worth", f"of {self.baseline.name}"
        if found.censored == "above":
            text = f"{start} more than {found.n_max:,.0f} labels {tail}, the most tried{self._sure(found.above)}"
        elif found.censored == "below" and found.n_min == 0:
            text = f"{start} no label {tail}, which does as well without any{self._sure(found.below)}"
        elif found.censored == "below":
            text = f"{start} at most {found.n_min:,.0f} labels {tail}, the fewest tried{self._sure(found.below)}"
        else:
            text = f"{start} about {_about(found.n)} labels{self._interval} {tail}"
        if not used:
            return text
        if found.censored == "above":
            return f"{text}; it used {used:,} itself"
        most = found.n_min if found.censored == "below" else found.n
        if most <= used:
            return f"{text}; it used {used:,} itself, no fewer than that"
        at_most = "at most " if found.censored == "below" else ""
        return f"{text}; it used {used:,} itself, which leaves {at_most}{_about(most - used)}"

    @property
    def _interval(self) -> str:
        found = self.break_even
        if math.isnan(found.low):
            return ""
        if math.isfinite(found.low) and math.isfinite(found.high):
            wider = "" if found.complete else " or wider"
            return f" (95%: {_about(found.low)}-{_about(found.high)}{wider})"
        return f" (95%: {found.interval_text(_about)})"

    def _sure(self, confidence: float) -> str:
        """How sure a bound is; nothing where that is not known, as with one seed."""
        return f" (confidence {_percent(confidence)})" if self.break_even.complete else ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: a bound that is all one can say is None, and ``censored`` tells of which side."""
        found, gain = self.break_even, self.advantage
        return {
            "prompt": self.prompt.name,
            "baseline": self.baseline.name,
            "break_even": _numbers(found),
            "net_of_labels_used": _numbers(self.net),
            "interval": found.interval_text("{:.4g}".format),
            "censored": found.censored,
            "n_min": found.n_min,
            "n_max": found.n_max,
            "censored_below": _finite(found.below),
            "censored_above": _finite(found.above),
            "interval_complete": found.complete,
            "data_advantage": {
                "mean": _finite(gain.mean),
                "low": _finite(gain.low),
                "high": _finite(gain.high),
                "deviation": _finite(gain.deviation),
                "undefined": _finite(gain.undefined),
                "interval_complete": gain.complete,
            },
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All prompts and baselines of one task, on the same items. ``items`` is None for scores from a CSV file."""

    task: str
    metric: str
    items: int | None
    prompts: Sequence[Prompt]
    baselines: Sequence[Baseline]
    pairs: Sequence[Pair]
    notices: Sequence[str] = field(default=())

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Titles and rows: what each prompt is worth in labels of each baseline."""
        titles = [
            "task", "prompt", f"{_TITLES.get(self.metric, self.metric)}", "labels used", "baseline", "break-even n",
            "95%", "net of labels used", "data advantage", "censored",
        ]  # fmt: skip
        return titles, [self._line(pair) for pair in self.pairs]

    def _line(self, pair: Pair) -> list[str]:
        found, gain = pair.break_even, pair.advantage
        return [
            self.task,
            pair.prompt.name,
            f"{self.scale * pair.prompt.level.score:.{1 if self.scale > 1 else 3}f}",
            f"{pair.prompt.budget.total:,}",
            pair.baseline.name,
            found.text(_about),
            found.interval_text(_about),
            pair.net.text(_about),
            _gain(gain),
            _beyond(found),
        ]

    @property
    def scale(self) -> int:
        """Metrics of stored runs are shown in percent; what a CSV file holds is shown as it is."""
        return 1 if self.items is None else 100

    def costs(self, wanted: Wanted) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of what stored runs tell of costs; no rows where they tell nothing."""
        titles = ["task", "system", "predictions", "training s", "s / 1,000 predictions", "tokens / prediction"]
        titles += ["trainable parameters", "peak memory"]
        hour, tokens = wanted.price_per_hour, wanted.price_per_million_tokens
        titles += ["training price"] * (hour is not None)
        titles += ["price / 1,000 by time"] * (hour is not None) + ["price / 1,000 by tokens"] * (tokens is not None)
        lines = []
        for name, cost in self._costs():
            price = prices(cost, wanted)
            line = [
                self.task,
                name,
                f"{cost.predictions:,}",
                _number(cost.training_seconds),
                _number(cost.seconds_per_prediction, 1000),
                _number(cost.tokens_per_prediction),
                _number(cost.trainable_parameters),
                "-" if cost.peak_memory_bytes is None else f"{cost.peak_memory_bytes / 2**20:,.0f} MiB",
            ]
            line += [_number(price["training"]), _number(price["time"])] if hour is not None else []
            line += [_number(price["tokens"])] if tokens is not None else []
            lines.append(line)
        return titles, lines

    def _costs(self) -> list[tuple[str, Cost]]:
        systems: list[Prompt | Baseline] = [*self.prompts, *self.baselines]
        return [(system.name, system.cost) for system in systems if system.cost is not None]

    def as_dict(self, wanted: Wanted) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.task,
            "metric": self.metric,
            "n": self.items,
            "prompts": [
                {
                    "name": one.name,
                    "score": one.level.score,
                    "low": _finite(one.level.interval.low),
                    "high": _finite(one.level.interval.high),
                    "templates": one.templates,
                    "seeds": one.level.seeds,
                    "labels": {
                        "shown": one.budget.shown,
                        "selection": one.budget.selection,
                        "calibration": one.budget.calibration,
                        "total": one.budget.total,
                    },
                }
                for one in self.prompts
            ],
            "baselines": [
                {
                    "name": one.name,
                    "seeds": one.curve.seeds,
                    "labels": one.curve.sizes.tolist(),
                    "mean": one.curve.mean.tolist(),
                    "fitted": one.curve.fitted.tolist(),
                    "low": [_finite(end) for end in one.curve.band[0].tolist()],
                    "high": [_finite(end) for end in one.curve.band[1].tolist()],
                }
                for one in self.baselines
            ],
            "pairs": [pair.as_dict() for pair in self.pairs],
            "costs": [
                {
                    "system": name,
                    "predictions": cost.predictions,
                    "training_seconds": cost.training_seconds,
                    "seconds_per_prediction": cost.seconds_per_prediction,
                    "tokens_per_prediction": cost.tokens_per_prediction,
                    "trainable_parameters": cost.trainable_parameters,
                    "peak_memory_bytes": cost.peak_memory_bytes,
                    "price_per_1000": {key: value for key, value in prices(cost, wanted).items() if key != "training"},
                    "training_price": prices(cost, wanted)["training"],
                }
                for name, cost in self._costs()
            ],
            "notices": list(self.notices),
        }


# Numbers as text


def _about(n: float) -> str:
    """Whole labels, and of a hundred or more two significant digits: all that an estimate of this kind bears.

    Every number of labels is rounded here and only here, from what was computed, so that tables and sentences agree.
    """
    return f"{n:,.0f}" if abs(n) < 100 else f"{float(f'{n:.2g}'):,.0f}"


def _gain(gain: Advantage) -> str:
    """A data advantage with its interval, and in how many resamples there is none."""
    none = f", {_percent(gain.undefined)} undefined" if gain.undefined > 0 else ""
    if math.isnan(gain.mean):
        return "undefined"
    if not math.isnan(gain.deviation):
        return f"{gain.mean:,.0f} +- {gain.deviation:,.0f}"
    if math.isnan(gain.low):
        return f"{gain.mean:,.0f} [unknown]{none}"
    wider = "" if gain.complete else " or wider"
    return f"{gain.mean:,.0f} [{gain.low:,.0f}, {gain.high:,.0f}]{wider}{none}"


def _beyond(found: BreakEven) -> str:
    """How sure it is that a break-even lies beyond the sizes tried, where that is not out of the question."""
    if not found.complete or max(found.below, found.above) < 0.005:
        return "-"
    return f"{_percent(found.below)} below, {_percent(found.above)} above"


def _percent(share: float) -> str:
    return f"{share:.0%}" if 0.01 <= share <= 0.99 or share in (0, 1) else "< 1%" if share < 0.5 else "> 99%"


def _number(value: float | None, times: float = 1) -> str:
    return "-" if value is None else f"{value * times:,.3g}" if value * times < 1_000 else f"{value * times:,.0f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _numbers(found: BreakEven) -> dict[str, float | None]:
    return {"n": _finite(found.n), "low": _finite(found.low), "high": _finite(found.high)}
