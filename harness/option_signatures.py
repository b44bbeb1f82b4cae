"""Gives functions that take the options of a command the signature of these options: each is listed once, in its model.

``inspect.signature``, ``help`` and completion read it when the function exists; ``stub`` writes the same for type
checkers.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Function = TypeVar("Function", bound=Callable[..., Any])

_NAMES: Mapping[object, str] = {Any: "Any", type(None): "None", Path: "str | Path"}


def with_options(options: type[BaseModel], *, without: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Has a function's ``**options`` shown as the fields of a model, less those it names itself and ``without``."""

    def give(function: Function) -> Function:
        own = inspect.signature(function)
        named = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        taken = {p.name for p in named} | set(without)
        fields = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=_annotation(field)
            )
            for name, field in options.model_fields.items()
            if name not in taken
        ]
        # What must be given comes first, as people read it.
        ordered = sorted([*fields, *named], key=lambda p: (p.kind, p.default is not inspect.Parameter.empty))
        function.__signature__ = own.replace(parameters=ordered)  # type: ignore[attr-defined]
        return function

    return give


def _default(field: FieldInfo) -> object:
    if field.is_required():
        return inspect.Parameter.empty
    value = field.get_default(call_default_factory=True)
    return str(value) if isinstance(value, Path) else value


def _annotation(field: FieldInfo) -> str:
    told = [one for one in field.metadata if isinstance(one, str)]
    return told[0] if told else accepted(field.annotation)


def accepted(annotation: Any) -> str:
    """What may be given for a field, as an annotation: a list is also taken as one value, or as text with commas.

    A text among an annotation's metadata says it itself.
    """
    if get_origin(annotation) is typing.Annotated:
        annotation, *more = get_args(annotation)
        told = [one for one in more if isinstance(one, str)]
        if told:
            return told[0]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        one = accepted(parts[0])
        texts = "str" if one.startswith("Literal") else one
        return " | ".join(dict.fromkeys([*texts.split(" | "), "str", f"Sequence[{texts}]"]))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(word for part in parts for word in accepted(part).split(" | ")))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if origin is dict:
        return f"Mapping[{', '.join(map(accepted, parts))}]"
    return _NAMES.get(annotation) or str(annotation.__name__)
