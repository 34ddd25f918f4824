"""Panels side by side: titles that fit, and tick labels once per row or column."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

_SIZE = re.compile(r"\bn = [\d,]+( to [\d,]+)?")  # sample size; must not be split by a line break


def fit_titles(figure: Figure, width: float) -> None:
    """If a title is wider than its panel, shrink all titles and wrap them as needed.

    `width` of the figure in inches.
    """
    rooms = {axis: axis.get_position().width * width / 0.058 for axis in figure.axes}  # letters
    if any(len(axis.get_title()) > room for axis, room in rooms.items()):
        for axis, room in rooms.items():
            title = _SIZE.sub(lambda found: found[0].replace(" ", "\u00a0"), axis.get_title())
            axis.set_title(textwrap.fill(title, max(8, int(room * 1.1))), fontsize=6.5)


def hide_inner_ticks(figure: Figure) -> None:
    """Hide tick labels that the next panel outwards repeats: below in a column, left in a row.

    It repeats them if range, ticks and labels are the same, and for y if both have one axis label.
    Call it when the panels are drawn and before the layout.
    """
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_subplotspec()]
    x = {axes: _scale(axes.xaxis) for axes in panels}
    y = {axes: (_scale(axes.yaxis), axes.get_ylabel()) for axes in panels}
    columns = _lines(panels, lambda spec: spec.colspan, lambda spec: spec.rowspan.start)
    rows = _lines(panels, lambda spec: spec.rowspan, lambda spec: -spec.colspan.start)
    for axes, below in (pair for line in columns for pair in pairwise(line)):
        if x[axes] == x[below]:
            axes.tick_params(axis="x", labelbottom=False)
    for axes, left in (pair for line in rows for pair in pairwise(line)):
        if y[axes] in (y[left], (y[left][0], "")):
            axes.tick_params(axis="y", labelleft=False)


def _lines(
    panels: Iterable[Axes], same: Callable[[Any], range], place: Callable[[Any], int]
) -> Iterable[list[Axes]]:
    """Return the panels of each column (or row), the outermost last."""
    found: dict[Any, list[Axes]] = {}
    for axes in sorted(panels, key=lambda axes: place(axes.get_subplotspec())):
        spec = axes.get_subplotspec()
        assert spec is not None  # the caller's choice
        found.setdefault((id(spec.get_gridspec()), same(spec)), []).append(axes)
    return found.values()


def _scale(axis: Axis) -> tuple[Any, ...]:
    """Return what a reader sees of an axis."""
    shown = axis.get_tick_params()
    ticks = list(axis.get_major_locator()())
    labels = axis.get_major_formatter().format_ticks(ticks)
    told = shown.get("labelleft", shown.get("labelbottom"))
    return axis.get_scale(), *axis.get_view_interval(), *map(float, ticks), *labels, told
