"""Shared segments: on every kind of tokenizer they give what tokenising whole texts gives, or are not used."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from conftest import made_up_text, train_bpe
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encode import END, UNKNOWN, byte_level, byte_level_with_space, from_folder, letters, metaspace, sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from harness import segments
from harness.encode import Encoder
from harness.records import Answer, Prompt, Segment
from harness.segments import Branches, Cuts, EncodedBranches, Encoding, SharedSegments, encode_whole, find_cuts
from harness.tokenizer import PretrainedTokenizer

# Tokenizers


def documents() -> list[str]:
    """Text with lines and marks, so that pieces reach across them where a tokenizer lets them."""
    lines = made_up_text(300)
    return [f"Text: {one}\n\nMood: good\n{two[:-1]}!\n(see {two.split()[1]})" for one, two in pairwise(lines)]


def _bytes(pre_tokenizer: pre_tokenizers.PreTokenizer) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(documents(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


def split_by_regex() -> PreTrainedTokenizerFast:
    """As Llama 3's and Qwen's: a mark takes in the newlines after it, and any character the letters after it."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return _bytes(pre_tokenizers.Sequence(parts))


def one_word() -> PreTrainedTokenizerFast:
    """Bytes without any words, so that merges may cross everything."""
    return _bytes(pre_tokenizers.ByteLevel(False, use_regex=False))


def wordpiece() -> PreTrainedTokenizerFast:
    """As BERT's: white space is lost, and a long word is unknown."""
    backend = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=20))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=[UNKNOWN], show_progress=False)
    backend.train_from_iterator(documents(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN)


def _unigram(normalizer: normalizers.Normalizer | None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=[UNKNOWN], unk_token=UNKNOWN, show_progress=False)
    backend.train_from_iterator(documents(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN)


def unigram() -> PreTrainedTokenizerFast:
    """As T5's and XLM-R's: newlines become spaces, which begin words."""
    return _unigram(
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    )


def unigram_with_newlines() -> PreTrainedTokenizerFast:
    """A newline is a character like others within a word, and unknown: it fuses with unknown ones beside it."""
    return _unigram(None)


def with_added(*tokens: AddedToken) -> PreTrainedTokenizerFast:
    own = train_bpe()
    own.add_tokens(list(tokens))
    return own


def takes_space() -> PreTrainedTokenizerFast:
    """Added tokens that take in the white space around them, after a mark and after a letter."""
    return with_added(AddedToken("[END]", rstrip=True, lstrip=True), AddedToken("{x}", single_word=True))


def ends_in_letter() -> PreTrainedTokenizerFast:
    return with_added(AddedToken("STOP", rstrip=True))


def words_of_pieces() -> PreTrainedTokenizerFast:
    """As Llama 2's: no pre-tokenizer, but no piece with a space inside either."""
    trained = Tokenizer(models.BPE(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[UNKNOWN], show_progress=False)
    trained.train_from_iterator(made_up_text(200), trainer)
    model = json.loads(trained.to_str())["model"]
    known = dict(model["vocab"]) | {f"<0x{byte:02X}>": len(model["vocab"]) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(models.BPE(known, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN)


# What of each may be cut: a line after a letter, a line after a full stop, and a word after a colon.
KINDS = {
    byte_level: (True, True, True),
    byte_level_with_space: (True, True, True),
    split_by_regex: (True, False, True),
    words_of_pieces: (True, True, True),
    sentencepiece: (True, True, False),
    metaspace: (True, True, False),
    wordpiece: (True, True, True),
    unigram: (True, True, True),
    unigram_with_newlines: (False, False, True),
    takes_space: (True, True, True),
    ends_in_letter: (False, False, False),
    one_word: (False, False, False),
    letters: (False, False, False),
}
Make = Callable[[], PreTrainedTokenizerFast]
Load = Callable[[Make], PretrainedTokenizer]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Load:
    @cache
    def load(make: Make) -> PretrainedTokenizer:
        folder = tmp_path_factory.mktemp("tokenizer")
        make().save_pretrained(folder)
        return from_folder(folder)

    return load


@pytest.mark.parametrize("kind", KINDS)
def test_cuts_are_where_a_tokenizer_keeps_both_sides_apart(kind: Make, loaded: Load) -> None:
    cuts = loaded(kind).cuts
    found = ((cuts.lines, "g"), (cuts.lines, "."), (cuts.words, ":"))
    assert tuple(pattern is not None and bool(re.match(pattern, mark)) for pattern, mark in found) == KINDS[kind]


@pytest.mark.parametrize("mark", ["]", "}"])
def test_nothing_is_cut_after_an_added_token(mark: str, loaded: Load) -> None:
    cuts = loaded(takes_space).cuts
    assert cuts.lines is not None
    assert cuts.words is not None
    assert not re.match(cuts.lines, mark)
    assert not re.match(cuts.words, mark)


@pytest.mark.parametrize(
    "token", [AddedToken("so: good"), AddedToken(".\nText"), AddedToken(" good", single_word=True)]
)
def test_nothing_is_cut_where_an_added_token_may_reach_across(token: AddedToken) -> None:
    assert find_cuts(with_added(token).backend_tokenizer) == Cuts()


# The same tokens


PIECES = [
    *("The film was good", "bad", "x", "7", "1234", " number 5", "Mood:", "it's", "don't", ".", "...", "!?", "(", "_"),
    *(".\n", ":\n", "!\n\n", "g\n", "7\n\n", "好\n", ": good", "的 bad"),
    *(" ", "  ", "\t", "\n", "\n\n", "\r\n", "\n \n", " \n", "\u3000", "\xa0", "\u200b", "\u2028"),
    *("好的", "电影", "，", "。", "：", "é", "e\u0301", "🙂", "👩‍👧", "ﬁ", "½", "٣", "я"),
    *(END, UNKNOWN, "[END]", "[END]\n", "[END] good", "{x}", "{x}\n", "STOP\n"),
]
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)
BRANCHES = st.builds(Branches, TEXT.map(str.rstrip), st.lists(TEXT.filter(bool), min_size=1, max_size=3))


def same(tokenizer: segments.Tokenizer, texts: Sequence[Branches], found: Sequence[EncodedBranches]) -> bool:
    """Whether the tokens found are those of the whole texts, and those shared are within what texts share."""
    for text, own, expected in zip(texts, found, encode_whole(tokenizer, texts), strict=True):
        count, length = len(own.shared), own.length
        for one, other in zip(own.endings, expected.endings, strict=True):
            assert [*own.shared.tolist(), *one.ids.tolist()] == other.ids.tolist()
            assert (one.offsets + length).tolist() == other.offsets[count:].tolist()
            assert all(begin < len(text.stem) and end <= length for begin, end in other.offsets[:count].tolist())
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(opening=TEXT, texts=st.lists(BRANCHES, min_size=1, max_size=4))
def test_shared_segments_give_the_tokens_of_whole_texts(
    loaded: Load, kind: Make, opening: str, texts: list[Branches]
) -> None:
    texts = [Branches((opening + own.stem).rstrip(), own.endings) for own in texts]
    shared = SharedSegments(loaded(kind))
    assert same(loaded(kind), texts, shared.encode(texts))
    assert shared.in_use == any(KINDS[kind]), "none is suspected for no reason"


# Cells


class Watched:
    """Notes what a tokenizer is given, and may spoil it: the ids of texts with ``spoilt`` in them are others."""

    def __init__(self, tokenizer: PretrainedTokenizer, spoilt: str | None = None) -> None:
        self.prefix, self.cuts = tokenizer.prefix, tokenizer.cuts
        self.opening = tokenizer.opening or 0
        self.given: Counter[str] = Counter()
        self._tokenizer = tokenizer
        self._spoilt = spoilt

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        self.given.update(texts)
        found = self._tokenizer.encode(texts)
        return [
            replace(one, ids=one.ids + 1) if self._spoilt is not None and self._spoilt in text else one
            for text, one in zip(texts, found, strict=True)
        ]


def prompt(context: str, *pairs: tuple[str, str]) -> Prompt:
    answers = tuple(Answer(label, "w", given, scored) for label, (given, scored) in enumerate(pairs))
    return Prompt("item", (Segment("query", "prefix", context),), answers, ())


def prompts_about(things: Sequence[str]) -> list[Prompt]:
    """Two demonstrations and a question about each of the things, with two answers."""
    demos = "Text: a dull film\nMood: bad\n\nText: a lovely road\nMood: good\n\n"
    return [prompt(f"{demos}Text: a dull {thing}\nMood:", ("", " bad"), ("", " good")) for thing in things]


def assert_whole(encoder: Encoder, prompts: Sequence[Prompt], **more: int) -> None:
    """That a cell has the requests that come of tokenising every text whole."""
    _, requests = encoder.cell(prompts, **more)
    expected = [answer for answers in encoder.answers(prompts) for answer in answers]
    assert [requests.row(i).tolist() for i in range(len(requests))] == [list(answer.ids) for answer in expected]
    assert requests.starts.tolist() == [answer.start for answer in expected]


@pytest.mark.parametrize("kind", [byte_level_with_space, split_by_regex, sentencepiece, unigram, wordpiece])
@settings(max_examples=50)
@given(
    contexts=st.lists(TEXT, min_size=1, max_size=4),
    pairs=st.lists(st.tuples(TEXT, TEXT.map(lambda text: text + "x")), min_size=1, max_size=3),
)
def test_a_cell_has_the_requests_of_texts_tokenised_whole(
    loaded: Load, kind: Make, contexts: list[str], pairs: list[tuple[str, str]]
) -> None:
    encoder = Encoder(Watched(loaded(kind)), scope="", max_inputs=None)
    assert_whole(encoder, [prompt(context, *pairs) for context in contexts], block=2)
    assert encoder.shares_segments


THINGS = [f"thing{i}" for i in range(100)]


def test_each_segment_is_tokenised_once_and_not_again_in_another_cell(loaded: Load) -> None:
    tokenizer = Watched(loaded(byte_level))
    encoder = Encoder(tokenizer, scope="", max_inputs=None)
    encoder.cell(prompts_about(THINGS), block=10)
    guard = {"a"}
    assert {text for text, count in tokenizer.given.items() if count > 1} == guard
    assert sum("film" in text for text in tokenizer.given) <= 25 + 1, "whole texts are only a sample"
    before = set(tokenizer.given)
    encoder.cell(prompts_about(THINGS), block=10)
    assert set(tokenizer.given) == before


def test_a_sampled_text_that_comes_out_otherwise_ends_the_sharing_for_all(loaded: Load) -> None:
    """No segment holds the spoilt words, so only the comparison with whole texts can tell."""
    encoder = Encoder(Watched(loaded(byte_level), "odd\nMood"), scope="", max_inputs=None)
    assert_whole(encoder, prompts_about([*THINGS, "odd"]), block=10)
    assert not encoder.shares_segments


def test_every_cell_is_sampled(loaded: Load) -> None:
    encoder = Encoder(Watched(loaded(byte_level), "odd\nMood"), scope="", max_inputs=None)
    assert_whole(encoder, prompts_about(THINGS))
    assert encoder.shares_segments
    assert_whole(encoder, prompts_about(["odd"]))
    assert not encoder.shares_segments


def test_a_cell_is_encoded_again_if_a_segment_sticks_to_its_guard(loaded: Load) -> None:
    """The odd one is not in the sample, and comes up after other blocks are done."""
    things = [*THINGS[:94], "odd", *THINGS[95:]]
    encoder = Encoder(Watched(loaded(byte_level), "a\n\nText: a dull odd"), scope="", max_inputs=None)
    assert_whole(encoder, prompts_about(things), block=10)
    assert not encoder.shares_segments


def test_nothing_is_lost_when_the_segments_remembered_are_too_many(
    loaded: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_MAX_HELD", 50)
    tokenizer = Watched(loaded(byte_level))
    assert_whole(Encoder(tokenizer, scope="", max_inputs=None), prompts_about(THINGS), block=10)
    assert max(count for text, count in tokenizer.given.items() if text != "a") > 1, "some were tokenised again"
