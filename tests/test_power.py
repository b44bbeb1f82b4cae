"""Needed items and detectable differences, against hand arithmetic and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestPower

from harness.power import (
    detectable_difference,
    detectable_paired,
    detectable_single,
    detectable_unpaired,
    needed_items,
    paired_variance,
    unpaired_variance,
)

Z_SUM = 2.801585  # 1.959964 + 0.841621, from a table


@pytest.mark.parametrize(("variance", "n"), [(paired_variance(0.10, 0.03), 865), (1 / 9, 969)])
def test_items_needed_for_three_points(variance: float, n: int) -> None:
    assert needed_items(0.03, variance) == n
    assert needed_items(-0.03, variance) == n


def test_the_smallest_difference_found_by_a_standard_error() -> None:
    assert detectable_difference(0.5 / math.sqrt(1000)) == pytest.approx(0.0443, abs=5e-5)


def test_a_paired_variance_is_that_of_its_differences() -> None:
    """Ten items, three won and one lost: mean .2, mean square .4."""
    assert paired_variance(0.4, 0.2) == pytest.approx(0.4 - 0.04)


def sign_test_power(n: int, wins: float, losses: float) -> float:
    """The exact power of the sign test at .05, over every split of n items into wins, losses and ties, one by one."""
    power = 0.0
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            least = min(won, lost)
            tail = sum(math.comb(won + lost, k) for k in range(least + 1)) / 2 ** (won + lost)
            if 2 * tail <= 0.05:
                ways = math.comb(n, won) * math.comb(n - won, lost)
                power += ways * wins**won * losses**lost * (1 - wins - losses) ** (n - won - lost)
    return power


@pytest.mark.parametrize(("n", "discordance"), [(20, 0.5), (25, 0.3), (25, 0.0)])
def test_a_paired_difference_is_found_in_four_of_five_tries_by_the_exact_test(n: int, discordance: float) -> None:
    gap = detectable_paired(n, discordance)
    differ = max(gap, discordance)
    assert sign_test_power(n, (differ + gap) / 2, (differ - gap) / 2) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("n", "proportion"), [(20, 0.6), (24, 0.8), (20, 0.3)])
def test_a_difference_of_independent_mistakes_is_found_in_four_of_five_tries(n: int, proportion: float) -> None:
    gap = detectable_single(n, proportion)
    other = proportion - gap if proportion > 0.5 else proportion + gap
    wins, losses = proportion * (1 - other), other * (1 - proportion)
    assert sign_test_power(n, wins, losses) == pytest.approx(0.8, abs=1e-4)


def moments_of(n: int, count: int) -> tuple[float, float, int]:
    """Mean and standard deviation of n items of which this many are right."""
    right = np.arange(n) < count
    return float(right.mean()), float(right.std(ddof=1)), n


@pytest.mark.parametrize(("n", "proportion"), [(15, 0.5), (20, 0.7)])
def test_an_unpaired_difference_is_found_in_four_of_five_tries_by_welchs_test(n: int, proportion: float) -> None:
    gap = detectable_unpaired(n, proportion)
    power = 0.0
    for one in range(n + 1):
        for other in range(n + 1):
            moments = [part for count in (one, other) for part in moments_of(n, count)]
            flat = moments[1] == moments[4] == 0
            if one != other if flat else stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue < 0.05:
                low, high = proportion - gap / 2, proportion + gap / 2
                power += float(stats.binom.pmf(one, n, low) * stats.binom.pmf(other, n, high))
    assert power == pytest.approx(0.8, abs=2e-3)


@pytest.mark.parametrize("freedom", [4, 7, 30, 99])
def test_a_t_test_finds_what_statsmodels_says(freedom: int) -> None:
    expected = TTestPower().solve_power(effect_size=None, nobs=freedom + 1, alpha=0.05, power=0.8)
    found = detectable_difference(0.1 / math.sqrt(freedom + 1), freedom)
    assert found == pytest.approx(0.1 * float(expected), rel=1e-4)


def test_no_difference_of_shares_is_larger_than_1() -> None:
    assert 0 < detectable_difference(0.2, 5) < 1
    assert math.isnan(detectable_difference(0.5, 2))


def test_with_many_items_the_exact_figures_are_those_of_the_normal_distribution() -> None:
    assert detectable_paired(100_000, 0.1) == pytest.approx(Z_SUM * math.sqrt(0.1 / 100_000), rel=0.01)
    error = math.sqrt(2 * 0.5 * 0.5 / 100_000)
    assert detectable_single(100_000, 0.5) == pytest.approx(Z_SUM * error, rel=0.01)
    assert detectable_unpaired(20_000, 0.5) == pytest.approx(Z_SUM * math.sqrt(0.5 / 20_000), rel=0.01)
    assert detectable_difference(0.01, 1e9) == pytest.approx(detectable_difference(0.01), rel=1e-4)


@pytest.mark.parametrize("discordance", [0.05, 0.2, 0.5])
def test_the_needed_items_find_about_what_is_detectable(discordance: float) -> None:
    """The exact test needs up to a tenth more than the approximation tells, at hundreds of items."""
    found = detectable_paired(600, discordance)
    assert 540 <= needed_items(found, paired_variance(discordance, found)) <= 600


def test_too_few_items_find_nothing() -> None:
    """No result of five items is below .05 in a sign test: 2 / 32 is not."""
    assert math.isnan(detectable_paired(5, 0.4))
    assert math.isnan(detectable_single(5, 0.6))
    assert detectable_paired(8, 0.4) > 0.7


def test_unpaired_items_are_those_of_statsmodels() -> None:
    """Its effect size is in standard deviations, here those of .2 and .8, which are equal."""
    expected = NormalIndPower().solve_power(effect_size=0.6 / 0.4, alpha=0.05, power=0.8)
    assert needed_items(0.6, unpaired_variance(0.2, 0.8)) == math.ceil(expected)


@pytest.mark.parametrize("proportion", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_certain(proportion: float) -> None:
    # (0 + 2) / (20 + 4)
    assert detectable_single(20, proportion) == pytest.approx(detectable_single(20, 22 / 24))


def test_no_spread_says_nothing_of_what_is_detectable() -> None:
    for found in (
        detectable_unpaired(100, 1.0),
        detectable_difference(0.0),
        detectable_difference(math.nan),
        detectable_difference(0.1, 0),
    ):
        assert math.isnan(found)


@pytest.mark.parametrize(
    "call",
    [
        lambda: needed_items(0.0, 0.1),
        lambda: needed_items(0.1, -0.1),
        lambda: paired_variance(0.1, 0.2),
        lambda: paired_variance(1.1, 0.2),
        lambda: unpaired_variance(0.1, 1.2),
        lambda: detectable_paired(0, 0.2),
        lambda: detectable_paired(10, 1.2),
        lambda: detectable_unpaired(0, 0.2),
        lambda: detectable_single(10, -0.1),
    ],
)
def test_impossible_designs_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError):
        call()
