"""Paired comparisons, against scipy, statsmodels, scikit-learn, published tables and full enumeration."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from harness.metrics import Floats, Ints, accuracy, confusion, macro_f1, pair_index
from harness.paired import (
    adjust,
    bootstrap_confusion,
    bootstrap_items,
    bootstrap_sums,
    compare,
    difference_interval,
    mcnemar,
    not_worse_than_best,
    sign_flip,
    t_test,
)
from harness.statistics import Interval

NAN = pytest.approx(math.nan, nan_ok=True)


def by_enumeration(differences: list[float]) -> float:
    """The sign-flip p-value from every sign, in whole numbers so that ties are exact."""
    whole = [round(value * 60) for value in differences]
    sums = [
        sum(sign * value for sign, value in zip(signs, whole, strict=True))
        for signs in product((1, -1), repeat=len(whole))
    ]
    observed = sum(whole)
    at_least, at_most = sum(total >= observed for total in sums), sum(total <= observed for total in sums)
    return min(1.0, 2 * min(at_least, at_most) / len(sums))


# The difference


def test_a_difference_with_its_standard_error_and_flips() -> None:
    found = compare(np.array([0.0, 1, 1, 0, 0]), np.zeros(5))
    assert (found.difference.mean, found.standard_error) == pytest.approx((0.4, 0.24495), abs=1e-5)
    assert (found.n, found.wins, found.losses, found.discordance) == (5, 2, 0, 0.4)
    assert found.p_value == pytest.approx(0.5)


def test_its_interval_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random(40), generator.random(40)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    found = compare(first, second).difference
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_with_clusters_it_is_cr1_of_statsmodels() -> None:
    generator = np.random.default_rng(1)
    first, second, clusters = generator.random(40), generator.random(40), generator.integers(0, 7, 40)
    fit = sm.OLS(first - second, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    found = compare(first, second, clusters)
    assert found.standard_error == pytest.approx(float(fit.bse[0]), abs=1e-9)
    half = 2.446912 * float(fit.bse[0])  # t(.975, 6), from a table
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (found.difference.mean - half, found.difference.mean + half), abs=1e-6
    )


def test_only_independent_right_or_wrong_gets_mcnemar() -> None:
    first, second = np.array([1.0, 1, 0, 1]), np.array([0.0, 1, 1, 0])
    assert compare(first, second).mcnemar == mcnemar(2, 1)
    assert compare(first, second, np.array([0, 0, 1, 1])).mcnemar is None
    assert compare(first / 2, second).mcnemar is None


@pytest.mark.parametrize(
    ("first", "second", "clusters", "p_value"),
    [
        ([1, 0, 1], [1, 0, 1], None, 1.0),  # no discordant item
        ([1], [0], None, 1.0),  # one item
        ([1, 1, 1, 1, 1], [0, 0, 0, 0, 0], None, 2 / 32),  # all differences equal
        ([1, 1, 0], [0, 0, 0], [5, 5, 5], 1.0),  # one cluster
        ([1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], 0.5),  # clusters that are equal
    ],
)
def test_what_shows_no_spread_has_a_p_value_and_no_interval(
    first: list[float], second: list[float], clusters: list[int] | None, p_value: float
) -> None:
    found = compare(
        np.array(first, np.float64), np.array(second, np.float64), None if clusters is None else np.array(clusters)
    )
    assert found.p_value == pytest.approx(p_value)
    assert (found.difference.low, found.difference.high) == (NAN, NAN)
    assert found.difference.mean == pytest.approx(np.mean(first) - np.mean(second))


def test_clusters_of_one_are_no_clusters() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random(12), generator.random(12)
    alone, clustered = compare(first, second), compare(first, second, np.arange(12)[::-1])
    assert clustered.p_value == alone.p_value
    assert clustered.standard_error == pytest.approx(alone.standard_error, abs=1e-12)


@pytest.mark.parametrize("scores", [[], [math.nan, 1.0]])
def test_nothing_or_nan_cannot_be_compared(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        compare(np.array(scores), np.zeros(len(scores)))


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 1.0])), min_size=2, max_size=30
    ),
    clustered=st.booleans(),
)
def test_swapping_the_systems_changes_only_the_sign(rows: list[tuple[float, float]], clustered: bool) -> None:
    first, second = np.array(rows).T
    clusters = np.arange(len(rows)) // 2 if clustered else None
    one, other = compare(first, second, clusters), compare(second, first, clusters)
    assert one.p_value == other.p_value
    assert one.mcnemar == other.mcnemar
    assert one.difference.mean == -other.difference.mean
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.difference.low == pytest.approx(-other.difference.high, abs=1e-12, nan_ok=True)


# The sign-flip test


@settings(max_examples=40, deadline=None)
@given(differences=st.lists(st.sampled_from([-1.0, -2 / 3, -0.5, -0.1, 0.0, 1 / 3, 0.2, 1.0]), min_size=1, max_size=9))
def test_the_sign_flip_test_is_that_of_every_sign(differences: list[float]) -> None:
    assert sign_flip(np.array(differences)) == pytest.approx(by_enumeration(differences), abs=1e-12)


def test_clusters_are_flipped_whole() -> None:
    differences, clusters = [1.0, 0.5, 0.0, -0.5, 1.0, 0.2, 0.2, 0.1], [0, 0, 1, 1, 2, 3, 3, 3]
    assert sign_flip(np.array(differences), np.array(clusters)) == pytest.approx(by_enumeration([1.5, -0.5, 1.0, 0.5]))


def test_too_many_signs_are_drawn_at_random() -> None:
    """Against the exact distribution of the sum, by convolution; p about .1 has a Monte-Carlo error of .004."""
    generator = np.random.default_rng(3)
    whole = generator.integers(-3, 6, 60)
    chances = np.ones(1)
    for value in np.abs(whole):  # the sum plus the sum of all sizes, halved, is a sum of sizes taken or not
        chances = np.convolve(chances, np.bincount([0, value], minlength=value + 1) / 2)
    place = (whole.sum() + np.abs(whole).sum()) // 2
    expected = 2 * min(chances[place:].sum(), chances[: place + 1].sum())
    assert 0.02 < expected < 0.5
    assert sign_flip(whole / 7.0) == pytest.approx(expected, abs=0.012)
    assert sign_flip(whole / 7.0) == sign_flip(whole / 7.0)


def test_right_and_wrong_are_exact_at_any_n() -> None:
    differences = np.array([1.0] * 130 + [-1.0] * 100 + [0.0] * 5000)
    assert sign_flip(differences) == pytest.approx(float(stats.binomtest(130, 230).pvalue), abs=1e-12)
    # a third is not the same float everywhere
    thirds = np.array([2 / 3 - 1 / 3] * 30 + [1 / 3 - 2 / 3] * 12 + [1 - 2 / 3] * 8)
    assert sign_flip(thirds) == pytest.approx(float(stats.binomtest(38, 50).pvalue), abs=1e-12)


# McNemar's test


@pytest.mark.parametrize(
    ("wins", "losses", "exact", "mid"),
    [
        (8, 2, 0.109375, 0.06543),
        (1, 7, 0.0703, 0.0391),  # Fagerland et al. 2013, table 1: airway hyper-responsiveness
        (2, 2, 1.0, 1 - 0.375 / 2),  # their form where both are equal
        (1, 0, 1.0, 0.5),
        (0, 0, 1.0, 1.0),
    ],
)
def test_mcnemar_exact_and_mid_p(wins: int, losses: int, exact: float, mid: float) -> None:
    found = mcnemar(wins, losses)
    assert (found.exact, found.mid) == pytest.approx((exact, mid), abs=5e-5)
    assert mcnemar(losses, wins) == found


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_the_exact_test_is_that_of_statsmodels_and_the_sign_flip_test(wins: int, losses: int) -> None:
    if wins + losses == 0:
        return
    found = mcnemar(wins, losses)
    expected = statsmodels_mcnemar([[3, wins], [losses, 4]], exact=True).pvalue
    assert found.exact == pytest.approx(expected, abs=1e-12)
    assert sign_flip(np.array([1.0] * wins + [-1.0] * losses)) == pytest.approx(expected, abs=1e-9)
    assert 0 < found.mid < found.exact


# Many tests


def test_adjusted_p_values() -> None:
    p_values = np.array([0.01, 0.04, 0.03, 0.005])
    assert adjust(p_values, "holm") == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust(p_values, "bh") == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjust(np.array([0.2])) == pytest.approx([0.2])
    assert adjust(np.array([])).shape == (0,)


@given(
    values=st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=4, max_size=30),
    clustered=st.booleans(),
)
def test_the_t_test_rejects_just_where_the_interval_leaves_0_out(values: list[float], clustered: bool) -> None:
    differences = np.array(values)
    clusters = np.arange(len(values)) // 2 if clustered else None
    found = difference_interval(differences, clusters)
    if not math.isnan(found.low):
        assert (t_test(differences, clusters) < 0.05) == (not found.low <= 0 <= found.high)


def test_the_t_test_is_that_of_scipy() -> None:
    first, second = np.array([1.0, 0, 1, 1, 0.5]), np.array([0.5, 0, 0, 1, 1])
    assert t_test(first - second) == pytest.approx(float(stats.ttest_rel(first, second).pvalue))
    assert (t_test(np.zeros(3)), t_test(np.full(3, 0.5))) == (1.0, 0.0)


def test_clusters_have_fewer_degrees_of_freedom_than_items() -> None:
    """Three clusters of ten equal items each: the test of three numbers, not that of thirty."""
    differences = np.array([0.2, 0.5, 0.4])
    alone = float(stats.ttest_1samp(differences, 0).pvalue)
    assert t_test(np.repeat(differences, 10), np.repeat(np.arange(3), 10)) == pytest.approx(alone)
    scores = np.stack([np.ones(30), 1 - np.repeat(differences, 10)])
    assert not_worse_than_best(scores).tolist() == [True, False]
    assert alone > 0.05
    assert not_worse_than_best(scores, np.repeat(np.arange(3), 10)).tolist() == [True, True]


def test_a_leaderboard_marks_what_is_not_worse_than_the_best() -> None:
    """Of 40 items, a system that loses 3, 4 or 12 to the best has a t of 1.78, 2.08 or 4.09: p = .083, .044, .0002."""
    best = np.ones(40)
    close, worse, far = best.copy(), best.copy(), best.copy()
    close[:3] = 0
    worse[:4] = 0
    far[:12] = 0
    assert not_worse_than_best(np.stack([close, best, far])).tolist() == [True, True, False]
    assert not_worse_than_best(np.stack([worse, best])).tolist() == [False, True]
    # twice .044 is not below .05
    assert not_worse_than_best(np.stack([worse, best, worse])).tolist() == [True, True, True]
    assert not_worse_than_best(best[None]).tolist() == [True]


# The bootstrap


def mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def with_count(values: Floats) -> Floats:
    return np.stack([values, np.ones(len(values))], axis=1)


@pytest.mark.parametrize("values", [[0.0, 0.0, 1.0], [0.0, 0.1, 1.0]])
def test_resamples_are_drawn_as_often_as_they_are_likely(values: list[float]) -> None:
    """Of the 27 resamples of three items, 8 have none of the last, 12 one, 6 two, and 1 all three."""
    seen: list[float] = []

    def watched(sums: Floats) -> Floats:
        seen.extend(np.floor(np.atleast_2d(sums)[:, 0]).tolist())
        return mean(sums)

    bootstrap_sums(with_count(np.array(values)), watched, resamples=20_000)
    # one is of the items themselves, and two or three are of the jackknife
    times = np.bincount(np.array(seen, np.int64), minlength=4)
    assert times.sum() == 20_001 + len(set(values))
    assert times / times.sum() == pytest.approx(np.array([8, 12, 6, 1]) / 27, abs=0.012)


def test_a_mean_has_the_interval_of_scipy_at_quantiles_further_out() -> None:
    """scipy's at the level that gives Student's t, widened by n / (n - 1), in place of normal quantiles."""
    values = np.random.default_rng(4).random(30) ** 3
    outer = math.sqrt(30 / 29) * stats.t.ppf(0.975, 29)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1),
        confidence_level=1 - 2 * stats.norm.sf(outer),
    ).confidence_interval  # fmt: skip
    found = bootstrap_sums(with_count(values), mean)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((*expected,), abs=0.006)
    plain = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(1)).confidence_interval
    assert found.low < plain.low


def systems(n: int, seed: int = 0) -> tuple[Ints, Ints, Ints]:
    """Gold labels and the predictions of two systems, of three labels or none."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 3, n)
    first, second = (np.where(generator.random(n) < share, gold, generator.integers(-1, 3, n)) for share in (0.7, 0.5))
    return gold, first, second


def sklearn_f1(gold: Ints, predicted: Ints) -> float:
    labels = sorted({*gold.tolist(), *predicted.tolist()} - {-1})
    return float(f1_score(gold, predicted, labels=labels, average="macro", zero_division=0.0))


@pytest.mark.parametrize("clustered", [False, True])
def test_resampled_counts_give_what_resampled_items_give(clustered: bool) -> None:
    gold, first, second = systems(40)
    clusters = np.random.default_rng(6).integers(0, 12, 40) if clustered else None
    one, other = (pair_index(gold, predicted, 3) for predicted in (first, second))
    fast = bootstrap_confusion(one, other, macro_f1, 3, clusters)

    def difference(items: Ints) -> float:
        return float(macro_f1(confusion(one[items], 3)) - macro_f1(confusion(other[items], 3)))

    slow = bootstrap_items(difference, 40, clusters, resamples=3_000)
    assert fast.mean == pytest.approx(sklearn_f1(gold, first) - sklearn_f1(gold, second))
    assert slow.mean == pytest.approx(fast.mean)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.015)
    assert fast.low < fast.mean < fast.high


def test_the_bootstrap_draws_whole_clusters() -> None:
    """Ten copies of each item, as one cluster each, tell no more than the items themselves."""
    values = np.random.default_rng(7).random(20)
    alone = bootstrap_sums(with_count(values), mean)
    clustered = bootstrap_sums(with_count(np.tile(values, 10)), mean, np.tile(np.arange(20), 10))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high), abs=1e-4)


def test_swapped_systems_have_mirrored_ends() -> None:
    gold, first, second = systems(60, 1)
    one, other = (
        bootstrap_confusion(pair_index(gold, a, 3), pair_index(gold, b, 3), macro_f1, 3)
        for a, b in ((first, second), (second, first))
    )
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.005)


def assert_no_ends(found: Interval, value: float) -> None:
    assert (found.mean, found.low, found.high) == (pytest.approx(value), NAN, NAN)


@pytest.mark.parametrize(
    ("first", "second", "clusters", "difference"),
    [
        ([0, 1, 2, 0], [0, 1, 2, 0], None, 0.0),  # all right, both
        ([0, 1, 0, 0], [0, 1, 0, 0], None, 0.0),  # the same mistakes
        ([0, 1, 2, 0], [1, 2, 0, 1], None, 1.0),  # all right against all wrong
        ([0, 1, 2, 0], [0, 1, 0, 0], [3, 3, 3, 3], 0.25),  # one cluster
    ],
)
def test_a_bootstrap_without_spread_has_no_ends(
    first: list[int], second: list[int], clusters: list[int] | None, difference: float
) -> None:
    gold = np.array([0, 1, 2, 0])
    one, other = (pair_index(gold, np.array(labels), 3) for labels in (first, second))
    assert_no_ends(
        bootstrap_confusion(one, other, accuracy, 3, None if clusters is None else np.array(clusters)), difference
    )


def test_one_item_has_no_bootstrap_interval() -> None:
    gold: npt.NDArray[np.int64] = np.array([1])
    assert_no_ends(bootstrap_confusion(pair_index(gold, gold, 2), pair_index(gold, 1 - gold, 2), accuracy, 2), 1.0)
    assert_no_ends(bootstrap_items(lambda items: float(len(items)), 1), 1.0)


def test_a_difference_of_shares_is_within_one() -> None:
    few = difference_interval(np.array([1.0, 1.0, -1.0]))
    assert (few.low, few.high) == (-1.0, 1.0)
