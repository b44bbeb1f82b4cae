"""The records that pass between the stages, from an example of a task to a prediction about it.

They hold data and what follows from it directly; no record reads a file, renders, tokenises or scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Role = Literal["pool", "select", "report"]
Status = Literal["ok", "tie", "too_long"]
MetricName = Literal["accuracy", "macro_f1"]
RuleName = Literal["sum", "token", "char", "byte", "pmi", "unconditional"]
ControlName = Literal["content-free", "partial", "permuted", "noise"]
CalibrationName = Literal["none", "contextual", "domain", "batch", "prototypical"]
Reading = tuple[RuleName, CalibrationName]  # how log-probabilities become scores

KEY_BYTES = 16


def digest(value: object, *, size: int = KEY_BYTES) -> str:
    """A hex hash of any JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a value that cannot be used. ``why`` says what it is; ``value``, where it is known, tells it apart."""

    why: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.why} {self.value}".rstrip()


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task's data, in the task's terms.

    ``item_id`` hashes the source row (and its occurrence number), so it does not depend on order or on ``--limit``.
    ``options`` are the answers to choose from: the item's own, or the task's label names. ``gold`` indexes them.
    ``place`` says where the row came from, for messages.
    """

    item_id: str
    fields: Mapping[str, object]
    options: tuple[str, ...]
    gold: int
    cluster: str | None
    place: str


def plain_text(value: object) -> str:
    """The text of a field's value for what compares texts: a null is no text, and a list or mapping that of its
    parts."""
    if isinstance(value, list | tuple | Mapping):
        parts = value.values() if isinstance(value, Mapping) else value
        return " ".join(text for part in parts if (text := plain_text(part)))
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt that knows what it is."""

    kind: Literal["description", "demo", "query"]
    part: Literal["prefix", "answer", "suffix", "separator"]
    text: str
    demo_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One label word of an item: the model is given the prompt and ``given``, and ``scored`` is what it must say next.

    ``given`` is empty unless the template scores text that follows the word (``score: rest`` or a field's name).
    """

    label: int
    word: str
    given: str
    scored: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads for one item with its demonstrations, up to the answer slot, and the answers to score there.

    ``demo_ids`` stand in the order of the draw: the last ones are dropped first when a prompt is too long.
    """

    item_id: str
    segments: tuple[Segment, ...]
    answers: tuple[Answer, ...]
    demo_ids: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system said about one item; prompts and trained baselines write the same record.

    ``scores`` has one number per label (log-scale for prompts), ``shots`` is the number of demonstrations that fitted,
    and ``margin`` is the distance between the best two scores. ``tolerance`` is how far float32 arithmetic may move it,
    in the same unit.
    """

    item_id: str
    unit: int
    cluster: str | None
    gold: int
    prediction: int | None
    scores: tuple[float, ...]
    status: Status
    shots: int
    margin: float
    tolerance: float

    @classmethod
    def of(
        cls,
        item: Example,
        prediction: int | None,
        scores: Sequence[float],
        status: Status,
        *,
        margin: float,
        tolerance: float,
        shots: int = 0,
    ) -> Self:
        """What was said about ``item``, the only unit of its row."""
        return cls(
            item_id=item.item_id,
            unit=0,
            cluster=item.cluster,
            gold=item.gold,
            prediction=prediction,
            scores=tuple(scores),
            status=status,
            shots=shots,
            margin=margin,
            tolerance=tolerance,
        )

    @property
    def correct(self) -> bool:
        return self.prediction == self.gold
