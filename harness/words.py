"""What a word is, for every place that asks: duplicates, near-duplicates, BM25, TF-IDF and texts of random words.

A text is folded first: compatibility forms, composed and decomposed accents, case, and characters that do not show are
told apart no longer. Then it falls into words (categories and properties are Unicode's, by the library ``regex``):

    word      letters, digits and underscores with their marks: vowel signs, niqqud, harakat, combining accents
    unspaced  each letter with its marks, in scripts that put no spaces between words (Han, Kana, Thai, Khmer, ...)
    symbol    each symbol or emoji with all that belongs to it: a skin tone, a flag's second letter, a joined emoji
    operator  + - * / % & # where they stand between numbers or single letters, or before or after one
    emoticon  :) ;-( =D where no letter or digit stands beside it

Other punctuation and white space stand between words and are none, but in a text that has nothing else. No language
need be named; what only a language tells, such as that Turkish I without a dot is no i, is not told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import regex

# Line breaking class SA is Thai, Lao, Khmer, Burmese and others in which only a dictionary finds words.
_LETTER = r"[[\p{Ideographic}\p{scx=Hiragana}\p{scx=Katakana}\p{Bopomofo}\p{Yi}\p{Tibetan}\p{lb=SA}]&&[\p{L}\p{N}]]"
_UNSPACED = rf"(?:{_LETTER}\p{{M}}*+)"
_WORD = rf"(?:(?!{_LETTER})[\p{{L}}\p{{N}}_]\p{{M}}*+)+"
# A grave accent, a tilde and the like are punctuation to those who type them.
_SYMBOL = r"(?:(?=[[\p{S}\p{Co}\p{Cn}\p{Cs}]--[`´¨¯¸˜~]])\X|[#*]\u20e3)"
_OPERATOR = (
    r"(?:(?<=\p{N}\s*|\b\p{L}\s*)[*/&\-]+(?=\s*\p{N}|\s*\p{L}\b)"  # 3 - 2, a*b, R&D, 24/7
    r"|(?<![\p{L}\p{N}\p{M}])[\-#](?=\p{N})"  # -5, #1
    r"|(?<=\p{N}\s?)%|(?<=\b\p{L})#|[!:\-](?=[=<>]))"  # 10 %, C#, !=
)
_EMOTICON = r"(?:(?<![\p{L}\p{N}:;=])[:;=](?:['\-]?[()\[\]/\\|]++|-?[dp])(?![\p{L}\p{N}]))"
_WORDS = regex.compile(rf"(?V1){_EMOTICON}|(?P<unspaced>{_UNSPACED}+)|{_WORD}|{_SYMBOL}|{_OPERATOR}")
# ASCII text in which neither of these can stand has the same words by a simpler pattern, several times as fast.
_MAYBE_MORE = re.compile(r"[0-9]\s*[-*/&%]|\b[a-z]\s*[-*/&#]|[-#][0-9]|[-!:][<=>]|[:;=]['-]?[()\[\]/\\|]|[:;=]-?[dp]\b")
_ASCII_WORDS = re.compile(r"[a-z0-9_]+|[$+<=>^|]")
_LETTERS = regex.compile(rf"(?V1){_UNSPACED}")
_ANY_UNSPACED = regex.compile(rf"(?V1){_LETTER}")
_SPACED_LETTERS = regex.compile(rf"(?V1)(?!{_LETTER})\p{{L}}")
_PIECES = regex.compile(rf"(?V1)(?P<unspaced>{_UNSPACED})|{_WORD}|\X")
_MARKS_ALONE = regex.compile(r"(?V1)\S\p{M}*")

# Letters and digits, and the marks that belong to them, as a class of the library ``regex``.
IN_WORDS = r"\p{L}\p{M}\p{N}_"

# Characters that do not show, but for those that join emoji or spell a flag out; and dashes, which are typed alike.
_UNSEEN = regex.compile(
    r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200b\u200d\U000e0020-\U000e007f]]"
    r"|(?<!\p{Extended_Pictographic}\p{Emoji_Modifier}?\ufe0f?)\u200d|\u200d(?!\p{Extended_Pictographic})"
)
_DASHES = regex.compile(r"(?V1)[\p{Pd}\u2212]")
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")  # 10² is not 102


def folded(text: str) -> str:
    """The text without what spelling alone decides: case, width, composition, dashes, characters that do not show."""
    if text.isascii():
        return text.lower()
    text = _RAISED.sub(r"^\g<0>", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = text.replace("i\u0307", "i").replace("\u200b", " ")  # İ of Turkish; a space of no width
    return str(_DASHES.sub("-", _UNSEEN.sub("", text)))


def words(text: str) -> list[str]:
    """The words of a text, folded; of scripts without spaces, the letters. A text of punctuation alone gives that."""
    text = folded(text)
    found: list[str] = []
    if text.isascii() and not _MAYBE_MORE.search(text):
        found = _ASCII_WORDS.findall(text)
    else:
        for match in _WORDS.finditer(text):
            found.extend(_LETTERS.findall(match[0]) if match["unspaced"] else [match[0]])
    return found or _MARKS_ALONE.findall(text)


def terms(text: str) -> list[str]:
    """What a search matches: words; of scripts without spaces, all letters and all pairs of neighbours."""
    text = folded(text)
    found: list[str] = []
    for match in _WORDS.finditer(text):
        if match["unspaced"]:
            letters = _LETTERS.findall(match[0])
            found.extend([*letters, *map("".join, pairwise(letters))])
        else:
            found.append(match[0])
    return found or _MARKS_ALONE.findall(text)


def has_spaces(texts: Sequence[str]) -> bool:
    """Whether most letters are of scripts that put spaces between words."""
    unspaced = sum(len(_ANY_UNSPACED.findall(text)) for text in texts if not text.isascii())
    return not unspaced or unspaced <= sum(len(_SPACED_LETTERS.findall(text)) for text in texts)


def pieces(text: str) -> list[str]:
    """A text as it is written, cut where words end, so that ``put_together`` gives it back but for its white space.

    What stands between white space is one piece, with its punctuation; where it holds letters of scripts without
    spaces, each letter, mark of punctuation and run of other letters is.
    """
    found: list[str] = []
    for part in text.split():
        found.extend(_cut(part) if _ANY_UNSPACED.search(part) else [part])
    return found


def put_together(parts: Sequence[str]) -> str:
    """Pieces as one text: with a space between them, unless one of two neighbours belongs to a script without."""
    return "".join(_spaced(parts))


def _cut(part: str) -> Iterator[str]:
    return (match[0] for match in _PIECES.finditer(part))


def _spaced(parts: Sequence[str]) -> Iterator[str]:
    before = ""
    for part in parts:
        if before and not (_ANY_UNSPACED.search(before) or _ANY_UNSPACED.search(part) or _wide(before) or _wide(part)):
            yield " "
        yield part
        before = part


def _wide(part: str) -> bool:
    """Whether a piece is punctuation as scripts without spaces have it."""
    return len(part) == 1 and unicodedata.east_asian_width(part) in "WF"
