"""How a row depends on wording, demonstrations, order and items, and how far its probabilities can be believed.

Everything follows from stored predictions. A row says how these prompts did on these items; this says what to expect of
the next wording, draw or item.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.metrics import Floats, Ints
from harness.prompteval import prompt_quantiles
from harness.reliability import brier, expected_calibration_error
from harness.signature import CELL_KEY
from harness.summary import Row
from harness.variance import VarianceComponents, variance_components

QUANTILES = (0.05, 0.5, 0.95)
PARTS = ("template", "seed", "order", "item", "template x item")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One row's.

    ``quantiles``, at 5, 50 and 95 %, are of accuracy over prompts (templates, seeds and orders); items that some prompt
    did not answer are filled in by PromptEval's model. ``variance`` is None for a single prompt, where some combination
    of template, seed and order is missing, and for a single cluster. ``calibration_error`` (expected, 10 bins) and
    ``brier`` are means over prompts, None for options of each item's own.
    """

    row: Row
    prompts: int
    quantiles: Sequence[float]
    variance: VarianceComponents | None
    calibration_error: float | None
    brier: float | None

    @property
    def half_width(self) -> float:
        """Half of the 95% interval of the mean over new templates, seeds, orders and items; nan where unknown."""
        return self.variance.half_width if self.variance else math.nan

    @property
    def shares(self) -> dict[str, float]:
        """The parts of the mean's variance, by ``PARTS``; they add up to 1. A factor with one level has none.

        "rest" is all other interactions, and the noise that one answer of each cell cannot be told apart from.
        """
        if self.variance is None or not self.variance.variance_of_mean:
            return {}
        found: dict[str, float] = {}
        for one in self.variance.components:
            part = one.factors if one.factors in PARTS else "rest"
            found[part] = found.get(part, 0.0) + one.variance_of_mean / self.variance.variance_of_mean
        return found

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        variance = self.variance and {
            one.name: {"variance": one.variance, "levels": one.levels} for one in self.variance.components
        }
        return {
            "prompts": self.prompts,
            "quantiles": dict(zip(map(str, QUANTILES), self.quantiles, strict=True)),
            "variance_components": variance,
            "shares_of_variance": self.shares,
            "standard_error": self.variance and self.variance.standard_error,
            "half_width": None if math.isnan(self.half_width) else self.half_width,
            "expected_calibration_error": self.calibration_error,
            "brier": self.brier,
        }


def sensitivity(row: Row) -> Sensitivity:
    """What the cells of a row tell beyond their mean."""
    cells = row.cells
    scores = np.stack([(cell.prediction == cell.gold).astype(np.float64) for cell in cells])
    known = [cell for cell in cells if cell.probabilities is not None and not np.isnan(cell.probabilities).any()]
    errors = [
        expected_calibration_error(cell.probabilities, cell.gold) for cell in known if cell.probabilities is not None
    ]
    distances = [brier(cell.probabilities, cell.gold) for cell in known if cell.probabilities is not None]
    return Sensitivity(
        row,
        len(cells),
        prompt_quantiles(scores, QUANTILES).tolist(),
        _variance(row, scores) if len(cells) > 1 else None,
        float(np.mean(errors)) if errors else None,
        float(np.mean(distances)) if distances else None,
    )


def remarks(found: Sequence[Sensitivity]) -> list[str]:
    """What the shares and the interval of a table hold, and what they leave out."""
    parts = [part for part in (*PARTS, "rest") if any(part in one.shares for one in found)]
    shares = [f"{', '.join(parts)}: shares of the variance of the mean"] if parts else []
    told = ["; ".join([*shares, "+-: 95% over new ones of all that vary, by Student's t"])]
    one_template = sum(one.row.templates == 1 and not one.row.trained and one.variance is not None for one in found)
    one_seed = sum(one.row.seeds == 1 and bool(one.row.signature.shots) and one.variance is not None for one in found)
    if one_seed:
        told.append(
            f"{one_seed} of the rows with demonstrations have one seed: what another would change is in no share and"
            " not in +-, and what template and seed do together counts as template"
        )
    if one_template:
        told.append(
            f"{one_template} of the rows have one template: what another would change is in no share and not in +-"
        )
    clustered = sorted({one.row.task_label for one in found if one.row.clusters is not None})
    if clustered:
        told.append(f"{', '.join(clustered)}: items come in clusters, so that item is what clusters differ by")
    return told


def _variance(row: Row, scores: Floats) -> VarianceComponents | None:
    """Components over template, seed, order and item, or cluster of items; of a grid that has all of its combinations.

    A single cluster tells nothing of others.
    """
    levels = []
    for name in CELL_KEY:
        values = [str(cell.signature.value(name)) for cell in row.cells]
        levels.append(np.unique(values, return_inverse=True)[1])
    if len(row.cells) != math.prod(len(np.unique(level)) for level in levels):
        return None
    if row.clusters is not None:
        scores = _by_cluster(scores, row.clusters)
    cells, units = scores.shape
    if row.clusters is not None and units == 1:
        return None
    template, seed, order = (np.repeat(level, units) for level in levels)
    return variance_components(template, seed, order, np.tile(np.arange(units), cells), scores.ravel())


def _by_cluster(scores: Floats, clusters: Ints) -> Floats:
    """A score of each cluster, [cells, items] to [cells, clusters], with the same means over a cell.

    It is the cell's mean and what the cluster's items are off it together, so scaled that the standard error of the
    scores of one cell is that of its clustered items (``statistics.standard_error``).
    """
    _, index = np.unique(clusters, return_inverse=True)
    count = int(index.max()) + 1
    means = scores.mean(axis=1, keepdims=True)
    off = (scores - means) @ np.eye(count)[index]
    return np.asarray(means + count / scores.shape[1] * off)
