"""How Jinja looks things up and computes inside the sandbox: fields, elements, operators, and names that are missing.

It offers nothing that a template could call; ``functions`` adds that.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

from harness.errors import suggest
from harness.sandbox.values import RUN, RefusedError, Slot, bounded, made, weigh, words, write

_LOOP_FIELDS = words("index index0 revindex revindex0 first last length previtem nextitem depth depth0")
# The methods that a template may call on a value, by the type of the value.
METHODS: dict[type, frozenset[str]] = {
    str: words(
        "strip lstrip rstrip split rsplit splitlines lower upper title capitalize casefold swapcase startswith endswith"
        " replace join find index count isdigit isalpha isupper islower isspace removeprefix removesuffix partition"
        " rpartition zfill ljust rjust center"
    ),
    list: words("index count"),
    tuple: words("index count"),
    dict: words("get keys values items"),
    LoopContext: words("cycle changed"),
}


class _Missing(StrictUndefined):
    """A name or field that is not there: an error once it is used, which lists those that are."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if self._undefined_hint is not None:
            return self._undefined_hint
        if owner is missing:
            return f"unknown name {name!r}" + suggest(str(name), sorted(RUN.get().names), what="names in scope")
        if type(owner) is dict:
            # The search for the nearest key is quadratic in its length, and the template may have made the dict up.
            keys = [key for key in islice(owner, 100) if isinstance(key, str) and len(key) < 60]
            return f"no field {name!r}" + suggest(str(name)[:60], keys, what="fields")
        return f"this {type(owner).__name__} has no element {name!r}"


class Environment(ImmutableSandboxedEnvironment):
    """Look-ups and operators. Jinja's own hooks for attributes and calls stay closed: nothing needs them."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,  # drops exactly one newline, the one with which editors end a file
            optimized=False,
            undefined=_Missing,
            finalize=write,
            autoescape=False,
        )
        for table in (self.globals, self.filters, self.tests):  # Jinja's own
            table.clear()

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is dict:
            return self.getitem(obj, attribute)
        if (kind is LoopContext and attribute in _LOOP_FIELDS) or (kind is Namespace and attribute[:1] != "_"):
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        if kind is Slot or isinstance(obj, Undefined):
            weigh(obj)
        hint = f"; write {attribute}(...) to call it" if attribute in METHODS.get(kind, ()) else ""
        raise RefusedError(f"attribute {attribute!r} of a {kind.__name__} is not available{hint}")

    def getitem(self, obj: Any, argument: Any) -> Any:
        RUN.get().spend(1)
        kind, index = type(obj), type(argument)
        if kind is str or kind is Slot or isinstance(obj, Undefined):
            weigh(obj)
        if (kind is dict and index in (str, int, float, bool)) or (kind in (list, tuple, str) and index is int):
            try:
                return obj[argument]
            except LookupError:
                return self.undefined(obj=obj, name=argument)
        if index is str:
            return self.getattr(obj, argument)
        weigh(argument)
        raise RefusedError(f"a {kind.__name__} has no elements by {index.__name__}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = weigh(left), weigh(right)
        if operator == "%" and isinstance(left, str):
            raise RefusedError("% would format text as Python does: use ~ to put text together")
        if operator == "*":
            bounded(sizes[0] * right if isinstance(right, int) else 0)
            bounded(sizes[1] * left if isinstance(left, int) else 0)
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and right > 64 and abs(left) > 1:
            raise RefusedError("stopped: a whole number passed 64 bits")
        return made(self.binop_table[operator](left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False
