"""All that a template can name and have done: filters, tests, methods and functions, each within bounds.

To them come operations of our own that no template can name: the compiler puts them where Jinja's would run unguarded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

from jinja2 import Undefined, filters, nodes, tests
from jinja2.runtime import LoopContext
from jinja2.utils import Namespace

from harness.errors import suggest
from harness.sandbox.environment import METHODS, Environment
from harness.sandbox.values import (
    ELEMENT,
    MAX_PRODUCT,
    RUN,
    RefusedError,
    as_text,
    bounded,
    made,
    paced,
    small,
    weigh,
    words,
)

_Function = Callable[..., Any]
_CALL = re.compile(r"^[\w.]+\(\) ")  # the name of our function in a TypeError, which no author knows

ENV = Environment()


# What takes the place of Jinja's own statements and operators.


def _loop(items: Any, cost: int) -> Iterator[Any]:
    weigh(items)
    return paced(items, cost)


def _operand(value: object) -> object:
    RUN.get().spend(1 + weigh(value) // 100)
    return value


def _keep(value: object) -> str:
    weigh(value)
    RUN.get().value = value
    return ""


def _concat(*values: object) -> Any:
    texts = [as_text(value) for value in values]
    bounded(sum(map(len, texts)))
    return made("".join(texts))


def _cut(value: Any, *ends: Any) -> Any:
    weigh(value)
    return made(value[slice(*ends)])


def _range(_: None, /, *ends: int) -> Any:
    small(ends)
    return made(list(range(*ends)))


def _namespace(_: None, /, **fields: object) -> Namespace:
    RUN.get().spend(ELEMENT * (8 + len(fields)))
    return Namespace(**fields)


def _method(value: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    kind = type(value)
    size = 0 if kind is LoopContext else weigh(value)
    if name not in METHODS.get(kind, ()):
        hint = suggest(name[:60], sorted(METHODS.get(kind, ())), what="methods")
        raise RefusedError(f"method {name!r} of a {kind.__name__} is not available{hint}")
    given = (*args, *kwargs.values())
    weight = sum(map(weigh, given))
    if kind is str:
        if name == "join" and len(args) == 1:
            return made(_join(*args, value))
        if name == "replace":
            return made(_replace(value, *args, **kwargs), value)
        small(given)
        if size * weight > MAX_PRODUCT:
            raise RefusedError(f"stopped: the text and the arguments of {name!r} are too long")
    result = getattr(value, name)(*args, **kwargs)
    return made(list(result) if kind is dict and name != "get" else result, value)


# Filters and tests: Jinja's own within bounds, or ours where its own has none or writes as Python does.


def _getter(attribute: Any) -> Callable[[Any], Any]:
    return filters.make_attrgetter(ENV, attribute)


def _replace(value: str, old: object, new: object, count: int | None = None) -> str:
    before, after = as_text(old), as_text(new)
    times = value.count(before)
    if count is not None and 0 <= count < times:
        times = count
    bounded(len(value) + times * (len(after) - len(before)))
    return value.replace(before, after, times)


def _join(value: Iterable[Any], d: Any = "", attribute: Any = None) -> str:
    separator, texts = as_text(d), [as_text(item) for item in map(_getter(attribute), value)]
    bounded(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    size = width if isinstance(width, int) else len(width)
    bounded(len(value) + size * (len(value.splitlines()) + 1))
    return filters.do_indent(value, width, first, blank)


def _sort(value: Iterable[Any], reverse: bool = False, case_sensitive: bool = False, attribute: Any = None) -> Any:
    fold = None if case_sensitive else filters.ignore_case
    return sorted(value, key=filters.make_attrgetter(ENV, attribute, fold), reverse=reverse)


def _sum(value: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    return sum(map(_number, map(_getter(attribute), value)), start)  # adding up lists would be quadratic


def _tojson(value: object, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise ValueError("indent must be between 0 and 8")
    return json.dumps(value, ensure_ascii=False, indent=indent)  # Jinja's own escapes it for HTML


def _map(value: Iterable[Any], name: Any = None, *args: Any, attribute: Any = None, default: Any = None) -> Any:
    if attribute is not None:
        return map(filters.make_attrgetter(ENV, attribute, default=default), value)
    apply = known(FILTERS, name, "filter")
    return (apply(item, *args) for item in value)


def _select(wanted: bool, by_attribute: bool, value: Iterable[Any], *args: Any) -> Any:
    get = _getter(args[0]) if by_attribute else _getter(None)
    rest = args[1:] if by_attribute else args
    test = known(TESTS, rest[0], "test") if rest else bool
    return (item for item in value if bool(test(get(item), *rest[1:])) is wanted)


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} is not a number")
    return value


def known(table: Mapping[str, _Function], name: object, what: str, line: int | None = None) -> _Function:
    """The function of this name in the table; ``what`` says what the table is of."""
    if not isinstance(name, str) or name not in table:
        shown = str(name)[:60] if isinstance(name, str) else type(name).__name__
        raise RefusedError(f"unknown {what} {shown!r}{suggest(shown, sorted(table), what=f'{what}s')}", line)
    return table[name]


def _guarded(title: str, function: _Function, prepare: _Function | None, lenient: bool, sizes: bool) -> _Function:
    """A filter or test within bounds: ``lenient`` takes undefined values, ``sizes`` has integers that are sizes."""

    def guarded(value: Any, /, *args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        for item in (value, *given):
            if not (lenient and isinstance(item, Undefined)):
                weigh(item)
        if sizes:
            small(given)
        try:
            return made(function(prepare(value) if prepare else value, *args, **kwargs), value)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RefusedError(f"{title}: {_CALL.sub('', str(error))}") from error

    return guarded


def _jinja(name: str) -> _Function:
    function = filters.FILTERS[name]
    first = {"environment": ENV, "eval_context": nodes.EvalContext(ENV)}
    passed = getattr(function, "jinja_pass_arg", None)
    return cast(_Function, function if passed is None else partial(function, first[passed.name]))


_OF_TEXT = words("capitalize center indent lower replace string title trim truncate upper wordcount")
_OF_VALUES = words("d default map reject rejectattr select selectattr")  # whose integers are not sizes
_OWN: dict[str, _Function] = {
    "indent": _indent,
    "join": _join,
    "map": _map,
    "reject": partial(_select, False, False),
    "rejectattr": partial(_select, False, True),
    "replace": _replace,
    "select": partial(_select, True, False),
    "selectattr": partial(_select, True, True),
    "sort": _sort,
    "sum": _sum,
    "tojson": _tojson,
    "trim": lambda value, chars=None: _method(value, "strip", chars),
}
FILTERS = {
    name: _guarded(
        f"filter {name!r}",
        _OWN.get(name) or _jinja(name),
        as_text if name in _OF_TEXT else None,
        lenient=name in ("d", "default"),
        sizes=name not in _OF_VALUES,
    )
    for name in _OF_TEXT
    | _OF_VALUES
    | set(_OWN)
    | words("abs batch count dictsort first float int items last length list max min reverse round slice unique")
}
TESTS = {
    name: _guarded(
        f"test {name!r}",
        cast(_Function, tests.TESTS[name]),
        _number if name in ("odd", "even", "divisibleby") else None,  # of a text, Jinja's % would be a format
        lenient=name in ("defined", "undefined"),
        sizes=False,
    )
    for name in words(
        "defined undefined none string number mapping sequence iterable boolean true false integer float odd even"
        " divisibleby in == eq equalto != ne > gt greaterthan >= ge < lt lessthan <= le lower upper"
    )
}
# No template can write a name that ends in "!".
FUNCTIONS: dict[str, _Function] = {"namespace": _namespace, "range": _range}
_OPERATIONS = {"loop": _loop, "operand": _operand, "keep": _keep, "concat": _concat, "cut": _cut, "method": _method}
ENV.filters = FILTERS | {f"{name}!": function for name, function in (FUNCTIONS | _OPERATIONS).items()}
ENV.tests = dict(TESTS)
