"""From a source to a template that can be run: its syntax tree is checked and rewritten, then Jinja compiles it.

An error, now or in a rendering, is one TemplateError with the line of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from jinja2 import nodes
from jinja2.meta import TrackingCodeGenerator
from jinja2.parser import Parser

from harness.errors import TemplateError, suggest
from harness.sandbox.functions import ENV, FILTERS, FUNCTIONS, TESTS, known
from harness.sandbox.values import ELEMENT, MAX_OUTPUT, MAX_SOURCE, RUN, RefusedError, Run, words

_TAGS = words("for else elif endfor if endif set endset with endwith")
_NODES = words(
    "Template Output TemplateData For If Assign AssignBlock With Name NSRef Const List Tuple Dict Pair Keyword CondExpr"
    " Compare Operand And Or Not Neg Pos Add Sub Mul Div FloorDiv Mod Pow Concat Getattr Getitem Filter Test Call"
)


def _ours(name: str, line: int, *args: Any, kwargs: Iterable[nodes.Keyword] = ()) -> nodes.Filter:
    return nodes.Filter(args[0], f"{name}!", list(args[1:]), list(kwargs), None, None, lineno=line)


def _rewrite(node: Any, line: int) -> nodes.Node:
    """The node that Jinja is to compile instead of this one; its children are still to be checked."""
    match node:
        case nodes.Name(name="self"):  # an object of Jinja's, whatever the scope says
            raise RefusedError("the name 'self' is not available in templates", line)
        case nodes.For(recursive=True):
            raise RefusedError("a recursive loop is not available in templates", line)
        case nodes.For():
            # A step costs what it may leave in memory: the constant text, and what the other nodes may make.
            inside = node.find_all(nodes.Node)
            cost = sum(len(part.data) if isinstance(part, nodes.TemplateData) else ELEMENT // 2 for part in inside)
            node.iter = _ours("loop", line, node.iter, nodes.Const(ELEMENT + cost))
        case nodes.AssignBlock() if not isinstance(node.target, nodes.Name) or node.filter:
            # Here Jinja does not check that `ns` in `ns.x` is a namespace: it would write into the data.
            raise RefusedError("a {% set %} block takes one plain name, and no filter", line)
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
            raise RefusedError("* and ** arguments are not available in templates", line)
        case nodes.Filter() if node.name not in ENV.filters:
            known(FILTERS, node.name, "filter", line)
        case nodes.Test():
            known(TESTS, node.name, "test", line)
        case nodes.Call(node=nodes.Getattr(node=owner, attr=name)):
            return _ours("method", line, owner, nodes.Const(name), *node.args, kwargs=node.kwargs)
        case nodes.Call(node=nodes.Name(name=name)):
            known(FUNCTIONS, name, "function", line)
            return _ours(name, line, nodes.Const(None), *node.args, kwargs=node.kwargs)
        case nodes.Call():
            raise RefusedError("only a method, namespace and range can be called", line)
    return cast(nodes.Node, node)


def _guard(node: nodes.Node, line: int = 1) -> Any:
    line = node.lineno or line
    if type(node).__name__ not in _NODES:
        raise RefusedError(f"{type(node).__name__} is not available in templates", line)
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
        elements: the elements of names that it takes by constants, as ("row", "text") of ``row.text``.
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
                raise RefusedError(f"longer than {MAX_SOURCE:,} characters", 1)
            tree = _guard(parse(source))
            self.names = _names(tree, scope)
            self.elements = frozenset(_elements(tree))
            self._template = ENV.from_string(tree)
        except Exception as error:
            raise self._error(error, getattr(error, "line", getattr(error, "lineno", None))) from error

    def _run(self, variables: Mapping[str, object]) -> tuple[str, object]:
        run, pieces, size = Run(variables), [], 0
        token = RUN.set(run)
        try:
            context = self._template.new_context(dict(variables), shared=True)
            stream = cast("Generator[str, None, None]", self._template.root_render_func(context))
            for piece in stream:
                size += len(piece)
                if size > MAX_OUTPUT:  # raised in there, where the line is known
                    stream.throw(RefusedError(f"stopped: the output passed {MAX_OUTPUT // 1_000_000} MB"))
                pieces.append(piece)
        except Exception as error:
            line, trace = None, error.__traceback__
            while trace is not None:
                if trace.tb_frame.f_globals.get("__jinja_template__") is self._template:
                    line = self._template.get_corresponding_lineno(trace.tb_lineno)
                trace = trace.tb_next
            raise self._error(error, line) from error
        finally:
            RUN.reset(token)
        return "".join(pieces), run.value

    def _error(self, error: Exception, line: int | None) -> TemplateError:
        told = getattr(error, "message", None) or (str(error.args[-1]) if error.args else type(error).__name__)
        message = re.sub("'?NoneType'?( object)?", "null", " ".join(told.split()))
        if isinstance(error, RecursionError | MemoryError | SyntaxError):  # the last is of the Python that Jinja made
            message, line = "the template is nested too deeply, or takes too much memory", None
        place = None if line is None or self._first_line is None else self._first_line + line - 1
        return TemplateError(self._origin, message[:400], place)


def _names(tree: nodes.Template, scope: Collection[str] | None) -> frozenset[str]:
    tracker = TrackingCodeGenerator(ENV)
    tracker.optimizer = None  # it would run the filters of constants here, outside any budget
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
        raise RefusedError(f"unknown name {name!r}" + suggest(name, sorted(scope), what="names in scope"), line)
    return frozenset(used & set(scope))


def _elements(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    for found in tree.find_all((nodes.Getitem, nodes.Getattr)):
        match found:
            case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=str(element))):
                yield name, element
            case nodes.Getattr(node=nodes.Name(name=name), attr=element):
                yield name, element


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
    for token in ENV.lexer.tokenize(source):
        if opened and token.value not in _TAGS:
            tag = f"{{% {token.value} %}} is not available in templates (available: for, if, set, with)"
            raise RefusedError(tag, token.lineno)
        opened = token.type == "block_begin"
    return Parser(ENV, source).parse()


def _parse_expression(source: str) -> nodes.Template:
    parser = Parser(ENV, source, state="variable")
    value = parser.parse_expression()
    if not parser.stream.eos:
        rest = parser.stream.current
        raise RefusedError(f"unexpected {str(rest)!r} after the expression", rest.lineno)
    return nodes.Template([nodes.Output([_ours("keep", 1, value)], lineno=1)], lineno=1)
