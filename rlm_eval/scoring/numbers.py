"""Numbers in answers: groups of digits are joined, values are compared exactly."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_GROUPED = re.compile(
    r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d|,\d)"
    r"|(?<![\w.,])(?<!\d['\u2019 \u00a0\u2009\u202f])(?<!,\})[1-9]\d{0,2}"
    r"(?P<mark>\{,\}|\\,|['\u2019 \u00a0\u2009\u202f])\d{3}(?:(?P=mark)\d{3})*(?!(?P=mark)?\d)"
)
"""1,234 and 1,00,000; 1{,}234 and 1\\,234 of LaTeX; 1'234; 1 234 with any space of one line."""
NUMBER = (
    r"(?<![^\W_])(?<!\w[_+-])(?<![.,/])(?<!\d:)[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
    r"(?![^\W_]|_\w|/|:\d|[.,]\d|-\d)"
)
"""A whole number of ungrouped text: not a part of a time, a date, a fraction or a name."""


def ungrouped(text: str) -> str:
    """Remove the separators of thousands within numbers."""
    return _GROUPED.sub(lambda number: re.sub(r"\D", "", number[0]), text)


def value_of(number: str) -> Decimal | None:
    """Return the value of an ungrouped number; `None` for other texts."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def without_remark(text: str) -> str:
    """Remove a remark in brackets that ends a text with one other number: `1234 (5 cases)`."""
    head, _, tail = text.partition("(")
    ends = re.fullmatch(r"[^()]*\)\W*", tail)
    return head if ends and len(re.findall(r"\d[\d.,]*", head)) == 1 else text
