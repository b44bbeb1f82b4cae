"""Which settings are best for trained baselines: many tasks, numbers of labels and draws of training sets.

For every training set each setting is tried on folds held out of it, and on items that nothing was chosen by. Rules of
choice see the folds alone; the table says how accurate on the items is what they choose. ``--cache`` keeps what was
tried, and embeddings, so that another rule costs nothing.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import markdown
from harness.baselines import tfidf
from harness.baselines.embedded import NEIGHBOURS, nearest, spread, unit, votes
from harness.baselines.logistic import Logistic
from harness.baselines.subsets import stratified_order
from harness.embeddings import Embedder
from harness.models import ModelSpec, locate_model
from harness.progress import QuietReporter
from harness.records import Example, digest

SIZES, FEW = (4, 8, 16, 32, 64, 128, 512), 64
SEEDS, SEEDS_OF_MANY = (0, 1, 2, 3, 4), (0, 1)  # the latter for the last size
MOST_POOL, MOST_ITEMS = 1_100, 300

# Folder: the columns of the text, that of the label, and the split of the items.
TASKS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "sst2": (("sentence",), "label", "validation"),
    "rotten_tomatoes": (("text",), "label", "test"),
    "subj": (("text",), "label", "test"),
    "ag_news": (("text",), "label", "test"),
    "trec": (("text",), "coarse_label", "test"),
    "rte": (("sentence1", "sentence2"), "label", "validation"),
    "cb": (("premise", "hypothesis"), "label", "validation"),
    "mrpc": (("sentence1", "sentence2"), "label", "test"),
    "mnli": (("premise", "hypothesis"), "label", "validation_matched"),
    "boolq": (("question", "passage"), "label", "validation"),
    "chnsenticorp": (("text",), "label", "test"),
    "clue_tnews": (("sentence",), "label", "validation"),
}


@dataclass(frozen=True)
class Setting:
    """One training set of a task, and the items to be labelled; labels and gold are arrays of label ids."""

    task: str
    size: int
    seed: int
    texts: Sequence[str]
    labels: Any
    items: Sequence[str]
    gold: Any
    n_classes: int


def settings(data: Path, task: str) -> Iterator[Setting]:
    columns, target, split = TASKS[task]
    pool = _sample(_rows(data / task / "train.jsonl", columns, target), MOST_POOL)
    items = _sample(_rows(data / task / f"{split}.jsonl", columns, target), MOST_ITEMS)
    n_classes = 1 + max(example.gold for example in [*pool, *items])
    gold = np.array([item.gold for item in items])
    for seed in SEEDS:
        order = stratified_order(pool, seed, task)
        for size in SIZES:
            if size <= len(pool) and (size < SIZES[-1] or seed in SEEDS_OF_MANY):
                training = order[:size]
                labels = np.array([example.gold for example in training])
                yield Setting(task, size, seed, _texts(training), labels, _texts(items), gold, n_classes)


def _rows(path: Path, columns: Sequence[str], target: str) -> list[Example]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")):
        if line:
            row = json.loads(line)
            text = "\n".join(str(row[column]) for column in columns)
            found.append(Example(digest([number, text]), {"text": text}, (), int(row[target]), None, ""))
    return found


def _sample(rows: list[Example], most: int) -> list[Example]:
    return sorted(rows, key=lambda example: example.item_id)[:most]


def _texts(examples: Sequence[Example]) -> list[str]:
    return [str(example.fields["text"]) for example in examples]


# What is tried

Tried = dict[str, Any]
Fitted = Callable[[Any, Any], Sequence[Any]]  # rows to train on, and what to score: log-probabilities for each value


def folds(labels: Any, seed: int, kind: str) -> list[tuple[Any, Any]]:
    """Rows to train on and rows to hold out.

    all        five stratified folds, or as many as the rarest label has examples; none where that is one
    repeated   five, or as many as the most frequent label has, of the labels that have two examples or more
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    held_out = np.flatnonzero(counts[labels] >= (2 if kind == "repeated" else 1))
    folds = min(5, int(counts.max() if kind == "repeated" else counts[counts > 0].min()))
    if (counts > 0).sum() < 2 or folds < 2:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        parts = list(splitter.split(held_out[:, None], labels[held_out]))
    everything = np.arange(len(labels))
    return [(np.setdiff1d(everything, held_out[out]), held_out[out]) for _, out in parts]


def outcomes(setting: Setting, values: Sequence[Any], own: Any, items: Any, fitted: Fitted) -> Tried:
    """How many items each value gets right, and how many held-out rows under each kind of folds.

    Args:
        own: features of the training set, from which those of its rows are taken.
    """
    everything = np.arange(setting.size)
    final = fitted(everything, items)
    found: Tried = {
        "task": setting.task,
        "size": setting.size,
        "seed": setting.seed,
        "values": list(values),
        "accuracy": [float((logs.argmax(1) == setting.gold).mean()) for logs in final],
        "folds": {},
    }
    for kind in ("all", "repeated"):
        right, likelihood = np.zeros(len(values)), np.zeros(len(values))
        splits = folds(setting.labels, setting.seed, kind) if kind == "repeated" or setting.size <= FEW else []
        for train, held in splits:
            for i, logs in enumerate(fitted(train, own[held])):
                right[i] += (logs.argmax(1) == setting.labels[held]).sum()
                likelihood[i] += logs[np.arange(len(held)), setting.labels[held]].sum()
        if splits:
            found["folds"][kind] = {"right": right.tolist(), "likelihood": likelihood.tolist()}
    return found


def probe(setting: Setting, own: Any, items: Any, features: str) -> Tried:
    """Logistic regression on embeddings of length one: each dimension to deviation 1, or all scaled alike."""
    values = (0.001, 0.01, 0.1, 1.0) if features == "standard" else (1.0, 10.0, 100.0, 1000.0)

    def fitted(rows: Any, others: Any) -> Sequence[Any]:
        if features == "standard":
            mean, deviation = own[rows].mean(0), own[rows].std(0)
            scale: Any = np.where(deviation > 0, deviation, 1.0)
        else:
            mean, scale = spread(own[rows])
        models = Logistic.path((own[rows] - mean) / scale, setting.labels[rows], setting.n_classes, values)
        return [model.log_probabilities((others - mean) / scale) for model in models]

    return outcomes(setting, values, own, items, fitted)


def neighbours(setting: Setting, own: Any, items: Any, weighing: str) -> Tried:
    """Votes of the nearest: equal ones, ties to the lowest label or the larger sum of cosines; or cosines as votes."""
    values = [k for k in NEIGHBOURS if k <= max(1, setting.size // 2)]

    def fitted(rows: Any, others: Any) -> Sequence[Any]:
        near, cosines = nearest(others, own[rows], max(values))
        labels = setting.labels[rows][near]
        if weighing == "weighted":
            return [votes(labels[:, :k], cosines[:, :k], setting.n_classes) for k in values]
        found = []
        for k in values:
            mine = labels[:, :k, None] == np.arange(setting.n_classes)
            table = mine.sum(1) + (weighing == "likeness") * 1e-3 * (mine * cosines[:, :k, None]).sum(1)
            found.append(np.log(np.maximum(table, 0) + 1 / setting.n_classes))
        return found

    return outcomes(setting, values, own, items, fitted)


def bag(setting: Setting) -> Tried:
    """TF-IDF and logistic regression; vocabulary and frequencies of a fold are those of its training side."""
    values = (1.0, 10.0, 100.0, 1000.0)
    blocks = [tfidf._Block(*shape) for shape in tfidf.shapes_for(setting.texts)]
    counts = [block.learn(setting.texts) for block in blocks]

    def fitted(rows: Any, others: Any) -> Sequence[Any]:
        if others is None:  # the items
            ours = tfidf._beside([block.weigh(count) for block, count in zip(blocks, counts, strict=True)])
            seen = tfidf._beside([block.weigh(block.count(setting.items)) for block in blocks])
        else:
            parts = [tfidf._fold(count, rows, others) for count in counts]
            ours, seen = (tfidf._beside([part[i] for part in parts]) for i in (0, 1))
        models = Logistic.path(ours, setting.labels[rows], setting.n_classes, values)
        return [model.log_probabilities(seen) for model in models]

    return outcomes(setting, values, np.arange(setting.size), None, fitted)


Method = Callable[[Setting, Any], Tried]
METHODS: Mapping[str, Method] = {
    "probe, each dimension scaled": lambda setting, of: probe(setting, *of(setting), "standard"),
    "probe, all scaled alike": lambda setting, of: probe(setting, *of(setting), "scaled"),
    "knn, equal votes, ties to the lowest label": lambda setting, of: neighbours(setting, *of(setting), "lowest"),
    "knn, equal votes, ties by cosine": lambda setting, of: neighbours(setting, *of(setting), "likeness"),
    "knn, cosines as votes": lambda setting, of: neighbours(setting, *of(setting), "weighted"),
    "tfidf": lambda setting, of: bag(setting),
}


class Vectors:
    """Embeddings of length one of a setting's texts and items."""

    def __init__(self, encoder: str, cache: Path) -> None:
        self._embedder = Embedder(locate_model(ModelSpec(encoder)), cache, QuietReporter())

    def __call__(self, setting: Setting) -> tuple[Any, Any]:
        return unit(self._embedder(setting.texts)), unit(self._embedder(setting.items))


def tried(method: str, data: Path, vectors: Any, cache: Path) -> list[Tried]:
    """Everything that was tried of a method, and what was not yet."""
    path = cache / f"{method.replace(' ', '-').replace(',', '')}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    known = {(one["task"], one["size"], one["seed"]) for one in found}
    for task in TASKS:
        for setting in settings(data, task):
            if (task, setting.size, setting.seed) not in known:
                found.append(METHODS[method](setting, vectors))
                with path.open("a") as stream:
                    stream.write(json.dumps(found[-1]) + "\n")
    return found


# Rules of choice


@dataclass(frozen=True)
class Rule:
    """Takes the best value on held-out folds, by accuracy or likelihood; ``default`` where there are none, and where
    there are fewer than ``begin`` labels."""

    default: float
    folds: str | None = None
    by: str = "accuracy"
    begin: int = 0

    def __str__(self) -> str:
        if self.folds is None:
            return f"always {self.default:g}"
        begin = f", from {self.begin} labels on" if self.begin else ""
        return f"{self.by} on {self.folds} labels{begin}, else {self.default:g}"

    def choose(self, one: Tried) -> int:
        """The index of the value that it takes; of the default, that of the nearest value there is."""
        known = one["folds"].get(self.folds)
        places = range(len(one["values"]))
        if known is None or one["size"] < self.begin:
            return min(places, key=lambda i: abs(np.log(one["values"][i] / self.default)))
        right, likelihood = known["right"], known["likelihood"]
        if self.by == "likelihood":
            return max(places, key=lambda i: (likelihood[i], -i))
        return max(places, key=lambda i: (right[i], likelihood[i], -i))


def rules(values: Sequence[float]) -> list[Rule]:
    ways = [Rule(values[0], "repeated"), Rule(values[0], "repeated", "likelihood")]
    before, after = [Rule(v, "all") for v in values], [Rule(v, "repeated", begin=FEW) for v in values]
    return [*map(Rule, values), *before, *ways, *after]


def report(found: Sequence[Tried]) -> str:
    """For each rule the mean accuracy over tasks at each number of labels, and up to FEW the mean of all, and rank."""
    from scipy.stats import rankdata

    values = max((one["values"] for one in found), key=len)
    lines = []
    scores: list[dict[tuple[int, str], float]] = []
    for rule in rules(values):
        cells = defaultdict(list)
        for one in found:
            cells[one["size"], one["task"]].append(one["accuracy"][rule.choose(one)])
        scores.append({cell: 100 * float(np.mean(got)) for cell, got in cells.items()})
    few = sorted(cell for cell in scores[0] if cell[0] <= FEW)
    table = np.array([[score[cell] for cell in few] for score in scores])
    ranks = np.apply_along_axis(rankdata, 0, -table.round(6)).mean(1)
    for rule, score, row, rank in zip(rules(values), scores, table, ranks, strict=True):
        sizes = [np.mean([got for (size, _), got in score.items() if size == wanted]) for wanted in SIZES]
        shown = [
            "" if rule.folds == "all" and size > FEW else f"{mean:.1f}" for size, mean in zip(SIZES, sizes, strict=True)
        ]
        lines.append([str(rule), f"{row.mean():.2f}", f"{rank:.1f}", *shown])
    return markdown(["rule", f"mean to {FEW}", "rank", *map(str, SIZES)], lines, words=1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tasks' data")
    parser.add_argument("--encoder", required=True, help="model that knn and probe embed with")
    parser.add_argument("--cache", type=Path, default=Path("results/baseline-settings"), help="where tries are kept")
    parser.add_argument("--method", choices=METHODS, help="only this one")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    vectors = Vectors(given.encoder, given.cache)
    for method in METHODS:
        if given.method in (None, method):
            print(f"\n{method}\n\n{report(tried(method, given.data, vectors, given.cache))}", flush=True)


if __name__ == "__main__":
    main()
