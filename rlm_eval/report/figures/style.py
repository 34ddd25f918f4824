"""Style of every figure: widths, series styles, axes, legend.

`rlm_eval.mplstyle` has fonts, sizes and grid; `rlm_eval.report.looks` the colour and marker of each
method, readable in grey print and by colour-blind readers. The caption is not part of the picture:
`finish` stores it on the figure (`caption_of`), `files.save` writes it to a separate file.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, MarkerStyle
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from rlm_eval.report import looks as marks
from rlm_eval.report import wording
from rlm_eval.report.figures import small_multiples
from rlm_eval.report.series import in_order

COLUMN, PAGE = 3.3, 6.8
"""Width in inches of a column and of a page (two columns), which every figure has."""
BANDS = 3
"""Maximum number of series with intervals as bands; more get error bars."""
MANY = marks.MANY
"""Maximum number of series in one panel; more are split into small multiples (`multiples`)."""
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2))]
_FILLS = ("full", "left", "right", "top", "bottom")
_SHADES = ((0, 0.0), (1, 0.4), (0, 0.4), (1, 0.65), (0, 0.65))
"""(black, share) mixed into the colour of a method's n-th series; black = 0: white."""
_MARK_POINTS = 5.5

STYLE = Path(__file__).with_name("rlm_eval.mplstyle")
# DejaVu Sans with fewer characters, so that a PDF is written faster (`scripts/make_font.py`).
font_manager.fontManager.addfont(Path(__file__).with_name("rlm_eval_sans.ttf"))
RC = mpl.rc_params_from_file(STYLE, use_default_template=False)
RC["font.family"] = ["rlm_eval Sans", "DejaVu Sans"]
"""The settings of `rlm_eval.mplstyle`, and the font: other characters come from the whole one."""

P = ParamSpec("P")
T = TypeVar("T")

_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


@contextlib.contextmanager
def widths(*, narrow: bool) -> Iterator[None]:
    """Context manager: `narrow` figures have column width and fewer panels side by side."""
    before = _narrow.set(narrow)
    try:
        yield
    finally:
        _narrow.reset(before)


def narrow() -> bool:
    """Return whether figures have column width."""
    return _narrow.get()


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker, line style and marker fill of one series."""

    colour: str
    marker: str
    line: Any
    fill: str = "full"

    @property
    def mark(self) -> dict[str, Any]:
        """Return arguments of `plot` for marks without a line."""
        return {
            "color": self.colour, "marker": self.marker, "fillstyle": self.fill,
            "markerfacecoloralt": "white", "markeredgewidth": 0.8,
        }  # fmt: skip

    @property
    def drawn(self) -> dict[str, Any]:
        """Return arguments of `plot` for a line with marks."""
        return self.mark | {"linestyle": self.line}


@dataclass(frozen=True, slots=True)
class Saved:
    """A figure on disk."""

    name: str
    title: str
    paths: tuple[Path, ...]
    small: bytes
    """Its picture for the page, a PNG."""
    caption: str = ""
    """Caption, stored in `NAME.caption.txt` next to the pictures."""

    @property
    def image(self) -> Path:
        """Path of the picture that a page can show."""
        return next(path for path in self.paths if path.suffix == ".png")


def looks(frame: pd.DataFrame) -> dict[str, Look]:
    """Return series of a prepared frame, in order -> its look."""
    told = frame.drop_duplicates("series").set_index("series")[marks.COLUMN]
    return {name: _look(*told[name].split("|")) for name in in_order(frame)}


def variant(nth: int) -> Look:
    """Return the look, in dark grey, that distinguishes a method's n-th series from its first."""
    return _look("#606060", "o", str(nth))


def _look(colour: str, marker: str, number: str) -> Look:
    nth = int(number)
    black, share = _SHADES[nth % len(_SHADES)]
    end = (0.0, 0.0, 0.0) if black and colour != marks.BLACK else (1.0, 1.0, 1.0)
    red, green, blue = (
        (1 - share) * a + share * b for a, b in zip(to_rgb(colour), end, strict=True)
    )
    return Look(
        to_hex((red, green, blue)) if share else colour, marker, LINES[nth % len(LINES)],
        _FILLS[nth % len(_FILLS)],
    )  # fmt: skip


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a figure function to run under `RC`, without changing the caller's settings."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return inner


def grid(count: int, most: int = 3, most_narrow: int = 1) -> tuple[int, int]:
    """Return (rows, columns) for `count` panels, at most `most` (`most_narrow`) side by side."""
    columns = max(1, min(count, most_narrow if narrow() else most))
    return -(-count // columns), columns


def blank(width: float, height: float) -> Figure:
    """Create an empty figure, sizes in inches.

    Not `pyplot.figure`: pyplot keeps a figure until it is closed, and chooses a display.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def canvas(
    rows: int, columns: int, *, row_height: float = 1.5, **shared: Any
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """Create a figure and its axes as a 2-D array, laid out by `finish`."""
    figure = blank(width_for(columns), rows * row_height)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def width_for(columns: int) -> float:
    """Return the width in inches: a column for one panel, a page for more."""
    return COLUMN if narrow() or columns == 1 else PAGE


def panels(
    count: int, *, most: int = 3, most_narrow: int = 1, row_height: float = 1.5, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels in rows; remaining places stay empty."""
    rows, columns = grid(count, most, most_narrow)
    figure, axes = canvas(rows, columns, row_height=row_height, **shared)
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


def by_task(
    tasks: Sequence[str], measures: int
) -> tuple[int, int, list[tuple[str, int, int, int]]]:
    """Return (rows, columns, (task, measure, row, column) of each panel) of tasks by measures.

    Page width: a row per task. Column width: two tasks side by side, their measures below.
    """
    if not narrow():
        placed = [(t, m, row, m) for row, t in enumerate(tasks) for m in range(measures)]
        return len(tasks), measures, placed
    across = min(2, len(tasks))
    placed = [
        (t, m, (at // across) * measures + m, at % across)
        for at, t in enumerate(tasks)
        for m in range(measures)
    ]
    return -(-len(tasks) // across) * measures, across, placed


def outer_labels(
    axes: np.ndarray[Any, Any] | Sequence[Axes], columns: int, *, y: bool = True
) -> None:
    """Keep only the lowest x label of each column; with `y`, only the leftmost y label."""
    shown = [axis for axis in np.ravel(np.asarray(axes, dtype=object)) if axis.get_visible()]
    for number, axis in enumerate(shown):
        if number + columns < len(shown):
            axis.set_xlabel("")
        if y and number % columns:
            axis.set_ylabel("")


def length_axis(
    axis: Axes,
    lengths: Iterable[float],
    label: str = "context length (tokens)",
    form: Callable[[float], str] | None = None,
    most: int = 5,
) -> None:
    """Set a log2 x axis with a tick at each length that was run, at most `most` labelled."""
    ticks = sorted({float(x) for x in lengths})
    axis.set_xscale("log", base=2)
    apart = [t for i, t in enumerate(ticks) if i == 0 or t / ticks[i - 1] > 1.08]
    kept = apart[:: max(1, -(-len(apart) // most))]
    axis.xaxis.set_major_locator(FixedLocator(kept))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: (form or wording.tokens_label)(x)))
    axis.set_xlim(ticks[0] / 2**0.5, ticks[-1] * 2**0.5)
    axis.set_xlabel(label)
    if places := [t for t in ticks if t not in kept]:
        axis.add_artist(_small_ticks(axis, places))


def _small_ticks(axis: Axes, places: list[float]) -> Line2D:
    """One line with a mark at each place: a minor tick is five artists, drawn in every file."""
    return Line2D(
        places, [0.0] * len(places), linestyle="none", color="black", clip_on=False,
        marker=MarkerStyle(TICKDOWN), markersize=RC["xtick.minor.size"],
        markeredgewidth=RC["xtick.minor.width"], transform=axis.get_xaxis_transform(),
    )  # fmt: skip


def percent_axis(axis: Axes, label: str = "score (%)") -> None:
    """Set the y axis of a score, fixed at 0 to 100 %."""
    axis.set_ylim(-4, 104)
    axis.set_yticks([0, 25, 50, 75, 100])
    axis.set_ylabel(label)


def log_axis(axis: Axes, label: str, *, which: str = "y") -> None:
    """Set a log axis with plain numbers at 1, 2 and 5, also for less than a decade of data."""
    getattr(axis, f"set_{which}scale")("log")
    low, high = getattr(axis, f"get_{which}lim")()
    if high / low < 10:
        middle = (low * high) ** 0.5
        low, high = min(low, middle / 3.3), max(high, middle * 3.3)
        getattr(axis, f"set_{which}lim")(low, high)
    ticks = getattr(axis, f"{which}axis")
    span = high / low
    close = span < (150 if which == "y" else 15)  # x labels need more room side by side
    subs = (1, 2, 5) if close else (1, 3) if span < 150 else (1,)
    ticks.set_major_locator(LogLocator(subs=subs, numticks=12))
    ticks.set_minor_locator(NullLocator())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: wording.short(value)))
    getattr(axis, f"set_{which}label")(label)


def window_mark(axis: Axes, windows: Iterable[float], overflowed: float | None) -> None:
    """Draw a dotted line at the root model's window; hatch the range with overflows.

    `overflowed`: the shortest length with an overflow, in tokens. It may be below the window: the
    reply needs room too. An unknown window has no line.
    """
    low, high = axis.get_xlim()
    known = sorted({float(w) for w in windows if np.isfinite(w)})
    for window in known:
        if low < window < high:
            axis.axvline(window, color="#555555", linestyle=":", linewidth=1.0, zorder=1)
            axis.annotate(
                "window", (window, 1), xycoords=("data", "axes fraction"), fontsize=6,
                color="#555555", ha="right", va="top", rotation=90, xytext=(-1, -2),
                textcoords="offset points",
            )  # fmt: skip
    if overflowed is not None:
        below = [window for window in known if window <= overflowed]
        start = below[-1] if below else overflowed / 2**0.25
        axis.axvspan(
            max(start, low), high, facecolor="none", edgecolor="#BBBBBB", hatch="////",
            linewidth=0, zorder=0,
        )  # fmt: skip


def finish(
    figure: Figure,
    *,
    frame: pd.DataFrame,
    caption: str,
    legend: Mapping[str, Look] | None = None,
    handles: Sequence[Any] | None = None,
    size: str = "",
) -> Figure:
    """Add one legend above the panels and a small line below; compute the layout.

    The small line: `size`, if n is the same everywhere, and missing measurements. The caption is
    stored separately: see `caption_of`.
    """
    figure.set_label(" ".join(caption.split()))
    width, height = figure.get_size_inches()
    mark = "  ·  ".join(filter(None, (size, wording.marks(frame))))
    below = (_MARK_POINTS * 1.3 + 3) / 72 if mark else 2 / 72
    handles = line_handles(legend or {}) if handles is None else list(handles)
    columns = max(1, min(len(handles), int(width / (0.42 + 0.054 * _longest(handles)))))
    rows = -(-len(handles) // columns)
    total = height + below + (rows * 11 + 4) / 72
    figure.set_size_inches(width, total)
    if handles:
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1 - 2 / (72 * total)),
            ncols=columns, borderaxespad=0, handlelength=2.2, columnspacing=1.2,
        )  # fmt: skip
    if mark:
        right, low = 1 - 2 / (72 * width), 2 / (72 * total)
        grey: dict[str, Any] = {"color": "#777777", "fontsize": _MARK_POINTS}
        figure.text(right, low, mark, ha="right", va="bottom", **grey)
    small_multiples.fit_titles(figure, width)
    small_multiples.hide_inner_ticks(figure)
    _lay_out(figure, height, below)
    return figure


def caption_of(figure: Figure) -> str:
    """Return the caption stored by `finish`."""
    return str(figure.get_label())


def _lay_out(figure: Figure, height: float, below: float) -> None:
    """Fit the panels between the legend and the mark, all in inches.

    They are measured once, on a figure of the panels' height, and moved: given a rectangle, the
    engine measures twice. `tight_layout()` is avoided: it leaves a flag that draws every file
    twice.
    """
    width, total = figure.get_size_inches()
    figure.set_size_inches(width, height)
    measured = [(axes, axes.bbox.frozen()) for axes in figure.axes]
    TightLayoutEngine(rect=None, pad=0.4, w_pad=1.0, h_pad=0.6).execute(figure)  # type: ignore[arg-type]
    for axes, box in measured:
        _hold_labels(figure, axes, box)
    placed = figure.subplotpars
    figure.set_size_inches(width, total)
    figure.subplots_adjust(
        bottom=(placed.bottom * height + below) / total, top=(placed.top * height + below) / total
    )


def _hold_labels(figure: Figure, axes: Axes, box: Bbox) -> None:
    """Keep axis labels as far from the axes as they were measured, when the axes were at `box`.

    Else every file measures all tick labels once more to place them. Where the number of ticks
    depends on the size of the axes, it must.
    """
    x, y = axes.xaxis, axes.yaxis
    down = (x.label.get_position()[1] - box.y0) / figure.dpi
    left = (y.label.get_position()[0] - box.x0) / figure.dpi
    if np.isfinite(down) and isinstance(x.get_major_locator(), FixedLocator | LogLocator):
        moved = ScaledTranslation(0, down, figure.dpi_scale_trans)
        x.set_label_coords(0.5, 0, axes.transAxes + moved)
    if np.isfinite(left) and isinstance(y.get_major_locator(), FixedLocator | LogLocator):
        moved = ScaledTranslation(left, 0, figure.dpi_scale_trans)
        y.set_label_coords(0, 0.5, axes.transAxes + moved)


def line_handles(looks: Mapping[str, Look]) -> list[Any]:
    """Return legend entries of lines with marks."""
    return [Line2D([], [], label=name, **look.drawn) for name, look in looks.items()]


def _longest(handles: Sequence[Any]) -> int:
    return max((len(str(handle.get_label())) for handle in handles), default=0)
