"""Evaluates prompts with causal language models: how well does a prompt do with k examples, and how sure are we?

    import harness
    result = harness.run(tasks=["sst2"], shots=[0, 4], model="path/to/model")
    result.table        # a pandas DataFrame, one row for each (model, task, k)

Importing this package is cheap: everything else loads when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Where each name is defined.
_NAMES = {
    **dict.fromkeys(
        (
            "baseline", "breakeven", "choose_order", "compare", "leaderboard", "predict", "run", "select", "show",
            "Choice", "Comparison", "Labels", "Leaderboard", "PromptView", "Result", "Worth",
        ),
        "harness.api",
    ),
    "HarnessError": "harness.errors",
    "Reporter": "harness.progress",
}  # fmt: skip
# Modules of formulas, for arrays of one's own.
_FORMULAS = (
    "calibrate", "label_worth", "learning_curves", "paired", "power", "prompteval", "reliability", "sequential",
    "statistics", "variance",
)  # fmt: skip

__all__ = [*_NAMES, *_FORMULAS]


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])


class _Package(ModuleType):
    """Keeps its functions whatever is imported: the import of ``harness.compare`` would put that module in the place of
    ``harness.compare()``."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _NAMES:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
