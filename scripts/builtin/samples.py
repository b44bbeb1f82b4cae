"""Writes the built-in samples: a few hundred items of each task, in the columns and splits that its task file names.

The training splits of three tasks are larger than that, because their task files take the last 1,000 rows for the role
``select`` and only what is left is the pool.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.builtin.items import Items
from scripts.builtin.layouts import Layouts


@dataclass(frozen=True, slots=True)
class Sample:
    """One task's sample: sizes by split, the source column of each field, the share of each label."""

    task: str
    family: str
    sizes: Mapping[str, int]
    columns: Mapping[str, str]
    target: str
    shares: tuple[int, ...]


PAIR = {"premise": "sentence1", "hypothesis": "sentence2"}
SAMPLES = (
    Sample("sst2", "review", {"train": 1300, "validation": 300}, {"text": "sentence"}, "label", (1, 1)),
    Sample("ag_news", "news", {"train": 1300, "test": 200}, {"text": "text"}, "label", (1, 1, 1, 1)),
    Sample("trec", "question", {"train": 1300, "test": 200}, {"text": "text"}, "coarse_label", (1, 2, 2, 2, 2, 2)),
    Sample("rte", "pair", {"train": 375, "validation": 200}, PAIR, "label", (1, 1)),
)  # fmt: skip


def write_samples(folder: Path, seed: int) -> frozenset[str]:
    """Write every sample under ``folder``; give the texts (of pairs, the passages), to be kept out of training."""
    items = Items(reserved=True)
    texts: set[str] = set()
    for sample in SAMPLES:
        rng = random.Random(f"{seed} {sample.task}")
        tones = Layouts(sample.family).tones
        for split, size in sample.sizes.items():
            rows = [_row(sample, tones, items, rng, texts) for _ in range(size)]
            path = folder / sample.task / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return frozenset(texts)


def _row(sample: Sample, tones: Sequence[str], items: Items, rng: random.Random, texts: set[str]) -> dict[str, object]:
    label = rng.choices(range(len(tones)), sample.shares)[0]
    while True:
        fields = items.draw(sample.family, tones[label], rng)
        text = next(iter(fields.values()))
        if text not in texts:
            texts.add(text)
            return {sample.columns[name]: value for name, value in fields.items()} | {sample.target: label}
