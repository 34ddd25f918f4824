"""Stretches of a text as (start, end) character offsets: their union, and what lies within it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Span = tuple[int, int]


def merge(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans`: ascending, without overlaps, empty ones left out."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def share_within(wanted: Sequence[Span], spans: Iterable[Span], spared: int = 0) -> float | None:
    """Share of the `wanted` spans that lie wholly within `spans`; `None` = none are known.

    Of each the last `spared` characters may be missing.
    """
    if not wanted:
        return None
    union = merge(spans)
    starts = [start for start, _ in union]
    # Of the stretches only the last that begins before a span can hold it: there may be a span a
    # line, a quarter of a million of them.
    last = ((bisect_right(starts, start) - 1, end - spared) for start, end in wanted)
    return sum(at >= 0 and end <= union[at][1] for at, end in last) / len(wanted)


def touches(wanted: Iterable[Span], spans: Iterable[Span]) -> bool:
    """True where some character of `wanted` lies within `spans`."""
    union = merge(spans)
    ends = [end for _, end in union]
    # The first stretch that ends behind the span's start is the only one to look at.
    found = ((bisect_right(ends, start), end) for start, end in wanted)
    return any(at < len(union) and union[at][0] < end for at, end in found)
