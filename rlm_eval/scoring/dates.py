"""Dates in free text, read by dateutil as OOLONG's official scorer reads them, clock aside.

dateutil fills the parts that a text leaves out with today's, takes two-digit years around the
current year, and knows the machine's own time zone by name: the official score of "June 2023"
depends on the day on which it is computed, that of "06/29/73" on the year. Here a complete date
gives what the reference gives in 2025 on a machine in UTC; an incomplete one is no date.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any

_PIVOT = 2025
"""Two-digit years are read within 50 years of this one, as dateutil does around the current."""
_FIRST, _SECOND = datetime(2000, 1, 1), datetime(2004, 2, 15)
"""Stand-ins for missing parts: no part agrees, nor the weekday that follows each of them."""


class IncompleteDate(ValueError):
    """The text names a date without a year, a month or a day."""


def read_date(text: str) -> datetime:
    """The date that `text` states in full; without a time of day, midnight.

    Raises `IncompleteDate`, and what dateutil raises for a text that is no date: `ValueError`,
    `OverflowError`, `TypeError`.
    """
    one, two = _parsed(text, _FIRST), _parsed(text, _SECOND)
    if one != two:
        raise IncompleteDate(text)
    return one


def read_month(text: str) -> tuple[int, int]:
    """(month, year) that `text` states. Raises as `read_date` does."""
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
    """A zone by its offset; a name alone means nothing, wherever the machine stands."""
    return None if offset is None else timezone(timedelta(seconds=offset), name or "")
