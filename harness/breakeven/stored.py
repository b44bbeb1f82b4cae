"""Reads prompts and baselines from stored runs, on the items that all of them answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.breakeven.costs import baseline_cost, prompt_cost
from harness.breakeven.pairs import BEST, RESAMPLES, SEED, Scored, few_seeds, pairs_of, sample_of, trained_curve
from harness.breakeven.report import Baseline, Budget, Prompt, Report
from harness.breakeven.wanted import Wanted
from harness.cell_results import CellResult, read_cells
from harness.errors import HarnessError, UsageError, suggest
from harness.label_worth import Level
from harness.metrics import METRICS, Ints, confusion, pair_index
from harness.records import digest
from harness.resampling import accuracies, corpus_scores, item_weights
from harness.run_store import StoredRun, Tell, stored_runs
from harness.signature import ABOUT, ROW_KEY, fields_that

# Strategies that show each item demonstrations of its own: the labels of the whole pool are needed.
_WHOLE_POOL = ("per-item", "bm25", "knn", "mmr")
# What tells prompts of one model and number of shots apart, in the order in which names take it up.
_TELLING = sorted(ROW_KEY, key=lambda name: ABOUT[name].setting or len(ROW_KEY))
# What a prompt without demonstrations does not have, and what prompts of several shots share besides.
_OF_DEMOS = fields_that(lambda about: about.row and about.of_demos)
_OF_ALL = [name for name in ROW_KEY if name not in (*_OF_DEMOS, "shots") and ABOUT[name].follows != "shots"]
_FLOOR = "majority"  # learns which label is the commonest, and nothing of texts


def read(results: Path, tasks: Sequence[str], wanted: Wanted, tell: Tell) -> list[Report]:
    """A report for each task that has prompts and baselines on the same items.

    Args:
        tell: told of runs that are damaged and left out.

    Raises:
        UsageError: a name fits nothing that is stored.
        HarnessError: there is nothing to compare, and which command makes it.
    """
    runs = [run for run in stored_runs(results, tell) if run.finished]
    if not runs:
        raise HarnessError(f"{results}: holds no finished run; 'harness run' and 'harness baseline' make them")
    cells = [cell for cell in read_cells(runs, tasks, tell) if cell.signature.role == "report"]
    prompts = [cell for cell in cells if cell.signature.approach == "prompt" and cell.signature.control is None]
    baselines = [cell for cell in cells if cell.signature.approach == "baseline"]
    prompts, baselines = _narrowed(prompts, baselines, wanted)
    names = sorted({cell.signature.task for cell in cells})
    both = [name for name in names if _of(prompts, name) and _of(baselines, name)]
    if not both:
        raise HarnessError(_nothing(names, prompts, baselines, results))
    left_out = [
        f"{name}: no {'prompt' if _of(baselines, name) else 'baseline'} is stored, not compared"
        for name in names
        if name not in both and (_of(prompts, name) or _of(baselines, name))
    ]
    known = {run.document.created: run for run in runs}
    found = [_report(name, _of(prompts, name), _of(baselines, name), known, wanted) for name in both]
    first = found[0]
    notices = (*left_out, *first.notices)
    return [
        Report(first.task, first.metric, first.items, first.prompts, first.baselines, first.pairs, notices),
        *found[1:],
    ]


def _of(cells: Iterable[CellResult], task: str) -> list[CellResult]:
    return [cell for cell in cells if cell.signature.task == task]


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
    return sorted({cell.signature.task for cell in cells})


def _narrowed(
    prompts: list[CellResult], baselines: list[CellResult], wanted: Wanted
) -> tuple[list[CellResult], list[CellResult]]:
    if wanted.model is not None:
        prompts = _matching(prompts, "model", wanted.model, "--model")
    if wanted.prompt is not None:
        prompts = _matching(prompts, "template", wanted.prompt, "--prompt")
    if wanted.shots:
        known = sorted({cell.signature.shots or 0 for cell in prompts})
        for k in wanted.shots:
            if prompts and k not in known:
                raise UsageError(f"--shots {k}: no such prompt is stored (shots: {', '.join(map(str, known))})")
        prompts = [cell for cell in prompts if cell.signature.shots in wanted.shots]
    if wanted.method is not None:
        baselines = _matching(baselines, "method", wanted.method, "--method")
    return prompts, baselines


def _matching(cells: list[CellResult], key: str, name: str, option: str) -> list[CellResult]:
    """The cells whose value is the name, or ends with it after a slash."""
    known = {id(cell): str(cell.signature.value(key)) for cell in cells}
    found = [cell for cell in cells if name in (known[id(cell)], known[id(cell)].split("/")[-1])]
    if cells and not found:
        raise UsageError(f"{option} {name}: nothing of that name is stored{suggest(name, sorted(set(known.values())))}")
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
    if wanted.prompt is not None:
        notices.append(
            f"{task}: {wanted.prompt} was picked by hand; if it was picked by scores like these, it looks better than"
            " it is, and --selection-labels tells of the labels that were used"
        )
    if wanted.curve == "best":
        notices.append(BEST)
    curves = _baselines(trained, items, runs, wanted, notices)
    label = f"{task} (sample)" if latest.signature.data == "sample" else task
    pairs = pairs_of(label, levels, curves, wanted)
    return Report(label, items.metric, len(ids), levels, curves, pairs, notices)


def _common(
    task: str, prompts: Sequence[CellResult], baselines: Sequence[CellResult]
) -> tuple[list[CellResult], list[CellResult], list[str]]:
    """The prompts on one set of items, the baselines on one, and their common items: the pair of sets with the most."""
    best: tuple[list[CellResult], list[CellResult], list[str]] = ([], [], [])
    for one in _by_items(prompts):
        for other in _by_items(baselines):
            if any(one[0].signature.value(key) != other[0].signature.value(key) for key in ("data", "split")):
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
        key = digest([cell.signature.data, cell.signature.split, cell.items_hash])
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
                    f"{first.signature.task}: the labels of items changed between stored runs; run prompts and"
                    " baselines again"
                )
        labels = len(first.labels or ())
        self._n_labels = max(labels, 1 + max(int(max(cell.gold.max(), cell.prediction.max())) for cell in cells))
        clusters = None if first.clusters is None else first.clusters[self._places(first)]
        self.units = len(ids) if clusters is None else len(np.unique(clusters))
        self._weights = item_weights(len(ids), RESAMPLES, np.random.default_rng(SEED), clusters)

    def scores(self, cell: CellResult) -> Scored:
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
    for cell in sorted(cells, key=lambda cell: (cell.signature.model, cell.signature.shots or 0, cell.created)):
        groups.setdefault(digest([cell.signature.values(ROW_KEY), cell.chosen]), []).append(cell)
    rows = [list(_latest(group).values()) for group in groups.values()]
    names = _names([row[0] for row in rows])
    families = [_family(row[0]) for row in rows]
    found = []
    for row, name, family in zip(rows, names, families, strict=True):
        draws: dict[str, list[Scored]] = {}
        for cell in row:
            draws.setdefault(f"{cell.signature.demo_seed} {_order(cell)}", []).append(items.scores(cell))
        # Templates are taken as given, draws of demonstrations are a sample.
        known = {(draw, 0): _mean(scored) for draw, scored in draws.items()}
        sample = sample_of(known, items.units, random=bool(row[0].signature.shots))
        chosen_by = wanted.charged(max(cell.selection_labels for cell in row))
        budget = Budget(_shown(row[0], runs, name, notices), chosen_by)
        templates = sorted({cell.signature.template for cell in row})
        which = _which(templates, row[0].chosen, wanted)
        told = f"{name} ({which})" if which else name
        cost = prompt_cost(row, runs)
        found.append(Prompt(told, family, budget, len(templates), Level(sample, wanted.curve), cost))
    if wanted.curve == "mean":
        notices += few_seeds([(one.name, one.level.sample) for one in found], "draw of demonstrations")
    return found


def _mean(scored: Sequence[Scored]) -> Scored:
    """Over templates."""
    again = np.stack([values for _, values in scored if values is not None])
    return float(np.mean([value for value, _ in scored])), np.asarray(again.mean(axis=0))


def _which(templates: Sequence[str], chosen: str | None, wanted: Wanted) -> str | None:
    """How many templates a prompt is the mean of, or which one was chosen, and how; None where there is no other."""
    if len(templates) > 1:
        return f"mean of {len(templates)} templates"
    stem = templates[0].split("/")[-1]
    if chosen is not None:
        return f"{stem}, chosen by select"
    return None if wanted.prompt is None else f"{stem}, picked by hand"


def _latest(cells: Sequence[CellResult]) -> dict[object, CellResult]:
    """Of cells that differ only in when they ran, the latest; ``cells`` are in order of time."""
    return {(cell.signature.template, cell.signature.demo_seed, _order(cell)): cell for cell in cells}


def _order(cell: CellResult) -> object:
    return cell.signature.order if cell.signature.demo_order == "permuted" else None


def _names(cells: Sequence[CellResult]) -> list[str]:
    """Model and shots, and settings where a shorter name would fit several; no two are the same."""
    models = [cell.signature.model.rstrip("/").split("/")[-1] for cell in cells]
    names = [f"{model} {cell.signature.shots}-shot" for model, cell in zip(models, cells, strict=True)]
    for key in _TELLING:
        values: dict[str, set[str]] = {}
        for name, cell in zip(names, cells, strict=True):
            values.setdefault(name, set()).add(str(cell.signature.value(key)))
        names = [
            f"{name} {str(cell.signature.value(key))[:12]}" if len(values[name]) > 1 else name
            for name, cell in zip(names, cells, strict=True)
        ]
    return names


def _family(cell: CellResult) -> str:
    """What prompts of several shots share; those without demonstrations have an empty second part."""
    base = digest([cell.signature.values(_OF_ALL), cell.chosen])
    return f"{base} {digest(cell.signature.values(_OF_DEMOS)) if cell.signature.shots else ''}"


def _shown(cell: CellResult, runs: Mapping[str, StoredRun], name: str, notices: list[str]) -> int:
    """The labels of demonstrations that a prompt needs."""
    shots = cell.signature.shots or 0
    if not shots or cell.signature.demos not in _WHOLE_POOL:
        return shots
    noted = runs[cell.created].document.tasks.get(cell.signature.task)
    if noted is None or "pool" not in noted.rows:
        notices.append(
            f"{name}: the size of its pool is not known; the {shots} labels it shows are all that is counted"
        )
        return shots
    pool = noted.rows["pool"]
    notices.append(f"{name}: every item has demonstrations of its own, so that all {pool:,} labels of the pool count")
    return pool


def _baselines(
    cells: Sequence[CellResult], items: _Items, runs: Mapping[str, StoredRun], wanted: Wanted, notices: list[str]
) -> list[Baseline]:
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.created):
        groups.setdefault((str(cell.signature.method), cell.signature.model), []).append(cell)
    blind = [key for key, group in groups.items() if not any(cell.signature.labels_used for cell in group)]
    for key in blind:
        notices.append(f"{key[0]}: uses no label, so it has no curve; left out")
        del groups[key]
    floors = [key for key in groups if key[0] == _FLOOR and wanted.method != _FLOOR]
    for key in floors:
        notices.append(f"{_FLOOR}: looks at no text, so it is a floor and no curve; left out")
        del groups[key]
    if not groups:
        raise HarnessError(
            f"{cells[0].signature.task}: no stored baseline learnt texts from labels; 'harness baseline --tasks"
            f" {cells[0].signature.task}' makes some"
        )
    methods = [method for method, _ in groups]
    found = []
    for (method, model), group in sorted(groups.items()):
        name = method if methods.count(method) == 1 else f"{method} {model}"
        grid = {(str(cell.signature.demo_seed), cell.signature.labels_used or 0): cell for cell in group}
        known = {place: items.scores(cell) for place, cell in grid.items()}
        line = trained_curve(name, known, items.units, wanted, notices)
        found.append(Baseline(name, line, baseline_cost(list(grid.values()), runs)))
    return found
