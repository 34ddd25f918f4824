"""Estimated time left of a whole run (ETA), from the pace of its cells so far.

Cells run one after the other, so the time left is the running cell's plus that of every waiting
one. A waiting cell's pace comes from similar cells; it is a forecast, not a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """The properties that determine most of a cell's pace."""

    method: str
    """Name of the method."""
    models: tuple[str, ...]
    """Names of the models, in the order of their slots."""
    length: int
    """Nominal context length, tokens."""


@dataclass(frozen=True)
class Pace:
    """Measured pace of a cell of this process."""

    kind: Kind
    seconds: float
    """Wall-clock seconds per finished sample, at the cell's own number of samples in flight."""


def pace_of(kind: Kind, seen: Sequence[Pace]) -> float | None:
    """Return the expected seconds per sample; `None` if no cell has finished a sample.

    Starts from the cell of the same method and models with the nearest length, corrected by the
    slope over the lengths seen; with one length, longer contexts scale up in proportion. Without
    such a cell: the mean over all cells.
    """
    if not seen:
        return None
    alike = [p for p in seen if (p.kind.method, p.kind.models) == (kind.method, kind.models)]
    if not alike:
        return sum(p.seconds for p in seen) / len(seen)
    nearest = min(alike, key=lambda p: (abs(p.kind.length - kind.length), p.kind.length))
    low, high = _ends(alike)
    if low.kind.length == high.kind.length:
        # The slope is unknown with one length. For most methods time grows at most about linearly
        # with the length; a shorter context is not assumed to be faster.
        return nearest.seconds * max(1.0, kind.length / max(1, nearest.kind.length))
    slope = (high.seconds - low.seconds) / (high.kind.length - low.kind.length)
    return max(low.seconds, nearest.seconds + slope * (kind.length - nearest.kind.length), 0.0)


def _ends(alike: Sequence[Pace]) -> tuple[Pace, Pace]:
    ordered = sorted(alike, key=lambda p: p.kind.length)
    return ordered[0], ordered[-1]


def seconds_left(waiting: Iterable[tuple[Kind, int]], seen: Sequence[Pace]) -> float | None:
    """Return the seconds that the `waiting` cells will take, each a kind and its samples to run.

    `None` while no pace is known.
    """
    total = 0.0
    for kind, samples in waiting:
        if not samples:
            continue
        pace = pace_of(kind, seen)
        if pace is None:
            return None
        total += samples * pace
    return total


def in_words(seconds: float) -> str:
    """Format seconds: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
