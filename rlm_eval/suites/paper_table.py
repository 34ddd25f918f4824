"""The last table of a suite's report: method by task, the published number next to ours.

Layout of Table 1 of arXiv:2512.24601: blocks of models, a row per method, a group of columns per
task, score and cost of both sides. Verdicts are in `comparisons.published_table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from rlm_eval.report import per_sample
from rlm_eval.report.tables.standard import money
from rlm_eval.report.tables.table import Table, mark
from rlm_eval.stats.intervals import mean_interval
from rlm_eval.suites.plan import Place
from rlm_eval.suites.schema import METRICS, Published

Matching = Callable[[Sequence[Place], Published], list[Place]]
Reason = Callable[[pd.DataFrame, pd.DataFrame, Published, Sequence[Place]], str | None]

NAME = "paper_table"
NOTHING, NOT_RUN = "--", "not run"


def paper_table(
    frame: pd.DataFrame,
    places: Sequence[Place],
    published: Sequence[Published],
    title: str,
    *,
    cells_of: Matching,
    no_verdict: Reason,
) -> Table:
    """Return published scores next to ours, from a prepared frame and the suite's places.

    `cells_of` finds the places of a published number; `no_verdict` gives the reason why ours is not
    comparable (a footnote). Of a number with several versions the latest is used.
    """
    rows = _latest([row for row in published if row.metric in METRICS])
    tasks = list(dict.fromkeys(_task(row) for row in rows))
    notes: dict[str, str] = {}
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    data: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row.models or row.published_model, row.published_method or row.method)
        head = {"models": key[0], "method": key[1]}
        line, numbers = lines.setdefault(key, dict(head)), data.setdefault(key, dict(head))
        own = cells_of(places, row)
        part = frame[frame["cell_id"].isin([place.cell for place in own])]
        task = _task(row)
        line[f"{task}: paper"] = ("~" if row.approximate else "") + f"{row.percent:.1f}"
        numbers[f"{task}: paper"] = row.percent
        if row.cost is not None:
            line[f"{task}: paper USD"] = money(row.cost)
            numbers[f"{task}: paper USD"] = row.cost
        told, counted = _ours(part, row, own, no_verdict, notes)
        line |= {f"{task}: {name}": text for name, text in told.items()}
        numbers |= {f"{task}: {name}": value for name, value in counted.items()}
    order = [f"{task}: {part}" for task in tasks for part in ("paper", "ours", "paper USD", "USD")]
    counts = [f"{task}: {part}" for task in tasks for part in ("ours low", "ours high", "ours n")]
    shown = pd.DataFrame([lines[key] for key in _by_models(lines)])
    told_rows = shown.reindex(columns=["models", "method", *_present(order, shown)])
    numbers_of = pd.DataFrame([data[key] for key in _by_models(data)])
    tidy = numbers_of.reindex(columns=["models", "method", *_present(order + counts, numbers_of)])
    return Table(NAME, title, _note(rows, frame, notes), told_rows.fillna(NOTHING), tidy, last=True)


def _present(names: Sequence[str], rows: pd.DataFrame) -> list[str]:
    """Return the non-empty columns among `names`."""
    return [name for name in names if name in rows and rows[name].notna().any()]


def _by_models(keys: Any) -> list[tuple[str, str]]:
    """Return the blocks of models in order of appearance."""
    models = list(dict.fromkeys(key[0] for key in keys))
    return sorted(keys, key=lambda key: models.index(key[0]))


def _task(row: Published) -> str:
    return (row.published_task or row.task).replace(": ", " ")


def _latest(rows: Sequence[Published]) -> list[Published]:
    """Return the latest version's row per task, method and models, in the order of the file.

    If versions use several names for one of our methods (`RLM`, `RLM (depth=1)`), it is one method
    under the latest name.
    """
    named: dict[str, Published] = {}
    for row in rows:
        if row.method and (row.method not in named or row.version >= named[row.method].version):
            named[row.method] = row
    found: dict[tuple[str, ...], Published] = {}
    for row in rows:
        name = named[row.method].published_method if row.method else row.published_method
        key = (_task(row), name or row.method, row.models or row.published_model)
        if key not in found or row.version >= found[key].version:
            found[key] = replace(row, published_method=name)
    return list(found.values())


def _ours(
    part: pd.DataFrame,
    row: Published,
    own: Sequence[Place],
    no_verdict: Reason,
    notes: dict[str, str],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return (text, numbers) of our score and cost; empty if the run has no such cell."""
    if not own:
        return {}, {}
    if part.empty:
        return {"ours": NOT_RUN}, {}
    units = per_sample.units(part)
    scored = units[~units["lost"]]
    why = no_verdict(part, units, row, own)
    sign = notes.setdefault(why, mark(len(notes))) if why else ""
    numbers: dict[str, Any] = {"ours n": len(units)}
    if per_sample.is_bounds(units):
        low, high = per_sample.score_bounds(units)
        text = f"{100 * low:.1f} to {100 * high:.1f}"
    else:
        found = mean_interval(scored["score"], scored["cluster"])
        low, high = found.low, found.high
        text = f"{100 * found.estimate:.1f} ± {50 * (high - low):.1f}"
        numbers["ours"] = round(100 * found.estimate, 4)
    numbers |= {"ours low": round(100 * low, 4), "ours high": round(100 * high, 4)}
    told = {"ours": text + sign}
    cost = units["cost"].mean() if units.loc[~units["refused"], "cost"].notna().all() else math.nan
    if not math.isnan(cost):
        told["USD"] = money(cost)
        numbers["USD"] = cost
    return told, numbers


def _note(rows: Sequence[Published], frame: pd.DataFrame, notes: dict[str, str]) -> str:
    sources = "; ".join(sorted({f"{row.source}, {row.version}" for row in rows}))
    ends = " ".join(f"{sign} not to be compared: {why}." for why, sign in notes.items())
    prices = ", ".join(sorted(set(frame["prices"].dropna().astype(str))))
    return (
        f"Scores in percent. Paper: {sources}; of several versions the latest that has the number. "
        "Ours: mean ± half of its 95 % interval (ends and n in the CSV; tests in `published`), "
        "bounds where more than 5 % were cut off or some are missing. USD: mean cost per sample"
        f"{f', ours at list price ({prices})' if prices else ''}. {NOTHING}: no such number. {ends}"
    ).strip()
