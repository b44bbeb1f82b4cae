"""The options of a run, the same from the command line, from a grid file and from Python."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticKnownError

from harness.errors import UsageError, suggest
from harness.models import BUILTIN, BosPolicy, Dtype, ModelSpec, TokenizerSource
from harness.records import CalibrationName, ControlName, RuleName
from harness.shots import STRATEGIES, Strategy
from harness.sources import DataChoice
from harness.strict_yaml import MAX_CHARACTERS, describe, fit, parse_mapping, worth_telling
from harness.text_files import UserFile


def listed(value: object) -> tuple[Any, ...]:
    """A comma list, a single value, or several in a list, an array or the like, as a tuple."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _integers(value: object) -> object:
    return tuple(integer(part) for part in listed(value))


def integer(part: object) -> object:
    """Text of digits, and the integers of numpy and pandas, as an int; anything else as it is."""
    if isinstance(part, str):
        return int(part) if re.fullmatch("-?[0-9]{1,18}", part) else part
    return operator.index(part) if hasattr(part, "__index__") and not isinstance(part, bool) else part


def at_least(option: str, value: object, least: int) -> int:
    """A whole number given for an option of that name, or text of its digits.

    Raises:
        UsageError: it is none, or a smaller one.
    """
    number = integer(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise UsageError(f"--{option}: must be a whole number of at least {least}, not {value!r}")
    return number


def _expanded(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _folders(value: object) -> object:
    return (_expanded(value),) if isinstance(value, str | Path) else tuple(map(_expanded, listed(value)))


def _known(pattern: str, choices: Iterable[str]) -> AfterValidator:
    """A text that must match; ``choices`` is how a message writes what does."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            unfinished = next((choice for choice in choices if choice.partition(":")[0] == value.rstrip(":")), None)
            if unfinished is not None:
                raise ValueError(f"must be {unfinished}")
            raise PydanticKnownError("literal_error", {"expected": ", ".join(f"'{choice}'" for choice in choices)})
        return value

    return AfterValidator(check)


def _text_of_path(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


_DEMOS = [name for name in STRATEGIES if name != "file"]

Folder = Annotated[Path, BeforeValidator(_expanded)]
PathOrId = Annotated[str, BeforeValidator(_text_of_path), "str | Path"]
Demos = Annotated[str, _known("|".join([*_DEMOS, "file:.+"]), [*_DEMOS, "file:PATH"])]
DemoOrder = Annotated[
    str, _known(r"drawn|permuted:[1-9]\d{0,2}|entropy(:local)?", ["drawn", "permuted:N", "entropy", "entropy:local"])
]
Strings = Annotated[tuple[str, ...], BeforeValidator(listed)]
Integers = Annotated[tuple[Annotated[int, Field(ge=0, strict=True)], ...], BeforeValidator(_integers)]
Calibrations = Annotated[tuple[CalibrationName, ...], BeforeValidator(listed)]
Rules = Annotated[tuple[RuleName, ...], BeforeValidator(listed)]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_folders)]


class Options(BaseModel):
    """Options of a command: checked, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Check options typed by a user.

        Raises:
            UsageError: naming the option as the command line spells it.
        """
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown:
            told = [f"unknown option {key!r}{suggest(key, cls.model_fields, what='options')}" for key in unknown]
            raise UsageError("; and ".join(told))
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageError("; and ".join(map(cls._told, worth_telling(cls, error)))) from error

    @classmethod
    def _told(cls, error: ErrorDetails) -> str:
        option = "--" + str(error["loc"][0]).replace("_", "-")
        if error["type"] == "missing":
            return f"{option} is needed"
        return f"{option}: {describe(cls, {**error, 'loc': ()})}"


class RunOptions(Options):
    """What to evaluate, with which model, and where to keep the results.

    ``rule`` empty means each task's own. ``model_arg`` are keyword arguments for the model's loader.
    """

    tasks: Strings
    model: PathOrId = BUILTIN
    shots: Integers = (0,)
    prompts: Strings = ("all",)
    demo_seeds: Integers = (0,)
    demos: Demos = "fixed"
    demo_encoder: PathOrId | None = None
    demo_order: DemoOrder = "drawn"
    rule: Rules = ()
    calibrate: Calibrations = ("none",)
    controls: Annotated[tuple[ControlName, ...], BeforeValidator(listed)] = ()
    split: Literal["select", "report"] = "report"
    limit: Annotated[int, Field(ge=1, strict=True)] | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    data: DataChoice = "auto"
    data_dir: Folder | None = None
    results: Folder = Path("results")
    include_path: Folders = ()
    engine: Literal["auto", "tree", "expand", "rows"] = "auto"
    fresh: bool = False
    dtype: Dtype = "auto"
    device: str = "auto"
    revision: str | None = None
    model_arg: dict[str, Any] = Field(default_factory=dict)
    trust_remote_code: bool = False
    bos: BosPolicy = "auto"
    tokenizer: TokenizerSource = "file"

    @field_validator("tasks", "shots", "demo_seeds", "prompts", "calibrate")
    @classmethod
    def _something(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("names nothing")
        return value

    @field_validator("tasks", "shots", "demo_seeds", "prompts", "calibrate", "rule", "controls")
    @classmethod
    def _once_each(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(value))

    @property
    def model_spec(self) -> ModelSpec:
        """The model that the options name."""
        return ModelSpec(
            name=self.model,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            bos=self.bos,
            tokenizer=self.tokenizer,
            trust_remote_code=self.trust_remote_code,
            arguments=self.model_arg,
        )

    @property
    def demo_strategy(self) -> Strategy:
        """``demos`` without the path of a list."""
        name = self.demos.partition(":")[0]
        return next(strategy for strategy in STRATEGIES if strategy == name)

    @property
    def demo_file(self) -> Path | None:
        """The list of demonstrations that ``demos`` names."""
        name, _, path = self.demos.partition(":")
        return Path(path).expanduser() if name == "file" else None


def read_grid(path: Path) -> dict[str, Any]:
    """The options in a grid file.

    Raises:
        UsageError: there is no such file.
        FileError: it is not YAML, has an unknown key or a value that no option takes.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such grid file; tasks are named with --tasks")
    document = parse_mapping(UserFile(path).text(MAX_CHARACTERS), path)
    # What a grid leaves out may come from the command line.
    fit(RunOptions, replace(document, data={"tasks": "any", "model": "any", **document.data}))
    return document.data
