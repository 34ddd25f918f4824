"""Rescoring of stored answers after a scorer has changed; offline and free.

A resumed cell must not mix two versions of a scorer: `runner.runner` updates the stored scores
before it continues, `rlm-eval score` recomputes all of them. A judge's verdict was paid for and is
kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.reasoning import Final, without_thoughts
from rlm_eval.core.types import Answer, Call, Sample, Score
from rlm_eval.methods import Method
from rlm_eval.methods.floor import Floor
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.tasks import JudgedTask, Task

JUDGE = "judge"
"""Name of the model-based scorer."""


def readable(answer: Answer, method: Method, calls: Iterable[Call]) -> Answer:
    """Return `answer` without embedded reasoning, in the form that scorers read (`reasoning`).

    Nothing is removed from text that no model wrote (a floor, a REPL value), or if the answer's
    call has its reasoning in a separate field.
    """
    if answer.text is None:
        return answer
    computed = isinstance(method, Floor) or answer.provenance == "variable"
    # An engine reads its replies as sent, thoughts included (`Call.raw`).
    as_sent = answer.provenance == "program"
    if computed or any(
        call.id == answer.call and call.reasoning and not (as_sent and call.raw) for call in calls
    ):
        return replace(answer, text=Final(answer.text))
    return answer


def returned(plug_in: object, member: str, value: object, wanted: str) -> str:
    """Say what a member of a plug-in returned, and what it must return."""
    cls = type(plug_in)
    return f"{cls.__module__}.{cls.__qualname__}.{member} returned {value!r:.80}, not {wanted}"


def checked_scores(task: Task, scores: object, member: str = "score") -> tuple[Score, ...]:
    """Return the scores that a task's `member` returned.

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
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
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
    return tuple(scores)


def scored_again(
    store: CellStore, task: Task, method: Method, samples: Sequence[Sample], *, everything: bool
) -> Iterator[RolloutResult]:
    """Yield stored attempts with current scores: all, or those with an outdated scorer version.

    Skips attempts with a missing outcome and those whose sample is not in `samples`.
    """
    by_id = {sample.id: sample for sample in samples}
    today: dict[str, str] = {}
    for (sample_id, epoch), attempt in list(store.attempts.items()):
        sample, outcome = by_id.get(sample_id), attempt.trajectory.outcome
        if sample is None or outcome.is_missing:
            continue
        stored = _versions(attempt.scores)
        if not everything and all(today.get(name) == of for name, of in stored.items()):
            continue
        answer = Answer(None) if outcome.scores_zero else attempt.trajectory.answer
        text = answer.text
        tagged = text is not None and without_thoughts(text) != text
        calls = store.one(sample_id, epoch)[1].trajectory.calls if tagged else ()
        scores = checked_scores(task, task.score(sample, readable(answer, method, calls)))
        now = _versions(scores)
        today |= now
        if everything or now != stored:
            judged = tuple(score for score in attempt.scores if score.scorer == JUDGE)
            yield replace(attempt, scores=(*judged, *scores))


def _versions(scores: Iterable[Score]) -> Mapping[str, str]:
    return {score.scorer: score.version for score in scores if score.scorer != JUDGE}
