"""From foreign rows to cells: samples, epochs, outcomes, scores, and remarks for readers.

The outcome of a row follows from its log by three rules: an error text maps to an outcome of the
kind's table, else `provider_error`; an empty answer is `no_answer`; and if half or more of a
method's answers have the same round number of output tokens, those are `unknown`: an output cap may
have truncated them, and their scores are bounds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import (
    Answer,
    Call,
    Context,
    Outcome,
    Prompt,
    Sample,
    Score,
    Trajectory,
    canonical_text,
    text_hash,
)
from rlm_eval.importers.caps import answering_call, cell_key, output_of, suspected_caps
from rlm_eval.importers.caps import told as told_caps
from rlm_eval.importers.faults import NOTE as FAULT
from rlm_eval.importers.faults import without_faults
from rlm_eval.importers.numbers import check_numbers
from rlm_eval.importers.questions import by_question, gold_key, several_golds, text_key
from rlm_eval.importers.rows import BadLog, Row
from rlm_eval.importers.scoring import NO_TEXT, THEIRS, ours, scored_text, with_headline
from rlm_eval.importers.settings import apart
from rlm_eval.importers.together import on_one_scale, unscored, unstated_named, with_golds
from rlm_eval.importers.verdicts import one_scorer, with_their_scorer
from rlm_eval.scoring.registry import SCORERS
from rlm_eval.storage.prompt_slices import SourceIndex

VERSION = 6
"""Raised whenever the import of the same file may change; written to every manifest."""

_SETTINGS = ("task_settings", "method_settings")


@dataclass
class Cell:
    """The samples of one task, length, method and models."""

    facts: dict[str, Any]
    """Facts of the cell, as in a manifest."""
    price: str | None = None
    """Key of the single price of its tokens; `None` = unknown."""
    samples: dict[str, Sample] = field(default_factory=dict)
    """By id, in order of appearance."""
    results: list[tuple[Trajectory, tuple[Score, ...]]] = field(default_factory=list)
    """Trajectories with their verdicts, the headline first."""
    remarks: dict[str, None] = field(default_factory=dict)
    """Remarks that every figure must print."""


@dataclass(frozen=True)
class Assembled:
    """Result of an import."""

    cells: list[Cell]
    """Cells in order of appearance."""
    contexts: dict[str, str]
    """Hash -> text of the contexts in the logs."""
    told: list[str]
    """Messages for the user: dropped duplicates, suspected caps, disagreements."""


def assemble(
    rows: Sequence[Row],
    kind: str,
    *,
    scorer: str | None = None,
    headline: str = THEIRS,
    their_scorer: str | None = None,
    last: bool = False,
    remarks: Sequence[str] = (),
    direct: str | None = None,
) -> Assembled:
    """Assemble cells from foreign rows. `scorer` rescores in addition to each row's own scorer;
    `their_scorer` names the log's scorer that the user chose; `last` keeps the last of several
    different rows of one sample and repeat.

    Raises `BadLog` if rows cannot be distinguished, or contradict each other.
    """
    told: list[str] = []
    for row in rows:
        check_numbers(row)
    rows = without_faults(apart(rows, told), told)
    one_scorer(rows, told, headline=headline, asked=their_scorer)
    rows = by_question(rows, told)
    rows = unstated_named(on_one_scale(with_golds(rows, told), told), told)
    several_golds(rows, told)
    named = [(row, _sample_id(kind, row)) for row in rows]
    kept = _without_duplicates(named, told, last=last)
    caps = suspected_caps([row for row, _, _ in kept])
    verdicts = [_again(row, scorer) for row, _, _ in kept]
    names: dict[str, set[str]] = defaultdict(set)
    for (row, _, _), own in zip(kept, verdicts, strict=True):
        names[row.task] |= {
            score.scorer for score in (*row.scores, *own) if score.scorer in SCORERS
        }
    cells: dict[str, Cell] = {}
    contexts: dict[str, str] = {}
    indexes: dict[str, SourceIndex] = {}
    errors: Counter[str] = Counter()
    for (row, sample_id, epoch), own in zip(kept, verdicts, strict=True):
        key = cell_key(row)
        cell = cells.setdefault(key, Cell(_facts(row, kind, direct)))
        cell.facts = with_their_scorer(cell.facts, row.their_scorer)
        cell.remarks |= dict.fromkeys(remarks)
        if row.lacking is not None:
            cell.remarks[row.lacking] = None
        if row.totals is not None:
            price = row.totals.price
            cell.price = price if not cell.results or price == cell.price else None
        context = _context(row, contexts)
        sample = cell.samples.get(sample_id) or _sample(row, sample_id, context, len(cell.samples))
        cell.samples[sample_id] = sample
        cap = caps.get(key)
        outcome, notes = row.outcome, dict(row.notes)
        if row.error and outcome is Outcome.PROVIDER_ERROR and FAULT not in notes:
            errors[row.error.splitlines()[0][:80]] += 1
        if outcome is Outcome.OK and cap and output_of(row) == cap.tokens:
            outcome = Outcome.UNKNOWN
            notes["suspected_cap"] = cap.tokens
            cell.remarks[cap.remark()] = None
        if row.context_tokens is not None and row.tokenizer is None:
            notes["their_context_size"] = row.context_tokens
        if row.their_scorer is not None:
            notes["their_scorer"] = row.their_scorer
        notes |= {"source_sha256": row.sha256, "source_row": row.place}
        calls = _with_slices(row, contexts, indexes)
        trajectory = Trajectory(
            sample=sample_id,
            epoch=epoch,
            answer=Answer(row.answer, call=_answering(calls), provenance=row.provenance),
            outcome=outcome,
            calls=calls,
            steps=row.steps,
            wall_seconds=row.seconds,
            error=row.error,
            notes=notes | ({"timestamp": row.timestamp} if row.timestamp else {}),
            totals=row.totals,
        )
        scores = () if outcome.is_missing else (*row.scores, *own)
        if not any(score.scorer in SCORERS for score in scores):
            scores = (*scores, *unscored(row, headline, names[row.task]))
        cell.results.append((trajectory, with_headline(scores, headline)))
    told += told_caps(caps)
    told += dict.fromkeys(row.lacking for row, _, _ in kept if row.lacking is not None)
    bare = sum(
        not row.answer
        and not row.error
        and not (row.outcome.is_missing or row.outcome.scores_zero)
        and not any(score.value is not None for score in row.scores)
        for row, _, _ in kept
    )
    if bare:
        told.append(
            f"{bare} of {len(kept)} rows have neither an answer nor a score nor an error: they "
            "count as not scored"
        )
    told += [
        f"{count} rows with the error {text!r} count as provider_error (missing, not wrong)"
        for text, count in errors.most_common(3)
    ]
    return Assembled(list(cells.values()), contexts, told)


def _again(row: Row, scorer: str | None) -> tuple[Score, ...]:
    """Return our verdicts; none if gold or answer is missing, or the log has ours already."""
    name = scorer or row.scorer
    text = scored_text(row.answer, row.outcome)
    if not name or row.gold is None or text is None:
        return ()
    found = ours(name, row.gold, text, row.answer_type)
    return () if any(s.scorer == found.scorer for s in row.scores) else (found,)


def _sample_id(kind: str, row: Row) -> str:
    """Hash the values that determine the sample: never a seed or a position in the file."""
    if row.sample_id is not None:
        return row.sample_id
    if row.item is None and row.question is None:
        raise BadLog(
            f"{row.place}: nothing tells its question from others: the log has neither an id nor "
            "a text of it; name one with `item` or `question` in a field map"
        )
    context = None if row.context is None else text_hash(canonical_text(row.context))
    # The text too: an id of another import may be that of another question.
    words = None if row.question is None else text_key(row.question)
    known = [kind, row.task, row.task_variant, row.length, row.item, words, gold_key(row.gold)]
    parts = [*known, context or row.context_id or row.context_chars]
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _without_duplicates(
    named: Iterable[tuple[Row, str]], told: list[str], *, last: bool
) -> list[tuple[Row, str, int]]:
    """Return (row, sample id, epoch); equal rows are dropped, conflicting ones raise `BadLog`."""
    epochs: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    found: dict[tuple[str, str, int], Row] = {}
    dropped = replaced = 0
    for row, sample in named:
        cell = cell_key(row)
        repeats = epochs[cell, sample]
        epoch = repeats.setdefault(str(row.repeat), len(repeats))
        key = (cell, sample, epoch)
        earlier = found.get(key)
        if earlier is None:
            found[key] = row
        elif _content(earlier) == _content(row):
            dropped += 1
        elif last:
            found[key] = row
            replaced += 1
        else:
            raise BadLog(
                f"{row.method}, question {row.item or row.question!r:.80}: {earlier.place} and "
                f"{row.place} are different rows of one sample; name what tells repeats apart "
                "(`repeat` in a field map), or keep the last one with --last"
            )
    if dropped:
        told.append(f"{dropped} rows are exact copies of another row: dropped")
    if replaced:
        told.append(f"{replaced} rows were replaced by a later, different row of the same sample")
    return [(row, sample, epoch) for (_, sample, epoch), row in found.items()]


def _content(row: Row) -> Row:
    return replace(row, place="", sha256="", timestamp=None)


def _facts(row: Row, kind: str, direct: str | None) -> dict[str, Any]:
    return (
        {
            "task": row.task,
            "task_variant": row.task_variant,
            "generated": False,
            "protected": False,
            "method": row.method,
            "variant": row.variant,
            "root": row.root or "unknown model",
            "sub": row.sub,
            "judge": None,
            "depth_limit": row.depth_limit,
            "prompt": None,
            "prompt_hash": None,
            "isolation": None,
            "scripted": False,
            "root_window": None,
            "concurrency": None,
            "seed": None,
        }
        | row.facts
        | {"imported": kind, "direct": direct}
        # They distinguish imports made apart when these are read together.
        | {name: dict(value) for name in _SETTINGS if (value := getattr(row, name)) is not None}
    )


def _context(row: Row, contexts: dict[str, str]) -> Context:
    if row.context is None:
        about: dict[str, Any] = {"hash": row.context_hash, "chars": row.context_chars}
    else:
        text = canonical_text(row.context)
        about = {"hash": text_hash(text), "chars": len(text)}
        contexts[about["hash"]] = text

    def absent() -> str:
        raise RlmEvalError("the log of this imported sample holds no context")

    # Values missing from a log are None, as in the stored line (`core.types.Context`).
    named = row.tokenizer is not None
    about |= {"tokens": row.context_tokens if named else None, "tokenizer": row.tokenizer}
    return Context(**about, load=absent)


def _sample(row: Row, sample_id: str, context: Context, index: int) -> Sample:
    shared = row.cluster or row.context_id or context.hash
    meta = dict(row.meta) | ({"answer_type": row.answer_type} if row.answer_type else {})
    about: dict[str, Any] = {"length": row.length}
    return Sample(
        id=sample_id,
        task=row.task,
        index=index,
        question=row.question if row.question is not None else f"{NO_TEXT} {row.item}]",
        context=context,
        target=row.gold,
        cluster=str(shared) if shared is not None else sample_id,
        item=row.item or sample_id,
        evidence=row.evidence,
        meta=meta,
        **about,
    )


def _answering(calls: Sequence[Call]) -> int | None:
    found = answering_call(calls)
    return None if found is None else found.id


def _with_slices(
    row: Row, contexts: Mapping[str, str], indexes: dict[str, SourceIndex]
) -> tuple[Call, ...]:
    """Return the calls with context text in their prompts replaced by slices."""
    if row.context is None or not row.calls:
        return row.calls
    text = canonical_text(row.context)
    name = text_hash(text)
    index = indexes.get(name) or indexes.setdefault(name, SourceIndex(name, contexts[name]))
    return tuple(
        replace(
            call,
            prompt=Prompt(
                tuple(
                    (role, tuple(p for part in parts for p in index.encode(str(part))))
                    for role, parts in call.prompt.messages
                )
            ),
        )
        for call in row.calls
    )
