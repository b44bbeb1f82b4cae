"""Calibration: takes a prompt's own leaning towards some labels out of its label scores.

With p the label probabilities of an item (the scores' softmax over its labels):

    contextual    p / p_cf, p_cf from content-free inputs (Zhao et al. 2021, section 5)
    domain        the same, p_cf from random words of the task's own texts (Fei et al. 2023, section 3)
    batch         log p - mean over the items of log p (Zhou et al. 2023, section 3)
    prototypical  clusters of log p, matched with the labels (Han et al. 2023, section 3)

The last two look at all items at once: they are transductive, and say nothing about how one new item would fare.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError
from harness.records import CalibrationName

Floats = npt.NDArray[np.float64]

TRANSDUCTIVE: frozenset[CalibrationName] = frozenset({"batch", "prototypical"})
# What stands in each text field for nothing in particular (Zhao et al. 2021, section 5).
CONTENT_FREE = ("N/A", "", "[MASK]")
DOMAIN_TEXTS = 20  # Fei et al. 2023, section 3


def normalised(scores: Floats) -> Floats:
    """Log-probabilities over labels; scores in nats, shape [n, labels], -inf where an item has no such label."""
    from scipy.special import log_softmax

    return log_softmax(scores, axis=1)


def content_free_prior(scores: Floats) -> Floats:
    """log p_cf, shape [labels], from the label scores of m content-free inputs, shape [m, labels].

    Label probabilities are averaged before they are normalised, so that an input under which all labels are unlikely
    counts for little. An input that could not be scored has -inf; if none could, all labels are alike.
    """
    from scipy.special import log_softmax, logsumexp

    sums = logsumexp(scores, axis=0)
    return log_softmax(sums if np.isfinite(sums).any() else np.zeros_like(sums))


def contextual(scores: Floats, prior: Floats) -> Floats:
    """Divide by p_cf.

    Args:
        scores: label scores, shape [n, labels].
        prior: log p_cf of each item's own context, shape [n, labels], or [labels] for one context.
    """
    return normalised(normalised(scores) - prior)


def batch(scores: Floats, *, ratio: bool = False) -> Floats:
    """Divide by the items' mean: the geometric one, or with ``ratio`` the arithmetic one.

    Raises:
        UsageError: there are fewer than two items for each label.
    """
    logs = _enough(scores, "batch")
    prior = np.log(np.exp(logs).mean(axis=0)) if ratio else logs.mean(axis=0)
    return normalised(logs - prior)


def prototypical(scores: Floats, *, seed: int = 0) -> Floats:
    """Probabilities of clusters of items in place of those of labels.

    A Gaussian mixture with a component for each label is fitted to log p; components are matched with labels so that
    the mean log p of each component's own label is largest in sum. Of five starts of EM the one that ends with the
    greatest likelihood counts; another seed may end elsewhere. The order of the items does not matter.

    Raises:
        UsageError: there are fewer than two items for each label.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.mixture import GaussianMixture

    logs = _enough(scores, "prototypical")
    labels = logs.shape[1]
    found = GaussianMixture(labels, covariance_type="full", n_init=5, reg_covar=1e-4, random_state=seed)
    found.fit(logs[np.lexsort(logs.T)])
    components, matched = linear_sum_assignment(found.means_, maximize=True)
    order = components[np.argsort(matched)]
    with np.errstate(divide="ignore"):
        return normalised(np.log(found.predict_proba(logs)[:, order]))


def fewest_items(labels: int) -> int:
    """The least number of items from which a transductive calibration can tell ``labels`` labels apart."""
    return 2 * labels


def _enough(scores: Floats, name: CalibrationName) -> Floats:
    items, labels = scores.shape
    if items < fewest_items(labels):
        raise UsageError(
            f"--calibrate {name}: needs at least {fewest_items(labels)} items for {labels} labels, not {items}"
        )
    return normalised(scores)
