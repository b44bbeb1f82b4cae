"""Scoring rules and decisions, against hand arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest

from harness.columns import TOLERANCE, Candidates
from harness.decide import Beside, predict
from harness.encode import EncodedCell
from harness.records import KEY_BYTES, CalibrationName, Example, Prediction, RuleName

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
    answers: tuple[str, ...] = (),
) -> list[Prediction]:
    """Predictions of items with ``options`` answers each, in other words or ``answers``; their gold is 0."""
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
    items = [Example(f"i{n}", {}, answers or tuple("abcdef"[:size]), 0, f"c{n}", "") for n, size in enumerate(options)]
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


@pytest.mark.parametrize(
    ("rule", "moved"),
    [
        ("sum", [2, 9, 9]),  # of the best two answers together, in units of the tolerance of one scored token
        ("token", [2, 2, 2]),
        ("char", [1 / 3 + 1 / 4, 2 / 4 + 7 / 4, 7 / 4 + 2 / 3]),
        ("byte", [1 / 3 + 1 / 4, 2 / 4 + 7 / 8, 7 / 4 + 2 / 3]),
    ],
)
def test_the_tolerance_is_of_two_answers_in_the_unit_of_the_rule(rule: RuleName, moved: list[float]) -> None:
    rows = [(0, 0, -1.0), (0, 1, -20.0), (1, 0, -1.0), (1, 1, -20.0), (2, 0, -1.0), (2, 1, -20.0), (2, 2, -30.0)]
    words = ["bad", "good", "okay", "ôôôô", "good", "bad", "bad"]
    tokens = [1, 1, 2, 7, 7, 1, 2]
    found = decide(rows, rule=rule, tokens=tokens, words=words, options=(2, 2, 3))
    assert [one.tolerance / TOLERANCE for one in found] == pytest.approx(moved)
    assert TOLERANCE == 1e-4


def test_an_item_that_does_not_fit_has_no_tolerance() -> None:
    assert decide([(1, 0, -1.0), (1, 1, -2.0)], options=(2, 2), too_long=[0])[0].tolerance == 0


CALIBRATIONS: tuple[CalibrationName, ...] = ("none", "contextual", "domain", "batch")


@pytest.mark.parametrize("rule", get_args(RuleName))
@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_no_difference_within_the_tolerance_of_scores_moves_a_margin_beyond_its_own(
    rule: RuleName, calibration: CalibrationName
) -> None:
    """Scores are moved as far as they may, up and down at random; priors and comparisons, too."""
    rng = np.random.default_rng(0)
    n_items, labels, words = 12, 3, 2

    def cell(count: int) -> EncodedCell:
        size = count * labels * words
        grid = np.indices((count, labels, words)).reshape(3, -1)
        lengths = rng.integers(1, 9, size)
        candidates = Candidates(
            item=grid[0].astype(np.int64),
            label=grid[1].astype(np.int32),
            word=np.array(["w"] * size, np.object_),
            n_tokens=lengths.astype(np.int32),
            n_chars=(lengths + rng.integers(0, 9, size)).astype(np.int32),
            n_bytes=(lengths + rng.integers(9, 19, size)).astype(np.int32),
        )
        return EncodedCell((0,) * count, candidates, np.zeros((size, KEY_BYTES), np.uint8), frozenset(), 0)

    def drawn(of: EncodedCell) -> np.ndarray:
        return rng.normal(-8, 1e-3, len(of.candidates.item))  # near to each other, so that priors matter

    def moved(sums: np.ndarray, of: EncodedCell) -> np.ndarray:
        return sums + rng.choice([-1, 1], len(sums)) * TOLERANCE * of.candidates.n_tokens

    main, other = cell(n_items), cell(n_items)
    contexts = cell(4 * 3)
    sums, others, priors = drawn(main), drawn(other), drawn(contexts)
    items = [Example(f"i{n}", {}, tuple("abc"), 0, None, "") for n in range(n_items)]
    which = rng.integers(0, 4, n_items)

    def found(one: np.ndarray, two: np.ndarray, three: np.ndarray) -> list[Prediction]:
        beside = {
            "premise": Beside(other, two, None, 1),
            "null": Beside(other, two, None, 1),
            "contextual": Beside(contexts, three, which, 3),
            "domain": Beside(contexts, three, which, 3),
        }
        return predict(items, main, one, rule, calibration, beside)

    before = found(sums, others, priors)
    reached = 0.0
    for _ in range(100):
        for was, now in zip(
            before, found(moved(sums, main), moved(others, other), moved(priors, contexts)), strict=True
        ):
            best = int(np.argmax(was.scores))
            gap = now.scores[best] - np.delete(now.scores, best).max()
            assert abs(gap - was.margin) <= was.tolerance * (1 + 1e-9) + 1e-12
            reached = max(reached, abs(gap - was.margin) / was.tolerance)
    assert reached > 0.4, "it is no wild bound"


def test_a_prediction_carries_what_tables_need() -> None:
    (found,) = decide([(0, 0, -2.0), (0, 1, -1.0)])
    assert (found.item_id, found.unit, found.cluster, found.gold, found.correct) == ("i0", 0, "c0", 0, False)


@pytest.mark.parametrize(
    ("scores", "prediction", "status", "margin"),
    [
        ((-1.0, -2.0, -1.0), 0, "ok", 1.0),  # the second "oak" is the first one, which is right
        ((-1.5, -2.0, -1.0), 0, "ok", 1.0),  # as with letters, where equal options have scores of their own
        ((-2.0, -1.0, -2.0), 1, "ok", 1.0),
        ((-1.0, -1.0, -1.0), 0, "tie", 0.0),
    ],
)
def test_equal_options_are_one_answer(scores: tuple[float, ...], prediction: int, status: str, margin: float) -> None:
    rows = [(0, label, score) for label, score in enumerate(scores)]
    (found,) = decide(rows, options=(3,), answers=("oak", "elm", "oak"))
    assert (found.prediction, found.status, found.margin) == (prediction, status, pytest.approx(margin))


def test_an_equal_option_that_comes_first_is_right_as_well() -> None:
    """The gold option may be the later one of two."""
    items = [Example("i", {}, ("oak", "elm", "oak"), 2, None, "")]
    candidates = Candidates(
        item=np.zeros(3, np.int64), label=np.arange(3, dtype=np.int32), word=np.array(["oak"] * 3, np.object_),
        n_tokens=np.ones(3, np.int32), n_chars=np.full(3, 3, np.int32), n_bytes=np.full(3, 3, np.int32),
    )  # fmt: skip
    cell = EncodedCell((0,), candidates, np.zeros((3, KEY_BYTES), np.uint8), frozenset(), 0)
    (found,) = predict(items, cell, np.array([-1.0, -2.0, -1.0]), "char")
    assert (found.prediction, found.status, found.correct) == (2, "ok", True)
