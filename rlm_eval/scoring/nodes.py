"""Sets of graph nodes: F1 and equality, following the public GraphWalks data.

The dataset card reads a bracketed list after `Final Answer:` on the last line. Here the last such
list counts, on any line; an answer without one is searched for node names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlm_eval.core.types import Score
from rlm_eval.scoring import said

_LIST = re.compile(r"final answer\W*?:[\s*`]*\[([^\[\]]*)\]", re.IGNORECASE)
_NAME = re.compile(r"(?<![\w-])[0-9a-f]{8,12}(?![\w-])")


def nodes_in(output: str | None) -> set[str]:
    """The nodes that an answer names: those of its last `Final Answer: [...]`, else all names."""
    text = said(output or "").lower()
    found = _LIST.findall(text)
    return set(_NAME.findall(found[-1] if found else text))


def node_scores(gold: Sequence[str], output: str | None) -> tuple[Score, ...]:
    """`f1` over the set of nodes, and `exact`: 1 where the sets are equal. `gold` is not empty."""
    named, wanted = nodes_in(output), set(gold)
    hits = len(named & wanted)
    f1 = 2 * hits / (len(named) + len(wanted))
    parsed = f"{len(named)} nodes, {hits} right"
    return Score("f1", f1, parsed), Score("exact", float(named == wanted), parsed)
