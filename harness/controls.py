"""Controls: the same evaluation with what should matter taken away. A result that does not beat them is a label prior.

content-free   nothing in particular in the item's text
partial:FIELD  one of several text fields alone, the others empty (Gururangan et al. 2018)
permuted       the labels of the demonstrations change places
noise          half of the demonstrations bear a wrong label (Min et al. 2022)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from harness.companions import filled
from harness.records import ControlName, Example

OF_DEMOS: frozenset[ControlName] = frozenset({"permuted", "noise"})  # the others are of the item
NOISE = 0.5


def control_seed(task: str, demo_seed: int | None) -> str:
    """What decides what a control of demonstrations leaves to chance, besides the demonstrations themselves."""
    return f"{task} {demo_seed}"


def controlled_items(control: str | None, items: Sequence[Example]) -> list[Example]:
    """The items as the control shows them; their ids and gold labels stay."""
    if control == "content-free":
        return [filled(item, lambda _: "N/A") for item in items]
    if control is not None and control.startswith("partial:"):
        kept = control.partition(":")[2]
        return [filled(item, lambda name, item=item: str(item.fields[name]) if name == kept else "") for item in items]  # type: ignore[misc]
    return list(items)


def controlled_demos(control: str | None, demos: Sequence[Example], seed: str) -> list[Example]:
    """The demonstrations as the control labels them; seeded, so that equal draws are labelled alike."""
    if control not in OF_DEMOS or not demos:
        return list(demos)
    rng = random.Random(f"{seed} {control} {' '.join(demo.item_id for demo in demos)}")  # noqa: S311 - a seeded draw
    golds = [demo.gold for demo in demos]
    if control == "permuted":
        labels = rng.sample(golds, len(golds))
        while labels == golds and len(set(golds)) > 1:
            labels = rng.sample(golds, len(golds))
    else:
        labels = list(golds)
        for place in rng.sample(range(len(demos)), int(NOISE * len(demos))):
            labels[place] = rng.choice([label for label in range(len(demos[place].options)) if label != golds[place]])
    return [replace(demo, gold=label) for demo, label in zip(demos, labels, strict=True)]
