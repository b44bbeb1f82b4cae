"""Calibration of label probabilities, against hand arithmetic and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from harness.metrics import Floats, Ints
from harness.reliability import (
    brier,
    confidence_and_right,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_table,
)

CONFIDENCE, RIGHT = np.array([0.95, 0.85, 0.75, 0.65]), np.array([1.0, 1, 0, 1])


def drawn(n: int, n_labels: int, seed: int = 0) -> tuple[Floats, Ints]:
    generator = np.random.default_rng(seed)
    return softmax(generator.normal(size=(n, n_labels)), axis=1), generator.integers(0, n_labels, n)


@pytest.mark.parametrize(("bins", "expected"), [(10, 0.325), (2, 0.05)])
def test_the_expected_calibration_error(bins: int, expected: float) -> None:
    assert reliability_table(CONFIDENCE, RIGHT, bins).expected_calibration_error == pytest.approx(expected)
    probabilities = np.stack([CONFIDENCE, 1 - CONFIDENCE], axis=1)
    assert expected_calibration_error(probabilities, np.array([0, 0, 1, 0]), bins) == pytest.approx(expected)


def test_a_reliability_table_by_hand() -> None:
    found = reliability_table(np.array([0.5, 0.55, 0.75, 0.8, 1.0]), np.array([0.0, 1, 1, 0, 1]), bins=4)
    assert found.low.tolist() == [0, 0.25, 0.5, 0.75]
    assert found.high.tolist() == [0.25, 0.5, 0.75, 1]
    assert found.count.tolist() == [0, 1, 2, 2]
    assert found.confidence == pytest.approx([math.nan, 0.5, 0.65, 0.9], nan_ok=True)
    assert found.accuracy == pytest.approx([math.nan, 0.0, 1.0, 0.5], nan_ok=True)
    # (1 x .5 + 2 x .35 + 2 x .4) / 5
    assert found.expected_calibration_error == pytest.approx(0.4)


@pytest.mark.parametrize("bins", [5, 10, 15, 20])
def test_an_upper_edge_belongs_to_its_bin(bins: int) -> None:
    for upper in range(1, bins + 1):
        count = reliability_table(np.array([upper / bins]), np.ones(1), bins).count
        assert count.argmax() == upper - 1
        assert count.sum() == 1
    decimals = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert reliability_table(decimals, np.ones(10), 10).count.tolist() == [1] * 10


def test_the_bins_are_those_of_scikit_learn() -> None:
    """Its bins are [low, high), which random confidences do not tell apart."""
    generator = np.random.default_rng(1)
    confidence = generator.random(500)
    right = (generator.random(500) < confidence).astype(np.float64)
    accuracy, mean = calibration_curve(right, confidence, n_bins=7)
    found = reliability_table(confidence, right, bins=7)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.confidence == pytest.approx(mean)


def test_the_confidence_is_that_of_the_first_most_probable_label() -> None:
    confidence, right = confidence_and_right(np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]), np.array([1, 1]))
    assert confidence == pytest.approx([0.5, 0.4])
    assert right.tolist() == [1, 0]


def test_the_brier_score_and_the_likelihood() -> None:
    probabilities, gold = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0])
    assert brier(probabilities, gold) == pytest.approx(0.40)
    assert negative_log_likelihood(probabilities, gold) == pytest.approx(0.5697, abs=5e-5)


@given(n=st.integers(1, 20), n_labels=st.integers(2, 5), seed=st.integers(0, 9))
def test_they_are_their_sums(n: int, n_labels: int, seed: int) -> None:
    probabilities, gold = drawn(n, n_labels, seed)
    squares = [
        sum((p - (label == g)) ** 2 for label, p in enumerate(row)) for row, g in zip(probabilities, gold, strict=True)
    ]
    assert brier(probabilities, gold) == pytest.approx(sum(squares) / n)
    logs = [-math.log(row[g]) for row, g in zip(probabilities, gold, strict=True)]
    assert negative_log_likelihood(probabilities, gold) == pytest.approx(sum(logs) / n)


def test_of_two_labels_the_brier_score_is_twice_the_binary_one() -> None:
    probabilities, gold = drawn(50, 2)
    assert brier(probabilities, gold) == pytest.approx(2 * brier_score_loss(gold, probabilities[:, 1]))


def test_single_precision_is_good_enough() -> None:
    probabilities, gold = drawn(50, 4)
    single = probabilities.astype(np.float32).astype(np.float64)
    assert brier(single, gold) == pytest.approx(brier(probabilities, gold), abs=1e-6)
    assert negative_log_likelihood(single, gold) == pytest.approx(
        negative_log_likelihood(probabilities, gold), abs=1e-6
    )


def test_certain_answers() -> None:
    certain, gold = np.eye(3), np.arange(3)
    assert (brier(certain, gold), negative_log_likelihood(certain, gold)) == pytest.approx((0, 0), abs=1e-12)
    assert expected_calibration_error(certain, gold) == 0
    assert brier(certain, (gold + 1) % 3) == pytest.approx(2)
    assert negative_log_likelihood(certain, (gold + 1) % 3) == pytest.approx(-math.log(2.2e-16), abs=0.01)


@pytest.mark.parametrize(
    ("probabilities", "gold"),
    [
        (np.zeros((0, 2)), []),
        (np.ones((1, 1)), [0]),
        (np.array([[0.5, 0.5]]), [2]),
        (np.array([[0.5, 0.5]]), [-1]),
        (np.array([[0.5, 0.5]]), [0, 1]),
        (np.array([[0.5, 0.6]]), [0]),
        (np.array([[-0.5, 1.5]]), [0]),
        (np.array([[math.nan, 1.0]]), [0]),
    ],
)
def test_what_is_no_distribution_over_labels_is_refused(probabilities: Floats, gold: list[int]) -> None:
    for measure in (brier, negative_log_likelihood, expected_calibration_error):
        with pytest.raises(ValueError):
            measure(probabilities, np.array(gold, np.int64))


@pytest.mark.parametrize("confidence", [[], [0.0], [1.1], [math.nan]])
def test_what_is_no_confidence_is_refused(confidence: list[float]) -> None:
    with pytest.raises(ValueError, match="confidences above 0"):
        reliability_table(np.array(confidence), np.ones(len(confidence)))
