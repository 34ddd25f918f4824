"""Parts of a text as (start, end) character offsets: their union, and which spans they contain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Span = tuple[int, int]


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the union of `spans`: ascending, without overlaps, empty ones left out."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def share_within(wanted: Sequence[Span], spans: Iterable[Span], spared: int = 0) -> float | None:
    """Return the share of the `wanted` spans wholly within `spans`; `None` = none are known.

    The last `spared` characters of each may be missing.
    """
    if not wanted:
        return None
    union = merge(spans)
    starts = [start for start, _ in union]
    # Only the last part that begins before a span can contain it: there may be one span per line, a
    # quarter of a million of them.
    last = ((bisect_right(starts, start) - 1, end - spared) for start, end in wanted)
    return sum(at >= 0 and end <= union[at][1] for at, end in last) / len(wanted)


def touches(wanted: Iterable[Span], spans: Iterable[Span]) -> bool:
    """Return true if some character of `wanted` lies within `spans`."""
    union = merge(spans)
    ends = [end for _, end in union]
    # Only the first part that ends after the span's start can overlap it.
    found = ((bisect_right(ends, start), end) for start, end in wanted)
    return any(at < len(union) and union[at][0] < end for at, end in found)
