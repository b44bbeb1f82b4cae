"""Training sets, methods and choices of trained baselines, against scikit-learn and hand counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import made_up_text
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import normalize

from harness.baselines import METHOD_NAMES, METHODS, stratified_order
from harness.baselines.base import Floats, Ints, Surroundings, smoothed
from harness.baselines.choice import choose
from harness.baselines.embedded import nearest, votes
from harness.baselines.logistic import Logistic
from harness.baselines.subsets import doubling_sizes
from harness.baselines.texts import joined
from harness.baselines.tfidf import SPACED, STRENGTHS, UNSPACED, shapes_for
from harness.records import Example


def examples(golds: Sequence[int]) -> list[Example]:
    return [Example(f"id{i:04d}", {"text": f"t{i}"}, ("a", "b", "c"), gold, None, "") for i, gold in enumerate(golds)]


def embed(texts: Sequence[str]) -> np.ndarray:
    """Stands for an encoder: numbers that follow from the text alone."""
    return np.stack(
        [np.random.default_rng(sum(map(ord, text))).normal(size=6) + text.count("good") for text in texts]
    ).astype(np.float32)


def labelled(count: int, seed: int = 0) -> tuple[list[str], Ints]:
    texts = made_up_text(count, seed)
    return texts, np.array(
        [sum(word in text for word in ("good", "great", "fine", "lovely")) > 0 for text in texts], int
    )


def in_english(texts: list[str]) -> list[str]:
    """Texts whose words are the same to scikit-learn."""
    return [text.replace("电影", "movie").replace("房间", "chamber") for text in texts]


# Training sets


@pytest.mark.parametrize(("n", "counts"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (6, [3, 2, 1]), (12, [6, 4, 2])])
def test_shares_are_those_of_the_pool_and_every_class_is_there(n: int, counts: list[int]) -> None:
    pool = examples([0] * 12 + [1] * 8 + [2] * 4)  # a half, a third, a sixth
    found = Counter(example.gold for example in stratified_order(pool, 0, "t")[:n])
    assert [found[label] for label in sorted(found)] == counts


def test_a_rare_class_has_its_one_example_from_as_many_labels_as_classes_on() -> None:
    pool = examples([0] * 97 + [1] * 2 + [2])
    order = stratified_order(pool, 3, "t")
    assert {example.gold for example in order[:3]} == {0, 1, 2}
    assert sorted(example.item_id for example in order) == [example.item_id for example in pool]


def test_sets_are_nested_and_depend_on_the_seed_and_not_on_the_order_of_the_pool() -> None:
    pool = examples([0, 1, 2, 1] * 10)
    whole = stratified_order(pool, 0, "t")
    assert stratified_order(pool, 0, "t", most=7) == whole[:7]
    assert stratified_order(pool[::-1], 0, "t") == whole
    assert stratified_order(pool, 1, "t") != whole


def test_sizes_double_up_to_all() -> None:
    assert doubling_sizes(100) == [8, 16, 32, 64, 100]
    assert doubling_sizes(64) == [8, 16, 32, 64]
    assert doubling_sizes(5) == [5]


# Methods


def test_majority_is_the_commonest_label_with_add_one_shares() -> None:
    model = METHODS["majority"].make(Surroundings())
    model.fit(["x"] * 4, np.array([2, 0, 2, 2]), 3, 0)
    np.testing.assert_allclose(np.exp(model.scores(["a", "b"])), [[2 / 7, 1 / 7, 4 / 7]] * 2)


def test_random_gives_each_label_its_share_and_each_text_its_own_draw() -> None:
    model = METHODS["random"].make(Surroundings())
    model.fit([], np.zeros(0, int), 4, 7)
    texts = [f"text {i}" for i in range(4_000)]
    scores = model.scores(texts)
    np.testing.assert_allclose(np.bincount(scores.argmax(1)) / 4_000, 0.25, atol=4 * (0.25 * 0.75 / 4_000) ** 0.5)
    np.testing.assert_array_equal(model.scores(texts[5:9]), scores[5:9])


def test_tfidf_reads_what_is_one_word_only_with_its_marks_or_has_no_letter() -> None:
    """Hindi words that differ in a vowel sign, and symbols and emoji, each by itself what tells the labels apart."""
    for one, other in (("किताब", "कीताब"), ("<", ">"), ("😀", "😡"), ("ดี", "ดู")):
        texts = [f"{word} number {i}" for i in range(12) for word in (one, other)]
        model = METHODS["tfidf"].make(Surroundings())
        model.fit(texts, np.array([0, 1] * 12), 2, 0)
        assert one in model._blocks[0].terms or one[0] in model._blocks[0].terms
        assert model.scores([f"number {one}", f"number {other}"]).argmax(1).tolist() == [0, 1]


def test_tfidf_equals_scikit_learns_pipeline() -> None:
    texts, labels = labelled(40)
    texts, others = in_english(texts), in_english(made_up_text(30, 5))
    model = METHODS["tfidf"].make(Surroundings())
    chosen = model.fit(texts, labels, 2, 0)
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    known = make_pipeline(union, LogisticRegression(C=chosen["C"], tol=1e-8, max_iter=5_000)).fit(texts, labels)
    np.testing.assert_allclose(model.scores(others), known.predict_log_proba(others), atol=1e-3)
    assert model.parameters == known[-1].coef_.size + 1


def test_the_strength_is_chosen_as_a_pipeline_refitted_in_every_fold_would() -> None:
    texts, labels = labelled(70)
    texts = in_english(texts)
    chosen = METHODS["tfidf"].make(Surroundings()).fit(texts, labels, 2, 3)
    table = np.array(texts)
    right = {}
    for strength in STRENGTHS:
        union = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )
        folds = StratifiedKFold(5, shuffle=True, random_state=3).split(table, labels)
        hits = [
            (
                make_pipeline(union, LogisticRegression(C=strength, tol=1e-8, max_iter=5_000))
                .fit(table[a], labels[a])
                .predict(table[b])
                == labels[b]
            )
            for a, b in folds
        ]
        right[strength] = float(np.concatenate(hits).mean())
    assert right[chosen["C"]] == max(right.values()) == pytest.approx(chosen["held_out_accuracy"])
    assert chosen["further_labels"] == 0


def test_knn_equals_scikit_learns() -> None:
    texts, labels = labelled(50)
    others = made_up_text(40, 5)
    model = METHODS["knn"].make(Surroundings(embed))
    k = model.fit(texts, labels, 2, 0)["k"]

    def cosines(distances: Floats) -> Floats:
        return np.maximum(1 - distances, 1e-12)

    known = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=cosines).fit(embed(texts), labels)
    distances, _ = known.kneighbors(embed(others))
    total = cosines(distances).sum(1, keepdims=True)
    shares = (total * known.predict_proba(embed(others)) + 1 / 2) / (total + 1)
    np.testing.assert_allclose(np.exp(model.scores(others)), shares, atol=1e-6)


def test_a_tie_of_votes_is_the_nearest_texts_and_not_the_lowest_labels() -> None:
    likeness = np.array([[0.5, 0.5], [0.5, 0.5], [0.9, 0.4], [0.4, -0.3]])
    near = np.array([[1, 0], [0, 1], [2, 1], [1, 2]])
    assert list(votes(near, likeness, 3).argmax(1)) == [1, 0, 2, 1]
    # Of two texts with the same words and other labels, the one that the draw has first.
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rows, cosines = nearest(np.array([[1.0, 0.0]]), vectors, 2)
    assert (rows.tolist(), cosines.tolist()) == ([[0, 1]], [[1.0, 1.0]])
    np.testing.assert_allclose(np.exp(votes(near, likeness, 3)).sum(1), 1)


def test_the_probe_equals_scikit_learns_on_scaled_embeddings_of_length_one() -> None:
    texts, labels = labelled(50)
    others = made_up_text(40, 5)
    model = METHODS["probe"].make(Surroundings(embed))
    strength = model.fit(texts, labels, 2, 0)["C"]
    ours, theirs = (normalize(embed(some).astype(float)) for some in (texts, others))
    # The trace of the covariance is the mean square distance to the mean. The mean itself goes into the intercept.
    scale = np.sqrt(np.trace(np.cov(ours.T, bias=True)))
    known = LogisticRegression(C=strength, tol=1e-9, max_iter=5_000).fit(ours / scale, labels)
    np.testing.assert_allclose(model.scores(others), known.predict_log_proba(theirs / scale), atol=1e-4)
    assert model.parameters == 6 + 1


def test_the_probe_does_not_depend_on_where_all_embeddings_point() -> None:
    texts, labels = labelled(70)

    def aside(texts: Sequence[str]) -> np.ndarray:
        """The same, but nearly parallel, as those of many language models are."""
        return np.hstack([embed(texts), np.full((len(texts), 1), 1e4, np.float32)])

    chosen = [METHODS["probe"].make(Surroundings(e)).fit(texts, labels, 2, 0) for e in (embed, aside)]
    assert chosen[1]["held_out_accuracy"] >= chosen[0]["held_out_accuracy"] - 0.1


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)], ids=["in the space of texts", "of features"])
def test_logistic_has_the_optimum_that_another_solver_finds(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=shape), np.arange(shape[0]) % 3
    known = LogisticRegression(C=1.0, tol=1e-10, max_iter=5_000).fit(features, labels)
    found = Logistic.fit(features, labels, 3, 1.0)
    np.testing.assert_allclose(found.log_probabilities(features), known.predict_log_proba(features), atol=1e-5)
    assert found.parameters == 3 * (shape[1] + 1)


def test_classes_without_a_label_share_a_floor_and_rows_add_up() -> None:
    logs = np.log([[0.25, 0.75]])
    found = np.exp(smoothed(logs, np.array([0, 3]), 4, 6))
    np.testing.assert_allclose(found, [[0.25 * 0.8, 0.1, 0.1, 0.75 * 0.8]])  # 1 / (6 + 4) each


@pytest.mark.parametrize("name", METHOD_NAMES)
@pytest.mark.parametrize("labels", [[0], [2, 2, 2], [0, 1, 0, 1, 2, 2, 1]])
def test_any_training_set_gives_probabilities_and_is_loaded_as_it_was(
    name: str, labels: list[int], tmp_path: Path
) -> None:
    method = next(method for method in METHODS.values() if method.name == name)
    model = method.make(Surroundings(embed))
    model.fit(made_up_text(len(labels)), np.array(labels), 4, 0)
    others = [*made_up_text(5, 9), "", "?"]
    scores = model.scores(others)
    assert scores.shape == (7, 4)
    np.testing.assert_allclose(np.exp(scores).sum(1), 1)
    model.save(tmp_path)
    again = method.make(Surroundings(embed))
    again.load(tmp_path)
    np.testing.assert_array_equal(again.scores(others), scores)


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def refuse(*args: object, **more: object) -> object:
        raise AssertionError("pickled")

    for name in ("dump", "dumps", "load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    texts, labels = labelled(20)
    for method in METHODS.values():
        model = method.make(Surroundings(embed))
        model.fit(texts, labels, 2, 0)
        model.save(tmp_path / method.name)
        method.make(Surroundings(embed)).load(tmp_path / method.name)
        with np.load(tmp_path / method.name / "model.npz", allow_pickle=False) as parts:
            assert all(parts[part].dtype != object for part in parts.files)


# Choices


def fixed(scores: dict[int, float]) -> Callable[[Ints, Ints, Sequence[int]], list[Floats]]:
    """Gives label 1 the probability that stands for each value, whatever is held out."""
    return lambda train, held, values: [np.log([[1 - scores[v], scores[v]]] * len(held)) for v in values]


def test_the_best_value_is_chosen_and_of_equal_accuracy_the_likelier() -> None:
    labels = np.array([1] * 43 + [0] * 21)
    value, told = choose("C", [1, 2, 3], 9, labels, 0, fixed({1: 0.9, 2: 0.66, 3: 0.2}))
    assert value == 2
    assert told["held_out_accuracy"] == pytest.approx(43 / 64)
    assert told["chosen_by"] == "5-fold cross-validation"


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (np.arange(63) % 2, "fewer than 64 labels"),
        (np.arange(64), "nothing can be held out"),
        (np.ones(64, int), "nothing can be held out"),
    ],
)
def test_where_a_choice_would_follow_chance_the_default_is_left(labels: Ints, why: str) -> None:
    value, told = choose("C", [1, 2], 9, labels, 0, fixed({}))
    assert (value, told["further_labels"], told["chosen_by"]) == (9, 0, f"default: {why}")


@pytest.mark.parametrize(("count", "k"), [(1, 1), (5, 1), (8, 3), (16, 5), (32, 9), (63, 9)])
def test_few_examples_leave_as_many_neighbours_as_a_fold_could_have(count: int, k: int) -> None:
    texts, labels = labelled(count)
    assert METHODS["knn"].make(Surroundings(embed)).fit(texts, labels, 2, 0)["k"] == k


def test_a_label_with_one_example_is_always_trained_on() -> None:
    labels = np.array([0] * 40 + [1] + [2] * 23)
    seen: list[int] = []

    def attempt(train: Ints, held: Ints, values: Sequence[int]) -> list[Floats]:
        assert set(labels[train]) == {0, 1, 2}
        assert sorted([*train, *held]) == list(range(64))
        seen.extend(held)
        return [np.log(np.eye(3)[labels[held] if value == 2 else (labels[held] + 1) % 3] + 1e-9) for value in values]

    value, told = choose("C", [1, 2], 9, labels, 0, attempt)
    assert (value, told["held_out_accuracy"], told["chosen_by"]) == (2, 1.0, "5-fold cross-validation")
    assert sorted(seen) == [row for row in range(64) if row != 40]


def test_scripts_without_spaces_are_told_by_their_words() -> None:
    assert shapes_for(["a plain sentence of words", "another"]) == SPACED
    assert (
        shapes_for(["上课时学生手机响个不停，老师一怒之下把手机摔了", "商赢环球股份有限公司关于延期回复的公告"])
        == UNSPACED
    )
    assert shapes_for(["很好", "不 好"]) == UNSPACED  # as short as words
    assert shapes_for(["ACGTACGTACGTACGT"]) == UNSPACED


def test_fields_are_joined_by_lines() -> None:
    example = Example("i", {"premise": "One.", "extra": None, "n": 3}, ("a", "b"), 0, None, "")
    assert joined([example]) == ["One.\n\n3"]
