"""The floors that anything must beat: the most frequent label of the training set, and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Ints, Surroundings
from harness.manifest import MOST_LABELS
from harness.records import digest
from harness.stored_arrays import read_arrays, write_arrays


class Majority:
    """Every text gets the label shares of the training set, (count + 1) / (n + classes), and so its commonest label."""

    parameters = 0

    def __init__(self, around: Surroundings) -> None:
        self._logs: Floats = np.zeros(0)

    @property
    def classes(self) -> int:
        return len(self._logs)

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        counts = np.bincount(labels, minlength=n_classes) + 1
        self._logs = np.log(counts / counts.sum())
        return {}

    def scores(self, texts: Sequence[str]) -> Floats:
        return np.tile(self._logs, (len(texts), 1))

    def save(self, folder: Path) -> None:
        write_arrays(folder / "model.npz", {"logs": self._logs})

    def load(self, folder: Path) -> None:
        self._logs = read_arrays(folder / "model.npz").floats("logs", None)


class Chance:
    """Each text gets probabilities drawn evenly from all there are (a flat Dirichlet), by the seed and the text alone.

    Every label is then as likely as any other to come out on top, so that expected accuracy is 1 / classes. It reads no
    label.
    """

    parameters = 0

    def __init__(self, around: Surroundings) -> None:
        self._classes, self._seed = 0, 0

    @property
    def classes(self) -> int:
        return self._classes

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        self._classes, self._seed = n_classes, seed
        return {}

    def scores(self, texts: Sequence[str]) -> Floats:
        table = np.empty((len(texts), self._classes))
        for row, text in zip(table, texts, strict=True):
            generator = np.random.default_rng(int(digest(["chance", self._seed, text]), 16))
            row[:] = np.log(generator.dirichlet(np.ones(self._classes)) + 1e-300)
        return table

    def save(self, folder: Path) -> None:
        write_arrays(folder / "model.npz", {"classes": np.array(self._classes), "seed": np.array(self._seed)})

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._classes = int(arrays.integers("classes", low=1, high=MOST_LABELS))
        self._seed = int(arrays.integers("seed"))
