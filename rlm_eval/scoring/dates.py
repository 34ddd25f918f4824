"""Dates in free text, parsed by dateutil as in OOLONG's official scorer, but without the clock.

dateutil completes missing parts with today's, reads two-digit years near the current year, and
recognises the machine's own time zone by name: the official score of "June 2023" depends on the day
of scoring, that of "06/29/73" on the year. Here a complete date gives the reference's result of
2025 on a machine in UTC; an incomplete date is rejected.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any

_PIVOT = 2025
"""Two-digit years are read within 50 years of this one, as dateutil does for the current year."""
_FIRST, _SECOND = datetime(2000, 1, 1), datetime(2004, 2, 15)
"""Defaults for missing parts: they differ in every part, and in the weekday that follows each."""


class IncompleteDate(ValueError):
    """The text names a date without a year, a month or a day."""


def read_date(text: str) -> datetime:
    """Parse the date that `text` states in full; without a time of day, midnight.

    Raises `IncompleteDate`, and dateutil's errors for a text without a date: `ValueError`,
    `OverflowError`, `TypeError`.
    """
    one, two = _parsed(text, _FIRST), _parsed(text, _SECOND)
    if one != two:
        raise IncompleteDate(text)
    return one


def read_month(text: str) -> tuple[int, int]:
    """Parse (month, year) from `text`. Raises as `read_date` does."""
    one, two = _parsed(text, _FIRST), _parsed(text, _SECOND)
    if (one.month, one.year) != (two.month, two.year):
        raise IncompleteDate(text)
    return one.month, one.year


def _parsed(text: str, default: datetime) -> datetime:
    parsed: datetime = _parser().parse(text, default=default, tzinfos=_zone)
    return parsed


@cache
def _parser() -> Any:
    from dateutil import parser

    class Info(parser.parserinfo):
        def convertyear(self, year: int, century_specified: bool = False) -> int:
            if year >= 100 or century_specified:
                return year
            century = _PIVOT // 100 * 100
            return century + year - (100 if century + year >= _PIVOT + 50 else 0)

    return parser.parser(Info())


def _zone(name: str | None, offset: int | None) -> tzinfo | None:
    """A zone from its offset; a bare name is ignored, whatever the machine's zone."""
    return None if offset is None else timezone(timedelta(seconds=offset), name or "")
