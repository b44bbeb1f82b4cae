"""Chooses a hyper-parameter by stratified cross-validation inside the training set; no further label is used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness import interrupts
from harness.baselines.base import Floats, Ints

MOST_FOLDS = 5
CHOSEN_FROM = 64  # labels; a choice among fewer follows chance more than what is right
ONE_FOLD_FROM = 2_000  # labels; from here on one fold of five is held out, once: five would say little more

# Given rows to train on and rows to hold out, the held-out log-probabilities under each value; shape [n out, classes].
Try = Callable[[Ints, Ints, Sequence[Any]], Sequence[Floats]]


def choose(
    name: str, values: Sequence[Any], default: Any, labels: Ints, seed: int, attempt: Try
) -> tuple[Any, Mapping[str, Any]]:
    """The value with the best accuracy on held-out folds (of equals the best log-likelihood, then the first), and how
    it was chosen.

    Labels with two examples or more are held out, in five folds, or as many as the most frequent label has examples;
    those with one are always trained on. With fewer than CHOSEN_FROM examples, or where nothing can be held out, the
    default is taken.
    """
    told: dict[str, Any] = {"further_labels": 0}
    splits = _folds(labels, seed) if len(labels) >= CHOSEN_FROM else []
    if not splits:
        why = f"fewer than {CHOSEN_FROM} labels" if len(labels) < CHOSEN_FROM else "nothing can be held out"
        return default, {name: default, "chosen_by": f"default: {why}", **told}
    folds = len(splits)
    if len(labels) >= ONE_FOLD_FROM:
        splits = splits[:1]
    right, likelihood = np.zeros(len(values)), np.zeros(len(values))
    for train, held in splits:
        interrupts.check()
        for i, logs in enumerate(attempt(train, held, values)):
            right[i] += (logs.argmax(1) == labels[held]).sum()
            likelihood[i] += logs[np.arange(len(held)), labels[held]].sum()
    best = max(range(len(values)), key=lambda i: (right[i], likelihood[i], -i))
    how = f"{folds}-fold cross-validation" if len(splits) > 1 else "one held-out fold of five"
    accuracy = float(right[best] / sum(len(held) for _, held in splits))
    return values[best], {name: values[best], "chosen_by": how, "held_out_accuracy": accuracy, **told}


def _folds(labels: Ints, seed: int) -> list[tuple[Ints, Ints]]:
    """Rows to train on and rows to hold out, stratified. No fold holds out all examples of a label."""
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    repeated = np.flatnonzero(counts[labels] >= 2)
    if not len(repeated) or (counts > 0).sum() < 2:
        return []
    folds = min(MOST_FOLDS, int(counts.max()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # some folds lack it, which is right
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
        parts = list(splitter.split(np.zeros((len(repeated), 1)), labels[repeated]))
    everything = np.arange(len(labels))
    return [(np.setdiff1d(everything, repeated[held]), repeated[held]) for _, held in parts]
