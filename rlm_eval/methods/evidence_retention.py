"""Survival of evidence in summaries, for tasks that know its place.

A summary paraphrases, so spans cannot be matched in it. The measure uses the evidence's *marks*:
its words that occur nowhere else in the context (the number, the rare name), or, if there are none,
its longest word. A span survives where the text has all its marks: a proxy, not proof.
"""

from __future__ import annotations

import re
from collections import Counter

from rlm_eval.core.spans import Span
from rlm_eval.core.types import Sample

_WORD = re.compile(r"\w+")
_MANY = 40  # with more spans (a label on every line) there is no specific evidence to lose


class Survival:
    """Tracks the evidence of one sample through its summaries."""

    def __init__(self, sample: Sample, text: str) -> None:
        """`text` is the canonical context."""
        self._spans = sample.evidence if len(sample.evidence) <= _MANY else ()
        self._marks = self._find_marks(text) if self._spans else []
        self._log: list[str] = []

    def _find_marks(self, text: str) -> list[set[str]]:
        words = [[w.lower() for w in _WORD.findall(text[s:e])] for s, e in self._spans]
        inside = Counter(word for span in words for word in span)
        wanted = set(inside)
        everywhere = Counter(
            word for m in _WORD.finditer(text.lower()) if (word := m.group()) in wanted
        )
        marks: list[set[str]] = []
        for span in words:
            rare = {word for word in span if everywhere[word] <= inside[word]}
            longest = {max(span, key=len)} if span else set()
            marks.append(rare or longest)
        return marks

    @property
    def log(self) -> str | None:
        """Surviving share after each summary, `1 1 0.5`; `-` = none read yet; `None` = unknown."""
        return " ".join(self._log) if self._spans else None

    def seen(self, summary: str, read: int) -> None:
        """Record a summary of the first `read` characters."""
        share = self.share(summary, read, None)
        self._log.append("-" if share is None else f"{share:.2g}")

    def share(self, summary: str, read: int, tail: Span | None) -> float | None:
        """Share of spans in the first `read` characters that are in `summary` or `tail`."""
        known = [i for i, (_, end) in enumerate(self._spans) if end <= read]
        if not known:
            return None
        words = {m.group() for m in _WORD.finditer(summary.lower())}
        kept = 0
        for i in known:
            start, end = self._spans[i]
            whole = tail is not None and tail[0] <= start and end <= tail[1]
            kept += whole or self._marks[i] <= words
        return kept / len(known)
