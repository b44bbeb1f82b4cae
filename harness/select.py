"""Chooses the best prompt under a budget: sequential halving on the split for choices, then one report on the other.

An arm is a template with a number of shots, a demonstration seed and order. Scoring rules and calibrations are readings
of the same scores, so an arm counts by the best of its readings. All arms of a round answer the same items, and what
they answered before counts on. Controls are no arms: they are run beside the prompt that is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from harness.calibrate import TRANSDUCTIVE
from harness.errors import UsageError
from harness.grid import PlannedCell
from harness.options import RunOptions
from harness.progress import Reporter
from harness.records import CalibrationName, Example, RuleName
from harness.runner import FinishedRun, Session, store_run
from harness.sequential import Round, halving_schedule

Reading = tuple[RuleName, CalibrationName]
# What each reading of an arm, by the arm's number, was right on, item by item.
Answers = dict[int, dict[Reading, list[bool]]]


@dataclass(frozen=True, slots=True)
class Standing:
    """An arm after a round: its accuracy over the ``n`` items so far, under the best of its readings."""

    arm: PlannedCell
    rule: RuleName
    calibration: CalibrationName
    accuracy: float
    n: int

    @property
    def name(self) -> str:
        arm = self.arm
        seed = f", seed {arm.seed}" if arm.seed is not None else ""
        order = f", order {arm.demos.order}" if arm.demos.order is not None else ""
        calibration = f", {self.calibration}" if self.calibration != "none" else ""
        return f"{arm.template.name}, {arm.shots}-shot{seed}{order}, {self.rule}{calibration}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen, round by round, and what that cost.

    ``runs`` counts a prompt on an item once, ``full`` what all prompts on all items would have cost; ``labels`` are the
    items whose gold labels the choice has seen, ``demonstrations`` those that the chosen prompt shows.
    """

    rounds: Sequence[Sequence[Standing]]
    winner: Standing
    labels: int
    demonstrations: int
    runs: int
    full: int
    report: FinishedRun

    @property
    def sentence(self) -> str:
        """What was spent, and what on."""
        saved = 1 - self.runs / self.full if self.full else 0.0
        return (
            f"{self.winner.name} was chosen with {self.runs:,} runs of a prompt on an item, {saved:.0%} fewer than all"
            f" {self.full:,}; the choice used the labels of {self.labels} items, and the prompt shows"
            f" {self.demonstrations} more"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Titles and rows: where every arm stood when it was dropped, the winner first."""
        last: dict[int, tuple[int, Standing]] = {}
        for number, standings in enumerate(self.rounds, 1):
            last.update({id(standing.arm): (number, standing) for standing in standings})
        ordered = sorted(last.values(), key=lambda pair: (-pair[0], -pair[1].accuracy))
        rows = [
            [standing.name, str(number), str(standing.n), f"{100 * standing.accuracy:.1f}"]
            for number, standing in ordered
        ]
        return ["prompt", "round", "items", "accuracy %"], rows

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rounds = [
            [{"prompt": one.name, "accuracy": one.accuracy, "n": one.n} for one in standings]
            for standings in self.rounds
        ]
        costs = {name: getattr(self, name) for name in ("labels", "demonstrations", "runs", "full")}
        return {"winner": self.winner.name, "rounds": rounds, **costs}


def select(options: RunOptions, budget: int, reporter: Reporter | None = None) -> Selection:
    """Spend ``budget`` runs of a prompt on an item to choose among the prompts of a grid, and report the best one.

    Raises:
        UsageError: several tasks, no split for choices, or a budget too small for so many prompts.
        HarnessError: as for a run.
    """
    few = [name for name in options.calibrate if name in TRANSDUCTIVE]
    calibrate = tuple(name for name in options.calibrate if name not in few)
    told = f"{' and '.join(few)} calibration for a choice (it looks at all items at once, and a choice at a few)"
    if not calibrate:
        raise UsageError(f"nothing is left to choose from: {told}")
    session = Session(options.model_copy(update={"split": "select", "controls": (), "calibrate": calibrate}), reporter)
    if few:
        session.reporter.notice(f"left out: {told}")
    arms = session.plan()
    names = {arm.data.task.name for arm in arms}
    if len(names) > 1:
        raise UsageError(f"select chooses for one task at a time, not for {', '.join(sorted(names))}")
    schedule = _schedule(len(arms), budget)
    session.open()
    items = sorted(arms[0].items, key=lambda item: item.item_id)  # not as they stand in a file
    random.Random(f"select {options.seed}").shuffle(items)  # noqa: S311 - a seeded order
    right: Answers = {}
    rounds: list[Sequence[Standing]] = []
    alive, begin, runs = list(range(len(arms))), 0, 0
    for step in schedule:
        shown = items[begin : begin + step.items]
        begin += len(shown)
        runs += len(shown) * len(alive)
        if shown:
            _answer(session, arms, alive, shown, right)
        standings = _ranked(arms, alive, right)
        rounds.append([standing for _, standing in standings])
        alive = [index for index, _ in standings[: (len(alive) + 1) // 2]]
    winner = rounds[-1][0] if rounds else Standing(arms[0], *arms[0].readings[0], float("nan"), 0)
    labels = min(begin, len(items))
    report = _report(session, options, winner, labels)
    session.close()
    return Selection(rounds, winner, labels, winner.arm.shots, runs, len(arms) * len(items), report)


def _schedule(arms: int, budget: int) -> list[Round]:
    try:
        return halving_schedule(arms, budget)
    except ValueError as error:
        raise UsageError(f"--budget {budget}: {error}") from error


def _answer(
    session: Session, arms: Sequence[PlannedCell], alive: Sequence[int], shown: Sequence[Example], right: Answers
) -> None:
    """Have every arm that is left answer the items."""
    cells = [replace(arms[index], items=shown) for index in alive]
    encoded = session.encode(cells)
    finished = session.finish(cells, encoded, "select")
    arm_of = {id(cell): index for index, cell in zip(alive, encoded.cells, strict=True)}
    for found in finished:
        reading = cast("Reading", (found.signature.rule, found.signature.calibration))
        answers = right.setdefault(arm_of[id(found.encoded)], {}).setdefault(reading, [])
        answers.extend(one.correct for one in found.predictions)


def _ranked(arms: Sequence[PlannedCell], alive: Sequence[int], right: Answers) -> list[tuple[int, Standing]]:
    """The arms that are left, the best first; of equals, the one with fewer shots."""
    found = []
    for index in alive:
        readings = [
            Standing(arms[index], rule, calibration, float(np.mean(answers)), len(answers))
            for (rule, calibration), answers in right[index].items()
        ]
        found.append((index, max(readings, key=lambda standing: standing.accuracy)))
    return sorted(found, key=lambda pair: (-pair[1].accuracy, pair[1].arm.shots, pair[0]))


def _report(session: Session, options: RunOptions, winner: Standing, labels: int) -> FinishedRun:
    """The chosen prompt and its controls on the split that nothing was chosen by, as a run that tells what the choice
    cost."""
    arm = winner.arm
    chosen = options.model_copy(
        update={
            "split": "report",
            "prompts": (arm.template.name,),
            "shots": (arm.shots,),
            "demo_seeds": (arm.seed,) if arm.seed is not None else options.demo_seeds,
            "rule": (winner.rule,),
            "calibrate": (winner.calibration,),
        }
    )
    cells = [cell for cell in session.plan(chosen) if cell.demos.order == arm.demos.order]
    return store_run(session, cells, session.encode(cells), options=chosen, selection_labels=labels)
