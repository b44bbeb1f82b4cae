"""The strict sandbox in which template bodies and expressions are compiled and run.

Templates are untrusted: an author may try to reach Python, to exhaust time or memory, or to look into an answer that
may only be placed. So everything is a whitelist. The syntax tree is checked and rewritten before Jinja compiles it:
what Jinja would run unguarded (loops, calls, slices, comparisons, ``~``) becomes a filter of ours, so that no function
or method is ever a value. Values are plain data (str, int, float, bool, None, list, tuple, dict), slots, namespaces
and the loop object. What an operation may cost is bounded before it is run, and a rendering has a budget for them all.

This module knows nothing of tasks, prompts, files or YAML.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, cast

from jinja2 import StrictUndefined, Undefined, filters, nodes, pass_context, tests
from jinja2.meta import TrackingCodeGenerator
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

from harness.errors import TemplateError, suggest

MAX_SECONDS = 2.0
MAX_SOURCE = 50_000  # characters of a template: compiling one takes time quadratic in its tags
MAX_OUTPUT = 1_000_000  # characters
MAX_VALUE = 1_000_000  # characters in one value, where each element of a list counts as ELEMENT more
MAX_WORK = 4_000_000  # characters made in one rendering: the output, every intermediate value, and every loop step
MAX_INTEGER = 10_000  # an integer argument: a width, a count, the end of a range
MAX_PRODUCT = 100_000_000  # length of a text times that of an argument: rsplit and strip may compare every pair
MAX_DEPTH = 32  # lists in lists: Python hashes nested tuples without a check on its C stack
ELEMENT = 8

_Function = Callable[..., Any]
_OPEN, _CLOSE = "\ue0f1", "\ue0f2"  # for private use; a low byte other than zero makes the search for it fast
_CALL = re.compile(r"^[\w.]+\(\) ")  # the name of our function in a TypeError, which no author knows
_MARK = re.compile(f"{_OPEN}[0-9a-f]{{32}}{_CLOSE}")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAGS = _words("for else elif endfor if endif set endset with endwith")
_NODES = _words(
    "Template Output TemplateData For If Assign AssignBlock With Name NSRef Const List Tuple Dict Pair Keyword CondExpr"
    " Compare Operand And Or Not Neg Pos Add Sub Mul Div FloorDiv Mod Pow Concat Getattr Getitem Filter Test Call"
)
_LOOP_FIELDS = _words("index index0 revindex revindex0 first last length previtem nextitem depth depth0")
_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "strip lstrip rstrip split rsplit splitlines lower upper title capitalize casefold swapcase startswith endswith"
        " replace join find index count isdigit isalpha isupper islower isspace removeprefix removesuffix partition"
        " rpartition zfill ljust rjust center"
    ),
    list: _words("index count"),
    tuple: _words("index count"),
    dict: _words("get keys values items"),
    LoopContext: _words("cycle changed"),
}


class _RefusedError(Exception):
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
    raise _RefusedError(f"{slot.name!r} can only be written out as {use}: no filter, test, comparison or operator")


for _name in _words(
    "str format html bytes bool int float index complex hash eq ne lt le gt ge len iter next reversed contains getitem"
    " call add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos abs round"
):
    setattr(Slot, f"__{_name}__", _opaque)


class _Missing(StrictUndefined):
    """A name or field that is not there: an error once it is used, which lists those that are."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if self._undefined_hint is not None:
            return self._undefined_hint
        if owner is missing:
            return f"unknown name {name!r}" + suggest(str(name), sorted(_RUN.get().names), what="names in scope")
        if type(owner) is dict:
            # The search for the nearest key is quadratic in its length, and the template may have made the dict up.
            keys = [key for key in islice(owner, 100) if isinstance(key, str) and len(key) < 60]
            return f"no field {name!r}" + suggest(str(name)[:60], keys, what="fields")
        return f"this {type(owner).__name__} has no element {name!r}"


class _Run:
    """What one rendering may still spend, the names it was given, and the value that an expression came to."""

    __slots__ = ("deadline", "names", "value", "work")

    def __init__(self, names: Collection[str]) -> None:
        self.deadline = monotonic() + MAX_SECONDS
        self.work = MAX_WORK
        self.names = names
        self.value: object = None

    def spend(self, work: int) -> None:
        self.work -= work
        if self.work < 0:
            raise _RefusedError(f"stopped: more than {MAX_WORK:,} characters made, loop steps included")
        if monotonic() > self.deadline:
            raise _RefusedError(f"stopped after {MAX_SECONDS:g} s")


_RUN: ContextVar[_Run] = ContextVar("_RUN")


def _bounded(size: int) -> int:
    if size > MAX_VALUE:
        raise _RefusedError(f"stopped: a value passed {MAX_VALUE:,} characters")
    return size


def _weigh(value: Any, depth: int = 0) -> int:
    """The size of plain data in characters, shared parts counted each time; anything else is refused.

    Every guard begins with it: it finds the slots, and bounds what one operation on the value can cost.
    """
    kind, total = type(value), 0
    if kind is str:
        if _OPEN in value and _MARK.search(value):
            raise _RefusedError("text in which a slot was written out can only be written out, too")
        return _bounded(len(value))
    if kind is int:
        if value.bit_length() > 64:
            raise _RefusedError("stopped: a whole number passed 64 bits")
    elif kind is list or kind is tuple or kind is dict:
        if depth == MAX_DEPTH:
            raise _RefusedError(f"a {kind.__name__} is nested more than {MAX_DEPTH} deep")
        for part in value.items() if kind is dict else value:
            total = _bounded(total + ELEMENT + _weigh(part, depth + 1))
    elif kind is Slot:
        _opaque(value)
    elif isinstance(value, Undefined):
        value._fail_with_undefined_error()
    elif kind is not float and kind is not bool and value is not None:
        raise _RefusedError(f"a {kind.__name__} cannot be used here")
    return total


def _text(value: Any) -> str:
    """A value as templates write it. Python's own words for None and for containers are never meant in a prompt."""
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool:
        return str(value)
    if value is None:
        raise _RefusedError("the value is None, which would be written as that word (use an if, or default('', true))")
    _weigh(value)
    raise _RefusedError(f"a {kind.__name__} cannot be written out as it is: use join, a loop or tojson")


@pass_context  # which tells Jinja never to call it while compiling, on constants
def _write(_: Context, value: object) -> str:
    text = value.mark if type(value) is Slot else _text(value)
    _RUN.get().spend(len(text))
    return text


def _paced(items: Iterable[Any], cost: int) -> Iterator[Any]:
    spend = _RUN.get().spend
    for item in items:
        spend(cost)
        yield item


def _made(result: Any, source: object = None) -> Any:
    """A result, paid for unless it was there before. A lazy one becomes a list, so that values are always plain."""
    if isinstance(result, Iterator):
        result = list(_paced(result, ELEMENT))
    if not isinstance(result, Undefined) and result is not source:
        _RUN.get().spend(ELEMENT + _weigh(result))
    return result


def _small(arguments: Iterable[object]) -> None:
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > MAX_INTEGER:
            raise _RefusedError(f"the argument {argument} is beyond {MAX_INTEGER:,}")


class _Environment(ImmutableSandboxedEnvironment):
    """Look-ups and operators. Jinja's own hooks for attributes and calls stay closed: nothing needs them."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is dict:
            return self.getitem(obj, attribute)
        if (kind is LoopContext and attribute in _LOOP_FIELDS) or (kind is Namespace and attribute[:1] != "_"):
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        if kind is Slot or isinstance(obj, Undefined):
            _weigh(obj)
        hint = f"; write {attribute}(...) to call it" if attribute in _METHODS.get(kind, ()) else ""
        raise _RefusedError(f"attribute {attribute!r} of a {kind.__name__} is not available{hint}")

    def getitem(self, obj: Any, argument: Any) -> Any:
        _RUN.get().spend(1)
        kind, index = type(obj), type(argument)
        if kind is str or kind is Slot or isinstance(obj, Undefined):
            _weigh(obj)
        if (kind is dict and index in (str, int, float, bool)) or (kind in (list, tuple, str) and index is int):
            try:
                return obj[argument]
            except LookupError:
                return self.undefined(obj=obj, name=argument)
        if index is str:
            return self.getattr(obj, argument)
        _weigh(argument)
        raise _RefusedError(f"a {kind.__name__} has no elements by {index.__name__}")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = _weigh(left), _weigh(right)
        if operator == "%" and isinstance(left, str):
            raise _RefusedError("% would format text as Python does: use ~ to put text together")
        if operator == "*":
            _bounded(sizes[0] * right if isinstance(right, int) else 0)
            _bounded(sizes[1] * left if isinstance(left, int) else 0)
        if operator == "**" and isinstance(left, int) and isinstance(right, int) and right > 64 and abs(left) > 1:
            raise _RefusedError("stopped: a whole number passed 64 bits")
        return _made(self.binop_table[operator](left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return False

    def is_safe_callable(self, obj: Any) -> bool:
        return False


_ENV = _Environment(
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,  # drops exactly one newline, the one with which editors end a file
    optimized=False,
    undefined=_Missing,
    finalize=_write,
    autoescape=False,
)
_ENV.globals.clear()


# What takes the place of Jinja's own statements and operators.


def _loop(items: Any, cost: int) -> Iterator[Any]:
    _weigh(items)
    return _paced(items, cost)


def _operand(value: object) -> object:
    _RUN.get().spend(1 + _weigh(value) // 100)
    return value


def _keep(value: object) -> str:
    _weigh(value)
    _RUN.get().value = value
    return ""


def _concat(*values: object) -> Any:
    texts = [_text(value) for value in values]
    _bounded(sum(map(len, texts)))
    return _made("".join(texts))


def _cut(value: Any, *ends: Any) -> Any:
    _weigh(value)
    return _made(value[slice(*ends)])


def _range(_: None, /, *ends: int) -> Any:
    _small(ends)
    return _made(list(range(*ends)))


def _namespace(_: None, /, **fields: object) -> Namespace:
    _RUN.get().spend(ELEMENT * (8 + len(fields)))
    return Namespace(**fields)


def _method(value: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
    kind = type(value)
    size = 0 if kind is LoopContext else _weigh(value)
    if name not in _METHODS.get(kind, ()):
        hint = suggest(name[:60], sorted(_METHODS.get(kind, ())), what="methods")
        raise _RefusedError(f"method {name!r} of a {kind.__name__} is not available{hint}")
    given = (*args, *kwargs.values())
    weight = sum(map(_weigh, given))
    if kind is str:
        if name == "join" and len(args) == 1:
            return _made(_join(*args, value))
        if name == "replace":
            return _made(_replace(value, *args, **kwargs), value)
        _small(given)
        if size * weight > MAX_PRODUCT:
            raise _RefusedError(f"stopped: the text and the arguments of {name!r} are too long")
    result = getattr(value, name)(*args, **kwargs)
    return _made(list(result) if kind is dict and name != "get" else result, value)


# Filters and tests: Jinja's own within bounds, or ours where its own has none or writes as Python does.


def _getter(attribute: Any) -> Callable[[Any], Any]:
    return filters.make_attrgetter(_ENV, attribute)


def _replace(value: str, old: object, new: object, count: int | None = None) -> str:
    before, after = _text(old), _text(new)
    times = value.count(before)
    if count is not None and 0 <= count < times:
        times = count
    _bounded(len(value) + times * (len(after) - len(before)))
    return value.replace(before, after, times)


def _join(value: Iterable[Any], d: Any = "", attribute: Any = None) -> str:
    separator, texts = _text(d), [_text(item) for item in map(_getter(attribute), value)]
    _bounded(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    size = width if isinstance(width, int) else len(width)
    _bounded(len(value) + size * (len(value.splitlines()) + 1))
    return filters.do_indent(value, width, first, blank)


def _sort(value: Iterable[Any], reverse: bool = False, case_sensitive: bool = False, attribute: Any = None) -> Any:
    fold = None if case_sensitive else filters.ignore_case
    return sorted(value, key=filters.make_attrgetter(_ENV, attribute, fold), reverse=reverse)


def _sum(value: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    return sum(map(_number, map(_getter(attribute), value)), start=_number(start))  # adding up lists is quadratic


def _tojson(value: object, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 8:
        raise ValueError("indent must be between 0 and 8")
    return json.dumps(value, ensure_ascii=False, indent=indent)  # Jinja's own escapes it for HTML


def _map(value: Iterable[Any], name: Any = None, *args: Any, attribute: Any = None, default: Any = None) -> Any:
    if attribute is not None:
        return map(filters.make_attrgetter(_ENV, attribute, default=default), value)
    apply = _known(_FILTERS, name, "filter")
    return (apply(item, *args) for item in value)


def _select(wanted: bool, by_attribute: bool, value: Iterable[Any], *args: Any) -> Any:
    get = _getter(args[0]) if by_attribute else _getter(None)
    rest = args[1:] if by_attribute else args
    test = _known(_TESTS, rest[0], "test") if rest else bool
    return (item for item in value if bool(test(get(item), *rest[1:])) is wanted)


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} is not a number")
    return value


def _known(table: Mapping[str, _Function], name: object, what: str, line: int | None = None) -> _Function:
    if not isinstance(name, str) or name not in table:
        shown = str(name)[:60] if isinstance(name, str) else type(name).__name__
        raise _RefusedError(f"unknown {what} {shown!r}{suggest(shown, sorted(table), what=f'{what}s')}", line)
    return table[name]


def _guarded(title: str, function: _Function, prepare: _Function | None, lenient: bool, sizes: bool) -> _Function:
    """A filter or test within bounds: ``lenient`` takes undefined values, ``sizes`` has integers that are sizes."""

    def guarded(value: Any, /, *args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        for item in (value, *given):
            if not (lenient and isinstance(item, Undefined)):
                _weigh(item)
        if sizes:
            _small(given)
        try:
            return _made(function(prepare(value) if prepare else value, *args, **kwargs), value)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _RefusedError(f"{title}: {_CALL.sub('', str(error))}") from error

    return guarded


def _jinja(name: str) -> _Function:
    function = filters.FILTERS[name]
    first = {"environment": _ENV, "eval_context": nodes.EvalContext(_ENV)}
    passed = getattr(function, "jinja_pass_arg", None)
    return cast(_Function, function if passed is None else partial(function, first[passed.name]))


_OF_TEXT = _words("capitalize center indent lower replace string title trim truncate upper wordcount")
_OF_VALUES = _words("d default map reject rejectattr select selectattr")  # whose integers are not sizes
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
_FILTERS = {
    name: _guarded(
        f"filter {name!r}",
        _OWN.get(name) or _jinja(name),
        _text if name in _OF_TEXT else None,
        lenient=name in ("d", "default"),
        sizes=name not in _OF_VALUES,
    )
    for name in _OF_TEXT
    | _OF_VALUES
    | set(_OWN)
    | _words("abs batch count dictsort first float int items last length list max min reverse round slice unique")
}
_TESTS = {
    name: _guarded(
        f"test {name!r}",
        cast(_Function, tests.TESTS[name]),
        _number if name in ("odd", "even", "divisibleby") else None,  # of a text, Jinja's % would be a format
        lenient=name in ("defined", "undefined"),
        sizes=False,
    )
    for name in _words(
        "defined undefined none string number mapping sequence iterable boolean true false integer float odd even"
        " divisibleby in == eq equalto != ne > gt greaterthan >= ge < lt lessthan <= le lower upper"
    )
}
# No template can write a name that ends in "!".
_FUNCTIONS: dict[str, _Function] = {"namespace": _namespace, "range": _range}
_OPERATIONS = {"loop": _loop, "operand": _operand, "keep": _keep, "concat": _concat, "cut": _cut, "method": _method}
_ENV.filters = _FILTERS | {f"{name}!": function for name, function in (_FUNCTIONS | _OPERATIONS).items()}
_ENV.tests = dict(_TESTS)


def _ours(name: str, line: int, *args: Any, kwargs: Iterable[nodes.Keyword] = ()) -> nodes.Filter:
    return nodes.Filter(args[0], f"{name}!", list(args[1:]), list(kwargs), None, None, lineno=line)


def _rewrite(node: Any, line: int) -> nodes.Node:
    """The node that Jinja is to compile instead of this one; its children are still to be checked."""
    match node:
        case nodes.Name(name="self"):  # an object of Jinja's, whatever the scope says
            raise _RefusedError("the name 'self' is not available in templates", line)
        case nodes.Const(value=value) if value == math.inf:  # compiled, it would read as the name inf
            raise _RefusedError("the number is too large", line)
        case nodes.For(recursive=True):
            raise _RefusedError("a recursive loop is not available in templates", line)
        case nodes.For():
            # A step costs what it may leave in memory: the constant text, and what the other nodes may make.
            inside = node.find_all(nodes.Node)
            cost = sum(len(part.data) if isinstance(part, nodes.TemplateData) else ELEMENT // 2 for part in inside)
            node.iter = _ours("loop", line, node.iter, nodes.Const(ELEMENT + cost))
        case nodes.AssignBlock() if not isinstance(node.target, nodes.Name) or node.filter:
            # Here Jinja does not check that `ns` in `ns.x` is a namespace: it would write into the data.
            raise _RefusedError("a {% set %} block takes one plain name, and no filter", line)
        case nodes.Assign(target=nodes.Tuple()):
            node.node = _ours("operand", line, node.node)
        case nodes.With():
            pairs = zip(node.targets, node.values, strict=True)
            node.values = [_ours("operand", line, v) if isinstance(t, nodes.Tuple) else v for t, v in pairs]
        case nodes.Pair():
            node.key = _ours("operand", line, node.key)
        case nodes.CondExpr(expr2=None):
            node.expr2 = nodes.Const("")  # which is how Jinja writes it
        case nodes.Compare():
            sides: list[Any] = [node, *node.ops]
            for side in sides:
                side.expr = _ours("operand", line, side.expr)
        case nodes.Concat():
            return _ours("concat", line, *node.nodes)
        case nodes.Getitem(arg=nodes.Slice() as cut):
            return _ours("cut", line, node.node, *(end or nodes.Const(None) for end in (cut.start, cut.stop, cut.step)))
        case nodes.Filter() | nodes.Test() | nodes.Call() if node.dyn_args or node.dyn_kwargs:
            raise _RefusedError("* and ** arguments are not available in templates", line)
        case nodes.Filter() if node.name not in _ENV.filters:
            _known(_FILTERS, node.name, "filter", line)
        case nodes.Test():
            _known(_TESTS, node.name, "test", line)
        case nodes.Call(node=nodes.Getattr(node=owner, attr=name)):
            return _ours("method", line, owner, nodes.Const(name), *node.args, kwargs=node.kwargs)
        case nodes.Call(node=nodes.Name(name=name)):
            _known(_FUNCTIONS, name, "function", line)
            return _ours(name, line, nodes.Const(None), *node.args, kwargs=node.kwargs)
        case nodes.Call():
            raise _RefusedError("only a method, namespace and range can be called", line)
    return cast(nodes.Node, node)


def _guard(node: nodes.Node, line: int = 1) -> Any:
    line = node.lineno or line
    if type(node).__name__ not in _NODES:
        raise _RefusedError(f"{type(node).__name__} is not available in templates", line)
    node = _rewrite(node, line)
    for name, part in node.iter_fields():
        if isinstance(part, list):
            part[:] = [_guard(item, line) for item in part]
        elif isinstance(part, nodes.Node):
            setattr(node, name, _guard(part, line))
    return node


class _Compiled:
    """A compiled syntax tree.

    Attributes:
        names: the names that it takes from its context.
    """

    def __init__(
        self,
        parse: Callable[[str], nodes.Template],
        source: str,
        origin: Path | str,
        scope: Collection[str] | None,
        first_line: int | None,
    ) -> None:
        self._origin, self._first_line = origin, first_line
        try:
            if len(source) > MAX_SOURCE:
                raise _RefusedError(f"longer than {MAX_SOURCE:,} characters", 1)
            tree = _guard(parse(source))
            self.names = _names(tree, scope)
            self._template = _ENV.from_string(tree)
        except Exception as error:
            raise self._error(error, getattr(error, "line", getattr(error, "lineno", None))) from error

    def _run(self, variables: Mapping[str, object]) -> tuple[str, object]:
        run, pieces, size = _Run(variables), [], 0
        token = _RUN.set(run)
        try:
            context = self._template.new_context(dict(variables), shared=True)
            stream = cast("Generator[str, None, None]", self._template.root_render_func(context))
            for piece in stream:
                size += len(piece)
                if size > MAX_OUTPUT:  # raised in there, where the line is known
                    stream.throw(_RefusedError(f"stopped: the output passed {MAX_OUTPUT // 1_000_000} MB"))
                pieces.append(piece)
        except Exception as error:
            line, trace = None, error.__traceback__
            while trace is not None:
                if trace.tb_frame.f_globals.get("__jinja_template__") is self._template:
                    line = self._template.get_corresponding_lineno(trace.tb_lineno)
                trace = trace.tb_next
            raise self._error(error, line) from error
        finally:
            _RUN.reset(token)
        return "".join(pieces), run.value

    def _error(self, error: Exception, line: int | None) -> TemplateError:
        told = getattr(error, "message", None) or (str(error.args[-1]) if error.args else type(error).__name__)
        message = " ".join(told.split())
        if isinstance(error, RecursionError | MemoryError | SyntaxError):  # the last is of the Python that Jinja made
            message, line = "the template is nested too deeply, or takes too much memory", None
        place = None if line is None or self._first_line is None else self._first_line + line - 1
        return TemplateError(self._origin, message[:400], place)


def _names(tree: nodes.Template, scope: Collection[str] | None) -> frozenset[str]:
    tracker = TrackingCodeGenerator(_ENV)
    tracker.optimizer = None  # it would run constant filters, and drop the names in branches never taken
    tracker.visit(tree)
    # Jinja takes a name that only one branch sets for one of the context; if it is missing, rendering tells.
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    used = tracker.undeclared_identifiers
    if scope is None:
        return frozenset(used - stored)
    unknown = used - stored - set(scope)
    if unknown:
        uses: Iterator[Any] = tree.find_all((nodes.Name, nodes.NSRef))
        line, name = min((use.lineno, use.name) for use in uses if use.name in unknown)
        raise _RefusedError(f"unknown name {name!r}" + suggest(name, sorted(scope), what="names in scope"), line)
    return frozenset(used & set(scope))


class Text(_Compiled):
    """A compiled template body."""

    def render(self, variables: Mapping[str, object]) -> str:
        return self._run(variables)[0]


class Expression(_Compiled):
    """A compiled expression."""

    def evaluate(self, variables: Mapping[str, object]) -> object:
        return self._run(variables)[1]


def compile_text(source: str, *, origin: Path | str, scope: Collection[str], first_line: int = 1) -> Text:
    """Compile a template body that may use the names in ``scope``; its first line is ``first_line`` of its file."""
    return Text(_parse_text, source, origin, scope, first_line)


def compile_expression(
    source: str, *, origin: Path | str, scope: Collection[str] | None, line: int | None = None
) -> Expression:
    """Compile an expression, given without {{ }}. With ``scope`` None, its names are checked when it is evaluated."""
    return Expression(_parse_expression, source, origin, scope, line)


def _parse_text(source: str) -> nodes.Template:
    opened = False
    for token in _ENV.lexer.tokenize(source):
        if opened and token.value not in _TAGS:
            tag = f"{{% {token.value} %}} is not available in templates (available: for, if, set, with)"
            raise _RefusedError(tag, token.lineno)
        opened = token.type == "block_begin"
    return Parser(_ENV, source).parse()


def _parse_expression(source: str) -> nodes.Template:
    parser = Parser(_ENV, source, state="variable")
    value = parser.parse_expression()
    if not parser.stream.eos:
        rest = parser.stream.current
        raise _RefusedError(f"unexpected {str(rest)!r} after the expression", rest.lineno)
    return nodes.Template([nodes.Output([_ours("keep", 1, value)], lineno=1)], lineno=1)
