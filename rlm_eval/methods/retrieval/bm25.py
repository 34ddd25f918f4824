"""BM25 over the chunks of one context, by `bm25s` (Lù 2024, arXiv:2407.03618).

Words are runs of letters and digits, lower-cased; no stemming, no stop words (frequent words weigh
little by themselves). The scoring is Lucene's, which never goes below zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_words = re.compile(r"\w+").findall


class Bm25:
    """An index that gives scores of all chunks."""

    def __init__(self, texts: Sequence[str], k1: float, b: float) -> None:
        """Indexes `texts`: about a second for a million tokens."""
        import bm25s
        from bm25s.tokenization import Tokenized

        vocabulary: dict[str, int] = {}
        number = vocabulary.setdefault
        ids = [[number(word, len(vocabulary)) for word in _words(t.lower())] for t in texts]
        self._vocabulary = vocabulary
        self._index: Any = None
        if vocabulary:
            self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
            self._index.index(Tokenized(ids, vocabulary), show_progress=False)
        self._size = len(texts)

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """One score a chunk; 0 where no word is shared."""
        known = [word for word in _words(query.lower()) if word in self._vocabulary]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        scores: npt.NDArray[np.float32] = self._index.get_scores(known)
        return scores


def ranking(
    scores: npt.NDArray[np.float32], threshold: float | None = 0.0, most: int | None = None
) -> list[int]:
    """Chunk numbers, best first; ties by position. Those not above `threshold` are left out.

    `most` of them at most: sorting all of 50,000 chunks takes ten times what scoring them does.
    """
    found = np.arange(len(scores))
    if most is not None and most < len(scores):
        found = np.flatnonzero(scores >= np.partition(scores, -most)[-most])
    if threshold is not None:
        found = found[scores[found] > threshold]
    best: list[int] = found[np.argsort(-scores[found], kind="stable")][:most].tolist()
    return best
