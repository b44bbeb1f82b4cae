"""How many labels a frozen prompt is worth: stored prompts against the learning curves of stored baselines.

One budget of labels on both sides. A baseline is charged what it was trained on, and what it was tuned on where the
user says so; a prompt is charged the labels that it shows, and those that it was chosen by. Both answer the same items
of the same split, so that resamples of items are the same for all.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import FileError, HarnessError, UsageError, suggest
from harness.learning_curves import (
    MONOTONE,
    Advantage,
    BreakEven,
    Curve,
    Level,
    Monotone,
    accuracies,
    advantage,
    break_even,
    corpus_scores,
    curve,
    item_weights,
    level,
)
from harness.metrics import METRICS, Floats, Ints, confusion, pair_index
from harness.records import digest
from harness.run_store import StoredRun, stored_runs
from harness.summary import ROW_KEY, CellResult, read_cells

RESAMPLES = 2_000
SEED = 0
COLUMNS = ("method", "n", "seed", "score")
# Strategies that show each item demonstrations of its own: the labels of the whole pool are needed.
_WHOLE_POOL = ("per-item", "bm25", "knn", "mmr")
# What tells prompts of one model and number of shots apart, in the order in which names take it up.
_TELLING = (
    "demos", "demo_encoder", "demo_order", "rule", "calibration", "dtype", "bos", "model_fingerprint", "pool_hash",
)  # fmt: skip
# What a prompt without demonstrations does not have.
_OF_DEMOS = ("demos", "pool_hash", "demo_guard", "demo_encoder", "demo_encoder_hash", "demo_order")
_OF_SHOTS = ("shots", "labels_used")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compare, and at what prices. Names narrow what is stored; None takes all."""

    model: str | None = None
    method: str | None = None
    prompt: str | None = None
    shots: Sequence[int] = ()
    selection_labels: int = 0
    development_labels: int = 0
    monotone: Monotone = "isotonic"
    price_per_million_tokens: float | None = None
    price_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.monotone not in MONOTONE:
            raise UsageError(f"--monotone: unknown value {self.monotone!r}{suggest(self.monotone, MONOTONE)}")


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
class Cost:
    """What training (of one model) and predictions took, on average; None where no run tells.

    ``tokens`` are those that were computed, so that a prefix which prompts share counts once. A run of several prompts
    shares its time out evenly among its predictions.
    """

    predictions: int
    training_seconds: float | None
    seconds_per_prediction: float | None
    tokens_per_prediction: float | None


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
            text = (
                f"{start} more than {found.n_max:,.0f} labels {tail}, the most tried ({found.above:.0%} of resamples)"
            )
        elif found.censored == "below" and found.n_min == 0:
            text = f"{start} no label {tail}, which does as well without any ({found.below:.0%} of resamples)"
        elif found.censored == "below":
            text = (
                f"{start} at most {found.n_min:,.0f} labels {tail}, the fewest tried ({found.below:.0%} of resamples)"
            )
        else:
            text = f"{start} about {_about(found.n)} labels{self._interval} {tail}"
        if not used:
            return text
        if found.censored == "above":
            return f"{text}; it used {used:,} itself"
        if found.n <= used:
            return f"{text}; it used {used:,} itself, no fewer than that"
        return f"{text}; it used {used:,} itself, which leaves {_about(found.n - used)}"

    @property
    def _interval(self) -> str:
        found = self.break_even
        if math.isnan(found.low):
            return ""
        if math.isfinite(found.low) and math.isfinite(found.high):
            return f" (95%: {_about(found.low)}-{_about(found.high)})"
        return f" (95%: {found.interval_text(_about)})"

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
            "censored_below": found.below,
            "censored_above": found.above,
            "data_advantage": {
                "mean": _finite(gain.mean),
                "low": _finite(gain.low),
                "high": _finite(gain.high),
                "undefined": gain.undefined,
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
            found.text("{:,.0f}".format),
            found.interval_text("{:,.0f}".format),
            pair.net.text("{:,.0f}".format),
            _gain(gain),
            f"{found.below:.0%} below, {found.above:.0%} above" if found.below or found.above else "-",
        ]

    @property
    def scale(self) -> int:
        """Metrics of stored runs are shown in percent; what a CSV file holds is shown as it is."""
        return 1 if self.items is None else 100

    def costs(self, wanted: Wanted) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of what stored runs tell of costs; no rows where they tell nothing."""
        titles = ["system", "predictions", "training s", "s / 1,000 predictions", "tokens / prediction"]
        hour, tokens = wanted.price_per_hour, wanted.price_per_million_tokens
        titles += ["training price"] * (hour is not None)
        titles += ["price / 1,000 by time"] * (hour is not None) + ["price / 1,000 by tokens"] * (tokens is not None)
        lines = []
        for name, cost in self._costs():
            prices = _prices(cost, wanted)
            line = [
                name,
                f"{cost.predictions:,}",
                _number(cost.training_seconds),
                _number(cost.seconds_per_prediction, 1000),
                _number(cost.tokens_per_prediction),
            ]
            line += [_number(prices["training"]), _number(prices["time"])] if hour is not None else []
            line += [_number(prices["tokens"])] if tokens is not None else []
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
                    "low": one.level.interval.low,
                    "high": one.level.interval.high,
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
                    "low": one.curve.band[0].tolist(),
                    "high": one.curve.band[1].tolist(),
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
                    "price_per_1000": {key: value for key, value in _prices(cost, wanted).items() if key != "training"},
                    "training_price": _prices(cost, wanted)["training"],
                }
                for name, cost in self._costs()
            ],
            "notices": list(self.notices),
        }


_TITLES = {"accuracy": "accuracy %", "macro_f1": "macro-F1 %"}


# From stored runs


def read(results: Path, tasks: Sequence[str], wanted: Wanted) -> list[Report]:
    """A report for each task that has prompts and baselines on the same items.

    Raises:
        UsageError: a name fits nothing that is stored.
        HarnessError: there is nothing to compare, and which command makes it.
    """
    runs = [run for run in stored_runs(results)[0] if run.finished]
    if not runs:
        raise HarnessError(f"{results}: holds no finished run; 'harness run' and 'harness baseline' make them")
    cells = [cell for cell in read_cells(runs, tasks) if cell.signature["role"] == "report"]
    prompts = [cell for cell in cells if _kind(cell) == "prompt" and cell.signature["control"] is None]
    baselines = [cell for cell in cells if _kind(cell) == "baseline"]
    prompts, baselines = _narrowed(prompts, baselines, wanted)
    names = sorted({str(cell.signature["task"]) for cell in cells})
    both = [name for name in names if _of(prompts, name) and _of(baselines, name)]
    if not both:
        raise HarnessError(_nothing(names, prompts, baselines, results))
    left_out = [
        f"{name}: no {'prompt' if _of(baselines, name) else 'baseline'} is stored, not compared"
        for name in names
        if name not in both and (_of(prompts, name) or _of(baselines, name))
    ]
    known = {str(run.manifest["created"]): run for run in runs}
    found = [_report(name, _of(prompts, name), _of(baselines, name), known, wanted) for name in both]
    first = found[0]
    notices = (*left_out, *first.notices)
    return [
        Report(first.task, first.metric, first.items, first.prompts, first.baselines, first.pairs, notices),
        *found[1:],
    ]


def _kind(cell: CellResult) -> str:
    return str(cell.signature.get("kind") or "prompt")


def _of(cells: Iterable[CellResult], task: str) -> list[CellResult]:
    return [cell for cell in cells if cell.signature["task"] == task]


def _nothing(names: Sequence[str], prompts: Sequence[CellResult], baselines: Sequence[CellResult], place: Path) -> str:
    task = names[0] if names else "TASK"
    if not prompts:
        return f"{place}: holds no prompt on {task}; 'harness run --tasks {task}' makes one"
    if not baselines:
        return f"{place}: holds no baseline on {task}; 'harness baseline --tasks {task}' makes one"
    return (
        f"{place}: no task has both prompts ({', '.join(_tasks(prompts))}) and baselines"
        f" ({', '.join(_tasks(baselines))}); 'harness baseline --tasks {_tasks(prompts)[0]}' makes what is missing"
    )


def _tasks(cells: Iterable[CellResult]) -> list[str]:
    return sorted({str(cell.signature["task"]) for cell in cells})


def _narrowed(
    prompts: list[CellResult], baselines: list[CellResult], wanted: Wanted
) -> tuple[list[CellResult], list[CellResult]]:
    if wanted.model is not None:
        prompts = _matching(prompts, "model", wanted.model, "--model")
    if wanted.prompt is not None:
        prompts = _matching(prompts, "template", wanted.prompt, "--prompt")
    if wanted.shots:
        known = sorted({int(cell.signature["shots"]) for cell in prompts})
        for k in wanted.shots:
            if prompts and k not in known:
                raise UsageError(f"--shots {k}: no such prompt is stored (shots: {', '.join(map(str, known))})")
        prompts = [cell for cell in prompts if cell.signature["shots"] in wanted.shots]
    if wanted.method is not None:
        baselines = _matching(baselines, "method", wanted.method, "--method")
    return prompts, baselines


def _matching(cells: list[CellResult], key: str, name: str, option: str) -> list[CellResult]:
    """The cells whose value is the name, or ends with it after a slash."""
    found = [cell for cell in cells if name in (str(cell.signature[key]), str(cell.signature[key]).split("/")[-1])]
    if cells and not found:
        known = sorted({str(cell.signature[key]) for cell in cells})
        raise UsageError(f"{option} {name}: nothing of that name is stored{suggest(name, known)}")
    return found


def _report(
    task: str,
    prompts: Sequence[CellResult],
    baselines: Sequence[CellResult],
    runs: Mapping[str, StoredRun],
    wanted: Wanted,
) -> Report:
    chosen, trained, ids = _common(task, prompts, baselines)
    notices = []
    for what, all_, kept in (("prompts", prompts, chosen), ("baselines", baselines, trained)):
        if len(kept) < len(all_):
            notices.append(f"{task}: {len(all_) - len(kept)} stored {what} on other items or data are left out")
    latest = max(chosen, key=lambda cell: cell.created)
    items = _Items(ids, latest, [*chosen, *trained])
    levels = _prompts(chosen, items, runs, wanted, notices)
    curves = _baselines(trained, items, runs, wanted, notices)
    label = f"{task} (sample)" if latest.signature["data"] == "sample" else task
    pairs = _pairs(label, levels, curves, wanted)
    return Report(label, items.metric, len(ids), levels, curves, pairs, notices)


def _common(
    task: str, prompts: Sequence[CellResult], baselines: Sequence[CellResult]
) -> tuple[list[CellResult], list[CellResult], list[str]]:
    """The prompts on one set of items, the baselines on one, and their common items: the pair of sets with the most."""
    best: tuple[list[CellResult], list[CellResult], list[str]] = ([], [], [])
    for one in _by_items(prompts):
        for other in _by_items(baselines):
            if any(one[0].signature[key] != other[0].signature[key] for key in ("data", "split")):
                continue
            ids = sorted(set(one[0].item_ids) & set(other[0].item_ids))
            if len(ids) > len(best[2]):
                best = (one, other, ids)
    if not best[2]:
        raise HarnessError(
            f"{task}: the stored prompts and baselines have no item in common; run both with the same --data and"
            " --data-dir"
        )
    return best


def _by_items(cells: Sequence[CellResult]) -> list[list[CellResult]]:
    """Cells on the same items and data, the latest first."""
    groups: dict[str, list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.created, reverse=True):
        key = digest([cell.signature["data"], cell.signature["split"], cell.items_hash])
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


class _Items:
    """The items that all cells answer, and the resamples of them that all cells share.

    Raises:
        HarnessError: two cells disagree on what is right.
    """

    def __init__(self, ids: Sequence[str], first: CellResult, cells: Sequence[CellResult]) -> None:
        self._ids = ids
        self.metric = first.metrics[0]
        self._gold = first.gold[self._places(first)]
        for cell in cells:
            if not np.array_equal(cell.gold[self._places(cell)], self._gold):
                raise HarnessError(
                    f"{first.signature['task']}: the labels of items changed between stored runs; run prompts and"
                    " baselines again"
                )
        labels = len(first.labels or ())
        self._n_labels = max(labels, 1 + max(int(max(cell.gold.max(), cell.prediction.max())) for cell in cells))
        clusters = None if first.clusters is None else first.clusters[self._places(first)]
        self._weights = item_weights(len(ids), RESAMPLES, np.random.default_rng(SEED), clusters)

    def scores(self, cell: CellResult) -> tuple[float, Floats]:
        """The metric of a cell, and that of each resample of items."""
        prediction = cell.prediction[self._places(cell)]
        if self.metric == "accuracy":
            correct = (prediction == self._gold).astype(np.float64)
            return float(correct.mean()), accuracies(correct, self._weights)
        pairs: Ints = pair_index(self._gold, prediction, self._n_labels)
        metric = METRICS[self.metric]  # type: ignore[index]
        value = float(metric(confusion(pairs, self._n_labels)))
        return value, corpus_scores(pairs, self._weights, self._n_labels, metric)

    def _places(self, cell: CellResult) -> Ints:
        return np.searchsorted(np.array(cell.item_ids), np.array(self._ids))  # both are sorted


def _prompts(
    cells: Sequence[CellResult], items: _Items, runs: Mapping[str, StoredRun], wanted: Wanted, notices: list[str]
) -> list[Prompt]:
    groups: dict[str, list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.signature["model"], cell.signature["shots"], cell.created)):
        groups.setdefault(digest([cell.signature[key] for key in ROW_KEY]), []).append(cell)
    rows = [list(_latest(group).values()) for group in groups.values()]
    names = _names([row[0] for row in rows])
    families = [_family(row[0]) for row in rows]
    found = []
    for row, name, family in zip(rows, names, families, strict=True):
        draws: dict[object, list[tuple[float, Floats]]] = {}
        for cell in row:
            draws.setdefault((cell.signature["demo_seed"], _order(cell)), []).append(items.scores(cell))
        # Templates are taken as given, draws of demonstrations are a sample.
        scores = np.array([np.mean([value for value, _ in draw]) for draw in draws.values()])
        again = np.stack([np.mean([values for _, values in draw], axis=0) for draw in draws.values()], axis=1)
        templates = len({cell.signature["template"] for cell in row})
        budget = Budget(_shown(row[0], runs, name, notices), wanted.selection_labels)
        told = f"{name} (mean of {templates} templates)" if templates > 1 else name
        cost = _cost(row, runs)
        if len(draws) == 1 and row[0].signature["shots"]:
            notices.append(f"{name}: one draw of demonstrations; intervals leave out what another would change")
        rng = np.random.default_rng([SEED, 1])  # the same draws for all shots: k demonstrations are the first of 2k
        found.append(Prompt(told, family, budget, templates, level(scores, again, rng), cost))
    return found


def _latest(cells: Sequence[CellResult]) -> dict[object, CellResult]:
    """Of cells that differ only in when they ran, the latest; ``cells`` are in order of time."""
    return {(cell.signature["template"], cell.signature["demo_seed"], _order(cell)): cell for cell in cells}


def _order(cell: CellResult) -> object:
    return cell.signature["order"] if cell.signature["demo_order"] == "permuted" else None


def _names(cells: Sequence[CellResult]) -> list[str]:
    """Model and shots, and settings where a shorter name would fit several."""
    models = [str(cell.signature["model"]).rstrip("/").split("/")[-1] for cell in cells]
    names = [f"{model} {cell.signature['shots']}-shot" for model, cell in zip(models, cells, strict=True)]
    for key in _TELLING:
        values: dict[str, set[str]] = {}
        for name, cell in zip(names, cells, strict=True):
            values.setdefault(name, set()).add(str(cell.signature[key]))
        names = [
            f"{name} {str(cell.signature[key])[:12]}" if len(values[name]) > 1 else name
            for name, cell in zip(names, cells, strict=True)
        ]
    return names


def _family(cell: CellResult) -> str:
    """What prompts of several shots share; those without demonstrations have an empty second part."""
    base = digest([cell.signature[key] for key in ROW_KEY if key not in (*_OF_DEMOS, *_OF_SHOTS)])
    return f"{base} {digest([cell.signature[key] for key in _OF_DEMOS]) if cell.signature['shots'] else ''}"


def _shown(cell: CellResult, runs: Mapping[str, StoredRun], name: str, notices: list[str]) -> int:
    """The labels of demonstrations that a prompt needs."""
    shots = int(cell.signature["shots"])
    if not shots or cell.signature["demos"] not in _WHOLE_POOL:
        return shots
    rows = runs[cell.created].manifest["tasks"].get(cell.signature["task"], {}).get("rows", {})
    if "pool" not in rows:
        notices.append(
            f"{name}: the size of its pool is not known; the {shots} labels it shows are all that is counted"
        )
        return shots
    pool = int(rows["pool"])
    notices.append(f"{name}: every item has demonstrations of its own, so that all {pool:,} labels of the pool count")
    return pool


def _baselines(
    cells: Sequence[CellResult], items: _Items, runs: Mapping[str, StoredRun], wanted: Wanted, notices: list[str]
) -> list[Baseline]:
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.created):
        groups.setdefault((str(cell.signature["method"]), str(cell.signature["model"])), []).append(cell)
    blind = [key for key, group in groups.items() if not any(cell.signature["labels_used"] for cell in group)]
    for key in blind:
        notices.append(f"{key[0]}: uses no label, so it has no curve; left out")
        del groups[key]
    if not groups:
        raise HarnessError(
            f"{cells[0].signature['task']}: no stored baseline was trained on labels; 'harness baseline --tasks"
            f" {cells[0].signature['task']}' makes some"
        )
    methods = [method for method, _ in groups]
    found = []
    for (method, model), group in sorted(groups.items()):
        name = method if methods.count(method) == 1 else f"{method} {model}"
        grid = {(str(cell.signature["demo_seed"]), int(cell.signature["labels_used"])): cell for cell in group}
        known = {place: items.scores(cell) for place, cell in grid.items()}
        sizes, scores, again, missing = _grid(known)
        if missing:
            notices.append(
                f"{name}: {missing} of {scores.size} pairs of seed and labels are not stored; the mean of the other"
                " seeds stands in"
            )
        if len(scores) == 1:
            notices.append(f"{name}: one training seed; intervals leave out what another would change")
        rng = np.random.default_rng([SEED, 2])
        line = curve(sizes + wanted.development_labels, scores, again, rng, wanted.monotone)
        found.append(Baseline(name, line, _cost(list(grid.values()), runs)))
    return found


def _grid(known: Mapping[tuple[str, int], tuple[float, Floats]]) -> tuple[Floats, Floats, Floats, int]:
    """Sizes, scores [seeds, sizes] and those of resamples [resamples, seeds, sizes]; how many were not there.

    A seed that lacks a size takes the mean of those that have it.
    """
    seeds, sizes = sorted({seed for seed, _ in known}), sorted({n for _, n in known})
    resamples = len(next(iter(known.values()))[1])
    scores = np.full((len(seeds), len(sizes)), np.nan)
    again = np.full((resamples, len(seeds), len(sizes)), np.nan)
    for (seed, n), (value, values) in known.items():
        scores[seeds.index(seed), sizes.index(n)] = value
        again[:, seeds.index(seed), sizes.index(n)] = values
    missing = np.isnan(scores)
    scores = np.where(missing, np.nanmean(scores, axis=0), scores)
    again = np.where(missing, np.nanmean(again, axis=1, keepdims=True), again)
    return np.array(sizes, np.float64), scores, again, int(missing.sum())


def _pairs(task: str, prompts: Sequence[Prompt], baselines: Sequence[Baseline], wanted: Wanted) -> list[Pair]:
    found = []
    for baseline in baselines:
        gains: dict[str, Advantage] = {}
        for prompt in prompts:
            family = [one for one in prompts if _relatives(prompt, one)]
            key = prompt.family
            if key not in gains:
                levels = [(float(one.budget.total), one.level) for one in family]
                gains[key] = advantage(baseline.curve, levels, wanted.monotone)
            found.append(Pair(task, prompt, baseline, break_even(baseline.curve, prompt.level), gains[key]))
    order = {prompt.name: place for place, prompt in enumerate(prompts)}
    return sorted(found, key=lambda pair: order[pair.prompt.name])


def _relatives(prompt: Prompt, other: Prompt) -> bool:
    """Whether the other is the same prompt with another number of shots; one without any goes with each."""
    (base, demos), (other_base, other_demos) = prompt.family.split(" "), other.family.split(" ")
    return base == other_base and (not demos or not other_demos or demos == other_demos)


# Costs


def _cost(cells: Sequence[CellResult], runs: Mapping[str, StoredRun]) -> Cost:
    tell = _baseline_cost if _kind(cells[0]) == "baseline" else _prompt_cost
    return tell(cells, runs)


def _baseline_cost(cells: Sequence[CellResult], runs: Mapping[str, StoredRun]) -> Cost:
    """From what each cell's entry in the manifest tells."""
    found = [cost for cell in cells if (cost := _cell_entry(cell, runs).get("costs"))]
    seconds = [1 / cost["items_per_second"] for cost in found if cost.get("items_per_second")]
    training = [cost["train_seconds"] for cost in found if "train_seconds" in cost]
    return Cost(
        predictions=sum(len(cell.item_ids) for cell in cells),
        training_seconds=float(np.mean(training)) if training else None,
        seconds_per_prediction=float(np.mean(seconds)) if seconds else None,
        tokens_per_prediction=None,
    )


def _cell_entry(cell: CellResult, runs: Mapping[str, StoredRun]) -> Mapping[str, Any]:
    known = {key: cell.signature[key] for key in ("task", "method", "model", "labels_used", "demo_seed")}
    entries = (
        entry
        for entry in runs[cell.created].manifest["cells"]
        if all(entry["signature"].get(key) == value for key, value in known.items())
    )
    return next(entries, {})


def _prompt_cost(cells: Sequence[CellResult], runs: Mapping[str, StoredRun]) -> Cost:
    """From the totals of their runs; what came from the store is counted as if it had been computed."""
    seconds = tokens = 0.0
    timed = 0
    for cell in cells:
        run = runs[cell.created].manifest
        requests, stages = run.get("requests") or {}, run.get("seconds") or {}
        scored = requests.get("scored")
        if not scored or "scoring" not in stages:
            continue
        share = len(cell.item_ids) / sum(int(entry["n"]) for entry in run["cells"])
        share *= requests["distinct"] / scored
        seconds += stages["scoring"] * share
        tokens += run["tokens_computed"] * share
        timed += len(cell.item_ids)
    return Cost(
        predictions=sum(len(cell.item_ids) for cell in cells),
        training_seconds=None,
        seconds_per_prediction=seconds / timed if timed else None,
        tokens_per_prediction=tokens / timed if timed else None,
    )


def _prices(cost: Cost, wanted: Wanted) -> dict[str, float | None]:
    def times(amount: float | None, price: float | None) -> float | None:
        return None if amount is None or price is None else amount * price

    hour, tokens = wanted.price_per_hour, wanted.price_per_million_tokens
    return {
        "training": times(cost.training_seconds, None if hour is None else hour / 3_600),
        "time": times(cost.seconds_per_prediction, None if hour is None else hour * 1_000 / 3_600),
        "tokens": times(cost.tokens_per_prediction, None if tokens is None else tokens * 1_000 / 1_000_000),
    }


# From a table of scores


def read_csv(path: Path, wanted: Wanted) -> Report:
    """A report from scores of any origin: a CSV file with the columns method, n, seed and score.

    The rows of the prompt are those of the method ``wanted.prompt`` (default: "prompt"), whose n counts the labels that
    it used; every other method is a baseline. Resamples are of seeds alone: a file has no items.

    Raises:
        FileError: the file cannot be read, or a row is wrong.
        UsageError: no method is the prompt, or none is a baseline.
    """
    methods: dict[str, dict[tuple[str, int], float]] = {}
    for line, row in _rows(path):
        place = (row["seed"], int(_value(path, line, row, "n")))
        scores = methods.setdefault(row["method"], {})
        if place in scores:
            raise FileError(path, f"{row['method']} has two scores for n {place[1]} and seed {place[0]}", line)
        scores[place] = _value(path, line, row, "score")
    name = wanted.prompt or "prompt"
    if name not in methods:
        raise UsageError(f"--prompt {name}: {path} has no such method{suggest(name, methods, what='methods')}")
    if wanted.method is not None and wanted.method not in set(methods) - {name}:
        others = sorted(set(methods) - {name})
        raise UsageError(f"--method {wanted.method}: {path} has no such baseline{suggest(wanted.method, others)}")
    if len(methods) < 2:
        raise UsageError(f"{path}: has no method but {name}; a baseline is a method of another name")
    notices: list[str] = []
    prompts = _file_prompts(name, methods[name], wanted, notices)
    baselines = []
    for method in sorted(set(methods) - {name}):
        if wanted.method not in (None, method):
            continue
        known = {place: (value, np.full(RESAMPLES, value)) for place, value in methods[method].items()}
        sizes, table, again, missing = _grid(known)
        if missing:
            notices.append(
                f"{method}: {missing} of {table.size} pairs of seed and n are missing; the mean of the other seeds"
                " stands in"
            )
        if len(table) == 1:
            notices.append(f"{method}: one seed; intervals leave out what another would change")
        rng = np.random.default_rng([SEED, 2])
        line_ = curve(sizes + wanted.development_labels, table, again, rng, wanted.monotone)
        baselines.append(Baseline(method, line_))
    notices.append(f"{path}: intervals are over seeds alone, as the file has no items")
    task = path.stem
    return Report(task, "score", None, prompts, baselines, _pairs(task, prompts, baselines, wanted), notices)


def _file_prompts(
    name: str, scores: Mapping[tuple[str, int], float], wanted: Wanted, notices: list[str]
) -> list[Prompt]:
    sizes = sorted({n for _, n in scores})
    for k in wanted.shots:
        if k not in sizes:
            raise UsageError(f"--shots {k}: {name} has no such n (n: {', '.join(map(str, sizes))})")
    found = []
    for n in sizes:
        if wanted.shots and n not in wanted.shots:
            continue
        values = np.array([scores[place] for place in sorted(scores) if place[1] == n])
        again = np.broadcast_to(values, (RESAMPLES, len(values)))
        if len(values) == 1:
            notices.append(f"{name} at n {n}: one seed; intervals leave out what another would change")
        rng = np.random.default_rng([SEED, 1])
        told = name if len(sizes) == 1 else f"{name} at n {n}"
        found.append(Prompt(told, "file ", Budget(n, wanted.selection_labels), 1, level(values, again, rng)))
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = [(reader.line_num, row) for row in reader]
            titles = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(path, f"cannot be read: {reason}") from error
    missing = [name for name in COLUMNS if name not in titles]
    if missing:
        raise FileError(path, f"has no column {missing[0]!r}; the columns are {', '.join(COLUMNS)}")
    if not rows:
        raise FileError(path, "has no row")
    for line, row in rows:
        empty = [name for name in COLUMNS if not (row[name] or "").strip()]
        if empty:
            raise FileError(path, f"{empty[0]} is empty", line)
    return [(line, {name: row[name].strip() for name in COLUMNS}) for line, row in rows]


def _value(path: Path, line: int, row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if name == "n" and (value < 0 or value != math.floor(value) if math.isfinite(value) else True):
        raise FileError(path, f"n is {row['n']!r}, not a whole number of labels", line)
    if not math.isfinite(value):
        raise FileError(path, f"{name} is {row[name]!r}, not a number", line)
    return value


def selection_labels(text: str | None) -> int:
    """A number of labels, or the file that ``harness select --json`` printed, which tells how many its choice used.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return 0
    if text.isdecimal():
        return int(text)
    try:
        return int(json.loads(Path(text).read_text(encoding="utf-8"))["labels"])
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--selection-labels {text}: neither a number nor a file that 'harness select --json' printed"
        ) from error


def shot_numbers(texts: Sequence[str]) -> tuple[int, ...]:
    """Raises UsageError for what is no number of shots."""
    for text in texts:
        if not text.isdecimal():
            raise UsageError(f"--shots {text}: must be numbers of demonstrations, such as 0,4")
    return tuple(map(int, texts))


# Numbers as text


def _about(n: float) -> str:
    """Two significant digits, all that an estimate of this kind bears."""
    rounded = float(f"{n:.2g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 else f"{rounded:g}"


def _gain(gain: Advantage) -> str:
    if math.isnan(gain.mean):
        return "undefined"
    interval = "" if math.isnan(gain.low) else f" [{gain.low:,.0f}, {gain.high:,.0f}]"
    return f"{gain.mean:,.0f}{interval}"


def _number(value: float | None, times: float = 1) -> str:
    return "-" if value is None else f"{value * times:,.3g}" if value * times < 1_000 else f"{value * times:,.0f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _numbers(found: BreakEven) -> dict[str, float | None]:
    return {"n": _finite(found.n), "low": _finite(found.low), "high": _finite(found.high)}
