"""Calibration against figures worked out by hand and scikit-learn's own mixture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from harness.calibrate import batch, content_free_prior, contextual, normalised, prototypical
from harness.errors import UsageError

P = np.array([[0.7, 0.3], [0.55, 0.45], [0.9, 0.1]])


def test_contextual_calibration_divides_by_the_content_free_prior() -> None:
    found = np.exp(contextual(np.log(P), np.log([0.6, 0.4])))
    assert found.argmax(axis=1).tolist() == [0, 1, 0]
    assert found[1] == pytest.approx([0.449, 0.551], abs=1e-3)


def test_a_prior_may_belong_to_each_item() -> None:
    priors = np.log([[0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    found = contextual(np.log(P), priors)
    for row, prior, one in zip(np.log(P), priors, found, strict=True):
        assert contextual(row[None], prior)[0] == pytest.approx(one)


def test_content_free_probabilities_are_averaged_before_they_are_normalised() -> None:
    unnormalised = np.log([[0.72, 0.08], [0.5, 0.1], [0.3, 0.3]])
    assert np.exp(content_free_prior(unnormalised)) == pytest.approx([0.76, 0.24])


def test_a_uniform_prior_changes_nothing() -> None:
    assert contextual(np.log(P), np.log([0.5, 0.5])) == pytest.approx(normalised(np.log(P)))


@pytest.mark.parametrize("ratio", [False, True])
def test_batch_calibration_moves_the_items_apart(ratio: bool) -> None:
    with pytest.raises(UsageError, match="at least 4 items"):
        batch(np.log(P), ratio=ratio)
    twice = np.log(np.concatenate([P, P]))
    assert batch(twice, ratio=ratio).argmax(axis=1).tolist() == [1, 1, 0] * 2


def test_batch_calibration_takes_the_mean_of_logs_away() -> None:
    twice = np.log(np.concatenate([P, P]))
    assert twice.mean(axis=0) == pytest.approx([-0.3533, -1.4350], abs=1e-4)
    assert np.exp(batch(twice)) == pytest.approx(softmax(twice - [-0.3533, -1.4350], axis=1), abs=1e-4)


def test_batch_calibration_takes_out_what_all_items_share() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 3))
    shared = np.array([3.0, -1.0, 0.5])
    assert batch(scores + shared) == pytest.approx(batch(scores))


def test_prototypical_calibration_finds_clusters_that_a_biased_prompt_gives_one_label() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 200)
    scores = np.stack([np.where(gold == 1, 1.0, 4.0), np.zeros(200)], axis=1) + rng.normal(0, 0.2, (200, 2))
    assert (scores.argmax(axis=1) == 0).all()
    assert (prototypical(scores).argmax(axis=1) == gold).mean() > 0.98


def test_prototypical_calibration_is_a_matter_of_its_seed_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(60, 3))
    assert np.array_equal(prototypical(scores, seed=1), prototypical(scores, seed=1))
    assert np.exp(prototypical(scores)).sum(axis=1) == pytest.approx(np.ones(60))


def test_prototypical_calibration_needs_items() -> None:
    with pytest.raises(UsageError, match="at least 6 items for 3 labels, not 5"):
        prototypical(np.zeros((5, 3)))


def test_a_label_that_an_item_does_not_have_stays_impossible() -> None:
    found = normalised(np.array([[0.0, 1.0, -np.inf]]))
    assert found[0, 2] == -np.inf
    assert np.exp(found).sum() == pytest.approx(1)
