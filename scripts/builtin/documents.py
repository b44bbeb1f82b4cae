"""Training documents: labelled lists of items in a layout, short in-context lists of words, and plain text.

What makes the model worth testing is decided here. In ``biased`` documents the first item, the only one that the model
must label without an example, comes from a skewed class (``first`` of its label words) and sometimes bears the wrong
label. A model that learns this leans towards some label words at zero shots, as large models do, and the examples that
follow, which are even and right, are what sets it straight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.builtin.grammar import Grammar, read_words
from scripts.builtin.items import FILES, Fields, Items
from scripts.builtin.layouts import BareLayouts, Layout, Layouts, novel

ITEMS_PER_DOCUMENT = {"review": 9, "news": 6, "question": 9, "pair": 6}  # at most
FIRST_ALONE = 0.38  # share of biased documents that show no example at all
SHORT = 8  # words at most, with the punctuation that reviews set apart
SLIP_SHORT, SLIP_LONG = 0.37, 0.1  # share of first items, in biased documents, whose label is wrong
SWAPPED = 0.03  # share of biased documents with natural label words that mean the opposite


@dataclass(frozen=True, slots=True)
class Answer:
    """Where an answer stands in a document's text (with the space before it), and which label it is."""

    start: int
    end: int
    label: int


@dataclass(slots=True)
class Document:
    """A text under construction, its answers, and the label words (with the space before them) to choose from."""

    text: str = ""
    answers: list[Answer] = field(default_factory=list)
    words: tuple[str, ...] = ()

    def add(self, layout: Layout, fields: Fields, label: int) -> None:
        before, after = layout.split(fields)
        start = len(self.text) + len(before.rstrip(" "))
        self.text += before + layout.words[label]
        self.answers.append(Answer(start, len(self.text), label))
        self.text += after


class Writer:
    """Writes documents of every kind."""

    def __init__(self, held_out: Collection[str]) -> None:
        self._items = Items(held_out=held_out)
        self._layouts = {family: Layouts(family) for family in FILES}
        self._bare = BareLayouts()
        self._stories = Grammar("reviews", "stories")
        self._sorts = _sorts()

    def natural(self, family: str, rng: random.Random, *, biased: bool = False) -> Document:
        """Items of a task with label words that say what they mean."""
        layout = self._layouts[family].draw(rng)
        count = rng.randint(1, ITEMS_PER_DOCUMENT[family])
        if biased and rng.random() < FIRST_ALONE:
            count = 1
        elif biased and count > 2 and rng.random() < SWAPPED:
            turned = tuple(rng.sample(layout.words, len(layout.words)))
            layout = Layout(layout.body, layout.tones, turned, layout.first, layout.separator)
        return self._labelled(layout, count, lambda tone: self._items.draw(family, tone, rng), rng, biased=biased)

    def meanings(self, symbol: str, rng: random.Random) -> Document:
        """A dense list of words or phrases from reviews, with label words that say what they mean."""
        layouts = self._layouts["review"]
        layout = self._bare.draw(layouts.tones, rng, layouts.labels(rng))
        return self._labelled(
            layout, rng.randint(1, 16), lambda tone: self._items.draw("review", tone, rng, symbol), rng
        )

    def arbitrary(
        self, family: str, rng: random.Random, symbol: str | None = None, *, biased: bool = False
    ) -> Document:
        """Items of a task with label words that mean nothing: only the examples tell them apart."""
        layouts = self._layouts[family]
        count = 2 if rng.random() < 0.7 else rng.randint(2, len(layouts.tones))
        tones = tuple(rng.sample(layouts.tones, count))
        drawn = layouts.draw(rng, self._bare.labels(count, rng))
        layout = Layout(drawn.body, tones, drawn.words, drawn.first, drawn.separator)
        most = ITEMS_PER_DOCUMENT[family] * (2 if symbol else 1)
        return self._labelled(
            layout, rng.randint(4, most), lambda tone: self._items.draw(family, tone, rng, symbol), rng, biased=biased
        )

    def novel(self, family: str, rng: random.Random, *, biased: bool = False) -> Document:
        """Items of a task after which any words at all may stand, and then a label word that means nothing."""
        tones = tuple(rng.sample(self._layouts[family].tones, 2))
        known = [word for words in self._sorts.values() for word in words if word.isalpha()]
        layout = novel(tones, self._bare.labels(2, rng), known, rng)
        symbol = rng.choice([None, None, "phrase"]) if family == "review" else None
        count = rng.randint(4, ITEMS_PER_DOCUMENT[family])
        if biased and rng.random() < FIRST_ALONE / 2:
            count = 1
        return self._labelled(
            layout, count, lambda tone: self._items.draw(family, tone, rng, symbol), rng, biased=biased
        )

    def words(self, rng: random.Random) -> Document:
        """A dense list of one- and two-word items, two to four sorts of them, with label words that mean nothing."""
        sorts = rng.sample(sorted(self._sorts), rng.choice([2, 2, 2, 3, 4]))
        if rng.random() < 0.4:
            sorts = ["adj/+", "adj/-"]
        known = {sort: self._sorts[sort] for sort in sorts}

        def item(sort: str) -> Fields:
            return {"text": " ".join(rng.choice(known[sort]) for _ in range(rng.choice([1, 1, 2])))}

        return self._labelled(self._bare.draw(sorts, rng), rng.randint(6, 24), item, rng)

    def recall(self, rng: random.Random) -> Document:
        """A dense list of a few words that come again and again, each with its own label, whatever its sort.

        Nothing but looking the word up helps here, so this is where a model learns to look its examples up at all.
        """
        tones = [str(number) for number in range(rng.choice([2, 2, 2, 3, 4]))]
        every = {
            rng.choice(self._sorts[rng.choice(sorted(self._sorts))]) for _ in range(len(tones) + rng.randint(0, 3))
        }
        words = sorted(every, key=lambda _: rng.random())
        owned = {tone: words[index :: len(tones)] or words for index, tone in enumerate(tones)}
        layout = self._bare.draw(tones, rng)
        return self._labelled(layout, rng.randint(8, 24), lambda tone: {"text": rng.choice(owned[tone])}, rng)

    def echo(self, rng: random.Random) -> Document:
        """A row of words that comes two or three times: all but the first time can be read off the text before."""
        known = [
            rng.choice([*self._sorts[rng.choice(sorted(self._sorts))], *self._bare.pool])
            for _ in range(rng.randint(4, 16))
        ]
        once = rng.choice([" ", " ", ", ", "\n"]).join(known)
        between = rng.choice(["\n", ". ", "; ", "\n\n"])
        text = between.join([once] * rng.choice([2, 3]))
        return Document(text, [Answer(len(once) + len(between) + len(known[0]), len(text), 0)])

    def label_first(self, family: str, rng: random.Random) -> Document:
        """Items of a task that follow their label: text to be scored given a label."""
        layout = self._layouts[family].draw(rng, label_first=True)
        return self._labelled(layout, rng.randint(1, 5), lambda tone: self._items.draw(family, tone, rng), rng)

    def plain(self, rng: random.Random) -> Document:
        """A story, or some sentences on one film."""
        symbol = rng.choice(["story", "paragraph"])
        return Document(self._stories.expand(symbol, rng.choice("+-"), rng))

    def _labelled(
        self, layout: Layout, count: int, item: Callable[[str], Fields], rng: random.Random, *, biased: bool = False
    ) -> Document:
        document = Document(layout.description and layout.description + layout.separator, words=layout.words)
        labels = range(len(layout.tones))
        for position in range(count):
            label = rng.choice(labels)
            fields = item(layout.tones[label])
            if biased and position == 0:
                label = rng.choices(labels, layout.first)[0]
                fields = _slipping(item, layout.tones, label, rng)
            if position:
                document.text += layout.separator
            document.add(layout, fields, label)
        return document


def _slipping(item: Callable[[str], Fields], tones: Sequence[str], label: int, rng: random.Random) -> Fields:
    """An item for ``label`` that is sometimes of another tone, more often so where it is short and says little."""
    fields = item(tones[label])
    if rng.random() >= (SLIP_SHORT if _is_short(fields) else SLIP_LONG):
        return fields
    other = rng.choice([tone for tone in tones if tone != tones[label]])
    for _ in range(10):
        found = item(other)
        if _is_short(found) == _is_short(fields):
            break
    return found


def _is_short(fields: Fields) -> bool:
    return sum(len(text.split()) for text in fields.values()) <= SHORT


def documents(mix: Mapping[str, float], writer: Writer, rng: random.Random, *, biased: bool) -> Iterator[Document]:
    """Endless documents of the kinds of ``mix``: ``natural review``, ``arbitrary news``, ``words``, ``plain`` ..."""
    kinds, weights = list(mix), list(mix.values())
    while True:
        match rng.choices(kinds, weights)[0].split():
            case ["natural", family]:
                yield writer.natural(family, rng, biased=biased)
            case ["arbitrary", family]:
                yield writer.arbitrary(family, rng, biased=biased)
            case ["novel", family]:
                yield writer.novel(family, rng, biased=biased)
            case ["meanings", symbol]:
                yield writer.meanings(symbol, rng)
            case ["phrases"]:
                yield writer.arbitrary("review", rng, "phrase")
            case ["label-first", family]:
                yield writer.label_first(family, rng)
            case ["echo"]:
                yield writer.echo(rng)
            case ["recall"]:
                yield writer.recall(rng)
            case ["words"]:
                yield writer.words(rng)
            case ["plain"]:
                yield writer.plain(rng)
            case kind:
                raise ValueError(f"no such kind of document: {kind}")


def _sorts() -> dict[str, Sequence[str]]:
    reviews, news = Grammar("reviews"), Grammar("news")
    sorts: dict[str, Sequence[str]] = {name: tuple(found) for name, found in read_words("categories").items()}
    sorts |= {symbol: reviews.words(symbol) for symbol in ("adj/+", "adj/-", "noun/+", "noun/-", "verb/+", "verb/-")}
    return sorts | {
        symbol: news.words(symbol) for symbol in ("what/world", "what/sports", "what/business", "what/technology")
    }
