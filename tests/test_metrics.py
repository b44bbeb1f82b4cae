"""Metrics from confusion counts, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from harness.metrics import METRICS, accuracy, confusion, macro_f1, pair_index

NONE = -1


def counts(gold: list[int], predicted: list[int], n_labels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return confusion(pair_index(np.array(gold, np.int64), np.array(predicted, np.int64), n_labels), n_labels)


GOLD, PREDICTED = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]


def test_the_oracle() -> None:
    found = counts(GOLD, PREDICTED, 3)
    assert accuracy(found) == pytest.approx(0.6667, abs=1e-4)
    assert macro_f1(found) == pytest.approx(0.4889, abs=1e-4)


def test_the_counts_are_gold_by_prediction_with_a_last_column_for_none() -> None:
    assert counts([0, 1, 1, 2], [1, 1, NONE, NONE], 3).tolist() == [[0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("gold", "predicted", "n_labels", "expected"),
    [
        ([0, 1], [0, 1], 2, 1.0),
        ([0, 1], [1, 0], 2, 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 2, 1.0),  # a label that occurs nowhere does not count
        ([0, 0, 0, 0], [0, 0, 0, 1], 2, (6 / 7 + 0) / 2),  # predicted, never gold: F1 0
        ([0, 0, 1, 1], [0, 0, NONE, NONE], 2, (1 + 0) / 2),
        ([0, 1], [NONE, NONE], 2, 0.0),
        ([2], [2], 5, 1.0),
    ],
)
def test_macro_f1_by_hand(gold: list[int], predicted: list[int], n_labels: int, expected: float) -> None:
    assert macro_f1(counts(gold, predicted, n_labels)) == pytest.approx(expected, abs=1e-12)


def test_an_item_without_a_prediction_is_wrong() -> None:
    assert accuracy(counts([0, 0, 1, 1], [0, NONE, 1, NONE], 2)) == 0.5


@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=40), spare=st.integers(0, 2)
)
def test_the_same_as_scikit_learn(pairs: list[tuple[int, int]], spare: int) -> None:
    gold, predicted = [g for g, _ in pairs], [p for _, p in pairs]
    found = counts(gold, predicted, 4 + spare)
    occurring = sorted({*gold, *predicted} - {NONE})
    expected = f1_score(gold, predicted, labels=occurring, average="macro", zero_division=0.0)
    assert accuracy(found) == pytest.approx(accuracy_score(gold, predicted), abs=1e-12)
    assert macro_f1(found) == pytest.approx(expected, abs=1e-12)


def test_many_tables_at_once_give_one_value_each() -> None:
    tables = [counts(GOLD, PREDICTED, 3), counts([0, 1, 2], [0, 1, 2], 3), counts([0, 0, 0], [1, 1, NONE], 3)]
    for metric in METRICS.values():
        assert metric(np.stack(tables)).tolist() == [float(metric(table)) for table in tables]
