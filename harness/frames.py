"""What is stored of single items, as pandas DataFrames: predictions and candidates, with what they are of beside their
ids.

Texts and prompts are not stored. They are read and rendered again with the options of the run, and given only where
data, template and demonstrations are still those of the run. No model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from harness.baselines import BaselineOptions, joined
from harness.data import open_data
from harness.errors import DamagedFileError, HarnessError
from harness.grid import PlannedCell, plan_cells, prompts_of
from harness.options import RunOptions
from harness.progress import QuietReporter
from harness.records import Example, Prompt
from harness.render import without_last_demo
from harness.run_store import StoredRun, set_aside
from harness.score_store import ScoreStore
from harness.search_path import SearchPath
from harness.signature import Signature
from harness.tasks import Catalogue

if TYPE_CHECKING:
    from pandas import DataFrame

# Columns that tell what a cell is, and the fields of its signature.
_OF_CELL = {
    "task": "task", "kind": "approach", "model": "model", "template": "template", "shots": "shots",
    "labels_used": "labels_used", "seed": "demo_seed", "order": "order", "rule": "rule", "calibration": "calibration",
    "control": "control", "split": "split",
}  # fmt: skip
_OF_PROMPT = ("task", "template", "shots", "demo_seed", "order", "control")

Tell = Callable[[str], object]


def predictions_frame(run: StoredRun, table: pa.Table, tell: Tell) -> DataFrame:
    """One row for each item of each cell of a run.

    ``gold`` and ``prediction`` are label ids, ``gold_label`` and ``predicted_label`` their names; ``shots`` is what was
    asked for, and ``shown`` how many demonstrations fitted.

    Args:
        tell: is given a line where texts or prompts cannot be had any more; they are None then.
    """
    import pandas as pd

    frame = table.to_pandas().rename(columns={"text": "predicted_label", "shots": "shown"})
    for column in ("gold", "prediction"):
        frame[column] = pd.array([None if text == "null" else int(text) for text in frame[column]], "Int64")
    frame["gold_label"] = _label_names(run, frame["cell"], frame["gold"])
    _tell_cells(frame, run)
    texts, prompts = _Texts(run, tell), _Prompts(run, tell)
    signatures = {cell.id: cell.signature for cell in run.cells}
    found = [
        (texts.of(signatures[cell], item), prompts.of(signatures[cell], item, shown))
        for cell, item, shown in zip(frame["cell"], frame["item_id"], frame["shown"], strict=True)
    ]
    frame["text"], frame["prompt"] = [text for text, _ in found], [prompt for _, prompt in found]
    first = ["run", *_OF_CELL, "item_id", "text", "prompt", "gold_label", "predicted_label", "correct"]
    return _ordered(frame, first)


def candidates_frame(run: StoredRun, tell: Tell) -> DataFrame:
    """One row for each scored answer of each cell: its words, and its log-probability in nats, from the store.

    ``logprob`` is NaN where the store no longer has it.

    Args:
        tell: is given a line where the run's file is missing or damaged; there is no row then.
    """
    import pandas as pd

    if all(cell.signature.approach != "prompt" for cell in run.cells):
        return pd.DataFrame()
    try:
        table = run.candidates()
    except DamagedFileError as error:
        tell(set_aside(error))
        return pd.DataFrame()
    model = run.document.model
    if model.fingerprint is None or model.dtype is None:
        tell(f"{run.path.name}: its manifest names no model, so its log-probabilities cannot be found")
        return pd.DataFrame()
    store = ScoreStore(run.path.parent.parent, model.fingerprint, model.dtype)
    keys = np.frombuffer(b"".join(table["key"].to_pylist()), np.uint8).reshape(table.num_rows, -1)
    rows, scores = store.find(keys)
    sums = np.append(scores.sums, np.nan)  # the row -1 is the last one
    frame = table.drop_columns(["key"]).to_pandas()
    frame["logprob"] = sums[rows]
    frame["label_name"] = _label_names(run, frame["cell"], frame["label"])
    _tell_cells(frame, run)
    first = ["run", *_OF_CELL, "item_id", "label", "label_name", "word", "logprob"]
    return _ordered(frame, first)


def _label_names(run: StoredRun, cells: Iterable[str], numbers: Iterable[int]) -> list[str | None]:
    """The names of labels by their cells and numbers; None where items have options of their own."""
    labels = {cell.id: cell.labels for cell in run.cells}
    named = ((labels[cell], number) for cell, number in zip(cells, numbers, strict=True))
    return [known[number] if known else None for known, number in named]


def _ordered(frame: DataFrame, first: Sequence[str]) -> DataFrame:
    found: DataFrame = frame[[*first, *(column for column in frame.columns if column not in first)]]
    return found


def _tell_cells(frame: DataFrame, run: StoredRun) -> None:
    """Add what each row's cell is."""
    signatures = {cell.id: cell.signature for cell in run.cells}
    frame["cell"] = frame["cell"].astype(object)
    frame["run"] = run.path.name
    for column, name in _OF_CELL.items():
        frame[column] = [signatures[cell].value(name) for cell in frame["cell"]]


class _Texts:
    """The texts of the items of a run, each task read again once."""

    def __init__(self, run: StoredRun, tell: Tell) -> None:
        self._run = run
        self._tell = tell
        self._known: dict[str, Mapping[str, str]] = {}

    def of(self, signature: Signature, item: str) -> str | None:
        task = signature.task
        if task not in self._known:
            try:
                items = self._read(signature)
                self._known[task] = dict(zip((one.item_id for one in items), joined(items), strict=True))
            except HarnessError as error:
                self._tell(f"{self._run.path.name}: its texts cannot be read again: {error}")
                self._known[task] = {}
        return self._known[task].get(item)

    def _read(self, signature: Signature) -> Sequence[Example]:
        options = _options(self._run, signature)
        task = Catalogue(SearchPath.default(options.include_path)).get(signature.task)
        return open_data(task, options, [signature.role]).role(signature.role)


class _Prompts:
    """The prompts of a run, rendered again cell by cell."""

    def __init__(self, run: StoredRun, tell: Tell) -> None:
        self._run = run
        self._tell = tell
        self._planned: Mapping[tuple[object, ...], PlannedCell] | None = None
        self._known: dict[tuple[object, ...], Mapping[str, Prompt]] = {}

    def of(self, signature: Signature, item: str, shown: int) -> str | None:
        """Args: shown: how many demonstrations fitted; those drawn last are left out first."""
        if signature.approach != "prompt":
            return None
        key = tuple(signature.values(_OF_PROMPT))
        if key not in self._known:
            self._known[key] = self._render(key, signature)
        prompt = self._known[key].get(item)
        while prompt is not None and len(prompt.demo_ids) > shown:
            prompt = without_last_demo(prompt)
        return None if prompt is None else prompt.text

    def _render(self, key: tuple[object, ...], signature: Signature) -> Mapping[str, Prompt]:
        try:
            if self._planned is None:
                self._planned = dict(self._plan(signature))
            cell = self._planned.get(key)
            changed = cell and _changed(cell, signature)
            if cell is None or changed:
                raise HarnessError(f"{changed or 'the grid'} has changed since")
            return {prompt.item_id: prompt for prompt in prompts_of(cell)}
        except HarnessError as error:
            self._tell(f"{self._run.path.name}: its prompts cannot be rendered again: {error}")
            self._planned = self._planned or {}
            return {}

    def _plan(self, signature: Signature) -> Iterator[tuple[tuple[object, ...], PlannedCell]]:
        options = _options(self._run, signature)
        assert isinstance(options, RunOptions)
        for cell in plan_cells(options, SearchPath.default(options.include_path), QuietReporter()):
            task, template = cell.data.task.name, cell.template.name
            yield (task, template, cell.shots, cell.seed, cell.demos.order, cell.control), cell


def _options(run: StoredRun, signature: Signature) -> RunOptions | BaselineOptions:
    """The options of the run, for the split of that cell: a choice among prompts reports on another than it tries.

    That a run let a model's own code run is no permission: the run may be somebody else's.
    """
    kind = RunOptions if signature.approach == "prompt" else BaselineOptions
    return kind.read(run.document.options).model_copy(update={"split": signature.role, "trust_remote_code": False})


def _changed(cell: PlannedCell, signature: Signature) -> str | None:
    """What is no longer as it was when the cell was evaluated."""
    pairs: list[tuple[str, object, str]] = [
        ("the task file", cell.data.task.reading, "task_reading"),
        ("the data", cell.data.hashes[signature.role], "data_hash"),
        ("the template", cell.template.fingerprint, "template_hash"),
    ]
    pairs += [
        ("what demonstrations are drawn from", cell.demos.signature.get(name), name)
        for name in ("pool_hash", "demo_guard", "demo_encoder_hash")
    ]
    return next((what for what, value, name in pairs if _plain(value) != _plain(signature.value(name))), None)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
