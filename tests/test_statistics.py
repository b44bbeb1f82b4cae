"""Intervals, against scipy, statsmodels, scikit-learn and direct resampling."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from harness import statistics
from harness.metrics import accuracy, macro_f1, pair_index
from harness.statistics import Interval, bootstrap_interval, mean_interval, standard_error

# Standard errors


def test_the_standard_error_of_a_mean() -> None:
    assert standard_error(np.array([1.0, 1, 1, 0])) == pytest.approx(0.25, abs=1e-12)


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_standard_error_is_that_of_scipy(values: list[float]) -> None:
    assert standard_error(np.array(values)) == pytest.approx(float(stats.sem(values)), abs=1e-12)


def test_the_clustered_standard_error() -> None:
    values, clusters = np.array([1.0, 1, 0, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 2])
    assert standard_error(values, clusters) == pytest.approx(0.28868, abs=1e-5)
    assert standard_error(values, np.array([7, 7, -1, -1, 30, 30])) == standard_error(values, clusters)


@settings(max_examples=30)
@given(
    rows=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=4, max_size=40).filter(
        lambda rows: len({cluster for _, cluster in rows}) > 1
    )
)
def test_the_clustered_standard_error_is_cr1_of_statsmodels(rows: list[tuple[float, int]]) -> None:
    values, clusters = np.array([value for value, _ in rows]), np.array([cluster for _, cluster in rows])
    fit = sm.OLS(values, np.ones(len(values))).fit()
    # use_correction gives G/(G-1) x (n-1)/(n-k), and k is 1 here
    robust = fit.get_robustcov_results(cov_type="cluster", groups=clusters, use_correction=True)
    assert standard_error(values, clusters) == pytest.approx(float(robust.bse[0]), abs=1e-9)


def test_clusters_of_one_are_no_clusters() -> None:
    values = np.array([0.2, 0.4, 0.9, 0.1])
    assert standard_error(values, np.arange(4)) == pytest.approx(standard_error(values), abs=1e-12)


def test_one_value_or_one_cluster_has_no_standard_error() -> None:
    assert math.isnan(standard_error(np.array([0.5])))
    assert math.isnan(standard_error(np.array([0.5, 1.0]), np.array([3, 3])))


# Intervals of a mean


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0), (0, 1, 0.0, 0.7935)],
)
def test_wilson_intervals_of_right_and_wrong(hits: int, n: int, low: float, high: float) -> None:
    found = mean_interval(np.array([1.0] * hits + [0.0] * (n - hits)))
    assert (found.mean, found.low, found.high) == pytest.approx((hits / n, low, high), abs=1e-4)


@given(hits=st.integers(0, 50), misses=st.integers(0, 50))
def test_wilson_intervals_are_those_of_statsmodels(hits: int, misses: int) -> None:
    n = hits + misses
    if n == 0:
        return
    found = mean_interval(np.array([1.0] * hits + [0.0] * misses))
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-9)


def test_an_interval_of_shares_is_student_s() -> None:
    values = [0.5, 1.0, 0.25, 0.75, 0.5]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(np.array(values))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_interval_with_clusters_is_student_s_on_clusters() -> None:
    values, clusters = np.array([1.0, 1, 0, 1, 1, 0, 1, 1]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    robust = sm.OLS(values, np.ones(8)).fit().get_robustcov_results(cov_type="cluster", groups=clusters)
    half = 3.182446 * float(robust.bse[0])  # t(.975, 3), from a table
    found = mean_interval(values, clusters)
    assert (found.low, found.high) == pytest.approx((0.75 - half, min(1.0, 0.75 + half)), abs=1e-6)


def test_an_interval_stays_between_0_and_1() -> None:
    found = mean_interval(np.array([0.0, 0.5]))
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(("values", "clusters"), [([0.5], None), ([0.0, 1.0, 1.0], [4, 4, 4]), ([0.25, 0.75], [0, 0])])
def test_what_tells_nothing_of_the_spread_has_no_interval(values: list[float], clusters: list[int] | None) -> None:
    found = mean_interval(np.array(values), None if clusters is None else np.array(clusters))
    assert found.mean == pytest.approx(np.mean(values))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=30),
    clustered=st.booleans(),
    seed=st.integers(0, 9),
)
def test_an_interval_contains_its_mean(values: list[float], clustered: bool, seed: int) -> None:
    clusters = np.random.default_rng(seed).integers(0, 3, len(values)) if clustered else None
    found = mean_interval(np.array(values), clusters)
    if not math.isnan(found.low):
        assert 0.0 <= found.low <= found.mean + 1e-12
        assert found.mean - 1e-12 <= found.high <= 1.0


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_intervals_cover_the_truth_about_as_often_as_they_say(share: float) -> None:
    """300 draws of 100 items: 95% of 300 is 285, with a standard deviation of 3.8; Wilson's own coverage wavers."""
    generator = np.random.default_rng(1)
    found = [mean_interval((generator.random(100) < share).astype(float)) for _ in range(300)]
    assert 270 <= sum(interval.low <= share <= interval.high for interval in found) <= 298


# The bootstrap of a corpus metric

N_LABELS = 3


def cells(n_items: int, n_cells: int, right: float, seed: int = 0) -> tuple[list[int], list[list[int]]]:
    """Gold labels and the predictions of several cells; ``right`` is how likely each is."""
    rng = random.Random(seed)
    gold = [rng.choice([0, 0, 0, 1, 1, 2]) for _ in range(n_items)]
    return gold, [[g if rng.random() < right else rng.randrange(-1, N_LABELS) for g in gold] for _ in range(n_cells)]


def pairs(gold: list[int], predictions: list[list[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.stack([pair_index(np.array(gold), np.array(row), N_LABELS) for row in predictions])


def f1(
    gold: np.ndarray[tuple[int, ...], np.dtype[np.int64]], row: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> float:
    labels = sorted({*gold.tolist(), *row.tolist()} - {-1})
    return float(f1_score(gold, row, labels=labels, average="macro", zero_division=0.0))


@pytest.mark.parametrize("n_cells", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_the_bootstrap_is_that_of_a_direct_resampling(n_cells: int) -> None:
    """Against 400 other resamples, whose quantiles have a Monte-Carlo error of a few thousandths to a hundredth."""
    gold, predictions = cells(60, n_cells, 0.6)
    found = bootstrap_interval(pairs(gold, predictions), macro_f1, N_LABELS)
    truth, rows = np.array(gold), np.array(predictions)
    generator = np.random.default_rng(5)
    drawn = [generator.integers(0, 60, 60) for _ in range(400)]
    values = [np.mean([f1(truth[items], row[items]) for row in rows]) for items in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.mean == pytest.approx(np.mean([f1(truth, row) for row in rows]), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.025)
    assert found.high - found.low > 0.1


def assert_no_spread(found: Interval, mean: float) -> None:
    assert found.mean == mean
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_resample_draws_the_same_items_in_all_cells() -> None:
    """Two cells that are right on complementary items: every resample has accuracy 1/2, which shows no spread."""
    gold = [0] * 20
    halves = pairs(gold, [[0] * 10 + [1] * 10, [1] * 10 + [0] * 10])
    assert_no_spread(bootstrap_interval(halves, accuracy, N_LABELS), 0.5)


def test_the_bootstrap_is_the_same_every_time() -> None:
    found = pairs(*cells(40, 2, 0.6))
    assert bootstrap_interval(found, macro_f1, N_LABELS) == bootstrap_interval(found, macro_f1, N_LABELS)


@pytest.mark.parametrize(("n_items", "most"), [(20, 0.01), (60, 0.0025)])
def test_another_draw_of_resamples_hardly_moves_the_ends(
    n_items: int, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By about the last digit shown, a tenth of a point; at 20 items, whose ends are rare, by half a point."""
    found = []
    for seed in range(6):
        monkeypatch.setattr(statistics, "SEED", seed)
        found.append(bootstrap_interval(pairs(*cells(n_items, 1, 0.6)), macro_f1, N_LABELS))
    for end in ("low", "high"):
        assert np.std([getattr(interval, end) for interval in found]) < most
    assert len({interval.low for interval in found}) > 1


def test_the_bootstrap_interval_contains_the_mean() -> None:
    for seed in range(5):
        found = bootstrap_interval(pairs(*cells(60, 2, 0.6, seed)), macro_f1, N_LABELS)
        assert found.low < found.mean < found.high


def test_the_bootstrap_of_all_right_tells_nothing_of_the_spread() -> None:
    assert_no_spread(bootstrap_interval(pairs([0, 1, 2, 0], [[0, 1, 2, 0]]), macro_f1, N_LABELS), 1.0)


def test_the_bootstrap_draws_whole_clusters() -> None:
    """Ten copies of each item, as one cluster each, tell no more than the items themselves."""
    gold, predictions = cells(30, 1, 0.6)
    alone = bootstrap_interval(pairs(gold, predictions), macro_f1, N_LABELS)
    copies = pairs(gold * 10, [predictions[0] * 10])
    clustered = bootstrap_interval(copies, macro_f1, N_LABELS, np.array([*range(30)] * 10))
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high), abs=0.006)
    assert bootstrap_interval(copies, macro_f1, N_LABELS).low > alone.low + 0.05


def test_one_item_has_no_bootstrap_interval() -> None:
    found = bootstrap_interval(pairs([1], [[1]]), macro_f1, N_LABELS)
    assert found.mean == 1.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
