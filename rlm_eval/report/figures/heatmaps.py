"""Heat maps: root and sub-model pairs, recursion depth by length, needle position by length.

As in `panels`: each takes the prepared records and the cell table, returns (figure, its data).
Every field prints its number; colour is redundant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rlm_eval.report import per_sample, series, summary, wording
from rlm_eval.report.figures import panels, style
from rlm_eval.report.figures.captions import counts_by_panel, one_size, shared_caption
from rlm_eval.report.figures.panels import Plot
from rlm_eval.report.tables import comparison
from rlm_eval.report.tables.table import row_dicts
from rlm_eval.stats import bounds


@style.styled
def model_grid(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw root by sub-model: score, cost, critical path; differences along rows and columns."""
    method = series.pair_method(frame)
    own, lines = frame[frame["method"] == method], table[table["method"] == method]
    kinds = series.settings(lines)
    own, lines = own.assign(kind=series.settings(own)), lines.assign(kind=kinds)
    money, label, note = panels.money_of(lines)
    drawn_at = set(panels.three_lengths(lines))
    by_place: Any = lines.groupby(["task_label", "length", "kind"])
    # Settings are never pooled: a mean over two prompts is neither's score.
    places = [place for place, here in by_place if place[:2] in drawn_at and len(here) > 1]
    places = places or [place for place, _ in by_place if place[:2] in drawn_at]
    height = 0.7 + 0.34 * own["root"].nunique()
    columns = 1 if style.narrow() else 3
    figure, drawn = style.canvas(3 * len(places) // columns, columns, row_height=height)
    axes = drawn.reshape(len(places), 3)
    found = [_Grid.of(own[_at(own, place)]) for place in places]
    differences = comparison.with_holm(pd.DataFrame([one for g in found for one in g.differences]))
    rows = []
    for row, (at, grid) in enumerate(zip(places, found, strict=True)):
        task, length, kind = at
        here = lines[_at(lines, at)]
        notes = _notes(differences, at)
        named = {"settings": kind} if lines["kind"].nunique() > 1 else {}
        drawn_of = here[[*_SCORED, "n", f"{money}_mean", "path_median"]]
        rows += [
            {"task": task, "length": length}
            | named
            | line
            | notes.get((line["root"], line["sub"]), {})
            for line in row_dicts(drawn_of)
        ]
        pairs = {(line["root"], line["sub"]): line for line in row_dicts(here[_SCORED])}
        score = grid.values(here.assign(shade=_shades(here)), "shade")
        texts = [
            [_pair_text(pairs.get((r, s)), notes.get((r, s))) for s in grid.subs]
            for r in grid.roots
        ]
        place = ", ".join(filter(None, (task, wording.tokens_label(length), *named.values())))
        count = f", {wording.counted(here['n'])}" if counts_by_panel(lines, "n") else ""
        title = f"{place}: score (%){count}"
        heat(axes[row, 0], 100 * score, texts, title, limits=(0, 100))
        shown = {f"{money}_mean": f"mean {label}", "path_median": "median critical path (s)"}
        for axis, (column, name) in zip(axes[row, 1:], shown.items(), strict=True):
            heat(axis, grid.values(here, column), None, name, colours="cividis_r")
            if columns > 1:
                axis.set_yticks(range(len(grid.roots)), [""] * len(grid.roots))
        for axis in axes[row]:
            axis.set_xlabel("sub-model")
        axes[row, 0].set_ylabel("root model")
    caption = (
        f"{method} at the shortest, middle and longest length of each task. Under a score: its "
        "paired difference in pp to the first sub-model of the row (r) and the first root of the "
        "column (c); * p < 0.05 after Holm over all differences shown, never where more than 5 % "
        f"of a side were cut off or missing samples could turn it. {_bounds_note(lines)}{note} "
        + shared_caption(own, lines)
    )
    if columns > 1:
        style.outer_labels(axes, columns, y=False)
    size = one_size(lines, what="per field")
    return style.finish(figure, frame=own, caption=caption, size=size), pd.DataFrame(rows)


@dataclass(frozen=True)
class _Grid:
    """Model pairs of one task and length."""

    roots: list[str]
    """Root models, top to bottom."""
    subs: list[str]
    """Sub-models, left to right."""
    differences: list[dict[str, Any]]
    """Paired difference of each pair to the first pair of its row and of its column."""

    @classmethod
    def of(cls, part: pd.DataFrame) -> _Grid:
        """Build from the records of one task and length."""
        roots, subs = sorted(part["root"].unique()), sorted(part["sub"].unique())
        cell = {key: own for key, own in part.groupby(["root", "sub"])}  # noqa: C416 - typed keys
        found: list[dict[str, Any]] = []
        for r in roots:
            for s in subs:
                for along, base in (("row", (r, subs[0])), ("column", (roots[0], s))):
                    if (r, s) in cell and base in cell and base != (r, s):
                        one = comparison.whole(cell[r, s], cell[base])
                        if one is not None:
                            place = {k: part[k].iloc[0] for k in _PLACE}
                            found.append(place | one | {"root": r, "sub": s, "along": along})
        return cls(roots, subs, found)

    def values(self, lines: pd.DataFrame, column: str) -> pd.DataFrame:
        """Return a column of the cell table as a grid; `lines` have a line per pair."""
        found = lines.pivot_table(index="root", columns="sub", values=column, aggfunc="mean")
        return found.reindex(index=self.roots, columns=self.subs)


_PLACE = ["task_label", "length", "kind"]
"""Columns that identify a row of a model grid's panels: `kind` is the method's settings."""
_LABELS = 0.45
"""Inches beside a map for the labels of its rows, as a mean over the maps of a row."""
_LETTER = 0.05
"""Inches of a letter in a field."""
_SCORED = ["root", "sub", "accuracy", "as_bounds", "bound_low", "bound_high"]


def _at(data: pd.DataFrame, place: Sequence[Any]) -> pd.Series:
    """Return true for the rows of one place (`_PLACE`)."""
    return (data[_PLACE] == list(place)).all(axis="columns")


def _shades(lines: pd.DataFrame) -> pd.Series:
    """Return the value behind each cell's shade: its score, or the middle of its bounds."""
    middle = (lines["bound_low"] + lines["bound_high"]) / 2
    return lines["accuracy"].where(~lines["as_bounds"].astype(bool), middle)


def _bounds_note(table: pd.DataFrame) -> str:
    """Explain fields with two numbers, if there are any."""
    if not table["as_bounds"].any():
        return ""
    return (
        "Two numbers (a–b): more than 5 % of the samples were cut off, or some are missing; the "
        "score lies between them (those wrong, those right). "
    )


def _notes(
    differences: pd.DataFrame, place: Sequence[Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return each pair's differences along row and column at one place (`_PLACE`)."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in differences.to_dict("records"):
        if tuple(line[name] for name in _PLACE) != tuple(place):
            continue
        entry = found.setdefault((line["root"], line["sub"]), {k: line[k] for k in ("root", "sub")})
        names = ("difference", "low", "high", "p_holm", "shown", "n")
        entry |= {f"{line['along']}_{name}": line[name] for name in names}
    return found


def _pair_text(line: dict[str, Any] | None, notes: dict[str, Any] | None) -> str:
    """Return a pair's score, or its bounds, and below it the differences."""
    if line is None:
        return "not run"
    words = []
    for kind, arrow in (("row", "r"), ("column", "c")):
        if notes and f"{kind}_difference" in notes:
            star = "*" if notes[f"{kind}_shown"] else ""
            words.append(f"{arrow}{100 * notes[f'{kind}_difference']:+.0f}{star}")
    return _score(line) + (f"\n{' '.join(words)}" if words else "")


def _score(line: Any) -> str:
    if line["as_bounds"]:
        return f"{100 * line['bound_low']:.0f}–{100 * line['bound_high']:.0f}"
    return f"{100 * line['accuracy']:.0f}"


@style.styled
def depth_by_length(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw score by configured recursion depth and length."""
    own = frame[frame["depth_limit"].notna()]
    # A method's name contains its depth, so maps are identified by models and prompt.
    by = [name for name in ("root", "sub", "prompt") if own[name].nunique() > 1]
    return _by_length(
        own.assign(row=own["depth_limit"].astype(int)), table, "recursion depth",
        ["task_label", *by], "Score (%) by the configured recursion depth and length.",
    )  # fmt: skip


@style.styled
def position_by_length(frame: pd.DataFrame, table: pd.DataFrame) -> Plot:
    """Draw score by needle position (the sample's `depth`, percent) and length.

    Only the baseline and the last two series (RLM), to keep the maps readable.
    """
    order = summary.series_order(frame)
    own = frame[frame["meta_depth"].notna() & frame["series"].isin([order[0], *order[-2:]])]
    others = [name for name in order if name not in {order[0], *order[-2:]}]
    words = "Score (%) by where the needle lies and length."
    if others:
        words += f" Not drawn, to keep the maps readable: {', '.join(others)}."
    place = (own["meta_depth"].astype(float).clip(0, 99.9) / 20).astype(int)
    labels = np.array(["0 to 20", "20 to 40", "40 to 60", "60 to 80", "80 to 100"])
    return _by_length(
        own.assign(row=labels[place]), table, "needle at (% of context)",
        ["task_label", "series"], words,
    )  # fmt: skip


def _by_length(
    own: pd.DataFrame, table: pd.DataFrame, label: str, by: list[str], words: str
) -> Plot:
    fields = _fields(own, [*by, "row"])
    keyed: Any = fields.groupby(by, sort=False)
    groups = list(keyed)[:9]
    _, columns = style.grid(len(groups))
    height = 0.6 + 0.22 * own["row"].nunique()
    figure, axes = style.panels(len(groups), row_height=height)
    across = style.width_for(columns) / columns - _LABELS
    letters = across / fields["length"].nunique() / _LETTER
    counts = all(len(_field(line)) <= letters for line in row_dicts(fields))
    shown = pd.concat([part["n"] for _, part in groups])
    size = "" if counts else f"{wording.counted(shown)} per field"
    for axis, (key, part) in zip(axes, groups, strict=True):
        score = part.assign(shade=_shades(part)).set_index(["row", "length"])["shade"].unstack()
        lines = {(line["row"], line["length"]): line for line in row_dicts(part)}
        drawn = [[lines.get((row, length)) for length in score] for row in score.index]
        texts = [[_field(line, counts=counts) for line in row] for row in drawn]
        score.columns = pd.Index([wording.tokens_label(float(c)) for c in score.columns])
        heat(axis, 100 * score, texts, ", ".join(map(str, key)), limits=(0, 100))
        axis.set_xlabel("context length (tokens)")
        axis.set_ylabel(label)
    style.outer_labels(axes, columns)
    rows = set(own["row"].unique())
    if all(set(part["row"].unique()) == rows for _, part in groups):
        for number, axis in enumerate(axes):
            if number % columns:
                axis.set_yticklabels([])
    data = own.groupby([*by, "row", "length"])["score"].agg(["mean", "count"]).reset_index()
    caption = (
        f"{words} Nine maps at most. {size or 'In brackets: n of the field'}; x: context_overflow "
        f"in more than half of them. Fields of few samples are noise. {_bounds_note(fields)}"
        + shared_caption(own, table[table["series"].isin(own["series"].unique())])
    )
    return style.finish(figure, frame=own, caption=caption, size=size), data


def _fields(own: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return a line per field of the maps: its score or bounds, n, share of overflows."""
    keys = [*by, "length"]
    samples = per_sample.units(own, by)
    # As `per_sample.score_bounds`, of all fields at once: unsure counted wrong, and counted right.
    marked = samples.assign(
        low=samples["least"].where(~samples["cut"], 0.0),
        high=samples["most"].where(~samples["cut"], 1.0),
    )
    fields = marked.groupby(keys, sort=False).agg(
        n=("sample_id", "nunique"),
        accuracy=("score", "mean"),
        cut=("cut", "mean"),
        missing=("missing", "any"),
        bound_low=("low", "mean"),
        bound_high=("high", "mean"),
    )
    fields["as_bounds"] = (fields["cut"] > bounds.CUT_SHARE) | fields["missing"]
    over = own.assign(over=own["outcome"] == "context_overflow").groupby(keys)["over"].mean()
    return fields.drop(columns=["cut", "missing"]).join(over).reset_index()


def _field(line: Any, *, counts: bool = True) -> str:
    if line is None:
        return ""
    count = f" ({line['n']})" if counts else ""
    return f"{_score(line)}{' x' if line['over'] > 0.5 else ''}{count}"


def heat(
    axis: Axes,
    values: pd.DataFrame,
    texts: Sequence[Sequence[str]] | None,
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    colours: str = "cividis",
) -> None:
    """Draw a labelled heat map with the value printed in every field."""
    numbers = values.to_numpy(dtype=float)
    low, high = limits or (np.nanmin(numbers), np.nanmax(numbers))
    image = axis.imshow(numbers, aspect="auto", cmap=colours, vmin=low, vmax=high)
    labels = [str(c) for c in values.columns]
    if len(labels) > 5 and max(map(len, labels)) > 2:
        labels = [name if i % 2 == 0 else "" for i, name in enumerate(labels)]
    axis.set_xticks(range(len(labels)), labels)
    axis.set_yticks(range(numbers.shape[0]), [str(r) for r in values.index])
    axis.grid(visible=False)
    axis.set_title(title)
    shades = np.asarray(image.to_rgba(np.nan_to_num(numbers, nan=low)))[..., :3]
    dark = shades @ np.array([0.3, 0.59, 0.11]) < 0.5
    for (i, j), number in np.ndenumerate(numbers):
        plain = wording.short(float(f"{number:.3g}")) if np.isfinite(number) else ""
        axis.text(
            j, i, texts[i][j] if texts else plain, ha="center", va="center", fontsize=6,
            color="white" if dark[i, j] else "black",
        )  # fmt: skip
