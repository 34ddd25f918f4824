"""Results of a suite's run: its family of comparisons, and published numbers next to ours.

Only comparisons that suite.json planned before the first call are called planned; later additions
are reported separately, as exploratory. A published number is compared if the data, the models and
the settings are the source's; else it is shown with the reason for the missing verdict. Statistics
are those of `stats` and `report.tables.comparison`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.config.builder import parse_length
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.report import per_sample, summary, wording
from rlm_eval.report.hooks import Additions
from rlm_eval.report.tables import card, comparison, standard
from rlm_eval.report.tables import published as beside
from rlm_eval.stats import bounds
from rlm_eval.suites.paper_table import paper_table
from rlm_eval.suites.plan import Contrast, Place, contrasts
from rlm_eval.suites.plan_file import FILE, SuitePlan, read_record
from rlm_eval.suites.schema import METRICS, Published, Suite, load, published, read_published

_ADDED = "exploratory: run beyond the plan"


def additions(runs: Sequence[Path], file: Path | None = None) -> Additions:
    """Return the suites' additions to a report about these runs.

    `file` has published numbers to draw for runs without a suite (columns: `schema.Published`).
    """
    records = plans_of(runs)
    rows = [] if file is None else read_published(file)
    return lambda frame: _additions(frame, records, rows)


def plans_of(runs: Sequence[Path]) -> list[SuitePlan]:
    """Return the plans of the runs that belong to a suite; the plan of a copied run once."""
    every = [record for run in runs if (record := read_record(run)) is not None]
    return [one for place, one in enumerate(every) if one not in every[:place]]


def _additions(
    frame: pd.DataFrame, records: Sequence[SuitePlan], rows: Sequence[Published]
) -> tuple[list[standard.Table], pd.DataFrame | None]:
    made, marks = [], [_marks(frame, rows, [])]
    for record in records:
        suite = load(record.suite)
        known = published(suite)
        suffix = f"_{record.suite}" if len(records) > 1 else ""
        places = one_cell_each(record.places)
        found = [family_table(frame, record, suite), published_table(frame, places, known)]
        found.append(added_table(frame, record, suite))
        if suite.closing_table and known:
            title = suite.closing_table
            how: dict[str, Any] = {"cells_of": _places, "no_verdict": _no_verdict}
            found.append(paper_table(frame, places, known, title, **how))
        made += [replace(t, name=t.name + suffix) for t in found if not t.rows.empty]
        marks.append(_marks(frame, known, places))
    drawn = pd.concat(marks)
    return made, None if drawn.empty else drawn


def status(record: SuitePlan) -> str:
    """Describe whether the family was named before the run."""
    if record.changed:
        return (
            f"exploratory: the comparisons of suite {record.suite} were changed after this run "
            "had begun"
        )
    return f"named beforehand by suite {record.suite} (plan of {record.started})"


def family(
    frame: pd.DataFrame, record: SuitePlan, suite: Suite
) -> tuple[pd.DataFrame, list[Contrast]]:
    """Return (a row per comparison with data, comparisons without data yet), Holm over both."""
    rows, open_ = _tested(frame, [p for p in record.places if p.planned], record, suite)
    return comparison.with_holm(rows, len(open_)), open_


def added(frame: pd.DataFrame, record: SuitePlan, suite: Suite) -> pd.DataFrame:
    """Return the suite's comparisons added after the first plan; Holm over these alone."""
    beyond = [p for p in record.places if not p.planned]
    made = [_tested(frame, [p for p in beyond if not p.again], record, suite)[0]]
    for number in sorted({p.again for p in beyond} - {0}):
        own = [p for p in beyond if p.again == number]
        beside = _beside(own, record.places)
        made.append(_tested(frame, beside, record, suite, {p.cell for p in own})[0])
    filled = [rows for rows in made if not rows.empty]
    return comparison.with_holm(pd.concat(filled, ignore_index=True) if filled else made[0])


def _beside(own: Sequence[Place], places: Sequence[Place]) -> list[Place]:
    """Return cells with other settings, and the first cells of the places that have none such.

    A command may change the settings of one side alone: it is compared with the other side as it
    was, on the samples of the same part, task, length and seed.
    """
    grids = {(p.part, p.task, p.length, p.seed) for p in own}
    whole = {p.key: p for p in places if not p.again} | {p.key: p for p in own}
    return [p for p in whole.values() if (p.part, p.task, p.length, p.seed) in grids]


def one_cell_each(places: Sequence[Place]) -> list[Place]:
    """Return the places with one cell each, for published numbers: with the suite's settings.

    The first cell where none has them, or several.
    """
    found: dict[tuple[Any, ...], Place] = {}
    for place in sorted(places, key=lambda p: p.again):
        known = found.setdefault(place.key, place)
        if place.as_named and not known.as_named:
            found[place.key] = place
    return list(found.values())


def _tested(
    frame: pd.DataFrame,
    places: Sequence[Place],
    record: SuitePlan,
    suite: Suite,
    about: Collection[str] | None = None,
) -> tuple[pd.DataFrame, list[Contrast]]:
    """Return (a row per comparison of these places with data, comparisons without data yet).

    `about`: only the comparisons in which one of these cells is.
    """
    rows, open_ = [], []
    for one in contrasts(places, record.comparisons, suite):
        if about is not None and not (one.cells_a | one.cells_b) & set(about):
            continue
        a, b = (frame[frame["cell_id"].isin(c)] for c in (one.cells_a, one.cells_b))
        found = None if a.empty or b.empty else comparison.whole(a, b)
        if found is None:
            open_.append(one)
            continue
        # Labels as in the other tables, but only if they mean the same as the plan's names.
        # The measured length: the planned one does not apply to tasks of fixed size.
        row: dict[str, Any] = {name: a[name].iloc[0] for name in ("task_label", "length")}
        row |= {"a": ", ".join(summary.series_order(a)), "b": ", ".join(summary.series_order(b))}
        rows.append(row | found | {"margin": one.margin, "part": one.part})
    return pd.DataFrame(rows), open_


def family_table(frame: pd.DataFrame, record: SuitePlan, suite: Suite) -> standard.Table:
    """Return the family as a table, including comparisons without records."""
    rows, open_ = family(frame, record, suite)
    shown = _shown(rows)
    waiting = [
        {"task": c.task, "length": _length(c, suite), "A": _side(c.a, c.within),
         "B": _side(c.b, c.within), "verdict": "not run"}
        for c in open_
    ]  # fmt: skip
    shown = pd.concat([shown.astype(object), pd.DataFrame(waiting, dtype=object)]).fillna("")
    tests = "; ".join(sorted(set(rows["test"]))) if len(rows) else "none yet"
    note = (
        f"{status(record)[0].upper()}{status(record)[1:]}. Paired by sample; tests: {tests}. Holm "
        f"over all {len(shown)} comparisons, those not run counted with p = 1."
    )
    return standard.Table("planned", "Comparisons named beforehand", note, shown)


def added_table(frame: pd.DataFrame, record: SuitePlan, suite: Suite) -> standard.Table:
    """Return a table of the cells added after the first plan, compared as in the suite."""
    rows = added(frame, record, suite)
    note = (
        f"{_ADDED[0].upper()}{_ADDED[1:]} of {record.started}, when results could be seen. Not in "
        "the family above and its Holm; p, Holm: over this table alone."
    )
    for number in sorted({p.again for p in record.places} - {0}):
        told = record.later[number - 1]
        note += f" Other settings, chosen {told.at}: {' '.join(told.overrides) or 'suite.yaml'}."
    return standard.Table("added", "Comparisons added later", note, _shown(rows))


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Format comparisons as text, with the margin if there is one."""
    if rows.empty:
        return pd.DataFrame()
    shown = standard.differences(rows).rows
    if rows["margin"].notna().any():
        shown["at most below"] = [_margin(row) for row in rows.to_dict("records")]
    return shown


def _length(one: Contrast, suite: Suite) -> str:
    """Return the planned length; a task of fixed size is measured when it is run."""
    unsized = {part.name for part in suite.parts if not part.lengths}
    return "its own" if one.part in unsized else wording.tokens_label(one.length)


def _side(name: str, within: str) -> str:
    return f"{name} ({within})" if within else name


def _margin(row: dict[Any, Any]) -> str:
    if not _known(row["margin"]):
        return ""
    shown = comparison.at_most_below(row, row["margin"])
    return f"{100 * row['margin']:g} pp: {'shown' if shown else 'not shown'}"


def _known(value: Any) -> bool:
    return value is not None and not math.isnan(value)


def family_text(run: Path) -> str:
    """Return the text of `rlm-eval compare --run RUN`: every comparison that the suite named.

    Raises `RlmEvalError` if the run does not belong to a suite.
    """
    record = read_record(run)
    if record is None:
        raise RlmEvalError(
            f"{run}: no {FILE}, so it has no planned comparisons; give two sides: "
            "rlm-eval compare A B --run RUN"
        )
    frame = summary.prepare(load_records([run]), card.manifests([run]))
    suite = load(record.suite)
    rows, open_ = family(frame, record, suite)
    lines = [status(record)]
    if stamp := wording.stamps(frame):
        lines.append(stamp)
    lines += _lines(rows)
    lines += [
        f"\n{c.task} at {_length(c, suite)}, {_side(c.a, c.within)} - "
        f"{_side(c.b, c.within)}: not run"
        for c in open_
    ]
    lines += ["", f"p values after Holm over {len(rows) + len(open_)} comparisons."]
    if len(more := added(frame, record, suite)):
        lines += ["", f"{_ADDED}; Holm over these alone", *_lines(more)]
    return "\n".join(lines)


def _lines(rows: pd.DataFrame) -> list[str]:
    """Describe comparisons, an empty line before each."""
    lines = []
    for row in rows.to_dict("records"):
        margin = row["margin"] if _known(row["margin"]) else None
        lines += ["", *comparison.lines(row, margin)]
    return lines


def published_table(
    frame: pd.DataFrame, places: Sequence[Place], rows: Sequence[Published]
) -> standard.Table:
    """Return each published number next to ours, with a verdict or the reason for having none."""
    lines = []
    for row in rows:
        own = _places(places, row)
        part = frame[frame["cell_id"].isin([place.cell for place in own])]
        told = {
            "task": row.published_task or row.task,
            "length": row.length,
            "method": row.published_method or row.method,
            "models": row.published_model or row.models,
            "metric": row.metric,
            "published": ("~" if row.approximate else "") + f"{row.value:g}",
            "its n": "not stated" if row.n is None else str(row.n),
        }
        lines.append(told | _ours(part, row, own) | {"source": f"{row.source}, {row.version}"})
    note = (
        "Ours with its 95 % interval. Compatible: the difference may be 0 and the interval is at "
        "most 30 points wide, which does not prove equality; where the source states n, its own "
        "uncertainty counts too. ~: read off a figure, never compared."
    )
    return standard.Table("published", "Published numbers beside ours", note, pd.DataFrame(lines))


def _places(places: Sequence[Place], row: Published) -> list[Place]:
    """Return the cells that correspond to a published number."""
    length = parse_length(row.length) if row.length else None
    return [
        p for p in places
        if p.task == row.task and p.method == row.method and p.models == row.models
        and length in (None, p.length)
    ]  # fmt: skip


def _ours(part: pd.DataFrame, row: Published, own: Sequence[Place]) -> dict[str, str]:
    unknown = {"ours, %": "", "95 % interval": "", "our n": ""}
    if not own:
        return unknown | {"verdict": "none: not among the cells of this run"}
    if part.empty:
        return unknown | {"verdict": "none: not run yet"}
    units = per_sample.units(part)
    found = beside.mean_of(units)
    ends = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]" if found.n else ""
    told = {
        "ours, %": standard.percent(found.estimate),
        "95 % interval": ends,
        "our n": str(len(units)),
    }
    if why := _no_verdict(part, units, row, own):
        return told | {"verdict": f"none: {why}"}
    return told | {"verdict": beside.verdict(units, row.percent / 100, row.n)}


def _no_verdict(
    part: pd.DataFrame, units: pd.DataFrame, row: Published, own: Sequence[Place]
) -> str | None:
    """Return why our number is not comparable with the published one; `None` = comparable."""
    if part["scripted"].any():
        return "scripted replies"
    if part["generated"].any():
        return "not the same data (ours are generated)"
    if row.metric not in METRICS:
        return "another measure than our score"
    if row.approximate:
        return "read off a figure"
    if not all(place.as_named for place in own):
        return "run with other models or settings than the suite's"
    if units["cut"].mean() > bounds.CUT_SHARE:
        return "more than 5 % cut off"
    if units["missing"].mean() > bounds.CUT_SHARE:
        return "more than 5 % missing"
    return None


def _marks(frame: pd.DataFrame, rows: Sequence[Published], places: Sequence[Place]) -> pd.DataFrame:
    """Return published scores to draw for identical data: task, label, length, score.

    Without places (a file given to `rlm-eval report`) rows are matched by task name.
    """
    marks = []
    for row in rows:
        ids = [p.cell for p in places if p.task == row.task]
        part = frame[frame["cell_id"].isin(ids) if places else frame["task"] == row.task]
        if not row.length or row.metric not in METRICS or part.empty or part["generated"].any():
            continue
        who = ", ".join(filter(None, (row.published_method, row.published_model)))
        marks += [
            {"task": task, "label": ("~ " if row.approximate else "") + (who or row.source),
             "length": parse_length(row.length), "score": row.percent / 100}
            for task in part["task_label"].unique()
        ]  # fmt: skip
    return pd.DataFrame(marks)
