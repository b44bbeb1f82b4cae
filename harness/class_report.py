"""Precision, recall and F1 of each label of a row, and its confusion counts, by scikit-learn.

A row of several prompts or seeds is reported over all their predictions together, so that supports add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.metrics import Floats, Ints
from harness.summary import Row

AVERAGES = ("micro", "macro", "weighted")


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One row's.

    ``scores`` has shape [C + 3, 3]: precision, recall and F1 of each label, then their micro, macro and weighted
    averages over the labels that occur as gold or prediction (0 where a ratio is 0 / 0). ``support`` [C] counts gold
    labels. ``confusion`` [C, C + 1] counts gold by predicted label; its last column counts items without a prediction.
    """

    row: Row
    scores: Floats
    support: Ints
    confusion: Ints

    def as_dict(self) -> dict[str, Any]:
        """Under the names that scikit-learn's ``classification_report(output_dict=True)`` has."""
        total = int(self.support.sum())
        supports = [*self.support.tolist(), *[total] * len(AVERAGES)]
        names = [*self.row.labels, *(f"{name} avg" for name in AVERAGES)]
        return {
            "labels": {
                name: dict(zip(("precision", "recall", "f1-score"), map(float, line), strict=True)) | {"support": count}
                for name, line, count in zip(names, self.scores, supports, strict=True)
            },
            "confusion": self.confusion.tolist(),
            "cells": len(self.row.cells),
        }


def class_report(row: Row) -> ClassReport:
    """The report of a row; items without a prediction count as missed, for their label and no other."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    n_labels = len(row.labels)
    gold = np.concatenate([cell.gold for cell in row.cells])
    predicted = np.concatenate([cell.prediction for cell in row.cells])
    labels = list(range(n_labels))
    given = {"labels": labels, "zero_division": 0}
    *each, support = precision_recall_fscore_support(gold, predicted, **given)
    given["labels"] = [label for label in labels if label in gold or label in predicted]
    averages = [precision_recall_fscore_support(gold, predicted, average=name, **given)[:3] for name in AVERAGES]
    placed = np.where(predicted < 0, n_labels, predicted)
    counts = confusion_matrix(gold, placed, labels=[*labels, n_labels])[:n_labels]
    return ClassReport(row, np.vstack([np.stack(each, axis=1), averages]), support, counts)
