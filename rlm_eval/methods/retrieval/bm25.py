"""BM25 over the chunks of one context, by `bm25s` (Lù 2024, arXiv:2407.03618).

Words are runs of letters, digits and vowel signs, lower-cased; no stop words (BM25 already gives
frequent words little weight), stemming only on request. Scripts without spaces between words, and
Korean, whose words include their particles, are indexed as single characters and overlapping pairs.
The scoring is Lucene's, which is never negative.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rlm_eval.methods.retrieval.stemming import stem

STEMMERS = ("porter",)

_PAIRED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai, vowel signs and tone marks included
    "\u0e81-\u0ebd\u0ec0-\u0ecd\u0edc-\u0edf"  # Lao
    "\u1000-\u103f"  # Burmese
    "\u1780-\u17d3"  # Khmer
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_has_pairs = re.compile(f"[{_PAIRED}]").search


def _marks() -> str:
    """Vowel signs and accents, which `\\w` omits: Hindi words would split into consonants."""
    found = [c for c in map(chr, range(0x300, 0xFE00)) if unicodedata.category(c)[0] == "M"]
    return "".join(c for c in found if not _has_pairs(c))


_MARKS = _marks()
_ascii = re.compile(r"\w+").findall
_plain = re.compile(rf"\w[\w{_MARKS}]*").findall
_runs = re.compile(rf"([{_PAIRED}]+)|[^\W{_PAIRED}](?:[^\W{_PAIRED}]|[{_MARKS}])*").finditer


def words_of(text: str, stemmer: str | None = None) -> list[str]:
    """The words of `text` in index form, in order."""
    if text.isascii():
        words = _ascii(text.lower())
    else:  # NFKC: half-width kana, full-width digits, decomposed Hangul
        text = unicodedata.normalize("NFKC", text).lower()
        words = _mixed(text) if _has_pairs(text) else _plain(text)
    return [stem(word) for word in words] if stemmer else words


def _mixed(text: str) -> list[str]:
    words: list[str] = []
    for run in _runs(text):
        found, paired = run.group(), run.group(1)
        if paired:
            words += found
            words += [found[i : i + 2] for i in range(len(found) - 1)]
        else:
            words.append(found)
    return words


class Bm25:
    """A BM25 index that scores all chunks."""

    def __init__(
        self, texts: Sequence[str], k1: float, b: float, stemmer: str | None = None
    ) -> None:
        """Index `texts`: about a second for a million tokens."""
        import bm25s
        from bm25s.tokenization import Tokenized

        vocabulary: dict[str, int] = {}
        number = vocabulary.setdefault
        ids = [[number(w, len(vocabulary)) for w in words_of(text, stemmer)] for text in texts]
        self._stemmer = stemmer
        self._vocabulary = vocabulary
        self._index: Any = None
        if vocabulary:
            self._index = bm25s.BM25(method="lucene", k1=k1, b=b)
            self._index.index(Tokenized(ids, vocabulary), show_progress=False)
        self._size = len(texts)

    def scores(self, query: str) -> npt.NDArray[np.float32]:
        """One score per chunk; 0 where the chunk shares no word with the query."""
        known = [w for w in words_of(query, self._stemmer) if w in self._vocabulary]
        if not known:
            return np.zeros(self._size, dtype=np.float32)
        scores: npt.NDArray[np.float32] = self._index.get_scores(known)
        return scores


def ranking(
    scores: npt.NDArray[np.float32], threshold: float | None = 0.0, most: int | None = None
) -> list[int]:
    """Chunk numbers, best first; ties by position. Scores up to `threshold` are excluded.

    At most `most` are returned: sorting all of 50,000 chunks takes ten times as long as scoring.
    """
    found = np.arange(len(scores))
    if most is not None and most < len(scores):
        found = np.flatnonzero(scores >= np.partition(scores, -most)[-most])
    if threshold is not None:
        found = found[scores[found] > threshold]
    best: list[int] = found[np.argsort(-scores[found], kind="stable")][:most].tolist()
    return best
