"""Time left of a whole run, from the pace of its cells so far.

The cells of a run take their turns, so the time left is that of the running cell plus that of every
waiting one. A waiting cell's pace is taken from cells like it; it is a forecast, not a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What the pace of a cell depends on most."""

    method: str
    """Name of the method."""
    models: tuple[str, ...]
    """Names of the models, in the order of their slots."""
    length: int
    """Nominal context length, tokens."""


@dataclass(frozen=True)
class Pace:
    """How fast a cell of this process went."""

    kind: Kind
    seconds: float
    """Wall-clock seconds per finished sample, at the cell's own number of samples in flight."""


def pace_of(kind: Kind, seen: Sequence[Pace]) -> float | None:
    """Seconds per sample to expect of a cell; `None` where no cell has finished a sample.

    Cells of the same method and models count alone where there are any, and of those the one of
    the nearest length; longer contexts are scaled up in proportion where only one length was seen.
    Otherwise the mean over all cells.
    """
    if not seen:
        return None
    alike = [p for p in seen if (p.kind.method, p.kind.models) == (kind.method, kind.models)]
    if not alike:
        return sum(p.seconds for p in seen) / len(seen)
    nearest = min(alike, key=lambda p: (abs(p.kind.length - kind.length), p.kind.length))
    low, high = _ends(alike)
    if low.kind.length == high.kind.length:
        # One length tells nothing of the slope. Time grows at most about linearly with the length
        # for most methods; a shorter context is not assumed to be faster.
        return nearest.seconds * max(1.0, kind.length / max(1, nearest.kind.length))
    slope = (high.seconds - low.seconds) / (high.kind.length - low.kind.length)
    return max(low.seconds, nearest.seconds + slope * (kind.length - nearest.kind.length), 0.0)


def _ends(alike: Sequence[Pace]) -> tuple[Pace, Pace]:
    ordered = sorted(alike, key=lambda p: p.kind.length)
    return ordered[0], ordered[-1]


def seconds_left(waiting: Iterable[tuple[Kind, int]], seen: Sequence[Pace]) -> float | None:
    """Seconds that the `waiting` cells will take, each a kind and its samples to run.

    `None` where nothing is known yet.
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
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
