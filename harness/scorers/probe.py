"""Chooses a scorer for a model by trying it: a fast one is used only where it gives what plain rows give.

No list of architectures is kept. Each candidate scores a small random trie that crosses the borders that it could be
wrong at (of a block, of a forward, of a sliding window), and is compared with unpadded rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from harness import columns
from harness.columns import Requests, Scores
from harness.errors import ModelError, failure
from harness.model_config import text_config
from harness.plan import plan_requests
from harness.records import KEY_BYTES
from harness.scorers.base import ScoredModel, Scorer
from harness.scorers.expand import ExpandScorer
from harness.scorers.rows import RowScorer
from harness.scorers.tree import TreeScorer

if TYPE_CHECKING:
    import torch

EngineName = Literal["tree", "expand", "rows"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

# A candidate may differ from plain rows by this share of the spread of the log-probabilities. Against the spread, since
# a barely trained model is nearly flat, and hides a wrong mask from any fixed tolerance. Of tiny models, nearly flat
# ones too, rounding moves 1e-5 of it, one wrong position of many 1e-3, and one wrong column 1e-2. In bfloat16 rounding
# moves up to 0.1 of it (16 random layers), and a mask, position or window that is wrong everywhere 0.4 or more.
TOLERANCE = {"float32": 2e-4, "float64": 2e-4}
HALF_TOLERANCE = 0.2
ROUNDING = 1e-5  # nats; never held against a candidate
# Real requests may differ by this much for each scored token, in nats.
SPOT_TOLERANCE = {"float32": columns.TOLERANCE, "float64": columns.TOLERANCE}
HALF_SPOT_TOLERANCE = 0.25
SPOT_REQUESTS = 4
# In half precision, where the largest difference tells how many predictions are in doubt, more are compared: up to so
# many, while their tokens are no more than this share of those that the run computes.
HALF_SPOT_REQUESTS = 16
HALF_SPOT_SHARE = 0.02
# Entries of a configuration that name a length beyond which a model works in another way.
_BORDERS = ("window", "local_attention", "chunk_size", "index_topk", "max_position_embeddings")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to score: how it is built for use, and how to score the probe's requests.

    For the probe, several forwards must be needed, and rows of different lengths share a batch, however long they are.
    """

    name: EngineName
    build: Callable[[torch.nn.Module], Scorer]
    build_small: Callable[[torch.nn.Module, Requests], Scorer]


def _small_tree(model: torch.nn.Module, requests: Requests, *, blocked: bool = True) -> Scorer:
    width = max(16, plan_requests(requests).n_nodes // 8)
    return TreeScorer(model, blocked=blocked, width=width, block=max(1, width // 3))


def _four_rows(requests: Requests) -> int:
    return 4 * int(requests.lengths.max())


CANDIDATES = (
    Candidate("tree", TreeScorer, _small_tree),
    Candidate("tree", lambda model: TreeScorer(model, blocked=False), partial(_small_tree, blocked=False)),
    Candidate("expand", ExpandScorer, lambda model, found: ExpandScorer(model, batch_tokens=_four_rows(found))),
    Candidate("rows", RowScorer, lambda model, found: RowScorer(model, batch_tokens=_four_rows(found))),
    Candidate(
        "rows",
        lambda model: RowScorer(model, equal_lengths=True),
        lambda model, found: RowScorer(model, equal_lengths=True),
    ),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The scorer to use, how far it was from plain rows (in nats per scored token), and why others were not taken.

    ``place`` is the candidate's among all.
    """

    place: int
    scorer: Scorer
    deviation: float
    rejected: Mapping[str, str]


class Engines:
    """The scorers of one model, the fastest that is right first.

    Args:
        without: places of candidates that have failed before.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        longest: int,
        wanted: EngineName | None = None,
        without: Collection[int] = (),
    ) -> None:
        self._model = model
        self._wanted = wanted
        self._without = without
        self._requests = probe_requests(model, longest)
        self._reference: Scores | None = None

    def choices(self) -> Iterator[Choice]:
        """Every scorer that passes the probe, best first.

        Raises:
            ModelError: an engine was asked for by name, and it is not right for this model; or the model gives
                something that is not a number.
            Exception: whatever the model's own code raises on plain rows.
        """
        tolerance = self._tolerance()
        rejected: dict[str, str] = {}
        passed = False
        for place, candidate in enumerate(CANDIDATES):
            if self._wanted not in (None, candidate.name) or place in self._without:
                continue
            try:
                deviation = self._deviation(candidate)
                scorer = candidate.build(self._model)
            except Exception as error:  # a model may fail in any way on what it was not made for
                rejected[candidate.name] = failure(error)
                continue
            if deviation <= tolerance:
                passed = True
                yield Choice(place, scorer, deviation, dict(rejected))
            else:
                rejected[candidate.name] = f"differs from plain rows by {deviation:.1e}"
        if not passed and rejected:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected.items())
            asked = f"--engine {self._wanted}" if self._wanted else "no engine"
            raise ModelError(f"{asked}: does not score this model as plain rows do ({reasons})")

    def _deviation(self, candidate: Candidate) -> float:
        found = _collect(candidate.build_small(self._model, self._requests), self._requests)
        return float(np.abs(found.logprobs - self.reference.logprobs).max())

    def _tolerance(self) -> float:
        share = TOLERANCE.get(_dtype(self._model), HALF_TOLERANCE)
        return max(share * float(self.reference.logprobs.std()), ROUNDING)

    @property
    def reference(self) -> Scores:
        """The scores of unpadded rows."""
        if self._reference is None:
            self._reference = _collect(RowScorer(self._model, equal_lengths=True), self._requests)
        return self._reference


def probe_requests(model: torch.nn.Module, longest: int) -> Requests:
    """Random requests with every kind of sharing: a long beginning, items after it, answers after them, one alone; and
    beginnings of a token or two, shorter than the convolutions of state-space models.

    Where the configuration names a border that real requests, of up to ``longest`` input tokens, cross, some of these
    do.
    """
    scored = ScoredModel(model)
    rng = np.random.default_rng(0)

    def tokens(count: int) -> list[int]:
        return rng.integers(0, scored.n_vocabulary, count).tolist()  # type: ignore[no-any-return]

    rows: list[tuple[list[int], int]] = []
    beginning = tokens(24)
    for item in range(4):
        asked = beginning + tokens(6 + 3 * item)
        # Half of the items are scored from their second token on: a node that is read shows whatever is wrong with it.
        # The others have nodes that nobody reads, as real prompts have.
        rows += [(asked + tokens(1 + answer), len(asked) if answer or item % 2 else 1) for answer in range(3)]
    rows += [(tokens(9), 1), (beginning[:5] + tokens(30), 1), (beginning + tokens(2), 1)]
    short = tokens(3)
    rows += [(short[:2], 1), (short[:2] + tokens(2), 2), (short + tokens(2), 1), (short + tokens(3), 3)]
    for border in borders(scored.module.config):
        if border < longest:
            far, near = tokens(border + 4), max(1, border - 40)
            rows += [(far[: border - 6] + tokens(4), near), (far + tokens(3), near), (far + tokens(3), border + 2)]
    return _pack([(row[: longest + 1], min(start, longest)) for row, start in rows] if longest >= 16 else rows)


def borders(config: Any) -> list[int]:
    """Lengths that a configuration names and that a model may change its ways at, ascending."""
    found: set[int] = set()

    def search(entry: Any) -> None:
        for name, value in entry.items():
            if isinstance(value, dict):
                search(value)
            elif isinstance(value, int) and not isinstance(value, bool) and any(part in name for part in _BORDERS):
                found.add(value)

    search(text_config(config).to_dict())
    return sorted(value for value in found if value > 8)


def spot_check(choice: Scorer, model: torch.nn.Module, requests: Requests) -> tuple[float, bool]:
    """Compare a scorer with plain rows on a few real requests, among them the longest one.

    Returns:
        The largest difference in nats per scored token, and whether it can be accepted.
    """
    chosen = requests.take(spot_sample(model, requests))
    one, other = _collect(choice, chosen), _collect(RowScorer(model, equal_lengths=True), chosen)
    worst = float((np.abs(one.sums - other.sums) / np.diff(one.offsets)).max())
    return worst, worst <= SPOT_TOLERANCE.get(_dtype(model), HALF_SPOT_TOLERANCE)


def spot_sample(model: torch.nn.Module, requests: Requests) -> npt.NDArray[np.int64]:
    """Which requests are compared with plain rows: some from the first to the last, and the longest one."""
    lengths, count = requests.lengths, SPOT_REQUESTS
    if _dtype(model) not in SPOT_TOLERANCE:
        affordable = HALF_SPOT_SHARE * plan_requests(requests).n_nodes / float(lengths.mean())
        count = min(max(count, int(affordable)), HALF_SPOT_REQUESTS)
    picked = np.linspace(0, len(requests) - 1, count - 1).astype(np.int64)
    return np.unique([*picked, int(np.argmax(lengths))])


def _collect(scorer: Scorer, requests: Requests) -> Scores:
    """All scores, in the order of the requests."""
    found = Scores.concatenate([scores for scores, _ in scorer.score(requests)])
    place = {bytes(key): row for row, key in enumerate(found.keys)}
    return found.take(np.array([place[bytes(key)] for key in requests.keys], np.int64))


def _pack(rows: list[tuple[list[int], int]]) -> Requests:
    offsets = np.cumsum([0, *(len(tokens) for tokens, _ in rows)]).astype(np.int64)
    keys = np.zeros((len(rows), KEY_BYTES), np.uint8)
    keys[:, 0] = np.arange(len(rows))
    flat = np.array([token for tokens, _ in rows for token in tokens], np.int32)
    return Requests(flat, offsets, np.array([start for _, start in rows], np.int32), keys)


def _dtype(model: torch.nn.Module) -> str:
    return str(model.dtype).removeprefix("torch.")
