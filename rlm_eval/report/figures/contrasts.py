"""Figures that set series against each other: score against money, paired differences.

As in `figures`: each takes the prepared records and the cell table, returns (figure, its data).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.report import summary, wording
from rlm_eval.report.figures import style
from rlm_eval.report.figures.panels import (
    Plot,
    dodged,
    draw_bounds,
    empty,
    money_of,
    shared_caption,
    three_lengths,
)

_SCORE = ["accuracy", "low", "high", "as_bounds", "bound_low", "bound_high"]


@style.styled
def pareto(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Score against cost per task and length; dominated points are grey.

    A cell that is only known as bounds is a bar, and no part of the front.
    """
    looks = style.looks(summary.series_order(frame))
    money, label, note = money_of(table)
    chosen = pd.MultiIndex.from_tuples(three_lengths(table))
    kept = table[pd.MultiIndex.from_frame(table[["task_label", "length"]]).isin(chosen)]
    groups: list[tuple[Any, pd.DataFrame]] = list(kept.groupby(["task_label", "length"]))
    columns = min(3, len(groups))
    figure, axes = style.canvas(-(-len(groups) // columns), columns)
    rows = []
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    for axis, ((task, length), group) in zip(axes.flat, groups, strict=False):
        known = group[group[f"{money}_mean"].gt(0) & group["accuracy"].notna()]
        if known.empty:
            empty(axis, "cost not known", label)
        sure = known[~known["as_bounds"]]
        front = {i for i in sure.index if not _dominated(sure, f"{money}_mean", i)}
        for index, row in known.iterrows():
            look = looks[row["series"]]
            grey = index in sure.index and index not in front
            colour = "#AAAAAA" if grey else look.colour
            x = row[f"{money}_mean"]
            low, high = row[f"{money}_mean_low"], row[f"{money}_mean_high"]
            if row["as_bounds"]:
                bounds = 100 * row["bound_low"], 100 * row["bound_high"]
                draw_bounds(axis, np.array([x]), np.array([bounds]), look)
            else:
                ends = max(low, x / 1000), high  # a log axis knows no 0
                axis.hlines(100 * row["accuracy"], *ends, color=colour, linewidth=0.8)
                axis.vlines(x, 100 * row["low"], 100 * row["high"], color=colour, linewidth=0.8)
                axis.plot(x, 100 * row["accuracy"], marker=look.marker, color=colour, markersize=5)
            told = {"task": task, "length": length, "series": row["series"], "cost": x,
                    "cost_low": low, "cost_high": high}  # fmt: skip
            told |= {name: row[name] for name in _SCORE}
            rows.append(told | {"pareto": index in front, "n": row["n"]})
        edge = sure[sure.index.isin(front)].sort_values(f"{money}_mean")
        axis.plot(
            edge[f"{money}_mean"], 100 * edge["accuracy"], color="#666666", linewidth=0.7, zorder=1
        )
        style.percent_axis(axis)
        if len(known):
            style.log_axis(axis, label, which="x")
        axis.set_title(f"{task}, {wording.tokens_label(length)}, {wording.counted(group['n'])}")
    caption = (
        "Mean score against mean cost per sample, both with 95 % intervals (clusters "
        "respected). Grey: dominated (another point is at least as good and cheaper). "
        f"{note} " + shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption, legend=looks), pd.DataFrame(rows)


@style.styled
def difference_by_length(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame
) -> Plot:
    """Paired difference of every series to the baseline against length (`compare.against`)."""
    looks = style.looks(summary.series_order(frame))
    tasks = list(dict.fromkeys(comparisons["task_label"]))
    width = style.width_for(len(tasks))
    figure, axes = style.canvas(1, len(tasks), width=width, row_height=2.1, sharey=True)
    baseline = comparisons["b"].iloc[0]
    for axis, task in zip(axes[0], tasks, strict=True):
        part = comparisons[comparisons["task_label"] == task]
        style.length_axis(axis, part["length"])
        names = list(dict.fromkeys(part["a"]))
        for position, name in enumerate(names):
            line = part[part["a"] == name].sort_values("length")
            look = looks[name]
            x = dodged(line["length"], position, len(names))
            axis.vlines(x, 100 * line["low"], 100 * line["high"], color=look.colour, linewidth=1)
            axis.plot(x, 100 * line["difference"], color=look.colour, linestyle=look.line)
            for at, row in zip(x, line.itertuples(), strict=True):
                axis.plot(
                    at, 100 * row.difference, marker=look.marker if row.comparable else "x",
                    markerfacecolor=look.colour if row.shown else "white",
                    markeredgecolor=look.colour,
                )  # fmt: skip
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(f"{task}, {wording.counted(part['n'])} pairs")
    axes[0, 0].set_ylabel(f"score minus {baseline} (pp)")
    caption = (
        f"Paired difference to {baseline} on the same samples, with 95 % interval. Filled: p < 0.05"
        " after Holm over the points shown; hollow: not shown to differ "
        f"({_unseen(comparisons['detectable'])}); "
        "x: no verdict, more than 5 % of a side were cut off. "
        "Exploratory unless the comparisons were named before the run. "
        + shared_caption(frame, table)
    )
    used = {name: looks[name] for name in dict.fromkeys(comparisons["a"])}
    return style.finish(figure, frame=frame, caption=caption, legend=used), comparisons


def _unseen(detectable: pd.Series) -> str:
    """What half of the points would miss; those that can show hardly anything count as infinite."""
    median = float(detectable.fillna(np.inf).median())
    if np.isinf(median):
        return "for half of the points or more, n or the clusters are too few to show any"
    return f"at this n, differences under {100 * median:.0f} pp would mostly go unseen"


def _dominated(group: pd.DataFrame, money: str, index: Any) -> bool:
    """True where another point is at least as good and as cheap, and better in one of the two."""
    own, others = group.loc[index], group.drop(index)
    reached = (others[money] <= own[money]) & (others["accuracy"] >= own["accuracy"])
    better = (others[money] < own[money]) | (others["accuracy"] > own["accuracy"])
    return bool((reached & better).any())
