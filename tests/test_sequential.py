"""Comparisons that may be looked at at any time, against hand arithmetic, exact sums and numerical integrals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from harness.sequential import Round, confidence_sequence, e_value, e_values, halving_schedule, stopping_item


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(8, 2, 2.069), (9, 1, 9.309), (8, 0, 28.44), (7, 0, 16.0), (0, 0, 1.0), (1, 0, 1.0)],
)
def test_the_evidence_of_discordant_items(wins: int, losses: int, expected: float) -> None:
    assert e_value(wins, losses) == pytest.approx(expected, abs=5e-3)
    assert e_value(losses, wins) == e_value(wins, losses)


@given(wins=st.integers(0, 40), losses=st.integers(0, 40))
def test_it_is_the_formula_in_whole_numbers(wins: int, losses: int) -> None:
    n = wins + losses
    expected = 2**n * math.factorial(wins) * math.factorial(losses) / math.factorial(n + 1)
    assert e_value(wins, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_under_the_null_its_expectation_is_1(n: int) -> None:
    chances = stats.binom.pmf(np.arange(n + 1), n, 0.5)
    assert sum(chance * e_value(wins, n - wins) for wins, chance in enumerate(chances)) == pytest.approx(1)


def test_it_does_not_fail_on_many_items() -> None:
    assert e_value(5000, 0) == math.inf
    assert 0 < e_value(5000, 5000) < 0.1


def test_the_evidence_after_each_item() -> None:
    found = e_values(np.array([1, 0, -1, 1, 1]))
    assert found == pytest.approx([1, 1, 2 / 3, 2 / 3, 0.8])  # 1-0, 1-0, 1-1: 4/6, 2-1: 16/24, 3-1: 96/120
    assert e_values(np.array([], np.int64)).shape == (0,)


def test_when_to_stop() -> None:
    assert stopping_item(np.ones(20, np.int64)) == 8  # 28.44 >= 20; after 7 it is 16
    assert stopping_item(-np.ones(20, np.int64)) == 8
    assert stopping_item(np.ones(7, np.int64)) is None
    assert stopping_item(np.array([0, 1] * 8)) == 16
    # 5 comparisons need 100: 2^10 / 11 = 93.1, 2^11 / 12 = 170.7
    assert stopping_item(np.ones(20, np.int64), comparisons=5) == 11
    assert stopping_item(np.ones(20, np.int64), alpha=0.1) == 7  # 16 >= 10; after 6 it is 64/7 = 9.1
    assert stopping_item(np.array([], np.int64)) is None


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"), [(8, 10, 0.3530, 0.9895), (80, 100, 0.6518, 0.9072), (0, 0, 0.0, 1.0)]
)
def test_the_confidence_sequence(wins: int, n: int, low: float, high: float) -> None:
    assert confidence_sequence(wins, n) == pytest.approx((low, high), abs=5e-5)
    assert confidence_sequence(n - wins, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_the_confidence_sequence_of_all_or_nothing() -> None:
    # 1 / (11 (1 - p)^10) = 20
    expected = 1 - (1 / 220) ** (1 / 10)
    assert confidence_sequence(0, 10) == (0, pytest.approx(expected))
    assert confidence_sequence(10, 10) == (pytest.approx(1 - expected), 1)


@pytest.mark.parametrize(("wins", "n", "alpha"), [(3, 10, 0.05), (40, 60, 0.01)])
def test_its_ends_are_where_the_mixture_ratio_is_1_over_alpha(wins: int, n: int, alpha: float) -> None:
    mixture = integrate.quad(lambda p: p**wins * (1 - p) ** (n - wins), 0, 1, epsabs=0)[0]
    for end in confidence_sequence(wins, n, alpha):
        assert mixture / (end**wins * (1 - end) ** (n - wins)) == pytest.approx(1 / alpha, rel=1e-6)


@given(wins=st.integers(0, 300), losses=st.integers(0, 300))
def test_it_contains_the_share_and_excludes_a_half_as_the_stopping_rule_does(wins: int, losses: int) -> None:
    low, high = confidence_sequence(wins, wins + losses)
    assert low < high
    if wins + losses:
        assert low <= wins / (wins + losses) <= high
    if abs(e_value(wins, losses) - 20) > 1e-6:
        assert (not low < 0.5 < high) == (e_value(wins, losses) >= 20)


def test_more_wins_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2 items"):
        confidence_sequence(3, 2)


def test_the_halving_schedule() -> None:
    assert halving_schedule(8, 96) == [Round(8, 4), Round(4, 8), Round(2, 16)]
    assert halving_schedule(5, 60) == [Round(5, 4), Round(3, 6), Round(2, 10)]
    assert halving_schedule(2, 7) == [Round(2, 3)]
    assert halving_schedule(1, 0) == []


@given(arms=st.integers(1, 200), extra=st.integers(0, 5000))
def test_it_keeps_to_its_budget(arms: int, extra: int) -> None:
    budget = arms * math.ceil(math.log2(arms)) + extra
    schedule = halving_schedule(arms, budget)
    assert sum(step.arms * step.items for step in schedule) <= budget
    assert all(step.items >= 1 for step in schedule)
    assert not schedule or schedule[-1].arms == 2


@pytest.mark.parametrize(("arms", "budget"), [(8, 23), (0, 10)])
def test_a_budget_that_is_too_small_is_refused(arms: int, budget: int) -> None:
    with pytest.raises(ValueError, match=f"{arms} arms do not fit a budget of {budget} runs"):
        halving_schedule(arms, budget)
