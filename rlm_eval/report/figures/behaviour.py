"""Behaviour of the methods: calls, recursion, context coverage, strategies of their code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from rlm_eval.records.strategy import TRAJECTORY_LABELS
from rlm_eval.report import summary, wording
from rlm_eval.report.figures import panels, style
from rlm_eval.report.figures.captions import counts_by_panel, one_size, shared_caption
from rlm_eval.report.figures.panels import Plot

COLUMNS: dict[str, str] = {
    "mean_calls": "calls per sample",
    "recursion_share": "sub-call made (%)",
    "mean_coverage": "context seen (%)",
}
"""Column of the table -> its label; a label with % is a share."""


@style.styled
def behaviour(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw observed recursion, a row of panels per task, and strategies over all tasks.

    For more than `style.MANY` series only the strategies: `multiples` draws the rest.
    """
    looks = style.looks(frame)
    data = with_shares(table)
    tasks = list(dict.fromkeys(data["task_label"])) if len(looks) <= style.MANY else []
    coded = summary.series_order(frame[frame["habit_strategy"].notna()]) if _coded(frame) else []
    rows, columns, places = style.by_task(tasks, len(COLUMNS)) if tasks else (0, 1, [])
    heights = [1.2] * rows + [0.55 + 0.17 * max(1, len(coded))]
    figure = style.blank(style.width_for(3), sum(heights))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for task, number, row, place in places:
        column, label = list(COLUMNS.items())[number]
        axis = figure.add_subplot(grid[row, place])
        own = data[data["task_label"] == task]
        _against_length(axis, own, looks, column, label)
        if number == 0:
            axis.set_title(
                f"{task}, {wording.counted(own['n'])}" if counts_by_panel(table, "n") else task
            )
        if row < rows - 1:
            axis.set_xlabel("")
        if columns == 2 and place:
            axis.set_ylabel("")
    handles = _strategies(figure.add_subplot(grid[rows, :]), frame, coded)
    caption = (
        "Means per sample; strategies: trajectories of all tasks and lengths. "
        "Sub-call made: share of the samples. Context seen: share of its "
        "characters that reached any model call. "
        "Strategies are read from the code by rules, not by a model. "
        + " ".join(f"{name}: {TRAJECTORY_LABELS[name]}." for name in handles)
        + " "
        + shared_caption(frame, table)
    )
    patches = [
        Patch(facecolor=colour, label=name, hatch=h, edgecolor="#444444", linewidth=0.4)
        for name, (colour, h) in handles.items()
    ]
    lines = style.line_handles(looks) if tasks else []
    figure = style.finish(
        figure, frame=frame, caption=caption, handles=lines + patches, size=one_size(table)
    )
    return figure, data[["task_label", "series", "length", "n", *COLUMNS]]


def with_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Add the share of samples with a sub-call to the cell table."""
    return table.assign(recursion_share=table["recursion"] / table["rows"])


def _against_length(
    axis: Axes, own: pd.DataFrame, looks: panels.Looks, column: str, label: str
) -> None:
    names = [name for name in looks if name in set(own["series"])]
    for position, name in enumerate(names):
        line = own[own["series"] == name].sort_values("length")
        factor = 100 if "%" in label else 1
        x = panels.dodged(line["length"], position, len(names))
        axis.plot(x, factor * line[column], clip_on=False, zorder=3, **looks[name].drawn)
    style.length_axis(axis, own["length"], "length (tokens)")
    if "%" in label:
        style.percent_axis(axis, label)
    else:
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.08 * max(1.0, float(np.nanmax([1.0, *own[column]]))))
        # Not by the height of the panel: the layout changes it after it has measured the labels.
        axis.yaxis.set_major_locator(MaxNLocator(4))


_FILLS = list(
    zip(
        ["#F2F2F2", "#BDBDBD", "#8A8A8A", "#DADADA", "#A5A5A5", "#6F6F6F", "#E6E6E6", "#CFCFCF"],
        ["", "////", "....", "xxxx", "", "\\\\\\\\", "++", "oo"],
        strict=True,
    )
)
"""Greys and hatches: colours are reserved for the series."""


def _coded(frame: pd.DataFrame) -> bool:
    return "habit_strategy" in frame and bool(frame["habit_strategy"].notna().any())


def _strategies(axis: Axes, frame: pd.DataFrame, series: list[str]) -> dict[str, Any]:
    """Draw stacked strategy shares per series that ran code; return the legend's entries."""
    if not series:
        panels.empty(axis, "no code was run", "")
        axis.set_xticks([])
        axis.set_xlabel("strategy (%)")
        return {}
    known = frame[frame["habit_strategy"].notna()]
    shares = pd.crosstab(known["series"], known["habit_strategy"], normalize="index")
    shares = shares.reindex(series)
    left = np.zeros(len(shares))
    used = {}
    # A label's grey does not depend on the other labels.
    fills = dict(zip(TRAJECTORY_LABELS, _FILLS * len(TRAJECTORY_LABELS), strict=False))
    for name in (label for label in TRAJECTORY_LABELS if label in shares):
        used[name] = fills[name]
        values = 100 * shares[name].to_numpy()
        axis.barh(
            range(len(shares)), values, left=left, color=used[name][0], hatch=used[name][1],
            edgecolor="#444444", linewidth=0.4, height=0.6,
        )  # fmt: skip
        left += values
    axis.set_yticks(range(len(shares)), list(shares.index))
    axis.set_ylim(len(shares) - 0.4, -0.6)
    size = wording.counted(known.groupby("series").size())
    axis.set_xlabel(f"strategy (% of trajectories, {size})")
    axis.set_xlim(0, 100)
    return used
