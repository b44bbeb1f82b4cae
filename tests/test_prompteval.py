"""Quantiles over prompts from a partial grid, against hand arithmetic, scipy's optimiser and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from harness.metrics import Floats
from harness.prompteval import prompt_means, prompt_quantiles

NAN = math.nan


def test_a_full_grid_gives_its_row_means() -> None:
    grid = np.array([[1.0, 1, 0], [1, 0, 0]])
    assert prompt_means(grid) == pytest.approx([2 / 3, 1 / 3], abs=1e-15)
    assert prompt_quantiles(grid, [0, 0.5, 1]) == pytest.approx([0.333, 0.5, 0.667], abs=5e-4)


def by_scipy(grid: Floats) -> Floats:
    """Row means with what is missing at the posterior mode: normal priors of variance 1 (prompts) and 4 (items)."""
    seen = ~np.isnan(grid)
    n_prompts, n_items = grid.shape
    scores = np.where(seen, grid, 0.0)

    def parts(x: Floats) -> tuple[Floats, Floats, Floats]:
        return x[1 : 1 + n_prompts], x[1 + n_prompts :], x[0] + x[1 : 1 + n_prompts, None] + x[None, 1 + n_prompts :]

    def loss(x: Floats) -> float:
        theta, beta, logits = parts(x)
        likelihood = np.where(seen, np.logaddexp(0, logits) - scores * logits, 0.0).sum()
        return float(likelihood + (theta**2).sum() / 2 + (beta**2).sum() / 8)

    found = minimize(loss, np.zeros(1 + n_prompts + n_items), method="BFGS", options={"gtol": 1e-6}).x
    return np.asarray(np.where(seen, grid, expit(parts(found)[2])).mean(axis=1))


@pytest.mark.parametrize(
    "grid",
    [
        [[1, NAN, 0, 1], [NAN, 0, 0, NAN], [1, 1, NAN, 0]],
        [[1, NAN, 0.25, 1], [NAN, 0, 0.5, NAN], [1, 1, NAN, 0]],
        [[1, 1, 0, NAN], [NAN, NAN, NAN, NAN]],  # a prompt without a score
    ],
)
def test_what_is_missing_is_the_mode_that_scipy_finds(grid: list[list[float]]) -> None:
    assert prompt_means(np.array(grid)) == pytest.approx(by_scipy(np.array(grid)), abs=1e-3)


def test_it_is_nearer_to_the_truth_than_the_means_of_what_was_run() -> None:
    """100 prompts of which each ran on 20 of 200 items, of different difficulty."""
    generator = np.random.default_rng(0)
    chances = expit(1 + generator.normal(0, 0.5, 100)[:, None] + generator.normal(0, 1.5, 200))
    full = (generator.random((100, 200)) < chances).astype(np.float64)
    grid = np.full_like(full, NAN)
    for row, scores in zip(grid, full, strict=True):
        items = generator.choice(200, 20, replace=False)
        row[items] = scores[items]
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    truth = np.quantile(full.mean(axis=1), quantiles)
    error = np.abs(prompt_quantiles(grid, quantiles) - truth)
    plain = np.abs(np.quantile(np.nanmean(grid, axis=1), quantiles) - truth)
    assert error.max() < 0.06
    assert error.mean() < 0.6 * plain.mean()


def test_prompts_in_another_order_have_the_same_means() -> None:
    grid = np.array([[1, NAN, 0, 1], [NAN, 0, 0, NAN], [1, 1, NAN, 0]])
    order = [2, 0, 1]
    assert prompt_means(grid[order]) == pytest.approx(prompt_means(grid)[order], abs=1e-4)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_right_or_all_wrong_stays_so(score: float) -> None:
    assert prompt_means(np.array([[score, NAN], [NAN, score]])).tolist() == [score, score]


def test_one_share_alone_is_its_own_mean() -> None:
    assert prompt_means(np.array([[0.5, NAN], [NAN, 0.5]])) == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("grid", [[[NAN, NAN]], [[2.0, NAN]], [[-1.0, 0.0]]])
def test_no_score_or_one_that_is_no_share_is_refused(grid: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="scores between 0 and 1"):
        prompt_means(np.array(grid))
