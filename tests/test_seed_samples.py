"""What items and seeds add to the variance of a mean, against scipy, scikit-learn and direct resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from harness.metrics import Floats, macro_f1, pair_index
from harness.resampling import accuracies, corpus_scores, item_weights
from harness.seed_samples import Sample, half_width, item_factors

NO_ITEMS = np.zeros(1)


def right(rng: np.random.Generator, seeds: int, items: int, own: float) -> Floats:
    """Right or wrong, [seeds, 1, items], where seeds differ by ``own`` beyond luck."""
    shares = 0.7 + own * rng.normal(size=(seeds, 1, 1))
    return (rng.random((seeds, 1, items)) < shares).astype(float)


def sample_of(correct: Floats, resamples: int = 2_000) -> Sample:
    weights = item_weights(correct.shape[-1], resamples, np.random.default_rng(0))
    return Sample(correct.mean(axis=-1), accuracies(correct, weights), correct.shape[-1])


# Resamples of items


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
    correct = accuracies((prediction == gold).astype(float), weights)
    for r in range(5):
        drawn = np.repeat(np.arange(40), weights[r].astype(int))
        for c in range(2):
            assert found[r, c] == pytest.approx(f1_score(gold[drawn], prediction[c][drawn], average="macro"))
            assert correct[r, c] == pytest.approx((gold == prediction[c])[drawn].mean(), abs=1e-6)


# Seeds


def test_seeds_alone_give_students_interval() -> None:
    scores = np.array([[0.6], [0.7], [0.75], [0.9]])
    half, error, freedom = half_width(NO_ITEMS, 0, Sample(scores).spread(np.ones((1, 1))))
    expected = stats.ttest_1samp(scores[:, 0], 0).confidence_interval(0.95)
    assert (error[0], freedom[0]) == (pytest.approx(stats.sem(scores[:, 0])), 3)
    assert half[0] == pytest.approx((expected.high - expected.low) / 2)


def test_two_sides_give_welchs_interval() -> None:
    one, other = np.array([[0.6], [0.7], [0.75]]), np.array([[0.5], [0.9], [0.8], [0.55], [0.6]])
    spreads = [Sample(side).spread(np.ones((1, 1))) for side in (one, other)]
    half, _, freedom = half_width(NO_ITEMS, 0, *spreads)
    expected = stats.ttest_ind(one[:, 0], other[:, 0], equal_var=False)
    assert freedom[0] == pytest.approx(expected.df)
    ends = expected.confidence_interval(0.95)
    assert half[0] == pytest.approx((ends.high - ends.low) / 2)


def test_a_weighted_sum_has_the_variance_of_that_sum_within_each_seed() -> None:
    scores = np.array([[0.5, 0.7], [0.6, 0.65], [0.4, 0.9]])
    total, luck, freedom = Sample(scores).spread(np.array([[0.25, 0.75]]))
    assert total[0] == pytest.approx((scores @ [0.25, 0.75]).var(ddof=1) / 3)
    assert (luck[0], freedom[0]) == (0, 2)


def test_a_seed_that_lacks_a_size_leaves_fewer_degrees_of_freedom_there() -> None:
    scores = np.array([[0.5, 0.7], [0.6, np.nan], [0.4, 0.9]])
    sample = Sample(scores)
    assert sample.mean == pytest.approx([0.5, 0.8])
    total, _, freedom = sample.spread(np.eye(2))
    assert total == pytest.approx([np.var([0.5, 0.6, 0.4], ddof=1) / 3, np.var([0.7, 0.9], ddof=1) / 2])
    assert freedom.tolist() == [2, 1]
    assert sample.complete
    assert not Sample(np.array([[0.5, 0.7], [0.6, np.nan]])).complete


def test_a_single_seed_says_nothing_of_others_unless_there_are_none() -> None:
    assert not Sample(np.array([[0.5]])).complete
    assert Sample(np.array([[0.5]]), random=False).complete


def test_what_seeds_differ_by_through_luck_with_the_items_is_told_apart() -> None:
    """Seeds that differ by luck alone: the expected luck is all of their variance; of others, a small part of it."""
    rng = np.random.default_rng(3)
    found = []
    for own in (0.0, 0.1):
        pairs = [sample_of(right(rng, 8, 200, own), 300).spread(np.ones((1, 1))) for _ in range(100)]
        found.append(np.mean([luck[0] for _, luck, _ in pairs]) / np.mean([total[0] for total, _, _ in pairs]))
    assert found[0] == pytest.approx(1.0, abs=0.15)
    assert found[1] == pytest.approx(0.21 / 200 / (0.21 / 200 + 0.01), abs=0.03)


def test_items_alone_give_the_interval_of_their_mean() -> None:
    correct = right(np.random.default_rng(0), 1, 100, 0.0)
    sample = sample_of(correct, 20_000)
    assert sample.item_deviations is not None
    half, _, freedom = half_width(sample.item_deviations.var(axis=0), 100)
    expected = stats.ttest_1samp(correct.ravel(), 0).confidence_interval(0.95)
    assert half[0] == pytest.approx((expected.high - expected.low) / 2, rel=0.02)
    assert freedom[0] == pytest.approx(99)


def test_draws_have_students_quantiles() -> None:
    scores = np.array([[0.6, 0.7], [0.7, 0.75], [0.75, 0.9], [0.8, 0.7]])
    drawn = Sample(scores).draws(np.ones(200_000), np.random.default_rng(0))
    for place in range(2):
        expected = stats.ttest_1samp(scores[:, place], 0).confidence_interval(0.95)
        assert np.quantile(drawn[:, place], [0.025, 0.975]) == pytest.approx([expected.low, expected.high], abs=0.01)


def test_draws_of_one_seed_vary_by_items_alone() -> None:
    sample = sample_of(right(np.random.default_rng(0), 1, 50, 0.0))
    drawn = sample.draws(item_factors(50, 2_000, np.random.default_rng(1)), np.random.default_rng(2))
    assert drawn.std() == pytest.approx(math.sqrt(sample.mean[0] * (1 - sample.mean[0]) / 47), rel=0.1)
    alone = Sample(np.array([[0.5]]))
    assert (alone.draws(np.ones(10), np.random.default_rng(0)) == 0.5).all()
