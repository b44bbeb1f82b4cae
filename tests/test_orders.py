"""Orders of demonstrations: permutations, entropies, and the choice of an order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import harness
from harness.shots import choose_order, count_orders, entropy, global_entropy, local_entropy
from harness.shots.order import permutation


def test_global_entropy_of_four_predictions() -> None:
    assert global_entropy([0, 0, 0, 1], 2) == pytest.approx(0.5623, abs=1e-4)


def test_local_entropy_of_two_items() -> None:
    assert local_entropy(np.array([[0.9, 0.1], [0.5, 0.5]])) == pytest.approx(0.5091, abs=1e-4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_global_entropy_is_that_of_scipy(predictions: list[int]) -> None:
    expected = stats.entropy([predictions.count(label) for label in range(4)])
    assert global_entropy(predictions, 4) == pytest.approx(expected, abs=1e-9)


def test_entropies_lie_between_none_and_all() -> None:
    assert global_entropy([1, 1, 1], 3) == 0.0
    assert global_entropy([0, 1, 2], 3) == pytest.approx(math.log(3))
    assert local_entropy(np.array([[1.0, 0.0, 0.0]])) == 0.0
    assert local_entropy(np.full((2, 3), 1 / 3)) == pytest.approx(math.log(3))


def test_scores_are_turned_into_shares_of_the_labels() -> None:
    logs = np.log(np.array([[0.09, 0.01], [0.2, 0.2]])) - 1000
    assert entropy(logs, "local") == pytest.approx(0.5091, abs=1e-4)
    assert entropy(np.log([[0.7, 0.3], [0.6, 0.4], [0.8, 0.2], [0.1, 0.9]]), "global") == pytest.approx(
        0.5623, abs=1e-4
    )


def test_the_chosen_order_is_the_least_one_sided() -> None:
    one_sided = np.log([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4]])
    even = np.log([[0.99, 0.01], [0.01, 0.99], [0.99, 0.01]])
    assert choose_order({0: one_sided, 1: even}) == 1
    assert choose_order({0: even, 1: one_sided}, "local") == 1
    assert choose_order({7: even, 3: even, 5: one_sided}) == 3
    assert harness.choose_order is choose_order


@given(k=st.integers(1, 6), number=st.integers(0, 5), seed=st.integers(0, 3))
def test_orders_are_permutations_and_all_different(k: int, number: int, seed: int) -> None:
    number %= math.factorial(k)
    found = [permutation(k, one, str(seed)) for one in range(number + 1)]
    assert all(sorted(order) == list(range(k)) for order in found)
    assert len(set(found)) == len(found)


def test_all_orders_are_among_the_first() -> None:
    assert {permutation(4, number, "s") for number in range(24)} == set(itertools.permutations(range(4)))


def test_orders_differ_by_seed_and_are_fair() -> None:
    counts = [0] * 6
    orders = list(itertools.permutations(range(3)))
    for seed in range(1200):
        counts[orders.index(permutation(3, 0, str(seed)))] += 1
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(
    ("k", "wanted", "there"), [(1, 8, 1), (2, 8, 2), (4, 8, 8), (4, 24, 24), (4, 99, 24), (64, 99, 99)]
)
def test_there_are_no_more_orders_than_k_factorial(k: int, wanted: int, there: int) -> None:
    assert count_orders(k, wanted) == there
