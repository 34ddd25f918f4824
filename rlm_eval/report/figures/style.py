"""How every figure looks: sizes, colours, axes, stamps, and what is saved beside it.

Not a plot itself. Okabe & Ito's colours with a marker and a line style each, so that grey print
and colour-blind readers lose nothing; fonts embedded (type 42) as conferences ask.
"""

from __future__ import annotations

import contextlib
import functools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl

mpl.use("Agg")  # files only: a display must never be needed
import numpy as np
import pandas as pd
import pypdfium2
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from rlm_eval.report import wording

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), "-"]
NARROW, WIDE = 3.25, 6.75
"""Column and page width in inches."""

RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "axes.titley": 1.0,  # else every draw measures the ticks again to place the title
    # Characters beyond Latin-1 embed the font a second time (0.3 s a figure): none by default.
    "axes.unicode_minus": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 200,  # of pictures within a PDF
}
_DPI = 200
_CAPTION_POINTS = 6.5
_SIZE = re.compile(r"\bn = [\d,]+( to [\d,]+)?")  # of a sample; not to be parted by a line's end

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker and line of one series, the same in every figure of a report."""

    colour: str
    marker: str
    line: Any


@dataclass(frozen=True, slots=True)
class Saved:
    """A figure on disk."""

    name: str
    title: str
    paths: tuple[Path, ...]

    @property
    def image(self) -> Path:
        """The one that a page can show."""
        return next(path for path in self.paths if path.suffix == ".png")


def looks(series: Sequence[str]) -> dict[str, Look]:
    """A look per series label; beyond eight the colours repeat with another marker."""
    return {
        name: Look(
            COLOURS[i % len(COLOURS)], MARKERS[(i + i // 8) % len(MARKERS)], LINES[i % len(LINES)]
        )
        for i, name in enumerate(series)
    }


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Run a figure function under `RC` without touching the caller's settings."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(RC):
            return function(*args, **kwargs)

    return inner


def canvas(
    rows: int, columns: int, *, width: float = WIDE, row_height: float = 1.9, **shared: Any
) -> tuple[Figure, np.ndarray[Any, Any]]:
    """A figure and its axes as a 2-D array, laid out by `finish`."""
    return plt.subplots(rows, columns, figsize=(width, rows * row_height), squeeze=False, **shared)


def width_for(panels: int) -> float:
    """Width of a row of panels: one or two do not fill a page."""
    return {1: 4.3, 2: 5.6}.get(panels, WIDE)


def length_axis(
    axis: Axes,
    lengths: Iterable[float],
    label: str = "context length (tokens)",
    form: Callable[[float], str] | None = None,
) -> None:
    """log2 x axis with a tick at each length that was run, five labels at most."""
    ticks = sorted({float(x) for x in lengths})
    axis.set_xscale("log", base=2)
    kept = ticks[:: max(1, -(-len(ticks) // 5))]
    axis.xaxis.set_major_locator(FixedLocator(kept))
    axis.xaxis.set_minor_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_formatter(FuncFormatter(lambda _, __: ""))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: (form or wording.tokens_label)(x)))
    axis.set_xlim(ticks[0] / 2**0.5, ticks[-1] * 2**0.5)
    axis.set_xlabel(label)


def percent_axis(axis: Axes, label: str = "score (%)") -> None:
    """y axis of a score, fixed at 0 to 100 %."""
    axis.set_ylim(-4, 104)
    axis.set_yticks([0, 25, 50, 75, 100])
    axis.set_ylabel(label)


def log_axis(axis: Axes, label: str, *, which: str = "y") -> None:
    """Log axis with plain numbers at 1, 2 and 5, also where the data span less than a decade."""
    getattr(axis, f"set_{which}scale")("log")
    low, high = getattr(axis, f"get_{which}lim")()
    if high / low < 10:
        middle = (low * high) ** 0.5
        low, high = min(low, middle / 3.3), max(high, middle * 3.3)
        getattr(axis, f"set_{which}lim")(low, high)
    ticks = getattr(axis, f"{which}axis")
    ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 150 else (1,), numticks=12))
    ticks.set_minor_locator(NullLocator())
    ticks.set_major_formatter(FuncFormatter(lambda value, _: wording.short(value)))
    getattr(axis, f"set_{which}label")(label)


def window_mark(axis: Axes, windows: Iterable[float], overflowed: float | None) -> None:
    """Dotted line at the root model's window; hatched from where samples overflowed.

    `overflowed`: the shortest length at which some did, in tokens. It may lie under the window: the
    reply needs room too. A window that nobody reported has no line.
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
    title: str = "",
    legend: dict[str, Look] | None = None,
    handles: list[Any] | None = None,
) -> Figure:
    """Title, one legend above the panels, the stamp, and the sentence below; then the layout."""
    width, height = figure.get_size_inches()
    lines = _wrapped(caption, 72 * width * 0.98)
    below = (len(lines) * _CAPTION_POINTS * 1.35 + 8) / 72
    stamp = wording.stamps(frame)
    if handles is None:
        handles = line_handles(legend or {})
    columns = max(1, min(len(handles), int(width / (0.5 + 0.056 * _longest(handles)))))
    rows = -(-len(handles) // columns)
    above = (13 if title else 0) + (10 if stamp else 0) + rows * 11 + 4
    total = height + below + above / 72
    figure.set_size_inches(width, total)
    top = 1 - 2 / (72 * total)
    for text, points, colour, weight in (
        (title, 13, "black", "bold"), (stamp, 10, "#B00000", "normal"),
    ):  # fmt: skip
        if text:
            figure.text(
                0.5, top, text, ha="center", va="top", fontsize=points - 4, color=colour,
                fontweight=weight,
            )  # fmt: skip
            top -= points / (72 * total)
    if handles:
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, top), ncols=columns,
            frameon=False, borderaxespad=0, handlelength=2.6, columnspacing=1.2,
        )  # fmt: skip
    for down, line in enumerate(lines, start=1):
        y = (4 + (len(lines) - down) * _CAPTION_POINTS * 1.35) / (72 * total)
        figure.text(0.01, y, line, fontsize=_CAPTION_POINTS, va="bottom", color="#333333")
    _fit_titles(figure, width)
    for artist in figure.findobj(Text):
        # A ligature embeds the font a second time. (Before matplotlib 3.11 there were none, and of
        # a text of several lines it does not ask: hence the caption line by line.)
        if hasattr(artist, "set_fontfeatures"):
            artist.set_fontfeatures(["-liga"])
    _lay_out(figure, height, below)
    return figure


def _wrapped(caption: str, room: float) -> list[str]:
    """Lines of a caption that are no wider than `room` points in its own font."""
    font = FontProperties(size=_CAPTION_POINTS)
    letters = int(room / (_CAPTION_POINTS * 0.45))
    lines = textwrap.wrap(caption, letters)
    while any(
        text_to_path.get_text_width_height_descent(line, font, False)[0] > room for line in lines
    ):
        letters -= 1
        lines = textwrap.wrap(caption, letters)
    return lines


def _fit_titles(figure: Figure, width: float) -> None:
    """Where a panel's title is wider than the panel, all titles smaller, on lines as needed."""
    rooms = {axis: axis.get_position().width * width / 0.058 for axis in figure.axes}  # letters
    if any(len(axis.get_title()) > room for axis, room in rooms.items()):
        for axis, room in rooms.items():
            title = _SIZE.sub(lambda found: found[0].replace(" ", "\u00a0"), axis.get_title())
            axis.set_title(textwrap.fill(title, int(room * 1.1)), fontsize=6.5)


def _lay_out(figure: Figure, height: float, below: float) -> None:
    """Fit the panels between the text above and below, all in inches.

    They are measured once, on a figure of their own height, and moved: with a rectangle to fill
    the engine measures twice. And not `tight_layout()`: that leaves a mark which draws every file
    twice.
    """
    width, total = figure.get_size_inches()
    figure.set_size_inches(width, height)
    TightLayoutEngine(rect=None, pad=0.4, w_pad=1.0, h_pad=0.8).execute(figure)  # type: ignore[arg-type]
    placed = figure.subplotpars
    figure.set_size_inches(width, total)
    figure.subplots_adjust(
        bottom=(placed.bottom * height + below) / total, top=(placed.top * height + below) / total
    )


def line_handles(looks: Mapping[str, Look]) -> list[Any]:
    """Legend entries of lines with marks."""
    return [
        Line2D([], [], color=k.colour, marker=k.marker, linestyle=k.line, label=name)
        for name, k in looks.items()
    ]


def _longest(handles: Sequence[Any]) -> int:
    return max((len(str(handle.get_label())) for handle in handles), default=0)


@contextlib.contextmanager
def _plain_fonts() -> Iterator[None]:
    """Embed fonts without their tables for typesetting.

    A PDF never reads them, and to cut them down takes half the time of writing it. matplotlib has
    no setting for it; where fontTools changes, figures are slower and otherwise the same.
    """
    from fontTools.subset import Options

    before = list(getattr(Options, "_drop_tables_default", ()))
    Options._drop_tables_default = [*before, "GSUB", "GPOS", "GDEF"]
    try:
        yield
    finally:
        Options._drop_tables_default = before


def save(figure: Figure, folder: Path, name: str, title: str, data: pd.DataFrame) -> Saved:
    """PDF, PNG and the CSV behind the figure.

    The PNG is made from the PDF in 0.1 s: matplotlib would draw the figure a second time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{name}.{kind}" for kind in ("pdf", "png", "csv"))
    with mpl.rc_context(RC), _plain_fonts():
        # No dates in the files: the same records give the same bytes.
        figure.savefig(paths[0], metadata={"CreationDate": None})
    plt.close(figure)
    with pypdfium2.PdfDocument(paths[0]) as drawn:
        drawn[0].render(scale=_DPI / 72).to_pil().save(paths[1], dpi=(_DPI, _DPI), compress_level=3)
    paths[2].write_text(data_text(data), encoding="utf-8")
    return Saved(name, title, paths)


def data_text(data: pd.DataFrame) -> str:
    """The CSV behind a figure."""
    return str(wording.unknown_lengths(data).to_csv(index=False))
