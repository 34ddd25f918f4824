"""Methods that printed another name in earlier releases: `rlm_own` is `rlm`, `rag_bm25` is `rag`.

A printed name is no part of a cell's identity, but of the name of its folder, and stored records
hold it. So readers of records take both, and a run goes on in the folders that it has.
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
    """The name that is printed today, from a name of today or of before."""
    for pattern, today in _RENAMED:
        if found := pattern.fullmatch(name):
            return found.expand(today)
    return name


def in_text(text: str) -> str:
    """`text` with the names that stand in it as words replaced by today's."""
    return _IN_TEXT.sub(lambda found: current(found[0]), text)
