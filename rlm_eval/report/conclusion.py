"""Conclusion of a report: supported and unsupported claims, in at most five computed lines.

Sources: the paired comparisons after Holm, the comparisons that a suite named before the run, the
caveats, and the referee's alarms. Every line is derived from these sources alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rlm_eval.core import no_text
from rlm_eval.report import unread, wording
from rlm_eval.report.referee.evidence import Finding
from rlm_eval.report.tables.baselines import MUST_EXCEED
from rlm_eval.report.tables.standard import Table
from rlm_eval.report.tables.table import row_dicts

MOST = 5
"""Maximum lines of a conclusion."""
_GROUPS = 3
"""Maximum groups of comparisons named in one line; the rest are counted."""


@dataclass(frozen=True)
class Line:
    """One line, with the section of the page that contains its evidence."""

    text: str
    """A sentence or two."""
    section: str
    """Id of that section."""


@dataclass(frozen=True)
class Conclusion:
    """The conclusion at the top of the page."""

    may: tuple[Line, ...]
    """Supported claims."""
    may_not: tuple[Line, ...]
    """Claims that the data do not support."""


def conclusion(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    limits: Sequence[str],
    *,
    planned: Sequence[Table] = (),
    findings: Sequence[Finding] = (),
) -> Conclusion:
    """Return the lines for prepared records, their cell table, comparisons and caveats.

    `planned` are the suites' tables of comparisons named before the run, `findings` the referee's.
    """
    cells = pd.MultiIndex.from_frame(unread.unread(frame)[unread.KEYS])
    is_unread = pd.MultiIndex.from_frame(table[unread.KEYS]).isin(cells)
    explored = _outside(comparisons, planned)
    if frame["scripted"].all():
        may = [Line("Replies are scripted: the run shows that the machinery works.", "run")]
    elif is_unread.any():  # no difference to such a cell is one of the methods
        may = _scores(table, ~is_unread)
    else:
        of_plans = [line for one in planned for line in _planned(one)]
        scores = _scores(table, ~is_unread)
        may = [*of_plans, *_shown(explored, len(comparisons)), *scores][:2]
    may_not = [
        *_unread(table, is_unread),
        *_not_shown(explored, len(comparisons)),
        *_as_bounds(table),
        *_alarms(findings),
        *_not_above_rules(table),
        *_reservations(limits),
    ]
    return Conclusion(tuple(may), tuple(may_not[: MOST - len(may)]))


def _outside(comparisons: pd.DataFrame, planned: Sequence[Table]) -> pd.DataFrame:
    """Return the comparisons that no plan names: the verdict of the others is the plan's.

    A difference of a planned pair may be significant among the explored ones, which are fewer, but
    not among those of the plan. Their p values stay those of the whole exploratory family.
    """
    named = {
        (row["task"], row["length"], frozenset((row["A"], row["B"])))
        for table in planned
        for row in table.rows.to_dict("records")
    }
    is_named = [
        (row["task_label"], wording.tokens_label(row["length"]), frozenset((row["a"], row["b"])))
        in named
        for row in comparisons.to_dict("records")
    ]
    return comparisons[~pd.Series(is_named, index=comparisons.index, dtype=bool)]


def _planned(planned: Table) -> list[Line]:
    """Return the results of the comparisons named before the run."""
    if planned.rows.empty:
        return []
    rows = planned.rows.to_dict("records")
    held = [row for row in rows if row["verdict"] in ("A higher", "A lower")]
    not_run = sum(row["verdict"] == "not run" for row in rows)
    named = [
        f"{row['A']} {row['verdict'][2:]} than {row['B']} on {row['task']} at {row['length']} "
        f"({row['A - B, pp']} pp {row['95 % interval']})"
        for row in held
    ]
    tail = f"; not run: {not_run}" if not_run else ""
    late = planned.note.startswith("Exploratory")  # `suites.comparisons.status`
    when = "of a plan changed after the run began" if late else "named before the run"
    return [
        Line(
            f"Of {len(rows)} comparisons {when}, {len(held)} "
            f"show{'s' * (len(held) == 1)} a difference after Holm{_listed(named)}{tail}.",
            "comparisons",
        )
    ]


def _shown(comparisons: pd.DataFrame, family: int) -> list[Line]:
    """Return the significant differences to the baseline: above it, then below it.

    `family` is the number of comparisons over which Holm was computed.
    """
    if comparisons.empty or not comparisons["shown"].any():
        return []
    baseline = comparisons["b"].iloc[0]
    lines = []
    for word, sign in (("Above", 1), ("Below", -1)):
        held = comparisons[comparisons["shown"] & (sign * comparisons["difference"] > 0)]
        if held.empty:
            continue
        groups = [
            (own["difference"].abs().max(), _group(str(a), str(task), own))
            for (a, task), own in held.groupby(["a", "task_label"], sort=False)
        ]
        named = [text for _, text in sorted(groups, key=lambda pair: -pair[0])]
        lines.append(
            Line(
                f"{word} {baseline} on the same samples, exploratory, after Holm over "
                f"{family} comparisons{_listed(named)}.",
                "comparisons",
            )
        )
    return lines


def _group(series: str, task: str, own: pd.DataFrame) -> str:
    """Describe the lengths at which one method differs on one task."""
    at = ", ".join(map(wording.tokens_label, sorted(own["length"])))
    low, high = sorted((100 * own["difference"].min(), 100 * own["difference"].max()), key=abs)
    size = f"{low:+.1f}" if len(own) == 1 else f"{low:+.1f} to {high:+.1f}"
    return f"{series} on {task} at {at} ({size} pp)"


def _listed(named: Sequence[str]) -> str:
    """Return `: a; b; c; and 4 more`, or an empty string."""
    if not named:
        return ""
    rest = f"; and {len(named) - _GROUPS} more" if len(named) > _GROUPS else ""
    return ": " + "; ".join(named[:_GROUPS]) + rest


def _scores(table: pd.DataFrame, is_read: np.ndarray[Any, Any]) -> list[Line]:
    """Return the range of the scores that are known as numbers."""
    known = table[~table["as_bounds"] & table["accuracy"].notna() & is_read]
    if known.empty:
        return []
    ranked = row_dicts(known.sort_values("accuracy", kind="stable"))
    worst, best = ranked[0], ranked[-1]
    count = f"{len(known)} of {len(table)} cells have a score with a 95 % interval"
    if len(known) == 1:
        return [Line(f"{count}: {_cell(best)}.", "scores")]
    return [Line(f"{count}, from {_cell(worst)} to {_cell(best)}.", "scores")]


def _cell(row: Any) -> str:
    at = wording.tokens_label(float(row["length"]))
    return (
        f"{100 * row['accuracy']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}] "
        f"({row['series']}, {row['task_label']} at {at})"
    )


def _not_shown(comparisons: pd.DataFrame, family: int) -> list[Line]:
    """Return the comparisons without a significant difference: they do not prove equality.

    `family` is their number with those that a plan names.
    """
    if not family:
        return [Line("Nothing is compared: no two methods share scored samples.", "comparisons")]
    open_ = comparisons[~comparisons["shown"]]
    if open_.empty:
        return []
    unsure = int((~open_["comparable"]).sum())
    found = open_.loc[open_["comparable"], "detectable"]
    known = found.dropna()
    told = f"{len(open_)} of {len(comparisons)} comparisons with {open_['b'].iloc[0]} "
    told += "outside the plan " if len(comparisons) < family else ""
    told += "show no difference. This does not show equality"
    if len(known):
        ends = sorted({f"{100 * known.min():.0f}", f"{100 * known.max():.0f}"}, key=int)
        told += f": they have 80 % power only above {' to '.join(ends)} pp"
    if few := len(found) - len(known):
        told += (
            f"{',' if len(known) else ':'} {few} {'has' if few == 1 else 'have'} almost no power"
        )
    if unsure:
        told += f"; {unsure} allow no verdict, since answers are cut off or missing"
    return [Line(f"{told}.", "comparisons")]


def _unread(table: pd.DataFrame, is_unread: np.ndarray[Any, Any]) -> list[Line]:
    """Return the cells whose replies mostly came without text."""
    if not is_unread.any():
        return []
    names = ", ".join(dict.fromkeys(map(str, table.loc[is_unread, "series"])))
    return [
        Line(
            f"The scores of {int(is_unread.sum())} of {len(table)} cells may not be the model's, "
            f"and no difference is concluded from this report: more than {100 * no_text.MOST:.0f} "
            f"% of the replies hold no text, only reasoning or tool calls ({names}).",
            "limits",
        )
    ]


def _as_bounds(table: pd.DataFrame) -> list[Line]:
    """Return the cells whose score is only known as bounds."""
    unsure = table[table["as_bounds"]]
    if unsure.empty:
        return []
    names = ", ".join(dict.fromkeys(map(str, unsure["series"])))
    return [
        Line(
            f"{len(unsure)} of {len(table)} cells have no single score, only bounds: more than 5 % "
            f"of their answers are cut off, or some are missing ({names}).",
            "outcomes",
        )
    ]


def _alarms(findings: Sequence[Finding]) -> list[Line]:
    """Return the referee's findings that may invalidate a claim."""
    alarms = [finding for finding in findings if finding.level == "alarm"]
    if not alarms:
        return []
    named = ", ".join(finding.check for finding in alarms)
    count = "1 alarm" if len(alarms) == 1 else f"{len(alarms)} alarms"
    return [Line(f"The referee raises {count}: {named}. {alarms[0].text}", "limits")]


def _not_above_rules(table: pd.DataFrame) -> list[Line]:
    """Return how many cells are not shown to exceed a rule that needs no model."""
    lows = [f"base_{kind}_low" for kind in MUST_EXCEED]
    known = table[~table["base_by_code"] & ~table["as_bounds"] & table[lows].notna().all(axis=1)]
    below = known[known[lows].le(0).any(axis=1)]
    if below.empty:
        return []
    names = ", ".join(dict.fromkeys(map(str, below["series"])))
    return [
        Line(
            f"{len(below)} of {len(known)} cells are not shown to exceed the best skimmer and the "
            f"best rule without a model ({names}).",
            "limits",
        )
    ]


def _reservations(limits: Sequence[str]) -> list[Line]:
    """Return the most serious caveats, one per line, each with the total number of caveats."""
    count = len(limits)
    return [
        Line(f"{text}{f' (reservation {n} of {count})' if count > 1 else ''}", "limits")
        for n, text in enumerate(limits, 1)
    ]
