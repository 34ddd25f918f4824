"""The six strategies of a trajectory, and what decides between them. Labellers read this text."""

from __future__ import annotations

STRATEGIES = {
    "divide": "code hands a part of the context, or a smaller task, to a child loop that runs "
    "code of its own (rlm_query, a recursive call)",
    "map": "sub-calls read the context, or parts of it chosen by their place alone (chunks, "
    "lines, documents, the first N characters)",
    "filter-then-read": "code selects parts of the context by their content (keyword, regular "
    "expression, a number found by a search), and sub-calls read the selection",
    "search": "no sub-call reads the context; code looks for text by its content and the model "
    "takes the answer from what was found",
    "compute": "no sub-call reads the context; code counts, sums, sorts or compares records, and "
    "the answer is the result",
    "none": "code ran, but it only printed or read by place, or did nothing with the context",
}
"""Strategy -> what it is."""

UNKNOWN = "unknown"
"""No code is stored: nothing can be said."""

RULES = (
    "The first of these that applies: divide; else the first sub-call that reads the context "
    "decides between map and filter-then-read; else compute; else search; else none.",
    "A sub-call reads the context where its prompt holds text of it. One that only gets replies "
    "of other sub-calls, or no text at all, decides nothing.",
    "A slice with literal bounds behind an earlier block that searched is a selection by content.",
    "A filter on being empty or on length alone is not a selection by content.",
    "compute: a count, sum, ranking or comparison over records or matches that becomes the answer "
    "or is printed last; len(context) and the size of a list printed to look around are none.",
    "Code counts that was written to run; whether it raised does not matter. Comments and strings "
    "do not count.",
    "A block that is no Python counts for nothing; a trajectory of such blocks alone is none.",
)
"""How labels are chosen, in order."""
