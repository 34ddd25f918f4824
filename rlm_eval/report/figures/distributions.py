"""Figures of distributions: cost and time by quartile, run times, crossover lengths.

As in `panels`: each takes the prepared records and the cell table, returns (figure, its data).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rlm_eval.report import per_sample, wording
from rlm_eval.report.figures import panels, style
from rlm_eval.report.figures.captions import counts_by_panel, inflight, one_size, shared_caption
from rlm_eval.report.figures.panels import Plot
from rlm_eval.stats import bounds, intervals
from rlm_eval.stats.trend import Trend, trend

_QUARTILES = ("p5", "p25", "median", "p75", "p95")
_LENGTHS = "at the shortest, middle and longest length of each task"


@style.styled
def quartiles(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw cost and run time by quartile per task, series, length: arXiv:2512.24601, Figure 3."""
    looks = style.looks(frame)
    order = list(looks)
    money, label, note = panels.money_of(table)
    columns = {money: label, "wall": "wall time (s)"}
    lengths: dict[Any, list[float]] = {}
    for task, length in panels.three_lengths(table):
        lengths.setdefault(task, []).append(length)
    apart = 0.26 if len(order) <= style.MANY else 0.2
    most = max(map(len, lengths.values()))
    height = 0.5 + len(order) * max(0.13, (0.085 if len(order) <= style.MANY else 0.06) * most)
    height += 0.3 / len(lengths)  # the axis labels below the last row
    figure, axes = style.canvas(len(lengths), 2, row_height=height)
    rows: list[dict[str, Any]] = []
    for row, (task, places) in enumerate(lengths.items()):
        for axis, (what, name) in zip(axes[row], columns.items(), strict=True):
            shift = {x: (i - (len(places) - 1) / 2) * apart for i, x in enumerate(places)}
            for length in places:
                here = table[(table["task_label"] == task) & (table["length"] == length)]
                rows += _bars(axis, here, looks, what, shift[length])
            _refused(axis, table, order, task, shift)
            names = order if axis is axes[row, 0] else [""] * len(order)
            axis.set_yticks(range(len(order)), names)
            axis.set_ylim(len(order) - 0.4, -0.6)
            told = ", ".join(wording.tokens_label(length) for length in places)
            axis.set_title(f"{task}: {told}" if axis is axes[row, 0] else "")
            if any(r["task"] == task and r["what"] == what for r in rows):
                style.log_axis(axis, name, which="x")
            else:
                panels.empty(axis, "not known", name)
    style.outer_labels(axes, 2, y=False)
    caption = (
        f"Per sample, {_LENGTHS}: of each series from the top. Mark: median; thick: 25 to 75 %; "
        f"thin: 5 to 95 %; black tick: mean. {wording.counted(table[panels.COUNTS[money]])}. "
        f"{note} {inflight(table)} " + shared_caption(frame, table)
    )
    size = one_size(table, panels.COUNTS[money], "per bar")
    return style.finish(figure, frame=frame, caption=caption, size=size), pd.DataFrame(rows)


def _bars(
    axis: Axes, here: pd.DataFrame, looks: panels.Looks, what: str, shift: float
) -> list[dict[str, Any]]:
    """Draw one length of one task: a bar per series, `shift` below the middle of its row."""
    order = list(looks)
    rows = []
    names = [f"{what}_{q}" for q in (*_QUARTILES, "mean")]
    drawn = here[["task_label", "length", "series", panels.COUNTS[what], *names]]
    for line in drawn[drawn[f"{what}_median"].gt(0)].to_dict("records"):
        place, look = order.index(line["series"]) + shift, looks[line["series"]]
        q = {quantile: line[f"{what}_{quantile}"] for quantile in _QUARTILES}
        axis.hlines(place, q["p5"], q["p95"], color=look.colour, linewidth=0.8)
        axis.hlines(place, q["p25"], q["p75"], color=look.colour, linewidth=3.5, alpha=0.45)
        axis.plot(q["median"], place, **look.mark, markersize=3)
        axis.plot(line[f"{what}_mean"], place, marker="|", color="black", markersize=4)
        facts = {"task": line["task_label"], "length": line["length"], "series": line["series"]}
        facts |= {"what": what, "n": line[panels.COUNTS[what]], "mean": line[f"{what}_mean"]}
        rows.append(facts | q)
    return rows


def _refused(axis: Axes, table: pd.DataFrame, order: list[str], task: str, shift: Any) -> None:
    """Label series with refused prompts: at all lengths, or at those in `shift` (by length)."""
    own = table[(table["task_label"] == task) & (table["refused"] == table["rows"])]
    for name, lines in own[own["length"].isin(shift)].groupby("series"):
        lengths = sorted(lines["length"])
        whole = len(lengths) == len(shift)
        for length in lengths[:1] if whole else lengths:
            axis.text(
                0.01, order.index(str(name)) + (0 if whole else shift[length]),
                "refused: longer than the window", transform=axis.get_yaxis_transform(),
                fontsize=5, va="center",
            )  # fmt: skip


_STEPS = np.linspace(0, 1, 41)


@style.styled
def run_times(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw the cumulative distribution of wall times: share of samples against seconds."""
    looks = style.looks(frame)
    timed = frame[~frame["refused"] & frame["wall_seconds"].gt(0)]
    samples = timed.groupby(["task_label", "length", "series", "sample_id"])["wall_seconds"].mean()
    by_place: Any = samples.reset_index().groupby(["task_label", "length"])
    places = dict(iter(by_place))
    shown = [place for place in panels.three_lengths(table) if place in places]
    _, columns = style.grid(len(shown))
    figure, axes = style.panels(len(shown), row_height=1.35, sharey=True)
    rows = []
    for axis, (task, length) in zip(axes, shown, strict=True):
        part = places[task, length]
        for name, look in looks.items():
            seconds = part.loc[part["series"] == name, "wall_seconds"].to_numpy(dtype=float)
            if not len(seconds):
                continue
            at = np.quantile(seconds, _STEPS)
            shape = look.drawn | {"markevery": [20], "markersize": 3.5}
            axis.plot(at, 100 * _STEPS, **shape)
            rows += [
                {"task": task, "length": length, "series": name, "n": len(seconds),
                 "share_of_samples": share, "up_to_s": second}
                for share, second in zip(_STEPS, at, strict=True)
            ]  # fmt: skip
        style.percent_axis(axis, "samples (%)")
        style.log_axis(axis, "wall time (s)", which="x")
        size = wording.counted(part.groupby("series").size())
        title = f"{task}, {wording.tokens_label(length)}"
        axis.set_title(f"{title}, {size}" if counts_by_panel(table, "n_timed") else title)
    style.outer_labels(axes, columns)
    caption = (
        f"Share of samples that took up to so much wall time, {_LENGTHS}; mark: the median. "
        f"{wording.counted(table['n_timed'])}. {inflight(table)} " + shared_caption(frame, table)
    )
    size = one_size(table, "n_timed", "per line")
    return (
        style.finish(figure, frame=frame, caption=caption, legend=looks, size=size),
        pd.DataFrame(rows),
    )


@style.styled
def crossover(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw the crossover length of each series against the baseline, as bootstrap draws."""
    looks = style.looks(frame)
    baseline, *others = looks
    tasks = list(frame["task_label"].unique())
    samples = per_sample.units(frame)
    found = {
        (task, name): _trend_of(samples[samples["task_label"] == task], name, baseline)
        for task in tasks
        for name in others
    }
    figure, axes = style.canvas(len(tasks), 2, row_height=0.45 + 0.16 * len(others))
    rows, drawn = [], set()
    for row, task in enumerate(tasks):
        left, right = axes[row]
        left.set_title(task)
        for at, name in enumerate(others):
            one = found[task, name]
            if one is None:
                left.text(50, at, "no two shared lengths", **_WORDS)
                continue
            facts = {"task": task, "series": name, "baseline": baseline, "clusters": one.clusters}
            if one.clusters < intervals.FEW_CLUSTERS:
                left.text(50, at, f"too few clusters ({one.clusters})", **_WORDS)
            else:
                own = sorted(table.loc[table["task_label"] == task, "length"].unique())
                shares = _shares(one, own)
                drawn |= set(_stack(left, at, shares))
                facts |= {"crossover": one.crossover, "ahead_share": shares["ahead at all lengths"]}
                facts |= {"never_share": shares["never ahead"]}
            slope = 100 * np.array([one.slope, one.slope_low, one.slope_high])
            right.hlines(at, slope[1], slope[2], color=looks[name].colour, linewidth=1)
            right.plot(slope[0], at, **looks[name].mark)
            facts |= {"slope": one.slope, "slope_low": one.slope_low}
            rows.append(facts | {"slope_high": one.slope_high})
        left.set_yticks(range(len(others)), others)
        right.set_yticks(range(len(others)), [""] * len(others))
        for axis in (left, right):
            axis.set_ylim(len(others) - 0.4, -0.6)
        left.set_xlim(0, 100)
        left.set_xlabel("bootstrap draws (%)")
        right.axvline(0, color="black", linewidth=0.7)
        right.set_xlabel("slope (pp/doubling)")
    style.outer_labels(axes, 2, y=False)
    caption = (
        f"Left: length from which a series scores above {baseline} and stays above, in 1,000 "
        "bootstrap draws of whole clusters (samples of one context, and an item at all its "
        "lengths). Right: change of the difference per doubling of the length, cluster-robust "
        f"95 % t interval. {wording.counted(row['clusters'] for row in rows)} clusters. Lengths at "
        "which more than 5 % of a side were cut off or are missing are left out. "
        + shared_caption(frame, table)
    )
    handles = [Patch(label=name, **_PARTS[name]) for name in _PARTS if name in drawn]
    return (
        style.finish(figure, frame=frame, caption=caption, handles=handles),
        pd.DataFrame(rows),
    )


_WORDS: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6, "color": "#555555"}
_EDGE: dict[str, Any] = {"edgecolor": "#444444", "linewidth": 0.4}
_PARTS: dict[str, dict[str, Any]] = {
    "ahead at all lengths": {"facecolor": "#404040", **_EDGE},
    "ahead from a middle length": {"facecolor": "#969696", **_EDGE},
    "ahead at the longest only": {"facecolor": "#D0D0D0", "hatch": "////", **_EDGE},
    "never ahead": {"facecolor": "#FFFFFF", **_EDGE},
}
"""Part of the draws -> style of its bar: grey, since colours are reserved for the series."""


def _trend_of(part: pd.DataFrame, name: str, baseline: str) -> Trend | None:
    """Return a difference's trend over the common lengths; `None` with fewer than two."""
    both = part[part["series"] == name].merge(
        part[part["series"] == baseline], on=["length", "item", "sample_id"]
    )
    both = both[both["length"] != wording.UNKNOWN_LENGTH]  # a placeholder, no length
    both = both[~_only_bounds(both) & both[["score_x", "score_y"]].notna().all(axis="columns")]
    if both["length"].nunique() < 2:
        return None
    units = intervals.linked(both["cluster_x"], both["item"])
    return trend(both["length"], units, both["score_x"] - both["score_y"], draws=1_000)


def _shares(found: Trend, lengths: list[float]) -> dict[str, float]:
    """Return the percent of draws by the position of the crossover (`_PARTS`)."""
    draws = found.draws
    inside = (draws > 0) & np.isfinite(draws)
    last = inside & (draws > lengths[-2]) if len(lengths) > 1 else inside
    counted = {
        "ahead at all lengths": draws == 0.0,
        "ahead from a middle length": inside & ~last,
        "ahead at the longest only": last,
        "never ahead": draws == np.inf,
    }
    return {name: float(100 * np.mean(which)) for name, which in counted.items()}


def _stack(axis: Axes, place: float, shares: dict[str, float]) -> list[str]:
    """Draw a stacked bar; return its non-empty parts."""
    left = 0.0
    for name, share in shares.items():
        if share:
            axis.barh(place, share, left=left, height=0.62, **_PARTS[name])
        left += share
    return [name for name, share in shares.items() if share]


def _only_bounds(both: pd.DataFrame) -> pd.Series:
    """Return true for pairs at a length at which either side is only known as bounds."""
    unsure = both.assign(x=both["cut_x"] | both["missing_x"], y=both["cut_y"] | both["missing_y"])
    return unsure.groupby("length")[["x", "y"]].transform("mean").max(axis=1) > bounds.CUT_SHARE
