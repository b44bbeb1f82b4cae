"""What a baseline is: something that learns from labelled texts and gives every text the log-probability of each label.

Fine-tuned networks join by the same contract. It knows no task, no file format and no run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Gives texts their vectors; shape [n texts, d].
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


class Baseline(Protocol):
    """A trained, or yet untrained, classifier of texts."""

    @property
    def parameters(self) -> int:
        """How many numbers were fitted to the labels (kNN: none; it keeps its examples)."""
        ...

    @property
    def classes(self) -> int:
        """How many labels it gives the log-probabilities of, once it is trained or loaded."""
        ...

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        """Learn from texts and their label ids; shape [n]. Nothing else may be looked at.

        Args:
            n_classes: how many labels the task has, whether or not each is among ``labels``.
            seed: of everything that chance decides.

        Returns:
            What was chosen, and how, as JSON values.
        """
        ...

    def scores(self, texts: Sequence[str]) -> Floats:
        """Log-probabilities in nats; shape [n texts, n_classes]. A text's do not depend on the others."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that ``scores`` needs into a folder, without pickle. Raises HarnessError."""
        ...

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote. Raises DamagedFileError where it is anything else."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a method may use besides labelled texts: ``embed`` is the frozen encoder, where it asked for one."""

    embed: Embed | None = None

    @property
    def encoder(self) -> Embed:
        assert self.embed is not None
        return self.embed


def smoothed(log_probabilities: Floats, present: Ints, n_classes: int, n_labels: int) -> Floats:
    """Log-probabilities of all classes, from those of the classes that training showed; shape [n, n_classes].

    A class without any label gets 1 / (n_labels + n_classes) (add-one smoothing); the others share the rest. The most
    probable class stays the same.
    """
    missing = n_classes - len(present)
    floor = 1 / (n_labels + n_classes)
    table = np.full((len(log_probabilities), n_classes), np.log(floor))
    table[:, present] = log_probabilities + np.log1p(-missing * floor)
    return table
