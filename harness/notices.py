"""What a reader must know before believing a row: each notice, and the few lines that stand for many of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.calibrate import TRANSDUCTIVE
from harness.cell_results import CellResult
from harness.paired import compare, not_worse_than_best
from harness.row_names import row_names
from harness.signature import CELL_KEY, ROW_KEY
from harness.summary import Row

MOST = 3  # lines that stand for all notices
_MOST_NAMED = 3  # rows in one notice
_BUT_CONTROL = [name for name in ROW_KEY if name != "control"]  # what a row and its control share
_FEW_CLOSE = 0.01  # share of predictions within float rounding that is no news; a manifest lists them all

# What kinds of notices there are, the weightiest first.
Kind = Literal["control", "one label", "too long", "shortened", "noise", "close", "transductive"]
_ORDER: Sequence[Kind] = ("control", "one label", "too long", "shortened", "noise", "close", "transductive")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about one row, or about the rows of one task."""

    kind: Kind
    text: str


def findings(rows: Iterable[Row]) -> list[Notice]:
    """Every notice, kind by kind as they come."""
    named = list(_named(list(rows)))
    found = [*_within_noise(named), *_beaten_by_controls(named)]
    for row, name in named:
        if row.signature.control is None:
            found += _of_row(row, name)
    return found


def notices(rows: Iterable[Row]) -> list[str]:
    """The text of every notice."""
    return [notice.text for notice in findings(rows)]


def in_short(found: Sequence[Notice], ask: str = "--notices") -> list[str]:
    """At most ``MOST`` lines, one for each kind of notice, and how to get those that they stand for."""
    lines = []
    kinds = [kind for kind in _ORDER if any(notice.kind == kind for notice in found)]
    for place, kind in enumerate(kinds[:MOST]):
        alike = [notice.text for notice in found if notice.kind == kind]
        more = [f"{len(alike) - 1} more like it"] if alike[1:] else []
        rest = sum(notice.kind not in kinds[:MOST] for notice in found) if place == MOST - 1 else 0
        more += [f"{rest} of other kinds"] if rest else []
        told = f" ({', '.join(more)}: {ask})" if more else ""
        lines.append(alike[0] + told)
    return lines


def _named(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    yield from zip(rows, row_names(rows), strict=True)


def _within_noise(named: Sequence[tuple[Row, str]]) -> Iterator[Notice]:
    """For each task whose best row is not alone: which others are not worse beyond chance."""
    groups: dict[tuple[object, ...], list[tuple[Row, str]]] = {}
    for row, name in named:
        if row.signature.control is None:
            key = (row.task_label, row.signature.split, row.items_hash)
            groups.setdefault(key, []).append((row, name))
    for group in groups.values():
        (best, best_name), *others = sorted(group, key=lambda pair: -pair[0].item_accuracy.mean())
        scores = np.stack([best.item_accuracy, *(row.item_accuracy for row, _ in others)])
        marked = not_worse_than_best(scores, best.clusters)[1:]
        close = [name for (_, name), near in zip(others, marked, strict=True) if near]
        if close:
            told = "; ".join(close[:_MOST_NAMED])
            more = f"; {len(close) - _MOST_NAMED} more" if close[_MOST_NAMED:] else ""
            yield Notice("noise", f"within noise of {best_name}: {told}{more}")


def _beaten_by_controls(named: Sequence[tuple[Row, str]]) -> Iterator[Notice]:
    """For each row that is no better than one of its controls, in a paired comparison of accuracy.

    A control may be of some of the row's prompts alone, where it would change nothing of the others; it is compared
    with those.
    """
    controls = [row for row, _ in named if row.signature.control is not None]
    for row, name in named:
        if row.signature.control is not None:
            continue
        for control in controls:
            if not _is_control_of(control, row):
                continue
            pairs = _same_prompts(row, control)
            if not pairs:
                continue
            real, other = (
                np.mean([cell.prediction == cell.gold for cell in side], axis=0) for side in zip(*pairs, strict=True)
            )
            gain = compare(real, other, row.clusters).difference
            if gain.low > 0 or (np.isnan(gain.low) and gain.mean > 0):
                continue
            # Without an interval, the difference is the same on every item, or there is one item.
            known = " on every item" if np.isnan(gain.low) else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            yield Notice(
                "control",
                f"{name}: {100 * real.mean():.1f}% does not beat its control {control.signature.control},"
                f" {100 * other.mean():.1f}%: difference {100 * gain.mean:+.1f}{known}",
            )


def _same_prompts(row: Row, control: Row) -> list[tuple[CellResult, CellResult]]:
    """The cells of a row and of its control that are of one prompt."""

    def prompt(cell: CellResult) -> tuple[object, ...]:
        return tuple(cell.signature.values([*CELL_KEY, "template_hash"]))

    known = {prompt(cell): cell for cell in row.cells}
    return [(known[prompt(cell)], cell) for cell in control.cells if prompt(cell) in known]


def _is_control_of(control: Row, row: Row) -> bool:
    same = control.signature.values(_BUT_CONTROL) == row.signature.values(_BUT_CONTROL)
    return same and (control.items_hash, control.chosen, control.part) == (row.items_hash, row.chosen, row.part)


def _of_row(row: Row, name: str) -> Iterator[Notice]:
    top = int(np.argmax(row.predicted_share))
    share, gold = row.predicted_share[top], row.gold_share[top]
    of_one_label = row.part is not None and row.part[0] == "class"
    if share > 0.8 and share - gold > 0.2 and row.signature.method != "majority" and not of_one_label:
        told = f"predicts {row.labels[top]!r} for {share:.0%} of items; the gold share is {gold:.0%}"
        yield Notice("one label", f"{name}: {told}")
    if row.too_long:
        told = f"{row.too_long} of {row.predictions} prompts do not fit the model and count as wrong"
        yield Notice("too long", f"{name}: {told}")
    if row.shortened:
        told = f"{row.shortened} of {row.predictions} prompts lost demonstrations to fit the model"
        yield Notice("shortened", f"{name}: {told}")
    if row.signature.calibration in TRANSDUCTIVE:
        told = f"{row.signature.calibration} calibration is transductive: it saw all items at once"
        yield Notice("transductive", f"{name}: {told}")
    if row.close > _FEW_CLOSE * row.predictions:
        told = f"{row.close} of {row.predictions} predictions are within float rounding of another label"
        yield Notice("close", f"{name}: {told}")
