"""One rollout of a sample: solve, set the outcome, score. The only place with task and method.

Exceptions become outcomes only here; a bug in a task or a method is not an outcome and stops the
cell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from rlm_eval.core.clock import time_asleep
from rlm_eval.core.errors import (
    ConfigError,
    EndpointUnusable,
    LimitReached,
    ModelError,
    ReplCrash,
    ReplUnavailable,
)
from rlm_eval.core.plug_ins import guarded, named, returned
from rlm_eval.core.types import Answer, Call, Message, Outcome, Role, Sample, Score, Trajectory
from rlm_eval.methods import Method
from rlm_eval.methods.floor import Floor
from rlm_eval.methods.steps import answering
from rlm_eval.records.rescoring import readable
from rlm_eval.session.arguments import WrongCall, wanted_of
from rlm_eval.session.calls import unrepaired
from rlm_eval.session.prompt_check import cut_note
from rlm_eval.session.session import Session
from rlm_eval.tasks import JudgedTask, Task
from rlm_eval.tasks.checked import checked_scores, gold_of, scored

_NOT_READING = (Role.EMBED, Role.JUDGE)
_JUDGEMENTS = 2
"""Maximum judge calls per attempt while no verdict can be parsed."""


async def run_rollout(
    task: Task, method: Method, sample: Sample, session: Session
) -> tuple[Trajectory, tuple[Score, ...]]:
    """Run `method` on `sample` and score its answer.

    Raises `EndpointUnusable` (no sample can succeed), `LimitReached` (the sweep's budget is
    spent) and `asyncio.CancelledError`; none of them is an outcome of the sample.
    """
    asleep = time_asleep()
    answer, outcome, error = await _solve(task, method, sample, session)
    await asyncio.sleep(0)  # stored replies set the clock in the next turn of the loop
    wall = session.elapsed()
    if slept := time_asleep() - asleep:
        session.note("suspended_seconds", round(slept, 1))
    cut = _cut_prompt(method, answer, session)
    if cut is not None and not outcome.is_missing:
        outcome, error = Outcome.SERVER_CUT, cut_note(cut, session.window_of(cut.slot))
    scores: tuple[Score, ...] = ()
    if not outcome.is_missing:
        judged = Answer(None) if outcome.scores_zero else answer
        scores = scored(task, sample, readable(judged, method, session.calls))
        if isinstance(task, JudgedTask):
            try:
                verdict = await _judge(task, sample, judged, session)
                checked_scores(task, (verdict,), "judge_score")
                scores = checked_scores(task, (verdict, *scores), "judge_score")
            except (ModelError, ValueError) as failure:
                if isinstance(failure, EndpointUnusable):
                    raise
                outcome, error = Outcome.JUDGE_ERROR, f"judge: {failure}"
                scores = ()
    trajectory = Trajectory(
        sample=sample.id,
        epoch=session.epoch,
        answer=answer,
        outcome=outcome,
        calls=tuple(session.calls),
        steps=tuple(session.steps),
        wall_seconds=wall,
        error=error,
        notes=dict(session.notes),
    )
    return trajectory, scores


async def _solve(
    task: Task, method: Method, sample: Sample, session: Session
) -> tuple[Answer, Outcome, str | None]:
    answer, outcome, error = await _solved(task, method, sample, session)
    if session.shows_failures and unrepaired(session.calls) is not None:
        session.note("outage_shown", True)
    if not outcome.is_missing and (lost := session.outage()) is not None:
        return answer, lost.outcome, f"{lost.kind}: {lost}"
    return answer, outcome, error


async def _solved(
    task: Task, method: Method, sample: Sample, session: Session
) -> tuple[Answer, Outcome, str | None]:
    partial = Answer(None)
    if isinstance(method, Floor) and method.needs_task:
        return _floor(task, method, sample), Outcome.OK, None
    try:
        with guarded(method, "solve"):
            answer = await method.solve(session.sample, session)
    except EndpointUnusable:
        raise
    except WrongCall as error:
        raise ConfigError(f"{named(method, 'solve')}: {error}") from error
    except ModelError as error:
        return session.partial or partial, error.outcome, f"{error.kind}: {error}"
    except LimitReached as error:
        if error.scope != "sample":
            raise
        return session.partial or partial, error.outcome, str(error)
    except ReplCrash as error:
        return session.partial or partial, Outcome.REPL_CRASH, str(error)
    except ReplUnavailable as error:
        return session.partial or partial, Outcome.REPL_UNAVAILABLE, str(error)
    if (wanted := wanted_of(answer, session.calls)) is not None:
        raise ConfigError(returned(method, "solve", answer, wanted))
    answer = _with_call(answer, session.calls)
    return answer, _outcome(answer, sample, session), None


def _with_call(answer: Answer, calls: Sequence[Call]) -> Answer:
    """Return the answer with the call that it comes from, where the method names none.

    A method that decides the outcome, or whose code computed the answer, says what it means.
    """
    if answer.call is not None or answer.outcome is not None or answer.provenance == "program":
        return answer
    made = answering(answer.text, [call for call in calls if call.error is None])
    return answer if made is None else replace(answer, call=made.id)


def check_headline(task: Task, scores: Sequence[Score], known: set[str]) -> None:
    """Raise `ConfigError` if the first score is not of the scorer in `known`; fill it if empty.

    The first score is the headline; under several scorers a cell's mean would mean nothing.
    """
    if not scores:
        return
    if not known:
        known.add(scores[0].scorer)
    if scores[0].scorer not in known:
        wanted = f"{next(iter(known))!r}, as for other samples: a cell has one headline scorer"
        raise ConfigError(returned(task, "score", scores[0].scorer, wanted))


def _floor(task: Task, method: Floor, sample: Sample) -> Answer:
    """Return the task's own answer without a model; a method has no access to its task."""
    if method.is_oracle:
        if getattr(task, "gold_answer", None) is None:
            raise ConfigError(
                f"sample {sample.id[:8]}: {method.name} answers with the gold, and {task.name} has "
                "none; choose another method, or in Python give task="
            )
        return gold_of(task, sample)
    with guarded(task, "floors"):
        floors = task.floors()
    if method.floor not in floors:
        raise ConfigError(f"floor={method.floor}: {task.name} has {', '.join(floors) or 'none'}")
    with guarded(task, "floors"):
        return method.solve_with(sample, floors[method.floor])


def _outcome(answer: Answer, sample: Sample, session: Session) -> Outcome:
    """Return the outcome of a returned answer, from the call that produced it."""
    if answer.outcome is not None:
        return answer.outcome
    for call in session.calls:
        if call.id == answer.call and call.is_cut:
            # The benchmark's own output cap would have truncated it as well.
            cap, used = sample.output_cap, call.usage.output
            if cap is None or used is None or used < cap:
                return Outcome.TRUNCATED
    # A reply of reasoning alone has no text: reasoning was separated before.
    return Outcome.OK if (answer.text or "").strip() else Outcome.NO_ANSWER


def _cut_prompt(method: Method, answer: Answer, session: Session) -> Call | None:
    """Return a call with a truncated prompt on which the answer depends.

    The answer's call or else the root's last; any reading call where no model chose them.
    """
    if getattr(method, "plans_its_calls", False):
        unread = (c for c in session.calls if c.is_server_cut and c.role not in _NOT_READING)
        return next(unread, None)
    own = [call for call in session.calls if call.id == answer.call]
    roots = [call for call in session.calls if call.role is Role.ROOT and call.error is None]
    last = (own or roots)[-1:]
    return last[0] if last and last[0].is_server_cut else None


async def _judge(task: JudgedTask, sample: Sample, answer: Answer, session: Session) -> Score:
    with guarded(task, "judge_prompt"):
        prompt = task.judge_prompt(sample, answer)
    if prompt is None:
        return Score("judge", 0.0)
    asked = 0
    while True:
        # Limits apply to the method: its answer is judged even if they are used up.
        call = await session.call(
            [Message("user", prompt)],
            role=Role.JUDGE,
            position="judge",
            model="judge",
            closing=True,
        )
        if call.is_server_cut:
            raise ValueError(cut_note(call, session.window_of("judge")))
        asked += not call.replayed  # an unreadable stored verdict may be requested again
        try:
            with guarded(task, "judge_score", passes=(ValueError,)):
                return task.judge_score(sample, answer, call.reply)
        except ValueError:
            if asked == _JUDGEMENTS:
                raise
