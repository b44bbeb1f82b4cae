"""The Python face of the commands: the same options, and tables as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness import tables
from harness.baselines import BaselineOptions, run_baselines
from harness.cell_results import read_cells
from harness.class_report import ClassReport, class_report
from harness.options import RunOptions
from harness.order_choice import permuted_scores
from harness.progress import Reporter
from harness.run_store import StoredRun, stored_run, stored_runs, tables_of
from harness.runner import run as run_grid
from harness.shots import Measure, choose_order
from harness.stored_predictions import PREDICTIONS
from harness.summary import Row, notices, summarise

__all__ = ["Leaderboard", "Result", "baseline", "choose_order", "leaderboard", "run"]

# Only for annotations; pandas loads with the first table.
DataFrame = Any


@dataclass(frozen=True)
class Leaderboard:
    """Stored runs as ranked rows."""

    runs: Sequence[StoredRun]
    tasks: Sequence[str] = ()
    damaged: list[str] = field(default_factory=list)  # a line about each run that cannot be read

    @cached_property
    def rows(self) -> list[Row]:
        return summarise(read_cells(self.runs, self.tasks, self._tell))

    def _tell(self, line: str) -> None:
        if line not in self.damaged:
            self.damaged.append(line)

    @property
    def table(self) -> DataFrame:
        """One row for each (model, task, k), one number a column."""
        return tables.as_frame(self.rows)

    @property
    def notices(self) -> list[str]:
        """What to know before believing the table."""
        told = notices(self.rows)
        return [*self.damaged, *told]

    @property
    def class_reports(self) -> list[ClassReport]:
        """Precision, recall, F1 and confusion counts of each row whose task has labels."""
        return [class_report(row) for row in self.rows if row.cells[0].labels is not None]

    @property
    def predictions(self) -> DataFrame:
        """Every stored prediction, one row for each item of each cell."""
        return pa.concat_tables([PREDICTIONS.empty_table(), *self._tables()]).to_pandas()

    def _tables(self) -> Iterator[pa.Table]:
        return (table for _, table in tables_of(self.runs, self._tell))

    def orders(self, measure: Measure = "global") -> DataFrame:
        """How even the answers are under each order of ``demo_order="permuted:N"``, in nats; no gold label is read.

        One row for each prompt and order, and ``chosen`` for the order of a prompt that ``choose_order`` gives: what
        ``demo_order="entropy"`` takes, where the run was on the split for choices.
        """
        import pandas as pd

        told = ("task", "model", "template", "shots", "demos", "demo_seed", "rule", "calibration", "control", "split")
        return pd.DataFrame(
            [
                {key: found.signature[key] for key in told}
                | {"order": order, "entropy": value, "chosen": order == found.choice(measure)}
                for found in permuted_scores(self.runs, tell=self._tell)
                for order, value in found.entropies(measure).items()
            ]
        )


@dataclass(frozen=True)
class Result(Leaderboard):
    """One finished run."""

    @property
    def path(self) -> Path:
        return self.runs[0].path

    @property
    def manifest(self) -> dict[str, Any]:
        return self.runs[0].manifest

    @property
    def notices(self) -> list[str]:
        """What the run had to say, and what to know before believing the table."""
        return [*self.manifest["notices"], *super().notices]


def run(*, reporter: Reporter | None = None, **options: Any) -> Result:
    """Evaluate a grid of prompts; the keyword arguments are the options of ``harness run`` with underscores.

    Raises:
        HarnessError: any mistake in the options, files or data, with one clear line.
    """
    finished = run_grid(RunOptions.read(options), reporter)
    return Result([stored_run(finished.path)])


def baseline(*, reporter: Reporter | None = None, **options: Any) -> Result:
    """Train baselines; the keyword arguments are the options of ``harness baseline`` with underscores.

    Raises:
        HarnessError: any mistake in the options, files or data, with one clear line.
    """
    return Result([stored_run(run_baselines(BaselineOptions.read(options), reporter).path)])


def leaderboard(results: Path | str = "results", tasks: Sequence[str] = ()) -> Leaderboard:
    """All finished runs of a results folder."""
    damaged: list[str] = []
    found = stored_runs(Path(results), damaged.append)
    return Leaderboard(found, tuple(tasks), damaged)
