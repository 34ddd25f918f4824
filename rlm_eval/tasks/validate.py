"""Model-free validation of a task: `rlm-eval validate [task...]`.

The gold answer scores 1, no answer scores 0, other samples' golds score about chance, lengths are
as declared, evidence spans hold, samples are reproducible. Baseline scores without a model are
printed too (`ceilings`); a generated task fails where a skimmer or a no-model rule exceeds its
prior by more than `SHORTCUT` at two lengths, unless its class sets `solved_by_code`. Users' own
tasks can be checked as well.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlm_eval.core.plug_ins import guarded
from rlm_eval.core.tokens import get_tokenizer
from rlm_eval.core.types import Answer, Sample, text_hash
from rlm_eval.tasks import Task, ceilings
from rlm_eval.tasks.base import TOLERANCE, GeneratedTask
from rlm_eval.tasks.baselines import Kind
from rlm_eval.tasks.checked import checked_samples, gold_of, scored, value_of

SHUFFLED_MOST = 0.6
"""Chance level of a two-way question plus noise. Above it the scorer does not distinguish
answers."""

SHORTCUT = 0.15
"""Margin by which a rule without a model may exceed the prior; more, at two lengths, means that the
task does not require reading."""
_LONG = 16_384  # tokens: longer tasks are checked at half their length, others at double


@dataclass(frozen=True)
class Check:
    """One check of one task."""

    name: str
    """Name of the check."""
    passed: bool | None
    """`None` = informational (baselines)."""
    detail: str
    """The finding; for a failure, the first failing sample."""


def validate(task: Task, most: int = 20) -> list[Check]:
    """Run all checks over the first `most` samples.

    Raises `ConfigError` where the task's code is at fault. Propagates its exceptions where its data
    are unavailable.
    """
    samples = checked_samples(task, itertools.islice(task.samples(), most))
    if not samples:
        return [Check("samples", False, "the task has none")]
    golds = [gold_of(task, sample) for sample in samples]
    proofs = [
        _each("gold scores 1", samples, lambda s: value_of(task, s, gold_of(task, s)) == 1.0),
        _each("no answer scores 0", samples, lambda s: value_of(task, s, Answer(None)) == 0.0),
        _each("empty answer scores 0", samples, lambda s: value_of(task, s, Answer("")) == 0.0),
        _shuffled(task, samples, golds),
        _repeated(task, samples),
        _each("context is what its hash says", samples, _context_holds),
        _each("evidence spans hold", samples, _evidence_holds),
    ]
    if isinstance(task, GeneratedTask) and task.exact_length:
        proofs.append(_lengths(task, samples))
    measured = _measured(task, samples)
    proofs += _baselines(measured)
    if task.generated:
        proofs.append(no_shortcut(task, measured, most))
    return proofs


def passed(proofs: Sequence[Check]) -> bool:
    """True where no check failed."""
    return all(proof.passed is not False for proof in proofs)


def lines(name: str, proofs: Sequence[Check]) -> list[str]:
    """Format the checks as text, one line each."""
    marks = {True: "ok  ", False: "FAIL", None: "    "}
    return [f"{name}: {marks[proof.passed]} {proof.name}: {proof.detail}" for proof in proofs]


def _baselines(measured: Mapping[str, Any]) -> Iterator[Check]:
    """Score and rule of each kind of baseline; for skimmers also the share of text read."""
    for kind, found in measured["kinds"].items():
        reads = f", reads {found['read']:.2%} of the text" if kind == Kind.SKIMMER else ""
        yield Check(f"baseline {kind}", None, f"{found['score']:.3f} ({found['name']}{reads})")


def _measured(task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    with guarded(task, "floors or baselines"):
        return ceilings.measure(task, samples)


def no_shortcut(task: Task, measured: Mapping[str, Any], most: int) -> Check:
    """Check that no skimmer and no model-free rule exceeds the prior at two lengths.

    `measured` covers the task's own first `most` samples; another length is measured only if
    needed.
    """
    if measured["solved_by_code"]:
        return Check("no shortcut", None, "solved by a search or a program by design")
    if len(measured["samples"]) < ceilings.FEW:
        return Check("no shortcut", None, f"not judged: n is under {ceilings.FEW}")
    found = _shortcuts(measured)
    other = _other_size(task)
    if found and other is not None:
        samples = list(itertools.islice(other.samples(), most))
        again = _shortcuts(_measured(other, samples))
        found = {kind: f"{told}; {again[kind]}" for kind, told in found.items() if kind in again}
    if not found:
        return Check("no shortcut", True, f"none exceeds the prior by {SHORTCUT} at two lengths")
    told = "; ".join(f"{kind} {said}" for kind, said in found.items())
    return Check(
        "no shortcut",
        False,
        f"{told}. Change the generator, or set solved_by_code on the class where a program is "
        "meant to solve it",
    )


def _shortcuts(measured: Mapping[str, Any]) -> dict[Kind, str]:
    """The kinds that exceed the prior, with their scores as text."""
    kinds = measured["kinds"]
    prior = kinds[Kind.PRIOR]["score"]
    return {
        kind: f"{kinds[kind]['score']:.2f} ({kinds[kind]['name']}) against prior {prior:.2f}"
        for kind in (Kind.SKIMMER, Kind.NO_MODEL)
        if kinds[kind]["score"] - prior > SHORTCUT
    }


def _other_size(task: Task) -> Task | None:
    """The same task at another length or number of documents; `None` where it has only one."""
    if not dataclasses.is_dataclass(task) or isinstance(task, type):
        return None
    names = {field.name for field in dataclasses.fields(task)}
    for name, long in (("documents", 40), ("length", _LONG)):
        if name in names and isinstance(size := getattr(task, name), int):
            other: Task = dataclasses.replace(
                task, **{name: size * 2 if size <= long else size // 2}
            )
            return other
    return None


def shown(task: Task, most: int = 3) -> list[str]:
    """The first samples of a task as text, with the scorers' results for four answers to each.

    The answers: the gold, the gold in a sentence, a wrong and an empty one. No judge is called.
    """
    found = []
    samples = list(itertools.islice(task.samples(), most))
    for number, sample in enumerate(samples, 1):
        value = sample.context.value()
        form = "one text" if isinstance(value, str) else f"{len(value)} documents"
        gold = gold_of(task, sample).text or ""
        wrong = "(something else)"
        found += [
            "",
            f"sample {number}: {form}, {sample.context.chars:,} characters, "
            f"{sample.context.tokens:,} tokens, cluster {sample.cluster[:16]}",
            f"  context:  {_short(sample.context.text())}",
            f"  question: {_short(sample.question)}",
            f"  gold:     {_short(str(sample.target))}",
            f"  columns:  {', '.join(sample.meta) or 'no others'}",
        ]
        answers = {"gold": gold, "in a sentence": f"The answer is: {gold}.", "wrong": wrong}
        for title, text in (answers | {"empty": ""}).items():
            scores = ", ".join(
                f"{s.scorer} {'needs a judge' if s.value is None else f'{s.value:.2f}'}"
                f" (read {_short(repr(s.parsed), 40)})"
                for s in scored(task, sample, Answer(text))
            )
            found.append(f"  {title + ':':15} {_short(repr(text), 50)} -> {scores}")
    return found


def _short(text: str, most: int = 100) -> str:
    """The text on one line, truncated."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _each(name: str, samples: Sequence[Sample], holds: Callable[[Sample], bool]) -> Check:
    failed = [sample for sample in samples if not holds(sample)]
    if not failed:
        return Check(name, True, f"{len(samples)} samples")
    first = failed[0]
    target = str(first.target)[:80]
    return Check(
        name,
        False,
        f"not for {len(failed)} of {len(samples)}; first: number {first.index} ({target})",
    )


def _shuffled(task: Task, samples: Sequence[Sample], golds: Sequence[Answer]) -> Check:
    """Score each sample with the golds of up to eight other samples."""
    if all(gold == golds[0] for gold in golds):
        return Check("shuffled golds", None, "all golds are equal: nothing to shuffle")
    values = [
        value_of(task, sample, golds[(i + step) % len(golds)])
        for step in range(1, min(9, len(golds)))
        for i, sample in enumerate(samples)
    ]
    mean = fmean(values)
    return Check("shuffled golds", mean <= SHUFFLED_MOST, f"score {mean:.3f}")


def _repeated(task: Task, samples: Sequence[Sample]) -> Check:
    again = [sample.id for sample in itertools.islice(task.samples(), len(samples))]
    ids = [sample.id for sample in samples]
    same = again == ids and len(set(ids)) == len(ids)
    return Check("same samples again, all different", same, f"{len(ids)} samples")


def _context_holds(sample: Sample) -> bool:
    text = sample.context.text()
    return text_hash(text) == sample.context.hash and len(text) == sample.context.chars


def _evidence_holds(sample: Sample) -> bool:
    """True where spans are in range and in order, and one contains a gold that occurs verbatim."""
    text = sample.context.text()
    inside = all(0 <= start < end <= len(text) for start, end in sample.evidence)
    golds = sample.target if isinstance(sample.target, list) else [sample.target]
    words = [g for g in golds if isinstance(g, str) and len(g) > 4 and g in text]
    if not (sample.evidence and words):
        return inside
    shown = [text[start:end] for start, end in sample.evidence]
    return inside and all(any(word in part for part in shown) for word in words)


def _lengths(task: GeneratedTask, samples: Sequence[Sample]) -> Check:
    """Remeasure context, question and answer budget together."""
    counter = get_tokenizer(task.tokenizer)
    totals = [
        counter.count(s.context.text()) + counter.count(s.question) + task.ANSWER_BUDGET
        for s in samples
    ]
    worst = max((abs(total - task.length) for total in totals), default=0)
    allowed = max(TOLERANCE * task.length, 2)
    good = worst <= allowed and max(totals) <= task.length
    return Check("length", good, f"within {worst / task.length:.2%} of {task.length}")
