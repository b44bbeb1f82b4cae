"""Classifiers on frozen embeddings, the mean-pooled hidden states of an encoder: nearest neighbours, and a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Ints, Surroundings, read_arrays, write_arrays
from harness.baselines.choice import choose
from harness.baselines.logistic import Logistic

NEIGHBOURS = (1, 3, 5, 9, 15, 25)
DEFAULT_NEIGHBOURS = 1
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
DEFAULT_STRENGTH = 0.01
_BLOCK = 512  # texts compared at once


class Neighbours:
    """The k training texts with the greatest cosine vote; label shares are (votes + 1 / classes) / (k + 1)."""

    parameters = 0

    def __init__(self, around: Surroundings) -> None:
        self._embed = around.encoder
        self._vectors: Floats = np.zeros((0, 0))
        self._labels: Ints = np.zeros(0, np.int64)
        self._k, self._classes = 1, 0

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        vectors = unit(self._embed(texts))

        def attempt(train: Ints, held: Ints, values: Sequence[Any]) -> list[Floats]:
            near = nearest(vectors[held], vectors[train], max(values))
            return [votes(labels[train][near[:, :k]], n_classes) for k in values]

        folded = max(1, len(labels) // 2)  # the smallest training side of a fold
        values = [k for k in NEIGHBOURS if k <= folded]
        self._k, told = choose("k", values, DEFAULT_NEIGHBOURS, labels, seed, attempt)
        self._vectors, self._labels, self._classes = vectors, labels, n_classes
        return told

    def scores(self, texts: Sequence[str]) -> Floats:
        near = nearest(unit(self._embed(texts)), self._vectors, self._k)
        return votes(self._labels[near], self._classes)

    def save(self, folder: Path) -> None:
        counts = np.array([self._k, self._classes])
        arrays = {"vectors": self._vectors, "labels": self._labels, "counts": counts}
        write_arrays(folder / "model.npz", arrays)

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._vectors, self._labels = arrays["vectors"], arrays["labels"]
        self._k, self._classes = (int(count) for count in arrays["counts"])


class Probe:
    """Every dimension to mean 0 and deviation 1 (of the training set), then logistic regression."""

    def __init__(self, around: Surroundings) -> None:
        self._embed = around.encoder
        self._mean: Floats = np.zeros(0)
        self._scale: Floats = np.zeros(0)
        self._model: Logistic | None = None

    @property
    def parameters(self) -> int:
        assert self._model is not None
        return self._model.parameters

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        vectors = self._embed(texts).astype(np.float64)

        def attempt(train: Ints, held: Ints, values: Sequence[Any]) -> list[Floats]:
            mean, scale = standard(vectors[train])
            ours, others = (vectors[train] - mean) / scale, (vectors[held] - mean) / scale
            models = Logistic.path(ours, labels[train], n_classes, values)
            return [model.log_probabilities(others) for model in models]

        strength, told = choose("C", STRENGTHS, DEFAULT_STRENGTH, labels, seed, attempt)
        self._mean, self._scale = standard(vectors)
        self._model = Logistic.fit((vectors - self._mean) / self._scale, labels, n_classes, strength)
        return told

    def scores(self, texts: Sequence[str]) -> Floats:
        assert self._model is not None
        return self._model.log_probabilities((self._embed(texts).astype(np.float64) - self._mean) / self._scale)

    def save(self, folder: Path) -> None:
        assert self._model is not None
        write_arrays(folder / "model.npz", {**self._model.arrays(), "mean": self._mean, "scale": self._scale})

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._mean, self._scale, self._model = arrays["mean"], arrays["scale"], Logistic.of(arrays)


def standard(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each dimension, as of scikit-learn's StandardScaler: 1 where a dimension is constant."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    return np.asarray(scaler.mean_), np.asarray(scaler.scale_)


def unit(vectors: Any) -> Floats:
    """Rows of length one; a row of zeros stays."""
    table = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0))


def nearest(queries: Floats, vectors: Floats, k: int) -> Ints:
    """Rows of ``vectors`` by falling likeness to each query, the earlier of equals first; shape [n queries, k]."""
    found = [
        np.argsort(-(queries[start : start + _BLOCK] @ vectors.T).round(12), axis=1, kind="stable")[:, :k]
        for start in range(0, len(queries), _BLOCK)
    ]
    return np.concatenate(found) if found else np.zeros((0, k), np.int64)


def votes(labels: Ints, n_classes: int) -> Floats:
    """Log shares of the labels of neighbours; ``labels`` has shape [n, k], the result [n, n_classes]."""
    k = labels.shape[1]
    counts = (labels[:, :, None] == np.arange(n_classes)).sum(1)
    return np.asarray(np.log((counts + 1 / n_classes) / (k + 1)))
