"""Words that tables, texts and figures share: lengths, numbers for an axis, counts, stamps."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def tokens_label(value: float) -> str:
    """`8k`, `1M`: 1k is 1,024 tokens."""
    if value >= 1024**2:
        return f"{round(value / 1024**2, 2):g}M"
    return f"{round(value / 1024, 2):g}k" if value >= 1024 else f"{value:g}"


def short(value: float) -> str:
    """A number for an axis: 1,500, 20k, 2M, 0.003."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if suffix == 'k' else size):g}{suffix}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def probability(p: float) -> str:
    """A p value: four decimals, and never 0.0000."""
    return f"{p:.0e}" if 0 < p < 0.0001 else f"{p:.4f}"


def counted(values: Iterable[float]) -> str:
    """`n = 20`, or the range where points differ."""
    found = sorted({int(v) for v in values})
    if not found:
        return "n = 0"
    return f"n = {found[0]}" if len(found) == 1 else f"n = {found[0]} to {found[-1]}"


def called(table: pd.DataFrame) -> str:
    """The models of these lines: the root, or the sub model of what has none."""
    return ", ".join(sorted(set(table["root"].where(table["root"] != "", table["sub"]))))


def stamps(frame: pd.DataFrame) -> str:
    """What must stand in the figure itself: scripted replies, generated data."""
    words = []
    if frame["scripted"].any():
        words.append("SCRIPTED REPLIES: tests the machinery, no model answered")
    if frame["generated"].any():
        words.append("generated data")
    return "  ·  ".join(words)
