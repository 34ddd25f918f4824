"""Which rows ask the same question: ids that are none, texts that some rows lack, equal golds.

An id may be the position in a shuffled set. Then one id stands for several questions, and pairs by
id would compare answers to different ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm_eval.core.types import text_hash
from rlm_eval.importers.rows import Row
from rlm_eval.importers.values import plain


def text_key(question: str) -> str:
    """Return a hash that equal questions share, whatever their spaces and capitals."""
    return text_hash(" ".join(question.split()).casefold())


def gold_key(gold: Any) -> Any:
    """Return what equal golds share: numbers may be written as texts, one gold as a list of one."""
    if isinstance(gold, list | tuple):
        parts = [gold_key(one) for one in gold]
        return parts[0] if len(parts) == 1 else parts
    if isinstance(gold, Mapping):
        return {str(name): gold_key(value) for name, value in gold.items()}
    is_plain = isinstance(gold, str | int | float) and not isinstance(gold, bool)
    return plain(gold) if is_plain else gold


def item_key(row: Row) -> str:
    """Return a hash of what an id stands in: the id itself, its task, length and context."""
    context = row.context or row.context_hash or row.context_id or row.context_chars
    place = [row.task, row.task_variant, row.length, row.item, context]
    return text_hash(json.dumps(place, default=str))


def by_question(rows: Sequence[Row], told: list[str]) -> list[Row]:
    """Return the rows with ids that stand for one question each.

    Where an id of a task stands for several texts, the texts replace its ids. A row without a text
    takes the one of its id.
    """
    texts: dict[str, dict[str, Row]] = defaultdict(dict)
    keys = {id(row): item_key(row) for row in rows if _has_id(row)}
    for row in rows:
        if id(row) in keys and row.question is not None:
            texts[keys[id(row)]].setdefault(text_key(row.question), row)
    several: dict[tuple[str, str | None, int | None], list[list[Row]]] = defaultdict(list)
    for found in texts.values():
        if len(found) > 1:
            one = next(iter(found.values()))
            several[one.task, one.task_variant, one.length].append(list(found.values()))
    for (task, *_), clashes in several.items():
        first, second = clashes[0][:2]
        told.append(
            f"{task}: {len(clashes)} ids stand for different questions, e.g. {first.item!r:.40} "
            f"for {first.question!r:.60} ({first.place}) and {second.question!r:.60} "
            f"({second.place}): the question's text identifies a sample instead. If the texts "
            "are prompts of the methods, leave `question` out of the map"
        )
    done = []
    for row in rows:
        if id(row) in keys:
            stated = texts.get(keys[id(row)], {})
            if row.question is None and len(stated) == 1:
                row = replace(row, question=next(iter(stated.values())).question)
            elif row.question is not None and (row.task, row.task_variant, row.length) in several:
                row = replace(row, item=None)
        done.append(row)
    return done


def _has_id(row: Row) -> bool:
    return row.item is not None and row.sample_id is None


def several_golds(rows: Sequence[Row], told: list[str]) -> None:
    """Tell how many ids have more than one gold: their rows are samples of their own."""
    golds: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if _has_id(row) and row.gold is not None:
            stated = json.dumps(gold_key(row.gold), sort_keys=True, default=str)
            golds[item_key(row)].setdefault(stated, row)
    clashes = [list(found.values()) for found in golds.values() if len(found) > 1]
    if clashes:
        first, second = clashes[0][:2]
        told.append(
            f"{len(clashes)} ids have several golds, e.g. {first.item!r:.40} has "
            f"{first.gold!r:.40} ({first.place}) and {second.gold!r:.40} ({second.place}): rows "
            "with another gold are another sample, and no pair; check that the id is one of a "
            "question"
        )
