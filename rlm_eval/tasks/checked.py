"""What a task gives, checked: its samples, and the scores of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Real

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.plug_ins import guarded, named, returned
from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.tasks import JudgedTask, Task

_TEXTS = ("id", "question", "cluster", "item")


def checked_samples(task: Task, samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples that a task gave. Raises `ConfigError` for one of another form."""
    with guarded(task, "samples", passes=(OSError,)):  # data that cannot be read are no wrong code
        found = list(samples)
    where = named(task, "samples")
    for sample in found:
        if not isinstance(sample, Sample):
            raise ConfigError(f"{where} gave {sample!r:.80}, not a `Sample`")
        for name in _TEXTS:
            if not isinstance(value := getattr(sample, name), str):
                raise ConfigError(
                    f"{where}: {name}={value!r:.80} of sample {sample.index}: give a text"
                )
    return found


def gold_of(task: Task, sample: Sample) -> Answer:
    """Return the task's gold answer. Raises `ConfigError` where its code is at fault."""
    with guarded(task, "gold_answer"):
        found = task.gold_answer(sample)
    if not isinstance(found, Answer):
        raise ConfigError(returned(task, "gold_answer", found, "an `Answer`"))
    return found


def scored(task: Task, sample: Sample, answer: Answer) -> tuple[Score, ...]:
    """Return the task's scores of an answer. Raises `ConfigError` where its scorer is at fault."""
    with guarded(task, "score"):
        found = task.score(sample, answer)
    return checked_scores(task, found)


def checked_scores(task: Task, scores: object, member: str = "score") -> tuple[Score, ...]:
    """Return the scores that a task's `member` returned, their values as `float`.

    Raises `ConfigError` for another type, a value outside [0, 1] such as a percentage, two scores
    of one scorer (records have one column for each), and none although the task has golds.
    """
    if not isinstance(scores, tuple | list) or not all(isinstance(s, Score) for s in scores):
        raise ConfigError(returned(task, member, scores, "a tuple of `Score`"))
    names = [score.scorer for score in scores]
    for score in scores:
        value, name = score.value, score.scorer
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(returned(task, member, name, "a text as the name of a scorer"))
        if value is not None and not (isinstance(value, Real) and 0 <= float(value) <= 1):
            wanted = f"a value in [0, 1] or None for the scorer {name!r}"
            raise ConfigError(returned(task, member, value, wanted))
        if not isinstance(score.parsed, str | None):
            wanted = f"a text or None as what the scorer {name!r} read"
            raise ConfigError(returned(task, member, score.parsed, wanted))
        if names.count(name) > 1:
            raise ConfigError(returned(task, member, names, f"one score of {name!r}"))
    has_gold = getattr(task, "gold_answer", None) is not None
    if not scores and has_gold and not isinstance(task, JudgedTask):  # a judge gives the headline
        wanted = "a score: give Score(name, None) for an answer that is not scored"
        raise ConfigError(returned(task, member, scores, wanted))
    return tuple(s if s.value is None else replace(s, value=float(s.value)) for s in scores)


def value_of(task: Task, sample: Sample, answer: Answer) -> float:
    """Return the first score of an answer that needs no judge; 0 where it has no value."""
    scores = scored(task, sample, answer)
    if not scores:
        raise RlmEvalError(f"{task.name}: every score needs a judge, none is made without a model")
    return scores[0].value or 0.0
