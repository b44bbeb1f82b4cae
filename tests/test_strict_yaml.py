"""Strict YAML: plain values as YAML 1.2 reads them, and one message with the right line for everything else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import FileError
from harness.strict_yaml import MAX_CHARACTERS, Document, describe, fit, parse_mapping
from harness.tasks import Task

PATH = Path("some.yaml")


class Bounded(BaseModel, strict=True):
    """A value of each kind of bound."""

    low: Annotated[int, Field(ge=0)] = 0
    high: Annotated[int, Field(le=9)] = 0
    over: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    under: Annotated[int, Field(lt=9)] = 0
    short: Annotated[str, Field(max_length=3)] = ""
    hexadecimal: Annotated[str, Field(pattern="^[0-9a-f]+$")] = "0"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("low", -1, "low: must be at least 0, not -1"),
        ("high", 10, "high: must be at most 9, not 10"),
        ("over", 0.0, "over: must be above 0.0, not 0.0"),
        ("over", float("inf"), "over: must be a finite number, unlike inf"),
        ("under", 9, "under: must be below 9, not 9"),
        ("short", "abcd", "short: must have at most 3 characters, unlike 'abcd'"),
        ("short", "\ud83d", "short: must be text, unlike '\\ud83d'"),
        ("hexadecimal", "xyz", "hexadecimal: must have the form ^[0-9a-f]+$, unlike 'xyz'"),
    ],
)
def test_bounds_are_told_in_our_words(key: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Bounded.model_validate({key: value})
    assert describe(Bounded, caught.value.errors(include_url=False)[0]) == message


def value(text: str) -> object:
    """What ``key: text`` holds."""
    return parse_mapping(f"key: {text}", PATH).data["key"]


def refused(text: str, first_line: int = 1) -> FileError:
    with pytest.raises(FileError) as caught:
        parse_mapping(text, PATH, first_line=first_line)
    assert "\n" not in str(caught.value)
    return caught.value


# Plain values


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "y", "n", "On", "OFF"])
def test_words_that_yaml_1_1_reads_as_booleans_are_strings(word: str) -> None:
    assert value(f"[{word}]") == [word]


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("True", True), ("FALSE", False), ("false", False)])
def test_true_and_false_are_booleans(text: str, expected: bool) -> None:
    assert value(text) is expected


@pytest.mark.parametrize("text", ["", "~", "null", "NULL"])
def test_null(text: str) -> None:
    assert value(text) is None


@pytest.mark.parametrize(("text", "expected"), [("010", 10), ("-3", -3), ("+7", 7), ("0", 0), ("08", 8)])
def test_integers_are_decimal(text: str, expected: int) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize(("text", "expected"), [("1.5", 1.5), (".5", 0.5), ("-2e-3", -0.002), ("1e5", 100000.0)])
def test_floats(text: str, expected: float) -> None:
    found = value(text)
    assert (found, type(found)) == (expected, float)


@pytest.mark.parametrize(
    "text",
    ["2024-01-01", "2024-01-01T10:00:00Z", "1:30", "190:20:30", "1_000", "0x1F", "0o17", "0b11", ".inf", ".nan", "="],
)
def test_dates_sexagesimals_and_other_bases_are_strings(text: str) -> None:
    assert value(text) == text


def test_quotes_make_strings() -> None:
    assert value("""["1", 'true', "a\\nb", "null"]""") == ["1", "true", "a\nb", "null"]


def test_a_merge_key_is_an_ordinary_key() -> None:
    assert parse_mapping("<<: {a: 1}", PATH).data == {"<<": {"a": 1}}


def test_the_str_tag_makes_a_string() -> None:
    assert value("!!str 010") == "010"


def test_an_empty_text_is_an_empty_mapping() -> None:
    assert parse_mapping("# nothing but a remark\n", PATH).data == {}


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_mapping("\ufeffa: 1\n", PATH).data == {"a": 1}


# What is refused


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' appears twice"),
        ("a: {x: 1, x: 1}", 1, "'x' appears twice"),
        ("a:\n  - b: [{c: 1,\n      c: 2}]", 3, "'c' appears twice"),
        ("a: &one 1\nb: *one", 2, "aliases"),
        ("a: &a [x]\nb: [*a, *a]", 2, "aliases"),
        ("a: 1\n2: b", 2, "keys must be strings, not 2; put it in quotes"),
        ("true: b", 1, "keys must be strings, not true; put it in quotes"),
        ("a:\n  ~: b", 2, "keys must be strings, not ~; put it in quotes"),
        ("? [x, y]\n: 1", 1, "keys must be strings, not a collection"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: 'x", 1, "end of stream"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: [1, 2", 1, "expected ',' or ']'"),
        ("- a", 1, "must hold a mapping of keys to values, not a list"),
        ("word", 1, "must hold a mapping of keys to values, not a string"),
        ("a: " + "1" * 5000, 1, "number is too long"),
    ],
)
def test_refused_with_its_line(text: str, line: int, part: str) -> None:
    error = refused(text)
    assert part in str(error)
    assert error.line == line
    assert str(error).startswith(f"some.yaml:{line}: ")


@pytest.mark.parametrize(
    "tagged",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/tuple [1, 2]",
        "!mine x",
        "!!timestamp 2024-01-01",
        "!!timestamp never",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!int many",
        "!!bool maybe",
        "!!float few",
    ],
)
def test_tags_are_refused(tagged: str) -> None:
    error = refused(f"a: 1\nb: {tagged}")
    assert error.line == 2
    assert "tag" in str(error)


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b"])
def test_control_characters_are_refused(character: str) -> None:
    assert "special characters" in str(refused(f"a: 1\nb: x{character}"))


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert str(refused('a: 1\nb: ["x\\ud83d"]')) == "some.yaml:2: holds half of a surrogate pair, which is no character"
    assert value('"\\U0001f600"') == "\U0001f600"
    assert value("'\\ud83d'") == "\\ud83d"


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 2_000, "a: " + "{b: " * 2_000, pytest.param("[" * 2_000, marks=pytest.mark.slow)]
)
def test_deep_nesting_is_refused_quickly(text: str) -> None:
    begin = time.monotonic()
    assert "nested too deeply" in str(refused(text))
    assert time.monotonic() - begin < 5


def test_text_beyond_the_limit_is_refused() -> None:
    assert "1,000,001 characters" in str(refused("#" * (MAX_CHARACTERS + 1)))


# Lines


def test_lines_count_from_the_first_line_of_the_text() -> None:
    document = parse_mapping("a: 1\n\nb:\n  c: 2\nd: 3\n", PATH, first_line=5)
    assert document.lines == {"a": 5, "b": 7, "d": 9}


def test_an_error_counts_from_the_first_line_of_the_text() -> None:
    assert refused("a: 1\nb: *x", first_line=10).line == 11


# Fitting a model


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    height: int
    width: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    inner: Inner


def misfit(model: type[BaseModel], text: str, first_line: int = 1) -> str:
    with pytest.raises(FileError) as caught:
        fit(model, parse_mapping(text, PATH, first_line=first_line))
    return str(caught.value)


def test_a_fitting_document_gives_the_model() -> None:
    assert fit(Outer, parse_mapping("name: x\ninner: {height: 2}", PATH)) == Outer(name="x", inner=Inner(height=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: x\ninner: {height: 2}\nnam: y",
            "some.yaml:13: unknown key 'nam'; did you mean 'name'? (keys: name, inner)",
        ),
        (
            "name: x\ninner:\n  height: 2\n  widht: 3",
            "some.yaml:12: unknown key 'inner.widht'; did you mean 'width'? (keys: height, width)",
        ),
        ("inner: {height: 2}", "some.yaml: the key 'name' is missing"),
        ("name: x\ninner: {}", "some.yaml:12: the key 'inner.height' is missing"),
        ("inner: {height: 2}\nname: 3", "some.yaml:12: name: must be a string, not 3; put it in quotes"),
        (
            "name: x\ninner: {height: tall}",
            "some.yaml:12: inner.height: must be a whole number, not 'tall'",
        ),
        (
            "name: x\ninner: {height: true}",
            "some.yaml:12: inner.height: must be a whole number, not True",
        ),
        ("name: [a]\ninner: {height: 2}", "some.yaml:11: name: must be a string, not ['a']"),
        ("name: x\ninner: 3", "some.yaml:12: inner: must be a mapping, such as {name: value}, not 3"),
        (
            "name: 3\ninner: {height: x, widht: 3}\nmore: 1",
            "some.yaml:12: unknown key 'inner.widht'; did you mean 'width'? (keys: height, width); and line 13: unknown"
            " key 'more' (keys: name, inner); and line 11: name: must be a string, not 3; put it in quotes; and line"
            " 12: inner.height: must be a whole number, not 'x'",
        ),
        (
            "nam: x\ninner: {height: 2}\nmore: 1\ninnr: 1",
            "some.yaml:11: unknown key 'nam'; did you mean 'name'? (keys: name, inner); and line 13: unknown key"
            " 'more'; and line 14: unknown key 'innr'; did you mean 'inner'?",
        ),
        ("nam: x\ninner: {height: 2}", "some.yaml:11: unknown key 'nam'; did you mean 'name'? (keys: name, inner)"),
    ],
)
def test_a_misfit_names_file_line_key_and_choices(text: str, expected: str) -> None:
    assert misfit(Outer, text, first_line=11) == expected


def test_a_long_value_is_shortened_in_the_message() -> None:
    message = misfit(Outer, f"inner: {{height: {'x' * 500}}}\nname: a")
    assert len(message) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("splits: {repot: test}", "splits.repot: unknown value 'repot'; did you mean 'report'?"),
        (
            "rule: sun",
            "rule: unknown value 'sun'; did you mean 'sum'? (choices: sum, token, char, byte, pmi, unconditional)",
        ),
        ("source: {hubb: x}", "unknown key 'source.hubb'; did you mean 'hub'?"),
    ],
)
def test_a_wrong_choice_in_a_task_gets_a_suggestion(text: str, expected: str) -> None:
    base = {
        "name": "name: t",
        "family": "family: f",
        "source": "source: {folder: t}",
        "splits": "splits: {report: test}",
        "fields": "fields: [text]",
        "target": "target: label",
        "labels": "labels: [a, b]",
    }
    lines = {**base, text.split(":")[0]: text}
    assert expected in misfit(Task, "\n".join(lines.values()))


def test_the_document_keeps_its_path() -> None:
    assert parse_mapping("a: 1", PATH) == Document(PATH, {"a": 1}, {"a": 1})
