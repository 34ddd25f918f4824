"""A table as text, and helpers of all tables: footnote marks, applicable columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = "unknown"
NOT_COMPUTED = "not computed"
FEW = "n < 72"
"""Printed instead of a high quantile that needs more samples."""
LETTERS = "ᵃᵇᶜᵈᵉᶠᵍʰʲᵏˡᵐᵒᵖʳˢᵗᵘ"
"""Footnote marks, in order; see `mark`."""
_KEYS = frozenset(("task", "length", "method", "n", "A", "B", "verdict"))
_SAID_WHY = {UNKNOWN: "not known of any line", NOT_COMPUTED: "not computed", FEW: FEW, "": "empty"}


@dataclass(frozen=True)
class Table:
    """One table, ready to print."""

    name: str
    """File name without its ending."""
    title: str
    """Heading."""
    note: str
    """Explanatory note; the caption in LaTeX."""
    rows: pd.DataFrame
    """Text in every cell; sort keys are derived from it."""
    data: pd.DataFrame | None = None
    """Contents of the CSV if not `rows`: separate numbers, footnotes written out."""
    last: bool = False
    """Whether this is the report's last table."""
    behind: Sequence[Mapping[str, tuple[str, str, str]]] = ()
    """Per row: column -> (task, length, series) of the cell behind its number, in a pivot."""

    @property
    def csv(self) -> pd.DataFrame:
        """Return the contents of the CSV."""
        return self.rows if self.data is None else self.data


def row_dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dictionary of Python values per row, as `to_dict("records")` does.

    That takes a column by its position: three times as long for the 160 columns of a cell table.
    """
    columns = {str(name): _values(table[name]) for name in table.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pd.Series) -> list[Any]:
    if column.dtype.kind in "biuf":
        return column.tolist()
    plain = (value.item() if isinstance(value, np.generic) else value for value in column)
    return [None if value is pd.NA else value for value in plain]


def mark(number: int) -> str:
    """Return the footnote mark of a number from 0 on: letters, then doubled letters, and so on."""
    again, at = divmod(number, len(LETTERS))
    return LETTERS[at] * (1 + again)


def marked(kinds: Sequence[str]) -> tuple[list[str], str]:
    """Return (mark per line, footnotes) for kinds that differ by line; no marks for one kind."""
    told = list(dict.fromkeys(kind for kind in kinds if kind))
    if len(told) < 2:
        return [""] * len(kinds), f"Interval: {told[0]}." if told else ""
    marks = {kind: mark(number) for number, kind in enumerate(told)}
    notes = " ".join(f"{found} {kind}." for kind, found in marks.items())
    return [marks.get(kind, "") for kind in kinds], notes


def applying(table: Table) -> Table:
    """Return the table without columns that apply to no line; the note names them.

    An entirely unknown column is not zero and must not disappear silently: it is named.
    """
    if table.rows.empty:
        return table
    gone: dict[str, list[str]] = {}
    for name in table.rows.columns:
        values = set(table.rows[name].astype(str))
        if len(values) == 1 and name not in _KEYS and (value := next(iter(values))) in _SAID_WHY:
            gone.setdefault(_SAID_WHY[value], []).append(str(name))
    if not gone:
        return table
    names = [name for own in gone.values() for name in own]
    said = "; ".join(f"{', '.join(own)} ({why})" for why, own in gone.items())
    return replace(
        table,
        rows=table.rows.drop(columns=names),
        data=None if table.data is None else table.data.drop(columns=names, errors="ignore"),
        note=f"{table.note} Columns left out: {said}.",
    )
