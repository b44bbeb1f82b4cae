"""Trained baselines: what as many labels buy without a prompt.

subsets     nested, stratified training sets
base        the contract of a baseline
floors, tfidf, embedded   the methods; logistic and choice serve them
registry    the methods by name
trained     trained cells on the disk
grid        what is to be trained
encoder     the model that embeds texts
cells       one cell, trained or read, and its cost
run         ``harness baseline``
apply       ``harness predict`` with a trained one
"""

from __future__ import annotations

from harness.baselines.apply import TrainedBaseline, find_baseline
from harness.baselines.base import Baseline
from harness.baselines.options import BaselineOptions
from harness.baselines.registry import METHOD_NAMES, METHODS
from harness.baselines.run import run_baselines
from harness.baselines.subsets import stratified_order
from harness.baselines.texts import joined

__all__ = [
    "METHODS",
    "METHOD_NAMES",
    "Baseline",
    "BaselineOptions",
    "TrainedBaseline",
    "find_baseline",
    "joined",
    "run_baselines",
    "stratified_order",
]
