"""A context as a list of items that a rule reads or skips: lines, sentences, and their words.

Items are lines where the lines are short (records), otherwise sentences; they are blocks where the
evidence consists of whole blocks with the same kind of beginning (files, conversation turns). An
evidence span is one item: a reader who finds a record reads all of it. Independent of any task.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rlm_eval.core.types import Sample, canonical_text

Items = NDArray[np.bool_]
"""One flag per item of a page: read or skipped."""

_SENTENCE = re.compile(r"[.!?][\"')\]]*\s+(?=[A-Z0-9\"'(\[])|\s*\n\s*")
_LINE = re.compile(r"\s*\n\s*")
_WORD = re.compile(r"[a-z0-9]+(?:['’-][a-z0-9]+)*")
_SHORT = 200  # characters: the median line of a list of records or of a program is shorter
_FEW = 20  # lines: a text with fewer is paragraphs

_TEXT = """
a about above after all also am an and answer any are as ask asked at based be because been
before being between both but by can could did do does each final for form format from give
given had has have he her his how i if in into is it its just line lines list mentioned more
most name named no not number of on one only or other our out over question questions same
say says she should so some state such text than that the their them then there these they
this those to two up use was we were what when where which who whom whose why will with word
words would write you your
"""
COMMON = frozenset(_TEXT.split())
"""Function words of a question, without information about its subject."""


def words(text: str) -> list[str]:
    """The words of a text in order, lower case."""
    return _WORD.findall(text.lower())


def content_words(question: str) -> frozenset[str]:
    """The words of a question worth searching for."""
    return frozenset(word for word in words(question) if word not in COMMON and len(word) > 1)


@dataclass(frozen=True)
class Page:
    """One sample's context, split into items. All properties are computed once, on first access."""

    sample: Sample
    text: str
    """The canonical text."""
    titles: tuple[str, ...]
    """First line of each document; empty for a plain text."""

    @classmethod
    def of(cls, sample: Sample) -> Page:
        """Load the sample's context."""
        value = sample.context.value()
        titles = () if isinstance(value, str) else value
        return cls(
            sample, canonical_text(value), tuple(t.strip().split("\n", 1)[0] for t in titles)
        )

    @functools.cached_property
    def bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(first character, one past the last) of every item, in order."""
        found = self._separator.finditer(self.text)
        cuts = np.array([0, *(match.end() for match in found), len(self.text)], dtype=np.int64)
        spans = np.array(sorted(self.sample.evidence), dtype=np.int64).reshape(-1, 2)
        if len(spans):
            before = np.searchsorted(spans[:, 0], cuts, side="left")
            reach = np.concatenate([[0], np.maximum.accumulate(spans[:, 1])])
            cuts = np.concatenate([cuts[reach[before] <= cuts], spans.ravel()])
        marks = np.unique(cuts)
        starts, ends = marks[:-1], marks[1:]
        pieces = zip(starts.tolist(), ends.tolist(), strict=True)
        kept = np.array([bool(self.text[a:b].strip()) for a, b in pieces], dtype=bool)
        return starts[kept], ends[kept]

    @property
    def _separator(self) -> re.Pattern[str]:
        """Pattern of item ends. Evidence of whole blocks (files, turns) shows how blocks begin."""
        spans = [self.text[start:end] for start, end in self.sample.evidence[:50]]
        if any("\n" in span.strip() for span in spans):
            heads = {span.split(None, 1)[0] for span in spans if span.strip()}
            block = re.compile(rf"^(?={re.escape(min(heads))}\s)", re.MULTILINE)
            if len(heads) == 1 and sum(1 for _ in block.finditer(self.text)) > 2 * len(spans):
                return block
        lengths = [len(line) for line in self.text.split("\n") if line.strip()]
        short = len(lengths) >= _FEW and median(lengths) <= _SHORT
        return _LINE if short else _SENTENCE

    def __len__(self) -> int:
        return len(self.bounds[0])

    @functools.cached_property
    def items(self) -> list[str]:
        """The text of every item."""
        starts, ends = self.bounds
        return [self.text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]

    @functools.cached_property
    def words(self) -> list[frozenset[str]]:
        """The distinct words of every item."""
        return [frozenset(words(item)) for item in self.items]

    @functools.cached_property
    def frequency(self) -> Counter[str]:
        """Word -> number of items that contain it."""
        return Counter(word for item in self.words for word in item)

    @functools.cached_property
    def asked(self) -> NDArray[np.float64]:
        """Per item: summed rarity of the question's words in it."""
        wanted = {
            word: math.log((len(self) + 1) / self.frequency[word])
            for word in content_words(self.sample.question)
            if word in self.frequency
        }
        # `fsum` is exact, so the result does not depend on the iteration order of a set.
        found = (item & wanted.keys() for item in self.words)
        return np.array([math.fsum(wanted[word] for word in own) for own in found])

    @functools.cached_property
    def unusual(self) -> NDArray[np.float64]:
        """Per item: summed rarity of its words: 1 if in no other item, then 1/2, 1/3, ..."""
        weights = {word: 1 / count for word, count in self.frequency.items()}
        return np.array([math.fsum(map(weights.__getitem__, item)) for item in self.words])

    def containing(self, places: Iterable[int]) -> Items:
        """The items that contain these character positions."""
        found = np.zeros(len(self), dtype=bool)
        at = np.fromiter(places, dtype=np.int64)
        if at.size:
            found[np.searchsorted(self.bounds[0], at, side="right").clip(min=1) - 1] = True
        return found

    def matching(self, pattern: re.Pattern[str]) -> Items:
        """The items in which a match of the pattern begins."""
        return self.containing(match.start() for match in pattern.finditer(self.text))

    def read(self, chosen: Items) -> float:
        """Share of the text's characters in these items, 0 to 1."""
        starts, ends = self.bounds
        return float((ends - starts)[chosen].sum()) / max(1, len(self.text))

    def top(self, ranks: NDArray[np.float64], share: float, above: float) -> Items:
        """The items with the highest ranks over `above`, up to this share of the text.

        At least one item; among equals the first.
        """
        starts, ends = self.bounds
        order = np.argsort(-ranks, kind="stable")
        reached = np.cumsum((ends - starts)[order]) <= share * len(self.text)
        reached[:1] = True
        found = np.zeros(len(ranks), dtype=bool)
        found[order[reached]] = True
        return found & (ranks > above)

    def covers(self, chosen: Items) -> bool:
        """True where these items contain every evidence span; false where there is no evidence.

        Without spans the place of the answer is unknown, so the whole text must be read.
        """
        starts, ends = self.bounds
        if not self.sample.evidence:
            return bool(chosen.all())
        for start, end in self.sample.evidence:
            first = np.searchsorted(ends, start, side="right")
            last = np.searchsorted(starts, end, side="left")
            if not chosen[first:last].all():
                return False
        return True

    def places(self) -> Sequence[float]:
        """Evidence positions: the middle of each span, as a share of the text."""
        size = max(1, len(self.text))
        return [(start + end) / 2 / size for start, end in self.sample.evidence]
