"""Turns log-probabilities into predictions, by a scoring rule. It needs no model and no text.

Several label words for one class: the rule is applied to each word, then the class gets the logsumexp of its words, as
probabilities of alternatives add. Ties go to the lowest label id and are marked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.columns import Candidates
from harness.encode import EncodedCell
from harness.records import Example, Prediction, RuleName, Status
from harness.rules import RULES

# Largest difference, per scored token, between two float32 computations of one log-likelihood (batch, packing, order).
TOLERANCE = 1e-5


def predict(
    items: Sequence[Example], cell: EncodedCell, sums: npt.NDArray[np.float64], rule: RuleName
) -> list[Prediction]:
    """Predictions for all items of a cell.

    Args:
        sums: total log-probability in nats of each candidate, shape [n candidates].
    """
    candidates = cell.candidates
    scores = label_scores(RULES[rule](sums, candidates), candidates, len(items))
    tokens = np.zeros(len(items), np.int64)
    np.maximum.at(tokens, candidates.item, candidates.n_tokens)
    predictions = []
    for index, (item, shots) in enumerate(zip(items, cell.shots, strict=True)):
        row = scores[index, : len(item.options)]
        fits = index not in cell.too_long
        best = int(np.argmax(row))
        second = np.delete(row, best).max() if fits else row[best]
        margin = 0.0 if second == row[best] else float(row[best] - second)  # both may be -inf
        status: Status = "too_long" if not fits else "tie" if margin == 0.0 else "ok"
        predictions.append(
            Prediction(
                item_id=item.item_id,
                unit=0,
                cluster=item.cluster,
                gold=item.gold,
                prediction=best if fits else None,
                scores=tuple(row.tolist()) if fits else (),
                status=status,
                shots=shots if fits else 0,
                margin=margin,
                tolerance=TOLERANCE * max(1, int(tokens[index])),
            )
        )
    return predictions


def label_scores(scores: npt.NDArray[np.float64], candidates: Candidates, n_items: int) -> npt.NDArray[np.float64]:
    """Scores by label, shape [n items, most labels]: the logsumexp over each label's words; -inf where there is
    none."""
    n_labels = int(candidates.label.max()) + 1 if len(candidates.label) else 1
    table = np.full((n_items, n_labels), -np.inf)
    np.logaddexp.at(table, (candidates.item, candidates.label), scores)
    return table
