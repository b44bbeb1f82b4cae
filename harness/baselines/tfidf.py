"""TF-IDF features and logistic regression: words and pieces of words, or characters where a script has no spaces.

The vocabulary and the document frequencies come from the training set alone, in cross-validation from its training
folds alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.baselines.base import Floats, Ints, Surroundings
from harness.baselines.choice import choose
from harness.baselines.logistic import Logistic
from harness.stored_arrays import StoredArrays, read_arrays, text_array, write_arrays
from harness.words import folded, has_spaces, words

# Blocks of features: (analyzer, shortest, longest n-gram), as of scikit-learn's vectorizers.
SPACED = (("word", 1, 2), ("char_wb", 2, 5))
UNSPACED = (("char", 1, 3),)
MOST_FEATURES = 100_000  # of each block, the most frequent; reached by some ten thousand texts
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
DEFAULT_STRENGTH = 1000.0
LONGEST_WORD = 12  # characters between white space; where the mean is above it, these are no words


class Tfidf:
    """Counts with sublinear term frequency, each block scaled to length one, then logistic regression."""

    def __init__(self, around: Surroundings) -> None:
        self._blocks: list[_Block] = []
        self._model: Logistic | None = None

    @property
    def parameters(self) -> int:
        assert self._model is not None
        return self._model.parameters

    @property
    def classes(self) -> int:
        assert self._model is not None
        return self._model.n_classes

    def fit(self, texts: Sequence[str], labels: Ints, n_classes: int, seed: int) -> Mapping[str, Any]:
        shapes = shapes_for(texts)
        self._blocks = [_Block(*shape) for shape in shapes]
        counts = [block.learn(texts) for block in self._blocks]

        def attempt(train: Ints, held: Ints, values: Sequence[Any]) -> list[Floats]:
            folds = [_fold(count, train, held) for count in counts]
            ours, others = (_beside([fold[i] for fold in folds]) for i in (0, 1))
            models = Logistic.path(ours, labels[train], n_classes, values)
            return [model.log_probabilities(others) for model in models]

        strength, told = choose("C", STRENGTHS, DEFAULT_STRENGTH, labels, seed, attempt)
        features = _beside([block.weigh(count) for block, count in zip(self._blocks, counts, strict=True)])
        self._model = Logistic.fit(features, labels, n_classes, strength)
        return {**told, "features": [f"{kind} {low}-{high}" for kind, low, high in shapes]}

    def scores(self, texts: Sequence[str]) -> Floats:
        assert self._model is not None
        return self._model.log_probabilities(_beside([block.weigh(block.count(texts)) for block in self._blocks]))

    def save(self, folder: Path) -> None:
        assert self._model is not None
        arrays = self._model.arrays()
        for number, block in enumerate(self._blocks):
            arrays[f"idf{number}"] = block.idf
            arrays[f"terms{number}"] = text_array({"shape": block.shape, "terms": block.terms})
        write_arrays(folder / "model.npz", arrays)

    def load(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.npz")
        self._blocks = []
        while f"idf{len(self._blocks)}" in arrays:
            self._blocks.append(_Block.of(arrays, len(self._blocks)))
        self._model = Logistic.of(arrays, sum(len(block.terms) for block in self._blocks))


def shapes_for(texts: Sequence[str]) -> Sequence[tuple[str, int, int]]:
    """The features of texts: characters where the script has no spaces, or there are no words between them."""
    stretches = [len(stretch) for text in texts for stretch in text.split()] or [0]
    return SPACED if has_spaces(texts) and float(np.mean(stretches)) <= LONGEST_WORD else UNSPACED


def terms(text: str) -> list[str]:
    """The words of a text but for single letters and digits of ASCII, which are remains of *isn't* and *U.S.*"""
    return [word for word in words(text) if len(word) > 1 or not (word.isascii() and word.isalnum())]


class _Block:
    """One kind of n-gram: its terms, and how rare each is in the training set."""

    def __init__(self, kind: str, low: int, high: int, *, terms: Sequence[str] = (), idf: Floats | None = None) -> None:
        self.shape = (kind, low, high)
        self.terms = list(terms)
        self.idf = np.zeros(0) if idf is None else idf

    @classmethod
    def of(cls, arrays: StoredArrays, number: int) -> _Block:
        """The ``number``-th of a stored model. Raises DamagedFileError."""
        known = arrays.text(f"terms{number}")
        whole = isinstance(known, dict) and {"shape", "terms"} <= known.keys()
        shapes = [list(shape) for shape in (*SPACED, *UNSPACED)]
        arrays.require(whole and known["shape"] in shapes, f"terms{number} tells of no features that there are")
        terms = known["terms"]
        texts = isinstance(terms, list) and all(isinstance(term, str) for term in terms)
        arrays.require(texts and len(set(terms)) == len(terms), f"terms{number} holds what is no term, or one twice")
        return cls(*known["shape"], terms=terms, idf=arrays.floats(f"idf{number}", len(terms)))

    def learn(self, texts: Sequence[str]) -> Any:
        """Fix the vocabulary and the inverse document frequencies; gives the counts, sparse [n, terms]."""
        vectorizer = self._vectorizer(max_features=MOST_FEATURES)
        try:
            counts = vectorizer.fit_transform(texts)
        except ValueError:  # an empty vocabulary: no text has a word
            self.terms, self.idf = [], np.zeros(0)
            return self.count(texts)
        self.terms = vectorizer.get_feature_names_out().tolist()
        self.idf = _idf(counts)
        return counts

    def count(self, texts: Sequence[str]) -> Any:
        from scipy.sparse import csr_matrix

        if not self.terms:
            return csr_matrix((len(texts), 0))
        return self._vectorizer(vocabulary={term: i for i, term in enumerate(self.terms)}).transform(texts)

    def _vectorizer(self, **more: Any) -> Any:
        """Counts n-grams of folded texts; words are those of ``harness.words``."""
        from sklearn.feature_extraction.text import CountVectorizer

        kind, low, high = self.shape
        if kind == "word":
            more |= {"tokenizer": terms, "token_pattern": None}
        return CountVectorizer(analyzer=kind, preprocessor=folded, ngram_range=(low, high), dtype=float, **more)

    def weigh(self, counts: Any) -> Any:
        return _weigh(counts, self.idf)


def _idf(counts: Any) -> Floats:
    """ln((1 + n) / (1 + df)) + 1, scikit-learn's smooth form; shape [terms]."""
    n, width = counts.shape
    frequency = np.bincount(counts.indices, minlength=width)
    return np.asarray(np.log((1 + n) / (1 + frequency)) + 1)


def _weigh(counts: Any, idf: Floats) -> Any:
    """(1 + ln tf) x idf, rows of length one."""
    from sklearn.preprocessing import normalize

    weighed = counts.copy()
    weighed.data = (1 + np.log(weighed.data)) * idf[weighed.indices]
    return normalize(weighed, copy=False)


def _fold(counts: Any, train: Ints, held: Ints) -> tuple[Any, Any]:
    """Features of both sides of a fold as a vectorizer fitted on the training side alone would give them."""
    ours = counts[train]
    seen = np.unique(ours.indices)
    ours, others = ours[:, seen], counts[held][:, seen]
    idf = _idf(ours)
    return _weigh(ours, idf), _weigh(others, idf)


def _beside(blocks: Sequence[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(blocks, format="csr")
