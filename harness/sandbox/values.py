"""What a template can hold, what it weighs, and the budget of a rendering that pays for it.

Whatever is not plain data or a slot is refused here. This module knows no operation that a template can name.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from math import isfinite
from time import monotonic
from typing import Any, NoReturn

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from harness.records import Unreadable

MAX_SECONDS = 2.0
MAX_SOURCE = 50_000  # characters of a template: compiling one takes time quadratic in its tags
MAX_OUTPUT = 1_000_000  # characters
MAX_VALUE = 1_000_000  # characters in one value, where each element of a list counts as ELEMENT more
MAX_WORK = 4_000_000  # characters made in one rendering: the output, every intermediate value, and every loop step
MAX_INTEGER = 10_000  # an integer argument: a width, a count, the end of a range
MAX_PRODUCT = 100_000_000  # length of a text times that of an argument: rsplit and strip may compare every pair
MAX_DEPTH = 32  # lists in lists: Python hashes nested tuples without a check on its C stack
ELEMENT = 8

_OPEN, _CLOSE = "\ue0f1", "\ue0f2"  # for private use; a low byte other than zero makes the search for it fast
_MARK = re.compile(f"{_OPEN}[0-9a-f]{{32}}{_CLOSE}")


def words(text: str) -> frozenset[str]:
    """A set of words, written as one string."""
    return frozenset(text.split())


class RefusedError(Exception):
    """What the template wants is not allowed. ``line`` is set by what runs before the template does."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Slot:
    """An opaque value: a template can write it out, whole, and do nothing else with it.

    Attributes:
        mark: what stands for it in a rendered text. It is random, so that neither data nor a template contains it.
    """

    __slots__ = ("mark", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.mark = f"{_OPEN}{secrets.token_hex(16)}{_CLOSE}"

    def __repr__(self) -> str:
        return f"Slot({self.name!r})"


def _opaque(slot: Slot, *_: object) -> NoReturn:
    use = f"{{{{ {slot.name} }}}}"
    raise RefusedError(f"{slot.name!r} can only be written out as {use}: no filter, test, comparison or operator")


for _name in words(
    "str format html bytes bool int float index complex hash eq ne lt le gt ge len iter next reversed contains getitem"
    " call add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos abs round"
):
    setattr(Slot, f"__{_name}__", _opaque)


class Run:
    """What one rendering may still spend, the names it was given, and the value that an expression came to."""

    __slots__ = ("deadline", "names", "value", "work")

    def __init__(self, names: Collection[str]) -> None:
        self.deadline = monotonic() + MAX_SECONDS
        self.work = MAX_WORK
        self.names = names
        self.value: object = None

    def spend(self, work: int) -> None:
        """Pay for what has been made; beyond the budget, or after the time, the rendering stops."""
        self.work -= work
        if self.work < 0:
            raise RefusedError(f"stopped: more than {MAX_WORK:,} characters made, loop steps included")
        if monotonic() > self.deadline:
            raise RefusedError(f"stopped after {MAX_SECONDS:g} s")


RUN: ContextVar[Run] = ContextVar("RUN")


def bounded(size: int) -> int:
    """The size that a value has or would get, which is refused if it is beyond what one value may have."""
    if size > MAX_VALUE:
        raise RefusedError(f"stopped: a value passed {MAX_VALUE:,} characters")
    return size


def weigh(value: Any, depth: int = 0) -> int:
    """The size of plain data in characters, shared parts counted each time; anything else is refused.

    Every guard begins with it: it finds the slots, and bounds what one operation on the value can cost.
    """
    kind, total = type(value), 0
    if kind is str:
        if _OPEN in value and _MARK.search(value):
            raise RefusedError("text in which a slot was written out can only be written out, too")
        return bounded(len(value))
    if kind is int:
        if value.bit_length() > 64:
            raise RefusedError("stopped: a whole number passed 64 bits")
    elif kind is list or kind is tuple or kind is dict:
        if depth == MAX_DEPTH:
            raise RefusedError(f"a {kind.__name__} is nested more than {MAX_DEPTH} deep")
        for part in value.items() if kind is dict else value:
            total = bounded(total + ELEMENT + weigh(part, depth + 1))
    elif kind is Slot:
        _opaque(value)
    elif isinstance(value, Undefined):
        value._fail_with_undefined_error()
    elif kind is Unreadable:
        raise RefusedError(f"the value cannot be read: it is {value.why}")
    elif kind is not float and kind is not bool and value is not None:
        raise RefusedError(f"a {kind.__name__} cannot be used here")
    return total


def as_text(value: Any) -> str:
    """A value as templates write it. Python's own words for None and for containers are never meant in a prompt."""
    kind = type(value)
    if kind is float and not isfinite(value):
        raise RefusedError(f"the value is {value}, which would be written as that word")
    if kind is str or kind is int or kind is float or kind is bool:
        return str(value)
    if value is None:
        raise RefusedError("the value is None, which would be written as that word (use an if, or default('', true))")
    weigh(value)
    raise RefusedError(f"a {kind.__name__} cannot be written out as it is: use join, a loop or tojson")


@pass_context  # which tells Jinja never to call it while compiling, on constants
def write(_: Context, value: object) -> str:
    """What ``{{ value }}`` puts into the output, paid for."""
    text = value.mark if type(value) is Slot else as_text(value)
    RUN.get().spend(len(text))
    return text


def paced(items: Iterable[Any], cost: int) -> Iterator[Any]:
    """The items, each paid for before it is given out."""
    spend = RUN.get().spend
    for item in items:
        spend(cost)
        yield item


def made(result: Any, source: object = None) -> Any:
    """A result, paid for unless it was there before. A lazy one becomes a list, so that values are always plain."""
    if isinstance(result, Iterator):
        result = list(paced(result, ELEMENT))
    if not isinstance(result, Undefined) and result is not source:
        RUN.get().spend(ELEMENT + weigh(result))
    return result


def small(arguments: Iterable[object]) -> None:
    """Refuse integers that are too large for a width, a count or the end of a range."""
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > MAX_INTEGER:
            raise RefusedError(f"the argument {argument} is beyond {MAX_INTEGER:,}")
