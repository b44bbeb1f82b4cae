"""Scorers: from requests to log-probabilities with a causal language model. They know token ids alone.

``tree`` computes every shared token once; ``expand`` copies the cache of a shared beginning; ``rows`` runs one row for
each input, and is what the others are compared with. ``Engines`` finds out which of them a model can be trusted with.
"""

from harness.scorers.base import Scorer
from harness.scorers.expand import ExpandScorer
from harness.scorers.probe import CANDIDATES, ENGINES, EngineName, Engines, borders, spot_check, spot_sample
from harness.scorers.rows import RowScorer
from harness.scorers.tree import TreeScorer

__all__ = [
    "CANDIDATES",
    "ENGINES",
    "EngineName",
    "Engines",
    "ExpandScorer",
    "RowScorer",
    "Scorer",
    "TreeScorer",
    "borders",
    "spot_check",
    "spot_sample",
]
