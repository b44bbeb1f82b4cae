"""Tries a tokenizer of the library ``tokenizers`` on texts that would show if it blows them up, hangs or crashes.

Run as a script, in a process with limits (see ``limited``), it knows the standard library and ``tokenizers`` alone. Its
texts also serve to compare two readings of one tokenizer.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Tried again when it changes.
VERSION = 2

# Texts that tokenizers treat in different ways.
TEXTS = (
    # Case, and white space
    "The film was good.", "the film", "THE FILM", "a", " a", "  a", "a  b", "a   b    c", " a b ", "a\tb", "\ta",
    "a\t\tb", "a\nb", "a\n\nb", "a\n\n\nb", "\n", "\n\na", "a \nb", "a\n b", "a\r\nb", "a\u00a0b", "a\u2028b",
    "a\u200bb",
    # Digits
    "7", "42", "1234", "12345678", "3.14", "1,000", "1/2", "x2", "2x", "in 1999, 12 of 345", "٤٥", "½", "①",
    # Contractions and punctuation
    "don't", "we'll", "I'VE", "it\u2019s", "o'clock", "'s", "a-b", "a_b", "a.b.c", "e.g.", "(a)", "[a]", "{a}", "a!?",
    "...", '"quoted"', "``a''", "C++", "a<b>c", "a@b.com", "http://a.b/c?d=1", "$5.00", "50%", "#tag", "a/b\\c", "~^|`",
    "—\u2013…", "“a”", "« a »", "▁a",
    # Accents, whole and apart, and forms that are folded
    "café", "cafe\u0301", "naïve", "Über straße", "ﬁne", "\uff21\uff22\uff43", "İI\u0131",
    # Other scripts
    "中文字符", "这部电影很好。", "中文 abc 12", "こんにちは", "한국어", "Слово", "हिन्दी", "مرحبا", "שלום", "สวัสดี",
    # Emoji: one, joined ones, one with a variation selector, one with a colour of skin
    "😀", "👨\u200d👩\u200d👧", "❤\ufe0f", "a👍🏽b",
    # Long words, and code
    "supercalifragilisticexpialidocious", "aaaaaaaaaaaaaaaa", "HelloWorld", "snake_case_name",
    "    if x == 1:\n        y()",
)  # fmt: skip

# How many characters the replacements of a normaliser may make of one: a table of NFKC makes up to 33 bytes of one.
_MOST_GROWTH = 1024
# Tokens of a character, over a long text; bytes of normalised characters are at most some dozens.
_MOST_TOKENS = 64
# Tokens that stand before and after every text.
_MOST_AROUND = 64
_LONGEST = 20_000
# Pieces of the vocabulary that are spelled out.
_MOST_PIECES = 5_000
# Processor time for a text of that length; those in use take some hundredths of a second.
_MOST_SECONDS = 2.0
_BIGGEST_ID = (1 << 31) - 1


def texts() -> Iterator[str]:
    """Long texts of many kinds, the short ones first, so that what grows is found early."""
    runs = ("a", " ", "7", "\u4e2d", "A", "\n", ".", "'", "\u00e9", "\U0001f600", "a ", "ab", "1a", "a.", "\t", "-")
    for length, some in ((100, runs), (2_000, runs), (_LONGEST, runs[:4])):
        for run in some:
            text = (run * length)[: length - 1]
            yield text + text[-1]
            yield text + "!"
        yield ("".join(TEXTS) * (length // 500 + 1))[:length]


def check(serialised: str) -> str | None:
    """What is wrong with a tokenizer, given as JSON; None where it can be used."""
    from tokenizers import Tokenizer

    growth = _growth(json.loads(serialised).get("normalizer"))
    if growth > _MOST_GROWTH:
        return f"its normalizer may make {growth:,} characters of one"
    tokenizer = Tokenizer.from_str(serialised)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    biggest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if biggest > _BIGGEST_ID:
        return f"it has a token of the number {biggest:,}"
    around = len(tokenizer.encode("a").ids) - len(tokenizer.encode("a", add_special_tokens=False).ids)
    if around > _MOST_AROUND:
        return f"it puts {around:,} tokens around every text"
    for text in (*TEXTS, *texts()):
        begin = time.process_time()
        count = len(tokenizer.encode(text, add_special_tokens=False).ids)
        seconds = time.process_time() - begin
        if seconds > _MOST_SECONDS:
            return f"it takes {seconds:.1f} s for a text of {len(text):,} characters"
        if len(text) >= 100 and count > _MOST_TOKENS * len(text):
            return f"it makes {count:,} tokens of {len(text):,} characters"
    for piece in pieces(tokenizer):
        if len(piece) > _LONGEST:
            return f"its decoder makes {len(piece):,} characters of a token"
    return None


def pieces(tokenizer: Any) -> Iterator[str]:
    """Pieces of the vocabulary as texts, from its beginning to its end; what a decoder makes of one has no bounds."""
    known = sorted(tokenizer.get_vocab(with_added_tokens=False).values())
    for token in known[:: max(1, len(known) // _MOST_PIECES)]:
        piece: str = tokenizer.decode([token], skip_special_tokens=False)
        yield piece


def _growth(normalizer: Any) -> int:
    """How many characters a normaliser makes of one, at most."""
    if not isinstance(normalizer, dict):
        return 1
    kind = normalizer.get("type")
    if kind == "Sequence":
        product = 1
        for part in normalizer.get("normalizers") or ():
            product *= _growth(part)
        return product
    if kind == "Replace":
        content, pattern = str(normalizer.get("content", "")), normalizer.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else None
        # A regular expression may match between any two characters, and at the end.
        return max(1, -(-len(content) // len(literal))) if literal else 1 + 2 * len(content)
    if kind == "Prepend":
        return 1 + len(str(normalizer.get("prepend", "")))
    if kind == "Precompiled":
        table = base64.b64decode(str(normalizer.get("precompiled_charsmap") or ""))
        trie = int.from_bytes(table[:4], "little")
        return max([1, *map(len, table[4 + trie :].split(b"\0"))])
    return 1  # the others fold what Unicode has, which is bounded, and no more by doing it twice


def _limit(limits: dict[str, int]) -> None:
    """Limit this process; where a system knows no such limits, the wall time is what bounds it."""
    try:
        import resource
    except ImportError:
        return
    memory = limits["memory"] << 20
    bounds = (
        (resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1)),
        (resource.RLIMIT_AS, (memory, memory)),
        (resource.RLIMIT_CORE, (0, 0)),
    )
    for what, bound in bounds:
        with contextlib.suppress(ValueError, OSError):  # a lower one may be set already
            resource.setrlimit(what, bound)


def main() -> None:
    """Answer the path of a serialised tokenizer with what is wrong with it."""
    document = json.load(sys.stdin)
    _limit(document["limits"])
    try:
        wrong = check(Path(document["given"]).read_text(encoding="utf-8"))
    except MemoryError:
        raise
    except BaseException as error:  # a panic of the library is no Exception
        wrong = f"it cannot be read: {' '.join(str(error).split())[:200] or type(error).__name__}"
    json.dump(wrong, sys.stdout)


if __name__ == "__main__":
    main()
