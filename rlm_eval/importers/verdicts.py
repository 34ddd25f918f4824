"""The one verdict of a log that is its headline, by name, and rows whose verdicts are not one.

A log may hold several scorers. Their scores are different measures: a mean over two of them, or a
difference between them, is no result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rlm_eval.core.types import Score
from rlm_eval.importers.rows import BadLog, Row
from rlm_eval.importers.scoring import OURS, THEIRS
from rlm_eval.scoring.registry import SCORERS

LACKS = "the log has no score of "
"""Start of the flag of a row whose log has the headline's scorer for other rows alone."""


def lacking(name: str) -> Score:
    """Return the unknown verdict of a row that the headline's scorer did not score."""
    return Score(THEIRS, None, flag=LACKS + name)


def other(name: str) -> str:
    """Return the column name of a verdict that is not the headline, apart from our scorers'."""
    return f"their_{name}" if name in SCORERS or name == THEIRS else name


def one_scorer(
    rows: Sequence[Row], told: list[str], *, headline: str = THEIRS, asked: str | None = None
) -> None:
    """Check that the stated scores of each task are of one scorer; tell how many rows lack it.

    `asked` is the scorer that the user chose for all logs. Raises `BadLog` where a task has
    several and none was chosen, or where no log has the chosen one.
    """
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.their_scorer is not None:
            named[row.task].setdefault(row.their_scorer, row.place)
    if asked is not None and not any(row.their_scorer and not _lacks(row) for row in rows):
        stated = {s.scorer.removeprefix("reward_") for row in rows for s in row.scores}
        known = ", ".join(sorted(stated - {THEIRS})) or "no name of a scorer"
        raise BadLog(f"--their-scorer: no log has scores of {asked!r}; they have: {known}")
    for task, places in named.items():
        if len(places) > 1 and asked is None and headline != OURS:
            found = "; ".join(f"{name} ({place})" for name, place in sorted(places.items())[:6])
            raise BadLog(
                f"{task}: its rows are scored by {len(places)} scorers: {found}. Scores of "
                "different scorers are not averaged or compared; choose one that all logs have "
                "with --their-scorer NAME, or import the logs apart"
            )
    short = [row for row in rows if _lacks(row) and not row.outcome.is_missing]
    for flag in dict.fromkeys(row.scores[0].flag for row in short):
        count = sum(row.scores[0].flag == flag for row in short)
        told.append(f"{count} of {len(rows)} rows: {flag}; they count as not scored")


def _lacks(row: Row) -> bool:
    return bool(row.scores) and str(row.scores[0].flag).startswith(LACKS)


def with_their_scorer(facts: Mapping[str, object], name: str | None) -> dict[str, object]:
    """Return the facts of a cell with the name of the log's scorer; several are joined by `|`."""
    if name is None:
        return dict(facts)
    known = [one for one in str(facts.get("their_scorer") or "").split(" | ") if one]
    return {**facts, "their_scorer": " | ".join(sorted({*known, name}))}
