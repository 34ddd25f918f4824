"""Which figures a report gets: those that its records can fill, each saved with its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from rlm_eval.report import figures, style

Drawing = tuple[str, str, Callable[[], figures.Plot]]
"""(file name, title, function that draws)."""


def draw(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame, folder: Path
) -> list[style.Saved]:
    """Draw and save every figure that applies."""
    saved = []
    for name, title, plot in _chosen(frame, table, comparisons):
        figure, data = plot()
        saved.append(style.save(figure, folder, name, title, data))
    return saved


def _chosen(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame
) -> Iterator[Drawing]:
    yield (
        "length_panels",
        "Score, cost and latency against context length",
        lambda: figures.length_panels(frame, table),
    )
    if table["task_label"].nunique() > 1:
        yield (
            "accuracy_by_task",
            "Score against length, tasks side by side",
            lambda: figures.accuracy_by_task(frame, table),
        )
    if not comparisons.empty:
        yield (
            "difference",
            "Paired difference to the baseline",
            lambda: figures.difference_by_length(frame, table, comparisons),
        )
        yield "pareto", "Score against cost", lambda: figures.pareto(frame, table)
