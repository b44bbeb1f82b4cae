"""Learning curves, their inverse and the area between two, against scikit-learn, numpy and hand arithmetic."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from harness.learning_curves import (
    accumulated_maximum,
    data_advantage,
    data_advantages,
    isotonic,
    monotone,
    size_at,
)

Floats = npt.NDArray[np.float64]


def array(*values: float) -> Floats:
    return np.array(values, np.float64)


# Monotone curves


def test_an_isotonic_curve_pools_what_falls() -> None:
    assert isotonic(array(0.5, 0.7, 0.6, 0.8)) == pytest.approx([0.5, 0.65, 0.65, 0.8])


def test_the_accumulated_maximum_is_the_papers() -> None:
    assert accumulated_maximum(array(0.5, 0.7, 0.6, 0.8)).tolist() == [0.5, 0.7, 0.7, 0.8]
    assert monotone(np.array([[0.5, 0.7, 0.6]]), "maximum").tolist() == [[0.5, 0.7, 0.7]]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_an_isotonic_curve_is_that_of_scikit_learn(scores: list[float]) -> None:
    expected = IsotonicRegression().fit_transform(np.arange(len(scores)), np.array(scores))
    assert isotonic(array(*scores)) == pytest.approx(expected)
    both = isotonic(np.array([scores, scores[::-1]]))
    assert both[0] == pytest.approx(expected)
    assert both[1] == pytest.approx(IsotonicRegression().fit_transform(np.arange(len(scores)), scores[::-1]))


# Inverse interpolation


@pytest.mark.parametrize(
    ("level", "scale", "expected"),
    [
        (0.80, "log", 316.2278),  # the geometric mean of 100 and 1000
        (0.80, "linear", 550),
        (0.90, "log", 1000),
        (0.70, "log", -math.inf),  # the first size is enough
        (0.60, "log", -math.inf),
        (0.91, "log", math.inf),
    ],
)
def test_the_size_at_a_level(level: float, scale: str, expected: float) -> None:
    assert size_at(array(100, 1000), array(0.7, 0.9), level, scale) == pytest.approx(expected, abs=1e-4)  # type: ignore[arg-type]


def test_from_no_label_to_the_first_size_a_curve_is_straight_in_n() -> None:
    assert size_at(array(0, 8, 32), array(0.5, 0.7, 0.9), 0.6) == pytest.approx(4)
    assert size_at(array(0, 8, 32), array(0.5, 0.7, 0.9), 0.8) == pytest.approx(16)


def test_on_a_flat_part_the_least_size_counts() -> None:
    assert size_at(array(1, 10, 100, 1000), array(0.5, 0.6, 0.6, 0.7), 0.6) == 10


# Data advantage


def test_the_data_advantage_of_the_worked_example() -> None:
    sizes = array(0, 100, 200)
    assert data_advantage(sizes, array(0.5, 0.6, 0.8), sizes, array(0.6, 0.7, 0.8)) == pytest.approx(50)
    assert data_advantage(sizes, array(0.6, 0.7, 0.8), sizes, array(0.5, 0.6, 0.8)) == pytest.approx(-50)


def test_an_empty_window_has_no_advantage() -> None:
    sizes = array(0, 100)
    assert math.isnan(data_advantage(sizes, array(0.5, 0.6), sizes, array(0.7, 0.8)))
    assert math.isnan(data_advantage(sizes, array(0.5, 0.6), sizes, array(0.6, 0.8)))  # one score: nothing to average


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(0, 1), min_size=2, max_size=5, unique=True),
)
def test_the_data_advantage_is_a_fine_riemann_sum(head: list[float], prompt: list[float]) -> None:
    head, prompt = sorted(head), sorted(prompt)
    low, high = max(head[0], prompt[0]), min(head[-1], prompt[-1])
    if high - low < 1e-3 or min(np.diff(head).min(), np.diff(prompt).min()) < 1e-3:
        return
    first, second = np.arange(len(head)) * 10.0, np.arange(len(prompt)) * 7.0
    levels = low + (np.arange(40_000) + 0.5) / 40_000 * (high - low)
    expected = (np.interp(levels, head, first) - np.interp(levels, prompt, second)).mean()
    assert data_advantage(first, array(*head), second, array(*prompt)) == pytest.approx(expected, abs=0.01)


def test_many_data_advantages_are_those_of_each_pair() -> None:
    rng = np.random.default_rng(0)
    sizes, fewer = array(0, 8, 32, 128), array(0, 16, 64)
    heads, prompts = rng.random((50, 4)), rng.random((50, 3))
    found = data_advantages(sizes, heads, fewer, prompts)
    each = [data_advantage(sizes, head, fewer, prompt) for head, prompt in zip(heads, prompts, strict=True)]
    assert 0 < np.isnan(found).sum() < 50, "some have no window"
    assert found == pytest.approx(each, nan_ok=True)
