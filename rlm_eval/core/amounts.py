"""Sums of amounts of which some are unknown, and ranges of scores that a user gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rlm_eval.core.errors import ConfigError

N = TypeVar("N", int, float)


def known_sum(values: Iterable[N | None]) -> N | None:
    """Return the sum, 0 of no value; `None` if any value is unknown: a part is no total."""
    every = list(values)
    known = [value for value in every if value is not None]
    return sum(known) if len(known) == len(every) else None


def check_margin(margin: float, where: str) -> None:
    """Raise `ConfigError` unless a margin of scores is more than 0 and less than 1.

    A margin in points of a hundred is the likely mistake: any result is within 5 = 500 points.
    """
    if not 0 < margin < 1:  # false for NaN as well
        raise ConfigError(f"{where} {margin:g}: give more than 0 and less than 1; 0.05 is 5 points")


def check_score(score: float, where: str) -> None:
    """Raise `ConfigError` unless a score is between 0 and 1."""
    if not 0 <= score <= 1:  # false for NaN as well
        raise ConfigError(f"{where} {score:g}: scores are between 0 and 1")
