"""`report.html`: one file that opens from the file system and needs no network.

Structure only; looks are in `page.css`, sorting, filters and the trajectory view in `page.js`.
Every text that comes from data is escaped here or put in as text by the script.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rlm_eval.report import wording
from rlm_eval.report.tables.standard import Table

if TYPE_CHECKING:
    from rlm_eval.report.figures import style

# Only what is inline in this very file may run or load.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(
    *,
    facts: Mapping[str, str],
    stamp: str,
    caveats: Sequence[str],
    tables: Sequence[Table],
    figures: Sequence[style.Saved],
    shown: Mapping[str, Any],
) -> str:
    """The page of a report. `shown` is `trajectories.embed`'s result."""
    parts = [
        f'<p class="stamp">{escape(stamp)}</p>' if stamp else "",
        _section("What was run", _facts(facts)),
        _table(tables[0]),
        _section("What not to conclude", _list(caveats)),
        _table(tables[1]),
        *(_figure(figure) for figure in figures[:1]),
        *(_table(table) for table in tables[2:]),
        *(_figure(figure) for figure in figures[1:]),
        _trajectories(shown),
    ]
    return document("rlm_eval report", "".join(parts), {"source": "embedded", **shown})


def document(title: str, body: str, data: Mapping[str, Any], policy: str = _POLICY) -> str:
    """A whole page with our style and script, and `data` for the script."""
    here = Path(__file__).parent
    # `<` never appears in the data block, so nothing in it can end the block or start a tag.
    block = json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{(here / 'page.css').read_text()}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}"
        f'<script type="application/json" id="data">{block}</script>'
        f"<script>{(here / 'page.js').read_text()}</script></body></html>"
    )


def stamp_of(frame: pd.DataFrame) -> str:
    """The words that mark a report whose numbers must not be taken for a model's."""
    return wording.stamps(frame)


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inner}</section>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return f"<dl>{rows}</dl>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(str(c))}</th>" for c in table.rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in line) + "</tr>"
        for line in table.rows.to_numpy().tolist()
    )
    inner = (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div><p class=note>{escape(table.note)}</p>"
    )
    return _section(table.title, inner)


def _figure(figure: style.Saved) -> str:
    files = ", ".join(f"figures/{path.name}" for path in figure.paths)
    source = base64.b64encode(figure.image.read_bytes()).decode()
    image = f'<img alt="{escape(figure.title)}" src="data:image/png;base64,{source}">'
    note = f"{figure.caption} Files: {files}"
    return _section(figure.title, f"<figure>{image}</figure><p class=note>{escape(note)}</p>")


def _trajectories(shown: Mapping[str, Any]) -> str:
    count, total = len(shown["items"]), shown["total"]
    words = (
        f"{count} of {total} trajectories are in this file, wrong and cut-off ones first."
        if count
        else f"None of the {total} trajectories is in this file."
    )
    note = f"{words} <code>rlm-eval view RUN</code> shows all of them."
    return _section("Trajectories", f'<p class=note>{note}</p><div id="viewer"></div>')
