"""What the functions of the Python API give back: tables as pandas DataFrames, a short repr, and HTML in notebooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness import tables
from harness.breakdown import by_name
from harness.breakeven import Report, Wanted
from harness.cell_results import read_cells
from harness.class_report import ClassReport, class_report
from harness.compare import Pair
from harness.frames import candidates_frame, predictions_frame
from harness.order_choice import permuted_scores
from harness.predict import LabelledText
from harness.preview import Preview
from harness.ranking import Board, Filters, board
from harness.run_store import StoredRun, tables_of
from harness.select import Selection
from harness.shots import Measure
from harness.summary import By, Row

if TYPE_CHECKING:
    from pandas import DataFrame

# Columns of a table that a notebook shows; the table has them all.
_SHOWN = (
    "task", "data", "split", "model", "prompt", "seed", "class", "domain", "shots", "labels_used", "rule",
    "calibration", "control", "n", "templates", "seeds", "accuracy", "accuracy_low", "accuracy_high", "macro_f1",
)  # fmt: skip


class _Shown(ABC):
    """A short repr, and a table where a notebook shows the object."""

    @property
    @abstractmethod
    def table(self) -> DataFrame:
        """What is shown."""

    @abstractmethod
    def _heading(self) -> str:
        """What it is, in a few words."""

    def _remarks(self) -> Sequence[str]:
        return ()

    def _brief(self) -> DataFrame:
        return self.table

    def __repr__(self) -> str:
        return f"<{self._heading()}>"

    def _repr_html_(self) -> str:
        """Everything that comes from files is escaped."""
        told = "".join(f"<li>{escape(text)}</li>" for text in self._remarks())
        table = self._brief().to_html(index=False, escape=True, float_format="{:.3f}".format, na_rep="-", border=0)
        return f"<p>{escape(self._heading())}</p>{table}" + (f"<ul>{told}</ul>" if told else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True, repr=False)
class Leaderboard(_Shown):
    """Stored runs as ranked rows. ``damaged`` has a line for each run that cannot be read."""

    runs: Sequence[StoredRun]
    tasks: Sequence[str] = ()
    damaged: list[str] = field(default_factory=list)
    filters: Filters = field(default_factory=Filters)
    part: By | None = None

    @cached_property
    def _board(self) -> Board:
        return board(read_cells(self.runs, self.tasks, self._tell), self.filters, self.part)

    @property
    def rows(self) -> Sequence[Row]:
        return self._board.rows

    def by(self, part: str) -> Self:
        """The same with rows taken apart, by ``prompt``, ``seed`` or ``class``, or put together by ``domain``.

        Raises:
            HarnessError: another name, or nothing that can be taken apart so.
        """
        return replace(self, part=by_name(part))

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
        told = [notice.text for notice in self._board.findings]
        return [*self.damaged, *told]

    @property
    def class_reports(self) -> list[ClassReport]:
        """Precision, recall, F1 and confusion counts of each row whose task has labels."""
        return [class_report(row) for row in self.rows if row.cells[0].labels is not None]

    @cached_property
    def predictions(self) -> DataFrame:
        """Every stored prediction, one row for each item of each cell, with its text and prompt beside its ids.

        Texts and prompts are not stored, but read and rendered again; where data or templates have changed since, they
        are None, and a warning says so.
        """
        told: list[str] = []
        frames = [predictions_frame(run, table, told.append) for run, table in tables_of(self.runs, self._tell)]
        _warn(told)
        return _together(frames)

    @cached_property
    def candidates(self) -> DataFrame:
        """Every scored answer with its log-probability in nats, one row for each word of each item of each cell."""
        return _together([candidates_frame(run, self._tell) for run in self._finished()])

    def orders(self, measure: Measure = "global") -> DataFrame:
        """How even the answers are under each order of ``demo_order="permuted:N"``, in nats; no gold label is read.

        One row for each prompt and order, and ``chosen`` for the order of a prompt that ``choose_order`` gives: what
        ``demo_order="entropy"`` takes, where the run was on the split for choices.
        """
        import pandas as pd

        told = ("task", "model", "template", "shots", "demos", "demo_seed", "rule", "calibration", "control", "split")
        return pd.DataFrame(
            [
                {name: found.signature.value(name) for name in told}
                | {"order": order, "entropy": value, "chosen": order == found.choice(measure)}
                for found in permuted_scores(self.runs, tell=self._tell)
                for order, value in found.entropies(measure).items()
            ]
        )

    def _finished(self) -> Iterable[StoredRun]:
        return (run for run in self.runs if run.finished)

    def _heading(self) -> str:
        runs = _count(len([*self._finished()]), "run")
        return f"{type(self).__name__} of {runs}, {_count(len(self.rows), 'row')}"

    def _remarks(self) -> Sequence[str]:
        return self.notices

    def _brief(self) -> DataFrame:
        frame = self.table
        kept = [name for name in _SHOWN if name in frame.columns]
        return frame[[name for name in kept if frame[name].notna().any()]]


@dataclass(frozen=True, repr=False)
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

    def _heading(self) -> str:
        tasks = ", ".join(dict.fromkeys(row.task_label for row in self.rows))
        model = self.manifest["model"]["name"]
        return f"Result {self.path.name}: {tasks}; {model}; {_count(len(self.rows), 'row')}"


@dataclass(frozen=True, repr=False)
class Comparison(_Shown):
    """Rows of two sides on the same items; a difference is the second less the first."""

    pairs: Sequence[Pair]

    @property
    def table(self) -> DataFrame:
        """One row for each pair: both accuracies, their difference with its 95% interval, and its p-value."""
        import pandas as pd

        return pd.DataFrame([self._line(pair) for pair in self.pairs])

    @property
    def changed(self) -> DataFrame:
        """The items on which a pair differs, with the accuracy of both sides; ``pair`` is the row of the table."""
        import pandas as pd

        lines = [(number, *item) for number, pair in enumerate(self.pairs) for item in pair.changed]
        return pd.DataFrame(lines, columns=["pair", "item_id", "first", "second"])

    @staticmethod
    def _line(pair: Pair) -> dict[str, Any]:
        known = pair.as_dict()
        differs = {key: f"{left} and {right}" for key, (left, right) in pair.differs.items()}
        return {
            "task": pair.first.task_label,
            "n": known["n"],
            "first": float(pair.first.item_accuracy.mean()),
            "second": float(pair.second.item_accuracy.mean()),
            "difference": known["difference"]["mean"],
            "difference_low": known["difference"]["low"],
            "difference_high": known["difference"]["high"],
            "p_value": pair.p_value,
            "second_better": known["second_better"],
            "first_better": known["first_better"],
            "minimum_detectable_effect": known["minimum_detectable_effect"],
            "differs": "; ".join(f"{key}: {told}" for key, told in differs.items()),
        }

    def _heading(self) -> str:
        if len(self.pairs) > 1:
            return f"Comparison of {_count(len(self.pairs), 'pair')} of rows"
        gap = self.pairs[0].result.difference.mean
        return f"Comparison: {self.pairs[0].first.task_label}, {100 * gap:+.1f} points, p = {self.pairs[0].p_value:.3g}"


@dataclass(frozen=True, repr=False)
class Choice(_Shown):
    """A prompt that was chosen under a budget, and its result on the split that played no part in the choice."""

    selection: Selection
    result: Result

    @property
    def winner(self) -> str:
        return self.selection.winner.name

    @property
    def sentence(self) -> str:
        """What the choice cost."""
        return self.selection.sentence

    @property
    def table(self) -> DataFrame:
        """Where every prompt stood when it was dropped, the winner first."""
        import pandas as pd

        titles, lines = self.selection.table()
        frame = pd.DataFrame(lines, columns=titles)
        numbers = ["round", "items", "accuracy %"]
        return frame.assign(**{name: pd.to_numeric(frame[name]) for name in numbers})

    def _heading(self) -> str:
        return f"Choice: {self.winner} of {_count(len(self.table), 'prompt')}"

    def _remarks(self) -> Sequence[str]:
        return [self.sentence, *self.result.notices]


@dataclass(frozen=True, repr=False)
class Worth(_Shown):
    """How many labels prompts are worth, against the learning curves of baselines."""

    reports: Sequence[Report]
    wanted: Wanted

    @property
    def table(self) -> DataFrame:
        """One row for each prompt and baseline: the break-even, its 95% interval, and the data advantage."""
        import pandas as pd

        documents = [report.as_dict(self.wanted) for report in self.reports]
        return pd.json_normalize([{"task": one["task"], **pair} for one in documents for pair in one["pairs"]], sep="_")

    @property
    def costs(self) -> DataFrame:
        """What each prompt and baseline costs."""
        import pandas as pd

        documents = [report.as_dict(self.wanted) for report in self.reports]
        return pd.json_normalize([{"task": one["task"], **cost} for one in documents for cost in one["costs"]], sep="_")

    @property
    def sentences(self) -> list[str]:
        return [pair.sentence for report in self.reports for pair in report.pairs]

    @property
    def notices(self) -> list[str]:
        return [text for report in self.reports for text in report.notices]

    def _heading(self) -> str:
        return f"Worth of {_count(sum(len(report.pairs) for report in self.reports), 'pair')} of prompt and baseline"

    def _brief(self) -> DataFrame:
        import pandas as pd

        titles = self.reports[0].table()[0]
        return pd.DataFrame([line for report in self.reports for line in report.table()[1]], columns=titles)

    def _remarks(self) -> Sequence[str]:
        return [*self.sentences, *self.notices]


@dataclass(frozen=True, repr=False)
class Labels(_Shown):
    """New texts with their labels."""

    found: Sequence[LabelledText]

    @property
    def table(self) -> DataFrame:
        """One row for each text: its line, its label, and the probability of each label (NaN where it has no such)."""
        import pandas as pd

        lines = [
            {"line": one.line, "label": one.label, **{f"probability {k}": p for k, p in one.probabilities.items()}}
            for one in self.found
        ]
        return pd.DataFrame(lines)

    def __len__(self) -> int:
        return len(self.found)

    def _heading(self) -> str:
        return f"Labels of {_count(len(self.found), 'text')}"


@dataclass(frozen=True, repr=False)
class PromptView(_Shown):
    """One prompt exactly as the model gets it, and the answers that are scored after it."""

    preview: Preview

    @property
    def text(self) -> str:
        return self.preview.prompt.text

    @property
    def table(self) -> DataFrame:
        """The answers: their label, what the model is given after the prompt, what is scored, and which is right."""
        import pandas as pd

        item = self.preview.item
        return pd.DataFrame(
            [
                {
                    "label": item.options[answer.label],
                    "word": answer.word,
                    "given": answer.given,
                    "scored": answer.scored,
                    "right": answer.label == item.gold,
                }
                for answer in self.preview.prompt.answers
            ]
        )

    @property
    def demonstrations(self) -> DataFrame:
        """The demonstrations in the order drawn."""
        import pandas as pd

        lines = [(demo.item_id, demo.options[demo.gold], demo.place) for demo in self.preview.drawn]
        return pd.DataFrame(lines, columns=["item_id", "label", "place"])

    def __str__(self) -> str:
        return self.text

    def _heading(self) -> str:
        return f"PromptView: {self.preview.heading}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.text)}</pre>{super()._repr_html_()}"


def _together(frames: Sequence[DataFrame]) -> DataFrame:
    import pandas as pd

    held = [frame for frame in frames if len(frame)]
    return pd.concat(held, ignore_index=True) if held else pd.DataFrame()


def _warn(lines: Iterable[str]) -> None:
    import warnings

    for line in dict.fromkeys(lines):
        warnings.warn(line, stacklevel=4)
