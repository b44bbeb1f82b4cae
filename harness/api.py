"""The Python face of the commands: the same options, and tables as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness import tables
from harness.options import RunOptions
from harness.progress import Reporter
from harness.run_store import StoredRun, stored_run, stored_runs
from harness.runner import run as run_grid
from harness.summary import Row, notices, read_cells, summarise

# Only for annotations; pandas loads with the first table.
DataFrame = Any


@dataclass(frozen=True)
class Leaderboard:
    """Stored runs as ranked rows."""

    runs: Sequence[StoredRun]
    tasks: Sequence[str] = ()

    @cached_property
    def rows(self) -> list[Row]:
        return summarise(read_cells(self.runs, self.tasks))

    @property
    def table(self) -> DataFrame:
        """One row for each (model, task, k), one number a column."""
        return tables.as_frame(self.rows)

    @property
    def notices(self) -> list[str]:
        """What to know before believing the table."""
        return notices(self.rows)

    @property
    def predictions(self) -> DataFrame:
        """Every stored prediction, one row for each item of each cell."""
        return pa.concat_tables([run.predictions() for run in self.runs if run.finished]).to_pandas()


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


def leaderboard(results: Path | str = "results", tasks: Sequence[str] = ()) -> Leaderboard:
    """All finished runs of a results folder."""
    found, _ = stored_runs(Path(results))
    return Leaderboard(found, tuple(tasks))
