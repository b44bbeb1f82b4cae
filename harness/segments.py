"""Tokenises texts by the segments that they share: each distinct segment once, in however many texts it stands.

A segment here is what lies between two cuts, whatever its part in the prompt. Cuts are made at newlines and, once,
before the answer:

    "Review: a dull film\\nSentiment: bad" | "\\n\\nReview: a fine one\\nSentiment:" | " good"

A tokenizer must treat the two sides of a cut apart. ``find_cuts`` probes after which characters it does. Every segment
but a text's first is encoded behind a guard, so that what a tokenizer does to the beginning of a text (such as putting
a space before it) is done to the guard. And a sample of each cell is compared with its texts tokenised whole. Once any
of this fails, texts are tokenised whole.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_GUARD = "a"
_FIRST = "^"  # marks the first segment of a text; all others begin with white space
_MAX_HELD = 1 << 22  # tokens of all the segments remembered, at 12 bytes each

# The classes of characters that a cut may follow, each with some to probe; and what is probed after them.
_ALPHANUMERIC = r"[^\W_]"
_CLASSES = {_ALPHANUMERIC: "a7éя好", **{re.escape(mark): mark for mark in f"{string.punctuation}。，；：！？、…）”"}}
_LINES = ("\n", "\n\n", "\na", "\n a", "\n7", "\n好", "\n.")
_WORDS = (" a", " 7", " é", " 好")


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One tokenised text of ``length`` characters.

    Shapes: ids int32 [n]; offsets int32 [n, 2], the characters at which each token begins and ends.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]
    length: int


@dataclass(frozen=True, slots=True)
class Branches:
    """Texts that begin alike: ``stem``, which does not end in white space, with each of ``endings``."""

    stem: str
    endings: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBranches:
    """The tokens of branches: those that cover the first ``length`` characters of all, then what is each one's own.

    Every shared token begins before the stem ends. Offsets of ``endings`` are counted from ``length`` on.
    Shapes: shared int32 [n].
    """

    shared: npt.NDArray[np.int32]
    length: int
    endings: Sequence[Encoding]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where a tokenizer treats both sides of a cut apart: before a newline after a character of ``lines``, and before
    a single space between one of ``words`` and a letter or digit. Both are regular expressions; None: nowhere."""

    lines: str | None = None
    words: str | None = None


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer.

    ``prefix`` is put before every sequence (under the BOS policy), ``opening`` stands in for an empty context (BOS,
    else EOS; None if it has neither).
    """

    @property
    def prefix(self) -> tuple[int, ...]: ...

    @property
    def opening(self) -> int | None: ...

    @property
    def cuts(self) -> Cuts: ...

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenise without special tokens of the tokenizer's own."""
        ...


def encode_whole(tokenizer: Tokenizer, texts: Sequence[Branches]) -> list[EncodedBranches]:
    """Tokenise every stem with each of its endings as one string: the slow, obvious twin."""
    found = iter(tokenizer.encode([branches.stem + ending for branches in texts for ending in branches.endings]))
    return [EncodedBranches(np.zeros(0, np.int32), 0, [next(found) for _ in branches.endings]) for branches in texts]


class SharedSegments:
    """Does what ``encode_whole`` does, by shared segments as long as they give the same.

    ``in_use`` says whether they still do.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Encoding] = {}
        self._held = 0
        self.in_use = tokenizer.cuts != Cuts()
        lines, words = (pattern or "(?!)" for pattern in (tokenizer.cuts.lines, tokenizer.cuts.words))
        # The newline stands first: a search for one literal character is far quicker than one for a class.
        self._line = re.compile(rf"\n(?<={lines}\n)")
        self._seam = re.compile(rf"{lines}\n|{words} {_ALPHANUMERIC}")

    def encode(self, texts: Sequence[Branches]) -> list[EncodedBranches]:
        """Tokenise every stem with each of its endings."""
        if self.in_use:
            begin = self._last_cut(_common_beginning([branches.stem for branches in texts]))
            # What all begin with (the same demonstrations, mostly) is cut and joined once.
            opening = _first(self._split(texts[0].stem[:begin])) if begin else []
            cuts = [self._cut(branches, begin) for branches in texts]
            self.in_use = self._learn(chain(opening, *(chain(stem, *endings) for stem, endings in cuts)))
        if not self.in_use:
            return encode_whole(self._tokenizer, texts)
        head = [self._join(opening)] if opening else []
        return [self._branches(head, stem, endings) for stem, endings in cuts]

    def check(self, texts: Sequence[Branches]) -> None:
        """Compare with texts tokenised whole; any difference ends the use of segments."""
        if self.in_use:
            both = zip(texts, self.encode(texts), encode_whole(self._tokenizer, texts), strict=True)
            self.in_use = self.in_use and all(_agree(len(own.stem), joined, whole) for own, joined, whole in both)

    def _last_cut(self, text: str) -> int:
        place = text.rfind("\n")
        while place > 0 and not self._line.match(text, place):
            place = text.rfind("\n", 0, place)
        return max(place, 0)

    def _cut(self, texts: Branches, begin: int) -> tuple[list[str], list[list[str]]]:
        """The segments of the stem from the cut at ``begin`` on, and those of each ending.

        Where there is no cut between the two, each ending takes in the stem's last segment.
        """
        stem, endings = self._split(texts.stem[begin:]), texts.endings
        if not texts.stem or not all(self._seam.match(texts.stem[-1] + ending[:2]) for ending in endings):
            last = stem.pop()
            endings = [last + ending for ending in endings]
        rests = [self._split(ending) for ending in endings]
        if begin:
            return stem, rests
        return (_first(stem), rests) if stem else (stem, list(map(_first, rests)))

    def _split(self, text: str) -> list[str]:
        places = [match.start() for match in self._line.finditer(text)]
        return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]

    def _learn(self, segments: Iterable[str]) -> bool:
        """Tokenise the segments that are new; false if one does not come apart from its guard."""
        if self._held > _MAX_HELD:
            self._known.clear()
            self._held = 0
        new = [segment for segment in dict.fromkeys(segments) if segment not in self._known]
        texts = [segment[1:] if segment[0] == _FIRST else _GUARD + segment for segment in new]
        guard, *found = self._tokenizer.encode([_GUARD, *texts])
        for segment, encoding in zip(new, found, strict=True):
            own = encoding if segment[0] == _FIRST else _behind(guard, encoding)
            if own is None:
                return False
            self._known[segment] = own
            self._held += len(own.ids)
        return True

    def _branches(self, head: list[Encoding], stem: list[str], endings: list[list[str]]) -> EncodedBranches:
        if stem and self._known[stem[-1]].offsets[:, 0].max(initial=0) >= self._known[stem[-1]].length:
            # A token without width at the end of the stem (a trimmed space) counts with what follows.
            *stem, last = stem
            endings = [[last, *ending] for ending in endings]
        parts = [*head, *(self._known[segment] for segment in stem)]
        shared = np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)])
        return EncodedBranches(shared, sum(part.length for part in parts), [self._join(ending) for ending in endings])

    def _join(self, segments: Sequence[str]) -> Encoding:
        parts = [self._known[segment] for segment in segments]
        if len(parts) == 1:
            return parts[0]
        *begins, length = accumulate((part.length for part in parts), initial=0)
        offsets = np.concatenate([part.offsets + np.int32(begin) for part, begin in zip(parts, begins, strict=True)])
        return Encoding(np.concatenate([part.ids for part in parts]), offsets, length)


def _first(segments: list[str]) -> list[str]:
    return [_FIRST + segments[0], *segments[1:]]


def _common_beginning(texts: Sequence[str]) -> str:
    least, greatest = min(texts, default=""), max(texts, default="")
    pairs = enumerate(zip(least, greatest, strict=False))
    return least[: next((i for i, (one, other) in pairs if one != other), len(least))]


def _behind(guard: Encoding, encoding: Encoding) -> Encoding | None:
    """What follows the guard, or None if the two have become one."""
    count = len(guard.ids)
    ids, offsets = encoding.ids[count:], encoding.offsets[count:] - np.int32(guard.length)
    if (
        encoding.ids[:count].tobytes() != guard.ids.tobytes()
        or encoding.offsets[:count].tobytes() != guard.offsets.tobytes()
        or (offsets < 0).any()
    ):
        return None
    return Encoding(ids, offsets, encoding.length - guard.length)


def _agree(stem: int, joined: EncodedBranches, whole: EncodedBranches) -> bool:
    count, length = len(joined.shared), joined.length
    return all(
        np.array_equal(np.concatenate([joined.shared, mine.ids]), theirs.ids)
        and np.array_equal(mine.offsets, theirs.offsets[count:] - length)
        and bool((theirs.offsets[:count] <= (stem - 1, length)).all())
        for mine, theirs in zip(joined.endings, whole.endings, strict=True)
    )


def find_cuts(backend: Any) -> Cuts:
    """Probe a tokenizer of the library ``tokenizers`` for the characters after which texts may be cut.

    The sides of a cut are apart if pre-tokenising puts them into different words, since a model tokenises each word by
    itself; or if the model is a BPE with no piece that could reach across, since then no merge can. A cut after an
    added token is never safe: it may take in the space that follows.
    """
    tokens = backend.get_added_tokens_decoder().values()
    added = [token.content for token in tokens]
    # One may reach across a cut, or stand after it only where what is before it is no letter, as the guard is.
    if any(re.search(r"^\s|\S\s" if token.single_word else r"\S\s", token.content) for token in tokens):
        return Cuts()

    def after(rights: Sequence[str], space: str) -> str | None:
        by_words = not _merges_stop_at(space, backend)
        found = [
            one
            for one, marks in _CLASSES.items()
            if not any(re.search(rf"{one}\Z", content) for content in added)
            and all(_apart(backend, left + mark, rights, by_words) for mark in marks for left in ("a", "a "))
        ]
        # The guard is a letter: nothing can be said behind it if letters do not come apart.
        return f"(?:{'|'.join(found)})" if _ALPHANUMERIC in found else None

    return Cuts(after(_LINES, r"[\r\n]|<0x0[AD]>"), after(_WORDS, "[ ▁]"))


def _apart(backend: Any, left: str, rights: Sequence[str], by_words: bool) -> bool:
    """Whether no token, nor any word if ``by_words``, has a part both in ``left`` and in what follows it."""
    for found in backend.encode_batch([left + right for right in rights], add_special_tokens=False):
        tokens = list(zip(found.offsets, found.word_ids, strict=True))
        if any(begin < len(left) < end for (begin, end), _ in tokens):
            return False
        before = {word for (begin, _), word in tokens if begin < len(left)}
        if by_words and any(begin >= len(left) and word in before for (begin, _), word in tokens):
            return False
    return True


def _merges_stop_at(space: str, backend: Any) -> bool:
    """Whether this is a BPE that spells white space as such, and has no piece with ``space`` after anything else."""
    if type(backend.model).__name__ != "BPE" or backend.model.ignore_merges:
        return False
    spelled = "".join(backend.encode("a\na a", add_special_tokens=False).tokens)
    return re.fullmatch(r"▁?a(\n|<0x0A>)a[▁ ]a", spelled) is not None and not any(
        re.search(rf"[^\s▁](?:{space})", piece) for piece in backend.get_vocab(with_added_tokens=False)
    )
