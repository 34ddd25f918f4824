"""Colour and marker of a method: the same in every figure of every report.

Shipped methods have a fixed pair. Any other method gets a free pair by the hash of its name, so it
is independent of the other methods in the report; on a collision methods take neighbouring pairs,
in alphabetical order. Colours: Okabe & Ito's and five of Tol's muted ones (without yellow:
invisible on paper). Series of one method share both and differ in shade, line style and marker
fill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

import pandas as pd

COLUMN = "look"
"""Column of a prepared frame: `colour|marker|number of the series within its method`."""
MANY = 8
"""Maximum number of series in one panel; more are split into small multiples."""

BLUE, VERMILION, GREEN, PINK, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
SKY, BLACK, BROWN, INDIGO, WINE = "#56B4E9", "#000000", "#8C6D1F", "#332288", "#882255"
TEAL, OLIVE, GREY = "#44AA99", "#999933", "#777777"
COLOURS = (
    BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK, BROWN, INDIGO, WINE, TEAL, OLIVE, GREY,
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "d", "<", ">", "8")

SHIPPED: dict[str, tuple[str, str]] = {
    "long_context": (BLUE, "o"),
    "long_context_tail": (BLUE, "h"),
    "rag_bm25": (VERMILION, "s"),
    "rag_dense": (VERMILION, "D"),
    "rag_hybrid": (VERMILION, "p"),
    "prequery_bm25": (VERMILION, "d"),
    "summary_agent": (GREEN, "^"),
    "summary_agent_small": (GREEN, "<"),
    "summary_map_reduce": (GREEN, ">"),
    "codeact": (SKY, "P"),
    "codeact_bm25": (SKY, "s"),
    "codeact_sub": (INDIGO, "P"),
    "codeact_bm25_sub": (INDIGO, "s"),
    "react_bm25": (TEAL, "d"),
    "program_map": (PINK, "D"),
    "program_map_small": (PINK, "d"),
    "program_grep": (PINK, "<"),
    "program_label_count": (PINK, "p"),
    "program_label_count_unkeyed": (PINK, "h"),
    "program_matched": (OLIVE, "D"),
    "closed_book": (GREY, "X"),
    "floor_constant": (GREY, "o"),
    "floor_oracle": (GREY, "h"),
    "lambda_rlm": (BROWN, "^"),
    "rlm_own": (ORANGE, "v"),
    "rlm_paper_v1": (BLACK, "v"),
    "rlm_paper_v1_strict": (BROWN, "v"),
    "rlm_official_0_1_1": (WINE, "v"),
    "rlm_official_latest": (WINE, "^"),
    "rlm_read": (ORANGE, "^"),
    "program_label_each": (PINK, ">"),
    "external": (TEAL, "X"),
    "external_rlms": (TEAL, "v"),
    "external_dspy": (TEAL, "s"),
    "external_minrlm": (TEAL, "o"),
    "external_recursive_llm": (TEAL, "D"),
    "external_pyrlm": (TEAL, "p"),
}
"""Printed name of a shipped method -> (colour, marker)."""
_OTHER_NAMES = {"rlm": "rlm_own", "rag": "rag_bm25"}
_DEPTH = re.compile(r"(.+)_d(\d+)")
_DEPTH_MARKERS = ("X", "<", "P", "s", "D", "h", "8", "o")
"""Marker of a recursive method by the depth in its name: `rlm_own_d0`, `rlm_own_d2`."""


def _fixed(method: str) -> tuple[str, str] | None:
    name = _OTHER_NAMES.get(method, method)
    if name in SHIPPED:
        return SHIPPED[name]
    if (found := _DEPTH.fullmatch(name)) and _OTHER_NAMES.get(found[1], found[1]) in SHIPPED:
        colour, _ = SHIPPED[_OTHER_NAMES.get(found[1], found[1])]
        return colour, _DEPTH_MARKERS[int(found[2]) % len(_DEPTH_MARKERS)]
    return None


_TAKEN = {*SHIPPED.values(), *((o, m) for o in (ORANGE, BLACK, WINE) for m in _DEPTH_MARKERS)}
_FREE = [(c, m) for m in MARKERS for c in COLOURS if (c, m) not in _TAKEN]


def pairs(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return method -> (colour, marker) for the methods of one report; pairs are unique.

    A method that is not shipped takes the next free pair if its hash collides.
    """
    found: dict[str, tuple[str, str]] = {}
    for method in sorted(set(methods), key=lambda name: (_fixed(name) is None, name)):
        pair, used = _fixed(method), set(found.values())
        if pair is None or pair in used:
            at = int.from_bytes(sha256(method.encode()).digest()[:8], "big") % len(_FREE)
            free = [*_FREE[at:], *_FREE[:at]]
            pair = next((pair for pair in free if pair not in used), free[0])
        found[method] = pair
    return found


def mark(frame: pd.DataFrame) -> None:
    """Add the column `look` to a frame with `method` and `series`.

    Call it on the whole report's frame, so that figures of a part look the same.
    """
    kinds = frame[["method", "series"]].drop_duplicates().sort_values(["method", "series"])
    of_method = pairs(kinds["method"])
    number = kinds.groupby("method").cumcount()
    told = {
        series: "|".join((*of_method[method], str(nth)))
        for method, series, nth in zip(kinds["method"], kinds["series"], number, strict=True)
    }
    frame[COLUMN] = frame["series"].map(told)
