"""Which figures a report gets: those that its records can fill, each saved with its data.

A distribution of fewer than ten samples is not drawn: it would show noise with authority. Most
of a report's time is matplotlib's, so where there are two processors a second process of ours
draws figures, while this one makes the tables and then helps: each takes the next that nobody has.
It imports while this one still reads records.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from rlm_eval.report.figures import panels, style

Drawing = tuple[str, str, Callable[[], "panels.Plot"]]
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
    path = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(  # -P: no module of the working directory, perhaps a run's
        [sys.executable, "-P", "-m", "rlm_eval.report.figures.draw"],
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
    """Begin to draw every figure that applies, in `second` where there is one.

    What is returned helps to draw, waits, and gives all that was saved, in order.
    """
    work = (frame, table, comparisons, published)
    if second is None or second.stdin is None or second.stdout is None:
        return lambda: list(_drawn(work, folder, lambda _: True).values())
    claims = tempfile.TemporaryDirectory(prefix="rlm_eval_figures_")
    with contextlib.suppress(BrokenPipeError), second.stdin as pipe:
        pickle.dump((work, folder, Path(claims.name)), pipe, protocol=5)
    answering = second.stdout

    def rest() -> list[style.Saved]:
        with claims as place:
            # From the other end: else both wait at the end for who took the last, a slow one.
            saved = _drawn(work, folder, lambda n: _claimed(Path(place), n), backwards=True)
            answer = answering.read()
        if answer:
            saved |= pickle.loads(answer)  # noqa: S301 - our own process
        # A second process that failed has told why; what it left undone is drawn here.
        saved |= _drawn(work, folder, lambda n: n not in saved)
        return [saved[number] for number in sorted(saved)]

    return rest


def numbers(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    published: pd.DataFrame | None = None,
) -> dict[str, str]:
    """File name -> text of the CSV behind every figure that applies; no picture is written."""
    import matplotlib.pyplot as plt

    from rlm_eval.report.figures import style

    found = {}
    for name, _, plot in _chosen(frame, table, comparisons, published):
        figure, data = plot()
        plt.close(figure)
        found[f"{name}.csv"] = style.data_text(data)
    return found


def _claimed(claims: Path, number: int) -> bool:
    """True for the one process that asks first."""
    try:
        (claims / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _drawn(
    work: Any, folder: Path, mine: Callable[[int], bool], *, backwards: bool = False
) -> dict[int, style.Saved]:
    """The figures whose number is `mine`, by their numbers."""
    from rlm_eval.report.figures import style

    saved = {}
    chosen = list(enumerate(_chosen(*work)))
    for number, (name, title, plot) in reversed(chosen) if backwards else chosen:
        if mine(number):
            figure, data = plot()
            saved[number] = style.save(figure, folder, name, title, data)
    return saved


def _chosen(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    published: pd.DataFrame | None,
) -> Iterator[Drawing]:
    from rlm_eval.report import series
    from rlm_eval.report.figures import contrasts, distributions, gpu_hours, heatmaps, panels

    yield (
        "length_panels",
        "Score, cost and latency against context length",
        lambda: panels.length_panels(frame, table, published),
    )
    if table["task_label"].nunique() > 1:
        yield (
            "accuracy_by_task",
            "Score against length, tasks side by side",
            lambda: panels.accuracy_by_task(frame, table, published),
        )
    if "meta_documents" in frame and frame["meta_documents"].nunique() > 1:
        yield (
            "documents",
            "Score, cost and latency against the number of documents",
            lambda: panels.document_panels(frame, table),
        )
    if "gpu_hours" in table and table["gpu_hours"].gt(0).any():
        yield (
            "gpu_hours",
            "GPU-hours per cell and per correct answer",
            lambda: gpu_hours.by_length(frame, table),
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
    # These pool the variants of a method: a counterfactual is none.
    own, lines = series.originals(frame), series.originals(table)
    if heatmaps.pair_method(own) is not None:
        yield "model_grid", "Root and sub-model pairs", lambda: heatmaps.model_grid(own, lines)
    if own["depth_limit"].nunique() > 1:
        yield (
            "depth_by_length",
            "Recursion depth by length",
            lambda: heatmaps.depth_by_length(own, lines),
        )
    if "meta_depth" in frame and frame["meta_depth"].nunique() > 1 and table["n"].min() >= 10:
        yield (
            "position_by_length",
            "Needle position by length",
            lambda: heatmaps.position_by_length(frame, table),
        )


def _main() -> None:
    """The second process: work on stdin, what was saved on stdout."""
    from rlm_eval.report.figures import panels  # noqa: F401 - while the first process reads records

    gc.disable()  # a tenth of the time, for a process that ends in seconds
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    given = sys.stdin.buffer.read()
    if given:  # nothing where the first process failed before it drew
        work, folder, claims = pickle.loads(given)  # noqa: S301 - our own process
        out.write(pickle.dumps(_drawn(work, folder, lambda n: _claimed(claims, n))))


if __name__ == "__main__":
    _main()
