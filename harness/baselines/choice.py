"""Chooses a hyper-parameter by stratified cross-validation inside the training set; no further label is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness import interrupts
from harness.baselines.base import Floats, Ints

MOST_FOLDS = 5
ONE_FOLD_FROM = 2_000  # labels; from here on one fold of five is held out, once: five would say little more

# Given rows to train on and rows to hold out, the held-out log-probabilities under each value; shape [n out, classes].
Try = Callable[[Ints, Ints, Sequence[Any]], Sequence[Floats]]


def choose(
    name: str, values: Sequence[Any], default: Any, labels: Ints, seed: int, attempt: Try
) -> tuple[Any, Mapping[str, Any]]:
    """The value with the best accuracy on held-out folds (of equals the best log-likelihood, then the first), and how
    it was chosen.

    There are five folds, or as many as the rarest label among ``labels`` has examples; where that is one, or only one
    label is there, the default is taken.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    folds = min(MOST_FOLDS, int(counts[counts > 0].min()))
    told: dict[str, Any] = {"further_labels": 0}
    if folds < 2 or (counts > 0).sum() < 2:
        return default, {name: default, "chosen_by": "default: a label has one example only", **told}
    splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros((len(labels), 1)), labels))
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
