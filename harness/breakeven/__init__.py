"""How many labels a frozen prompt is worth: stored prompts against the learning curves of stored baselines.

One budget of labels on both sides. A baseline is charged what it was trained on, and what it was tuned on where the
user says so; a prompt is charged the labels that it shows, and those that it was chosen by. Both answer the same items
of the same split, so that resamples of items are the same for all.
"""

from harness.breakeven.report import Baseline, Pair, Prompt, Report
from harness.breakeven.scores_file import read_csv
from harness.breakeven.stored import read
from harness.breakeven.wanted import Wanted, selection_labels, shot_numbers
from harness.label_worth import Over
from harness.learning_curves import Monotone

__all__ = [
    "Baseline",
    "Monotone",
    "Over",
    "Pair",
    "Prompt",
    "Report",
    "Wanted",
    "read",
    "read_csv",
    "selection_labels",
    "shot_numbers",
]
