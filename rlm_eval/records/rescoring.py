"""Scores of stored answers, computed again where a scorer has changed since; offline and free.

A resumed cell must not mix two versions of a scorer: `runner.runner` brings the stored scores up to
date before it goes on, `rlm-eval score` computes all of them anew. A judge's verdict was paid for
and stays as it is.
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

JUDGE = "judge"
"""Name of the scorer that is a model."""


def readable(answer: Answer, method: Method, calls: Iterable[Call]) -> Answer:
    """`answer` as scorers read it, who cut thoughts out of a text (`reasoning`).

    Nothing is cut of what no model wrote (a floor, a value of the REPL), nor where the call that
    gave the answer has its reasoning apart.
    """
    if answer.text is None:
        return answer
    computed = isinstance(method, Floor) or answer.provenance == "variable"
    if computed or any(call.id == answer.call and call.reasoning for call in calls):
        return replace(answer, text=Final(answer.text))
    return answer


def scored_again(
    store: CellStore, task: Task, method: Method, samples: Sequence[Sample], *, everything: bool
) -> Iterator[RolloutResult]:
    """Stored attempts with the scores of today's scorers: all, or those of which a version differs.

    Attempts that say nothing about the method, or whose sample is not in `samples`, are left out.
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
        scores = task.score(sample, readable(answer, method, calls))
        now = _versions(scores)
        today |= now
        if everything or now != stored:
            judged = tuple(score for score in attempt.scores if score.scorer == JUDGE)
            yield replace(attempt, scores=(*judged, *scores))


def _versions(scores: Iterable[Score]) -> Mapping[str, str]:
    return {score.scorer: score.version for score in scores if score.scorer != JUDGE}
