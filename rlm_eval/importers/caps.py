"""Suspected output caps: many answers of a method that end on one round number of tokens.

Looked for in each cell, then over the lengths of a task, then over the tasks of a method: a log
with one row per length has no cell in which a cap could be seen.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlm_eval.core.types import Call, Role
from rlm_eval.importers.rows import Row

FEWEST = 5
"""Minimum rows of a method for equal output counts to indicate a cap."""
SHARE = 0.5
"""Minimum share of them with the same count."""
_LEAST_CAP = 128


@dataclass(frozen=True)
class Cap:
    """A round number of output tokens shared by suspiciously many answers."""

    arm: str
    """Method, its settings, root model and task, in words."""
    tokens: int
    """The round number of output tokens."""
    hits: int
    """Answers with exactly that number of tokens."""
    of: int
    """Answers with a known number of tokens."""
    low: float
    """Their mean score with the suspected answers counted wrong."""
    high: float
    """Their mean score with the suspected answers counted right."""

    def remark(self) -> str:
        """Return the sentence that every figure and page shows."""
        return (
            f"{self.arm}: {self.hits} of {self.of} answers end on exactly {self.tokens:,} output "
            "tokens, a suspected output cap; whether they were cut is unknown, and the score is "
            f"between {100 * self.low:.1f} and {100 * self.high:.1f} %"
        )


def cell_key(row: Row) -> str:
    """Return what sets the cell of a row apart."""
    place = [row.task, row.task_variant, row.length]
    return json.dumps([*place, row.method, row.variant, row.root, row.sub, row.depth_limit])


def _of_task(row: Row) -> str:
    return json.dumps([row.task, row.task_variant, _of_method(row)])


def _of_method(row: Row) -> str:
    return json.dumps([row.method, row.variant, row.root, row.sub, row.depth_limit])


_LEVELS: tuple[tuple[Callable[[Row], str], str], ...] = (
    (cell_key, " on {task}"),
    (_of_task, " on {task}, all lengths together"),
    (_of_method, ", all tasks together"),
)
"""Rows that are looked at together, the smallest group first, and how they are called."""


def suspected_caps(rows: Sequence[Row]) -> dict[str, Cap]:
    """Return cell key -> cap if half or more of the answers share one round number of tokens."""
    counted = [r for r in rows if not r.outcome.is_missing and output_of(r) is not None]
    found: dict[str, Cap] = {}
    for key_of, place in _LEVELS:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in counted:
            groups[key_of(row)].append(row)
        for own in groups.values():
            if (cap := _cap(own, place)) is not None:
                for row in own:
                    if output_of(row) == cap.tokens:
                        found.setdefault(cell_key(row), cap)
    return found


def _cap(own: Sequence[Row], place: str) -> Cap | None:
    counts = [output_of(row) for row in own]
    if (modal := modal_cap(counts)) is None:
        return None
    tokens, hits = modal
    scores = [_stated(row) for row, count in zip(own, counts, strict=True) if count != tokens]
    known, first = sum(score or 0.0 for score in scores), own[0]
    names = [first.method, first.variant, f"({first.root})" if first.root else None]
    arm = " ".join(filter(None, names)) + place.format(task=first.task)
    return Cap(arm, tokens, hits, len(own), known / len(own), (known + hits) / len(own))


def modal_cap(counts: Iterable[Any]) -> tuple[int, int] | None:
    """Return (tokens, answers) if a round number of tokens is the count of half or more answers.

    `counts` are known numbers of output tokens; `None` for fewer than `FEWEST` of them.
    """
    known = list(counts)
    seen = Counter(int(count) for count in known if count)
    if not seen or len(known) < FEWEST:
        return None
    tokens, hits = seen.most_common(1)[0]
    return (tokens, hits) if is_round(tokens) and hits >= SHARE * len(known) else None


def is_round(tokens: int) -> bool:
    """Return true for numbers that people set as an output cap: 256, 300, 512, 800, 1000, ..."""
    if tokens < _LEAST_CAP:
        return False
    return tokens & (tokens - 1) == 0 or tokens % 256 == 0 or tokens % 100 == 0


def output_of(row: Row) -> int | None:
    """Return the output tokens by which a cut answer shows; `None` = unknown, or known to end.

    The log's total, or those of the answering root call if its finish reason is not in the log.
    """
    if not row.calls:
        return None if row.totals is None else row.totals.output
    answering = answering_call(row.calls)
    return None if answering is None or answering.finish_reason else answering.usage.output


def answering_call(calls: Sequence[Call]) -> Call | None:
    """Return the last call of the root trajectory that was answered; a judge's is none of it."""
    roots = [c for c in calls if c.depth == 0 and c.error is None and c.role is not Role.JUDGE]
    return roots[-1] if roots else None


def _stated(row: Row) -> float | None:
    return row.scores[0].value if row.scores else None


def told(caps: Mapping[str, Cap]) -> list[str]:
    """Return the sentence of each cap once."""
    return list(dict.fromkeys(cap.remark() for cap in caps.values()))
