"""Scores by type of question and by margin, for tasks that ask about labels of lines.

Made only if records have `meta_kind`, `meta_margin` and `meta_close` (OOLONG's questions over
labelled lines, arXiv:2511.02817). The official score of a count falls by a quarter per line of
error, whatever the number of lines; the relative score stands beside it. A comparison depends on
the gap between two counts, so comparisons of equal, close and distant counts are separate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.report import per_sample, summary, wording
from rlm_eval.report.tables.table import Table
from rlm_eval.stats.intervals import FEW_CLUSTERS, mean_interval

_FIELDS = ("meta_kind", "meta_margin", "meta_close")
_PLACE = ["task_label", "length", "series"]
_OFFICIAL, _RELATIVE = "score", "relative"
FLIPPED = 2
"""Lines: the largest gap that one misread line closes. A line of one label that is read as the
other changes the gap by two."""
TYPES = {
    "count": "how many lines have a label",
    "equal": "comparison of two labels with equal counts",
    "close": f"comparison of two labels whose counts differ by at most {FLIPPED} lines (one "
    "misread line can change the answer), or that the task marks as close",
    "clear": "comparison of two labels whose counts differ by more",
    "label": "the most or the least common label",
    "other": "questions about dates and users",
}
"""Type of question -> its meaning, in the order of the columns."""


def build(frame: pd.DataFrame) -> list[Table]:
    """Return the table of a prepared frame (`summary.prepare`), or none without the fields."""
    if not set(_FIELDS) <= set(frame.columns):
        return []
    margin = pd.to_numeric(frame["meta_margin"], errors="coerce")
    told = margin.notna() & frame["meta_kind"].notna() & frame["meta_close"].notna()
    if not told.any():
        return []
    own = frame[told].assign(question=_types(frame[told], margin[told]))
    present = [name for name in TYPES if (own["question"] == name).any()]
    rows, data = [], []
    for head, part in _places(own):
        line, numbers = dict(head), dict(head)
        for name in present:
            cell = part[part["question"] == name]
            line |= {f"{name}: {k}": v for k, v in _texts(cell, name).items()}
            numbers |= {f"{name}: {k}": v for k, v in _numbers(cell, name).items()}
        rows.append(line)
        data.append(numbers)
    note = (
        "Official score in percent, with its 95 % interval where there are at least "
        f"{FEW_CLUSTERS} contexts; samples that share a context are one cluster. As `x to y`, cut "
        "off and missing samples counted wrong, and counted right. Relative: 1 minus the error of "
        "a count divided by the true count, at least 0. "
        f"{'; '.join(f'{name}: {TYPES[name]}' for name in present)}. "
        "The types share the samples of a cell: few of each, and no difference is tested here."
    )
    title = "Score by type of question and margin"
    return [Table("margins", title, note, pd.DataFrame(rows), pd.DataFrame(data))]


def _types(frame: pd.DataFrame, margin: pd.Series) -> np.ndarray[Any, Any]:
    """Return each row's type of question, a key of `TYPES`."""
    kind = frame["meta_kind"].astype(str)
    compared, marked = kind == "C3", frame["meta_close"].astype(bool)
    chosen: list[Any] = [
        kind == "C4",
        compared & (margin == 0),
        compared & (marked | (margin <= FLIPPED)),
        compared,
        kind.isin(("C1", "C2")),
    ]
    return np.select(chosen, list(TYPES)[: len(chosen)], default="other")


def _places(own: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield (head of the line, rows) per task, length and series, in the order of a report."""
    rank = {name: i for i, name in enumerate(summary.series_order(own))}
    groups: Any = own.groupby(_PLACE, sort=False)
    for (task, length, series), part in sorted(
        groups, key=lambda group: (group[0][0], group[0][1], rank[group[0][2]])
    ):
        head = {"task": task, "length": wording.tokens_label(length), "method": series}
        yield head, part


def _measured(cell: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (measure, a row per sample with its score) for the scores that the type has."""
    official = cell["score"].where(cell["scorer"] == "official")
    if "score_official" in cell:
        official = cell["score_official"].fillna(official)
    yield _OFFICIAL, per_sample.units(cell.assign(score=official))
    if name == "count" and "score_relative" in cell:
        yield _RELATIVE, per_sample.units(cell.assign(score=cell["score_relative"]))


def _numbers(cell: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return n, contexts and the scores with their ends, in percent; no value for no samples."""
    found: dict[str, Any] = {"n": None, "contexts": None}
    for measure, units in _measured(cell, name):
        if measure == _OFFICIAL and len(units):
            found |= {"n": len(units), "contexts": units["cluster"].nunique()}
        score, low, high = _estimate(units)
        found |= {f"{measure} %": score, f"{measure} low": low, f"{measure} high": high}
    return found


def _estimate(units: pd.DataFrame) -> tuple[float | None, float | None, float | None]:
    """Return (mean, low, high) in percent; no mean for bounds, no ends for few contexts."""
    if units.empty:
        return None, None, None
    if per_sample.is_bounds(units):
        low, high = per_sample.score_bounds(units)
        return None, _percent(low), _percent(high)
    found = mean_interval(units["score"], units["cluster"])
    if found.clusters < FEW_CLUSTERS:
        return _percent(found.estimate), None, None
    return _percent(found.estimate), _percent(found.low), _percent(found.high)


def _percent(share: float) -> float:
    return round(100 * share, 4)


def _texts(cell: pd.DataFrame, name: str) -> dict[str, str]:
    """Return the numbers of `_numbers` as text: `88.5 [70.1, 97.0]`, or `70.0 to 90.0`."""
    numbers = _numbers(cell, name)
    told = {"n": "" if numbers["n"] is None else str(numbers["n"])}
    for measure in (_OFFICIAL, _RELATIVE):
        if f"{measure} %" in numbers:
            ends = (f"{measure} %", f"{measure} low", f"{measure} high")
            told[f"{measure} %"] = _text(*(numbers[end] for end in ends))
    return told


def _text(score: float | None, low: float | None, high: float | None) -> str:
    if score is None:
        return "" if low is None else f"{low:.1f} to {high:.1f}"
    return f"{score:.1f}" if low is None else f"{score:.1f} [{low:.1f}, {high:.1f}]"
