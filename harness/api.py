"""The Python face of the commands: the same options, and results whose tables are pandas DataFrames.

Progress and notices are shown where somebody watches, on a terminal or in a notebook; a script elsewhere stays quiet.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api_results import Choice, Comparison, Labels, Leaderboard, PromptView, Result, Worth
from harness.baselines import BaselineOptions, run_baselines
from harness.breakeven import Monotone, Over, Wanted, read, read_csv, shot_numbers
from harness.breakeven import selection_labels as labels_of_selection
from harness.compare import pairs, read_side
from harness.errors import HarnessError, UsageError
from harness.option_signatures import with_options
from harness.options import RunOptions, at_least, listed
from harness.predict import Texts, predict_with_baseline, predict_with_prompt
from harness.preview import preview
from harness.progress import Reporter, default_reporter
from harness.ranking import Filters
from harness.run_store import stored_run, stored_runs
from harness.runner import run as run_grid
from harness.select import select as choose_prompt
from harness.shots import choose_order

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "Choice",
    "Comparison",
    "HarnessError",
    "Labels",
    "Leaderboard",
    "PromptView",
    "Result",
    "Worth",
    "baseline",
    "breakeven",
    "choose_order",
    "compare",
    "leaderboard",
    "predict",
    "run",
    "select",
    "show",
]

# What makes a grid of many prompts, where there is to be one.
_OF_GRIDS = ("tasks", "prompts", "controls", "limit", "seed", "engine", "fresh")


@with_options(RunOptions)
def run(*, reporter: Reporter | None = None, **options: Any) -> Result:
    """Evaluate a grid of prompts, as ``harness run`` does.

    Lists may be lists, one value, or text with commas: ``shots=[0, 4]``, ``shots=4``, ``shots="0,4"``.

    Args:
        reporter: where progress and notices go, instead of standard error.

    Raises:
        HarnessError: any mistake in the options, files or data, with one clear line.
    """
    return _result(run_grid(RunOptions.read(options), reporter or default_reporter()).path)


@with_options(BaselineOptions)
def baseline(*, reporter: Reporter | None = None, **options: Any) -> Result:
    """Train baselines, as ``harness baseline`` does.

    Raises:
        HarnessError: any mistake in the options, files or data, with one clear line.
    """
    return _result(run_baselines(BaselineOptions.read(options), reporter or default_reporter()).path)


@with_options(RunOptions, without=("split",))
def select(*, budget: int, reporter: Reporter | None = None, **options: Any) -> Choice:
    """Choose the best prompt of a grid with ``budget`` runs of a prompt on an item, as ``harness select`` does.

    Raises:
        HarnessError: any mistake in the options, files or data, with one clear line.
    """
    runs = at_least("budget", budget, 1)
    found = choose_prompt(RunOptions.read(options), runs, reporter or default_reporter())
    return Choice(found, _result(found.report.path))


def leaderboard(
    results: Path | str = "results",
    tasks: str | Sequence[str] = (),
    *,
    model: str | Sequence[str] = (),
    shots: int | str | Sequence[int] = (),
    prompts: str | Sequence[str] = (),
    status: str | Sequence[str] = (),
    older: bool = False,
) -> Leaderboard:
    """All finished runs of a results folder, or those that are named, as ``harness leaderboard`` ranks them.

    ``tasks``, ``model`` and ``prompts`` are names or patterns; of rows with the same settings the latest counts, unless
    ``older`` asks for all. ``leaderboard().by("prompt")`` takes rows apart.

    Raises:
        HarnessError: nothing is stored there, or nothing of such a name.
    """
    damaged: list[str] = []
    found = stored_runs(Path(results), damaged.append)
    if not found:
        raise HarnessError(f"{results}: holds no run; 'harness run' or 'harness baseline' makes one")
    numbers = shot_numbers([str(number) for number in listed(shots)])
    wanted = Filters(listed(model), numbers, listed(prompts), listed(status), older)
    return Leaderboard(found, listed(tasks), damaged, wanted)


def compare(first: str | Result, second: str | Result, *, results: Path | str = "results") -> Comparison:
    """Two runs, or rows of them, on the same items: the second less the first.

    Args:
        first: a result, or a run as ``harness compare`` takes it, such as ``"latest:shots=4,rule=pmi"``.

    Raises:
        HarnessError: no such run or row, or two that cannot be paired.
    """
    sides = [
        read_side(side.path.name, side.path.parent.parent, _warn)
        if isinstance(side, Result)
        else read_side(side, Path(results), _warn)
        for side in (first, second)
    ]
    return Comparison(pairs(*sides))


def breakeven(
    tasks: str | Sequence[str] = (),
    *,
    results: Path | str = "results",
    model: str | None = None,
    prompt: str | None = None,
    method: str | None = None,
    shots: int | str | Sequence[int] = (),
    selection_labels: int | str | None = None,
    development_labels: int = 0,
    monotone: Monotone = "isotonic",
    curve: Over = "mean",
    csv: Path | str | None = None,
    price_per_million_tokens: float | None = None,
    price_per_hour: float | None = None,
) -> Worth:
    """How many labels stored prompts are worth, as ``harness breakeven`` tells it; it draws no plot.

    Raises:
        HarnessError: nothing stored fits, or it cannot be compared.
    """
    wanted = Wanted(
        model=model,
        method=method,
        prompt=prompt,
        shots=shot_numbers([str(number) for number in listed(shots)]),
        selection_labels=labels_of_selection(None if selection_labels is None else str(selection_labels)),
        development_labels=at_least("development-labels", development_labels, 0),
        monotone=monotone,
        curve=curve,
        price_per_million_tokens=price_per_million_tokens,
        price_per_hour=price_per_hour,
    )
    if csv is None:
        return Worth(read(Path(results), listed(tasks), wanted, _warn), wanted)
    if listed(tasks):
        raise UsageError("--csv and --tasks do not go together: a file of scores has no tasks")
    return Worth([read_csv(Path(csv), wanted)], wanted)


@with_options(RunOptions, without=_OF_GRIDS)
def predict(
    text: Path | str | Sequence[object] | DataFrame,
    *,
    run: str | None = None,
    task: str | None = None,
    prompt: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Labels:
    """Label new text, as ``harness predict`` does, with a prompt or with a trained baseline.

    Args:
        text: a file's name; or a list of texts, or of mappings with the task's columns; or a DataFrame with them.
        run: a trained baseline, such as ``"latest:method=tfidf,labels_used=256,seed=0"``.
        task: with a prompt, its task; ``prompt`` is ``plain``, else the first, unless it is named.

    Raises:
        HarnessError: the text cannot be read, or any mistake in the options.
    """
    reporter = reporter or default_reporter()
    if run is not None:
        superfluous = sorted({**options, **({"task": task} if task else {}), **({"prompt": prompt} if prompt else {})})
        superfluous = [name for name in superfluous if name not in ("results", "include_path")]
        if superfluous:
            raise UsageError(f"run={run!r} names all that is needed; leave out {superfluous[0]}")
        known = RunOptions.read({"tasks": "any", **options})
        return Labels(predict_with_baseline(_texts(text), run, known.results, known.include_path, reporter))
    if task is None:
        raise UsageError("name a trained baseline with run=, or a prompt with task=")
    named = {"prompts": prompt} if prompt is not None else {}
    return Labels(predict_with_prompt(_texts(text), {"tasks": task, **named, **options}, reporter))


@with_options(RunOptions, without=(*_OF_GRIDS, "rule", "calibrate", "demo_order", "results", "dtype", "model_arg"))
def show(
    task: str, *, prompt: str | None = None, item: int | str = 0, reporter: Reporter | None = None, **options: Any
) -> PromptView:
    """One prompt exactly as the model gets it, as ``harness show`` prints it.

    Raises:
        HarnessError: an unknown name, or an item that is not there.
    """
    return PromptView(preview(task, prompt, item, options, reporter or default_reporter()))


def _texts(text: Any) -> Texts:
    if isinstance(text, str | Path):
        return str(text)
    return list(text.to_dict("records") if hasattr(text, "columns") else text)


def _warn(line: str) -> None:
    """Of a run that is damaged and set aside."""
    warnings.warn(line, stacklevel=3)


def _result(path: Path) -> Result:
    return Result([stored_run(path)])
