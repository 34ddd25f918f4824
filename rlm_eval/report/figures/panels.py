"""Figures over context length and money: the panels that a reader of a report looks at first.

Each function takes the prepared records (`cells.prepare`) and the cell table (`cells.summarise`)
and returns (figure, the data behind it). Contrasts of series, distributions and heat maps are in
`contrasts`, `distributions` and `maps`. Conventions: `style`. Bands of scores are 95 % intervals;
bands of cost and time are the spread over samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rlm_eval.report import summary, wording
from rlm_eval.report.figures import style
from rlm_eval.report.tables import baselines
from rlm_eval.report.tables.caveats import remarks

Plot = tuple[Figure, pd.DataFrame]

LATENCY = {"path": "critical path (s)", "wall": "wall time (s)"}


@style.styled
def length_panels(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None = None
) -> Plot:
    """Score, cost and latency against context length; one row of panels per task.

    `published` (task, label, length, score in [0, 1]) is drawn as hollow marks and never compared.
    """
    looks = style.looks(summary.series_order(frame))
    tasks = list(dict.fromkeys(table["task_label"]))
    money, money_label, money_note = money_of(table)
    # Replies from a script take no time: their critical path is 0 and cannot be drawn.
    waited = table["path_median"].gt(0) | _all_refused(table)
    clock = "path" if waited.all() else "wall"
    figure, axes = style.canvas(len(tasks), 3)
    for row, task in enumerate(tasks):
        part = table[table["task_label"] == task]
        draw_accuracy(axes[row, 0], part, looks)
        axes[row, 0].set_title(f"{task}: score, {wording.counted(part['n'])}")
        draw_spread(axes[row, 1], part, looks, money, money_label, "mean")
        axes[row, 1].set_title(f"{money_label.split(' (')[0]} per sample, {_known(part, money)}")
        draw_spread(axes[row, 2], part, looks, clock, LATENCY[clock], "median")
        axes[row, 2].set_title(f"latency per sample, {_known(part, clock)}")
        _draw_published(axes[row, 0], task, published)
    caption = (
        "Score: mean and 95 % interval per length. Cost: mean with its 95 % interval, and the "
        "median as a dash; latency: median with its 95 % interval; both: 25 to 75 % (dark) and 5 "
        f"to 95 % (light) of samples. {_overflow_note(table)}{money_note} "
        f"{_latency_note(table, clock)} "
        + _baselines_note(table)
        + _published_note(published)
        + shared_caption(frame, table)
    )
    handles = _handles(looks, published, table)
    return style.finish(figure, frame=frame, caption=caption, handles=handles), table


@style.styled
def document_panels(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Score, cost and latency against the number of documents (the sample's `documents`)."""
    own = frame[frame["meta_documents"].notna()]
    counts = own.groupby(["task_label", "length"])["meta_documents"].mean()
    keys = pd.MultiIndex.from_frame(table[["task_label", "length"]])
    chosen = table.assign(length=counts.reindex(keys).to_numpy(), window=np.nan)
    chosen = chosen[chosen["length"].notna()]
    figure, data = length_panels(own, chosen)
    for axis in figure.axes:
        style.length_axis(axis, chosen["length"], "documents", form=lambda x: f"{x:,.0f}")
    return figure, data.rename(columns={"length": "documents"})


@style.styled
def accuracy_by_task(
    frame: pd.DataFrame, table: pd.DataFrame, published: pd.DataFrame | None = None
) -> Plot:
    """Score against length, tasks side by side: the layout of arXiv:2512.24601, Figure 1."""
    looks = style.looks(summary.series_order(frame))
    tasks = list(dict.fromkeys(table["task_label"]))
    figure, axes = style.canvas(1, len(tasks), width=style.width_for(len(tasks)), sharey=True)
    for axis, task in zip(axes[0], tasks, strict=True):
        part = table[table["task_label"] == task]
        draw_accuracy(axis, part, looks)
        _draw_published(axis, task, published)
        axis.set_title(f"{task}, {wording.counted(part['n'])}")
    caption = f"Mean score with 95 % interval per length. {_overflow_note(table)}"
    caption += _baselines_note(table) + _published_note(published) + shared_caption(frame, table)
    columns = ["task_label", "series", "length", "n", "accuracy", "low", "high", "interval"]
    columns += ["bound_low", "bound_high", "as_bounds", "outcomes"]
    columns += [f"base_{kind}" for kind in ("prior", *_DASHED)]
    handles = _handles(looks, published, table)
    return style.finish(figure, frame=frame, caption=caption, handles=handles), table[columns]


def _published_marks(published: pd.DataFrame | None) -> dict[str, str]:
    """Published series -> its mark."""
    labels = [] if published is None else sorted(published["label"].astype(str).unique())
    return {name: "ovs^DPX*"[i % 8] for i, name in enumerate(labels)}


def _draw_published(axis: Axes, task: str, published: pd.DataFrame | None) -> None:
    """Hollow marks, one shape per published series (`_handles`)."""
    if published is None:
        return
    for name, marker in _published_marks(published).items():
        line = published[(published["task"] == task) & (published["label"].astype(str) == name)]
        axis.plot(line["length"], 100 * line["score"], marker, **_HOLLOW)


_HOLLOW: dict[str, Any] = {"markerfacecolor": "none", "color": "#555555", "markersize": 6,
                           "linestyle": "none", "zorder": 4}  # fmt: skip


def _handles(
    looks: dict[str, style.Look], published: pd.DataFrame | None, table: pd.DataFrame
) -> list[Any]:
    """Legend entries: the series that were run, the baselines, then the published series."""
    marks = _published_marks(published)
    hollow = [Line2D([], [], marker=mark, label=name, **_HOLLOW) for name, mark in marks.items()]
    dashed = [
        Line2D([], [], label=f"{baselines.SHOWN[kind]} (rule)", **look)
        for kind, look in _DASHED.items()
        if table[f"base_{kind}"].notna().any()
    ]
    return style.line_handles(looks) + dashed + hollow


_DASHED: dict[str, dict[str, Any]] = {
    "skimmer": {"color": "#777777", "linestyle": (0, (6, 2))},
    "no_model": {"color": "#777777", "linestyle": (0, (2, 2))},
    "bag_of_words": {"color": "#BBBBBB", "linestyle": (0, (6, 2))},
}
"""Kind of baseline -> its line in the panels of scores."""


def draw_baselines(axis: Axes, part: pd.DataFrame) -> None:
    """A dashed grey line per kind of baseline over the lengths; a short one at a single length."""
    for kind, look in _DASHED.items():
        of_length = part.groupby("length")[f"base_{kind}"].mean().dropna()
        x, y = of_length.index.to_numpy(dtype=float), 100 * of_length.to_numpy()
        if len(x) == 1:
            x, y = x * np.array([2**-0.25, 2**0.25]), np.repeat(y, 2)
        axis.plot(x, y, linewidth=1.0, zorder=2, **look)


def _baselines_note(table: pd.DataFrame) -> str:
    """What the dashed lines are; of tasks that code solves that they are."""
    if not table["base_prior"].notna().any():
        return ""
    told = (
        "Dashed grey (rule): what the best skimmer (reads at most 25 % of the text) and the best "
        "rule without a model score on the same samples. "
    )
    if names := ", ".join(dict.fromkeys(table.loc[table["base_by_code"], "task_label"])):
        told += f"Solved by a search or a program by design: {names}. "
    return told


def _overflow_note(table: pd.DataFrame) -> str:
    if not table["overflow_share"].gt(0).any():
        return ""
    told = "Hatched: lengths at which prompts overflowed the window. "
    if table["overflow_share"].gt(0.5).any():
        told += "x: more than half of a point's samples overflowed it and score 0. "
    return told


def _published_note(published: pd.DataFrame | None) -> str:
    if published is None:
        return ""
    return "Hollow grey: published (~: read off a plot, so approximate), not tested here. "


def draw_accuracy(axis: Axes, part: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    """One line per series; a cell that is only known as bounds is a bar without a mark."""
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
        axis.fill_between(x, low, high, where=sure, color=look.colour, alpha=0.13, linewidth=0)
        axis.plot(x, mean, color=look.colour, marker=look.marker, linestyle=look.line, zorder=3)
        axis.vlines(x[sure], low[sure], high[sure], color=look.colour, linewidth=0.8, alpha=0.8)
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
    """Bars with end ticks from `bounds[:, 0]` to `bounds[:, 1]` (percent), and no mark inside."""
    axis.vlines(x, bounds[:, 0], bounds[:, 1], color=look.colour, linewidth=3, alpha=0.45)
    axis.plot(np.tile(x, 2), bounds.T.ravel(), "_", color=look.colour, markersize=7)


def draw_spread(
    axis: Axes, part: pd.DataFrame, looks: dict[str, style.Look], what: str, label: str, centre: str
) -> None:
    """Mean or median (`centre`) with its interval and two bands of quantiles, on a log axis.

    Says so where nothing is known.
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
        least = line[f"{what}_{centre}"] / 1000  # a log axis knows no 0
        for quantiles, alpha in ((("p5", "p95"), 0.08), (("p25", "p75"), 0.2)):
            below, above = (line[f"{what}_{q}"].clip(lower=least) for q in quantiles)
            axis.fill_between(x, below, above, color=look.colour, alpha=alpha, linewidth=0)
        low, high = (line[f"{what}_{centre}_{end}"].clip(lower=least) for end in ("low", "high"))
        axis.vlines(x, low, high, color=look.colour, linewidth=0.8, alpha=0.8)
        if centre == "mean":
            medians = line[f"{what}_median"].clip(lower=least)
            axis.plot(x, medians, "_", color=look.colour, markersize=7)
        axis.plot(
            x, line[f"{what}_{centre}"], color=look.colour, marker=look.marker, linestyle=look.line
        )
    if drawn:
        style.log_axis(axis, label)
    else:
        empty(axis, "not reported\nby any model", label)


def money_of(table: pd.DataFrame) -> tuple[str, str, str]:
    """(column, axis label, note): US dollars where every cell has a price, else tokens."""
    # Where every sample overflowed, nothing spent is no sign of an unknown price.
    spent = table["cost_max"].gt(0) | table["overflow_share"].eq(1)
    priced = (table["cost_median"].notna() & spent) | _all_refused(table)
    if priced.all() and not _all_refused(table).all():
        snapshot = ", ".join(sorted(set(table["prices"].dropna().astype(str)))) or "unnamed"
        listed = f"Prices, every input token at full rate: {snapshot}."
        ours = table[table["gpu_priced"]]
        if ours.empty:
            return "cost", "cost (USD, list price)", listed
        note = f"{wording.called(ours)}: GPU time at the price given per hour, idle time left out."
        if table["gpu_priced"].all():
            return "cost", "cost (USD, GPU time)", note
        return "cost", "cost (USD, list price or GPU time)", f"{note} Others: {listed}"
    unknown = wording.called(table[~priced])
    note = f"No price is known for {unknown}: the panel shows tokens, not money."
    return "tokens", "tokens (input + output)", note


def _all_refused(table: pd.DataFrame) -> pd.Series:
    return table["refused"] == table["rows"]


def shared_caption(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    """What every figure states: outcomes, prompts, recursion that was really used, limits of n."""
    counts = frame["outcome"].value_counts()
    parts = ["Outcomes: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "."]
    if refused := int(table["refused"].sum()):
        parts.append(
            f"{refused} prompts were refused as longer than the window: they score 0 and have no "
            "cost and no latency, so whatever shows cost or latency leaves them out."
        )
    if table["as_bounds"].any():
        parts.append(
            "Bars with end ticks: more than 5 % of the samples were cut off, or some are missing; "
            "the score lies between the ends (those wrong, those right)."
        )
    for method in dict.fromkeys(table["method"]):
        own = table[table["method"] == method]
        prompts = sorted({str(p) for p in own["prompt"] if p})
        words = [f"prompt {', '.join(prompts)}"] if prompts else []
        used, rows = int(own["recursion"].sum()), int(own["rows"].sum())
        if method.startswith("rlm") or used:
            words.append(f"{used} of {rows} samples made a sub-call")
            if not used:
                words.append("so its score is code search, not recursion")
        if words:
            parts.append(f"{method}: {', '.join(words)}.")
    smallest = int(table["n"].min())
    if smallest < 50:
        parts.append(f"With n = {smallest} per point, small differences cannot be seen.")
    if frame["scripted"].any():
        parts.append("Replies are scripted: this says nothing about any model.")
    parts += remarks(frame)
    if frame["generated"].any():
        parts.append("The data come from this harness's own generator, not from a published set.")
    return " ".join(parts)


def _latency_note(table: pd.DataFrame, clock: str) -> str:
    inflight = sorted({int(c) for c in table["concurrency"].dropna()})
    words = "/".join(map(str, inflight)) or "unknown"
    if clock == "path":
        return f"Latency: longest chain of calls and code, queueing left out ({words} in flight)."
    return f"Latency: wall time with {words} samples in flight."


COUNTS = {"cost": "n_priced", "tokens": "n_counted", "path": "n_timed", "wall": "n_timed"}
"""What is spread -> the table's column of the number of samples behind it."""


def _known(part: pd.DataFrame, what: str) -> str:
    """Samples per point; of a cell whose every prompt was refused there is no point."""
    return wording.counted(part.loc[~_all_refused(part), COUNTS[what]])


def three_lengths(table: pd.DataFrame) -> list[tuple[Any, float]]:
    """(task, its shortest, middle and longest length): ten panels would say the same slowly.

    Of each task: those of one size of their own stand at a length that no other task has.
    """
    found = []
    for task, own in table.groupby("task_label"):
        lengths = np.sort(own["length"].unique())
        chosen = {lengths[0], lengths[len(lengths) // 2], lengths[-1]}
        found += [(task, length) for length in sorted(chosen)]
    return found


def dodged(lengths: Any, position: int, count: int) -> np.ndarray[Any, Any]:
    """Lengths moved apart by series, so that overlapping intervals stay readable."""
    shift = min(0.07, 0.35 / count) * (position - (count - 1) / 2)
    return np.asarray(lengths, dtype=float) * 2**shift


def empty(axis: Axes, words: str, label: str) -> None:
    """A panel never stays blank: it says what is not known."""
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color="#555555")
    axis.set_yticks([])
    axis.set_ylabel(label)
