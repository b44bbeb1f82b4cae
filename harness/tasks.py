"""Task files: what a task's data is, what is asked of it, and how it is measured.

A task says where its rows come from and how to read them; it reads none itself, and knows nothing of prompts' contents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from harness.errors import FileError, HarnessError, Problems, UsageError, suggest
from harness.name_patterns import fitting
from harness.records import MetricName, Role, RuleName, digest
from harness.sandbox import Expression, compile_expression
from harness.search_path import SearchPath
from harness.strict_yaml import MAX_CHARACTERS, Document, fit, parse_mapping
from harness.text_files import UserFile
from harness.words import IN_WORDS

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
_EXPRESSION = re.compile(r"\A\s*\{\{(.*)\}\}\s*\Z", re.DOTALL)
_NAME = regex.compile(rf"(?!\p{{M}})[{IN_WORDS}][{IN_WORDS}.-]*")
_SLICE = regex.compile(
    rf"\A(?P<split>[{IN_WORDS}.-]+?)(?:\[(?P<start>-?[0-9]{{1,15}}%?)?:(?P<stop>-?[0-9]{{1,15}}%?)?\])?\Z"
)

# What an expression calls the whole row, for columns whose names are no names of Jinja's.
ROW = "row"
SUFFIXES = (".yaml", ".yml")
# How the targets of a task's rows are read; see ``targets``.
Reading = Literal["words", "ids", "letters"]
RESERVED_NAMES = ("answer", "answers", "options")


def expression_source(text: str) -> str | None:
    """The inside of ``{{ ... }}`` when that is all there is, else None: a plain column name."""
    match = _EXPRESSION.match(text)
    return match.group(1).strip() if match else None


def columns_of(expression: Expression) -> frozenset[str]:
    """The columns that an expression over a row names."""
    return expression.names - {ROW} | {element for name, element in expression.elements if name == ROW}


@dataclass(frozen=True, slots=True)
class SplitSlice:
    """A split, or a slice of a seeded shuffle of it: ``train``, ``train[-256:]``, ``train[:80%]``."""

    split: str
    start: str | None
    stop: str | None

    @classmethod
    def parse(cls, text: str) -> SplitSlice:
        match = _SLICE.match(text)
        if match is None:
            raise ValueError(
                "must be a split's name, or a slice of one such as train[:1000], train[-256:] or train[-20%:]"
            )
        return cls(match["split"], match["start"], match["stop"])

    @property
    def whole(self) -> bool:
        return self.start is None and self.stop is None

    def indices(self, size: int) -> range:
        """Positions in the shuffled split of ``size`` rows."""

        def absolute(bound: str | None) -> int | None:
            if bound is None or not bound.endswith("%"):
                return None if bound is None else int(bound)
            share = round(size * abs(int(bound[:-1])) / 100)
            # A tail that rounds to no row is empty; as a negative bound, 0 would be the whole split.
            return max(0, size - share) if bound.startswith("-") else share

        return range(size)[slice(absolute(self.start), absolute(self.stop))]


class Source(BaseModel):
    """Where the rows are: a folder below the data folder, and a data set on the hub."""

    model_config = _STRICT

    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    folder: str | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        if self.hub is None and self.folder is None:
            raise ValueError("names neither a folder nor a hub data set")
        if self.folder is not None and (Path(self.folder).is_absolute() or ".." in Path(self.folder).parts):
            raise ValueError("folder must be a plain folder name below the data folder")
        if self.hub is not None and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.hub):
            raise ValueError("hub must be a data set's id, owner/name")  # datasets would also read a local path
        return self


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


StringTuple = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


def _named_fields(value: object) -> object:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: name for name in value}
    if not isinstance(value, dict):
        raise ValueError(f"must be a list of columns, or a mapping of names to columns, not {value!r:.60}")
    return value


class Task(BaseModel):
    """One task, as its YAML file gives it.

    ``fields`` maps the names that templates may use to source columns or expressions over them; a list names columns as
    they are. ``target`` is a column or expression that gives the label id, or the index of the right option.
    """

    model_config = _STRICT

    name: str
    language: str = "en"
    family: str
    domain: str | None = None
    description: str | None = None
    licence: str | None = None
    citation: str | None = None
    source: Source
    splits: dict[Role, str]
    fields: Annotated[dict[str, str], BeforeValidator(_named_fields)] = Field(min_length=1)
    target: str
    target_reading: Reading | None = None
    labels: StringTuple | None = None
    options: str | None = None
    prompts: StringTuple = ()
    metrics: StringTuple = ("accuracy",)
    rule: RuleName | None = None
    cluster: str | None = None

    _path: Path = PrivateAttr()

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("may hold letters, digits, '_', '-' and '.' alone, so that it can be typed in a list")
        return value

    @field_validator("fields")
    @classmethod
    def _field_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name.isidentifier() or name.startswith("_"):
                raise ValueError(f"{name!r} cannot be a name in a template; rename it: {{name: column}}")
            if name in RESERVED_NAMES:
                raise ValueError(f"{name!r} is taken by the prompt itself; rename the field: {{name: column}}")
        return value

    @field_validator("splits")
    @classmethod
    def _splits(cls, value: dict[Role, str]) -> dict[Role, str]:
        if "report" not in value:
            raise ValueError("the role 'report' is missing")
        for role, text in value.items():
            try:
                SplitSlice.parse(text)
            except ValueError as error:
                raise ValueError(f"{role}: {error} (found {text!r})") from error
        return value

    @field_validator("prompts")
    @classmethod
    def _prompts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for folder in value:
            if folder in ("", ".", "..") or "/" in folder or "\\" in folder:
                raise ValueError(f"{folder!r} is not the plain name of a folder below prompts/")
        return tuple(dict.fromkeys(value))

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no metric")
        for name in value:
            if name not in get_args(MetricName):
                raise ValueError(f"unknown metric {name!r}{suggest(name, get_args(MetricName), what='metrics')}")
        return value

    @field_validator("options")
    @classmethod
    def _options(cls, value: str | None) -> str | None:
        if value is not None and expression_source(value) is None:
            raise ValueError('must be an expression over the columns, such as "{{ choices.text }}"')
        return value

    @model_validator(mode="after")
    def _labels_or_options(self) -> Task:
        if (self.labels is None) == (self.options is None):
            raise ValueError(
                "a task has either labels (the same for every item) or options (the item's own), and one of them"
            )
        if self.labels is not None and self.target_reading == "letters":
            raise ValueError("target_reading: letters are for options; labels are read as words or ids")
        if self.labels is not None and (len(self.labels) < 2 or len(set(self.labels)) != len(self.labels)):
            raise ValueError("labels: at least two are needed, each named once")
        return self

    @property
    def path(self) -> Path:
        return self._path

    @property
    def prompt_folders(self) -> tuple[str, ...]:
        return self.prompts or (self.name,)

    @property
    def primary_rule(self) -> RuleName:
        """Sum for fixed label words; per character for options, whose lengths differ from item to item."""
        return self.rule or ("char" if self.options is not None else "sum")

    def split(self, role: Role) -> SplitSlice | None:
        text = self.splits.get(role)
        return SplitSlice.parse(text) if text is not None else None

    @cached_property
    def reading(self) -> str:
        """A hash of everything in the file that decides which examples come out of the rows."""
        read: dict[str, object] = {
            "fields": self.fields,
            "target": self.target,
            "labels": self.labels,
            "options": self.options,
        }
        if self.target_reading is not None:
            read["target_reading"] = self.target_reading
        return digest({**read, "splits": self.splits, "cluster": self.cluster})

    def expression(self, text: str) -> Expression | None:
        """Compile a value of this file that is an expression; a plain column name gives None."""
        source = expression_source(text)
        return None if source is None else compile_expression(source, origin=self.path, scope=None)


def _values(document: Document) -> Iterator[tuple[str, str]]:
    """The values of a task file that may be expressions, with their keys; the file need not fit a task."""
    fields = document.data.get("fields")
    named = fields.items() if isinstance(fields, dict) else ()
    pairs = [(key, document.data.get(key)) for key in ("target", "options", "cluster")]
    for key, value in [*pairs, *((f"fields.{name}", value) for name, value in named)]:
        if isinstance(value, str):
            yield key, value


def load_task(path: Path) -> Task:
    """Read and check one task file.

    Raises:
        FileError: whatever in it is not as it must be, all of it.
    """
    document = parse_mapping(UserFile(path).text(MAX_CHARACTERS), path)
    problems = Problems()
    task = None
    with problems:
        task = fit(Task, document)
    if task is not None and task.name != path.stem:
        line = document.lines.get("name")
        problems.add(FileError(path, f"name: {task.name!r} must equal the file's name, {path.stem!r}", line))
    for key, value in _values(document):
        if (source := expression_source(value)) is not None:
            with problems:
                line = document.lines.get(key.partition(".")[0])
                compile_expression(source, origin=path, scope=None, line=line)
    problems.end()
    assert task is not None
    task._path = path
    return task


@dataclass(frozen=True, slots=True)
class BrokenTask:
    """A task file that cannot be used, and why; it fails only the commands that need it."""

    name: str
    error: HarnessError


class Catalogue:
    """The task files along a search path, read when asked for."""

    def __init__(self, search: SearchPath) -> None:
        self.paths, self.shadowed = search.files("tasks", SUFFIXES)
        self._search = search

    def names(self) -> list[str]:
        return sorted(self.paths)

    def get(self, name: str) -> Task:
        """The task called ``name``.

        Raises:
            UsageError: there is none.
            FileError: its file is wrong.
        """
        if name not in self.paths:
            others = self._search.others("tasks", name, SUFFIXES)
            told = f"; {others[0]} does not end in {' or '.join(SUFFIXES)}" if others else ""
            raise UsageError(f"unknown task {name!r}{suggest(name, self.names(), what='tasks')}{told}")
        return load_task(self.paths[name])

    def select(self, patterns: Iterable[str]) -> list[Task]:
        """Tasks by name or shell pattern, in the order first named, each once."""
        chosen: dict[str, None] = {}
        for pattern in patterns:
            matches = fitting(pattern, self.names()) if any(c in pattern for c in "*?[") else [pattern]
            if not matches:
                raise UsageError(f"no task matches {pattern!r} (tasks: {', '.join(self.names())})")
            chosen.update(dict.fromkeys(matches))
        return [self.get(name) for name in chosen]

    def all(self) -> Sequence[Task | BrokenTask]:
        """Every task, broken ones included, by name."""
        found: list[Task | BrokenTask] = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except HarnessError as error:
                found.append(BrokenTask(name, error))
        return found
