"""What two compared rows say of one item: its gold label, and which of their prompts give which answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.compare import Pair
from harness.errors import UsageError
from harness.summary import Row
from harness.terminal import one_line

_SUGGESTED = 3


@dataclass(frozen=True, slots=True)
class ComparedItem:
    """One item of a pair. ``first`` and ``second`` name the prompts (or seeds) of each answer; None is no answer."""

    item_id: str
    gold: str
    first: dict[str | None, list[str]]
    second: dict[str | None, list[str]]

    def as_text(self) -> str:
        lines = [f"  item {self.item_id}: gold {self.gold}"]
        for side, answers in (("A", self.first), ("B", self.second)):
            total = sum(map(len, answers.values()))
            told = [
                f"{'no answer' if label is None else label}{' (right)' if label == self.gold else ''} by"
                f" {len(names)} of {total}: {', '.join(names)}"
                for label, names in sorted(answers.items(), key=lambda pair: -len(pair[1]))
            ]
            lines.append(f"    {side}: {'; '.join(told)}")
        return "\n".join(map(one_line, lines))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        sides = {"first": self.first, "second": self.second}
        told = {
            side: [{"prediction": label, "by": names} for label, names in answers.items()]
            for side, answers in sides.items()
        }
        return {"item_id": self.item_id, "gold": self.gold, **told}


def compared_item(pair: Pair, wanted: str) -> ComparedItem | None:
    """The item of both rows whose id is, or begins with, what is wanted; None where they have none.

    Raises:
        UsageError: several ids begin so.
    """
    common = sorted(set(pair.first.item_ids) & set(pair.second.item_ids))
    found = [item for item in common if item == wanted] or [item for item in common if item.startswith(wanted)]
    if len(found) > 1:
        told = ", ".join(found[:_SUGGESTED])
        raise UsageError(f"--item {wanted}: fits {len(found)} items, such as {told}")
    if not found:
        return None
    (item,) = found
    place = list(pair.first.item_ids).index(item)
    gold = pair.first.labels[int(pair.first.cells[0].gold[place])]
    return ComparedItem(item, gold, _answers(pair.first, item), _answers(pair.second, item))


def _answers(row: Row, item: str) -> dict[str | None, list[str]]:
    place = list(row.item_ids).index(item)
    found: dict[str | None, list[str]] = {}
    for cell in row.cells:
        answer = int(cell.prediction[place])
        name = str(cell.signature.template).split("/")[-1]
        name += f" seed {cell.signature.demo_seed}" if row.seeds > 1 else ""
        name += f" order {cell.signature.order}" if row.orders > 1 else ""
        found.setdefault(None if answer < 0 else row.labels[answer], []).append(name)
    return found
