"""Reads YAML strictly: safe types only, YAML 1.2 booleans, no duplicate keys, no aliases, and a model that names every
key.

It knows nothing of tasks or templates; a caller hands it the pydantic model that a file must fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import FileError, Problems, nearest, suggest

MAX_CHARACTERS = 1_000_000
_SURROGATE = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")

Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader whose only plain scalars besides strings are null, true, false, integers and floats (YAML 1.2
    core)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # A few nested aliases expand to gigabytes, and no file of ours needs one.
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=event.start_mark)
        # A tag asks for a date, a set, bytes or worse; !!str alone asks for a plain value.
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag!r} is not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in [
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    try:
        return int(str(loader.construct_scalar(node)))  # PyYAML's own would read 010 as octal
    except ValueError as error:  # Python converts no more than 4,300 digits
        raise yaml.MarkedYAMLError(problem="the number is too long", problem_mark=node.start_mark) from error


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            shown = f"{key.value}; put it in quotes" if isinstance(key, yaml.ScalarNode) else "a collection"
            raise yaml.MarkedYAMLError(problem=f"keys must be strings, not {shown}", problem_mark=key.start_mark)
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} appears twice", problem_mark=key.start_mark)
        seen.add(key.value)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML mapping and where it stands: ``lines`` gives the file's line of each top-level key."""

    path: Path
    data: dict[str, Any]
    lines: dict[str, int]


def parse_mapping(text: str, path: Path, *, first_line: int = 1) -> Document:
    """Parse one YAML mapping; ``first_line`` is the file's line on which ``text`` begins.

    Raises:
        FileError: not YAML, not a mapping, a duplicate key, an alias, or a tag that asks for anything but plain values.
    """
    if len(text) > MAX_CHARACTERS:
        raise FileError(path, f"is {len(text):,} characters long; at most {MAX_CHARACTERS:,} are read")
    loader = None
    try:
        loader = _Loader(text)  # which already looks for characters that YAML does not allow
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = first_line + mark.line if mark is not None else None
        raise FileError(
            path, f"not valid YAML: {_one_line(error.problem or error.context or 'unknown error')}", line
        ) from error
    except yaml.YAMLError as error:
        raise FileError(path, f"not valid YAML: {_one_line(str(error))}") from error
    except RecursionError as error:
        raise FileError(path, "not valid YAML: nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()
    if (written := _SURROGATE.search(text)) is not None and re.search("[\ud800-\udfff]", _all_text(data)):
        line = first_line + text.count("\n", 0, written.start())
        raise FileError(path, "holds half of a surrogate pair, which is no character", line)
    if not isinstance(data, dict):
        raise FileError(path, f"must hold a mapping of keys to values, not {_kind(data)}", first_line)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return Document(path, data, {key.value: first_line + key.start_mark.line for key, _ in pairs})


def fit(model: type[Model], document: Document) -> Model:
    """Check a parsed mapping against a model.

    Raises:
        FileError: all misfits, each with its line, the field and what is valid there; unknown keys come first.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = Problems()
        listed: set[tuple[int | str, ...]] = set()  # of what the keys have been told
        for one in worth_telling(model, error):
            key = str(one["loc"][0]) if one["loc"] else ""
            told = describe(model, one, listed=one["loc"][:-1] in listed)
            if one["type"] == "extra_forbidden":
                listed.add(one["loc"][:-1])
            problems.add(FileError(document.path, told, document.lines.get(key)))
        problems.end()
        raise AssertionError(error) from error


def worth_telling(model: type[BaseModel], error: ValidationError) -> list[ErrorDetails]:
    """What pydantic found, unknown keys first; without keys that are missing because they are misspelt, and with one
    of those about a list's items, or about the several types that a value might have had."""
    found = error.errors(include_url=False)
    unknown = [one for one in found if one["type"] == "extra_forbidden"]
    misspelt = {
        nearest(str(one["loc"][-1]), _model_at(model, one["loc"][:-1]).model_fields): one["loc"][:-1] for one in unknown
    }
    kept: dict[tuple[int | str, ...], ErrorDetails] = {}
    for one in found:
        *owner, key = one["loc"] or ("",)
        if one["type"] == "missing" and misspelt.get(str(key)) == tuple(owner):
            continue
        if one["type"] != "extra_forbidden":
            kept.setdefault(tuple(part for part in _told_place(one) if isinstance(part, str)), one)
    return [*unknown, *kept.values()]


def _told_place(error: ErrorDetails) -> tuple[int | str, ...]:
    """Where an error is, without what pydantic adds: the type that it tried, or its sign for a key at fault."""
    place = error["loc"]
    return tuple(part for part in place if not isinstance(part, str) or re.fullmatch(r"[^\[\]]*", part))


# What pydantic asks for, in our words.
_TYPES = {
    "string": "a string",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping, such as {name: value}",
    "model": "a mapping, such as {name: value}",
    "path": "a path",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
_FORMS = {
    "string_pattern_mismatch": "must have the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_unicode": "must be text",
    "finite_number": "must be a finite number",
}


def describe(model: type[BaseModel], error: ErrorDetails, *, listed: bool = False) -> str:
    """One pydantic error as one line for a user; ``listed``: the valid keys there have been told."""
    where = ".".join(str(part) for part in _told_place(error))
    kind, context, found = error["type"], error.get("ctx", {}), _short(error["input"])
    if kind == "extra_forbidden":
        key, keys = str(error["loc"][-1]), _model_at(model, error["loc"][:-1]).model_fields
        if not listed:
            return f"unknown key {where!r}{suggest(key, keys, what='keys')}"
        near = nearest(key, keys)
        return f"unknown key {where!r}" + (f"; did you mean {near!r}?" if near is not None else "")
    if kind == "missing":
        return f"the key {where!r} is missing"
    if kind == "literal_error" and context.get("expected"):
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        return _told(where, f"unknown value {found}{suggest(str(error['input']), choices)}")
    wanted = _TYPES.get(re.sub(r"_(type|parsing|from_float|attributes_type|parsing_size)$", "", kind))
    if wanted is not None:
        quote = "; put it in quotes" if wanted == "a string" and isinstance(error["input"], int | float) else ""
        return _told(where, f"must be {wanted}, not {found}{quote}")
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return _told(where, f"must be {words} {context[name]}, not {found}")
    if kind in _FORMS:
        return _told(where, f"{_FORMS[kind].format_map(context)}, unlike {found}")
    if kind == "too_short":
        return _told(where, f"must name at least {context['min_length']}, and names {context['actual_length']}")
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    shown = "" if isinstance(error["input"], dict) or "'" in message or found in message else f" (found {found})"
    return _told(where, f"{_one_line(message)}{shown}")


def _told(where: str, message: str) -> str:
    return f"{where}: {message}" if where else message


def _all_text(value: object) -> str:
    if isinstance(value, dict):
        return "".join(map(_all_text, [*value, *value.values()]))
    return "".join(map(_all_text, value)) if isinstance(value, list) else str(value)


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    for part in loc:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
