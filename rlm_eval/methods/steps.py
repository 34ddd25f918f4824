"""Convert an executed block into a trajectory step, in the same way for every method with code."""

from __future__ import annotations

from rlm_eval.core.types import Step
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
