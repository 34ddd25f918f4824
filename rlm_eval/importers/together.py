"""What the rows of one log decide together: the gold of a question, the scale of the scores.

A row alone may lack a gold that another arm's row of the same question has, and a 1 may be one per
cent. Scores of two scales, or of two scorers, are not averaged.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.core.types import Outcome, Score, text_hash
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
            golds[question][json.dumps(row.gold, sort_keys=True, default=str)] = row.gold
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
    place = [row.task, row.task_variant, row.length]
    asked = [row.item, row.question] if row.item is None else [row.item]
    context = row.context or row.context_hash or row.context_id or row.context_chars
    return text_hash(json.dumps([*place, *asked, context], default=str))


def on_one_scale(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows without the stated scores of tasks of which some are outside [0, 1].

    Such a log counts per cent or points: its 1 is not 100 %, and a mean of what happens to lie in
    [0, 1] would be one of the wrong answers alone.
    """
    odd = [row for row in rows if "not in [0, 1]" in str(_flag(row))]
    if not odd:
        return list(rows)
    tasks = {row.task for row in odd}
    example = odd[0].scores[0].parsed
    found = [
        replace(row, scores=_unscaled(row.scores, example)) if row.task in tasks else row
        for row in rows
    ]
    stated = sum(row.task in tasks and bool(row.scores) for row in rows)
    told.append(
        f"{len(odd)} stated scores are not in [0, 1] (e.g. {example}): all {stated} stated scores "
        f"of {', '.join(sorted(tasks))} count as not scored; a field map can rescale them "
        "(`divide: 100`)"
    )
    return found


def _flag(row: Row) -> str | None:
    return row.scores[0].flag if row.scores and row.scores[0].scorer == THEIRS else None


def _unscaled(scores: tuple[Score, ...], example: str | None) -> tuple[Score, ...]:
    if not scores or scores[0].scorer != THEIRS or scores[0].value is None:
        return scores
    flag = f"the log's scores are on another scale ({example})"
    return (Score(THEIRS, None, f"{scores[0].value:g}", flag=flag), *scores[1:])


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
    """Return an unknown verdict of ours where `names` of our scorers judged other rows alone."""
    if headline != OURS or not names or not _is_judged(row):
        return ()
    return (Score(min(names), None, flag="the log has no gold or no answer to score"),)
