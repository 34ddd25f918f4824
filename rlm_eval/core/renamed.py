"""Methods with another printed name in earlier releases: `rlm_own` is `rlm`, `rag_bm25` is `rag`.

A printed name is not part of a cell's identity, but of its folder's name, and stored records hold
it. So readers of records accept both names, and a run continues in its existing folders.
"""

from __future__ import annotations

import re

_RENAMED = (
    (re.compile(r"rag_bm25"), "rag"),
    # Every name that this package derived or set: answer modes, depths, a suite's label.
    (
        re.compile(r"rlm_own((_final_variable|_final_tags)?(_d\d+)?(_root_then_sub)?)"),
        r"rlm\1",
    ),
)
_IN_TEXT = re.compile(r"\b(rag_bm25|rlm_own)\b")


def current(name: str) -> str:
    """Return the current printed name, from a current or earlier name."""
    for pattern, today in _RENAMED:
        if found := pattern.fullmatch(name):
            return found.expand(today)
    return name


def in_text(text: str) -> str:
    """Return `text` with earlier names, where they are whole words, replaced by current ones."""
    return _IN_TEXT.sub(lambda found: current(found[0]), text)
