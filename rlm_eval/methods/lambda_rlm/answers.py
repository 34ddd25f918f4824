"""Answers computed in code from counts, for questions phrased as in OOLONG.

Recognises the benchmark's question forms (most and least common label, comparison of two labels,
number of one label) and its answer forms. A model answers any other question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LABEL = re.compile(r"\blabel '([^']+)'")
_FORM = re.compile(r"in the form '([^']+)'")


def from_counts(question: str, counts: Mapping[str, int]) -> str | None:
    """Answer from the counts per lower-case label; `None` for another form of question."""
    if not counts:
        return None
    asked, form = question.lower(), _FORM.search(question)
    labels = _LABEL.findall(question)
    if "which of the labels" in asked:
        best = max if "most common" in asked else min if "least common" in asked else None
        return f"Label: {best(counts, key=lambda label: counts[label])}" if best else None
    if len(labels) == 2 and "more common, less common" in asked:
        a, b = (counts.get(label.lower(), 0) for label in labels)
        words = (
            "more common than" if a > b else "less common than" if a < b else "same frequency as"
        )
        return (
            form.group(1).replace("[X]", words) if form else f"{labels[0]} is {words} {labels[1]}"
        )
    if len(labels) == 1 and "how many data points" in asked:
        return f"Answer: {counts.get(labels[0].lower(), 0)}"
    return None
