"""What a word is: the same text in another spelling has the same words, and no script, symbol or emoji loses any."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_task import make_task

from harness import words as module
from harness.data import normalised
from harness.records import Example
from harness.tasks import SplitSlice
from harness.words import folded, has_spaces, pieces, put_together, words


def same(one: str, other: str) -> bool:
    """Whether two texts are duplicates of each other."""
    return len({normalised(Example("", {"text": text}, ("a", "b"), 0, None, "")) for text in (one, other)}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("किताब पढ़ी।", ["किताब", unicodedata.normalize("NFKC", "पढ़ी")]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("كِتَابٌ، كُتُب", ["كِتَابٌ", "كُتُب"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("cafe\u0301 crème", ["café", "crème"]),
        ("Tiếng Việt", ["tiếng", "việt"]),
        ("İSTANBUL", ["istanbul"]),
        ("ง่ายมาก", ["ง่", "า", "ย", "ม", "า", "ก"]),
        ("ភាសា", ["ភា", "សា"]),
        ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("བོད་ཡིག", ["བོ", "ད", "ཡི", "ག"]),
        ("カメラー。とても", ["カ", "メ", "ラ", "ー", "と", "て", "も"]),
        ("ｶﾞｯﾂ", ["ガ", "ッ", "ツ"]),
        ("我用Python3。", ["我", "用", "python3"]),
        ("👍🏽👍 👨‍👩‍👧🇩🇪🇫🇷", ["👍🏽", "👍", "👨\u200d👩\u200d👧", "🇩🇪", "🇫🇷"]),
        ("❤️ ❤ 1️⃣", ["❤", "❤", "1⃣"]),
        ("$5, €5", ["$", "5", "€", "5"]),
        ("3 - 2, 3-2, a*b", ["3", "-", "2", "3", "-", "2", "a", "*", "b"]),
        ("well-known -- and/or *so* #1 of 10 %", ["well", "known", "and", "or", "so", "#", "1", "of", "10", "%"]),
        (":-( fine :D =) ok", [":-(", "fine", ":d", "=)", "ok"]),
        ("see: (a) f(x)=[1] http://x.de", ["see", "a", "f", "x", "=", "1", "http", "x", "de"]),
        ("10² m, H₂O", ["10", "^", "2", "m", "h2o"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert words(unicodedata.normalize("NFD", text)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a < b", "a > b"), ("a != b", "a = b"), ("2 + 2", "2 - 2"), ("2*2", "2/2"), ("-5", "5"), ("50%", "50"),
        ("C++", "C#"), ("C#", "C"), ("$5", "€5"), ("a && b", "a || b"), ("★★★", "★"), ("→", "←"), ("x → y", "x y"),
        ("😀", "😡"), ("good 😀", "good 😡"), ("👍🏽", "👍🏿"), ("👨‍👩‍👧", "👨‍👩‍👦"), ("🇩🇪", "🇪🇩"), (":)", ":("),
        ("great :)", "great :("), ("so :-/", "so"), ("10² = 100", "102 = 100"),
        ("!", "?"),
        ("किताब", "कीताब"), ("किताब", "कताब"), ("कमल", "कमाल"), ("كَتَبَ", "كُتُب"), ("ปู", "ปี"), ("ka", "kä"), ("가", "각"),
        ("𝄞", "𝄢"), ("\ue000", "\ue001"),
    ],
)  # fmt: skip
def test_different_texts_are_no_duplicates(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A fine film!", "a FINE film"), ("It's “fine”…", "it's ``fine'' ..."), ("so - what?", "So — what"),
        ("Ａ　ｆｉｎｅ　ｆｉｌｍ。", "a fine film"), ("cafe\u0301", "CAFÉ"), ("Straße", "STRASSE"), ("ﬁne", "fine"),
        ("3 − 2", "3 - 2"), ("soft\u00adhyphen", "softhyphen"), ("می\u200cخواهم", "میخواهم"), ("İyi", "iyi"),
        ("❤️", "❤"), ("किताब।", "किताब"), ("好看～～", "好看！"), ("1990–1995", "1990-1995"), ("*great*", "great"),
    ],
)  # fmt: skip
def test_spelling_and_punctuation_decide_nothing(one: str, other: str) -> None:
    assert same(one, other)


@given(st.text(max_size=30))
def test_folding_twice_is_folding_once_and_no_text_loses_all_its_words(text: str) -> None:
    assert words(folded(text)) == words(text)
    assert bool(words(text)) == bool(folded(text).strip())


def test_ascii_has_the_same_words_by_the_short_way() -> None:
    rng = random.Random(0)
    for _ in range(4_000):
        text = folded("".join(rng.choice("aB1 _-*/&%#!:<=>.,$+^|`'\t") for _ in range(rng.randrange(12))))
        if not module._MAYBE_MORE.search(text):
            assert module._ASCII_WORDS.findall(text) == [match[0] for match in module._WORDS.finditer(text)]


def test_scripts_without_spaces_are_told_by_their_letters() -> None:
    assert has_spaces(["a plain sentence", "हिन्दी में", "한국어 문장", ""])
    assert not has_spaces(["很好", "不好 啊", "ok"])
    assert not has_spaces(["ง่ายมาก ไม่ดี"])


@pytest.mark.parametrize("text", ["a fine, long film", "这部电影很好，真的！", "用iPhone拍照", "한국어 문장."])
def test_pieces_make_up_the_text(text: str) -> None:
    assert put_together(pieces(text)) == text


def test_pieces_of_a_row_with_a_space_are_words_of_its_script() -> None:
    assert pieces("房间 很大") == ["房", "间", "很", "大"]
    assert put_together(["大", "think", "so", "间"]) == "大think so间"


def test_names_of_tasks_and_splits_may_be_of_any_script() -> None:
    for name in ("किताब", "தமிழ்-1", "电影_zh", "a.b-c"):
        assert make_task(name=name, splits={"report": f"{name}[:10]"}).split("report") == SplitSlice(name, None, "10")
    for name in ("a,b", "a b", "", "-a", "\u0301a", "a\n", "😀"):
        with pytest.raises(ValidationError, match="may hold letters"):
            make_task(name=name)
