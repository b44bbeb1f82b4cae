"""Scoring rules and decisions, against hand arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.columns import Candidates
from harness.decide import TOLERANCE, predict
from harness.encode import EncodedCell
from harness.records import KEY_BYTES, Example, Prediction, RuleName

Row = tuple[int, int, float]  # item, label, total log-probability


def decide(
    rows: Sequence[Row],
    *,
    rule: RuleName = "sum",
    tokens: Sequence[int] | None = None,
    words: Sequence[str] | None = None,
    options: Sequence[int] = (2,),
    too_long: Sequence[int] = (),
    shots: int = 0,
) -> list[Prediction]:
    """Predictions of items with ``options`` answers each, whose gold is 0."""
    texts = list(words or ["word"] * len(rows))
    candidates = Candidates(
        item=np.array([item for item, _, _ in rows], np.int64),
        label=np.array([label for _, label, _ in rows], np.int32),
        word=np.array(texts, np.object_),
        n_tokens=np.array(tokens or [1] * len(rows), np.int32),
        n_chars=np.array([len(text) for text in texts], np.int32),
        n_bytes=np.array([len(text.encode()) for text in texts], np.int32),
    )
    keys = np.zeros((len(rows), KEY_BYTES), np.uint8)
    cell = EncodedCell((shots,) * len(options), candidates, keys, frozenset(too_long), 0)
    items = [Example(f"i{n}", {}, ("x",) * size, 0, f"c{n}", "") for n, size in enumerate(options)]
    return predict(items, cell, np.array([score for _, _, score in rows]), rule)


@pytest.mark.parametrize(
    ("rule", "scores", "prediction"),
    [
        ("sum", [-2.0, -3.0], 0),
        ("token", [-2.0, -1.5], 1),
        ("char", [-2 / 3, -0.5], 1),
        ("byte", [-2 / 3, -0.5], 1),
    ],
)
def test_the_rules_on_two_answers(rule: RuleName, scores: list[float], prediction: int) -> None:
    (found,) = decide([(0, 0, -2.0), (0, 1, -3.0)], rule=rule, tokens=[1, 2], words=["bad", "superb"])
    assert found.scores == pytest.approx(scores, abs=1e-12)
    assert (found.prediction, found.status) == (prediction, "ok")
    assert found.margin == pytest.approx(abs(scores[0] - scores[1]), abs=1e-12)


def test_characters_and_bytes_differ_in_chinese() -> None:
    rows = [(0, 0, -3.0), (0, 1, -3.0)]
    (by_char,) = decide(rows, rule="char", words=["好的", "good"])
    (by_byte,) = decide(rows, rule="byte", words=["好的", "good"])
    assert by_char.scores == pytest.approx([-1.5, -0.75])
    assert by_byte.scores == pytest.approx([-0.5, -0.75])
    assert (by_char.prediction, by_byte.prediction) == (1, 0)


def test_the_probabilities_of_several_words_add() -> None:
    (found,) = decide([(0, 0, math.log(0.2)), (0, 1, math.log(0.25)), (0, 0, math.log(0.1))])
    assert found.scores == pytest.approx([math.log(0.3), math.log(0.25)], abs=1e-12)
    assert found.prediction == 0


def test_a_rule_is_applied_to_each_word_before_they_add() -> None:
    rows = [(0, 0, 2 * math.log(0.2)), (0, 0, math.log(0.1)), (0, 1, math.log(0.29))]
    (found,) = decide(rows, rule="token", tokens=[2, 1, 1])
    assert found.scores == pytest.approx([math.log(0.3), math.log(0.29)], abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "prediction", "status"),
    [
        ([-1.0, -1.0], 0, "tie"),
        ([-2.0, -1.0, -1.0], 1, "tie"),
        ([-1.0, -1.0 - 1e-12], 0, "ok"),
        ([-1.0, -2.0, -2.0], 0, "ok"),
        ([-math.inf, -1.0], 1, "ok"),
        ([-math.inf, -math.inf], 0, "tie"),
    ],
)
def test_a_tie_goes_to_the_lowest_label_and_is_marked(scores: list[float], prediction: int, status: str) -> None:
    (found,) = decide([(0, label, score) for label, score in enumerate(scores)], options=(len(scores),))
    assert (found.prediction, found.status) == (prediction, status)
    assert (found.margin == 0.0) is (status == "tie")


def test_items_may_have_different_numbers_of_options() -> None:
    rows = [(0, 0, -3.0), (0, 1, -1.0), (1, 0, -9.0), (1, 1, -8.0), (1, 2, -7.0)]
    two, three = decide(rows, options=(2, 3))
    assert (two.prediction, two.scores) == (1, (-3.0, -1.0))
    assert (three.prediction, three.scores) == (2, (-9.0, -8.0, -7.0))


def test_an_item_that_does_not_fit_counts_as_wrong() -> None:
    rows = [(0, 0, -1.0), (0, 1, -2.0), (2, 0, -1.0), (2, 1, -2.0)]
    first, missing, last = decide(rows, options=(2, 2, 2), too_long=[1], shots=3)
    assert (missing.status, missing.prediction, missing.scores, missing.shots) == ("too_long", None, (), 0)
    assert not missing.correct
    assert (first.correct, first.shots, last.correct) == (True, 3, True)


def test_no_item_fits() -> None:
    assert [found.status for found in decide([], options=(2, 3), too_long=[0, 1])] == ["too_long", "too_long"]


def test_the_tolerance_grows_with_the_longest_answer_of_the_item() -> None:
    rows = [(0, 0, -1.0), (0, 1, -2.0), (1, 0, -1.0), (1, 1, -2.0)]
    short, long = decide(rows, tokens=[1, 1, 2, 7], options=(2, 2))
    assert (short.tolerance, long.tolerance) == pytest.approx((1e-5, 7e-5))
    assert TOLERANCE == 1e-5


def test_a_prediction_carries_what_tables_need() -> None:
    (found,) = decide([(0, 0, -2.0), (0, 1, -1.0)])
    assert (found.item_id, found.unit, found.cluster, found.gold, found.correct) == ("i0", 0, "c0", 0, False)
