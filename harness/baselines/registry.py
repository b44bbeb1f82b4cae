"""The methods by name: how one is made, and what identifies it. Another method is one more entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from harness.baselines import choice, embedded, floors, logistic, tfidf
from harness.baselines.base import Baseline, Surroundings
from harness.records import digest
from harness.versions import versions

MethodName = Literal["majority", "random", "tfidf", "knn", "probe"]
METHOD_NAMES: tuple[MethodName, ...] = get_args(MethodName)

# Raised whenever the same labels would give other predictions than before; it is in every cell's signature.
VERSION = 4


@dataclass(frozen=True)
class Method:
    """A kind of baseline.

    ``settings`` is what decides what it learns from the same labels: grids, defaults, shapes of features; JSON values.
    ``reads_labels`` is False for what needs no training set, so that sizes mean nothing to it.
    """

    name: MethodName
    make: Callable[[Surroundings], Baseline]
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs_encoder: bool = False
    reads_labels: bool = True

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """Of the libraries that decide what is learnt."""
        return versions(("scikit-learn", "scipy", "numpy"))

    def fingerprint(self, encoder: str | None) -> str:
        """Args: encoder: the fingerprint of the frozen encoder; it counts only where the method has one."""
        used = encoder if self.needs_encoder else None
        return digest([VERSION, self.name, dict(self.settings), dict(self.versions), used])


_CHOICE = {"folds": choice.MOST_FOLDS, "chosen_from": choice.CHOSEN_FROM, "one_fold_from": choice.ONE_FOLD_FROM}
_LOGISTIC = {**_CHOICE, "most_steps": logistic.MOST_STEPS, "tolerance": logistic.TOLERANCE}

METHODS: Mapping[MethodName, Method] = {
    method.name: method
    for method in (
        Method("majority", floors.Majority),
        Method("random", floors.Chance, reads_labels=False),
        Method(
            "tfidf",
            tfidf.Tfidf,
            {
                "C": tfidf.STRENGTHS,
                "default": tfidf.DEFAULT_STRENGTH,
                "spaced": tfidf.SPACED,
                "unspaced": tfidf.UNSPACED,
                "most_features": tfidf.MOST_FEATURES,
                "longest_word": tfidf.LONGEST_WORD,
                **_LOGISTIC,
            },
        ),
        Method(
            "knn",
            embedded.Neighbours,
            {"k": embedded.NEIGHBOURS, "default": embedded.DEFAULT_NEIGHBOURS, **_CHOICE},
            needs_encoder=True,
        ),
        Method(
            "probe",
            embedded.Probe,
            {"C": embedded.STRENGTHS, "default": embedded.DEFAULT_STRENGTH, **_LOGISTIC},
            needs_encoder=True,
        ),
    )
}
