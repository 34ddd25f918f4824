"""Figures as files: PDF, SVG and PNG, with data (CSV) and caption.

The same figure gives the same bytes: no dates, and the ids in an SVG use a fixed salt.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from PIL import Image

from rlm_eval.report import wording
from rlm_eval.report.figures import style
from rlm_eval.report.figures.style import Saved

LIST = "README.md"
"""File that lists every figure of a folder with its caption."""
_POINTS = 6.5
_COLOURS = 64
"""Colours of a figure's picture on the page: enough for lines and marks, at a third of the size."""
_PICTURES: dict[str, dict[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},
    "svg": {"metadata": {"Date": None}},
    # Level 3 is as small as the default for such pictures, in two thirds of the time.
    "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}},
}
"""Picture format -> arguments of `savefig`: dates and versions to leave out, compression."""


def save(
    figure: Figure,
    folder: Path,
    name: str,
    title: str,
    data: pd.DataFrame,
    *,
    captioned: bool = False,
) -> Saved:
    """Save PDF, SVG, PNG, the figure's data as CSV, and its caption.

    `captioned` also draws the caption in the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    caption = style.caption_of(figure)
    with mpl.rc_context(style.RC):
        if captioned:
            _burn_in(figure, caption)
        paths = [folder / f"{name}.{kind}" for kind in _PICTURES]
        for path, arguments in zip(paths, _PICTURES.values(), strict=True):
            figure.savefig(path, **arguments)
        small = _small(paths[-1])
    paths += [folder / f"{name}.csv", folder / f"{name}.caption.txt"]
    paths[-2].write_text(data_text(data), encoding="utf-8")
    paths[-1].write_text(f"{title}. {caption}\n", encoding="utf-8")
    return Saved(name, title, tuple(paths), small, caption)


def _small(path: Path) -> bytes:
    """Return a PNG with a reduced palette for the page; the file is unchanged."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        how = Image.Quantize.FASTOCTREE  # a quarter of the time of the default
        flat = image.convert("RGB").quantize(_COLOURS, method=how, dither=Image.Dither.NONE)
        flat.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def write_list(figures: Sequence[Saved], folder: Path) -> Path:
    """Write the `README.md` of a figure folder: each figure with its caption, in order."""
    lines = ["# Figures", ""]
    for figure in figures:
        lines += [f"## {figure.title}", "", f"![{figure.title}]({figure.image.name})", ""]
        lines += [figure.caption, ""]
    path = folder / LIST
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _burn_in(figure: Figure, caption: str) -> None:
    """Increase the figure's height and draw the caption below its contents."""
    width, height = figure.get_size_inches()
    lines = _wrapped(caption, 72 * width * 0.97)
    below = (len(lines) * _POINTS * 1.35 + 6) / 72
    total = height + below

    def moved(y: float) -> float:
        return float((y * height + below) / total)

    placed = figure.subplotpars
    figure.set_size_inches(width, total)
    figure.subplots_adjust(bottom=moved(placed.bottom), top=moved(placed.top))
    for text in figure.texts:
        text.set_y(moved(text.get_position()[1]))
    for legend in figure.legends:
        anchor = legend.get_bbox_to_anchor().transformed(figure.transFigure.inverted())
        legend.set_bbox_to_anchor((0.5, moved(anchor.y0)), figure.transFigure)
    for down, line in enumerate(lines, start=1):
        y = (4 + (len(lines) - down) * _POINTS * 1.35) / (72 * total)
        figure.text(0.01, y, line, fontsize=_POINTS, va="bottom", color="#333333")


def _wrapped(caption: str, room: float) -> list[str]:
    """Wrap a caption to lines of at most `room` points in its font."""
    font = FontProperties(size=_POINTS)
    letters = int(room / (_POINTS * 0.45))
    lines = textwrap.wrap(caption, letters)
    while any(
        text_to_path.get_text_width_height_descent(line, font, False)[0] > room for line in lines
    ):
        letters -= 1
        lines = textwrap.wrap(caption, letters)
    return lines


def data_text(data: pd.DataFrame) -> str:
    """The CSV behind a figure."""
    return str(wording.unknown_lengths(data).to_csv(index=False))
