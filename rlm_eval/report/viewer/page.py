"""`report.html`: one file that opens from the file system and needs no network.

Structure only; the pieces are in `parts`, style and scripts in `assets`. Order: conclusion, main
figure and scores, supporting evidence, trajectories. All text from data is escaped by `parts`, or
inserted as text by the scripts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rlm_eval.report import wording
from rlm_eval.report.conclusion import Conclusion
from rlm_eval.report.tables.standard import Table
from rlm_eval.report.viewer import parts, rows

if TYPE_CHECKING:
    from rlm_eval.report.figures import style

LIMIT = 2_900_000
"""Maximum bytes of a page with embedded trajectories; the viewer shows all of them."""
_ROWS = 20_000
"""Maximum samples listed on a page, the first of every cell; the viewer lists all of them."""
VIEWER = '<div id="viewer"></div><noscript>The list of samples needs JavaScript.</noscript>'
"""Element in which the scripts build the list of samples."""
_SCRIPTS = (
    "preact.umd.js", "hooks.umd.js", "tables.js", "state.js", "source.js", "texts.js", "detail.js",
    "list.js", "app.js",
)  # fmt: skip
# Allow only scripts and styles inlined in this file.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

_TITLES = {
    "conclusion": "Conclusion",
    "scores": "Scores",
    "outcomes": "Outcomes",
    "costs": "Costs and times",
    "behaviour": "Behaviour",
    "comparisons": "Comparisons",
    "errors": "Errors",
    "limits": "Reservations",
    "run": "What was run",
    "trajectories": "Trajectories",
}
"""Sections in reading order."""
_PLACES = {
    "length_panels": "scores", "accuracy": "scores", "baselines": "scores", "documents": "scores",
    "accuracy_by_task": "scores", "budgets": "costs", "outcomes": "outcomes", "cost": "costs",
    "latency": "costs", "quartiles": "costs", "runtime_histogram": "costs", "pareto": "costs",
    "gpu_hours": "costs", "behaviour": "behaviour", "prompts": "behaviour",
    "right_and_wrong": "errors", "failures": "errors", "position_by_length": "errors",
    "difference": "comparisons", "crossover": "comparisons", "planned": "comparisons",
    "added": "comparisons", "published": "comparisons", "comparisons": "comparisons",
    "model_grid": "scores", "depth_by_length": "behaviour", "paper_table": "comparisons",
    "run_times": "costs",
}  # fmt: skip
"""Name of a table or figure, without a suite's suffix -> section; default: the scores."""


def listed(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the samples that the page of these prepared records lists, as columns."""
    if len(frame) > _ROWS:
        most = max(20, _ROWS // frame["cell_id"].nunique())
        frame = frame.groupby("cell_id", sort=False).head(most)
    return rows.columns(rows.listed(frame))


def page(
    *,
    title: str,
    facts: Mapping[str, str],
    stamp: str,
    conclusion: Conclusion,
    limits: Sequence[str],
    frame: pd.DataFrame,
    samples: Mapping[str, Any],
    table: pd.DataFrame,
    tables: Sequence[Table],
    figures: Sequence[style.Saved],
    embed: Callable[[int], Mapping[str, Any]],
    published: Sequence[str] = (),
) -> str:
    """Return the page of a report about prepared records and their cell table.

    `limits` are all caveats; `samples` those of the list (`listed`); `embed` returns trajectories
    in at most the given bytes of JSON (`trajectories.embed`); `published` names the runs without
    calls.
    """
    links = parts.Links(table)
    inner = dict.fromkeys(_TITLES, "")
    inner["conclusion"] = parts.conclusion(conclusion)
    for figure in figures:
        inner[_place(figure.name)] += parts.figure(figure)
        if figure.name == figures[0].name:
            inner["scores"] += parts.pivot(table, links)
    for one in tables:
        inner[_place(one.name)] += parts.table(one, links)
    inner["limits"] = parts.bullets(limits)
    inner["run"] = parts.facts(facts)
    data: dict[str, Any] = {
        "source": "embedded",
        "rows": samples,
        "cells": links.cells,
        "words": rows.words(),
        "runs": sorted(map(str, frame["run"].unique())),
        "published": sorted(published),
    }
    inner["trajectories"] = "filled below"
    shown = [(name, told) for name, told in _TITLES.items() if inner[name]]
    head = f"<h1>{escape(title)}</h1>" + (f'<p class="stamp">{escape(stamp)}</p>' if stamp else "")
    head += f'<p class="lede">{escape(_lede(facts))}</p>'

    def made(trajectories: Mapping[str, Any]) -> str:
        inner["trajectories"] = _trajectories(trajectories, len(frame), data) + VIEWER
        body = "".join(parts.section(name, told, inner[name]) for name, told in shown)
        whole = f'{parts.contents(shown)}<main id="report">{head}{body}</main>'
        return document("rlm_eval report", whole, data | dict(trajectories))

    empty = made({"texts": [], "items": [], "total": len(frame)})
    return made(embed(max(0, LIMIT - len(empty.encode()))))


def _place(name: str) -> str:
    """Return the section of a table or figure."""
    found = [place for known, place in _PLACES.items() if name == known]
    found += [place for known, place in _PLACES.items() if name.startswith(f"{known}_")]
    return found[0] if found else "scores"


def _lede(facts: Mapping[str, str]) -> str:
    """Return the subtitle: the contents of the page."""
    return ". ".join(f"{name.capitalize()}: {facts[name]}" for name in ("models", "samples"))


def _trajectories(shown: Mapping[str, Any], total: int, data: Mapping[str, Any]) -> str:
    count, listed = len(shown["items"]), len(data["rows"]["sample"])
    words = f"{listed:,} of {total:,} samples are listed. " if listed < total else ""
    words += (
        f"Of {total:,} trajectories, {count:,} are in this file, wrong and cut-off ones first."
        if count
        else f"None of the {total:,} trajectories is in this file."
    )
    shows = "<code>rlm-eval view RUN</code> shows"
    alone = data["published"]
    if set(data["runs"]) <= set(alone):
        return (
            f'<p class="note">{words} They were published without their calls: {shows} question, '
            "answer and gold where these were published.</p>"
        )
    but = f" but those of {escape(', '.join(alone))}, published without calls" if alone else ""
    return f'<p class="note">{words} {shows} all of them{but}.</p>'


def document(title: str, body: str, data: Mapping[str, Any], policy: str = _POLICY) -> str:
    """Return a complete page with our style and scripts, and `data` for the scripts."""
    # `<` never appears in the data block, so nothing in it can end the block or start a tag.
    block = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    block = block.replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_asset('page.css')}</style></head>"
        f"<body>{body}"
        f'<script type="application/json" id="data">{block}</script>'
        f'<script>"use strict";{"".join(map(_asset, _SCRIPTS))}</script></body></html>'
    )


@functools.cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def stamp_of(frame: pd.DataFrame) -> str:
    """Return the warning for a report whose numbers are not a model's results."""
    return wording.stamps(frame)
