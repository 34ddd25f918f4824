"""The pieces of a report's page as HTML: conclusion, pivot, tables with links, figures, lists.

All text from data is escaped here. A number's link has the index of its table line (`cells`):
`#c=12`, with `&outcome=` etc. if a column counts only some of the line's samples; the script turns
it into a list of samples.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pandas as pd

from rlm_eval.core.types import Outcome
from rlm_eval.records.coverage import FAILURES
from rlm_eval.report import wording
from rlm_eval.report.conclusion import Conclusion, Line
from rlm_eval.report.tables.ablations import RIGHT
from rlm_eval.report.tables.leaderboard import FAILED_CALLS
from rlm_eval.report.tables.standard import Table
from rlm_eval.report.viewer.rows import cells

if TYPE_CHECKING:
    from rlm_eval.report.figures import style

_NUMBER = re.compile(r"\d")
_NAME = re.compile(r"`([^`<>]+)`")
"""A name in backticks, in a note."""
_KEYS = ("task", "length", "method", "A", "B", "n", "how", "prompt", "isolation", "verdict")
"""Columns of names or words, without links; `n` still links to the line."""
_COUNTED = {
    "outcomes": {outcome.value: f"outcome={outcome.value}" for outcome in Outcome},
    "failures": {kind: f"failure={kind}" for kind in FAILURES} | {"not right": "score=<1"},
    "right_and_wrong": {"right": f"score=>={RIGHT}", "wrong": f"score=<{RIGHT}"},
}
"""Table -> column -> the filter that selects what it counts. Tables share names of columns: `wrong`
is a kind of failure in one and a low score in another."""
_BETTER = {"A better": 0, "B better": 1}
_SCORED = [
    "task_label", "series", "length", "as_bounds", "bound_low", "bound_high", "accuracy", "low",
    "high",
]  # fmt: skip
"""Columns of the cell table behind a field of the pivot; the others take time to unpack."""


class Links:
    """Addresses of lists of samples, for the lines of a report's tables."""

    def __init__(self, table: pd.DataFrame) -> None:
        """`table` is the cell table (`summary.summarise`)."""
        self.cells = cells(table)
        self._numbers = {tuple(cell): n for n, cell in enumerate(self.cells)}
        self._tasks = {task for task, _, _ in self.cells}
        self._methods = {method for _, _, method in self.cells}
        self._lengths = {length for _, length, _ in self.cells}

    def behind(self, cells: Mapping[str, tuple[str, str, str]]) -> Callable[[str], str | None]:
        """Return a function column -> address of the samples of its cell in a pivot."""

        def address(column: str) -> str | None:
            number = self._numbers.get(cells[column]) if column in cells else None
            return None if number is None else f"c={number}"

        return address

    def of(self, line: Mapping[str, Any], table: str = "") -> Callable[[str], str | None]:
        """Return a function column -> address of its number's samples, or `None` if unknown.

        `table` is the name of the line's table.
        """
        task, length, method = (str(line.get(key, "")) for key in ("task", "length", "method"))
        number = self._numbers.get((task, length, method.removesuffix(FAILED_CALLS)))
        if number is not None:
            counted = _COUNTED.get(table, {})
            return lambda column: f"c={number}{_also(counted.get(column))}"
        kinds = {"task": self._tasks, "length": self._lengths, "method": self._methods}
        known = [(kind, str(line[kind])) for kind, of in kinds.items() if line.get(kind) in of]
        sides = [str(line.get(side, "")) for side in ("A", "B")]
        if known and set(sides) <= self._methods:
            known += [("method", side) for side in sides]
            return lambda column: self._pair(column, known, sides)

        def address(column: str) -> str | None:
            """Resolve a column; in pivots it may be a length, task or method."""
            own = [(kind, column) for kind, of in kinds.items() if column in of]
            return urlencode([*known, *own]) if known or own else None

        return address

    @staticmethod
    def _pair(column: str, known: list[tuple[str, str]], sides: Sequence[str]) -> str:
        better = [("better", sides[_BETTER[column]])] if column in _BETTER else []
        return urlencode([*known, *better])


def _also(filter_: str | None) -> str:
    name, _, value = (filter_ or "").partition("=")
    return f"&{name}={quote(value, safe=':')}" if name else ""


def section(name: str, title: str, inner: str) -> str:
    """Return a section that the table of contents links to."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{inner}</section>'


def contents(sections: Sequence[tuple[str, str]]) -> str:
    """Return the table of contents from (id, title); it stays in view."""
    items = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in sections)
    return f'<nav id="contents" aria-label="Contents"><ol>{items}</ol></nav>'


def conclusion(found: Conclusion) -> str:
    """Return the supported claims, then the unsupported ones."""
    return "".join(
        f'<h3 class="{kind}">{title}</h3><ul class="{kind}">{"".join(map(_line, lines))}</ul>'
        for kind, title, lines in (
            ("may", "May be concluded", found.may),
            ("not", "May not be concluded", found.may_not),
        )
        if lines
    )


def _line(line: Line) -> str:
    return f'<li>{escape(line.text)} <a class="why" href="#{line.section}">why</a></li>'


def facts(told: Mapping[str, str]) -> str:
    """Return the facts of the run as a list of titles and texts."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in told.items())
    return f"<dl>{rows}</dl>"


def bullets(lines: Sequence[str]) -> str:
    """Return a list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def pivot(table: pd.DataFrame, links: Links) -> str:
    """Return method x length for each task: the score with its interval, shaded by its value.

    `table` is the cell table. Bounds are printed as bounds; every score links to its samples.
    """
    parts = []
    for task, own in table.groupby("task_label", sort=False):
        lengths = sorted(set(own["length"]))
        head = "".join(f"<th>{escape(wording.tokens_label(x))}</th>" for x in lengths)
        body = []
        for series, line in own.groupby("series", sort=False):
            found = {row["length"]: row for row in line[_SCORED].to_dict("records")}
            inner = "".join(_score(found.get(length), links) for length in lengths)
            body.append(f'<tr><th scope="row">{escape(str(series))}</th>{inner}</tr>')
        parts.append(
            f'<div class="scroll"><table class="pivot"><caption>{escape(str(task))}, '
            f"{wording.counted(own['n'])}</caption><thead><tr><th>method</th>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )
    note = (
        "Mean score in percent with its 95 % interval; two numbers alone are bounds. Darker is "
        "higher. A score opens its samples, wrong ones first."
    )
    return f'<div class="pivots">{"".join(parts)}</div><p class="note">{note}</p>'


def _score(row: Mapping[Any, Any] | None, links: Links) -> str:
    if row is None:
        return "<td></td>"
    line = {"task": row["task_label"], "method": row["series"]}
    line["length"] = wording.tokens_label(float(row["length"]))
    if row["as_bounds"]:
        shown, interval = f"{100 * row['bound_low']:.0f} to {100 * row['bound_high']:.0f}", "bounds"
        shade = (row["bound_low"] + row["bound_high"]) / 2
    elif pd.isna(row["accuracy"]):
        shown, interval, shade = "none", "", 0.0
    else:
        shown, shade = f"{100 * row['accuracy']:.1f}", row["accuracy"]
        interval = f"{100 * row['low']:.0f} to {100 * row['high']:.0f}"
    address = escape(links.of(line)("score") or "")
    return (
        f'<td style="--shade:{round(100 * shade)}%"><a href="#{address}">{shown}'
        f"<small>{interval}</small></a></td>"
    )


def table(shown: Table, links: Links | None = None) -> str:
    """Return a sortable table with its note; its numbers link to their samples."""
    names = list(map(str, shown.rows.columns))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = []
    for at, values in enumerate(shown.rows.to_numpy().tolist()):
        address: Callable[[str], str | None] = _no_address
        if links is not None and shown.behind:
            address = links.behind(shown.behind[at])
        elif links is not None:
            address = links.of(dict(zip(names, values, strict=True)), shown.name)
        counted = {*_COUNTED.get(shown.name, ()), *_BETTER}
        inner = "".join(
            _cell(n, str(v), address, counted) for n, v in zip(names, values, strict=True)
        )
        body.append(f"<tr>{inner}</tr>")
    note = _NAME.sub(r"<code>\1</code>", escape(shown.note))
    return (
        f'<div class="table" id="table-{escape(shown.name)}"><h3>{escape(shown.title)}</h3>'
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{note}</p></div>'
    )


def _no_address(_: str) -> str | None:
    return None


def _cell(
    name: str, value: str, address: Callable[[str], str | None], counted: Collection[str]
) -> str:
    """Return a table cell; a number links to its samples, except a count of 0."""
    is_word = (name in _KEYS and name != "n") or not _NUMBER.search(value)
    is_none = value == "0" and name in counted
    found = None if is_word or is_none else address(name)
    inner = f'<a href="#{escape(found)}">{escape(value)}</a>' if found else escape(value)
    return f"<td>{inner}</td>"


def figure(saved: style.Saved) -> str:
    """Return a figure with an inline picture, its caption (if there is one) and its files."""
    files = ", ".join(
        f'<a href="figures/{escape(path.name)}">{escape(path.name)}</a>' for path in saved.paths
    )
    source = base64.b64encode(saved.small).decode()
    told = f"<p>{escape(text)}</p>" if (text := _caption(saved)) else ""
    return (
        f'<figure id="figure-{escape(saved.name)}"><h3>{escape(saved.title)}</h3>'
        f'<div class="scroll"><img alt="{escape(saved.title)}" '
        f'src="data:image/png;base64,{source}"></div><figcaption class="note">{told}'
        f"Files: {files}</figcaption></figure>"
    )


def _caption(saved: style.Saved) -> str:
    """Return the text of a figure's caption file; empty without the file."""
    found = [path for path in saved.paths if path.suffix == ".txt"]
    text = found[0].read_text(encoding="utf-8").strip() if found else ""
    return text.removeprefix(f"{saved.title}. ")
