"""Encoding: where the scored span begins, on tokenizers of every kind in use, and what goes into a request's key."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from conftest import Project, made_up_text, train_bpe
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.encode import EncodedAnswer, EncodedCell, Encoder
from harness.errors import ModelError, UsageError
from harness.models import ModelFiles, ModelSpec
from harness.records import Answer, Example, Prompt, Segment
from harness.render import Renderer
from harness.tasks import load_task
from harness.templates import load_template
from harness.tokenizer import PretrainedTokenizer

BOS, EOS, UNKNOWN, END = "<s>", "</s>", "<unk>", "<|endoftext|>"


# Tokenizers


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2's: one special token, which it never adds."""
    return train_bpe()


def byte_level_with_space() -> PreTrainedTokenizerFast:
    """As RoBERTa's and OPT's: a space put before the text, and offsets trimmed, so that some have no width."""
    backend = train_bpe().backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


@cache
def _pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A sentencepiece-like vocabulary with all bytes, and its merges."""
    trained = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[UNKNOWN, BOS, EOS], show_progress=False)
    trained.train_from_iterator([f" {text}" for text in made_up_text(200)], trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    return vocabulary, [tuple(pair) for pair in model["merges"]]


def _byte_fallback() -> Tokenizer:
    vocabulary, merges = _pieces()
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    backend.add_special_tokens([UNKNOWN, BOS, EOS])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = adds(f"{BOS} $A", {BOS: 1})
    return backend


def adds(single: str, special: dict[str, int]) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single=single, special_tokens=list(special.items()))


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2's: byte fallback, a space put before the text by its normaliser, and a BOS."""
    backend = _byte_fallback()
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)


def metaspace() -> PreTrainedTokenizerFast:
    """As Mistral's: the same with a pre-tokenizer."""
    backend = _byte_fallback()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)


def appends_eos() -> PreTrainedTokenizerFast:
    backend = _byte_fallback()
    backend.post_processor = adds(f"$A {EOS}", {EOS: 2})
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS)


def adds_bos_and_eos() -> PreTrainedTokenizerFast:
    backend = _byte_fallback()
    backend.post_processor = adds(f"{BOS} $A {EOS}", {BOS: 1, EOS: 2})
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)


def without_specials() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=letters().backend_tokenizer)


def letters(*merges: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """One token per letter, but for merges such as "b+c", the first of which wins."""
    vocabulary = {piece: i for i, piece in enumerate([BOS, *"abcdefghijklmnopqrstuvwxyz "])}
    pairs = [tuple(merge.split("+")) for merge in merges]
    for left, right in pairs:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, pairs))
    backend.add_special_tokens([AddedToken(BOS, special=True)])
    if bos:
        backend.post_processor = adds(f"{BOS} $A", {BOS: 0})
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS)


KINDS = [byte_level, byte_level_with_space, sentencepiece, metaspace, appends_eos, adds_bos_and_eos]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PretrainedTokenizer]:
    """Loads a tokenizer as a run does, from a folder it was saved in."""
    known: dict[tuple[object, str], PretrainedTokenizer] = {}

    def load(make: Callable[[], PreTrainedTokenizerFast] | PreTrainedTokenizerFast, bos: str = "auto") -> Any:
        if (make, bos) not in known:
            folder = tmp_path_factory.mktemp("tokenizer")
            made = make() if not isinstance(make, PreTrainedTokenizerFast) else make
            made.save_pretrained(folder)
            known[make, bos] = from_folder(folder, bos)
        return known[make, bos]

    return load


def from_folder(folder: Path, bos: Any = "auto") -> PretrainedTokenizer:
    return PretrainedTokenizer(ModelFiles(ModelSpec(str(folder), bos=bos), folder, None, "f", "float32", "cpu"))


Load = Callable[..., PretrainedTokenizer]


def prompt(context: str, *scored: str, given: str = "") -> Prompt:
    """A prompt without demonstrations."""
    answers = tuple(Answer(label, word, given, word) for label, word in enumerate(scored))
    return Prompt("item", (Segment("query", "prefix", context),), answers, ())


def encode(tokenizer: PretrainedTokenizer, asked: Prompt) -> list[EncodedAnswer]:
    return Encoder(tokenizer, scope="", max_inputs=None).answers([asked])[0]


def spans(tokenizer: PretrainedTokenizer, asked: Prompt) -> list[tuple[str, str]]:
    """For each answer the tokens it is conditioned on and those that are scored, with bars between tokens."""
    return [
        ("|".join(tokenizer.pieces(found.ids[: found.start])), "|".join(tokenizer.pieces(found.ids[found.start :])))
        for found in encode(tokenizer, asked)
    ]


# Where the span begins


@pytest.mark.parametrize(
    ("merges", "context", "answers", "expected", "straddling"),
    [
        pytest.param((), "ab", "c d", ["a|b:c", "a|b:d"], 0, id="no merge"),
        pytest.param((), "ab", "cd ce", ["a|b:c|d", "a|b:c|e"], 0, id="answers that begin alike are scored whole"),
        pytest.param((), "ab", "c cd", ["a|b:c", "a|b:c|d"], 0, id="an answer that begins another"),
        pytest.param(("c+d",), "ab", "c cd", ["a|b:c", "a|b:cd"], 0, id="the same, merged"),
        pytest.param(("b+c",), "aab", "cd dd", ["a|a:bc|d", "a|a:b|d|d"], 1, id="one answer merges with the context"),
        pytest.param(("b+c", "b+d"), "aab", "c d", ["a|a:bc", "a|a:bd"], 1, id="both do"),
        pytest.param(("b+c", "a+b", "ab+d"), "xab", "d c e", ["x:abd", "x:a|bc", "x:ab|e"], 1, id="one of three does"),
        pytest.param(("b+c", "a+bc"), "xab", "c d", ["x:abc", "x:a|b|d"], 1, id="with several tokens of it"),
        pytest.param(
            ("b+c", "a+b"), "xab", "c d", ["x:a|bc", "x:ab|d"], 1, id="a merge cuts the context differently before it"
        ),
        pytest.param(("b+c",), "b", "c d", [":bc", ":b|d"], 1, id="with the whole context"),
        pytest.param((), "ab  ", "c d", ["a|b: | |c", "a|b: | |d"], 0, id="trailing spaces go with the answer"),
        pytest.param((" +c",), "ab ", "c d", ["a|b: c", "a|b: |d"], 0, id="and may merge with it"),
        pytest.param(("b+ ",), "ab ", "c d", ["a:b |c", "a:b |d"], 1, id="or with the context"),
        pytest.param((), "a b", "c d", ["a| |b:c", "a| |b:d"], 0, id="inner spaces do not"),
        pytest.param(("b+c",), "ab", "c", ["a:bc"], 1, id="a single answer"),
    ],
)
def test_all_answers_are_scored_from_the_first_token_that_holds_some_of_any_answer(
    merges: tuple[str, ...], context: str, answers: str, expected: list[str], straddling: int, loaded: Load
) -> None:
    tokenizer = loaded(letters(*merges, bos=True))
    asked = prompt(context, *answers.split(" "))
    assert spans(tokenizer, asked) == [
        ((BOS + "|" + before).rstrip("|"), after) for before, after in (row.split(":") for row in expected)
    ]
    assert Encoder(tokenizer, scope="", max_inputs=None).cell([asked])[0].straddling == straddling


@pytest.mark.parametrize(
    ("kind", "context", "answer", "expected"),
    [
        (byte_level, "Mood:", " good", ("Mood:", " good")),
        (byte_level, "Mood: ", "good", ("Mood:", " good")),
        (byte_level, "Mood:\n", "good", ("Mood:", "\ngood")),
        (byte_level, "Mood: \n\n ", "good", ("Mood:", " \n\n good")),
        (byte_level, "情感：", "好的", ("情感：", "好的")),
        (byte_level_with_space, "Mood: ", "good", (" Mood:", " good")),
        (byte_level_with_space, "情感：", "好的", (" 情感：", "好的")),
        (sentencepiece, "Mood: ", "good", (f"{BOS} Mood:", " good")),
        (sentencepiece, "情感：", "好的", (f"{BOS} 情感：", "好的")),
        (sentencepiece, "情感： ", "好的", (f"{BOS} 情感：", " 好的")),
        (metaspace, "Mood: ", "good", (f"{BOS} Mood:", " good")),
        (metaspace, "Mood:\u3000", "好", (f"{BOS} Mood:", "\u3000好")),
        (appends_eos, "Mood: ", "good", ("Mood:", " good")),
        (adds_bos_and_eos, "Mood: ", "good", (f"{BOS}Mood:", " good")),
    ],
)
def test_the_text_is_cut_where_the_answer_and_the_space_before_it_begin(
    kind: Callable[[], PreTrainedTokenizerFast], context: str, answer: str, expected: tuple[str, str], loaded: Load
) -> None:
    (found,) = encode(loaded(kind), prompt(context, answer))
    assert (text_of(kind, found.ids[: found.start]), text_of(kind, found.ids[found.start :])) == expected


def text_of(kind: Callable[[], PreTrainedTokenizerFast], ids: tuple[int, ...]) -> str:
    return str(_decoding(kind).decode(list(ids), skip_special_tokens=False))


@cache
def _decoding(kind: Callable[[], PreTrainedTokenizerFast]) -> Tokenizer:
    """A tokenizer that decodes every token as it stands, the space put before the text as well."""
    backend = kind().backend_tokenizer
    if kind not in (byte_level, byte_level_with_space):
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def test_a_token_that_holds_the_end_of_one_character_and_the_start_of_the_next_is_scored(loaded: Load) -> None:
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ((spelled, _),) = cut.pre_tokenize_str("电影")  # one letter for each of their six bytes
    first, middle, last = spelled[0], spelled[1:3], spelled[3:]
    pieces = [END, *sorted(pre_tokenizers.ByteLevel.alphabet()), middle, middle + last[0]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, [(middle[0], middle[1]), (middle, last[0])]))
    backend.pre_tokenizer = cut
    tokenizer = loaded(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END))
    assert spans(tokenizer, prompt("电", "影")) == [(first, "|".join([middle + last[0], last[1], last[2]]))]
    assert encode(tokenizer, prompt("电", "影"))[0].straddles


def test_answers_of_bytes_alone_begin_at_their_first_byte(loaded: Load) -> None:
    """The bytes of one character share its offsets; the last byte of the context must not be taken for the answer's."""
    assert spans(loaded(sentencepiece), prompt("好", "的", "地")) == [
        ("<s>|▁|<0xE5>|<0xA5>|<0xBD>", "<0xE7>|<0x9A>|<0x84>"),
        ("<s>|▁|<0xE5>|<0xA5>|<0xBD>", "<0xE5>|<0x9C>|<0xB0>"),
    ]


WORDS = ["good", "bad", "The ", " film", " ", "\n", "\n\n", "\t", ":", "7", "é", "e\u0301"]
CHINESE = ["好", "电", "影", "房间", "，", "\u3000", "🙂"]
TEXT = st.lists(st.sampled_from(WORDS + CHINESE), max_size=5).map("".join)


@settings(max_examples=300, deadline=None)
@given(context=TEXT, answers=st.lists(TEXT.filter(str.strip), min_size=1, max_size=4, unique=True), data=st.data())
def test_no_text_breaks_the_rules_of_the_span(
    loaded: Load, context: str, answers: list[str], data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    found = encode(loaded(kind), prompt(context, *answers))
    boundary = len(context.rstrip())
    start = found[0].start
    assert start >= 1, "something must come before the first scored token"
    assert {answer.ids[:start] for answer in found} == {found[0].ids[:start]}, "all are given the same tokens"
    for answer, text in zip(found, answers, strict=True):
        whole = loaded(kind).encode([context + text])[0]
        assert answer.ids[answer.lead :] == tuple(whole.ids), "the text is tokenised as one"
        assert answer.start == start
        assert all(end <= boundary for _, end in whole.offsets[: start - answer.lead]), "no answer is given away"
        assert text_of(kind, answer.ids[start:]).endswith(text), "the answer is scored whole"
    reaches = any(answer.offsets[start - answer.lead][1] > boundary for answer in found)
    differs = len({answer.ids[start] for answer in found}) > 1
    no_width = any(answer.offsets[start - answer.lead] == (0, 0) for answer in found)
    assert reaches or differs or no_width, "the span begins no earlier than it must"


# BOS, EOS and an empty context


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_tokenizer_itself_but_for_a_final_eos(
    kind: Callable[[], PreTrainedTokenizerFast], loaded: Load
) -> None:
    own = kind()
    expected = own("The film was 好的: good")["input_ids"]
    if own.eos_token_id is not None and expected[-1] == own.eos_token_id:
        expected = expected[:-1]
    assert list(encode(loaded(kind), prompt("The film was 好的:", " good"))[0].ids) == expected


@pytest.mark.parametrize("kind", [appends_eos, adds_bos_and_eos])
def test_an_eos_that_the_tokenizer_appends_is_never_in_a_request(
    kind: Callable[[], PreTrainedTokenizerFast], loaded: Load
) -> None:
    own = kind()
    assert own("Mood: good")["input_ids"][-1] == own.eos_token_id
    assert own.eos_token_id not in encode(loaded(kind), prompt("Mood:", " good"))[0].ids


@pytest.mark.parametrize(
    ("kind", "auto", "always", "never"),
    [
        (byte_level, [], [END], []),
        (sentencepiece, [BOS], [BOS], []),
        (metaspace, [BOS], [BOS], []),
        (adds_bos_and_eos, [BOS], [BOS], []),
        (letters, [], [BOS], []),
    ],
)
def test_the_bos_policy_decides_what_comes_first(
    kind: Callable[[], PreTrainedTokenizerFast], auto: list[str], always: list[str], never: list[str], loaded: Load
) -> None:
    for policy, expected in {"auto": auto, "always": always, "never": never}.items():
        tokenizer = loaded(kind, policy)
        (found,) = encode(tokenizer, prompt("a", "b"))
        assert tokenizer.pieces(found.ids[: found.lead]) == expected, policy


@pytest.mark.parametrize("kind", [without_specials, appends_eos])
def test_always_bos_without_a_bos_token_is_a_usage_error(
    kind: Callable[[], PreTrainedTokenizerFast], loaded: Load
) -> None:
    with pytest.raises(UsageError, match=r"--bos always: .* has no BOS token"):
        loaded(kind, "always")


def test_a_bos_that_only_the_settings_ask_for_is_added(loaded: Load) -> None:
    own = train_bpe()
    own.add_bos_token = True
    assert own("a")["input_ids"][0] == own.bos_token_id
    assert loaded(own).prefix == (own.bos_token_id,)


@pytest.mark.parametrize("policy", ["auto", "always"])
@pytest.mark.parametrize("kind", [byte_level, sentencepiece, metaspace, adds_bos_and_eos])
def test_a_text_that_begins_with_bos_gets_no_second(
    kind: Callable[[], PreTrainedTokenizerFast], policy: str, loaded: Load
) -> None:
    own = kind()
    (found,) = encode(loaded(kind, policy), prompt(f"{own.bos_token}Mood:", " good"))
    assert found.ids.count(own.bos_token_id) == 1
    assert found.ids[0] == own.bos_token_id
    assert text_of(kind, found.ids[found.start :]) == " good"


@pytest.mark.parametrize("context", ["", "\n", "  "])
@pytest.mark.parametrize(
    ("kind", "policy", "first"),
    [
        (byte_level, "auto", END),
        (byte_level, "never", END),
        (byte_level_with_space, "auto", END),
        (sentencepiece, "auto", BOS),
        (sentencepiece, "never", BOS),
        (metaspace, "auto", BOS),
        (appends_eos, "auto", EOS),
    ],
)
@pytest.mark.parametrize("answers", [("good", "bad"), ("好的", "好吃")])
def test_an_empty_context_becomes_bos_else_eos(
    kind: Callable[[], PreTrainedTokenizerFast],
    policy: str,
    first: str,
    context: str,
    answers: tuple[str, ...],
    loaded: Load,
) -> None:
    tokenizer = loaded(kind, policy)
    for text, found in zip(answers, encode(tokenizer, prompt(context, *answers)), strict=True):
        assert found.start == 1
        assert tokenizer.pieces(found.ids[:1]) == [first]
        assert found.ids[1:] == tuple(tokenizer.encode([context + text])[0].ids)


def test_an_empty_context_without_bos_or_eos_is_an_error(loaded: Load) -> None:
    assert spans(loaded(without_specials), prompt("a", "b")) == [("a", "b")]
    with pytest.raises(ModelError, match="neither a BOS nor an EOS"):
        encode(loaded(without_specials), prompt("", "b"))


def test_a_context_that_merges_away_without_bos_or_eos_is_an_error(loaded: Load) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=letters("a+b").backend_tokenizer)
    with pytest.raises(ModelError, match="neither a BOS nor an EOS"):
        encode(loaded(bare), prompt("a", "b"))


# Tokenizers that cannot serve


def test_an_answer_that_the_tokenizer_drops_is_an_error_that_shows_it(loaded: Load) -> None:
    with pytest.raises(ModelError, match="leaves nothing of the answer '好的'"):
        encode(loaded(letters), prompt("a", "b", "好的"))


def test_a_tokenizer_without_offsets_is_refused(tmp_path: Path) -> None:
    transformers.ByT5Tokenizer().save_pretrained(tmp_path)
    assert not AutoTokenizer.from_pretrained(tmp_path).is_fast
    with pytest.raises(ModelError, match=r"ByT5Tokenizer.*no character offsets"):
        from_folder(tmp_path)


def test_truncation_and_padding_in_the_tokenizers_file_are_not_applied(tmp_path: Path) -> None:
    own = letters()
    own.backend_tokenizer.enable_truncation(4)
    own.backend_tokenizer.enable_padding(length=16, pad_id=0, pad_token=BOS)
    own.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"]["max_length"] == 4
    assert spans(from_folder(tmp_path), prompt("abcdefgh", "ij", "k")) == [
        ("a|b|c|d|e|f|g|h", "i|j"),
        ("a|b|c|d|e|f|g|h", "k"),
    ]


# Text scored after the label word


FOLLOWING = """\
---
answers: [bad, excellent]
score: {score}
---
{body}
"""


def query(project: Project, score: str, body: str) -> Prompt:
    """The prompt of one item, through a task file and a template file."""
    path = project.write("prompts/mood/tried.jinja", FOLLOWING.format(score=score, body=body))
    template = load_template(path, load_task(project.root / "tasks" / "mood.yaml"))
    item = Example("i", {"text": "The film was dull"}, ("low", "high"), 0, None, "row 1")
    return Renderer(template).prompt(item, ())


@pytest.mark.parametrize(
    ("score", "body", "expected"),
    [
        ("answer", "{{ text }}. Mood: {{ answer }}", "The film was dull. Mood:> WORD"),
        ("completion", "{{ text }}. Mood: {{ answer }} then.", "The film was dull. Mood:> WORD then."),
        ("rest", "Mood: {{ answer }}, as {{ text }}!", "Mood: WORD>, as The film was dull!"),
        ("text", "Mood: {{ answer }}. Text: {{ text }} (end)", "Mood: WORD. Text:> The film was dull"),
        ("text", "{{ answer }}\n{{ text }}", "WORD>\nThe film was dull"),
    ],
)
def test_what_is_scored_is_what_the_template_says(
    score: str, body: str, expected: str, project: Project, loaded: Load
) -> None:
    for word, found in zip(["bad", "excellent"], encode(loaded(byte_level), query(project, score, body)), strict=True):
        pair = text_of(byte_level, found.ids[: found.start]), text_of(byte_level, found.ids[found.start :])
        assert ">".join(pair) == expected.replace("WORD", word)


def test_text_after_different_words_begins_at_a_place_of_its_own_for_each(loaded: Load) -> None:
    answers = (Answer(0, "b", "b", "cx"), Answer(1, "bb", "bb", "dx"))
    asked = Prompt("item", (Segment("query", "prefix", "a"),), answers, ())
    assert spans(loaded(letters("b+c")), asked) == [("a", "bc|x"), ("a|b|b", "d|x")]


# Prompts that are too long


def shots_prompt(
    query: str, *answers: str, demos: tuple[str, ...] = (), layout: tuple[int, ...] | None = None, description: str = ""
) -> Prompt:
    """A prompt of demonstrations named by their place in the draw, laid out in the order given."""
    order = layout or tuple(range(len(demos)))
    shown = tuple(Segment("demo", "prefix", demos[i], str(i)) for i in order)
    head = (Segment("description", "prefix", description),) if description else ()
    options = tuple(Answer(label, word, "", word) for label, word in enumerate(answers))
    segments = (*head, *shown, Segment("query", "prefix", query))
    return Prompt("item", segments, options, tuple(str(i) for i in range(len(demos))))


def cell_texts(
    tokenizer: PretrainedTokenizer, prompts: list[Prompt], max_inputs: int | None, block: int = 256
) -> tuple[EncodedCell, list[str]]:
    """The encoded cell, and its requests as text with a bar before the scored part."""
    cell, requests = Encoder(tokenizer, scope="", max_inputs=max_inputs).cell(prompts, block=block)
    rows = [(requests.row(i).tolist(), int(requests.starts[i])) for i in range(len(requests))]
    return cell, ["".join([*tokenizer.pieces(row[:start]), "|", *tokenizer.pieces(row[start:])]) for row, start in rows]


@pytest.mark.parametrize(
    ("answers", "max_inputs", "shots", "expected"),
    [
        # "efffgggq" is 8 tokens, and the last token of an answer is only a target, never an input.
        (("b",), 8, 2, ["efffgggq|b"]),
        (("b",), 7, 1, ["efffq|b"]),
        (("b", "bbb"), 10, 2, ["efffgggq|b", "efffgggq|bbb"]),
        (("b", "bbb"), 9, 1, ["efffq|b", "efffq|bbb"]),
        (("b", "bbb"), 7, 1, ["efffq|b", "efffq|bbb"]),
        (("b", "bbb"), 6, 0, ["eq|b", "eq|bbb"]),
        (("b", "bbb"), 4, 0, ["eq|b", "eq|bbb"]),
        (("b", "bbb"), None, 2, ["efffgggq|b", "efffgggq|bbb"]),
    ],
)
def test_too_long_a_prompt_loses_its_last_demonstrations_for_all_answers_alike(
    answers: tuple[str, ...], max_inputs: int | None, shots: int, expected: list[str], loaded: Load
) -> None:
    asked = shots_prompt("q", *answers, demos=("fff", "ggg"), description="e")
    cell, texts = cell_texts(loaded(letters), [asked], max_inputs)
    assert (cell.shots, texts, cell.too_long) == ((shots,), expected, frozenset())


def test_the_demonstration_drawn_last_goes_wherever_it_stands(loaded: Load) -> None:
    asked = shots_prompt("q", "b", demos=("fff", "ggg", "hhh"), layout=(2, 0, 1))
    cell, texts = cell_texts(loaded(letters), [asked], 8)
    assert (cell.shots, texts) == ((2,), ["fffgggq|b"])


def test_bos_counts_as_an_input(loaded: Load) -> None:
    asked = shots_prompt("q", "b", demos=("fff",))
    assert cell_texts(loaded(letters(bos=True)), [asked], 5)[0].shots == (1,)
    assert cell_texts(loaded(letters(bos=True)), [asked], 4)[0].shots == (0,)


@pytest.mark.parametrize("block", [1, 2, 256])
def test_an_item_that_fits_with_no_demonstration_is_marked_and_has_no_requests(block: int, loaded: Load) -> None:
    prompts = [
        shots_prompt("q", "b", "c", demos=("f", "g")),
        shots_prompt("qqqqq", "b", "cc", demos=("f", "g")),
        shots_prompt("rr", "b", "c", demos=("f", "g")),
        shots_prompt("sss", "b", "cc", demos=("f", "g")),
    ]
    cell, texts = cell_texts(loaded(letters), prompts, 4, block)
    assert cell.too_long == {1}
    assert cell.shots == (2, 0, 2, 0)
    assert texts == ["fgq|b", "fgq|c", "fgrr|b", "fgrr|c", "sss|b", "sss|cc"]
    assert cell.candidates.item.tolist() == [0, 0, 2, 2, 3, 3]
    assert cell.candidates.label.tolist() == [0, 1, 0, 1, 0, 1]
    assert cell.candidates.word.tolist() == ["b", "c", "b", "c", "b", "cc"]
    assert cell.candidates.n_tokens.tolist() == [1, 1, 1, 1, 1, 2]


def test_a_cell_of_items_that_are_all_too_long_has_no_requests(loaded: Load) -> None:
    cell, texts = cell_texts(loaded(letters), [shots_prompt("qqqqq", "b", "c")], 4)
    assert (cell.too_long, cell.shots, texts, len(cell.candidates.item)) == ({0}, (0,), [], 0)


@pytest.mark.parametrize(
    ("scored", "chars", "n_bytes"),
    [("好的", 2, 6), (" 好的", 2, 6), ("\n好的 ", 2, 6), ("good", 4, 4), (" very good", 9, 9), ("é🙂", 2, 6)],
)
def test_characters_and_bytes_are_counted_without_the_delimiter(
    scored: str, chars: int, n_bytes: int, loaded: Load
) -> None:
    candidates = Encoder(loaded(byte_level), scope="", max_inputs=None).cell([prompt("Mood:", scored)])[0].candidates
    assert (candidates.n_chars.tolist(), candidates.n_bytes.tolist()) == ([chars], [n_bytes])


# Keys


def key(
    tokenizer: PretrainedTokenizer, context: str, scored: str, scope: str = "model float32", given: str = ""
) -> bytes:
    return bytes(
        Encoder(tokenizer, scope=scope, max_inputs=None).cell([prompt(context, scored, given=given)])[1].keys[0]
    )


def test_a_key_says_nothing_of_how_the_text_was_put_together(loaded: Load) -> None:
    tokenizer = loaded(letters)
    asked = shots_prompt("d", "e", "f", demos=("ab", "c"))
    keys = Encoder(tokenizer, scope="model float32", max_inputs=None).cell([prompt("z", "y"), asked])[1].keys
    assert bytes(keys[1]) == key(tokenizer, "abcd", "e") == key(tokenizer, "ab", "e", given="cd")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_keys_are_equal_exactly_when_scope_tokens_and_span_are(loaded: Load, data: st.DataObject) -> None:
    tokenizer = loaded(letters)
    short = st.text("ab", min_size=1, max_size=3)
    cases = st.tuples(short, short, st.sampled_from(["m float32", "m bfloat16", "n float32"]))
    one, other = data.draw(cases), data.draw(cases)
    same = (one[0] + one[1], len(one[0]), one[2]) == (other[0] + other[1], len(other[0]), other[2])
    assert (key(tokenizer, *one) == key(tokenizer, *other)) == same


def test_each_part_of_a_key_counts(loaded: Load) -> None:
    tokenizer = loaded(letters)
    keys = {
        key(tokenizer, "ab", "cd"),
        key(tokenizer, "ab", "ce"),  # a scored token
        key(tokenizer, "zb", "cd"),  # a token of the context
        key(tokenizer, "abc", "d"),  # the span
        key(tokenizer, "ab", "cd", "model bfloat16"),
        key(tokenizer, "ab", "cd", "model2 float32"),
        key(loaded(letters, "always"), "ab", "cd"),  # a BOS
    }
    assert len(keys) == 7


def test_a_cell_has_the_keys_of_its_requests_in_order(loaded: Load) -> None:
    prompts = [prompt("ab", "c", "d"), prompt("ab", "c", "d"), prompt("b", "c", "d")]
    cell, requests = Encoder(loaded(letters), scope="", max_inputs=None).cell(prompts)
    assert np.array_equal(cell.keys, requests.keys)
    keys = list(map(bytes, cell.keys))
    assert keys[:2] == keys[2:4]
    assert len(set(keys)) == 4


def test_no_prompts_make_no_requests(loaded: Load) -> None:
    cell, requests = Encoder(loaded(letters), scope="", max_inputs=None).cell([])
    assert (cell.shots, len(requests), requests.keys.shape) == ((), 0, (0, 16))
