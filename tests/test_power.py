"""Needed items and detectable differences, against hand arithmetic and statsmodels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower, normal_power

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


def test_a_paired_design_against_hand_arithmetic() -> None:
    # d^2 = z^2 (.1 - d^2) / 500  ->  d = z sqrt(.1 / (500 + z^2)) = 2.801585 sqrt(.1 / 507.848879)
    assert detectable_paired(500, 0.1) == pytest.approx(0.0393128, abs=1e-6)


@given(n=st.integers(20, 10_000), discordance=st.floats(0.05, 1.0))
def test_the_needed_items_find_what_is_detectable(n: int, discordance: float) -> None:
    found = detectable_paired(n, discordance)
    if found <= discordance:
        assert abs(needed_items(found, paired_variance(discordance, found)) - n) <= 1


@pytest.mark.parametrize(("n", "proportion"), [(300, 0.5), (1000, 0.8)])
def test_an_unpaired_design_has_the_power_that_statsmodels_gives_it(n: int, proportion: float) -> None:
    found = detectable_unpaired(n, proportion)
    low, high = proportion - found / 2, proportion + found / 2
    error = math.sqrt((low * (1 - low) + high * (1 - high)) / n)
    assert normal_power(found / error, 1, 0.05) == pytest.approx(0.8, abs=1e-5)
    assert abs(needed_items(found, unpaired_variance(low, high)) - n) <= 1


def test_unpaired_items_are_those_of_statsmodels() -> None:
    """Its effect size is in standard deviations, here those of .2 and .8, which are equal."""
    expected = NormalIndPower().solve_power(effect_size=0.6 / 0.4, alpha=0.05, power=0.8)
    assert needed_items(0.6, unpaired_variance(0.2, 0.8)) == math.ceil(expected)


def test_one_system_is_compared_with_one_as_good_and_independent() -> None:
    # (48 + 2) / (96 + 4) = .5; d = z sqrt(.5 / (96 + z^2 / 2))
    assert detectable_single(96, 0.5) == pytest.approx(Z_SUM * math.sqrt(0.5 / 99.924439), abs=1e-6)
    # its discordance, p (1 - q) + q (1 - p) at p and q around .5, gives the same in a paired design
    found = detectable_single(96, 0.5)
    low, high = 0.5 - found / 2, 0.5 + found / 2
    assert detectable_paired(96, low * (1 - high) + high * (1 - low)) == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("proportion", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_certain(proportion: float) -> None:
    # (0 + 2) / (10 + 4)
    assert detectable_single(10, proportion) == pytest.approx(detectable_unpaired(10, 1 / 7))
    assert detectable_single(10, proportion) > 0.3


def test_no_spread_says_nothing_of_what_is_detectable() -> None:
    for found in (
        detectable_paired(100, 0.0),
        detectable_unpaired(100, 1.0),
        detectable_difference(0.0),
        detectable_difference(math.nan),
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
