"""Figures that contrast series: score against cost, paired differences.

As in `panels`: each takes the prepared records and the cell table, returns (figure, its data).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rlm_eval.report import wording
from rlm_eval.report.figures import style
from rlm_eval.report.figures.captions import (
    baselines_note,
    bounds_note,
    counts_by_panel,
    one_size,
    shared_caption,
)
from rlm_eval.report.figures.panels import (
    DASHED,
    Looks,
    Plot,
    baseline_handles,
    dodged,
    draw_bounds,
    empty,
    money_of,
    three_lengths,
)
from rlm_eval.report.tables import comparison
from rlm_eval.report.tables.baselines import MUST_EXCEED

_SCORE = ["accuracy", "low", "high", "as_bounds", "bound_low", "bound_high"]


@style.styled
def pareto(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw score against cost per task and length; dominated points are grey.

    A cell only known as bounds is a bar and not on the Pareto front. For more than `style.MANY`
    series the legend has only series on a front.
    """
    looks = style.looks(frame)
    money, label, note = money_of(table)
    chosen = pd.MultiIndex.from_tuples(three_lengths(table))
    kept = table[pd.MultiIndex.from_frame(table[["task_label", "length"]]).isin(chosen)]
    groups: list[tuple[Any, pd.DataFrame]] = list(kept.groupby(["task_label", "length"]))
    _, columns = style.grid(len(groups))
    figure, axes = style.panels(len(groups), row_height=1.45)
    rows = []
    for axis, ((task, length), group) in zip(axes, groups, strict=True):
        known = group[group[f"{money}_mean"].gt(0) & group["accuracy"].notna()]
        for kind in MUST_EXCEED:
            if (level := group[f"base_{kind}"].mean()) == level:
                axis.axhline(100 * level, linewidth=0.9, zorder=1, **DASHED[kind])
        rows += _points(axis, known, looks, money)
        style.percent_axis(axis)
        if len(known):
            style.log_axis(axis, label, which="x")
        else:
            empty(axis, "cost not known", label)
        size = f", {wording.counted(group['n'])}" if counts_by_panel(table, "n") else ""
        axis.set_title(f"{task}, {wording.tokens_label(length)}{size}")
    style.outer_labels(axes, columns)
    many = len(looks) > style.MANY
    caption = (
        f"Mean score against mean cost per sample, {wording.counted(table['n'])}, both with 95 % "
        "intervals (clusters respected). Grey: dominated (another point is at least as good and "
        f"cheaper). {'In the legend: series that are not dominated somewhere. ' if many else ''}"
        f"{bounds_note(kept)}{baselines_note(table, MUST_EXCEED)}{note} "
        + shared_caption(frame, table)
    )
    ahead = {row["series"] for row in rows if row["pareto"] or not many}
    shown = {name: look for name, look in looks.items() if name in ahead}
    lines = baseline_handles(table.assign(base_bag_of_words=np.nan))
    handles = style.line_handles(shown) + lines
    return (
        style.finish(figure, frame=frame, caption=caption, handles=handles, size=one_size(table)),
        pd.DataFrame(rows),
    )


def _points(axis: Axes, known: pd.DataFrame, looks: Looks, money: str) -> list[dict[str, Any]]:
    """Draw the points of one panel and their Pareto front; return the drawn data."""
    rows = []
    sure = known[~known["as_bounds"]]
    front = {i for i in sure.index if not _dominated(sure, f"{money}_mean", i)}
    for index, row in known.iterrows():
        look = looks[row["series"]]
        grey = index in sure.index and index not in front
        colour = "#B0B0B0" if grey else look.colour
        x, y = row[f"{money}_mean"], 100 * row["accuracy"]
        low, high = row[f"{money}_mean_low"], row[f"{money}_mean_high"]
        if row["as_bounds"]:
            bounds = 100 * row["bound_low"], 100 * row["bound_high"]
            draw_bounds(axis, np.array([x]), np.array([bounds]), look)
        else:
            ends = max(low, x / 1000), high  # a log axis cannot show 0
            axis.hlines(y, *ends, color=colour, linewidth=0.8)
            axis.vlines(x, 100 * row["low"], 100 * row["high"], color=colour, linewidth=0.8)
            axis.plot(x, y, **look.mark | {"color": colour, "zorder": 2 if grey else 3})
        told = {"task": row["task_label"], "length": row["length"], "series": row["series"]}
        told |= {"cost": x, "cost_low": low, "cost_high": high}
        told |= {name: row[name] for name in _SCORE}
        rows.append(told | {"pareto": index in front, "n": row["n"]})
    edge = sure[sure.index.isin(front)].sort_values(f"{money}_mean")
    axis.plot(
        edge[f"{money}_mean"], 100 * edge["accuracy"], color="#666666", linewidth=0.7, zorder=1
    )
    return rows


@style.styled
def difference_by_length(
    frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame
) -> Plot:
    """Draw each series' paired difference to the baseline against length (`comparison.against`).

    For more than `style.MANY` series each has a row: a forest plot of intervals.
    """
    looks = style.looks(frame)
    baseline = comparisons["b"].iloc[0]
    used = {name: looks[name] for name in looks if name in set(comparisons["a"])}
    tasks = list(dict.fromkeys(comparisons["task_label"]))
    if many := len(looks) > style.MANY:
        figure = _forest(comparisons, used, tasks, baseline)
    else:
        figure = _against_length(comparisons, used, tasks, baseline)
    caption = (
        f"Paired difference to {baseline} on the same samples, {wording.counted(comparisons['n'])} "
        "pairs, with 95 % interval. Filled: p < 0.05 after Holm over the points shown; hollow: not "
        f"shown to differ ({_unseen(comparisons['detectable'])}); "
        "x: no verdict, more than 5 % of a side were cut off. "
        f"Tests: {'; '.join(sorted(set(comparisons['test'])))}. "
        "Exploratory unless the comparisons were named before the run. "
        + ("Rows of a series: its lengths, from the top. " if many else "")
        + shared_caption(frame, table)
    )
    legend = {} if many else used
    size = f"{wording.counted(comparisons['n'])} pairs" if comparisons["n"].nunique() == 1 else ""
    return (
        style.finish(figure, frame=frame, caption=caption, legend=legend, size=size),
        comparisons.drop(columns=comparison.WORDING),
    )


def _against_length(comparisons: pd.DataFrame, used: Looks, tasks: list[str], baseline: str) -> Any:
    _, columns = style.grid(len(tasks), most=4, most_narrow=2)
    figure, axes = style.panels(len(tasks), most=4, most_narrow=2, row_height=1.65, sharey=True)
    for axis, task in zip(axes, tasks, strict=True):
        part = comparisons[comparisons["task_label"] == task]
        label = "length (tokens)" if columns > 2 or style.narrow() else "context length (tokens)"
        style.length_axis(axis, part["length"], label, most=4)
        names = [name for name in used if name in set(part["a"])]
        for position, name in enumerate(names):
            line = part[part["a"] == name].sort_values("length")
            look = used[name]
            x = dodged(line["length"], position, len(names))
            axis.vlines(x, 100 * line["low"], 100 * line["high"], color=look.colour, linewidth=0.9)
            axis.plot(x, 100 * line["difference"], color=look.colour, linestyle=look.line)
            for at, row in zip(x, line.to_dict("records"), strict=True):
                axis.plot(at, 100 * row["difference"], zorder=3, **_verdict_mark(row, look))
        axis.axhline(0, color="black", linewidth=0.7)
        counts = comparisons["n"].nunique() > 1
        axis.set_title(f"{task}, {wording.counted(part['n'])}" if counts else task)
        axis.set_ylabel(f"score minus\n{baseline} (pp)")
    style.outer_labels(axes, columns)
    return figure


def _forest(comparisons: pd.DataFrame, used: Looks, tasks: list[str], baseline: str) -> Any:
    """Draw a panel per task, a row per series, its lengths below each other."""
    _, columns = style.grid(len(tasks), most=4)
    lengths = comparisons["length"].nunique()
    height = 0.5 + len(used) * max(0.13, 0.05 * min(lengths, 4))
    figure, axes = style.panels(len(tasks), most=4, row_height=height, sharey=True)
    names = list(used)
    for axis, task in zip(axes, tasks, strict=True):
        part = comparisons[comparisons["task_label"] == task]
        for at, name in enumerate(names):
            line = part[part["a"] == name].sort_values("length")
            places = at + np.linspace(-0.3, 0.3, len(line)) if len(line) > 1 else [at]
            for place, row in zip(places, line.to_dict("records"), strict=True):
                axis.hlines(
                    place,
                    100 * row["low"],
                    100 * row["high"],
                    color=used[name].colour,
                    linewidth=0.7,
                )
                axis.plot(
                    100 * row["difference"], place, markersize=2.5, **_verdict_mark(row, used[name])
                )
        axis.axvline(0, color="black", linewidth=0.7)
        axis.set_yticks(range(len(names)), names, fontsize=6)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlabel(f"minus {baseline} (pp)")
        axis.set_title(task)
    style.outer_labels(axes, columns)
    return figure


def _verdict_mark(row: Any, look: style.Look) -> dict[str, Any]:
    """Return the marker: filled = significant, hollow = not significant, cross = no verdict."""
    return {
        "marker": look.marker if row["comparable"] else "x",
        "markerfacecolor": look.colour if row["shown"] else "white",
        "markeredgecolor": look.colour,
        "linestyle": "none",
    }


def _unseen(detectable: pd.Series) -> str:
    """Describe the median detectable difference; points with almost no power count as infinite."""
    median = float(detectable.fillna(np.inf).median())
    if np.isinf(median):
        return "for half of the points or more, n or the clusters are too few to show any"
    return f"at this n, differences under {100 * median:.0f} pp would mostly go unseen"


def _dominated(group: pd.DataFrame, money: str, index: Any) -> bool:
    """Return true if another point is at least as good and as cheap, and better in one of these."""
    own, others = group.loc[index], group.drop(index)
    reached = (others[money] <= own[money]) & (others["accuracy"] >= own["accuracy"])
    better = (others[money] < own[money]) | (others["accuracy"] > own["accuracy"])
    return bool((reached & better).any())
