"""GPU-hours of a cell and of a correct answer: columns of the cell table, and a figure.

A sample's GPU-seconds are its calls' share of the servers that the harness started, idle time left
out (`accounts`). Present only where a cell has them: servers of others do not tell.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rlm_eval.report import summary, wording
from rlm_eval.report.figures import style

HOURS, PER_CORRECT = "gpu_hours", "gpu_hours_per_correct"


def with_hours(table: pd.DataFrame, paid: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`table` with the hours of each cell, and per point of score; as it is where none is known.

    `paid` are the rows of its cells, in groups by `keys` in the table's order. A cell in which a
    row does not tell its GPU-seconds has none: a sum of some of them would be too small. Per
    correct answer is NaN where the score is 0.
    """
    if not paid["gpu_seconds"].notna().any():
        return table
    groups = paid.groupby(keys, sort=False)
    hours = groups["gpu_seconds"].sum(min_count=1).to_numpy(dtype=float) / 3600
    known = groups["gpu_seconds"].count().to_numpy() == groups.size().to_numpy()
    hours = np.where(known, hours, np.nan)
    right = groups["score"].sum().to_numpy(dtype=float)
    per = np.divide(hours, right, out=np.full_like(hours, np.nan), where=right > 0)
    return table.assign(**{HOURS: hours, PER_CORRECT: per})


@style.styled
def by_length(frame: pd.DataFrame, table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """GPU-hours per cell, and per correct answer, against context length; a row per task."""
    looks = style.looks(summary.series_order(frame))
    tasks = list(dict.fromkeys(table["task_label"]))
    figure, axes = style.canvas(len(tasks), 2)
    titles = ((HOURS, "GPU-hours per cell"), (PER_CORRECT, "GPU-hours per correct answer"))
    for row, task in enumerate(tasks):
        part = table[table["task_label"] == task]
        for column, (name, title) in enumerate(titles):
            axis = axes[row, column]
            for series, look in looks.items():
                line = part[(part["series"] == series) & part[name].gt(0)].sort_values("length")
                axis.plot(
                    line["length"], line[name], color=look.colour, marker=look.marker,
                    linestyle=look.line,
                )  # fmt: skip
            if part[name].gt(0).any():
                style.log_axis(axis, title)
            style.length_axis(axis, part["length"])
            axis.set_title(f"{task}: {title}, {wording.counted(part['n'])}")
    caption = (
        "GPUs of servers that the harness started, times the seconds in which the cell's calls "
        "kept them busy; starts and idle time left out. Per correct answer: divided by the sum of "
        "the scores; no point where the score is 0, or where another's server was used."
    )
    columns = ["task_label", "series", "length", "n", "accuracy", HOURS, PER_CORRECT]
    handles = style.line_handles(looks)
    return style.finish(figure, frame=frame, caption=caption, handles=handles), table[columns]
