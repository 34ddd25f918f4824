"""Tables for a paper: method by length, method by task with cost, root by sub-model.

A cell is `score ± half of its 95 % interval` (percent), or `low to high` if only bounds are known.
A star: the paired difference to the baseline is significant after Holm (`comparison.against`). The
CSV has the numbers in separate columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from rlm_eval.report import series, wording
from rlm_eval.report.tables import baselines
from rlm_eval.report.tables.standard import how_kind, money
from rlm_eval.report.tables.table import Table, marked

NOT_RUN = "not run"
_BASELINES = ("skimmer", "no_model", "bag_of_words")
_STAR = "*"


def build(frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame) -> list[Table]:
    """Return the pivots that the records allow."""
    found = [*by_length(table, comparisons)]
    if table["task_label"].nunique() > 1:
        found.append(by_task(table, comparisons))
    lines = series.originals(table)
    method = series.pair_method(series.originals(frame))
    if method is not None:
        found.append(model_pairs(lines[lines["method"] == method], method))
    return found


def by_length(table: pd.DataFrame, comparisons: pd.DataFrame) -> Iterator[Table]:
    """Yield method by length: a table per set of lengths, since lengths may differ by task."""
    of_task = {
        task: tuple(sorted(set(own["length"])))
        for task, own in table.groupby("task_label", sort=False)
    }
    sets = list(dict.fromkeys(lengths for lengths in of_task.values() if len(lengths) > 1))
    for number, lengths in enumerate(sets):
        tasks = [task for task, own in of_task.items() if own == lengths]
        part = table[table["task_label"].isin(tasks)]
        name = "score_by_length" if number == 0 else f"score_by_length_{_slug(str(tasks[0]))}"
        yield _by_length(part, list(lengths), comparisons, name)


def _by_length(
    part: pd.DataFrame, lengths: Sequence[float], comparisons: pd.DataFrame, name: str
) -> Table:
    cells = _Cells(part, comparisons)
    labels = _labels(lengths)
    rows, data, behind = [], [], []
    for task, own in part.groupby("task_label", sort=False):
        for method in dict.fromkeys(own["series"]):
            line = {"task": str(task), "method": method} | cells.size(own, method)
            numbers: dict[str, Any] = dict(line)
            for length, label in labels.items():
                line[label] = cells.text(task, length, method)
                numbers |= cells.numbers(task, length, method, label)
            rows.append(line)
            data.append(numbers)
            behind.append({n: cells.key(task, x, method) for x, n in labels.items()})
        for kind in _BASELINES:
            of_length = own.groupby("length")[f"base_{kind}"].mean()
            if of_length.notna().any():
                line = {"task": str(task), "method": f"{baselines.SHOWN[kind]} baseline"}
                line |= {"n": ""} if cells.sizes else {}
                values = {label: of_length.get(x) for x, label in labels.items()}
                rows.append(line | {k: _percent(v) for k, v in values.items()})
                data.append(line | values)
                behind.append({})
    title = "Score by method and context length"
    words = "Columns: context length in tokens."
    return _table(name, title, cells, rows, data, words, behind)


def _labels(lengths: Sequence[float]) -> dict[float, str]:
    """Return length -> column name: exact where two lengths are the same when rounded."""
    short = {x: wording.tokens_label(x) for x in lengths}
    taken = list(short.values())
    return {x: f"{x:,.0f}" if taken.count(label) > 1 else label for x, label in short.items()}


def by_task(table: pd.DataFrame, comparisons: pd.DataFrame) -> Table:
    """Return method by task with cost, at each task's longest length: Table 1's layout."""
    longest = table.groupby("task_label")["length"].transform("max")
    part = table[table["length"] == longest]
    cells = _Cells(part, comparisons)
    tasks = list(dict.fromkeys(part["task_label"]))
    length = {task: own["length"].iloc[0] for task, own in part.groupby("task_label")}
    priced = part["cost_mean"].notna().any()
    rows, data, behind = [], [], []
    for method in dict.fromkeys(part["series"]):
        line: dict[str, Any] = {"method": method} | cells.size(part, method)
        numbers = dict(line)
        keys: dict[str, tuple[str, str, str]] = {}
        for task in tasks:
            scored = f"{task}: score %" if priced else str(task)
            line[scored] = cells.text(task, length[task], method)
            keys |= dict.fromkeys((scored, f"{task}: USD"), cells.key(task, length[task], method))
            numbers |= cells.numbers(task, length[task], method, str(task))
            if priced:
                cost = cells.cost(task, length[task], method)
                line[f"{task}: USD"] = NOT_RUN if cost is None else money(cost)
                numbers[f"{task} USD"] = cost
        rows.append(line)
        data.append(numbers)
        behind.append(keys)
    where = ", ".join(f"{task} {wording.tokens_label(length[task])}" for task in tasks)
    note = f"Each task at its longest length in tokens: {where}."
    if absent := [
        name for name in dict.fromkeys(table["series"]) if name not in set(part["series"])
    ]:
        note += f" Not run at these lengths: {', '.join(absent)}."
    if priced:
        note += " USD: mean list price per sample, every input token at full rate."
    return _table("score_by_task", "Score by method and task", cells, rows, data, note, behind)


def model_pairs(part: pd.DataFrame, method: str) -> Table:
    """Return root by sub-model of one method, per task and length, with known costs."""
    cells = _Cells(part, pd.DataFrame())
    part = part.assign(settings=series.settings(part))
    several = part["settings"].nunique() > 1
    priced = part["cost_mean"].notna().any()
    subs = sorted(part["sub"].unique())
    rows, data, behind = [], [], []
    places: Any = part.groupby(["task_label", "length", "settings"], sort=True)
    for (task, length, settings), own in places:
        for root in sorted(own["root"].unique()):
            line = {"task": str(task), "length": wording.tokens_label(length)}
            line |= ({"settings": settings} if several else {}) | {"root model": root}
            numbers: dict[str, Any] = dict(line)
            keys: dict[str, tuple[str, str, str]] = {}
            for sub in subs:
                label = str(sub) or "none"
                pair = own[(own["root"] == root) & (own["sub"] == sub)]
                found = pair.iloc[0] if len(pair) else None
                name = f"{label}: score %" if priced else label
                line[name] = NOT_RUN if found is None else cells.told(found)
                numbers |= _numbers(found, label)
                if found is not None:
                    key = cells.key(task, length, found["series"])
                    keys |= dict.fromkeys((name, f"{label}: USD"), key)
                if priced:
                    cost = None if found is None else found["cost_mean"]
                    line[f"{label}: USD"] = NOT_RUN if cost is None else money(cost)
                    numbers[f"{label} USD"] = cost
            rows.append(line)
            data.append(numbers)
            behind.append(keys)
    note = f"{method}: root models in rows, sub-models in columns."
    return _table("model_pairs", "Score by root and sub-model", cells, rows, data, note, behind)


class _Cells:
    """The cells of a pivot by task, length and series, with their marks."""

    def __init__(self, part: pd.DataFrame, comparisons: pd.DataFrame) -> None:
        lines = part.to_dict("records")
        marks, self.footnotes = marked([how_kind(line) for line in lines])
        self._lines = {
            (line["task_label"], line["length"], line["series"]): line | {"mark": mark}
            for line, mark in zip(lines, marks, strict=True)
        }
        self._marks = dict(zip(map(how_kind, lines), marks, strict=True))
        self.n = wording.counted(part["n"])
        self.sizes = part["n"].nunique() > 1
        self._shown: set[tuple[Any, ...]] = set()
        self._test = ""
        self.star = ""
        """Footnote of the star; empty until a cell has one."""
        if not comparisons.empty:
            keys = zip(comparisons["task_label"], comparisons["length"], comparisons["a"],
                       strict=True)  # fmt: skip
            self._shown = {k for k, shown in zip(keys, comparisons["shown"], strict=True) if shown}
            tests = ", ".join(sorted({str(t).partition(",")[0] for t in comparisons["test"]}))
            baseline = comparisons["b"].iloc[0]
            self._test = (
                f"{_STAR} differs from {baseline} (paired, p < 0.05 after Holm over "
                f"{len(comparisons)} comparisons; {tests})."
            )

    @staticmethod
    def key(task: Any, length: float, method: Any) -> tuple[str, str, str]:
        """Return the cell's key in the other tables."""
        return str(task), wording.tokens_label(length), str(method)

    def size(self, part: pd.DataFrame, method: str) -> dict[str, str]:
        """Return a column n if it differs between cells."""
        if not self.sizes:
            return {}
        own = part.loc[part["series"] == method, "n"]
        return {"n": wording.counted(own).removeprefix("n = ")}

    def text(self, task: Any, length: float, method: str) -> str:
        """Format a cell as text."""
        found = self._lines.get((task, length, method))
        if found is None:
            return NOT_RUN
        if (task, length, method) not in self._shown:
            return self.told(found)
        self.star = self._test
        return self.told(found) + _STAR

    def told(self, line: Any) -> str:
        """Format a line of the cell table as text."""
        mark = self._marks[how_kind(line)]
        if line["as_bounds"]:
            return f"{100 * line['bound_low']:.1f} to {100 * line['bound_high']:.1f}{mark}"
        return f"{100 * line['accuracy']:.1f} ± {50 * (line['high'] - line['low']):.1f}{mark}"

    def numbers(self, task: Any, length: float, method: str, label: str) -> dict[str, Any]:
        """Return a cell as numbers, in percent."""
        return _numbers(self._lines.get((task, length, method)), label)

    def cost(self, task: Any, length: float, method: str) -> float | None:
        """Return the mean cost per sample; `None` if the cell was not run."""
        found = self._lines.get((task, length, method))
        return None if found is None else float(found["cost_mean"])


def _numbers(line: Any, label: str) -> dict[str, Any]:
    names = (label, f"{label} low", f"{label} high", f"{label} n")
    if line is None:
        return dict.fromkeys(names)
    ends = ("bound_low", "bound_high") if line["as_bounds"] else ("low", "high")
    score = None if line["as_bounds"] else round(100 * line["accuracy"], 4)
    values = (score, *(round(100 * line[end], 4) for end in ends), line["n"])
    return dict(zip(names, values, strict=True))


def _table(
    name: str,
    title: str,
    cells: _Cells,
    rows: Sequence[dict[str, Any]],
    data: Sequence[dict[str, Any]],
    words: str,
    behind: Sequence[dict[str, tuple[str, str, str]]],
) -> Table:
    note = (
        f"{words} Mean score in percent ± half of its 95 % interval, which is not symmetric near 0 "
        f"and 100 (ends: `accuracy`). {cells.n} per cell. {cells.footnotes} {cells.star}"
    )
    shown = pd.DataFrame(rows).fillna("")
    numbers = pd.DataFrame(data)
    names = list(map(str, numbers))
    counts = {n: "Int64" for n in names if n.endswith(" n") and n.removesuffix(" n") in names}
    numbers = numbers.astype(counts)
    if "task" in shown and shown["task"].nunique() == 1:
        title += f", {shown['task'].iloc[0]}"
        shown, numbers = shown.drop(columns="task"), numbers.drop(columns="task")
    return Table(name, title, " ".join(note.split()), shown, numbers, behind=tuple(behind))


def _percent(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{100 * value:.1f}"


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")
