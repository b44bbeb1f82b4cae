"""Learning curves and what a prompt is worth, against scikit-learn, scipy and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score

from harness.learning_curves import (
    Curve,
    Level,
    accumulated_maximum,
    accuracies,
    advantage,
    break_even,
    break_even_of_items,
    corpus_scores,
    curve,
    data_advantage,
    isotonic,
    item_weights,
    level,
    mean_over_seeds,
    monotone,
    size_at,
)
from harness.metrics import macro_f1, pair_index

Floats = npt.NDArray[np.float64]


def array(*values: float) -> Floats:
    return np.array(values, np.float64)


def flat(sizes: Floats, scores: Floats, resamples: int = 4) -> Curve:
    """A curve that no resample changes."""
    return Curve(sizes, scores, scores, np.tile(scores, (resamples, 1)), 1)


def fixed(score: float, resamples: int = 4) -> Level:
    return Level(score, np.full(resamples, score), 1)


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


def test_a_prompt_with_one_number_of_shots_has_no_advantage() -> None:
    head = flat(array(0, 100, 200), array(0.5, 0.6, 0.8))
    assert math.isnan(advantage(head, [(0, fixed(0.6))]).mean)
    found = advantage(head, [(200, fixed(0.8)), (0, fixed(0.6)), (100, fixed(0.7))])
    assert (found.mean, found.undefined) == (pytest.approx(50), 0)


# Break-even


def test_break_even_of_the_worked_example() -> None:
    found = break_even(flat(array(100, 1000), array(0.7, 0.9)), fixed(0.8))
    assert found.n == pytest.approx(316.2278, abs=1e-4)
    assert found.censored is None
    assert found.minus(16).n == pytest.approx(300.2278, abs=1e-4)
    assert math.isnan(found.low), "nothing varies, so that there is no interval"


def test_what_is_never_crossed_is_censored_with_its_share() -> None:
    resampled = np.array([[0.7, 0.9]] * 3 + [[0.7, 0.75]])
    line = Curve(array(100, 1000), array(0.7, 0.85), array(0.7, 0.85), resampled, 4)
    found = break_even(line, fixed(0.9))
    assert (found.censored, found.text(), found.above, found.below) == ("above", "> 1000".replace("1", "1,"), 0.25, 0)
    assert found.low == 1000
    assert found.interval_text() == "1000 to > 1,000"


def test_what_the_first_size_reaches_is_censored_below() -> None:
    line = Curve(array(8, 16), array(0.7, 0.9), array(0.7, 0.9), np.array([[0.7, 0.9], [0.5, 0.9]]), 2)
    found = break_even(line, fixed(0.7, 2))
    assert (found.censored, found.text(), found.below) == ("below", "<= 8", 0.5)
    assert found.minus(20).text() == "<= -12"


# Resamples


def test_weights_count_draws_of_items_and_of_whole_clusters() -> None:
    rng = np.random.default_rng(0)
    assert (item_weights(7, 50, rng).sum(axis=1) == 7).all()
    clusters = np.array([0, 0, 1, 1, 1, 2])
    weights = item_weights(6, 50, rng, clusters)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_scores_of_a_resample_are_those_of_its_items_written_out() -> None:
    rng = np.random.default_rng(1)
    gold, prediction = rng.integers(3, size=40), rng.integers(3, size=(2, 40))
    weights = item_weights(40, 5, rng)
    pairs = np.stack([pair_index(gold, row, 3) for row in prediction])
    found = corpus_scores(pairs, weights, 3, macro_f1)
    right = accuracies((prediction == gold).astype(float), weights)
    for r in range(5):
        drawn = np.repeat(np.arange(40), weights[r].astype(int))
        for c in range(2):
            assert found[r, c] == pytest.approx(f1_score(gold[drawn], prediction[c][drawn], average="macro"))
            assert right[r, c] == pytest.approx((gold == prediction[c])[drawn].mean(), abs=1e-6)


def test_the_spread_of_means_over_seeds_is_the_standard_error() -> None:
    scores = array(0.6, 0.7, 0.75, 0.9)
    again = mean_over_seeds(scores, np.tile(scores, (40_000, 1)), np.random.default_rng(0))
    assert again.mean() == pytest.approx(scores.mean(), abs=2e-3)
    assert again.std() == pytest.approx(stats.sem(scores), rel=0.02)


def test_a_single_seed_is_kept() -> None:
    assert mean_over_seeds(array(0.55), np.array([[0.5], [0.6]]), np.random.default_rng(0)).tolist() == [0.5, 0.6]


def test_a_level_has_a_percentile_interval() -> None:
    found = level(array(0.5, 0.7), np.tile(array(0.5, 0.7), (100, 1)), np.random.default_rng(0))
    assert (found.score, found.interval.low, found.interval.high) == pytest.approx((0.6, 0.5, 0.7))


def test_a_curve_draws_a_seed_with_all_of_its_sizes() -> None:
    scores = np.array([[0.1, 0.2], [0.5, 0.9]])
    found = curve(array(1, 2), scores, np.tile(scores, (50, 1, 1)), np.random.default_rng(0))
    assert {tuple(row) for row in found.resampled.round(9).tolist()} == {(0.1, 0.2), (0.5, 0.9)}


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(3)
    baseline, prompt = (rng.random(shape) < 0.7 for shape in ((3, 4, 50), (2, 50)))
    both = [
        break_even_of_items(
            array(8, 16, 32, 64), baseline.astype(float), prompt.astype(float), resamples=50,
            rng=np.random.default_rng(5),
        )
        for _ in range(2)
    ]  # fmt: skip
    assert both[0] == both[1]


@pytest.mark.slow
def test_intervals_cover_a_known_crossing() -> None:
    """Curves straight in log n from .60 at 8 to .90 at 512, a prompt at .75: they cross at 64.

    Items differ in difficulty, alike for both sides, and training and demonstration seeds move whole curves and levels.
    """
    sizes = 8.0 * 2.0 ** np.arange(7)
    truth = 0.60 + 0.05 * np.arange(7)
    rng = np.random.default_rng(7)
    trials, seeds, items, covered = 300, 8, 300, 0
    for _ in range(trials):
        hard = rng.normal(size=items)

        def right(shares: Floats, hard: Floats = hard) -> Floats:
            """Correct with these shares over items; [...] -> [..., items]."""
            noise = rng.normal(size=(*shares.shape, items))
            return (math.sqrt(0.5) * (hard + noise) < stats.norm.ppf(shares)[..., None]).astype(float)

        baseline = right(truth + rng.normal(0, 0.02, size=(seeds, 1)))
        prompt = right(0.75 + rng.normal(0, 0.02, size=seeds))
        found = break_even_of_items(sizes, baseline, prompt, resamples=300, rng=rng)
        covered += found.low <= 64 <= found.high
    assert 0.92 <= covered / trials <= 0.985, covered / trials
