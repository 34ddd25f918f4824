"""English dates independent of the process's locale, which `strftime` and `strptime` follow."""

from __future__ import annotations

from datetime import date

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_NUMBER = {name: number for number, name in enumerate(MONTHS, 1)}
_SHORT = {name[:3]: number for name, number in _NUMBER.items()}


def day_text(day: date) -> str:
    """Format as `Jan 06, 2023`."""
    return f"{MONTHS[day.month - 1][:3]} {day.day:02d}, {day.year:04d}"


def read_day(text: str) -> date:
    """Parse the day in `Jan 06, 2023`. Raises `ValueError` for another form."""
    month, day, year = text.split()
    if month not in _SHORT or not day.endswith(","):
        raise ValueError(f"{text!r} is not a date such as 'Jan 06, 2023'")
    return date(int(year), _SHORT[month], int(day[:-1]))


def read_month(text: str) -> date:
    """Parse the first day of `January 2023`. Raises `ValueError` for another form."""
    month, year = text.split()
    if month not in _NUMBER:
        raise ValueError(f"{text!r} is not a month such as 'January 2023'")
    return date(int(year), _NUMBER[month], 1)
