"""The text that examples are compared by."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Example, plain_text


def own_options(pool: Sequence[Example]) -> bool:
    """Whether each example brings its own answers, which then belong to its text."""
    return len({example.options for example in pool}) > 1


def parts_of(example: Example, *, options: bool) -> list[str]:
    """The fields of an example, and its options where they are asked for, in an order of their own: neither the order
    in which they are listed nor which one is right has a part in likeness."""
    fields = [plain_text(value) for value in example.fields.values()]
    return [*fields, *(sorted(set(example.options)) if options else ())]


def text_of(example: Example, *, options: bool) -> str:
    """The parts of an example, a line each."""
    return "\n".join(parts_of(example, options=options))
