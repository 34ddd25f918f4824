"""Selects and draws the figures that a report's records permit; each is saved with its data.

A distribution of fewer than ten samples is not drawn: it would mostly show noise. Matplotlib takes
most of a report's time. With `processes` > 1 other processes draw figures while this one makes the
tables, then it helps them (`beside`); else they are drawn here, one after the other.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rlm_eval.report import looks, series
from rlm_eval.report.figures.beside import Beside

if TYPE_CHECKING:
    from rlm_eval.report.figures import panels, style

Drawing = tuple[str, str, Callable[[], "panels.Plot"]]
"""(file name, title, function that draws)."""

_LONGEST = ("position_by_length", "length_panels", "behaviour")
"""Figures that usually take longest, and their order."""
FEW = 3
"""If every cell has fewer samples than this, only the panels against length are drawn."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Output format of the figures."""

    narrow: bool = False
    """Column width instead of page width."""
    captioned: bool = False
    """Whether the caption is also drawn in the picture."""
    processes: int = 1
    """Number of drawing processes, this one included. More than 1 spawns new interpreters: the
    main module of the program must be importable again, as that of `rlm-eval` is."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Input of the figures, and their output folder."""

    frame: pd.DataFrame
    table: pd.DataFrame
    comparisons: pd.DataFrame
    published: pd.DataFrame | None
    folder: Path
    shape: Shape


def others(shape: Shape | None) -> contextlib.AbstractContextManager[Beside | None]:
    """Start the other drawing processes of this shape; `None` if this one draws alone."""
    count = 1 if shape is None else shape.processes
    return Beside(count - 1) if count > 1 else contextlib.nullcontext()


def draw(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    folder: Path,
    published: pd.DataFrame | None = None,
    shape: Shape | None = None,
    beside: Beside | None = None,
) -> Callable[[], list[style.Saved]]:
    """Start drawing all applicable figures in other processes, if there are any (`others`).

    Returns a function that draws the rest here and returns all figures in reading order.
    """
    work = Work(frame, table, comparisons, published, folder, shape or Shape())
    chosen = list(_chosen(frame, table, comparisons, published))
    if beside is None:
        return lambda: [_save(work, one) for one in chosen]
    ordered = _longest_first(chosen)
    shared = beside.share(_numbered, work, len(chosen))

    def drawn() -> list[style.Saved]:
        saved = shared.results(lambda number: _save(work, ordered[number]))
        by_name = {one.name: one for one in saved}
        return [by_name[name] for name, *_ in chosen]

    return drawn


def numbers(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    published: pd.DataFrame | None = None,
) -> dict[str, str]:
    """File name -> text of the CSV behind every figure that applies; no picture is written."""
    from rlm_eval.report.figures import files, style

    found = {}
    for name, _, plot in _chosen(frame, table, comparisons, published):
        with style.widths(narrow=False):
            _, data = plot()
        found[f"{name}.csv"] = files.data_text(data)
    return found


def _numbered(work: Work, number: int) -> style.Saved:
    return _save(work, _listed(work)[number])


@functools.lru_cache(1)
def _listed(work: Work) -> list[Drawing]:
    """Return the figures of a process's input, which it reads once, longest first."""
    return _longest_first(_chosen(work.frame, work.table, work.comparisons, work.published))


def _longest_first(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Order figures by the time that they usually take: a short one last keeps all busy."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    return sorted(drawings, key=lambda one: rank.get(one[0], len(rank)))


def _save(work: Work, drawing: Drawing) -> style.Saved:
    from rlm_eval.report.figures import files, style

    name, title, plot = drawing
    with style.widths(narrow=work.shape.narrow):
        figure, data = plot()
    captioned = work.shape.captioned
    return files.save(figure, work.folder, name, title, data, captioned=captioned)


def _later(module: str, name: str, *inputs: object) -> Callable[[], panels.Plot]:
    """Return a function that draws with these inputs; only then it loads the module.

    So other processes begin to draw before this one has loaded matplotlib.
    """

    def plot() -> panels.Plot:
        found: panels.Plot = getattr(import_module(f"{__package__}.{module}"), name)(*inputs)
        return found

    return plot


def _chosen(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    published: pd.DataFrame | None,
) -> Iterator[Drawing]:
    many = frame["series"].nunique() > looks.MANY
    yield from (_many if many else _few)(frame, table, published)
    if "gpu_hours" in table and table["gpu_hours"].gt(0).any() and not many:
        plot = _later("gpu_hours", "by_length", frame, table)
        yield "gpu_hours", "GPU-hours per cell and per correct answer", plot
    if table["n"].max() < FEW:
        return
    if not comparisons.empty:
        plot = _later("contrasts", "difference_by_length", frame, table, comparisons)
        yield "difference", "Paired difference to the baseline", plot
        yield "pareto", "Score against cost", _later("contrasts", "pareto", frame, table)
    plot = _later("distributions", "quartiles", frame, table)
    yield "quartiles", "Cost and run time by quartile", plot
    if frame["wall_seconds"].gt(0).sum() >= 10 * frame["series"].nunique() and not many:
        yield "run_times", "Run times", _later("distributions", "run_times", frame, table)
    yield from _habits(frame, table, many)
    if not comparisons.empty and table["length"].nunique() > 1 and table["n"].min() >= 10:
        plot = _later("distributions", "crossover", frame, table)
        yield "crossover", "Crossover length", plot
    yield from _maps(frame, table)


def _few(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None
) -> Iterator[Drawing]:
    """Return the figures for few series: all series as lines in each panel."""
    plot = _later("panels", "length_panels", frame, table, published)
    yield "length_panels", "Score, cost and latency against context length", plot
    if table["task_label"].nunique() > 1:
        plot = _later("panels", "accuracy_by_task", frame, table, published)
        yield "accuracy_by_task", "Score against context length, by task", plot
    if "meta_documents" in frame and frame["meta_documents"].nunique() > 1:
        plot = _later("panels", "document_panels", frame, table)
        yield "documents", "Score, cost and latency against the number of documents", plot


def _many(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None
) -> Iterator[Drawing]:
    """Return the small multiples. The first has the name of the figure that it replaces."""
    measures = {"length_panels": "score", "cost_by_length": "cost", "latency_by_length": "latency"}
    for name, measure in measures.items():
        plot = _later("multiples", "of_measure", frame, table, measure, published)
        yield name, f"{measure.capitalize()} against context length", plot


def _habits(frame: pd.DataFrame, table: pd.DataFrame, many: bool) -> Iterator[Drawing]:
    yield "behaviour", "What the methods did", _later("behaviour", "behaviour", frame, table)
    if not many:
        return
    from rlm_eval.report.figures import behaviour

    shares = behaviour.with_shares(table)
    for name, column in (("calls", "mean_calls"), ("coverage", "mean_coverage")):
        label = behaviour.COLUMNS[column]
        yield (
            f"{name}_by_length",
            f"What the methods did: {label}",
            _later("multiples", "of_column", frame, shares, column, label),
        )


def _maps(frame: pd.DataFrame, table: pd.DataFrame) -> Iterator[Drawing]:
    # These pool the variants of a method, without counterfactuals.
    own: Any = series.originals(frame)
    lines = series.originals(table)
    if series.pair_method(own) is not None:
        plot = _later("heatmaps", "model_grid", own, lines)
        yield "model_grid", "Root and sub-model pairs", plot
    if own["depth_limit"].nunique() > 1:
        plot = _later("heatmaps", "depth_by_length", own, lines)
        yield "depth_by_length", "Recursion depth by length", plot
    if "meta_depth" in frame and frame["meta_depth"].nunique() > 1 and table["n"].min() >= 10:
        plot = _later("heatmaps", "position_by_length", frame, table)
        yield "position_by_length", "Needle position by length", plot
