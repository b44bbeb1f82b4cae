"""Demonstrations: which examples of the pool stand before an item, and in which order.

A draw gives an order, so that the k demonstrations are the first k of every larger draw. It is the same for every
template and model (but for an encoder that is the model), and depends on the task, the seed and the item alone: not on
other items, nor on the order of rows in a file. It never sees how items are rendered.

Each file imports only those above it:

    text        what examples are compared by
    duplicates  what gives an item away and is never its demonstration
    seeded      draws by chance: fixed, balanced, per-item, stratified
    bm25        likeness by shared words
    retrieval   draws by likeness: bm25, knn, mmr
    order       how demonstrations stand before the query, and the choice of an order by entropy
    drawing     all of these together
    listed      a user's own list: file
"""

from __future__ import annotations

from harness.shots.drawing import STRATEGIES, Demonstrations, Strategy
from harness.shots.duplicates import GUARD, NearDuplicates
from harness.shots.listed import ListedRows
from harness.shots.order import Measure, choose_order, count_orders, entropy, global_entropy, local_entropy
from harness.shots.retrieval import Embed
from harness.shots.seeded import SEEDED

__all__ = [
    "GUARD",
    "SEEDED",
    "STRATEGIES",
    "Demonstrations",
    "Embed",
    "ListedRows",
    "Measure",
    "NearDuplicates",
    "Strategy",
    "choose_order",
    "count_orders",
    "entropy",
    "global_entropy",
    "local_entropy",
]
