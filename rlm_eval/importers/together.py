"""What the rows of one log decide together: the gold of a question, the scale of the scores.

A row alone may lack a gold that another arm's row of the same question has, and a 1 may be one per
cent. Scores of two scales, or of two scorers, are not averaged.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.core.types import Outcome, Score, text_hash
from rlm_eval.importers.questions import gold_key, item_key
from rlm_eval.importers.rows import Row
from rlm_eval.importers.scoring import OURS, THEIRS, theirs
from rlm_eval.scoring.registry import filled


def with_golds(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows with the one gold that other rows of their question state.

    A blank gold is none: every answer contains it.
    """
    known = [(replace(row, gold=filled(row.gold)), _question(row)) for row in rows]
    golds: dict[str, dict[str, Any]] = defaultdict(dict)
    for row, question in known:
        if row.gold is not None:
            key = json.dumps(gold_key(row.gold), sort_keys=True, default=str)
            golds[question].setdefault(key, row.gold)
    found, added = [], 0
    for row, question in known:
        stated = golds.get(question, {})
        if row.gold is None and row.sample_id is None and len(stated) == 1:
            added += 1
            row = replace(row, gold=next(iter(stated.values())))
        found.append(row)
    if added:
        told.append(f"{added} rows have no gold, but other rows of the same question have one")
    return found


def _question(row: Row) -> str:
    """Return a hash of what identifies a row's question: contexts have megabytes."""
    return text_hash(f"{item_key(row)}\n{row.question if row.item is None else ''}")


def on_one_scale(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows without the values of a verdict that is outside [0, 1] for some of its task.

    Such a verdict counts per cent, points or turns: its 1 is not 100 %, and a mean of what happens
    to lie in [0, 1] would be one of the wrong answers alone. Every verdict of a log (its score, the
    rewards beside it) has its own scale.
    """
    odd: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        for score in row.scores:
            value, off, _ = (score.flag or "").partition(" is not in [0, 1]")
            if off:
                odd[row.task, score.scorer].append(value.removeprefix("the log's "))
    if not odd:
        return list(rows)
    found = [replace(row, scores=_unscaled(row, odd)) for row in rows]
    for name in dict.fromkeys(scorer for _, scorer in odd):
        tasks = {task for task, scorer in odd if scorer == name}
        examples = [e for (_, scorer), own in odd.items() if scorer == name for e in own]
        stated = sum(r.task in tasks and any(s.scorer == name for s in r.scores) for r in rows)
        kind = "stated scores" if name == THEIRS else f"values of {name}"
        hint = "; a field map can rescale them (`divide: 100`)" if name == THEIRS else ""
        told.append(
            f"{len(examples)} {kind} are not in [0, 1] (e.g. {examples[0]}): all {stated} {kind} "
            f"of {', '.join(sorted(tasks))} count as not scored{hint}"
        )
    return found


def _unscaled(row: Row, odd: Mapping[tuple[str, str], Sequence[str]]) -> tuple[Score, ...]:
    """Return the verdicts of a row; those on another scale lose their value, and a note says so."""
    return tuple(
        replace(
            score,
            value=None,
            parsed=score.parsed or f"{score.value:g}",
            flag=f"the log's scores are on another scale ({odd[row.task, score.scorer][0]})",
        )
        if score.value is not None and (row.task, score.scorer) in odd
        else score
        for score in row.scores
    )


def unstated_named(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows with an unknown verdict of the log where it states others of their task.

    Without it our verdict would stand in the headline's place, among the log's. A row whose outcome
    scores 0 gets one too: it counts as 0, and is not named.
    """
    stated = {row.task for row in rows if any(s.scorer == THEIRS for s in row.scores)}
    found, lacking = [], 0
    for row in rows:
        if row.task in stated and not row.scores and _is_judged(row):
            lacking += 1
            row = replace(row, scores=(theirs(None),))
        elif row.task in stated and not row.scores and row.outcome.scores_zero:
            row = replace(row, scores=(theirs(None),))
        found.append(row)
    if lacking:
        told.append(
            f"{lacking} of {len(rows)} rows have no score, and others of their task have one: they "
            "count as not scored"
        )
    return found


def _is_judged(row: Row) -> bool:
    """True where an answer was to be judged: what ended without one is wrong in any case."""
    out = row.outcome
    return not (out.is_missing or out.scores_zero or out is Outcome.NO_ANSWER)


def unscored(row: Row, headline: str, names: Collection[str]) -> tuple[Score, ...]:
    """Return our verdict as unknown where `names` of our scorers judged other rows alone."""
    if headline != OURS or not names or not _is_judged(row):
        return ()
    return (Score(min(names), None, flag="the log has no gold or no answer to score"),)
