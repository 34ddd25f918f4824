"""Shared by methods with code: the step of an executed block, and the call behind an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlm_eval.core.types import Call, Role, Step
from rlm_eval.protocols import Session
from rlm_eval.repl import BlockResult


def step_of(
    session: Session,
    call: int,
    position: str,
    code: str,
    result: BlockResult,
    shown: tuple[str, str],
) -> Step:
    """The block at `position`, written by call `call`; `shown` is (stdout, stderr) as displayed."""
    stdout, stderr = shown
    cpu = result.cpu_seconds
    own = (c.id for c in session.calls if f"{c.position}/".startswith(f"{position}/"))
    return Step(
        call=call,
        position=position,
        code=code,
        stdout=stdout,
        stdout_chars=result.stdout_chars,
        stderr=stderr,
        stderr_chars=result.stderr_chars,
        # Without CPU time from the kernel, the time not spent waiting is the closest bound.
        cpu_seconds=result.wall_seconds - result.waited_seconds if cpu is None else cpu,
        wall_seconds=result.wall_seconds,
        error=result.error,
        calls=tuple(sorted(own)),
    )


def producer(text: str, calls: Sequence[Call]) -> Call | None:
    """Return the call that produced the answer `text` of a program; `None` where its code did.

    It is the call whose reply is `text`. Where code computed the answer and every one of `calls`
    (whose replies it read) was cut, it is the last of them: then nothing whole was read.
    """
    replies = [call for call in calls if call.error is None]
    for call in replies:
        if text.strip() and call.reply.strip() == text.strip():
            return call
    return replies[-1] if replies and all(call.is_cut for call in replies) else None


def answering(text: str | None, calls: Sequence[Call]) -> Call | None:
    """Return the call that an answer comes from where nothing names it; `None` without a call.

    It is the last root call or sub-call whose reply equals `text`, else the last one whose reply
    contains it. Where none does (code computed the answer), and for `None` (the text of the last
    turn), it is the last root call, even one that failed.
    """
    own = [call for call in calls if call.role in (Role.ROOT, Role.SUB)]
    roots = [call for call in own if call.role is Role.ROOT]
    wanted = (text or "").strip()
    if wanted:
        replies = [call for call in reversed(own) if call.error is None]
        for call in replies:
            if wanted in (call.as_sent.strip(), call.reply.strip()):
                return call
        # As words: the number 12 is not part of 7129. One character is in too many replies.
        within = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
        for call in replies if len(wanted) > 1 else []:
            if within.search(call.as_sent):
                return call
    last = roots or own
    return last[-1] if last else None
