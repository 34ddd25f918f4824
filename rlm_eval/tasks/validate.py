"""Proofs about a task that need no model: `rlm-eval validate [task...]`.

The gold answer scores 1, no answer scores 0, other samples' golds score about chance, lengths are
as promised, evidence spans hold, samples are the same when made again. Floors are reported beside
them: what a method has to beat. Any task can be checked, the user's own included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rlm_eval.tasks import Task
from rlm_eval.tasks.base import TOLERANCE, GeneratedTask
from rlm_eval.tokens import get_tokenizer
from rlm_eval.types import Answer, Sample, text_hash

SHUFFLED_MOST = 0.6
"""Chance of a two-way question and some noise. More, and the scorer does not tell answers apart."""


@dataclass(frozen=True)
class Proof:
    """One check of one task."""

    name: str
    """What was checked."""
    passed: bool | None
    """`None` = reported, not judged (floors)."""
    detail: str
    """What was found; where it failed, the first sample."""


def validate(task: Task, most: int = 20) -> list[Proof]:
    """All proofs over the first `most` samples.

    Raises whatever the task itself raises where its data cannot be had.
    """
    samples = list(itertools.islice(task.samples(), most))
    if not samples:
        return [Proof("samples", False, "the task has none")]
    golds = [task.gold_answer(sample) for sample in samples]
    proofs = [
        _each("gold scores 1", samples, lambda s: _value(task, s, task.gold_answer(s)) == 1.0),
        _each("no answer scores 0", samples, lambda s: _value(task, s, Answer(None)) == 0.0),
        _each("empty answer scores 0", samples, lambda s: _value(task, s, Answer("")) == 0.0),
        _shuffled(task, samples, golds),
        _repeated(task, samples),
        _each("context is what its hash says", samples, _context_holds),
        _each("evidence spans hold", samples, _evidence_holds),
    ]
    if isinstance(task, GeneratedTask) and task.exact_length:
        proofs.append(_lengths(task, samples))
    for name, floor in task.floors().items():
        score = fmean(_value(task, sample, Answer(floor(sample))) for sample in samples)
        proofs.append(Proof(f"floor {name}", None, f"{score:.3f}"))
    return proofs


def passed(proofs: Sequence[Proof]) -> bool:
    """True where no proof failed."""
    return all(proof.passed is not False for proof in proofs)


def lines(name: str, proofs: Sequence[Proof]) -> list[str]:
    """The proofs as text, one line each."""
    marks = {True: "ok  ", False: "FAIL", None: "    "}
    return [f"{name}: {marks[proof.passed]} {proof.name}: {proof.detail}" for proof in proofs]


def _value(task: Task, sample: Sample, answer: Answer) -> float:
    """The headline among the scores that need no judge."""
    return task.score(sample, answer)[0].value or 0.0


def _each(name: str, samples: Sequence[Sample], holds: Callable[[Sample], bool]) -> Proof:
    failed = [sample for sample in samples if not holds(sample)]
    if not failed:
        return Proof(name, True, f"{len(samples)} samples")
    first = failed[0]
    target = str(first.target)[:80]
    return Proof(
        name,
        False,
        f"not for {len(failed)} of {len(samples)}; first: number {first.index} ({target})",
    )


def _shuffled(task: Task, samples: Sequence[Sample], golds: Sequence[Answer]) -> Proof:
    """Each sample is answered with the golds of up to eight others."""
    if all(gold == golds[0] for gold in golds):
        return Proof("shuffled golds", None, "all golds are equal: nothing to shuffle")
    values = [
        _value(task, sample, golds[(i + step) % len(golds)])
        for step in range(1, min(9, len(golds)))
        for i, sample in enumerate(samples)
    ]
    mean = fmean(values)
    return Proof("shuffled golds", mean <= SHUFFLED_MOST, f"score {mean:.3f}")


def _repeated(task: Task, samples: Sequence[Sample]) -> Proof:
    again = [sample.id for sample in itertools.islice(task.samples(), len(samples))]
    ids = [sample.id for sample in samples]
    same = again == ids and len(set(ids)) == len(ids)
    return Proof("same samples again, all different", same, f"{len(ids)} samples")


def _context_holds(sample: Sample) -> bool:
    text = sample.context.text()
    return text_hash(text) == sample.context.hash and len(text) == sample.context.chars


def _evidence_holds(sample: Sample) -> bool:
    """Spans lie in the text, in order; a gold that the text states verbatim is in one of them."""
    text = sample.context.text()
    inside = all(0 <= start < end <= len(text) for start, end in sample.evidence)
    golds = sample.target if isinstance(sample.target, list) else [sample.target]
    words = [g for g in golds if isinstance(g, str) and len(g) > 4 and g in text]
    if not (sample.evidence and words):
        return inside
    shown = [text[start:end] for start, end in sample.evidence]
    return inside and all(any(word in part for part in shown) for word in words)


def _lengths(task: GeneratedTask, samples: Sequence[Sample]) -> Proof:
    """Context, question and answer budget together, measured anew."""
    counter = get_tokenizer(task.tokenizer)
    totals = [
        counter.count(s.context.text()) + counter.count(s.question) + task.ANSWER_BUDGET
        for s in samples
    ]
    worst = max((abs(total - task.length) for total in totals), default=0)
    allowed = max(TOLERANCE * task.length, 2)
    good = worst <= allowed and max(totals) <= task.length
    return Proof("length", good, f"within {worst / task.length:.2%} of {task.length}")
