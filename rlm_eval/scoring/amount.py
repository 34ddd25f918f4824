"""A number with its unit in an answer: days, minutes."""

from __future__ import annotations

import re

from rlm_eval.core.types import Score
from rlm_eval.scoring import said

_NUMBER = r"(?<![\w.,:-])(\d{1,9})(?![\w:]|[.,]\d)"


def amount(gold: int, unit: str, output: str | None) -> Score:
    """1 where the answer's number is the gold.

    The number is the last one before the unit's name ("14 days", "14 minutes"), otherwise the last
    number of the answer. Digits only, because the questions ask for just the number.
    """
    text = re.sub(r"[*_`$]", "", said(output or ""))
    found = re.findall(rf"{_NUMBER}[ -]?{unit.rstrip('s')}", text) or re.findall(_NUMBER, text)
    value = int(found[-1]) if found else None
    return Score("exact", float(value == gold), None if value is None else str(value))
