"""Prompts that are scored beside a cell's own, because a rule or a calibration compares with them.

    premise       the end of the template alone, then each answer of the item     rule pmi
    null          nothing, then each answer of the item                           rule unconditional
    contextual    the item's prompt with nothing in particular in its text        calibration contextual
    domain        the same with random words of the pool                          calibration domain

They are requests like any other, so they join the run's one trie, and their scores are stored.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.calibrate import CONTENT_FREE, DOMAIN_TEXTS
from harness.records import Example, Prompt, Segment, digest
from harness.render import Renderer
from harness.templates import Template
from harness.words import pieces, put_together

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Companion:
    """Prompts beside those of a cell's n items.

    ``context``, shape [n], is given where each context has ``per_context`` prompts: item ``i`` goes with the prompts
    from ``context[i] * per_context`` on. Without it, prompt ``i`` is item ``i``'s.
    """

    prompts: Sequence[Prompt]
    context: Integers | None = None
    per_context: int = 1


def premise(template: Template, items: Sequence[Example], prompts: Sequence[Prompt]) -> Companion:
    """Each item's answers after the template's domain premise (Holtzman et al. 2021, section 3)."""
    return Companion([_after(template.premise(item), prompt) for item, prompt in zip(items, prompts, strict=True)])


def null(prompts: Sequence[Prompt]) -> Companion:
    """Each item's answers after nothing at all."""
    return Companion([_after("", prompt) for prompt in prompts])


def contextual(items: Sequence[Example], demos: Sequence[Sequence[Example]], renderer: Renderer) -> Companion:
    """Content-free inputs after each item's own demonstrations; contexts that are alike are one."""
    fillers: list[Callable[[str], str]] = [lambda _, text=text: text for text in CONTENT_FREE]  # type: ignore[misc]
    return _contexts(items, demos, renderer, fillers)


def domain(
    items: Sequence[Example],
    demos: Sequence[Sequence[Example]],
    renderer: Renderer,
    pool: Sequence[Example],
    task: str,
) -> Companion:
    """Random words of the pool, as many as its texts have on average, after each item's own demonstrations."""
    vocabulary = _vocabulary(pool)
    texts = [_random_texts(vocabulary, task, number) for number in range(DOMAIN_TEXTS)]
    fillers: list[Callable[[str], str]] = [lambda name, text=text: text.get(name, "") for text in texts]  # type: ignore[misc]
    return _contexts(items, demos, renderer, fillers)


def text_fields(items: Iterable[Example]) -> list[str]:
    """The names of the fields that hold text in any of the items."""
    found = [name for item in items for name, value in item.fields.items() if isinstance(value, str)]
    return list(dict.fromkeys(found))


def filled(item: Example, filler: Callable[[str], str]) -> Example:
    """The item with other text in its text fields; ``filler`` gives it by field name."""
    fields = {name: filler(name) if isinstance(value, str) else value for name, value in item.fields.items()}
    return replace(item, fields=fields, place=f"{item.place}, its text replaced")


def _after(text: str, prompt: Prompt) -> Prompt:
    """What is scored of a prompt, after another text alone, with the white space that stands before it in the prompt.

    The label word goes, too, where it is what the scored text follows (a channel template).
    """
    answers = tuple(replace(answer, given="") for answer in prompt.answers)
    own = prompt.answers[0].given or prompt.segments[-1].text
    segment = Segment("query", "prefix", text + own[len(own.rstrip()) :])
    return Prompt(prompt.item_id, (segment,), answers, ())


def _contexts(
    items: Sequence[Example],
    demos: Sequence[Sequence[Example]],
    renderer: Renderer,
    fillers: Sequence[Callable[[str], str]],
) -> Companion:
    known: dict[str, int] = {}
    prompts: list[Prompt] = []
    context = np.empty(len(items), np.int64)
    for index, (item, shown) in enumerate(zip(items, demos, strict=True)):
        others = {name: value for name, value in item.fields.items() if not isinstance(value, str)}
        key = digest([[demo.item_id for demo in shown], others, list(item.options)])
        if key not in known:
            known[key] = len(known)
            prompts += [renderer.prompt(filled(item, filler), shown) for filler in fillers]
        context[index] = known[key]
    return Companion(prompts, context, len(fillers))


def _random_texts(vocabulary: Mapping[str, tuple[Sequence[str], int]], task: str, number: int) -> Mapping[str, str]:
    """One text for each text field, its words drawn one by one from all words of the field in the pool."""
    found = {}
    for name, (words, length) in vocabulary.items():
        rng = random.Random(f"{task} {name} domain {number}")  # noqa: S311 - a seeded draw
        found[name] = put_together(rng.choices(words, k=length))
    return found


def _vocabulary(pool: Sequence[Example]) -> dict[str, tuple[list[str], int]]:
    """Of each text field, all its words in the pool, by the ids of the examples, and how many a text has on average."""
    found = {}
    ordered = sorted(pool, key=lambda example: example.item_id)
    for name in text_fields(pool):
        rows = [pieces(value) for example in ordered if isinstance(value := example.fields[name], str)]
        words = [word for row in rows for word in row] or [""]
        found[name] = (words, math.ceil(len(words) / len(rows)))
    return found
