"""A cell's signature: everything that can change a prediction of it, and the names people know it by.

A field is declared once, with all that is known of it. What makes a row, what a table tells rows apart by, what a
comparison may be narrowed by and what a difference follows from are read off these declarations. It knows no run, row
or table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from harness.records import Role, digest

# How a cell came to its predictions.
Approach = Literal["prompt", "baseline"]

MOST_ITEMS = 2**31 - 1
MOST_ORDERS = 1_000

Text = Annotated[str, Field(max_length=100_000)]


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a field of the signature.

    Attributes:
        row: it is part of a row's key: cells that differ in it never share a row.
        cell: it tells the cells of one row apart, which the row is a mean over.
        title: the heading of its column, where it has one that is not its name.
        setting: its place among the columns of what a user asks for, which tables show wherever rows differ in it;
            without one, it is shown only where rows would look alike.
        usual: a setting's value where nobody asks for another; a table whose rows all have it need not say so.
        narrows: a side of a comparison may be narrowed by it.
        matches: rows of two sides are matched by it.
        of: the approach that alone has it.
        of_demos: a prompt without demonstrations has none.
        of_task: tasks of one domain need not share it.
        chosen: a user chooses it; what is not chosen changes between two equal commands with files, data or program.
        told: a difference in it is worth telling.
        follows: a difference in it is told only where there is none in this field.
    """

    row: bool = False
    cell: bool = False
    title: str | None = None
    setting: int | None = None
    usual: str | None = None
    narrows: bool = False
    matches: bool = False
    of: Approach | None = None
    of_demos: bool = False
    of_task: bool = False
    chosen: bool = True
    told: bool = True
    follows: str | None = None


class Signature(BaseModel):
    """The signature of one cell, of a prompt or of a trained baseline; what one of them does not have is None."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, validate_by_name=True)

    task: Annotated[Text, Field(min_length=1), About(row=True, narrows=True, matches=True, of_task=True)]
    task_reading: Annotated[Text | None, About(row=True, title="task file", of_task=True, chosen=False)] = None
    data: Annotated[Text, About(row=True, setting=9, narrows=True, matches=True)]
    data_hash: Annotated[Text | None, About(row=True, title="data hash", of_task=True, chosen=False)] = None
    pool_hash: Annotated[Text | None, About(row=True, title="pool", of_demos=True, of_task=True, chosen=False)] = None
    role: Annotated[Role, About(row=True, follows="split")]
    split: Annotated[Text | None, About(row=True, narrows=True, of_task=True)] = None
    template: Annotated[Text, About(cell=True, narrows=True)]
    template_hash: Annotated[Text | None, About(follows="template")] = None
    model: Annotated[Text, About(row=True, narrows=True, matches=True)]
    model_fingerprint: Annotated[Text | None, About(row=True, title="fingerprint", follows="model")] = None
    shots: Annotated[
        Annotated[int, Field(ge=0, le=1_000_000)] | None, About(row=True, narrows=True, matches=True, of="prompt")
    ] = None
    demos: Annotated[
        Text | None, About(row=True, setting=4, usual="fixed", narrows=True, matches=True, of="prompt", of_demos=True)
    ] = None
    demo_seed: Annotated[
        Annotated[int, Field(ge=-(2**63), le=2**63)] | None, About(cell=True, narrows=True, of_demos=True)
    ] = None
    demo_guard: Annotated[Text | None, About(row=True, title="guard", of_demos=True, of_task=True, chosen=False)] = None
    demo_encoder: Annotated[
        Text | None,
        About(row=True, title="encoder", setting=5, narrows=True, matches=True, of="prompt", of_demos=True),
    ] = None
    demo_encoder_hash: Annotated[
        Text | None,
        About(row=True, title="encoder hash", of="prompt", of_demos=True, chosen=False, follows="demo_encoder"),
    ] = None
    demo_order: Annotated[
        Text | None,
        About(
            row=True, title="order", setting=6, usual="drawn", narrows=True, matches=True, of="prompt", of_demos=True
        ),
    ] = None
    order: Annotated[
        Annotated[int, Field(ge=0, lt=MOST_ORDERS)] | None, About(cell=True, of="prompt", of_demos=True)
    ] = None
    rule: Annotated[
        Text | None, About(row=True, setting=2, usual="sum", narrows=True, matches=True, of="prompt", of_task=True)
    ] = None
    calibration: Annotated[
        Text | None, About(row=True, setting=3, usual="none", narrows=True, matches=True, of="prompt")
    ] = None
    control: Annotated[Text | None, About(row=True, setting=1, narrows=True, matches=True, of="prompt")] = None
    tokenizer_hash: Annotated[Text | None, About(row=True, title="tokenizer", of="prompt", follows="model")] = None
    dtype: Annotated[
        Text | None, About(row=True, setting=7, usual="float32", narrows=True, matches=True, of="prompt")
    ] = None
    bos: Annotated[Text | None, About(row=True, setting=8, usual="auto", narrows=True, matches=True, of="prompt")] = (
        None
    )
    max_inputs: Annotated[int | None, About(of="prompt", follows="model")] = None
    # ``kind`` in files, in JSON and in what a user types: a task has a kind, too.
    approach: Annotated[
        Approach,
        Field(validation_alias=AliasChoices("kind", "approach"), serialization_alias="kind"),
        About(row=True, narrows=True),
    ]
    method: Annotated[Text | None, About(row=True, narrows=True, matches=True, of="baseline")] = None
    method_version: Annotated[int | None, About(row=True, title="version", chosen=False, told=False)] = None
    labels_used: Annotated[
        Annotated[int, Field(ge=0, le=MOST_ITEMS)] | None,
        About(row=True, title="labels used", narrows=True, matches=True, follows="shots"),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, known: Any) -> Any:
        """In an earlier version all cells were prompts, and ``method`` was the version."""
        if not isinstance(known, dict) or "kind" in known or "approach" in known:
            return known
        now = {"kind": "prompt", "method": None, "method_version": known.get("method")}
        return {**known, **now, "labels_used": known.get("shots")}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.labels_used is None:
            raise ValueError("the key 'labels_used' is missing")
        if self.approach == "prompt" and self.shots is None:
            raise ValueError("the key 'shots' is missing, which a prompt's signature has")
        if self.order is not None and self.order >= math.factorial(min(self.shots or 0, 9)):
            raise ValueError(f"order: {self.shots} demonstrations have no order {self.order}")
        if self.approach == "baseline" and self.method is None:
            raise ValueError("the key 'method' is missing, which a baseline's signature has")
        return self

    def value(self, name: str) -> Any:
        """The field of that name."""
        return getattr(self, name)

    def values(self, names: Iterable[str]) -> list[Any]:
        """Several fields, in that order."""
        return [getattr(self, name) for name in names]

    def as_dict(self) -> dict[str, Any]:
        """As it is stored, and as cells are identified by."""
        return self.model_dump(by_alias=True)

    @property
    def id(self) -> str:
        """The hash of it all, which is the id of the cell."""
        return digest(self.as_dict())


ABOUT: dict[str, About] = {
    name: next(known for known in field.metadata if isinstance(known, About))
    for name, field in Signature.model_fields.items()
}
# How fields are called in files and by users, where that is not their name.
STORED_NAMES: dict[str, str] = {
    name: field.serialization_alias or name for name, field in Signature.model_fields.items()
}


def fields_that(fits: Callable[[About], object]) -> tuple[str, ...]:
    """The names of the fields of which something is known, in the order in which they are declared."""
    return tuple(name for name, about in ABOUT.items() if fits(about))


# What tells apart the cells that a row is a mean over.
CELL_KEY = fields_that(lambda about: about.cell)
# What makes two cells comparable enough to share a row, besides their items.
ROW_KEY = fields_that(lambda about: about.row)
