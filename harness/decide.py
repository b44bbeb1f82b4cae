"""Turns log-probabilities into predictions, by a scoring rule and a calibration. It needs no model and no text.

Several label words for one class: the rule is applied to each word, then the class gets the logsumexp of its words, as
probabilities of alternatives add. Ties go to the lowest label id and are marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.calibrate import batch, content_free_prior, contextual, prototypical
from harness.columns import TOLERANCE, Candidates
from harness.encode import EncodedCell
from harness.records import CalibrationName, Example, Prediction, RuleName, Status
from harness.rules import COMPARED, RULES

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Scored companion prompts: ``sums`` [n candidates of cell]; ``context`` and ``per_context`` as in a companion."""

    cell: EncodedCell
    sums: Floats
    context: npt.NDArray[np.int64] | None
    per_context: int


def predict(
    items: Sequence[Example],
    cell: EncodedCell,
    sums: Floats,
    rule: RuleName,
    calibration: CalibrationName = "none",
    beside: Mapping[str, Beside] | None = None,
) -> list[Prediction]:
    """Predictions for all items of a cell.

    Args:
        sums: total log-probability in nats of each candidate, shape [n candidates].
        beside: the scored companions that the rule and the calibration compare with, by name.

    Raises:
        UsageError: a transductive calibration has too few items.
    """
    beside = beside or {}
    candidates = cell.candidates
    fitting = np.array([index not in cell.too_long for index in range(len(items))], bool)
    if rule in COMPARED:
        other = beside[COMPARED[rule]]
        sums = sums - other.sums[fitting[other.cell.candidates.item]]
    scores = label_scores(RULES[rule](sums, candidates), candidates, len(items))
    scores[fitting] = _calibrated(scores[fitting], fitting, rule, calibration, beside)
    moves = _moves(cell, len(items), fitting, rule, calibration, beside)
    predictions = []
    for index, (item, shots) in enumerate(zip(items, cell.shots, strict=True)):
        row = scores[index, : len(item.options)]
        fits = index not in cell.too_long
        best, others = _best(item, row)
        first = row.max()
        second = row[others].max() if fits and others else first
        margin = 0.0 if second == first else float(first - second)  # both may be -inf
        uncertain = moves[index, : len(item.options)]
        tolerance = float(uncertain[best] + uncertain[others or [best]].max()) if fits else 0.0
        status: Status = "too_long" if not fits else "tie" if margin == 0.0 else "ok"
        if fits:
            said = Prediction.of(item, best, row.tolist(), status, margin=margin, tolerance=tolerance, shots=shots)
        else:
            said = Prediction.of(item, None, (), status, margin=margin, tolerance=tolerance)
        predictions.append(said)
    return predictions


def _best(item: Example, row: Floats) -> tuple[int, list[int]]:
    """The label with the highest score, and those that are other answers.

    Options of the same text are one answer, and the right one if one of them is.
    """
    best = int(np.argmax(row))
    answer = item.options[best]
    same = [label for label, option in enumerate(item.options) if option == answer]
    if item.gold in same:
        best = item.gold
    return best, [label for label in range(len(row)) if label not in same]


def _calibrated(
    scores: Floats,
    fitting: npt.NDArray[np.bool_],
    rule: RuleName,
    calibration: CalibrationName,
    beside: Mapping[str, Beside],
) -> Floats:
    """The scores of the items that fit, calibrated."""
    match calibration:
        case "none":
            return scores
        case "batch":
            return batch(scores)
        case "prototypical":
            return prototypical(scores)
        case _:
            other = beside[calibration]
            assert other.context is not None
            found = RULES[rule](other.sums, other.cell.candidates)
            table = label_scores(found, other.cell.candidates, len(other.cell.shots))
            contexts = table.reshape(-1, other.per_context, table.shape[1])
            priors = np.stack([content_free_prior(context) for context in contexts])
            return contextual(scores, priors[other.context[fitting]])


def _moves(
    cell: EncodedCell,
    n_items: int,
    fitting: npt.NDArray[np.bool_],
    rule: RuleName,
    calibration: CalibrationName,
    beside: Mapping[str, Beside],
) -> Floats:
    """How far float32 arithmetic may move the score of each label against the others', in the rule's unit; shape
    [n items, most labels].

    Every scored token counts with TOLERANCE, those of what is compared with, too. What a normalisation adds is the same
    for all labels of an item, and a mean of priors moves no further than the one that moves most. For prototypical
    calibration, whose clusters may move by more, it is that of the scores that are clustered.
    """
    candidates = cell.candidates
    tokens = candidates.n_tokens.astype(np.float64)
    if rule in COMPARED:
        other = beside[COMPARED[rule]].cell.candidates
        tokens += other.n_tokens[fitting[other.item]]
    moves = _most_by_label(RULES[rule](TOLERANCE * tokens, candidates), candidates, n_items)
    if calibration == "batch":
        moves[fitting] += moves[fitting].mean(axis=0)
    elif calibration in beside:
        context = beside[calibration]
        assert context.context is not None
        other = context.cell.candidates
        found = RULES[rule](TOLERANCE * other.n_tokens.astype(np.float64), other)
        table = _most_by_label(found, other, len(context.cell.shots))
        moves[fitting] += table.reshape(-1, context.per_context, table.shape[1]).max(axis=1)[context.context[fitting]]
    return moves


def _most_by_label(values: Floats, candidates: Candidates, n_items: int) -> Floats:
    """The largest value over each label's words, shape [n items, most labels]; 0 where there is none."""
    n_labels = int(candidates.label.max()) + 1 if len(candidates.label) else 1
    table = np.zeros((n_items, n_labels))
    np.maximum.at(table, (candidates.item, candidates.label), values)
    return table


def label_scores(scores: Floats, candidates: Candidates, n_items: int) -> Floats:
    """Scores by label, shape [n items, most labels]: the logsumexp over each label's words; -inf where there is
    none."""
    n_labels = int(candidates.label.max()) + 1 if len(candidates.label) else 1
    table = np.full((n_items, n_labels), -np.inf)
    np.logaddexp.at(table, (candidates.item, candidates.label), scores)
    return table
