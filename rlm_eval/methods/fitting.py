"""How much of a context fits a window, and whether the evidence is in what was kept.

Not a tokenizer: tokens of a part are estimated at the context's own rate of characters per token,
which the task measured. A model's tokenizer may differ, hence `MARGIN`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlm_eval.errors import ContextOverflow
from rlm_eval.types import Sample

MARGIN = 0.05
"""Share of a window by which an estimate may be wrong."""

Span = tuple[int, int]
"""First character and one past the last."""


def chars_per_token(sample: Sample) -> float:
    """Of the sample's context, under the tokenizer that measured it."""
    context = sample.context
    return context.chars / context.tokens if context.tokens else 4.0


def estimate_tokens(sample: Sample, chars: int) -> int:
    """Tokens of `chars` characters of text such as the sample's context, rounded up."""
    return -int(-chars // chars_per_token(sample))


def refuse_overflow(sample: Sample, model: str, window: int | None, chars: int) -> None:
    """Raises `ContextOverflow` where a prompt of `chars` characters cannot fit the window.

    Some servers cut a long prompt silently, and none needs to be sent 40 MB to refuse them. Within
    `MARGIN` of the window, or where it is unknown, the server decides.
    """
    tokens = estimate_tokens(sample, chars)
    if window is not None and tokens > window * (1 + MARGIN):
        raise ContextOverflow(
            f"the prompt takes about {tokens} tokens, the window of {model} has {window}: "
            "nothing was sent"
        )


def merge(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans`, ascending, without overlaps."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def evidence_kept(evidence: Sequence[Span], kept: Iterable[Span]) -> float | None:
    """Share of the evidence spans that lie wholly within `kept`; `None` = evidence unknown."""
    if not evidence:
        return None
    union = merge(kept)
    inside = sum(any(s <= start and end <= e for s, e in union) for start, end in evidence)
    return inside / len(evidence)
