"""From requests to scores: what the store knows is looked up, the rest is shared out, scored and committed.

The engine is the fastest that is right for the model, and is checked on a few of the run's own requests before use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.columns import Requests, Scores
from harness.errors import HarnessError
from harness.peak_memory import peak_memory
from harness.plan import plan_requests, shares, work_units
from harness.processes import Processes
from harness.progress import QuietReporter, Reporter
from harness.score_store import ScoreStore
from harness.scorers import EngineName, Engines, Scorer, spot_check

if TYPE_CHECKING:
    import torch

COMMIT_SECONDS = 2.0
UNIT_TOKENS = 1_024  # of the units that processes share out among themselves


class InterruptedRunError(HarnessError):
    """The user stopped the run; what was computed is stored."""


@dataclass(slots=True)
class Report:
    """What scoring came to, over all calls and all processes.

    ``deviation``: the largest difference to plain rows of the requests that were checked, in nats per scored token.
    ``peak_memory``: of the process that held most, the model included, in bytes; None if nothing was scored.
    """

    engine: str | None = None
    deviation: float | None = None
    rejected: dict[str, str] = field(default_factory=dict)
    distinct: int = 0
    from_store: int = 0
    scored: int = 0
    tokens: int = 0
    peak_memory: int | None = None


class Scoring:
    """Scores the requests of one run with one model.

    Args:
        load: gives the model; it is not called when every score is known.
        fresh: compute every score, whatever the store knows.
        engine: the only tier to use; None for the fastest that is right.
    """

    def __init__(
        self,
        load: Callable[[], torch.nn.Module],
        store: ScoreStore,
        processes: Processes,
        reporter: Reporter,
        *,
        provenance: Mapping[str, str],
        fresh: bool = False,
        engine: EngineName | None = None,
    ) -> None:
        self._load = load
        self._store = store
        self._processes = processes
        self._reporter: Reporter = reporter if processes.main else QuietReporter()
        self._provenance = dict(provenance)
        self._fresh = fresh or engine is not None  # a named engine is asked for what it gives, not for what is stored
        self._engine = engine
        self._scorer: Scorer | None = None
        self.report = Report()

    def sums(self, requests: Requests) -> npt.NDArray[np.float64]:
        """Total log-probability of each request in nats; shape [n requests].

        Raises:
            HarnessError: the model or the disk failed; what was scored before is stored.
            InterruptedRunError: Ctrl-C.
        """
        # One process looks, so that all agree on what is missing while others may already be adding to the store.
        found_at, found = self._processes.from_main(self._store.find(requests.keys))
        for path in self._store.damaged:
            self._reporter.remark(f"{path}: damaged, not read")
        known = found_at >= 0
        sums = np.full(len(requests), np.nan)
        sums[known] = found.sums[found_at[known]]
        missing = np.arange(len(requests)) if self._fresh else np.flatnonzero(~known)
        self.report.distinct += len(requests)
        self.report.from_store += len(requests) - len(missing)
        if not len(missing):
            self._reporter.remark(f"all {len(requests):,} scores were in the store, so the model was not loaded")
            return sums
        stored = sums.copy()
        already = {bytes(key) for key in requests.keys[known]}
        own = self._share(requests.take(missing))
        try:
            with peak_memory(self._provenance.get("device", "cpu")) as peak:
                mine = self._score(own, already)
            self.report.peak_memory = max(
                filter(None, (self.report.peak_memory, peak.bytes if len(own) else None)), default=None
            )
        finally:
            self._store.compact()
        place = {bytes(key): row for row, key in enumerate(requests.keys)}
        for rank, (keys, values, report) in enumerate(self._processes.gather((mine.keys, mine.sums, self.report))):
            sums[[place[bytes(key)] for key in keys]] = values
            if rank != self._processes.rank:
                self._add(report)
        if self._fresh and known.any():
            worst = float(np.abs(sums - stored)[known].max())
            self._reporter.remark(
                f"{int(known.sum()):,} stored scores were computed again; largest difference {worst:.1e}"
            )
        return sums

    def _share(self, requests: Requests) -> Requests:
        """The requests that this process scores: a run of the trie of all of them."""
        if self._processes.count == 1:
            return requests
        plan = plan_requests(requests)
        parts = shares(plan, work_units(plan, UNIT_TOKENS), self._processes.count)
        return requests.take(parts[self._processes.rank])

    def _score(self, requests: Requests, already: set[bytes]) -> Scores:
        """Score all requests, committing every few seconds what is finished and not stored ``already``."""
        if not len(requests):
            return Scores.concatenate([])
        self._scorer = scorer = self._scorer or self._choose(requests)
        provenance = {**self._provenance, "engine": scorer.name}
        finished: list[Scores] = []
        pending: list[Scores] = []

        def commit() -> None:
            scores = Scores.concatenate(pending)
            new = np.array([bytes(key) not in already for key in scores.keys], bool)
            if new.any():
                self._store.add(scores.take(np.flatnonzero(new)), provenance)
            finished.extend(pending)
            pending.clear()

        last = time.monotonic()
        with self._reporter.track("scoring", len(requests), "answers") as advance:
            try:
                for scores, tokens in scorer.score(requests):
                    pending.append(scores)
                    self.report.tokens += tokens
                    self.report.scored += len(scores)
                    advance(len(scores))
                    if time.monotonic() - last > COMMIT_SECONDS:
                        commit()
                        last = time.monotonic()
            except KeyboardInterrupt as error:
                raise InterruptedRunError(
                    f"interrupted: {self.report.scored:,} of {len(requests):,} scores are stored; the same command goes"
                    " on from there"
                ) from error
            finally:
                commit()
        return Scores.concatenate(finished)

    def _choose(self, requests: Requests) -> Scorer:
        """The first engine that the probe accepts and that scores some of the requests as plain rows do."""
        model = self._load()
        report = self.report
        for choice in Engines(model, longest=int(requests.lengths.max()) - 1, wanted=self._engine).choices():
            report.rejected |= choice.rejected
            report.deviation, accepted = spot_check(choice.scorer, model, requests)
            if accepted:
                report.engine = choice.scorer.name
                return choice.scorer
            report.rejected[choice.scorer.name] = f"differs from plain rows by {report.deviation:.1e} on real requests"
            self._reporter.notice(
                f"the engine {choice.scorer.name} {report.rejected[choice.scorer.name]}, so the next slower one is used"
            )
        raise HarnessError("no engine scores this model's requests as plain rows do; please report this model")

    def _add(self, other: Report) -> None:
        """Take in what another process reports."""
        report = self.report
        report.scored += other.scored
        report.tokens += other.tokens
        report.engine = report.engine or other.engine
        report.deviation = max(filter(None, (report.deviation, other.deviation)), default=None)
        report.peak_memory = max(filter(None, (report.peak_memory, other.peak_memory)), default=None)


def versions(packages: Sequence[str]) -> dict[str, str]:
    return {package: metadata.version(package) for package in packages}
