"""Multinomial logistic regression with an L2 penalty, as numbers that can be stored."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Ints, smoothed
from harness.manifest import MOST_LABELS
from harness.signature import MOST_ITEMS
from harness.stored_arrays import StoredArrays

# Newton's method reaches a gradient of TOLERANCE several times as fast as L-BFGS one of 1e-5, which can leave
# log-probabilities a third off where the penalty is weak.
SOLVER, TOLERANCE, MOST_STEPS = "newton-cg", 1e-7, 1_000
# Up to so many texts it pays to take their inner products apart: for each label, and at most.
MOST_TEXTS_PER_LABEL, MOST_TEXTS = 200, 1_500


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """``weights`` [d, k] and ``bias`` [k] over the k label ids ``present`` in training; ``n_labels`` trained it."""

    weights: Floats
    bias: Floats
    present: Ints
    n_classes: int
    n_labels: int

    @classmethod
    def fit(cls, features: Any, labels: Ints, n_classes: int, strength: float) -> Logistic:
        """Args: features: dense or sparse, shape [n, d]; strength: scikit-learn's C."""
        return cls.path(features, labels, n_classes, [strength])[0]

    @classmethod
    def path(cls, features: Any, labels: Ints, n_classes: int, strengths: Sequence[float]) -> list[Logistic]:
        """One fit for each strength; none depends on the others."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        present = np.unique(labels)
        if len(present) == 1:
            alone = cls(np.zeros((features.shape[1], 1)), np.zeros(1), present, n_classes, len(labels))
            return [alone] * len(strengths)
        # With fewer texts than features, the best weights are a combination of the texts (the penalty sees to that), so
        # that the same optimum is found in n dimensions: K = X X' = U S U', and U sqrt(S) stands for X.
        basis, seen = None, features
        if len(labels) < min(MOST_TEXTS, MOST_TEXTS_PER_LABEL * len(present), features.shape[1]):
            basis = _basis(features)
            seen = (features @ features.T) @ basis
        found = []
        for strength in strengths:
            model = LogisticRegression(C=strength, solver=SOLVER, max_iter=MOST_STEPS, tol=TOLERANCE)
            with warnings.catch_warnings():
                # At the limits of rounding nothing moves any more, which both warn of.
                warnings.simplefilter("ignore", ConvergenceWarning)
                warnings.filterwarnings("ignore", "(?i).*line search")
                # With few examples nearly each may have a label of its own.
                warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
                model.fit(seen, labels)
            weights, bias = model.coef_.T, model.intercept_
            if basis is not None:
                weights = features.T @ (basis @ weights)
            if len(present) == 2:  # one row of weights is the second label's against the first's
                weights, bias = np.hstack([0 * weights, weights]), np.array([0.0, bias[0]])
            found.append(cls(weights, bias, present, n_classes, len(labels)))
        return found

    @property
    def parameters(self) -> int:
        """Free ones: of two labels, one row of weights and one bias."""
        rows = 1 if len(self.present) == 2 else len(self.present) if len(self.present) > 2 else 0
        return rows * (len(self.weights) + 1)

    def log_probabilities(self, features: Any) -> Floats:
        """Shape [n, n_classes]."""
        from scipy.special import log_softmax

        logits = features @ self.weights + self.bias
        return smoothed(log_softmax(logits, axis=1), self.present, self.n_classes, self.n_labels)

    def arrays(self) -> dict[str, Any]:
        counts = np.array([self.n_classes, self.n_labels])
        return {"weights": self.weights, "bias": self.bias, "present": self.present, "counts": counts}

    @classmethod
    def of(cls, arrays: StoredArrays, width: int) -> Logistic:
        """The stored model of ``width`` features. Raises DamagedFileError."""
        n_classes, n_labels = map(int, arrays.integers("counts", 2, low=1, high=MOST_ITEMS))
        arrays.require(n_classes <= MOST_LABELS, "counts tells of too many classes")
        present = arrays.integers("present", None, low=0, high=n_classes - 1)
        arrays.require(len(present) and len(np.unique(present)) == len(present), "present names no label, or one twice")
        weights, bias = arrays.floats("weights", width, len(present)), arrays.floats("bias", len(present))
        return cls(weights, bias, present, n_classes, n_labels)


def _basis(features: Any) -> Floats:
    """U / sqrt(S) of the texts' inner products, without the directions that hold nothing; shape [n, r]."""
    products = features @ features.T
    values, vectors = np.linalg.eigh(products if isinstance(products, np.ndarray) else products.toarray())
    kept = values > 1e-10 * values[-1]
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))
