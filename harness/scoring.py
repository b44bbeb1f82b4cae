"""From requests to scores: what the store knows is looked up, the rest is shared out, scored and committed.

The engine is the fastest that is right for the model, and is checked on a few of the run's own requests before use.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from harness import interrupts
from harness.columns import TOLERANCE, Requests, Scores
from harness.errors import HarnessError, InterruptedRunError, ModelError, failure
from harness.peak_memory import peak_memory
from harness.plan import plan_requests, shares, work_units
from harness.processes import Processes
from harness.progress import Advance, QuietReporter, Reporter, duration
from harness.score_store import ScoreStore
from harness.scorers import CANDIDATES, EngineName, Engines, Scorer, borders, spot_check, spot_sample

if TYPE_CHECKING:
    import torch

Found = tuple[npt.NDArray[np.int64], Scores]

COMMIT_SECONDS = 2.0
UNIT_TOKENS = 1_024  # of the units that processes share out among themselves


@dataclass(slots=True)
class Report:
    """What scoring came to, over all calls and all processes.

    ``deviation``: the largest difference to plain rows of the requests that were compared, in nats per scored token.
    ``peak_memory``: of the process that held most, the model included, in bytes; None if nothing was scored.
    """

    engine: str | None = None
    deviation: float | None = None
    compared: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    distinct: int = 0
    from_store: int = 0
    scored: int = 0
    tokens: int = 0
    peak_memory: int | None = None


class Rounds(Protocol):
    """A grid's requests, which may still be encoded while the first are scored."""

    def rounds(self) -> Iterator[Requests]:
        """The requests; raises HarnessError where one cannot be made."""
        ...

    def known(self) -> int:
        """How many there are so far."""
        ...

    def check(self) -> None:
        """Raises what goes wrong in a later round, as soon as it has."""
        ...

    def close(self) -> None:
        """Make no more."""
        ...


class _EngineError(Exception):
    """An engine failed; ``error`` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _steps(scorer: Scorer, requests: Requests) -> Iterator[tuple[Scores, int]]:
    """What a scorer gives, its failures told apart from those of whoever takes it."""
    try:
        yield from scorer.score(requests)
    except Exception as error:  # a model may fail in any way on what it was not made for
        raise _EngineError(error) from error


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
        self._loaded: torch.nn.Module | None = None
        self._scorer: Scorer | None = None
        self._place: int | None = None  # the scorer's, among all candidates
        self._failed: set[int] = set()  # places of those that failed while they were used
        self._failures = 0
        self._border = self._checked = 0  # up to where the scorer was probed, and compared on real requests
        # Stored scores that were computed again, how far off the worst was for each scored token, and how many too far.
        self._recomputed, self._worst, self._beyond = 0, 0.0, 0
        self._before = 0, 0  # scores from the store, and scored, of earlier grids
        self.report = Report()

    def sums(self, grid: Rounds) -> npt.NDArray[np.float64]:
        """Total log-probability of each request in nats, of all rounds; shape [n requests].

        A round is scored as one trie; what it shares with an earlier one is computed again.

        Raises:
            HarnessError: the model or the disk failed, or a later round; what was scored before is stored.
            InterruptedRunError: Ctrl-C.
        """
        self._grid, self._before, found = grid, (self.report.from_store, self.report.scored), []
        self._recomputed, self._worst, self._beyond = 0, 0.0, 0
        with self._reporter.track("scoring", grid.known(), "answers") as advance:
            try:
                found = [self._round(requests, advance) for requests in grid.rounds()]
            finally:
                grid.close()
                self._store.compact()
        sums = np.concatenate(found)
        for path in dict.fromkeys(self._store.damaged):
            self._reporter.remark(f"{path}: damaged, not read")
        if self._recomputed:
            self._reporter.remark(
                f"{self._recomputed:,} stored scores were computed again; largest difference {self._worst:.1e} for each"
                f" scored token, {self._beyond:,} beyond {TOLERANCE:.0e}"
            )
        return sums

    def told(self, seconds: float) -> str:
        """What all of it came to, in so much time."""
        report = self.report
        if not report.scored:
            return f"all {report.from_store:,} scores were in the store, so the model was not loaded"
        rate = report.scored / max(seconds, 1e-3)
        told = f"{report.scored:,} scores computed in {duration(seconds)} ({rate:,.{0 if rate >= 10 else 1}f}/s)"
        return f"{told}, {report.from_store:,} read from the store"

    def _model(self) -> torch.nn.Module:
        """The model; it is said if one has to wait for it."""
        if self._loaded is None:
            with self._reporter.track("loading the model", None, ""):
                self._loaded = self._load()
        return self._loaded

    def _round(self, requests: Requests, advance: Advance) -> npt.NDArray[np.float64]:
        # One process looks, so that all agree on what is missing while others may already be adding to the store.
        looked_up = self._store.find(requests.keys, requests.span_lengths) if self._processes.main else None
        found_at, found = cast("Found", self._processes.from_main(looked_up))
        stored = found_at >= 0
        sums = np.full(len(requests), np.nan)
        sums[stored] = found.sums[found_at[stored]]
        missing = np.arange(len(requests)) if self._fresh else np.flatnonzero(~stored)
        self.report.distinct += len(requests)
        self.report.from_store += len(requests) - len(missing)
        advance(len(requests) - len(missing), self._grid.known())
        if not len(missing):
            return sums
        before = sums.copy()
        already = {bytes(key) for key in requests.keys[stored]}
        own = self._share(requests.take(missing))
        report = self.report
        scored, tokens, compared = report.scored, report.tokens, report.compared
        with peak_memory(self._provenance.get("device", "cpu")) as peak:
            mine = self._score(own, already, advance)
        report.peak_memory = max(filter(None, (report.peak_memory, peak.bytes if len(own) else None)), default=None)
        work = replace(
            report,
            scored=report.scored - scored,
            tokens=report.tokens - tokens,
            compared=report.compared - compared,
        )
        place = {bytes(key): row for row, key in enumerate(requests.keys)}
        for rank, (keys, values, theirs) in enumerate(self._processes.gather((mine.keys, mine.sums, work))):
            sums[[place[bytes(key)] for key in keys]] = values
            if rank != self._processes.rank:
                self._add(theirs)
        advance(len(missing) - len(own))
        if self._fresh and stored.any():
            apart = (np.abs(sums - before) / requests.span_lengths)[stored]
            self._recomputed += len(apart)
            self._worst = max(self._worst, float(apart.max()))
            self._beyond += int((apart > TOLERANCE).sum())
        return sums

    def _share(self, requests: Requests) -> Requests:
        """The requests that this process scores: a run of the trie of all of them."""
        if self._processes.count == 1:
            return requests
        plan = plan_requests(requests)
        parts = shares(plan, work_units(plan, UNIT_TOKENS), self._processes.count)
        return requests.take(parts[self._processes.rank])

    def _score(self, requests: Requests, already: set[bytes], advance: Advance) -> Scores:
        """Score all requests, committing every few seconds what is finished and not stored ``already``.

        An engine that fails gives way to the next one, which scores what is left.
        """
        finished: list[Scores] = []
        pending: list[Scores] = []
        provenance = dict(self._provenance)

        def commit() -> None:
            scores = Scores.concatenate(pending)
            new = np.array([bytes(key) not in already for key in scores.keys], bool)
            if new.any():
                self._store.add(scores.take(np.flatnonzero(new)), provenance)
            finished.extend(pending)
            pending.clear()

        rest, last = requests, time.monotonic()
        try:
            while len(rest):
                scorer = self._scorer_for(rest)
                provenance["engine"] = scorer.name
                try:
                    for scores, tokens in _steps(scorer, rest):
                        pending.append(scores)
                        self.report.tokens += tokens
                        self.report.scored += len(scores)
                        advance(len(scores), self._grid.known())
                        interrupts.check()
                        if self._processes.count == 1:  # several must end at the same place
                            self._grid.check()
                        if time.monotonic() - last > COMMIT_SECONDS:
                            commit()
                            last = time.monotonic()
                    break
                except _EngineError as error:
                    commit()
                    self._pass_over(scorer, error)
                    done = {bytes(key) for part in finished for key in part.keys}
                    rest = rest.take(np.flatnonzero([bytes(key) not in done for key in rest.keys]))
        except KeyboardInterrupt as error:
            stored, scored = self._before
            done_now, due = self.report.scored - scored, self._grid.known() - (self.report.from_store - stored)
            raise InterruptedRunError(
                f"interrupted: {done_now:,} of {due:,} scores are stored; the same command goes on from there"
            ) from error
        finally:
            commit()
        return Scores.concatenate(finished)

    def _scorer_for(self, requests: Requests) -> Scorer:
        """The scorer in use, or another if it is not right for these requests, where they are longer than before."""
        longest = int(requests.lengths.max()) - 1
        scorer, model = self._scorer, self._model()
        if scorer and longest <= self._border and longest > 2 * self._checked:
            if self._why_not(scorer, requests) is None:
                self._checked = longest
            else:
                scorer = None
        if scorer is None or longest > self._border:
            scorer, self._checked = self._choose(requests), longest
            beyond = [border for border in borders(model.config) if border >= longest]
            self._border = min(beyond, default=sys.maxsize)
        self._scorer = scorer
        return scorer

    def _choose(self, requests: Requests) -> Scorer:
        """The first engine that the probe accepts and that scores some of the requests as plain rows do."""
        model, report, longest = self._model(), self.report, int(requests.lengths.max()) - 1
        try:
            engines = Engines(model, longest=longest, wanted=self._engine, without=self._failed)
            for choice in engines.choices():
                report.rejected |= choice.rejected
                why_not = self._why_not(choice.scorer, requests)
                if why_not is None:
                    report.engine, self._place = choice.scorer.name, choice.place
                    return choice.scorer
                self._give_way(choice.scorer.name, why_not)
        except HarnessError:
            raise
        except Exception as error:  # a model's own code may fail in any way
            raise ModelError(
                f"the model's own code fails on plain rows of tokens (the longest request has {longest + 1}):"
                f" {failure(error)}"
            ) from error
        raise ModelError(self._hopeless(longest))

    def _why_not(self, scorer: Scorer, requests: Requests) -> str | None:
        """Why a scorer is not right for some of the requests, if it is not."""
        try:
            deviation, accepted = spot_check(scorer, self._model(), requests)
        except Exception as error:  # a model may fail in any way on what it was not made for
            return f"fails on real requests: {failure(error)}"
        if not accepted:
            return f"differs from plain rows by {deviation:.1e} on real requests"
        self.report.deviation = max(self.report.deviation or 0.0, deviation)
        self.report.compared += len(spot_sample(self._model(), requests))
        return None

    def _pass_over(self, scorer: Scorer, error: _EngineError) -> None:
        """Use this scorer no more, because it failed.

        Raises:
            ModelError: there is no other.
        """
        self._failures += 1
        if self._place is not None:
            self._failed.add(self._place)
        self._give_way(scorer.name, f"fails on real requests: {failure(error.error)}")
        self._scorer = None
        if self._failures >= len(CANDIDATES):
            raise ModelError(self._hopeless(None)) from error.error

    def _give_way(self, engine: str, why: str) -> None:
        self.report.rejected[engine] = why
        self._reporter.notice(f"the engine {engine} {why}, so the next one is tried")

    def _hopeless(self, longest: int | None) -> str:
        """What to say when no engine is left."""
        reasons = self.report.rejected
        asked = f"--engine {self._engine}" if self._engine else "no engine"
        size = f", of up to {longest + 1} tokens" if longest is not None else ""
        if len(set(reasons.values())) == 1:
            return f"{asked} can score this model's requests{size}: each {next(iter(reasons.values()))}"
        told = "; ".join(f"{engine} {why}" for engine, why in reasons.items())
        return f"{asked} can score this model's requests{size}: {told}"

    def _add(self, other: Report) -> None:
        """Take in what another process has done."""
        report = self.report
        report.scored += other.scored
        report.tokens += other.tokens
        report.engine = report.engine or other.engine
        report.deviation = max(filter(None, (report.deviation, other.deviation)), default=None)
        report.compared += other.compared
        report.peak_memory = max(filter(None, (report.peak_memory, other.peak_memory)), default=None)
