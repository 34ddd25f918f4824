"""Rescoring of stored answers after a scorer has changed; offline and free.

A resumed cell must not mix two versions of a scorer: `runner.runner` updates the stored scores
before it continues, `rlm-eval score` recomputes all of them. A judge's verdict was paid for and is
kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rlm_eval.core.reasoning import Final, without_thoughts
from rlm_eval.core.types import Answer, Call, Sample, Score
from rlm_eval.methods import Method
from rlm_eval.methods.floor import Floor
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.tasks import Task
from rlm_eval.tasks.checked import scored

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
        scores = scored(task, sample, readable(answer, method, calls))
        now = _versions(scores)
        today |= now
        if everything or now != stored:
            judged = tuple(score for score in attempt.scores if score.scorer == JUDGE)
            yield replace(attempt, scores=(*judged, *scores))


def _versions(scores: Iterable[Score]) -> Mapping[str, str]:
    return {score.scorer: score.version for score in scores if score.scorer != JUDGE}
