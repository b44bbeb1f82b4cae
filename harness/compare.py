"""Compares stored results on the same items: how much better, how sure, which items changed, and what else differs.

A side is a run, or rows of it: ``RUN[:key=value,...]``, the run by its id, the beginning of it, its folder or
``latest``; keys are those of a row, such as ``shots=4`` or ``rule=pmi``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.cell_results import CellResult, read_cells
from harness.errors import UsageError, suggest
from harness.paired import Comparison, adjust, compare
from harness.power import detectable_difference, detectable_paired
from harness.row_names import row_names
from harness.run_store import StoredRun, Tell, find_run
from harness.signature import ABOUT, STORED_NAMES, fields_that
from harness.summary import Row, summarise
from harness.terminal import one_line

# What a side may be narrowed by, as a user writes it: what makes a row, and which of its cells count.
_OF_CELLS = fields_that(lambda about: about.cell and about.narrows)
_OF_ROWS = fields_that(lambda about: about.row and about.narrows)
KEYS = {STORED_NAMES[name]: name for name in (*_OF_ROWS, *_OF_CELLS)}
# What rows of two sides are matched by.
_MATCHED = fields_that(lambda about: about.matches)
_TOLD = fields_that(lambda about: about.told)
_CHANGED = 10  # changed items that are named


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: the rows of a run that it names."""

    name: str
    run: StoredRun
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows on the same items. ``changed`` are ids of items on which they differ, with both accuracies.

    ``differs`` names the settings, hashes and versions that are not the same; ``p_value`` is adjusted by Holm's method
    over all pairs of the comparison.
    """

    first: Row
    second: Row
    result: Comparison
    p_value: float
    changed: Sequence[tuple[str, float, float]]
    differs: Mapping[str, tuple[Any, Any]]

    @property
    def detectable(self) -> float:
        """The smallest difference that these items would show in four of five tries, by the tests of ``paired``."""
        if self.result.mcnemar is not None:  # right or wrong, of independent items
            return detectable_paired(self.result.n, self.result.discordance)
        return detectable_difference(self.result.standard_error, self.result.units - 1)

    @property
    def worse(self) -> bool:
        """Whether the second is worse than the first beyond chance."""
        return self.result.difference.mean < 0 and self.p_value < 0.05

    def as_dict(self) -> dict[str, Any]:
        difference = self.result.difference
        ends = [None if np.isnan(end) else float(end) for end in (difference.low, difference.high)]
        return {
            "task": self.first.signature.task,
            "data": self.first.signature.data,
            "n": self.result.n,
            "first": self.first.as_dict(),
            "second": self.second.as_dict(),
            "difference": {"mean": float(difference.mean), "low": ends[0], "high": ends[1]},
            "p_value": self.p_value,
            "second_better": self.result.wins,
            "first_better": self.result.losses,
            "minimum_detectable_effect": None if np.isnan(self.detectable) else self.detectable,
            "differs": {key: list(values) for key, values in self.differs.items()},
            "changed": [item for item, _, _ in self.changed],
        }


def read_side(text: str, results: Path, tell: Tell) -> Side:
    """The run and rows that ``text`` names.

    Args:
        tell: told of other runs, whose manifests are damaged.

    Raises:
        UsageError: there is no such run, key or row.
        DamagedFileError: the run's files are damaged.
    """
    run, narrowing = find_run(text, results, tell)
    wanted = dict(_key_value(part, text) for part in narrowing.split(",") if part)
    cells = read_cells([run])
    for key in _OF_CELLS:
        if key in wanted:
            cells = _narrowed(cells, key, wanted.pop(key), text)
    rows = [row for row in summarise(cells) if _fits(row, wanted)]
    if not rows:
        raise UsageError(f"{text}: no row of that run fits; {_rows_of(summarise(read_cells([run])))}")
    return Side(text, run, rows)


def _fits(row: Row, wanted: Mapping[str, str]) -> bool:
    return all(str(row.signature.value(name)) == value for name, value in wanted.items())


def _narrowed(cells: list[CellResult], key: str, value: str, text: str) -> list[CellResult]:
    known = sorted({_stem(str(cell.signature.value(key))) for cell in cells})
    found = [cell for cell in cells if value in (str(cell.signature.value(key)), _stem(str(cell.signature.value(key))))]
    if not found:
        raise UsageError(f"{text}: has no {key.replace('_', ' ')} {value!r}{suggest(value, known)}")
    return found


def pairs(first: Side, second: Side) -> list[Pair]:
    """Every row of one side with the row of the other that it goes with; a difference is the second less the first.

    Raises:
        UsageError: no two rows can be paired, and why.
    """
    matched = _matched(first, second)
    found = []
    for one, other in matched:
        ids, left, right = _common_items(one, other, first, second)
        result = compare(other.item_accuracy[right], one.item_accuracy[left], _clusters(one, left))
        changed = [
            (ids[i], float(one.item_accuracy[a]), float(other.item_accuracy[b]))
            for i, (a, b) in enumerate(zip(left, right, strict=True))
            if one.item_accuracy[a] != other.item_accuracy[b]
        ]
        found.append((one, other, result, changed))
    adjusted = adjust(np.array([result.p_value for _, _, result, _ in found]))
    return [
        Pair(one, other, result, float(p), changed, _differing(one, other, first, second))
        for (one, other, result, changed), p in zip(found, adjusted, strict=True)
    ]


def as_text(found: Sequence[Pair], first: Side, second: Side) -> str:
    """The comparison for people to read: a block for each pair, headed by what A and B are."""
    blocks = []
    names = zip(row_names([pair.first for pair in found]), row_names([pair.second for pair in found]), strict=True)
    for pair, (one, other) in zip(found, names, strict=True):
        row, result, gap = pair.first, pair.result, pair.result.difference
        interval = "" if np.isnan(gap.low) else f" [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"
        lines = [
            f"A: {one}, {_prompts(pair.first)}, run {first.run.path.name}",
            f"B: {other}, {_prompts(pair.second)}, run {second.run.path.name}",
            f"{row.task_label}, {result.n} items: {100 * row.item_accuracy.mean():.1f}% and"
            f" {100 * pair.second.item_accuracy.mean():.1f}%, difference {100 * gap.mean:+.1f}{interval}, p ="
            f" {pair.p_value:.3g}{' (Holm)' if len(found) > 1 else ''}",
            f"  B is better on {result.wins} items and worse on {result.losses}",
        ]
        if not np.isnan(pair.detectable):
            lines.append(f"  a difference of {100 * pair.detectable:.1f} points would be seen in four of five tries")
        for key, (left, right) in pair.differs.items():
            lines.append(f"  {key}: {_word(left)} and {_word(right)}")
        for item, left, right in pair.changed[:_CHANGED]:
            lines.append(f"  item {item[:12]}: {_verdict(left)} and {_verdict(right)}")
        if len(pair.changed) > _CHANGED:
            lines.append(f"  and {len(pair.changed) - _CHANGED} more items; --json names them all")
        blocks.append("\n".join(map(one_line, lines)))
    return "\n\n".join(blocks)


def _prompts(row: Row) -> str:
    if row.trained:
        return f"{row.seeds} seed{'s' * (row.seeds > 1)}"
    prompts = f"prompt {row.template}" if row.template is not None else f"{row.templates} prompts"
    return f"{prompts} x {row.seeds} seeds" if row.seeds > 1 else prompts


def _verdict(accuracy: float) -> str:
    return {0.0: "wrong", 1.0: "right"}.get(accuracy, f"right in {accuracy:.0%}")


def _key_value(part: str, text: str) -> tuple[str, str]:
    key, given, value = part.partition("=")
    if not given or key not in KEYS:
        raise UsageError(f"{text}: {part!r} is not key=value with a key of a row{suggest(key, KEYS, what='keys')}")
    return KEYS[key], value


def _stem(template: str) -> str:
    return template.split("/")[-1]


def _rows_of(rows: Sequence[Row]) -> str:
    """Rows by the keys in which they differ, as one types them."""
    differing = [key for key in _OF_ROWS if len({str(row.signature.value(key)) for row in rows}) > 1]
    keys = list(dict.fromkeys(["task", "shots", *differing]))
    values = [{STORED_NAMES[name]: row.signature.value(name) for name in keys} for row in rows]
    told = [", ".join(f"{key}={value}" for key, value in row.items() if value is not None) for row in values]
    return f"its rows are: {'; '.join(told[:6])}{' ...' if len(told) > 6 else ''}"


def _matched(first: Side, second: Side) -> list[tuple[Row, Row]]:
    if len(first.rows) == 1 and len(second.rows) == 1:
        return [(first.rows[0], second.rows[0])]
    # Rows go together by whatever tells the rows of a side apart.
    telling = [
        key
        for key in _MATCHED
        if any(len({str(row.signature.value(key)) for row in side.rows}) > 1 for side in (first, second))
    ]
    index: dict[tuple[str, ...], list[Row]] = {}
    for row in second.rows:
        index.setdefault(tuple(str(row.signature.value(key)) for key in telling), []).append(row)
    found = []
    for row in first.rows:
        others = index.get(tuple(str(row.signature.value(key)) for key in telling), [])
        if len(others) > 1:
            raise UsageError(f"{second.name}: several rows fit one of {first.name}; narrow them, as in RUN:shots=4")
        found += [(row, other) for other in others]
    if not found:
        raise UsageError(
            f"{first.name} and {second.name} have no rows in common by {', '.join(telling)}; narrow both to one row,"
            f" as in RUN:shots=4. Of the first, {_rows_of(first.rows)}"
        )
    return found


def _common_items(one: Row, other: Row, first: Side, second: Side) -> tuple[list[str], list[int], list[int]]:
    for key, what in (("task", "task"), ("data", "data"), ("split", "split")):
        if one.signature.value(key) != other.signature.value(key):
            raise UsageError(
                f"{first.name} and {second.name} cannot be paired: their {what} differs ({one.signature.value(key)} and"
                f" {other.signature.value(key)})"
            )
    if one.signature.task_reading != other.signature.task_reading:
        raise UsageError(
            f"{first.name} and {second.name} cannot be paired: the task file changed between them, so that labels or"
            " items may not mean the same"
        )
    place = {item: index for index, item in enumerate(other.item_ids)}
    left = [index for index, item in enumerate(one.item_ids) if item in place]
    if not left:
        raise UsageError(f"{first.name} and {second.name} cannot be paired: they have no item in common")
    ids = [one.item_ids[index] for index in left]
    return ids, left, [place[item] for item in ids]


def _clusters(row: Row, chosen: Sequence[int]) -> Any:
    return None if row.clusters is None else row.clusters[chosen]


def _levels(row: Row, key: str) -> list[str]:
    """The values that a row is a mean over, in order."""
    values = {cell.signature.value(key) for cell in row.cells}
    return [_word(value) for value in sorted(values, key=lambda value: (value is not None, value))]


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _template_hashes(row: Row) -> set[object]:
    return {cell.signature.template_hash for cell in row.cells}


def _differing(one: Row, other: Row, first: Side, second: Side) -> dict[str, tuple[Any, Any]]:
    """What is not the same, by what a reader calls it; what follows from another difference is left out."""
    known = {name: (one.signature.value(name), other.signature.value(name)) for name in _TOLD}
    found = {key: values for key, values in known.items() if values[0] != values[1]}
    # The signature of a mean over several templates, seeds or orders is that of one of them.
    for key in ("demo_seed", "order"):
        left, right = _levels(one, key), _levels(other, key)
        if len(left) > 1 or len(right) > 1:
            found.pop(key, None)
            if left != right:
                found[f"{key}s"] = (", ".join(left), ", ".join(right))
    if (one.templates > 1 or other.templates > 1) and "approach" not in found:
        found.pop("template", None)
        found.pop("template_hash", None)
        if _template_hashes(one) != _template_hashes(other):
            found["templates"] = (f"{one.templates}", f"{other.templates}, or other text")
    found = {key: values for key, values in found.items() if not _follows(key, known)}
    if len(one.item_ids) != len(other.item_ids):
        found["items"] = (len(one.item_ids), len(other.item_ids))
    versions = first.run.document.versions, second.run.document.versions
    for package in versions[0].keys() & versions[1].keys():
        here, there = versions[0][package], versions[1][package]
        if here != there:
            found[f"version of {package}"] = (here, there)
    return {STORED_NAMES.get(key, key).replace("_", " "): values for key, values in found.items()}


def _follows(key: str, known: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether a difference follows from another one."""

    def differs(name: str) -> bool:
        left, right = known[name]
        return bool(left != right)

    if differs("approach"):  # a prompt and what is trained share little
        return key not in ("approach", "method", "model", "labels_used", "data_hash")
    about = ABOUT.get(key)  # means over seeds, orders or templates are told under names of their own
    if about is None:
        return False
    if about.of_demos and differs("shots") and 0 in known["shots"]:
        return True
    return about.follows is not None and differs(about.follows)
