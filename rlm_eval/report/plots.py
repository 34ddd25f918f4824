"""Which figures a report gets: those that its records can fill, each saved with its data.

A distribution of fewer than ten samples is not drawn: it would show noise with authority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from rlm_eval.errors import RlmEvalError
from rlm_eval.report import contrasts, distributions, figures, maps, style

Drawing = tuple[str, str, Callable[[], figures.Plot]]
"""(file name, title, function that draws)."""


def read_published(path: Path) -> pd.DataFrame:
    """Published scores to draw: columns task, label, length (tokens), score in [0, 1]."""
    found = pd.read_csv(path, comment="#")
    missing = {"task", "label", "length", "score"} - set(found.columns)
    if missing:
        raise RlmEvalError(f"{path}: column {', '.join(sorted(missing))} is missing")
    return found


FEW = 3
"""With fewer samples than this in every cell only the panels against length are drawn."""


def draw(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    folder: Path,
    published: pd.DataFrame | None = None,
) -> list[style.Saved]:
    """Draw and save every figure that applies."""
    saved = []
    for name, title, plot in _chosen(frame, table, comparisons, published):
        figure, data = plot()
        saved.append(style.save(figure, folder, name, title, data))
    return saved


def _chosen(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    published: pd.DataFrame | None,
) -> Iterator[Drawing]:
    yield (
        "length_panels",
        "Score, cost and latency against context length",
        lambda: figures.length_panels(frame, table, published),
    )
    if table["task_label"].nunique() > 1:
        yield (
            "accuracy_by_task",
            "Score against length, tasks side by side",
            lambda: figures.accuracy_by_task(frame, table, published),
        )
    if "meta_documents" in frame and frame["meta_documents"].nunique() > 1:
        yield (
            "documents",
            "Score, cost and latency against the number of documents",
            lambda: figures.document_panels(frame, table),
        )
    if table["n"].max() < FEW:
        return
    if not comparisons.empty:
        yield (
            "difference",
            "Paired difference to the baseline",
            lambda: contrasts.difference_by_length(frame, table, comparisons),
        )
        yield "pareto", "Score against cost", lambda: contrasts.pareto(frame, table)
    yield (
        "quartiles",
        "Cost and run time by quartile",
        lambda: distributions.quartiles(frame, table),
    )
    if frame["wall_seconds"].gt(0).sum() >= 10 * frame["series"].nunique():
        yield (
            "runtime_histogram",
            "Run time, distribution",
            lambda: distributions.histograms(frame, table),
        )
    yield "behaviour", "What the methods did", lambda: distributions.behaviour(frame, table)
    if not comparisons.empty and table["length"].nunique() > 1 and table["n"].min() >= 10:
        yield "crossover", "Crossover length", lambda: distributions.crossover(frame, table)
    if maps.pair_method(frame) is not None:
        yield "model_grid", "Root and sub-model pairs", lambda: maps.model_grid(frame, table)
    if frame["depth_limit"].nunique() > 1:
        yield (
            "depth_by_length",
            "Recursion depth by length",
            lambda: maps.depth_by_length(frame, table),
        )
    if "meta_depth" in frame and frame["meta_depth"].nunique() > 1 and table["n"].min() >= 10:
        yield (
            "position_by_length",
            "Needle position by length",
            lambda: maps.position_by_length(frame, table),
        )
