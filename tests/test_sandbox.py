"""The sandbox: what ordinary templates may do, and that hostile ones get one short error in a short time."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from harness.errors import TemplateError
from harness.sandbox import Slot, compile_expression, compile_text, values

ROW = {"a": 1, "items": [1, 2], "text": ["x", "y"], "nothing": None, "_id": "r7", "inner": {"label": "good"}}
DATA = {
    "sentence": "It was fine.",
    "review": "这家酒店很好",
    "options": ["bad", "good"],
    "answers": ["A", "B"],
    "row": ROW,
    "flag": True,
    "n": 3,
    "big": "a" * 900_000,
    "cjk": "字" * 400_000,
    "id128": 2**127,
}
FIRST_LINE = 10


def render(source: str, **more: object) -> str:
    """The text with the answer slot's mark shown as <ANSWER>."""
    answer = Slot("answer")
    variables = {**DATA, "answer": answer, **more}
    text = compile_text(source, origin="plain.jinja", scope=set(variables), first_line=FIRST_LINE).render(variables)
    return text.replace(answer.mark, "<ANSWER>")


def evaluate(source: str, scope: set[str] | None = None, variables: Mapping[str, object] = DATA) -> object:
    return compile_expression(source, origin="task.yaml", scope=scope, line=5).evaluate(variables)


def refused(source: str) -> str:
    """The message with which a template is refused, soon and in little memory."""
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert time.monotonic() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 250_000, "more than 250 MB"
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert message.startswith("plain.jinja:")
    return message


# Ordinary templates


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("Review: {{ sentence }}\nSentiment: {{ answer }}", "Review: It was fine.\nSentiment: <ANSWER>"),
        ("评论：{{ review }}\n情感：{{ answer }}", "评论：这家酒店很好\n情感：<ANSWER>"),
        ("one\n\n", "one\n"),
        ("one\r\ntwo\r\n", "one\ntwo"),
        ("{{ sentence }}\n", "It was fine."),
        ("{% raw %}{{ x }}{% endraw %}{# gone #}", "{{ x }}"),
        ("top\n{% if flag %}\n  yes\n  {% else %}\n  no\n{% endif %}\nend\n", "top\n  yes\nend"),
        (
            "{% for o in options %}\n{{ answers[loop.index0] }}. {{ o }}\n{% endfor %}\nAnswer: {{ answer }}\n",
            "A. bad\nB. good\nAnswer: <ANSWER>",
        ),
        ("{% for o in options %}{{ loop.index }}/{{ loop.length }}{{ ', ' if not loop.last }}{% endfor %}", "1/2, 2/2"),
        ("{% for o in options if o != 'bad' %}{{ loop.length }}{{ o }}{% else %}none{% endfor %}", "1good"),
        ("{% for o in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% for i in [1, 2, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }} {% endfor %}", "Truea Trueb Falsea "),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"),
        ("{% for i in range(2, 7, 2) %}{{ i }}{% endfor %}", "246"),
        ("{% for c in 'abc' %}{{ c }}-{% endfor %}", "a-b-c-"),
        ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "10"),
        ("{% set a, b = options %}{{ b }}{{ a }}", "goodbad"),
        ("{% set x %}[{{ sentence }}]{% endset %}{{ x }}{{ x|length }}", "[It was fine.]14"),
        ("{% set options = options|sort(reverse=true) %}{{ options|join(',') }}", "good,bad"),
        ("{% if flag %}{% set sep = ';' %}{% else %}{% set sep = ',' %}{% endif %}{{ sep }}", ";"),
        ("{% with a = 1, b = 'x' %}{{ a }}{{ b }}{% endwith %}", "1x"),
        ("{{ row.a }}{{ row.items[1] }}{{ row['text'][0] }}{{ row.text.0 }}", "12xx"),
        ("{{ row._id }}{{ row.inner.label }}", "r7good"),
        ("{{ row.get('a') }} {{ row.get('zzz', 'no') }} {{ row.keys()|length }} {{ row.values()|first }}", "1 no 6 1"),
        ("{{ row.zzz|default('none') }} {{ row.nothing|default('', true) }} {{ row.zzz is defined }}", "none  False"),
        ("{{ options[5]|default('?') }}{{ []|first|default('!') }}", "?!"),
        ("{{ n % 2 }} {{ n ** 2 }} {{ n // 2 }} {{ 7 / 2 }} {{ -n }} {{ n - 1.5 }}", "1 9 1 3.5 -3 1.5"),
        ("{{ 'ab' * 2 }}{{ ([0] * 2)|join }}{{ ([1] + [2])|join }}", "abab0012"),
        ("{{ 1 < n <= 3 }} {{ 'fine' in sentence }} {{ 'z' not in row }}", "True True True"),
        ("{{ n == 3 and not flag }} {{ flag or n }}", "False True"),
        ("{{ sentence ~ n ~ '!' }}{{ sentence + '!' }}", "It was fine.3!It was fine.!"),
        ("{{ review[:2] }}{{ review[-1] }}{{ review[::-1] }}{{ options[1:]|join }}", "这家好好很店酒家这good"),
        ("{{ sentence.lower().replace('fine', 'bad').rstrip('.').split(' ')[-1] }}", "bad"),
        ("{{ '-'.join(options) }}{{ sentence.startswith(('It', 'At')) }}{{ options.index('good') }}", "bad-goodTrue1"),
        ("{{ ' x '|trim }}{{ 'a b'|title }}{{ 'a'|center(5) }}|", "xA B  a  |"),
        ("{{ 'abcdef ghi'|truncate(8, leeway=0) }}{{ '.a.'|trim('.') }}", "abcde...a"),
        ("{{ options|map('upper')|join(' ') }}{{ options|map('replace', 'd', 't')|last }}", "BAD GOODgoot"),
        ("{{ [row, row]|map(attribute='inner.label')|join(',') }}", "good,good"),
        ("{{ [{'l': 'A', 't': 1}, {'l': 'B', 't': 2}]|selectattr('l', 'eq', 'B')|map(attribute='t')|first }}", "2"),
        ("{{ [1, 2, 3]|select('odd')|join }}{{ [0, 1]|reject|join }}", "130"),
        ("{{ [3, 1, 2]|sort|join }}{{ [1, 2]|sum }}{{ [1, 5]|max }}{{ [1, 1, 2]|unique|join }}", "1233512"),
        ("{{ 'ab'|reverse }}{{ [1, 2]|reverse|join }}{{ {'b': 1, 'a': 2}|dictsort|first|join }}", "ba21a2"),
        ("{{ [1, 2, 3]|batch(2)|length }}{{ [1, 2, 3]|slice(2)|length }}", "22"),
        ("{{ [row, row]|sort(attribute='a')|length }}{{ [row, row]|sum(attribute='a') }}", "22"),
        ("{{ '12'|int + 1 }} {{ '1.5'|float }} {{ 3.7|round|int }} {{ -3|abs }} {{ 'a b'|wordcount }}", "13 1.5 4 3 2"),
        ("{{ {'é': [1, none, '<&']}|tojson }}", '{"é": [1, null, "<&"]}'),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
        ("{{ n is odd }} {{ n is divisibleby 3 }} {{ n is number }} {{ n is in [3] }}", "True True True True"),
        ("{{ 5|default(99999) }}{{ n is eq(20000) }}{{ [20240101].index(20240101) }}", "5False0"),  # no sizes
        ("{{ id128 }}", str(2**127)),
        ("{{ big }}", "a" * 900_000),
    ],
)
def test_an_ordinary_template_renders_exactly(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ answer }}",
        "{% set x = answer %}{{ x }}",
        "{{ answer if flag else '' }}",
        "{% set x %}{{ answer }}{% endset %}{{ x }}",
        "{% with x = answer %}{{ x }}{% endwith %}",
        "{% set ns = namespace(x=answer) %}{{ ns.x }}",
        "{{ false or answer }}",
    ],
)
def test_a_slot_can_be_written_out(source: str) -> None:
    assert render(source) == "<ANSWER>"


def test_a_slot_is_random_and_shows_only_its_name() -> None:
    one, two = Slot("answer"), Slot("answer")
    assert one.mark != two.mark
    assert len(one.mark) >= 32
    assert repr(one) == "Slot('answer')"


def test_names_are_those_taken_from_the_context() -> None:
    scope = {"sentence", "options", "answer"}
    source = "{% for x in options %}{{ x }}{{ loop.index }}{% endfor %}{{ answer }}"
    text = compile_text(source, origin="t", scope=scope)
    assert text.names == {"options", "answer"}
    assert compile_text("{{ dict }}{{ range }}", origin="t", scope={"dict", "range"}).names == {"dict", "range"}
    assert compile_expression("choices.text[n] ~ range(3)|join", origin="t", scope=None).names == {"choices", "n"}


def test_a_template_can_be_rendered_again_and_changes_no_data() -> None:
    before = copy.deepcopy(DATA)
    text = compile_text("{% set x = options + ['c'] %}{{ x|sort|join }}{{ sentence }}", origin="t", scope=set(DATA))
    assert text.render(DATA) == text.render(DATA) == "badcgoodIt was fine."
    assert before == DATA


# Expressions


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("choices.label.index(answerKey)", 2),
        ("choices.text", ["w", "x", "y", "z"]),
        ("choices['text'][0]", "w"),
        ("label", 1),
        ("label == 1", True),
        ("['no', 'yes'][label]", "yes"),
        ("{'a': label, 'b': [1.5, none]}", {"a": 1, "b": [1.5, None]}),
        ("premise ~ ' ' ~ review", "p 好"),
        ("review\n", "好"),
        ("missing|default('x')", "x"),
        ("missing is defined", False),
        ("choices.label|map('lower')", ["a", "b", "c", "d"]),
        ("label if label in [0, 1] else none", 1),
        ("none if label == 1 else 0", None),
    ],
)
def test_an_expression_gives_a_native_value(source: str, value: object) -> None:
    choices = {"label": list("ABCD"), "text": list("wxyz")}
    row = {"choices": choices, "answerKey": "C", "label": 1, "premise": "p", "review": "好"}
    result = evaluate(source, variables=row)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("source", "scope", "message"),
    [
        ("sentense", {"sentence", "n"}, "unknown name 'sentense'; did you mean 'sentence'? (names in scope: n, s"),
        ("sentense", None, "unknown name 'sentense'; did you mean 'sentence'? (names in scope: "),
        ("row.txet", None, "no field 'txet'; did you mean 'text'? (fields: a, items, "),
        ("n +", None, "unexpected 'end of template'"),
        ("n n", None, "unexpected 'n' after the expression"),
        ("{{ n }}", None, "expected token ':'"),
        ("", None, "unexpected 'end of template'"),
        ("self", None, "the name 'self' is not available"),
        ("''.__class__", None, "attribute '__class__' of a str is not available"),
        ("namespace(a=1)", None, "a Namespace cannot be used here"),
        ("options[7]", None, "this list has no element 7"),
        ("'x' * 10**9", None, "stopped: a value passed 1,000,000 characters"),
    ],
)
def test_a_wrong_expression_is_one_error_at_its_line(source: str, scope: set[str] | None, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        evaluate(source, scope)
    assert str(caught.value).startswith(f"task.yaml:5: {message}")
    assert caught.value.line == 5


def test_an_expression_without_a_line_gives_none() -> None:
    with pytest.raises(TemplateError, match=r"^task\.yaml: no field 'b'"):
        compile_expression("row.b", origin="task.yaml", scope=None).evaluate(DATA)


# Errors


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("a\n\n{{ sentense }}", 12, "unknown name 'sentense'; did you mean 'sentence'? (names in scope: answer, "),
        ("a\n{% for o in options %}\n{{ o }}\n{{ row.zzz }}\n{% endfor %}", 13, "no field 'zzz' (fields: a, items, "),
        ("{{ row.txet }}", 10, "no field 'txet'; did you mean 'text'? (fields: a, items, "),
        ("\n{% macro f() %}", 11, "{% macro %} is not available in templates (available: for, if, set, with)"),
        ("\n\n{{ sentence|trimm }}", 12, "unknown filter 'trimm'; did you mean 'trim'? (filters: abs, batch, "),
        ("{{ n is oddd }}", 10, "unknown test 'oddd'; did you mean 'odd'? (tests: "),
        ("{{ joiner() }}", 10, "unknown function 'joiner' (functions: namespace, range)"),
        ("{{ sentence.uper() }}", 10, "method 'uper' of a str is not available; did you mean 'upper'? (methods: "),
        ("{{ sentence.upper }}", 10, "attribute 'upper' of a str is not available; write upper(...) to call it"),
        ("\n{% if flag %}", 11, "Unexpected end of template."),
        ("\n{{ sentence", 11, "unexpected end of template"),
        ("\n{{ row.nothing }}", 11, "the value is None, which would be written as that word"),
        ("{{ sentence ~ row.nothing }}", 10, "the value is None"),
        ("{{ [none]|join }}", 10, "the value is None"),
        ("{{ row.nothing.strip() }}", 10, "method 'strip' of a null is not available"),
        ("{{ row.nothing|length }}", 10, "filter 'length': object of type null has no len()"),
        ("{% for x in row.nothing %}{% endfor %}", 10, "null is not iterable"),
        ("{{ options }}", 10, "a list cannot be written out as it is: use join, a loop or tojson"),
        ("{{ [options]|join }}", 10, "a list cannot be written out as it is"),
        ("{{ row }}", 10, "a dict cannot be written out as it is"),
        ("{% if not flag %}{% set x = 1 %}{% endif %}{{ x }}", 10, "unknown name 'x'"),
        ("{{ loop.index }}", 10, "unknown name 'loop'"),
        ("{{ zzz if false else 1 }}", 10, "unknown name 'zzz'"),
        ("{% if false %}\n{{ lipsum }}{% endif %}", 11, "unknown name 'lipsum'"),
        ("{% for o in options recursive %}{% endfor %}", 10, "a recursive loop is not available in templates"),
        ("{{ options[1:2, 3] }}", 10, "Slice is not available in templates"),
        ("{{ 1 / 0 }}", 10, "division by zero"),
        ("{{ [[1]]|sum(start=[])|length }}", 10, "filter 'sum': a list is not a number"),
        ("{{ 'a' < 1 }}", 10, "'<' not supported between"),
        ("{{ options|batch }}", 10, "filter 'batch': missing 1 required positional argument: 'linecount'"),
        ("{{ answer|upper }}", 10, "'answer' can only be written out as {{ answer }}: no filter, test, compar"),
    ],
)
def test_an_error_names_its_line_and_the_choices(source: str, line: int, message: str) -> None:
    place, _, text = refused(source).partition(": ")
    assert place == f"plain.jinja:{line}"
    assert text.startswith(message)


# Hostile templates

ADD = "{% set ns = namespace(x=START) %}{% for i in range(9999) %}{% set ns.x = STEP %}{% endfor %}"
NEST = ADD.replace("START", "(1,)").replace("STEP", "(" * 30 + "ns.x" + ",)" * 30)
DOUBLE = "{% set ns = namespace(x=[1]) %}{% for i in range(31) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
LOOPS = "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}"
ENDS = "{% endfor %}" * 3

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ sentence|attr('__class__') }}",
    "{{ sentence['__class__'] }}",
    "{{ sentence['__cla' ~ 'ss__'] }}",
    "{{ row.__class__ }}",
    "{{ options.__class__ }}",
    "{{ n.__class__ }}",
    "{{ flag.real }}",
    "{{ '{0.__class__}'.format(n) }}",
    "{{ '{x}'.format_map(row) }}",
    "{{ '{0.__class__}'|format(n) }}",
    "{{ '%s'|format(n) }}",
    "{{ '%s' % n }}",
    "{{ options|map(attribute='__class__')|list }}",
    "{{ options|map('attr', '__class__')|list }}",
    "{{ options|map('method!', 'upper')|list }}",
    "{{ options|map('loop!', 1)|list }}",
    "{{ options|map(attribute='upper')|list }}",
    "{{ options|map }}",
    "{{ options|select('callable')|list }}",
    "{{ options|selectattr('__class__')|list }}",
    "{{ options|sort(attribute='__class__')|join }}",
    "{{ options|unique(attribute='__class__')|join }}",
    "{{ options|max(attribute='__class__.__mro__') }}",
    "{{ options|min(attribute='__class__') }}",
    "{{ options|sum(attribute='__class__') }}",
    "{{ options|join(',', '__class__') }}",
    "{{ options|groupby('__class__') }}",
    "{{ options|pprint }}",
    "{{ sentence|safe }}",
    "{{ sentence|escape }}",
    "{{ sentence|urlize }}",
    "{{ options|random }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{% set self = 1 %}{{ self }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ joiner }}",
    "{{ namespace.__init__ }}",
    "{{ range.__class__ }}",
    "{{ dict(a=1) }}",
    "{{ request }}",
    "{{ config }}",
    "{{ context }}",
    "{{ environment }}",
    "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop._iterator }}{% endfor %}",
    "{% for i in [1] %}{{ loop['_iterator'] }}{% endfor %}",
    "{% for i in [1] %}{{ loop }}{% endfor %}",
    "{% for i in [1] %}{{ loop|list }}{% endfor %}",
    "{% for i in [1] %}{% set a, b = loop %}{{ a }}{% endfor %}",
    "{% for i in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for i in [1] %}{{ loop([1]) }}{% endfor %}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace() %}{{ ns.__class__ }}",
    "{% set ns = namespace(__class__=1) %}{{ ns.__class__ }}",
    "{% set ns = namespace() %}{{ ns._Namespace__attrs }}",
    "{% set ns = namespace() %}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns.x == ns }}",
    "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x|length }}",
    "{% set ns = namespace() %}{{ ns.missing }}",
    "{% set row.a = 1 %}",
    "{% set row.a %}written into the data{% endset %}",
    "{{ options.append(1) }}",
    "{{ row.update({'a': 2}) }}",
    "{{ row.pop('a') }}",
    "{{ sentence.encode() }}",
    "{{ ''.join }}",
    "{{ row['get']('a') }}",
    "{{ (options or 1)('a') }}",
    "{{ range(*options) }}",
    "{{ options|join(*[',']) }}",
    "{{ options|join(**{'d': ','}) }}",
    "{{ options[1:2, 3] }}",
    "{{ row[options] }}",
    "{{ row[1:2] }}",
    "{{ undefined_thing.x }}",
    "{% for k in ns %}{% endfor %}{% set ns = 1 %}",
    "{% for i in n %}{% endfor %}",
    "{% set a, b = n %}",
    "{% import 'os' as os %}",
    "{% from 'os' import path %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'base' %}",
    "{% block x %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x | upper %}x{% endset %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% call f() %}{% endcall %}",
    "{% autoescape true %}x{% endautoescape %}",
    "{% print sentence %}",
    "{% do options.append(1) %}",
    "{% trans %}x{% endtrans %}",
    "{% for i in [1] %}{% break %}{% endfor %}",
    "{% debug %}",
]

BOMBS = [
    "{{ 'x' * 100000000 }}",
    "{{ 10**9 * 'x' }}",
    "{{ [0] * 10**9 }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 2 ** 65 }}",
    "{{ 9 ** 20 * 9 ** 20 }}",
    "{{ 2.0 ** 9999 }}",
    "{{ (-8) ** 0.5 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%1000000000d' is odd }}",
    "{{ '%1000000000d' is divisibleby(1) }}",
    "{{ ['%1000000000d']|select('even')|list }}",
    "{{ id128 + 1 }}",
    "{{ 1e999 }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'.rjust(width=10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ range(10**9) }}",
    "{{ range(10**9)|length }}",
    "{{ [1]|batch(10**9, 'x') }}",
    "{{ [1]|batch(9999, big[:9000])|length }}",
    "{{ [1]|slice(10**9) }}",
    "{{ [1]|tojson(indent=10000) }}",
    "{{ ([[]] * 99999)|tojson(indent=8) }}",
    "{{ 'abc'|truncate(10**12) }}",
    "{{ 'abc'|truncate(-5) }}",
    "{{ ('a\n' * 300000)|indent(9999) }}",
    "{{ ('a\n' * 300000)|indent(big) }}",
    "{{ ('\x0b' * 300000)|indent(9999, true, true) }}",
    "{{ ('f' * 900000)|int(0, 16) }}",
    "{{ 2|round(10**9) }}",
    "{{ ([[1]] * 60000)|sum(start=[]) }}",
    "{{ big.replace('a', big) }}",
    "{{ big|replace('a', 'bb') }}",
    "{{ big.replace('', 'bb') }}",
    "{{ range(9999)|join(big) }}",
    "{{ big.join(range(9999)) }}",
    "{{ big|list|length }}",
    "{{ ('字字 ' * 300000).split()|length }}",
    "{{ ('ΐ' * 900000).upper()|length }}",
    "{{ big.strip('b' * 500000 ~ 'a') }}",
    "{{ big|trim('b' * 500000 ~ 'a') }}",
    "{{ big.rsplit('a' * 200000 ~ 'b' ~ 'a' * 200000) }}",
    "{{ big.rpartition('a' * 200000 ~ 'b' ~ 'a' * 200000) }}",
    "{{ ([big] * 99999).count(big) }}",
    "{{ big" + " ~ big" * 5000 + " }}",
    "{{ big + big }}",
    "{{ big }}{{ big }}",
    pytest.param("{{ (['a'] * 60000)|map(attribute='0' ~ '.0' * 3000)|join }}", marks=pytest.mark.slow),
    "{{ (['a'] * 60000)|sort(attribute='0' ~ ',0' * 3000)|join }}",
    LOOPS + ENDS,
    LOOPS + "some text" + ENDS,
    LOOPS + "{{ i }}" + ENDS,
    LOOPS + "{% set x = i * j * k %}" + ENDS,
    "{% set x %}" + LOOPS + "some text that is kept" + ENDS + "{% endset %}",
    "{% set x %}" + LOOPS + "{% if loop.length %}x{% endif %}" + ENDS + "{% endset %}",
    "{% for i in range(9999) %}{{ cjk[:9999] }}{% endfor %}",
    *(ADD.replace("START", "'a'").replace("STEP", step) for step in ("ns.x ~ ns.x", "ns.x + ns.x", "ns.x * 9")),
    *(ADD.replace("START", "[1]").replace("STEP", step) for step in ("ns.x + ns.x", "[ns.x, cjk[i:]]", "ns.x[:] * 2")),
    pytest.param(ADD.replace("START", "0").replace("STEP", "[ns.x," + "[]," * 15000 + "]"), marks=pytest.mark.slow),
    ADD.replace("START", "0").replace("STEP", "namespace(x=" * 9 + "1" + ")" * 9),
    "{% set y = 'a' %}" + "{% set y %}{{ y }}{{ y }}{% endset %}" * 40,
    *(DOUBLE + use for use in ("{{ ns.x|length }}", "{{ ns.x == ns.x }}", "{% for i in ns.x %}{% endfor %}")),
    *(NEST + use for use in ("{{ row.get(ns.x) }}", "{{ ns.x == ns.x }}", "{{ ns.x }}", "{{ ns.x|tojson }}")),
]
DEEP = [
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "[" * 200 + "]" * 200 + " }}",
    "{{ " + "+".join("1" * 20000) + " }}",
    "{{ n" + "|abs" * 10000 + " }}",
    "{{ n" + ".a" * 20000 + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{% if n %}" * 200 + "{% endif %}" * 200,
    "{% for i in [1] %}" * 25 + "{% endfor %}" * 25,
    "{% if n %}a" + "{% elif n %}b" * 3000 + "{% endif %}",
    "{{" * 20000,
]
LONG = [
    "x" * 50001,
    "{{ " + "a" * 49000 + " }}",
    "{{ row['" + "a" * 49000 + "'] }}",
    "{{ {'" + "a" * 20000 + "': 1}['" + "a" * 20000 + "b'] }}",
]

SLOT_USES = [
    "answer|upper",
    "answer|length",
    "answer|default('x')",
    "answer|string",
    "answer|tojson",
    "answer|list",
    "answer ~ ''",
    "'' ~ answer",
    "answer + ''",
    "'x' * answer",
    "-answer",
    "answer == 'x'",
    "'x' != answer",
    "answer == answer",
    "answer < answer",
    "1 < 2 < answer",
    "answer in ['a']",
    "'a' in answer",
    "'a' in [answer]",
    "answer is string",
    "answer is defined",
    "answer is none",
    "n is eq(answer)",
    "answer and 1",
    "not answer",
    "1 if answer else 2",
    "answer[0]",
    "answer[:1]",
    "answer.mark",
    "answer.name",
    "answer.__class__",
    "answer['mark']",
    "answer.upper()",
    "answer()",
    "[answer]",
    "[answer]|join",
    "[answer]|length",
    "[answer]|first",
    "[[(answer, 1)]]|length",
    "{'a': answer}",
    "{'a': answer}|tojson",
    "{answer: 1}",
    "row[answer]",
    "options[answer]",
    "row.get(answer)",
    "row.get('zzz', answer)",
    "options.index(answer)",
    "options|default(answer)",
    "sentence|replace('fine', answer)",
    "sentence.replace('fine', answer)",
    "','.join([answer])",
    "sentence.startswith(answer)",
    "range(answer)",
    "options|batch(3, answer)",
    "[options, [answer]]|map('join')|list",
    "[{'a': answer}]|map(attribute='a')|list",
]
SLOT_BLOCKS = [
    "{% for c in answer %}{% endfor %}",
    "{% for x in [answer] %}{% endfor %}",
    "{% set a, b = answer %}",
    "{% with a, b = answer %}{% endwith %}",
    "{% if answer %}{% endif %}",
    "{% for i in [1] %}{{ loop.cycle(answer) }}{% endfor %}",
    "{% for i in [1] %}{{ loop.changed(answer) }}{% endfor %}",
    "{% set ns = namespace(x=answer) %}{{ ns.x|upper }}",
]
WRITTEN_USES = ["x|upper", "x[1]", "x[:9]", "x == 'a'", "'a' in x", "x|list", "x ~ 'a'", "x.split()", "[x]|join"]


@pytest.mark.parametrize("source", ESCAPES)
def test_an_escape_is_refused(source: str) -> None:
    before = copy.deepcopy(DATA)
    refused(source)
    assert before == DATA


@pytest.mark.parametrize("source", [*BOMBS, *LONG], ids=lambda source: source[:60])
def test_a_bomb_is_stopped_before_it_goes_off(source: str) -> None:
    assert "memory" not in refused(source)


@pytest.mark.parametrize("source", DEEP, ids=lambda source: source[:60])
def test_deep_nesting_is_refused(source: str) -> None:
    assert "nested too deeply" in refused(source)


@pytest.mark.parametrize("use", ["{{ {ns.x: 1} }}", "{{ row[ns.x] }}", "{{ [ns.x]|unique }}", "{{ ns.x in row }}"])
def test_a_deep_value_never_reaches_the_hash_function(use: str) -> None:
    """Python would overflow its C stack and crash."""
    assert "a tuple is nested more than 32 deep" in refused(NEST + use)


@pytest.mark.parametrize("source", [*(f"{{{{ {use} }}}}" for use in SLOT_USES), *SLOT_BLOCKS])
def test_nothing_but_writing_can_be_done_with_a_slot(source: str) -> None:
    message = refused(source)
    assert "'answer' can only be written out as {{ answer }}" in message or "unknown function 'answer'" in message


@pytest.mark.parametrize("use", WRITTEN_USES)
def test_text_in_which_a_slot_was_written_is_opaque_too(use: str) -> None:
    assert "a slot was written out" in refused("{% set x %}[{{ answer }}]{% endset %}{{ " + use + " }}")


def test_the_mark_of_a_slot_cannot_be_taken_apart() -> None:
    letters = ", ".join(f"v{i}" for i in range(len(Slot("answer").mark)))
    for use in (
        "{% for c in x %}{{ c }}{% endfor %}",
        f"{{% for {letters} in [x] %}}{{{{ v1 }}}}{{% endfor %}}",
        f"{{% set {letters} = x %}}{{{{ v1 }}}}",
        f"{{% with {letters} = x %}}{{{{ v1 }}}}{{% endwith %}}",
    ):
        assert "a slot was written out" in refused("{% set x %}{{ answer }}{% endset %}" + use)


def test_a_rendering_is_stopped_at_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "stopped: the output passed 1 MB" in refused("{% for i in range(9999) %}{{ big[:9999] }}{% endfor %}")
    assert "stopped: more than 4,000,000 characters made" in refused(LOOPS + ENDS)
    monkeypatch.setattr(values, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(values, "MAX_WORK", 10**12)
    assert refused("a\n" + LOOPS + ENDS) == "plain.jinja:11: stopped after 0.05 s"


def test_a_limit_met_in_one_rendering_leaves_the_next_its_own_budget() -> None:
    refused(LOOPS + ENDS)
    assert render("{{ sentence }}") == "It was fine."


def test_an_interrupt_passes_through() -> None:
    class Interrupted(Mapping[str, object]):
        def __getitem__(self, name: str) -> Any:
            raise KeyboardInterrupt

        def __iter__(self) -> Iterator[str]:
            return iter(["sentence"])

        def __len__(self) -> int:
            return 1

    with pytest.raises(KeyboardInterrupt):
        compile_text("{{ sentence }}", origin="t", scope={"sentence"}).render(Interrupted())
