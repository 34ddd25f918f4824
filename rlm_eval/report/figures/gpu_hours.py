"""Figure: GPU-hours per cell and per correct answer against context length."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from rlm_eval.report import wording
from rlm_eval.report.figures import style
from rlm_eval.report.hours import HOURS, PER_CORRECT


@style.styled
def by_length(frame: pd.DataFrame, table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Draw GPU-hours per cell and per correct answer against context length; a row per task."""
    looks = style.looks(frame)
    tasks = list(dict.fromkeys(table["task_label"]))
    columns = 1 if style.narrow() else 2
    figure, drawn = style.canvas(2 * len(tasks) // columns, columns)
    axes = drawn.reshape(len(tasks), 2)
    titles = ((HOURS, "GPU-hours per cell"), (PER_CORRECT, "GPU-hours per correct answer"))
    for row, task in enumerate(tasks):
        part = table[table["task_label"] == task]
        for column, (name, title) in enumerate(titles):
            axis = axes[row, column]
            for series, look in looks.items():
                line = part[(part["series"] == series) & part[name].gt(0)].sort_values("length")
                axis.plot(line["length"], line[name], **look.drawn)
            if part[name].gt(0).any():
                style.log_axis(axis, title)
            style.length_axis(axis, part["length"])
            axis.set_title(f"{task}, {wording.counted(part['n'])}")
    caption = (
        "GPUs of servers that the harness started, times the seconds in which the cell's calls "
        "kept them busy; starts and idle time left out. Per correct answer: divided by the sum of "
        "the scores; no point where the score is 0, or where another's server was used."
    )
    told = ["task_label", "series", "length", "n", "accuracy", HOURS, PER_CORRECT]
    handles = style.line_handles(looks)
    return style.finish(figure, frame=frame, caption=caption, handles=handles), table[told]
