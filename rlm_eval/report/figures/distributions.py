"""Figures of spread and habit: quartiles, histograms, crossover lengths, what the methods did.

As in `figures`: each takes the prepared records and the cell table, returns (figure, its data).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rlm_eval.records.strategy import TRAJECTORY_LABELS
from rlm_eval.report import summary, wording
from rlm_eval.report.figures import panels, style
from rlm_eval.report.figures.panels import Plot
from rlm_eval.stats import bounds, intervals
from rlm_eval.stats.trend import Trend, trend


@style.styled
def quartiles(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Cost and run time by quartile per task and length: arXiv:2512.24601, Figure 3."""
    order = summary.series_order(frame)
    looks = style.looks(order)
    money, label, note = panels.money_of(table)
    columns = {money: label, "wall": "wall time (s)"}
    places = panels.three_lengths(table)
    figure, axes = style.canvas(len(places), 2, row_height=0.55 + 0.3 * len(order))
    rows = []
    for row, (task, length) in enumerate(places):
        here = table[(table["task_label"] == task) & (table["length"] == length)]
        for axis, (what, name) in zip(axes[row], columns.items(), strict=True):
            part = here[here[f"{what}_median"].gt(0)]
            count = wording.counted(part[panels.COUNTS[what]])
            axis.set_title(f"{task}, {wording.tokens_label(length)}, {count}")
            for line in part.to_dict("records"):
                place, look = len(order) - 1 - order.index(line["series"]), looks[line["series"]]
                q = {quantile: line[f"{what}_{quantile}"] for quantile in _QUARTILES}
                axis.hlines(place, q["p5"], q["p95"], color=look.colour, linewidth=1)
                axis.hlines(place, q["p25"], q["p75"], color=look.colour, linewidth=6, alpha=0.45)
                axis.plot(q["median"], place, marker=look.marker, color=look.colour)
                axis.plot(line[f"{what}_mean"], place, marker="|", color="black", markersize=8)
                facts = {"task": task, "length": length, "series": line["series"], "what": what}
                facts |= {"n": line[panels.COUNTS[what]], "mean": line[f"{what}_mean"]}
                rows.append(facts | q)
            for refused in here.loc[here["refused"] == here["rows"], "series"]:
                axis.text(
                    0.01, len(order) - 1 - order.index(refused), "refused: longer than the window",
                    transform=axis.get_yaxis_transform(), fontsize=6, va="center",
                )  # fmt: skip
            names = order[::-1] if axis is axes[row, 0] else [""] * len(order)
            axis.set_yticks(range(len(order)), names)
            axis.set_ylim(-0.6, len(order) - 0.4)
            if len(part):
                style.log_axis(axis, name, which="x")
            else:
                panels.empty(axis, "not known", name)
    caption = (
        f"Per sample, {_LENGTHS}. Mark: median; thick: 25 to 75 %; thin: 5 to 95 %; black tick: "
        f"mean. {note} {inflight(table)} " + panels.shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption), pd.DataFrame(rows)


_QUARTILES = ("p5", "p25", "median", "p75", "p95")
_LENGTHS = "at the shortest, middle and longest length of each task"


@style.styled
def histograms(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """How wall times are distributed, per task and length."""
    looks = style.looks(summary.series_order(frame))
    timed = frame[~frame["refused"] & frame["wall_seconds"].gt(0)]
    samples = timed.groupby(["task_label", "length", "series", "sample_id"])["wall_seconds"].mean()
    by_place: Any = samples.reset_index().groupby(["task_label", "length"])
    places = dict(iter(by_place))
    shown = [place for place in panels.three_lengths(table) if place in places]
    columns = min(3, len(shown))
    width = style.width_for(columns)
    figure, axes = style.canvas(-(-len(shown) // columns), columns, width=width)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    rows = []
    for axis, (task, length) in zip(axes.flat, shown, strict=False):
        part = places[task, length]
        seconds = part["wall_seconds"].to_numpy(dtype=float)
        edges = np.geomspace(seconds.min() * 0.99, seconds.max() * 1.01, 25)
        for name, look in looks.items():
            counts, _ = np.histogram(part.loc[part["series"] == name, "wall_seconds"], edges)
            axis.stairs(counts, edges, color=look.colour, linestyle=look.line)
            rows += [
                {"task": task, "length": length, "series": name, "from_s": a, "to_s": b,
                 "samples": c}
                for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)
            ]  # fmt: skip
        count = wording.counted(part.groupby("series").size())
        axis.set_title(f"{task}, {wording.tokens_label(length)}, {count}")
        axis.set_ylabel("samples")
        style.log_axis(axis, "wall time (s)", which="x")
    caption = f"Wall time per sample, {_LENGTHS}. {inflight(table)} " + panels.shared_caption(
        frame, table
    )
    return style.finish(figure, frame=frame, caption=caption, legend=looks), pd.DataFrame(rows)


@style.styled
def crossover(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """From which length each series is ahead of the baseline: bootstrap draws, not a point."""
    order = summary.series_order(frame)
    looks = style.looks(order)
    baseline, others = order[0], order[1:]
    tasks = list(frame["task_label"].unique())
    # Nine panels at most: the last series (RLM) of every task, baselines left out first.
    shown = [(task, name) for task in tasks for name in others[-max(1, 9 // len(tasks)) :]][:9]
    columns = min(3, len(shown))
    width = style.width_for(columns)
    figure, axes = style.canvas(-(-len(shown) // columns), columns, width=width, row_height=1.7)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    samples = summary.units(frame)
    rows = []
    for axis, (task, name) in zip(axes.flat, shown, strict=False):
        part = samples[samples["task_label"] == task]
        both = part[part["series"] == name].merge(
            part[part["series"] == baseline], on=["length", "item", "sample_id"]
        )
        both = both[~_only_bounds(both) & both[["score_x", "score_y"]].notna().all(axis="columns")]
        if both["length"].nunique() < 2:
            axis.set_title(f"{task}: {name}")
            panels.empty(axis, "fewer than two\nshared lengths", "draws (%)")
            continue
        units = intervals.linked(both["cluster_x"], both["item"])
        found = trend(both["length"], units, both["score_x"] - both["score_y"], draws=1_000)
        axis.set_title(f"{task}: {name}, n = {found.clusters} clusters")
        facts = {"task": task, "series": name, "baseline": baseline, "clusters": found.clusters}
        words = (
            f"slope {100 * found.slope:+.1f} pp/doubling\n"
            f"[{100 * found.slope_low:+.1f}, {100 * found.slope_high:+.1f}]"
        )
        if found.clusters < intervals.FEW_CLUSTERS:
            panels.empty(axis, f"too few clusters\nfor a distribution\n{words}", "draws (%)")
        else:
            facts |= _draw_crossings(axis, both["length"], found, looks[name].colour, words)
        facts |= {"slope": found.slope, "slope_low": found.slope_low}
        rows.append(facts | {"slope_high": found.slope_high})
    caption = (
        f"Length from which a series scores above {baseline} and stays above, in 1,000 bootstrap "
        "draws of whole clusters (samples of one context, and an item at all its lengths). Slope: "
        "change of the difference per doubling of the length, cluster-robust 95 % t interval. "
        "Lengths at which more than 5 % of a side were cut off or are missing are left out. "
        + panels.shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption), pd.DataFrame(rows)


def _draw_crossings(
    axis: Axes, at: pd.Series, found: Trend, colour: str, words: str
) -> dict[str, float | None]:
    """The crossover lengths of the draws as a histogram; what it says in numbers."""
    lengths = sorted(at.unique())
    edges = np.geomspace(lengths[0], lengths[-1], 4 * len(lengths) + 1)
    inside = found.draws[(found.draws > 0) & np.isfinite(found.draws)]
    share = 100 * np.histogram(inside, edges)[0] / len(found.draws)
    axis.stairs(share, edges, fill=True, color=colour, alpha=0.6)
    style.length_axis(axis, lengths, "crossover length (tokens)")
    axis.set_ylabel("draws (%)")
    ahead, never = (float(100 * np.mean(found.draws == x)) for x in (0.0, np.inf))
    axis.set_ylim(top=1.7 * max(share.max(), 1))  # room for the words
    axis.text(
        0.97, 0.95, f"ahead throughout {ahead:.0f} %\nnever ahead {never:.0f} %\n{words}",
        transform=axis.transAxes, ha="right", va="top", fontsize=6,
    )  # fmt: skip
    return {"crossover": found.crossover, "ahead_share": ahead, "never_share": never}


def _only_bounds(both: pd.DataFrame) -> pd.Series:
    """True for pairs at a length where either side is only known as bounds."""
    unsure = both.assign(x=both["cut_x"] | both["lost_x"], y=both["cut_y"] | both["lost_y"])
    return unsure.groupby("length")[["x", "y"]].transform("mean").max(axis=1) > bounds.CUT_SHARE


@style.styled
def behaviour(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Recursion as it happened: sub-calls, share of samples with one, coverage, strategies."""
    looks = style.looks(summary.series_order(frame))
    lines: dict[str, tuple[str, str]] = {
        "mean_calls": ("calls per sample", "linear"),
        "recursion_share": ("with a sub-call (%)", "percent"),
        "mean_coverage": ("context shown (%)", "percent"),
    }
    data = table.assign(recursion_share=table["recursion"] / table["rows"])
    pooled = data.groupby(["series", "length"], as_index=False)
    data = pooled[list(lines)].mean().merge(pooled["n"].sum())
    coded = summary.series_order(frame[frame["habit_strategy"].notna()]) if _coded(frame) else []
    heights = [1.9, 0.7 + 0.17 * len(coded)]
    figure = plt.figure(figsize=(style.WIDE, sum(heights)))
    grid = figure.add_gridspec(2, len(lines), height_ratios=heights)
    for i, (column, (label, kind)) in enumerate(lines.items()):
        axis = figure.add_subplot(grid[0, i])
        for name, look in looks.items():
            own = data[data["series"] == name]
            factor = 100 if kind == "percent" else 1
            axis.plot(
                own["length"], factor * own[column], color=look.colour, marker=look.marker,
                linestyle=look.line,
            )  # fmt: skip
        style.length_axis(axis, data["length"], "length (tokens)")
        if kind == "percent":
            style.percent_axis(axis, label)
        else:
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
        axis.set_title(wording.counted(data["n"]))
    handles = _strategies(figure.add_subplot(grid[1, :]), frame, coded)
    caption = (
        "Means over tasks, n over all of them; strategies: trajectories of all tasks and lengths. "
        "With a sub-call: share of the samples. Context shown: share of its "
        "characters that reached any model call. "
        "Strategies are read from the code by rules, not by a model. "
        + " ".join(f"{name}: {TRAJECTORY_LABELS[name]}." for name in handles)
        + " "
        + panels.shared_caption(frame, table)
    )
    lines_shown = style.line_handles(looks)
    patches = [
        Patch(facecolor=colour, label=name, hatch=h) for name, (colour, h) in handles.items()
    ]
    return (
        style.finish(figure, frame=frame, caption=caption, handles=lines_shown + patches),
        data,
    )


_FILLS = list(
    zip(
        ["#F2F2F2", "#BDBDBD", "#8A8A8A", "#DADADA", "#A5A5A5", "#6F6F6F", "#E6E6E6", "#CFCFCF"],
        ["", "////", "....", "xxxx", "", "\\\\\\\\", "++", "oo"],
        strict=True,
    )
)
"""Greys and hatches: the colours belong to the series."""


def _coded(frame: pd.DataFrame) -> bool:
    return "habit_strategy" in frame and bool(frame["habit_strategy"].notna().any())


def _strategies(axis: Axes, frame: pd.DataFrame, series: list[str]) -> dict[str, Any]:
    """Stacked shares of the strategies per series that ran code; what was drawn, for the legend."""
    if not series:
        panels.empty(axis, "no code was run", "")
        axis.set_xlabel("strategy (%)")
        return {}
    known = frame[frame["habit_strategy"].notna()]
    shares = pd.crosstab(known["series"], known["habit_strategy"], normalize="index")
    shares = shares.reindex(series[::-1])
    left = np.zeros(len(shares))
    used = {}
    for i, name in enumerate(label for label in TRAJECTORY_LABELS if label in shares):
        used[name] = _FILLS[i % len(_FILLS)]
        values = 100 * shares[name].to_numpy()
        axis.barh(
            range(len(shares)), values, left=left, color=used[name][0], hatch=used[name][1],
            edgecolor="#444444", linewidth=0.4, height=0.6,
        )  # fmt: skip
        left += values
    axis.set_yticks(range(len(shares)), list(shares.index))
    axis.set_xlabel("strategy (%)")
    axis.set_xlim(0, 100)
    axis.set_title(wording.counted(known.groupby("series").size()))
    return used


def inflight(table: pd.DataFrame) -> str:
    """Concurrency, in words."""
    found = sorted({int(c) for c in table["concurrency"].dropna()})
    return f"Samples in flight: {'/'.join(map(str, found)) or 'unknown'}."
