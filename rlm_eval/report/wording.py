"""Wording shared by tables, texts and figures: lengths, axis numbers, counts, stamps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal

import pandas as pd

UNKNOWN_LENGTH = 0.5
"""Placeholder for a length missing from an imported log: keys and axes need a number."""


def tokens_label(value: float) -> str:
    """Format a token count: `8k`, `1M`; 1k is 1,024 tokens."""
    if value == UNKNOWN_LENGTH:
        return "unknown"
    if value >= 1024**2:
        return f"{round(value / 1024**2, 2):g}M"
    return f"{round(value / 1024, 2):g}k" if value >= 1024 else f"{value:g}"


def short(value: float) -> str:
    """Format a number for an axis: 1,500, 20k, 2M, 0.003."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if suffix == 'k' else size):g}{suffix}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def three_digits(value: float) -> str:
    """Format an amount with three significant digits, never as a power of ten: 0.0123, 1,018."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return format(Decimal(f"{value:.3g}"), "f")


def probability(p: float) -> str:
    """Format a p value: four decimals, and never 0.0000."""
    return f"{p:.0e}" if 0 < p < 0.0001 else f"{p:.4f}"


def counted(values: Iterable[float]) -> str:
    """Return `n = 20`, or a range if points differ."""
    found = sorted({int(v) for v in values})
    if not found:
        return "n = 0"
    return f"n = {found[0]}" if len(found) == 1 else f"n = {found[0]} to {found[-1]}"


def several(count: int, noun: str) -> str:
    """Return `1 context` or `3 contexts`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def called(table: pd.DataFrame) -> str:
    """Return the models of these lines: the root, or the sub-model for lines without a root."""
    return ", ".join(sorted(set(table["root"].where(table["root"] != "", table["sub"]))))


def marks(frame: pd.DataFrame) -> str:
    """Return the small mark that stays in a figure when it is copied elsewhere."""
    words = [
        "scripted replies, no model answered" if frame["scripted"].any() else "",
        "generated data" if frame["generated"].any() else "",
        "imported, not run here" if "imported" in frame and frame["imported"].notna().any() else "",
    ]
    return "  ·  ".join(filter(None, words))


def stamps(frame: pd.DataFrame) -> str:
    """Return the first warning of a page, table or comparison: scripted or generated data."""
    words = []
    if frame["scripted"].any():
        words.append("SCRIPTED REPLIES: tests the machinery, no model answered")
    if frame["generated"].any():
        words.append("generated data")
    if sources := imported(frame):
        words.append(sources)
    return "  ·  ".join(words)


def imported(frame: pd.DataFrame) -> str:
    """Return the provenance of imported rows, with their files' hash; empty for runs made here."""
    if "imported" not in frame or not frame["imported"].notna().any():
        return ""
    told = []
    for kind, own in frame[frame["imported"].notna()].groupby("imported", sort=True):
        hashes = sorted(set(own["source_sha256"].dropna().astype(str)))
        if len(hashes) == 1:
            told.append(f"{kind}, file SHA-256 {hashes[0][:16]}")
        else:
            joined = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
            told.append(f"{kind}, {len(hashes)} files, SHA-256 of their hashes {joined[:16]}")
    return f"IMPORTED, not run here ({'; '.join(told)})"


def unknown_lengths(data: pd.DataFrame) -> pd.DataFrame:
    """Prepare `data` for a file: the placeholder of an unknown length becomes an empty cell."""
    if "length" not in data or not (data["length"] == UNKNOWN_LENGTH).any():
        return data
    return data.assign(length=data["length"].where(data["length"] != UNKNOWN_LENGTH))
