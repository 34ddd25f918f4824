"""Small multiples: many series against length, a panel per method, the other series in grey.

For reports with more than `style.MANY` series, whose lines would overlap. A method with more series
than `style.BANDS` gets several panels.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from rlm_eval.report import wording
from rlm_eval.report.figures import panels, style
from rlm_eval.report.figures.captions import (
    baselines_note,
    bounds_note,
    latency_note,
    one_size,
    overflow_note,
    published_note,
    shared_caption,
)
from rlm_eval.report.figures.panels import Looks, Plot

Draw = Callable[[Axes, pd.DataFrame, Looks], None]


def groups(frame: pd.DataFrame) -> list[list[str]]:
    """Group the series by panel: those of one method, at most `style.BANDS`."""
    of_method: dict[str, list[str]] = {}
    methods = frame.drop_duplicates("series").set_index("series")["method"]
    for name in style.looks(frame):
        of_method.setdefault(str(methods[name]), []).append(name)
    return [
        own[at : at + style.BANDS]
        for own in of_method.values()
        for at in range(0, len(own), style.BANDS)
    ]


@style.styled
def of_measure(
    frame: pd.DataFrame, table: pd.DataFrame, name: str, published: pd.DataFrame | None = None
) -> Plot:
    """Draw a measure (`score`, `cost`, `latency`; `panels.measures`) of every series by length."""
    (measure,) = (m for m in panels.measures(table) if m.name == name)
    clock = panels.clock_of(table)
    lengths = table.groupby(["task_label", "series"])["length"].nunique()
    drawn = lengths.gt(1).any()  # a band needs two lengths
    bands = "; bands: 25 to 75 % (dark) and 5 to 95 % (light) of samples" if drawn else ""
    notes = {
        "score": "Mean score with 95 % interval. " + bounds_note(table) + overflow_note(table)
        + baselines_note(table) + published_note(published),
        "cost": f"Mean per sample with 95 % interval, the median as a dash{bands}. "
        f"{panels.money_of(table)[2]} ",
        "latency": f"Median with 95 % interval{bands}. {latency_note(table, clock)} ",
    }  # fmt: skip
    count = wording.counted(table[measure.count])
    caption = f"{notes[name]}{count} per point. " + shared_caption(frame, table)
    behind = table[measure.column] * (100 if name == "score" else 1)
    behind = behind.where(~table["as_bounds"].astype(bool)) if name == "score" else behind
    return _drawn(
        frame, table.assign(behind=behind), measure.draw, caption,
        published if name == "score" else None,
    )  # fmt: skip


@style.styled
def of_column(frame: pd.DataFrame, table: pd.DataFrame, column: str, label: str) -> Plot:
    """Draw a plain column of the cell table against length; a share of 1 is drawn as 100 %."""

    def draw(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
        for name, look in looks.items():
            line = part[part["series"] == name].sort_values("length")
            axis.plot(line["length"], (100 if "%" in label else 1) * line[column], **look.drawn)
        style.length_axis(axis, part["length"])
        if "%" in label:
            style.percent_axis(axis, label)
        else:
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)

    caption = f"Mean per sample: {label}. {wording.counted(table['n'])} per point. "
    behind = table[column] * (100 if "%" in label else 1)
    told = caption + shared_caption(frame, table)
    return _drawn(frame, table.assign(behind=behind), draw, told, None)


def _drawn(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    draw: Draw,
    caption: str,
    published: pd.DataFrame | None,
) -> Plot:
    looks, shown = style.looks(frame), groups(frame)
    tasks = list(dict.fromkeys(table["task_label"]))
    rows = -(-len(shown) // (2 if style.narrow() else 6))
    columns = -(-len(shown) // rows)
    figure, axes = style.canvas(rows * len(tasks), columns, row_height=1.1, sharey=True)
    shared = _shared_labels(shown)
    for number, task in enumerate(tasks):
        part = table[table["task_label"] == task]
        block = list(axes[number * rows : (number + 1) * rows].flat)
        for axis in block[len(shown) :]:
            axis.set_visible(False)
        for at, (axis, names) in enumerate(zip(block, shown, strict=False)):
            own = {name: looks[name] for name in names if name in set(part["series"])}
            _panel(axis, part, looks, own, draw)
            if published is not None:
                panels.draw_published(axis, task, published)
            style.length_axis(axis, part["length"], "length (tokens)", most=3)
            axis.set_title(_title(names), fontsize=6)
            if len(own) > 1 and not shared:
                axis.legend(
                    handles=style.line_handles(_short(own)), fontsize=4.5, loc="best",
                    handlelength=1.4, labelspacing=0.2, borderpad=0.2,
                )  # fmt: skip
            axis.set_ylabel(f"{task}\n{axis.get_ylabel()}" if at % columns == 0 else "")
            if at // columns < rows - 1 or number < len(tasks) - 1:
                axis.set_xlabel("")
            for text in (axis.xaxis.label, axis.yaxis.label, *axis.texts):
                text.set_fontsize(6.5)
                text.set_visible(text.get_text() != "window")  # keep its dotted line
            axis.tick_params(labelsize=6)
            if at % columns == 0:  # also for a panel with only a message
                axis.tick_params(axis="y", left=True, labelleft=True)
    told = f"A panel per method{'; rows of panels: tasks' if len(tasks) > 1 else ''}. Light grey: "
    told += f"the other series. {caption}"
    handles = [
        Line2D([], [], label=label, **style.variant(nth).drawn) for nth, label in enumerate(shared)
    ]
    handles += panels.baseline_handles(table) + panels.published_handles(published)
    size = one_size(table)
    return style.finish(figure, frame=frame, caption=told, handles=handles, size=size), table.drop(
        columns="behind"
    )


def _shared_labels(shown: list[list[str]]) -> list[str]:
    """Return the name of each method's n-th series if all methods agree: one legend suffices."""
    several = [names for names in shown if len(names) > 1]
    methods = [names[0].split(" ")[0] for names in shown]
    if not several or len(set(methods)) < len(methods):
        return []
    labels: dict[int, set[str]] = {}
    for names in several:
        for nth, name in enumerate(names):
            labels.setdefault(nth, set()).add(name.partition(" ")[2])
    found = [next(iter(own)) for own in labels.values() if len(own) == 1]
    return [label.strip("()") for label in found] if len(found) == len(labels) else []


def _panel(axis: Axes, part: pd.DataFrame, looks: Looks, own: Looks, draw: Draw) -> None:
    """Draw the task's other series (column `behind`) as light lines, then the panel's own."""
    for name in looks:
        if name not in own:
            line = part[part["series"] == name].sort_values("length")
            axis.plot(line["length"], line["behind"], color="#D0D0D0", linewidth=0.6, zorder=1)
    if own:
        draw(axis, part[part["series"].isin(own)], own)
    else:
        panels.empty(axis, "not run", "")


def _title(names: list[str]) -> str:
    method = names[0].split(" ")[0]
    return names[0] if len(names) == 1 and len(names[0]) < 30 else method


def _short(own: Looks) -> dict[str, style.Look]:
    """Return labels without the method, which is in the panel's title."""
    return {name.partition(" ")[2] or name: look for name, look in own.items()}
