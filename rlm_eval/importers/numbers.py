"""Whole numbers of a row that cannot be counts, found before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from rlm_eval.importers.rows import BadLog, Row

MOST = 2**53
"""Counts are below this: above it they are no longer exact in JSON and in tables."""
_PARTS = ("input", "cached", "output", "reasoning")


def check_numbers(row: Row) -> None:
    """Raise `BadLog` where a number of tokens cannot be one, or another number is too large."""
    for call in row.calls:
        for part in _PARTS:
            value = getattr(call.usage, part)
            if value is not None and not _is_count(value):
                raise BadLog(
                    f"{row.place}: a call has {value!r:.60} {part} tokens; a number of tokens is a "
                    f"whole number of 0 or more, below {MOST:,}: correct the log, or remove the "
                    "field"
                )
    for name, value in _others(row):
        if type(value) is int and not -MOST < value < MOST:
            raise BadLog(
                f"{row.place}: {name} is {value!r:.60}, and whole numbers of {MOST:,} or more "
                "cannot be stored: correct the log, or remove the field"
            )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST


def _others(row: Row) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of every other number that a record or a manifest may hold."""
    for one in fields(row):
        value = getattr(row, one.name)
        if isinstance(value, Mapping):
            yield from ((f"{one.name}.{name}", held) for name, held in value.items())
        else:
            yield one.name, value
    if row.totals is not None:
        yield from ((one.name, getattr(row.totals, one.name)) for one in fields(row.totals))
    for start, end in row.evidence:
        yield from (("evidence", start), ("evidence", end))
    for call in row.calls:
        for name in ("id", "parent", "depth", "turn", "attempts"):
            yield f"a call's {name}", getattr(call, name)
