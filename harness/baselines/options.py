"""The options of ``harness baseline``, the same from the command line and from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from harness.baselines.registry import MethodName
from harness.models import BUILTIN, TokenizerSource
from harness.options import Folder, Folders, Integers, Options, PathOrId, Strings, integer, listed
from harness.sources import DataChoice


def _sizes(value: object) -> object:
    found: list[Any] = []
    for text in map(integer, listed(value)):
        if text != "all" and (not isinstance(text, int) or isinstance(text, bool) or text < 1):
            raise ValueError(f"must be numbers of labels from 1 on, or all, not {text!r}")
        found.append(text)
    return tuple(dict.fromkeys(found))


class BaselineOptions(Options):
    """What to train, on how many labels, and where to keep the results.

    ``sizes`` empty means 8, 16, 32, ... and all of the pool; ``encoder`` is for knn and probe.
    """

    tasks: Strings
    methods: Annotated[tuple[MethodName, ...], BeforeValidator(listed)] = ("majority", "random", "tfidf")
    sizes: Annotated[tuple[int | Literal["all"], ...], BeforeValidator(_sizes)] = ()
    seeds: Integers = (0, 1, 2, 3, 4)
    encoder: PathOrId = BUILTIN
    tokenizer: TokenizerSource = "file"
    device: str = "auto"
    trust_remote_code: bool = False
    split: Literal["select", "report"] = "report"
    limit: Annotated[int, Field(ge=1, strict=True)] | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    data: DataChoice = "auto"
    data_dir: Folder | None = None
    results: Folder = Path("results")
    include_path: Folders = ()

    @field_validator("tasks", "methods", "seeds")
    @classmethod
    def _once_each(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("names nothing")
        return tuple(dict.fromkeys(value))
