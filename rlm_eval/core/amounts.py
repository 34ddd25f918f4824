"""Sums of amounts of which some are unknown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

N = TypeVar("N", int, float)


def known_sum(values: Iterable[N | None]) -> N | None:
    """Return the sum, 0 of no value; `None` if any value is unknown: a part is no total."""
    every = list(values)
    known = [value for value in every if value is not None]
    return sum(known) if len(known) == len(every) else None
