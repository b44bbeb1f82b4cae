"""BM25 (Robertson et al. 1994) with the idf that is never negative: how well documents of terms match a query.

    score(q, d) = sum over terms t of q of  idf(t) * f * (k1 + 1) / (f + k1 * (1 - b + b * |d| / mean |d|))
    idf(t)      = ln(1 + (N - df + 1/2) / (df + 1/2))

f is how often t is in d; a term counts as often as the query has it. (Packages leave out the constant k1 + 1, or floor
another idf, so that no one of them gives these numbers.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

K1 = 1.5
B = 0.75

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class BM25:
    """An inverted index of documents, each a sequence of terms."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._count = len(documents)
        self._numbers: dict[str, int] = {}
        counts = [Counter(document) for document in documents]
        found = [
            (self._numbers.setdefault(term, len(self._numbers)), row, count)
            for row, counter in enumerate(counts)
            for term, count in counter.items()
        ]
        terms, rows, frequencies = np.array(found, np.int64).reshape(-1, 3).T
        document_frequency = np.bincount(terms, minlength=len(self._numbers))
        idf = np.log1p((self._count - document_frequency + 0.5) / (document_frequency + 0.5))
        lengths = np.array([len(document) for document in documents], np.float64)
        relative = lengths / max(lengths.mean(), 1e-9) if self._count else lengths
        weights = idf[terms] * frequencies * (K1 + 1) / (frequencies + K1 * (1 - B + B * relative[rows]))
        # By document, and by term: entry i of a list belongs to bounds[i] <= place < bounds[i + 1].
        self._terms, self._weights = terms, weights
        self._document_bounds = _bounds(rows, self._count)
        order = np.argsort(terms, kind="stable")
        self._holders, self._holder_weights = rows[order], weights[order]
        self._term_bounds = _bounds(terms[order], len(self._numbers))
        self._norms = np.sqrt(np.bincount(rows, weights**2, minlength=self._count))

    def scores(self, query: Sequence[str]) -> Floats:
        """The score of every document; shape [n documents]."""
        counts = Counter(self._numbers[term] for term in query if term in self._numbers)
        return self._products(list(counts), list(counts.values()))

    def similarities(self, row: int) -> Floats:
        """The cosine of every document's term weights with those of document ``row``; shape [n documents]."""
        own = slice(self._document_bounds[row], self._document_bounds[row + 1])
        products = self._products(self._terms[own].tolist(), self._weights[own].tolist())
        norms = self._norms * self._norms[row]
        cosines: Floats = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
        return cosines

    def _products(self, terms: Sequence[int], factors: Sequence[float]) -> Floats:
        places = [slice(self._term_bounds[term], self._term_bounds[term + 1]) for term in terms]
        if not places:
            return np.zeros(self._count)
        rows = np.concatenate([self._holders[place] for place in places])
        weights = np.concatenate([self._holder_weights[p] * f for p, f in zip(places, factors, strict=True)])
        return np.bincount(rows, weights, minlength=self._count).astype(np.float64)


def _bounds(sorted_numbers: Ints, count: int) -> Ints:
    return np.searchsorted(sorted_numbers, np.arange(count + 1))
