"""Quantiles of accuracy over many prompts when each has run on some of the items only.

PromptEval (Maia Polo et al. 2024, arXiv:2405.17202, section 3 and algorithm 1, without covariates).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats

# Standard deviations of the normal priors, in logits: items differ more than prompts do. A share of the scores is
# counted as it is, so that these matter less the more of the grid has been run.
PROMPT_SD = 1.0
ITEM_SD = 2.0


def prompt_means(grid: Floats) -> Floats:
    """Each prompt's mean score over all items, shape [prompts], from a grid [prompts, items] with nan where not run.

    Scores are shares between 0 and 1. Those that were run count as they are, the others by the model
    logit P = theta_prompt + beta_item, fitted to those that were run: a penalised logistic regression, which is the
    mode under the priors. So a full grid gives the row means, exactly. A prompt without a score gets the average one's.
    """
    seen = ~np.isnan(grid)
    if not seen.any() or not ((grid[seen] >= 0) & (grid[seen] <= 1)).all():
        raise ValueError("a grid of prompts needs at least one score, and scores between 0 and 1")
    if seen.all():
        return np.asarray(grid.mean(axis=1))
    return np.asarray(np.where(seen, grid, _probabilities(grid, seen)).mean(axis=1))


def prompt_quantiles(grid: Floats, quantiles: Sequence[float]) -> Floats:
    """Quantiles (0 to 1, linearly interpolated) over prompts of ``prompt_means``, shape [quantiles]."""
    return np.asarray(np.quantile(prompt_means(grid), quantiles))


def _probabilities(grid: Floats, seen: npt.NDArray[np.bool_]) -> Floats:
    """P of each cell by the fitted model, shape [prompts, items]."""
    from scipy import sparse
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    n_prompts, n_items = grid.shape
    prompt, item = np.nonzero(seen)
    scores = grid[seen]
    if scores.min() == scores.max() and scores[0] in (0.0, 1.0):
        return np.full_like(grid, scores[0])  # one class alone has no regression
    rows = np.arange(len(scores))
    design = sparse.hstack(
        [
            sparse.csr_matrix((np.full(len(rows), PROMPT_SD), (rows, prompt)), (len(rows), n_prompts)),
            sparse.csr_matrix((np.full(len(rows), ITEM_SD), (rows, item)), (len(rows), n_items)),
        ],
        format="csr",
    )
    # A share is that much of a right answer and the rest of a wrong one. C = 1: the coefficients' prior has variance 1.
    right, wrong = scores > 0, scores < 1
    fit = LogisticRegression(C=1.0, max_iter=10_000).fit(
        sparse.vstack([design[right], design[wrong]], format="csr"),
        np.concatenate([np.ones(right.sum(), np.int64), np.zeros(wrong.sum(), np.int64)]),
        sample_weight=np.concatenate([scores[right], 1 - scores[wrong]]),
    )
    theta, beta = PROMPT_SD * fit.coef_[0, :n_prompts], ITEM_SD * fit.coef_[0, n_prompts:]
    return np.asarray(expit(fit.intercept_[0] + theta[:, None] + beta[None, :]))
