"""Classifiers on the embeddings of a frozen encoder: nearest neighbours, and a probe.

Their settings are those that did best over many tasks (``python -m benchmarks.baselines``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Ints, Surroundings
from harness.baselines.choice import choose
from harness.baselines.logistic import Logistic
from harness.errors import HarnessError
from harness.manifest import MOST_LABELS
from harness.stored_arrays import read_arrays, write_arrays

NEIGHBOURS = (1, 3, 5, 9, 15, 25)
DEFAULT_NEIGHBOURS = 9
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
DEFAULT_STRENGTH = 10.0
_BLOCK = 512  # texts compared at once
_TIE = 1e-9


class Neighbours:
    """The k training texts with the greatest cosine vote, each with its cosine, or not at all where that is below 0.

    Label shares are (sum of votes + 1 / classes) / (sum of all + 1). Of equal sums, that of the nearest text wins.
    """

    parameters = 0

    def __init__(self, around: Surroundings) -> None:
        self._embed = around.encoder
        self._vectors: Floats = np.zeros((0, 0))
        self._labels: Ints = np.zeros(0, np.int64)
        self._k, self._classes = 1, 0

    @property
    def classes(self) -> int:
        return self._classes

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        vectors = unit(self._embed(texts))

        def attempt(train: Ints, held: Ints, values: Sequence[Any]) -> list[Floats]:
            near, likeness = nearest(vectors[held], vectors[train], max(values))
            return [votes(labels[train][near[:, :k]], likeness[:, :k], n_classes) for k in values]

        folded = max(1, len(labels) // 2)  # the smallest training side of a fold
        values = [k for k in NEIGHBOURS if k <= folded]
        default = max(k for k in values if k <= DEFAULT_NEIGHBOURS)
        self._k, told = choose("k", values, default, labels, seed, attempt)
        self._vectors, self._labels, self._classes = vectors, labels, n_classes
        return told

    def scores(self, texts: Sequence[str]) -> Floats:
        vectors = unit(_of_width(self._embed(texts), self._vectors.shape[1]))
        near, likeness = nearest(vectors, self._vectors, self._k)
        return votes(self._labels[near], likeness, self._classes)

    def save(self, folder: Path) -> None:
        counts = np.array([self._k, self._classes])
        arrays = {"vectors": self._vectors, "labels": self._labels, "counts": counts}
        write_arrays(folder / "model.npz", arrays)

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._vectors = arrays.floats("vectors", None, None)
        self._k, self._classes = map(int, arrays.integers("counts", 2, low=1, high=len(self._vectors) + MOST_LABELS))
        arrays.require(self._k <= len(self._vectors), "counts tells of more neighbours than there are texts")
        self._labels = arrays.integers("labels", len(self._vectors), low=0, high=self._classes - 1)


class Probe:
    """Embeddings at length one, less their mean over the training set, then logistic regression.

    They are scaled to a mean square distance of 1 from that mean, so that a penalty means the same whatever the
    encoder, also where all its embeddings point in about one direction.
    """

    def __init__(self, around: Surroundings) -> None:
        self._embed = around.encoder
        self._mean: Floats = np.zeros(0)
        self._scale = 1.0
        self._model: Logistic | None = None

    @property
    def parameters(self) -> int:
        assert self._model is not None
        return self._model.parameters

    @property
    def classes(self) -> int:
        assert self._model is not None
        return self._model.n_classes

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        vectors = unit(self._embed(texts))

        def attempt(train: Ints, held: Ints, values: Sequence[Any]) -> list[Floats]:
            mean, scale = spread(vectors[train])
            ours, others = (vectors[train] - mean) / scale, (vectors[held] - mean) / scale
            models = Logistic.path(ours, labels[train], n_classes, values)
            return [model.log_probabilities(others) for model in models]

        strength, told = choose("C", STRENGTHS, DEFAULT_STRENGTH, labels, seed, attempt)
        self._mean, self._scale = spread(vectors)
        self._model = Logistic.fit((vectors - self._mean) / self._scale, labels, n_classes, strength)
        return told

    def scores(self, texts: Sequence[str]) -> Floats:
        assert self._model is not None
        vectors = unit(_of_width(self._embed(texts), len(self._mean)))
        return self._model.log_probabilities((vectors - self._mean) / self._scale)

    def save(self, folder: Path) -> None:
        assert self._model is not None
        write_arrays(
            folder / "model.npz", {**self._model.arrays(), "mean": self._mean, "scale": np.array([self._scale])}
        )

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._mean = arrays.floats("mean", None)
        self._scale = float(arrays.floats("scale", 1)[0])
        arrays.require(self._scale > 0, "scale is not above 0")
        self._model = Logistic.of(arrays, len(self._mean))


def _of_width(vectors: Any, width: int) -> Any:
    """Vectors that must be as long as those that a model was trained on."""
    if len(vectors) and vectors.shape[1] != width:
        raise HarnessError(
            f"the encoder gives vectors of {vectors.shape[1]} numbers, and the trained model takes {width}"
        )
    return vectors


def spread(vectors: Floats) -> tuple[Floats, float]:
    """The mean of vectors, and the root of their mean square distance to it: 1 where they are all the same."""
    mean = vectors.mean(axis=0)
    return mean, float(np.sqrt(((vectors - mean) ** 2).sum(axis=1).mean())) or 1.0


def unit(vectors: Any) -> Floats:
    """Rows of length one; a row of zeros stays."""
    table = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0))


def nearest(queries: Floats, vectors: Floats, k: int) -> tuple[Ints, Floats]:
    """Rows of ``vectors`` by falling cosine to each query, of equals the earlier first, and cosines; shape [n, k]."""
    rows, cosines = [np.zeros((0, k), np.int64)], [np.zeros((0, k))]
    for start in range(0, len(queries), _BLOCK):
        likeness = (queries[start : start + _BLOCK] @ vectors.T).round(12)
        rows.append(np.argsort(-likeness, axis=1, kind="stable")[:, :k])
        cosines.append(np.take_along_axis(likeness, rows[-1], axis=1))
    return np.concatenate(rows), np.concatenate(cosines)


def votes(labels: Ints, likeness: Floats, n_classes: int) -> Floats:
    """Log shares of the labels of neighbours, the nearest first; both have shape [n, k], the result [n, n_classes]."""
    weights = np.maximum(likeness, 0)
    weights[:, 0] += _TIE  # of equal sums the nearest wins, not the label with the lowest id
    sums = (weights[:, :, None] * (labels[:, :, None] == np.arange(n_classes))).sum(1)
    return np.asarray(np.log((sums + 1 / n_classes) / (sums.sum(1, keepdims=True) + 1)))
