"""Main figures of a report: panels over context length and cost.

Each function takes the prepared records (`summary.prepare`) and the cell table
(`summary.summarise`) and returns (figure, its data). Contrasts of series, distributions, heat maps
and many series are in `contrasts`, `distributions`, `heatmaps` and `multiples`. Conventions:
`style`. Intervals of score, cost and time are 95 %; with few series, cost and time also show the
spread over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlm_eval.report import wording
from rlm_eval.report.figures import style
from rlm_eval.report.figures.captions import (
    baselines_note,
    bounds_note,
    counts_by_panel,
    latency_note,
    one_size,
    overflow_note,
    published_note,
    shared_caption,
    spread_note,
)
from rlm_eval.report.tables import baselines

Plot = tuple[Figure, pd.DataFrame]
Looks = Mapping[str, style.Look]

_X_LABEL = ("context length (tokens)", "length (tokens)")
"""Labels for wide panels, and for two side by side in a column."""
LATENCY = {"path": "critical path (s)", "wall": "wall time (s)"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure drawn against length, from lines of the cell table."""

    name: str
    count: str
    """Column of the cell table with the number of samples per point."""
    column: str
    """Column of the point's value."""
    draw: Callable[[Axes, pd.DataFrame, Looks], None]


def measures(table: pd.DataFrame) -> list[Measure]:
    """Return score, cost (tokens if a price is unknown) and latency of this table."""
    money, label, _ = money_of(table)
    clock = clock_of(table)
    return [
        Measure("score", "n", "accuracy", draw_accuracy),
        Measure(
            "cost", COUNTS[money], f"{money}_mean",
            lambda axis, part, looks: draw_spread(axis, part, looks, money, label, "mean"),
        ),
        Measure(
            "latency", COUNTS[clock], f"{clock}_median",
            lambda axis, part, looks: draw_spread(
                axis, part, looks, clock, LATENCY[clock], "median"
            ),
        ),
    ]  # fmt: skip


def clock_of(table: pd.DataFrame) -> str:
    """Return `path`, or `wall` if a cell has no critical path: scripted replies take no time."""
    waited = table["path_median"].gt(0) | _all_refused(table)
    return "path" if waited.all() else "wall"


@style.styled
def length_panels(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None = None
) -> Plot:
    """Draw score, cost and latency against context length; one row of panels per task.

    `published` (task, label, length, score in [0, 1]) is drawn as hollow marks and never compared.
    """
    looks = style.looks(frame)
    tasks = list(dict.fromkeys(table["task_label"]))
    _, _, money_note = money_of(table)
    drawn = measures(table)
    rows, columns, places = style.by_task(tasks, len(drawn))
    figure, axes = style.canvas(rows, columns, row_height=1.55 if columns > 2 else 1.3)
    for axis in axes.flat:
        axis.set_visible(False)
    for task, number, row, column in places:
        axis, measure = axes[row, column], drawn[number]
        axis.set_visible(True)
        part = table[table["task_label"] == task]
        measure.draw(axis, part, looks)
        named = counts_by_panel(table, measure.count) and not _all_refused(part).all()
        count = _known(part, measure.count) if named else ""
        axis.set_title(", ".join(filter(None, ("" if number else task, count))))
        if number == 0:
            draw_published(axis, task, published)
        axis.set_xlabel(_X_LABEL[columns == 2] if row == rows - 1 else "")
        if columns == 2 and column:
            axis.set_ylabel("")
    caption = (
        f"{spread_note(looks, table)}{bounds_note(table)}{overflow_note(table)}{money_note} "
        f"{latency_note(table, clock_of(table))} "
        + baselines_note(table)
        + published_note(published)
        + shared_caption(frame, table)
    )
    handles = handles_of(looks, published, table)
    size = one_size(table)
    return style.finish(figure, frame=frame, caption=caption, handles=handles, size=size), table


@style.styled
def document_panels(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw score, cost and latency against the number of documents (the sample's `documents`)."""
    own = frame[frame["meta_documents"].notna()]
    counts = own.groupby(["task_label", "length"])["meta_documents"].mean()
    keys = pd.MultiIndex.from_frame(table[["task_label", "length"]])
    chosen = table.assign(length=counts.reindex(keys).to_numpy(), window=np.nan)
    chosen = chosen[chosen["length"].notna()]
    figure, data = length_panels(own, chosen)
    for axis in figure.axes:
        shown = bool(axis.get_xlabel())
        style.length_axis(axis, chosen["length"], "documents", form=lambda x: f"{x:,.0f}")
        if not shown:
            axis.set_xlabel("")
    return figure, data.rename(columns={"length": "documents"})


@style.styled
def accuracy_by_task(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None = None
) -> Plot:
    """Draw score against length, tasks side by side: layout of arXiv:2512.24601, Figure 1."""
    looks = style.looks(frame)
    tasks = list(dict.fromkeys(table["task_label"]))
    _, columns = style.grid(len(tasks), most=4, most_narrow=2)
    figure, axes = style.panels(len(tasks), most=4, most_narrow=2, sharey=True)
    for axis, task in zip(axes, tasks, strict=True):
        part = table[table["task_label"] == task]
        draw_accuracy(axis, part, looks)
        if columns > 2 or style.narrow():
            style.length_axis(axis, part["length"], "length (tokens)", most=4)
        draw_published(axis, task, published)
        many = counts_by_panel(table, "n")
        axis.set_title(f"{task}, {wording.counted(part['n'])}" if many else task)
    style.outer_labels(axes, columns)
    caption = f"Mean score with 95 % interval per length, {wording.counted(table['n'])}. "
    caption += bounds_note(table) + overflow_note(table) + baselines_note(table)
    caption += published_note(published)
    columns_told = ["task_label", "series", "length", "n", "accuracy", "low", "high", "interval"]
    columns_told += ["bound_low", "bound_high", "as_bounds", "outcomes"]
    columns_told += [f"base_{kind}" for kind in ("prior", *DASHED)]
    figure = style.finish(
        figure, frame=frame, caption=caption + shared_caption(frame, table),
        handles=handles_of(looks, published, table), size=one_size(table),
    )  # fmt: skip
    return figure, table[columns_told]


def _published_marks(published: pd.DataFrame | None) -> dict[str, str]:
    """Return published series -> its mark."""
    labels = [] if published is None else sorted(published["label"].astype(str).unique())
    return {name: "ovs^DPX*"[i % 8] for i, name in enumerate(labels)}


def draw_published(axis: Axes, task: str, published: pd.DataFrame | None) -> None:
    """Draw hollow marks, one shape per published series (`published_handles`)."""
    if published is None:
        return
    for name, marker in _published_marks(published).items():
        line = published[(published["task"] == task) & (published["label"].astype(str) == name)]
        axis.plot(line["length"], 100 * line["score"], marker, **_HOLLOW)


_HOLLOW: dict[str, Any] = {"markerfacecolor": "none", "color": "#555555", "markersize": 6,
                           "linestyle": "none", "zorder": 4}  # fmt: skip


def handles_of(looks: Looks, published: pd.DataFrame | None, table: pd.DataFrame) -> list[Any]:
    """Return legend entries: the series that were run, the baselines, the published series."""
    return style.line_handles(looks) + baseline_handles(table) + published_handles(published)


def published_handles(published: pd.DataFrame | None) -> list[Any]:
    """Return legend entries of the hollow marks."""
    marks = _published_marks(published)
    return [Line2D([], [], marker=mark, label=name, **_HOLLOW) for name, mark in marks.items()]


def baseline_handles(table: pd.DataFrame) -> list[Any]:
    """Return legend entries of the drawn dashed lines."""
    return [
        Line2D([], [], label=f"{baselines.SHOWN[kind]} baseline", **look)
        for kind, look in DASHED.items()
        if table[f"base_{kind}"].notna().any()
    ]


DASHED: dict[str, dict[str, Any]] = {
    "skimmer": {"color": "#777777", "linestyle": (0, (6, 2))},
    "no_model": {"color": "#777777", "linestyle": (0, (2, 2))},
    "bag_of_words": {"color": "#BBBBBB", "linestyle": (0, (6, 2))},
}
"""Kind of baseline -> line style in the panels of scores."""


def draw_baselines(axis: Axes, part: pd.DataFrame) -> None:
    """Draw a dashed grey line per kind of baseline; a short one at a single length."""
    for kind, look in DASHED.items():
        of_length = part.groupby("length")[f"base_{kind}"].mean().dropna()
        x, y = of_length.index.to_numpy(dtype=float), 100 * of_length.to_numpy()
        if len(x) == 1:
            x, y = x * np.array([2**-0.25, 2**0.25]), np.repeat(y, 2)
        axis.plot(x, y, linewidth=1.0, zorder=2, **look)


def draw_accuracy(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    """Draw one line per series; a cell only known as bounds is a bar without a mark.

    Intervals are bands for up to `style.BANDS` series, error bars for more.
    """
    names = [name for name in looks if name in set(part["series"])]
    draw_baselines(axis, part)
    for position, name in enumerate(names):
        line = part[part["series"] == name].sort_values("length")
        look = looks[name]
        x = dodged(line["length"], position, len(names))
        sure = ~line["as_bounds"].to_numpy()
        mean = np.where(sure, 100 * line["accuracy"], np.nan)
        low = 100 * line["low"].to_numpy()
        high = 100 * line["high"].to_numpy()
        if len(looks) <= style.BANDS and len(line) > 1:
            axis.fill_between(x, low, high, where=sure, color=look.colour, alpha=0.15, linewidth=0)
        else:
            axis.vlines(x[sure], low[sure], high[sure], color=look.colour, linewidth=0.8)
        axis.plot(x, mean, zorder=3, **look.drawn)
        marked = sure & line["overflow_share"].gt(0.5).to_numpy(dtype=bool)
        axis.plot(x[marked], mean[marked], "x", color="black", markersize=7, zorder=4)
        if not sure.all():
            bounds = 100 * line[["bound_low", "bound_high"]].to_numpy()[~sure]
            draw_bounds(axis, x[~sure], bounds, look)
    style.percent_axis(axis)
    style.length_axis(axis, part["length"])
    over = part[part["overflow_share"] > 0]
    style.window_mark(axis, part["window"].dropna(), over["length"].min() if len(over) else None)


def draw_bounds(
    axis: Axes, x: np.ndarray[Any, Any], bounds: np.ndarray[Any, Any], look: style.Look
) -> None:
    """Draw bars with end ticks from `bounds[:, 0]` to `bounds[:, 1]` (percent), without a mark."""
    axis.vlines(x, bounds[:, 0], bounds[:, 1], color=look.colour, linewidth=3, alpha=0.45)
    axis.plot(np.tile(x, 2), bounds.T.ravel(), "_", color=look.colour, markersize=7)


def draw_spread(
    axis: Axes, part: pd.DataFrame, looks: Looks, what: str, label: str, centre: str
) -> None:
    """Draw mean or median (`centre`) with its interval on a log axis, and bands of quantiles.

    No bands for more than `style.BANDS` series. Without known values it draws a message.
    """
    style.length_axis(axis, part["length"])
    names = [name for name in looks if name in set(part["series"])]
    drawn = False
    for position, name in enumerate(names):
        line = part[part["series"] == name].sort_values("length")
        line = line[line[f"{what}_{centre}"].gt(0)]
        if line.empty:
            continue
        drawn = True
        look = looks[name]
        x = dodged(line["length"], position, len(names))
        least = line[f"{what}_{centre}"] / 1000  # a log axis cannot show 0
        if len(looks) <= style.BANDS:
            for quantiles, alpha in ((("p5", "p95"), 0.08), (("p25", "p75"), 0.2)):
                below, above = (line[f"{what}_{q}"].clip(lower=least) for q in quantiles)
                axis.fill_between(x, below, above, color=look.colour, alpha=alpha, linewidth=0)
        low, high = (line[f"{what}_{centre}_{end}"].clip(lower=least) for end in ("low", "high"))
        axis.vlines(x, low, high, color=look.colour, linewidth=0.8)
        if centre == "mean":
            medians = line[f"{what}_median"].clip(lower=least)
            axis.plot(x, medians, "_", color=look.colour, markersize=6)
        axis.plot(x, line[f"{what}_{centre}"], **look.drawn)
    if drawn:
        style.log_axis(axis, label)
    else:
        refused = len(part) and _all_refused(part).all()
        words = "refused: longer\nthan the window" if refused else "not reported\nby any model"
        empty(axis, words, label)


def money_of(table: pd.DataFrame) -> tuple[str, str, str]:
    """Return (column, axis label, note): US dollars if every cell has a price, else tokens."""
    # If every sample overflowed, a missing cost does not mean an unknown price.
    spent = table["cost_max"].gt(0) | table["overflow_share"].eq(1)
    priced = (table["cost_median"].notna() & spent) | _all_refused(table)
    if priced.all() and not _all_refused(table).all():
        snapshot = ", ".join(sorted(set(table["prices"].dropna().astype(str)))) or "unnamed"
        listed = f"Prices, every input token at full rate: {snapshot}."
        ours = table[table["gpu_priced"]]
        if ours.empty:
            return "cost", "cost (USD)", listed
        note = f"{wording.called(ours)}: GPU time at the price given per hour, idle time left out."
        if table["gpu_priced"].all():
            return "cost", "GPU time (USD)", note
        return "cost", "cost, GPU time (USD)", f"{note} Others: {listed}"
    open_ = table[~priced]
    free = open_["cost_median"].notna()  # a price of 0, which a log axis cannot show
    why = [
        f"{words} {wording.called(own)}"
        for words, own in (
            ("no price is known for", open_[~free]), ("the cost is 0 for", open_[free]),
        )
        if len(own)
    ]  # fmt: skip
    note = f"{'; '.join(why)}: tokens (input and output) are shown, not money."
    return "tokens", "tokens", note[:1].upper() + note[1:]


def _all_refused(table: pd.DataFrame) -> pd.Series:
    return table["refused"] == table["rows"]


COUNTS = {"cost": "n_priced", "tokens": "n_counted", "path": "n_timed", "wall": "n_timed"}
"""Quantity -> the table's column with its number of samples."""


def _known(part: pd.DataFrame, count: str) -> str:
    """Return samples per point; a cell with only refused prompts has no point."""
    return wording.counted(part.loc[~_all_refused(part), count])


def three_lengths(table: pd.DataFrame) -> list[tuple[Any, float]]:
    """Return (task, length) for each task's shortest, middle and longest length, to limit panels.

    Chosen per task: a task of fixed size has a length that no other task has.
    """
    found = []
    for task, own in table.groupby("task_label"):
        lengths = np.sort(own["length"].unique())
        chosen = {lengths[0], lengths[len(lengths) // 2], lengths[-1]}
        found += [(task, length) for length in sorted(chosen)]
    return found


def dodged(lengths: Any, position: int, count: int) -> np.ndarray[Any, Any]:
    """Shift lengths by series, so that overlapping intervals stay readable."""
    shift = min(0.07, 0.35 / count) * (position - (count - 1) / 2)
    return np.asarray(lengths, dtype=float) * 2**shift


def empty(axis: Axes, words: str, label: str) -> None:
    """Draw a message in an empty panel: it states the missing value."""
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="#555555")
    axis.tick_params(axis="y", which="both", left=False, labelleft=False)
    axis.set_ylabel(label)
