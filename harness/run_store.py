"""Stores runs: one folder each, with a manifest, the candidates that were scored and the predictions that followed.

``<results>/runs/<utc>-<id>/{manifest.json, candidates.parquet, predictions.parquet}``. The manifest is written when a
run starts and again when it ends, so that an interrupted run is seen as such. Everything that tables need is here; no
model.

Nothing of a run is used before it is checked. Where many are read, a damaged one is told of and set aside, and the rest
goes on; where one is asked for by name, it is an error.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.encode import EncodedCell
from harness.errors import DamagedFileError, UsageError, suggest
from harness.files import digest_of, write_atomically
from harness.manifest import SCHEMA, CellRecord, ManifestDocument
from harness.records import Example, Prediction
from harness.signature import Signature
from harness.stored_json import read_document, sealed
from harness.stored_parquet import check_file, read_table, write_table
from harness.stored_predictions import (
    CANDIDATES,
    PREDICTIONS,
    candidate_table,
    check_candidates,
    check_predictions,
    prediction_table,
)

# Takes one line about each run that is set aside.
Tell = Callable[[str], object]


@dataclass(slots=True)
class Manifest:
    """What a run was asked, what it ran on, and what it cost. ``status``: running, done, interrupted or failed."""

    id: str
    created: str
    status: str
    command: Sequence[str]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    model: Mapping[str, Any]
    tasks: Mapping[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    tokens_computed: int = 0
    peak_memory_bytes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    close_items: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RunFolder:
    """The folder of one run, being written."""

    def __init__(self, results: Path) -> None:
        now = datetime.now(UTC)
        self.id = f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.created = now.isoformat(timespec="microseconds")  # of two runs in one second, one is the later
        self.path = results / "runs" / self.id
        self._files: dict[str, str] = {}

    def write_manifest(self, manifest: Manifest) -> None:
        """Raises HarnessError when the folder cannot be written."""
        text = sealed({**manifest.as_dict(), "files": self._files})
        write_atomically(self.path / "manifest.json", lambda path: path.write_bytes(text))

    def write_candidates(self, parts: Sequence[tuple[Signature, Sequence[Example], EncodedCell]]) -> None:
        self._write("candidates.parquet", [candidate_table(cell.id, items, encoded) for cell, items, encoded in parts])

    def write_predictions(self, parts: Sequence[tuple[Signature, Sequence[Example], Sequence[Prediction]]]) -> None:
        self._write("predictions.parquet", [prediction_table(cell.id, items, said) for cell, items, said in parts])

    def _write(self, name: str, tables: Sequence[pa.Table]) -> None:
        table = pa.concat_tables(tables)

        def write(path: Path) -> None:
            write_table(table, path)
            self._files[name] = digest_of(path)

        write_atomically(self.path / name, write)


@dataclass(frozen=True)
class StoredRun:
    """A run as read back."""

    path: Path
    document: ManifestDocument

    @property
    def cells(self) -> Sequence[CellRecord]:
        """What the run tells of its cells."""
        return self.document.cells

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The document as JSON values, with every key of ``ManifestDocument``."""
        return self.document.model_dump(by_alias=True)

    @property
    def finished(self) -> bool:
        return self.document.status == "done"

    def check_files(self) -> None:
        """See that the file of its predictions is as it was written, without reading the rows.

        Raises:
            DamagedFileError: it is not.
        """
        path = self.path / "predictions.parquet"
        try:
            check_file(path, self.document.files.get(path.name))
        except FileNotFoundError as error:
            raise DamagedFileError(path, "is missing") from error

    def predictions(self) -> pa.Table:
        """Raises DamagedFileError when they are missing or damaged."""
        return self._table("predictions.parquet", PREDICTIONS, check_predictions)

    def candidates(self) -> pa.Table:
        """Raises DamagedFileError when they are missing or damaged; trained baselines have none."""
        return self._table("candidates.parquet", CANDIDATES, check_candidates)

    def _table(self, name: str, schema: pa.Schema, check: Callable[[pa.Table, Sequence[CellRecord]], None]) -> pa.Table:
        path = self.path / name
        try:
            table = read_table(path, schema, digest=self.document.files.get(name))
            check(table, self.cells)
        except FileNotFoundError as error:
            raise DamagedFileError(path, "is missing") from error
        except ValueError as error:
            raise DamagedFileError(path, str(error)) from error
        return table


def stored_run(folder: Path) -> StoredRun:
    """One run by its folder. Raises DamagedFileError."""
    try:
        return StoredRun(folder, read_document(folder / "manifest.json", ManifestDocument))
    except FileNotFoundError as error:
        raise DamagedFileError(folder / "manifest.json", "is missing") from error


def stored_runs(results: Path, tell: Tell | None = None) -> list[StoredRun]:
    """All runs below a results folder, oldest first.

    Args:
        tell: told of the runs whose manifests are damaged, which are then left out.

    Raises:
        DamagedFileError: there is such a run, and nobody to tell.
    """
    runs: list[StoredRun] = []
    for folder in run_folders(results):
        try:
            runs.append(stored_run(folder))
        except DamagedFileError as error:
            if tell is None:
                raise
            tell(set_aside(error))
    return sorted(runs, key=lambda run: run.document.created)


def run_folders(results: Path) -> list[Path]:
    """The folders of runs, by name; one that holds no file yet is just being made."""
    found = {path.parent for path in (results / "runs").glob("*/*") if not path.name.startswith(".")}
    return sorted(found)


def find_run(text: str, results: Path, tell: Tell) -> tuple[StoredRun, str]:
    """The finished run that ``RUN[:narrowing]`` names, and the narrowing.

    RUN is an id, which counts before any that begins with it; the beginning of one; a folder; or ``latest``.

    Args:
        tell: told of all other runs whose manifests are damaged.

    Raises:
        UsageError: there is no such run, or several.
        DamagedFileError: the manifest of that very run is damaged.
    """
    folders = run_folders(results)
    name, narrowing = text, ""
    exact = next((folder for folder in folders if _is_called(folder, name)), None)  # whose name may have a colon
    if exact is None:
        name, _, narrowing = text.partition(":")
        exact = next((folder for folder in folders if _is_called(folder, name)), None)
    asked = stored_run(exact) if exact is not None else None  # it fails before others are told of
    runs = [run for run in stored_runs(results, tell) if run.finished]
    if asked is not None and not asked.finished:
        raise UsageError(f"{name}: is no finished run: its status is {asked.document.status!r}")
    if asked is not None:
        return asked, narrowing
    ids = [run.path.name for run in runs]
    found = runs[-1:] if name == "latest" else [run for run in runs if name and run.path.name.startswith(name)]
    if len(found) > 1:
        raise UsageError(f"{name}: fits several runs: {', '.join(run.path.name for run in found)}")
    if not found:
        raise UsageError(
            f"{name}: no finished run of that name in {results}{suggest(name, ['latest', *ids], what='runs')}"
        )
    return found[0], narrowing


def _is_called(folder: Path, name: str) -> bool:
    return name == folder.name or ("/" in name and Path(name).resolve() == folder.resolve())


def tables_of(runs: Iterable[StoredRun], tell: Tell | None = None) -> Iterator[tuple[StoredRun, pa.Table]]:
    """Finished runs with their predictions.

    Args:
        tell: told of the runs whose predictions are missing or damaged, which are then left out.

    Raises:
        DamagedFileError: there is such a run, and nobody to tell.
    """
    for run in runs:
        if not run.finished:
            continue
        try:
            table = run.predictions()
        except DamagedFileError as error:
            if tell is None:
                raise
            tell(set_aside(error))
            continue
        yield run, table


def set_aside(error: DamagedFileError) -> str:
    """The line about a run one of whose files is damaged."""
    return f"{error.path.parent}: damaged, not read: {error.path.name}: {error.message}"
