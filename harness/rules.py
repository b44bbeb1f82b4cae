"""Scoring rules: how the log-probability of an answer becomes the score that answers are compared by.

With s the sum of log p over the T scored tokens (methods: Brown et al. 2020, section 2.4; Gao 2021 for bytes):

    sum    s                 total log-likelihood
    token  s / T             per scored token
    char   s / characters    per character of the answer, the delimiter before it not counted
    byte   s / UTF-8 bytes   per byte of the answer

and with s' the same answer's log-likelihood elsewhere:

    pmi            s - s'    after the template's domain premise (Holtzman et al. 2021, section 3)
    unconditional  s - s'    after nothing
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from harness.columns import Candidates
from harness.records import RuleName

Floats = npt.NDArray[np.float64]

# The rules that compare with the same answers elsewhere, and with which companion prompts.
COMPARED: dict[RuleName, str] = {"pmi": "premise", "unconditional": "null"}

RULES: dict[RuleName, Callable[[Floats, Candidates], Floats]] = {
    "sum": lambda sums, candidates: sums,
    "token": lambda sums, candidates: sums / candidates.n_tokens,
    "char": lambda sums, candidates: sums / np.maximum(candidates.n_chars, 1),
    "byte": lambda sums, candidates: sums / np.maximum(candidates.n_bytes, 1),
    "pmi": lambda sums, candidates: sums,  # of the difference
    "unconditional": lambda sums, candidates: sums,
}
