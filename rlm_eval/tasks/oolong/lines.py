"""Label lines without a model: keyword lists, and a trained bag of words.

A keyword list is what a person could write without having seen a text. A bag of words (naive Bayes)
has learnt the labels from thousands of texts.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rlm_eval.tasks.base import rng
from rlm_eval.tasks.oolong.grammar import Source

TRAINING = 5000
"""Training lines of a bag of words, equally many per label."""
_WORD = re.compile(r"\w+")


class BagOfWords:
    """Naive Bayes over the set of a line's words, with a uniform prior over labels."""

    def __init__(self, labels: Sequence[str], lines: Iterable[tuple[str, str]]) -> None:
        """`lines` are pairs of text and label."""
        self.labels = list(labels)
        counts = [Counter[str]() for _ in self.labels]
        sizes = [0] * len(self.labels)
        for text, label in lines:
            place = self.labels.index(label)
            sizes[place] += 1
            counts[place].update(words(text))
        known = sorted(set().union(*counts))
        columns = list(zip(counts, sizes, strict=True))
        self._weights = {
            word: tuple(math.log((c[word] + 0.5) / (size + 1)) for c, size in columns)
            for word in known
        }
        self._unseen = tuple(math.log(0.5 / (size + 1)) for size in sizes)

    def label(self, text: str) -> str:
        """The most probable label given the words."""
        found = [self._weights.get(word, self._unseen) for word in sorted(words(text))]
        sums = [sum(column) for column in zip(*found, strict=True)] or [0.0]
        return self.labels[sums.index(max(sums))]


def words(text: str) -> set[str]:
    """The set of words in a text, case-folded."""
    return set(_WORD.findall(text.lower()))


@functools.lru_cache(maxsize=8)
def trained(source: Source) -> BagOfWords:
    """The bag of words for a source that generates unlimited texts."""
    writer, labels = source.writer(rng("bag of words")), source.labels
    lines = [
        (writer.make(label), label) for _ in range(TRAINING // len(labels)) for label in labels
    ]
    return BagOfWords(labels, lines)


def keyword_rules(keywords: Mapping[str, Sequence[str]]) -> Callable[[str], str | None]:
    """A rule: the label with the most keywords in the text as words; `None` for a tie."""
    forms: list[tuple[str, Any]] = [
        (label, re.compile(rf"\b(?:{'|'.join(map(re.escape, listed))})s?\b", re.IGNORECASE))
        for label, listed in keywords.items()
    ]

    def label(text: str) -> str | None:
        hits = {name: len(set(form.findall(text.lower()))) for name, form in forms}
        most = max(hits.values())
        leaders = [name for name, count in hits.items() if count == most]
        return leaders[0] if most and len(leaders) == 1 else None

    return label
