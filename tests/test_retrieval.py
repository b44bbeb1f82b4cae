"""Retrieval of demonstrations: BM25, cosines and maximal marginal relevance, against slow twins and by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Example
from harness.shots import Demonstrations, Strategy
from harness.shots.bm25 import BM25
from harness.shots.retrieval import mmr, ranked
from harness.words import terms, words

documents = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), min_size=1, max_size=8)
queries = st.lists(st.sampled_from("abcdefghxyz"), max_size=8)


def bm25(docs: Sequence[Sequence[str]], query: Sequence[str]) -> list[float]:
    """The formula, term by term."""
    mean = sum(map(len, docs)) / len(docs)
    scores = []
    for doc in docs:
        score = 0.0
        for term in query:
            df = sum(term in other for other in docs)
            idf = math.log(1 + (len(docs) - df + 0.5) / (df + 0.5))
            f = doc.count(term)
            score += idf * f * 2.5 / (f + 1.5 * (0.25 + 0.75 * len(doc) / mean)) if f else 0.0
        scores.append(score)
    return scores


def test_bm25_of_three_films() -> None:
    index = BM25([text.split() for text in ("good film", "bad film", "good food here")])
    assert index.scores(["good"]) == pytest.approx([0.5023, 0, 0.4165], abs=1e-4)


@given(docs=documents, query=queries)
def test_bm25_is_its_formula(docs: list[list[str]], query: list[str]) -> None:
    assert BM25(docs).scores(query) == pytest.approx(bm25(docs, query), abs=1e-9)


@given(docs=documents, row=st.integers(0, 7))
def test_similarities_are_cosines_of_weights(docs: list[list[str]], row: int) -> None:
    row %= len(docs)
    weights = np.array([[bm25(docs, [term])[i] for term in "abcdefgh"] for i in range(len(docs))])
    norms = np.linalg.norm(weights, axis=1)
    expected = [
        weights[i] @ weights[row] / (norms[i] * norms[row]) if norms[i] and norms[row] else 0.0
        for i in range(len(docs))
    ]
    assert BM25(docs).similarities(row) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("docs", [[], [[]], [[], []]])
def test_documents_without_terms(docs: list[list[str]]) -> None:
    assert BM25(docs).scores(["a"]).tolist() == [0.0] * len(docs)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.5, 0.5000001, 1.0]), max_size=300),
    excluded=st.sets(st.integers(0, 299)),
)
def test_ranked_sorts_by_score_then_row(scores: list[float], excluded: set[int]) -> None:
    allowed = np.array([row not in excluded for row in range(len(scores))], np.bool_)
    order = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-round(scores[row], 6), row))
    assert list(ranked(np.array(scores), allowed)) == order


def test_mmr_of_three() -> None:
    """Item 2 is nearly as relevant as item 1, but like it; so item 3 comes second."""
    similarity = np.array([[1, 0.95, 0.1], [0.95, 1, 0.3], [0.1, 0.3, 1]])
    relevance = np.array([0.9, 0.8, 0.5])
    assert list(mmr(relevance, lambda row: similarity[row], np.ones(3, np.bool_))) == [0, 2, 1]
    assert list(mmr(relevance, lambda row: similarity[row], np.ones(3, np.bool_), weight=1.0)) == [0, 1, 2]
    assert list(mmr(relevance, lambda row: similarity[row], np.array([False, True, True]))) == [1, 2]


@given(st.data())
def test_mmr_is_its_definition(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 7))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    relevance = rng.uniform(-1, 1, n).round(1)
    similarity = rng.uniform(-1, 1, (n, n)).round(1)
    drawn: list[int] = []
    while len(drawn) < n:
        left = [row for row in range(n) if row not in drawn]
        gains = {
            row: 0.5 * relevance[row] - 0.5 * max((similarity[other][row] for other in drawn), default=0.0)
            for row in left
        }
        drawn.append(min(left, key=lambda row: (-round(gains[row], 6), row)))
    assert list(mmr(relevance, lambda row: similarity[row], np.ones(n, np.bool_))) == drawn


# The strategies


def pool_of(*texts: str) -> list[Example]:
    return [Example(f"id{i}", {"text": text}, ("a", "b"), i % 2, None, "") for i, text in enumerate(texts)]


def drawn(
    strategy: Strategy, pool: Sequence[Example], text: str, k: int, vectors: dict[str, list[float]] | None = None
) -> list[str]:
    def embed(asked: Sequence[str]) -> npt.NDArray[np.float32]:
        assert vectors is not None
        return np.array([vectors[one] for one in asked], np.float32)

    item = Example("item", {"text": text}, ("a", "b"), 0, None, "")
    found = Demonstrations("t", pool, strategy, embed=embed if vectors else None).draw(item, k)
    return [str(example.fields["text"]) for example in found]


def test_bm25_draws_the_most_similar_first_and_ties_by_id() -> None:
    pool = pool_of("bad food", "good food here", "bad film", "good film", "nothing", "else")
    assert drawn("bm25", pool, "Good!", 4) == ["good film", "good food here", "bad food", "bad film"]
    shuffled = random.Random(0).sample(pool, len(pool))
    assert drawn("bm25", shuffled, "Good!", 6) == drawn("bm25", pool, "Good!", 6)


def test_bm25_finds_chinese_by_characters_and_pairs() -> None:
    pool = pool_of("房间很小", "服务很好", "早餐一般")
    assert drawn("bm25", pool, "房间不大", 1) == ["房间很小"]
    assert drawn("bm25", pool, "这里的早餐", 1) == ["早餐一般"]


def test_knn_draws_by_the_cosine() -> None:
    vectors = {"one": [1.0, 0.0], "far": [10.0, 10.0], "back": [-1.0, 0.0], "near": [5.0, 1.0], "asked": [2.0, 0.0]}
    pool = pool_of("back", "far", "near", "one")
    assert drawn("knn", pool, "asked", 4, vectors) == ["one", "near", "far", "back"]


def test_knn_breaks_ties_by_id_though_float_arithmetic_differs() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=300)
    vectors = {f"text {i}": (base * rng.uniform(0.5, 2)).tolist() for i in range(200)} | {"asked": base.tolist()}
    pool = pool_of(*(f"text {i}" for i in range(200)))
    expected = sorted(range(200), key=lambda i: f"id{i}")
    assert drawn("knn", pool, "asked", 200, vectors) == [f"text {i}" for i in expected]


def test_mmr_goes_by_embeddings_where_there_are_some_and_else_by_words() -> None:
    pool = pool_of("good film", "good film good film", "good food", "dull lamp")
    assert drawn("bm25", pool, "a good film", 3) == ["good film good film", "good film", "good food"]
    assert drawn("mmr", pool, "a good film", 2) == ["good film good film", "good food"]
    vectors = {
        "a good film": [1.0, 0.0], "good film": [0.2, 1.0], "good film good film": [0.1, 1.0], "good food": [0.0, 1.0],
        "dull lamp": [1.0, 0.1],
    }  # fmt: skip
    assert drawn("mmr", pool, "a good film", 1, vectors) == ["dull lamp"]


def test_a_vector_of_zeros_is_like_nothing() -> None:
    vectors = {"": [0.0, 0.0], "one": [1.0, 0.0], "other": [-1.0, 0.0]}
    assert drawn("knn", pool_of("other", "one"), "", 2, vectors) == ["other", "one"]


# Words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The FILM, wasn't good!", ["the", "film", "wasn", "t", "good"]),
        ("ＡＢＣ　１２", ["abc", "12"]),
        ("Straße café", ["strasse", "café"]),
        ("房间 is 好", ["房", "间", "is", "好"]),
        ("iPhone手机", ["iphone", "手", "机"]),
        ("カメラ", ["カ", "メ", "ラ"]),
        ("한국 영화", ["한국", "영화"]),
        ("", []),
        ("...", [".", ".", "."]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_terms_have_pairs_of_characters_too() -> None:
    assert terms("房间很大 ok 好") == ["房", "间", "很", "大", "房间", "间很", "很大", "ok", "好"]
