"""Numbers of Inspect's samples: scores as Inspect reads them, values that are none, usage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rlm_eval.core.types import Usage
from rlm_eval.importers.rows import BadLog

_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_MOST = 10
"""Maximum number of values that a message names."""


def number_of(value: Any) -> int | float | None:
    """Return the number of a value: letters, yes and no, numbers as text; else `None`."""
    if isinstance(value, str):
        return _LETTERS.get(value, _WORDS.get(value.casefold(), _finite(value)))
    return value if isinstance(value, int) or _is_finite(value) else None


def is_unscored(value: Any) -> bool:
    """Return true where a scorer gave no value: Inspect writes NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def part_of(value: Any, scorer: str, part: str | None, place: str) -> Any:
    """Return the value of a scorer, or `part` of it; `None` where it lacks the part.

    Raises `BadLog` for several values without a `part`, naming the parts.
    """
    if not isinstance(value, Mapping | list):
        return value if part is None else None
    named = dict(value) if isinstance(value, Mapping) else dict(enumerate(value))
    parts = {str(name): one for name, one in named.items()}
    if part is not None:
        return parts.get(part)
    if len(parts) > 1:
        raise BadLog(
            f"{place}: the score of {scorer} has several values ({', '.join(parts):.200}): they "
            f"are different measures; choose one with --their-scorer {scorer}.{next(iter(parts))}"
        )
    return next(iter(parts.values()), None)


def unread(found: Counter[tuple[str, str]], samples: int) -> list[str]:
    """Return the lines for the user about values that are no number."""
    often = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    rest = len(often) - _MOST
    lines = [
        f"scorer {name}: in {count} of {samples} samples its value {value:.60} is not a number for "
        "Inspect: not scored"
        for (name, value), count in often[:_MOST]
    ]
    return lines + ([f"{rest} more values are no numbers"] if rest > 0 else [])


def usage_of(found: Mapping[str, Any] | None) -> Usage:
    """Return the usage; our prompt tokens include cached ones, which Inspect counts separately."""
    if not found or found.get("input_tokens") is None:
        return Usage()
    read_back, written = found.get("input_tokens_cache_read"), found.get("input_tokens_cache_write")
    return Usage(
        input=int(found["input_tokens"]) + int(read_back or 0) + int(written or 0),
        cached=None if read_back is None else int(read_back),
        output=found.get("output_tokens"),
        reasoning=found.get("reasoning_tokens"),
    )


def _finite(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
