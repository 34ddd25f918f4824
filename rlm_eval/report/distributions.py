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

from rlm_eval.report import cells, figures, phrases, style
from rlm_eval.report.figures import Plot
from rlm_eval.stats import missing
from rlm_eval.stats.strategy import TRAJECTORY_LABELS
from rlm_eval.stats.trend import trend


@style.styled
def quartiles(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Cost and run time by quartile: the layout of arXiv:2512.24601, Figure 3."""
    series = cells.series_order(frame)
    looks = style.looks(series)
    money, label, note = figures.money_of(table)
    columns = {
        {"cost": "cost_cold", "tokens": "total_tokens"}[money]: label,
        "wall_seconds": "wall time (s)",
    }
    tasks = list(frame["task_label"].unique())
    figure, axes = style.canvas(len(tasks), 2, row_height=0.55 + 0.3 * len(series))
    rows = []
    for row, task in enumerate(tasks):
        for axis, (column, name) in zip(axes[row], columns.items(), strict=True):
            part = frame[(frame["task_label"] == task) & frame[column].gt(0)]
            axis.set_title(f"{task}, {phrases.counted(part.groupby('series').size())}")
            for place, one in enumerate(reversed(series)):
                values = part.loc[part["series"] == one, column].to_numpy(dtype=float)
                if not len(values):
                    continue
                q = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
                look = looks[one]
                axis.hlines(place, q[0], q[4], color=look.colour, linewidth=1)
                axis.hlines(place, q[1], q[3], color=look.colour, linewidth=6, alpha=0.45)
                axis.plot(q[2], place, marker=look.marker, color=look.colour)
                axis.plot(values.mean(), place, marker="|", color="black", markersize=8)
                facts = dict(zip(("p5", "p25", "median", "p75", "p95"), q, strict=True))
                rows.append({"task": task, "series": one, "what": column, "n": len(values)} | facts)
            names = list(reversed(series)) if axis is axes[row, 0] else [""] * len(series)
            axis.set_yticks(range(len(series)), names)
            axis.set_ylim(-0.6, len(series) - 0.4)
            if len(part):
                style.log_axis(axis, name, which="x")
            else:
                figures.empty(axis, "not known", name)
    caption = (
        "Per sample, all lengths together. Mark: median; thick: 25 to 75 %; thin: 5 to 95 %; "
        f"black tick: mean. {note} {inflight(table)} " + figures.shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption), pd.DataFrame(rows)


@style.styled
def histograms(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """How wall times are distributed, per task."""
    looks = style.looks(cells.series_order(frame))
    tasks = list(frame["task_label"].unique())
    width = style.width_for(len(tasks))
    figure, axes = style.canvas(1, len(tasks), width=width)
    rows = []
    for axis, task in zip(axes[0], tasks, strict=True):
        part = frame[(frame["task_label"] == task) & frame["wall_seconds"].gt(0)]
        seconds = part["wall_seconds"].to_numpy(dtype=float)
        edges = np.geomspace(seconds.min() * 0.99, seconds.max() * 1.01, 25)
        for name, look in looks.items():
            own = part.loc[part["series"] == name, "wall_seconds"]
            counts, _ = np.histogram(own, edges)
            axis.stairs(counts, edges, color=look.colour, linestyle=look.line)
            rows += [
                {"task": task, "series": name, "from_s": a, "to_s": b, "samples": c}
                for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)
            ]
        axis.set_title(f"{task}, {phrases.counted(part.groupby('series').size())}")
        axis.set_ylabel("samples")
        style.log_axis(axis, "wall time (s)", which="x")
    caption = (
        f"Wall time per sample, all lengths together. {inflight(table)} "
        + figures.shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption, legend=looks), pd.DataFrame(rows)


@style.styled
def crossover(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """From which length each series is ahead of the baseline: bootstrap draws, not a point."""
    order = cells.series_order(frame)
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
    samples = cells.units(frame[frame["score"].notna()])
    rows = []
    for axis, (task, name) in zip(axes.flat, shown, strict=False):
        part = samples[samples["task_label"] == task]
        both = part[part["series"] == name].merge(
            part[part["series"] == baseline], on=["length", "item", "sample_id"]
        )
        both = both[~_often_cut(both)]
        items = both["item"].nunique()
        axis.set_title(f"{task}: {name}, n = {items} items")
        if both["length"].nunique() < 2:
            figures.empty(axis, "fewer than two\nshared lengths", "draws (%)")
            continue
        found = trend(both["length"], both["item"], both["score_x"] - both["score_y"], draws=1_000)
        lengths = sorted(both["length"].unique())
        edges = np.geomspace(lengths[0], lengths[-1], 4 * len(lengths) + 1)
        inside = found.draws[(found.draws > 0) & np.isfinite(found.draws)]
        share = 100 * np.histogram(inside, edges)[0] / len(found.draws)
        axis.stairs(share, edges, fill=True, color=looks[name].colour, alpha=0.6)
        style.length_axis(axis, lengths, "crossover length (tokens)")
        axis.set_ylabel("draws (%)")
        ahead, never = (100 * np.mean(found.draws == x) for x in (0.0, np.inf))
        axis.set_ylim(top=1.7 * max(share.max(), 1))  # room for the words
        axis.text(
                0.97, 0.95, f"ahead throughout {ahead:.0f} %\nnever ahead {never:.0f} %\n"
                f"slope {100 * found.slope:+.1f} pp/doubling\n"
                f"[{100 * found.slope_low:+.1f}, {100 * found.slope_high:+.1f}]",
                transform=axis.transAxes, ha="right", va="top", fontsize=6,
            )  # fmt: skip
        facts = {"task": task, "series": name, "baseline": baseline, "items": items}
        facts |= {"crossover": found.crossover, "ahead_share": ahead, "never_share": never}
        facts |= {"slope": found.slope, "slope_low": found.slope_low}
        rows.append(facts | {"slope_high": found.slope_high})
    caption = (
        f"Length from which a series scores above {baseline} and stays above, in 1,000 bootstrap "
        "draws of whole items (all lengths of an item together). Slope: change of the difference "
        "per doubling of the length, 95 % interval. Lengths at which more than 5 % of a side were "
        "cut off are left out. " + figures.shared_caption(frame, table)
    )
    return style.finish(figure, frame=frame, caption=caption), pd.DataFrame(rows)


def _often_cut(both: pd.DataFrame) -> pd.Series:
    """True for pairs at a length where either side is only known as bounds."""
    shares = both.groupby("length")[["cut_x", "cut_y"]].transform("mean")
    return shares.max(axis="columns") > missing.CUT_SHARE


@style.styled
def behaviour(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Recursion as it happened: sub-calls, share of samples with one, coverage, strategies."""
    looks = style.looks(cells.series_order(frame))
    lines: dict[str, tuple[str, str]] = {
        "mean_calls": ("calls per sample", "linear"),
        "recursion_share": ("with a sub-call (%)", "percent"),
        "mean_coverage": ("context shown (%)", "percent"),
    }
    data = table.assign(recursion_share=table["recursion"] / table["rows"])
    data = data.groupby(["series", "length"], as_index=False)[list(lines)].mean()
    coded = cells.series_order(frame[frame["habit_strategy"].notna()]) if _coded(frame) else []
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
        axis.set_title(phrases.counted(table["n"]))
    handles = _strategies(figure.add_subplot(grid[1, :]), frame, coded)
    caption = (
        "Means over tasks; with a sub-call: share of the samples. Context shown: share of its "
        "characters that reached any model call. "
        "Strategies are read from the code by rules, not by a model. "
        + " ".join(f"{name}: {TRAJECTORY_LABELS[name]}." for name in handles)
        + " "
        + figures.shared_caption(frame, table)
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
        figures.empty(axis, "no code was run", "")
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
    axis.set_title(phrases.counted(known.groupby("series").size()))
    return used


def inflight(table: pd.DataFrame) -> str:
    """Concurrency, in words."""
    found = sorted({int(c) for c in table["concurrency"].dropna()})
    return f"Samples in flight: {'/'.join(map(str, found)) or 'unknown'}."
