"""Which figures a report gets: those that its records can fill, each saved with its data.

A distribution of fewer than ten samples is not drawn: it would show noise with authority. Most
of a report's time is matplotlib's, so where there are two processors a second process of ours
draws half of the figures, while this one makes the tables and draws the rest; it imports while
this one still reads records.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.report import contrasts, distributions, figures, maps, style

Drawing = tuple[str, str, Callable[[], figures.Plot]]
"""(file name, title, function that draws)."""


FEW = 3
"""With fewer samples than this in every cell only the panels against length are drawn."""


Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def second_process() -> Iterator[Process | None]:
    """A process that waits for figures to draw (`draw`); `None` where only one processor is."""
    if len(os.sched_getaffinity(0)) < 2:
        yield None
        return
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-m", "rlm_eval.report.plots"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
    )
    try:
        yield process
    finally:
        with process:
            process.kill()


def draw(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    folder: Path,
    published: pd.DataFrame | None = None,
    second: Process | None = None,
) -> Callable[[], list[style.Saved]]:
    """Begin to draw every figure that applies, half of them in `second` where there is one.

    What is returned draws the rest, waits, and gives all that was saved, in order.
    """
    work = (frame, table, comparisons, published)
    if second is None or second.stdin is None or second.stdout is None:
        return lambda: [figure for _, figure in _drawn(work, folder, (0, 1))]
    with contextlib.suppress(BrokenPipeError), second.stdin as pipe:
        pickle.dump((work, folder), pipe, protocol=5)
    answering = second.stdout

    def rest() -> list[style.Saved]:
        own = _drawn(work, folder, _OWN)
        answer = answering.read()
        # A second process that failed has told why; what it could not draw is drawn here.
        other = pickle.loads(answer) if answer else _drawn(work, folder, _SECOND)  # noqa: S301 - our own
        return [figure for _, figure in sorted(own + other, key=lambda drawn: drawn[0])]

    return rest


_SECOND, _OWN = (0,), (1,)
"""Who draws which figures, by their number modulo two."""


def _drawn(work: Any, folder: Path, which: Collection[int]) -> list[tuple[int, style.Saved]]:
    """The figures of this share, each with its number."""
    saved = []
    for number, (name, title, plot) in enumerate(_chosen(*work)):
        if number % 2 in which:
            figure, data = plot()
            saved.append((number, style.save(figure, folder, name, title, data)))
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


def _main() -> None:
    """The second process: work on stdin, what was saved on stdout."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    given = sys.stdin.buffer.read()
    if given:  # nothing where the first process failed before it drew
        work, folder = pickle.loads(given)  # noqa: S301 - our own process
        out.write(pickle.dumps(_drawn(work, folder, _SECOND)))


if __name__ == "__main__":
    _main()
