"""What a run's manifest holds: the schema that every stored one is checked against before anything of it is used.

Keys that are not here are another version's, and allowed. What a reader relies on is here, with its type and bounds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from harness.records import MetricName, digest
from harness.signature import MOST_ITEMS, Signature, Text

SCHEMA = 1
MOST_LABELS = 10_000


def _time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hex = Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Costs(_Stored):
    """What a trained baseline took."""

    train_seconds: Amount | None = None
    score_seconds: Amount | None = None
    items_per_second: Amount | None = None
    peak_memory_bytes: Count | None = None
    trainable_parameters: Count | None = None


class CellRecord(_Stored):
    """One cell: its signature and what is needed to read its predictions."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    signature: Signature
    metrics: Annotated[list[MetricName], Field(min_length=1, max_length=16)]
    labels: Annotated[list[Text], Field(min_length=1, max_length=MOST_LABELS)] | None
    n: Annotated[int, Field(ge=1, le=MOST_ITEMS)]
    selection_labels: Annotated[int, Field(ge=0, le=MOST_ITEMS)] = 0
    domain: Text | None = None
    costs: Costs | None = None

    @model_validator(mode="before")
    @classmethod
    def _identified(cls, known: Any) -> Any:
        signature = known.get("signature") if isinstance(known, dict) else None
        if isinstance(signature, dict) and "kind" in signature and digest(signature) != known.get("id"):
            raise ValueError("the cell's id is not the hash of its signature")
        return known


class TaskRecord(_Stored):
    """What is told of a task's data; ``rows`` by role."""

    rows: dict[str, Count] = Field(default_factory=dict)


class EncoderRecord(_Stored):
    """The frozen encoder of embedded baselines."""

    name: Text


class ModelRecord(_Stored):
    """The model of a run, or the methods of baselines."""

    name: Text | None = None
    fingerprint: Hex | None = None
    dtype: Annotated[str, Field(pattern=r"^\w{1,20}$")] | None = None
    encoder: EncoderRecord | None = None


class Requests(_Stored):
    """How many scores were asked for, and where they came from."""

    distinct: Count = 0
    scored: Count = 0


class ManifestDocument(_Stored):
    """A whole manifest. ``files`` hashes the run's other files; an earlier version had none."""

    id: Annotated[Text, Field(min_length=1)]
    created: Annotated[Text, AfterValidator(_time)]
    status: Literal["running", "done", "interrupted", "failed"]
    command: list[Text]
    options: dict[str, Any]
    versions: dict[str, Text | None]
    model: ModelRecord
    tasks: dict[str, TaskRecord]
    cells: list[CellRecord]
    requests: Requests = Field(default_factory=Requests)
    tokens_computed: Count = 0
    peak_memory_bytes: Count | None = None
    seconds: dict[str, Amount] = Field(default_factory=dict)
    notices: list[Text] = Field(default_factory=list)
    files: dict[str, Hex] = Field(default_factory=dict)
    schema_: Literal[1] = Field(alias="schema")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        ids = [cell.id for cell in self.cells]
        if len(set(ids)) < len(ids):
            raise ValueError("cells: two have the same id")
        if self.status == "done" and not ids:
            raise ValueError("cells: a run that is done has some")
        return self
