"""Evaluates prompts with causal language models: how well does a prompt do with k examples, and how sure are we?

    import harness
    result = harness.run(tasks=["sst2"], shots=[0, 4], model="path/to/model")
    result.table        # a pandas DataFrame, one row for each (model, task, k)

Importing this package is cheap: everything else loads when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api import Leaderboard, Result, baseline, choose_order, leaderboard, run

__all__ = ["Leaderboard", "Result", "baseline", "choose_order", "leaderboard", "run"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness import api

    return getattr(api, name)
