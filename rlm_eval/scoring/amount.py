"""A number with its unit in an answer: days, minutes."""

from __future__ import annotations

import re

from rlm_eval.core.types import Score
from rlm_eval.scoring import said
from rlm_eval.scoring.numbers import NUMBER, ungrouped, value_of, without_remark

_LARGER = "h|hrs?|hours?|weeks?|months?|years?"


def amount(gold: int, unit: str, output: str | None) -> Score:
    """1 where the answer's number is the gold.

    The number is the last one before the unit's name ("14 days", "14 minutes"), otherwise the last
    number of the answer. The minutes of "2 hours 5 minutes" are a part of an amount and do not
    count.
    """
    text = ungrouped(re.sub(r"[*_`$]", "", said(output or "")))
    one = unit.rstrip("s")
    whole = re.sub(rf"(?<!\d)\d{{1,9}} ?(?:{_LARGER})\b(?:,? and|,)? \d{{1,9}} ?{one}", "", text)
    found = re.findall(rf"({NUMBER})[ -]?{one}", whole)
    found = found or re.findall(NUMBER, without_remark(text))
    value = value_of(found[-1]) if found else None
    # Version 1 read no number with separators of thousands or .0.
    return Score("exact", float(value == gold), found[-1] if found else None, version="2")
