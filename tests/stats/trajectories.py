"""Hand-made trajectories: calls and steps with only what a test cares about."""

from __future__ import annotations

from typing import Any

from rlm_eval.core.types import Answer, Call, Outcome, Prompt, Role, Step, Times, Trajectory, Usage


def call(number: int, role: Role, **fields: Any) -> Call:
    """A finished call; `prompt` may be a list of parts of one user message."""
    start, end = fields.pop("times", (float(number), number + 0.5))
    parts = tuple(fields.pop("prompt", ("?",)))
    given: dict[str, Any] = {
        "parent": None, "depth": 0, "turn": 0, "position": f"t{number}", "slot": "root",
        "model": "m", "reply": "", "reasoning": "", "finish_reason": "stop",
        "usage": Usage(10, 0, 5), "attempts": 1,
    }  # fmt: skip
    return Call(
        id=number,
        role=role,
        prompt=Prompt((("user", parts),)),
        times=Times(start, start, None, end),
        **given | fields,
    )


def root(turn: int, **fields: Any) -> Call:
    """The root call of a turn; its id is the turn's number."""
    return call(turn, Role.ROOT, turn=turn, **fields)


def sub(number: int, parent: int, **fields: Any) -> Call:
    """A plain sub-call of the first block of a root call."""
    given = {"parent": parent, "depth": 1, "position": f"t{parent}.b0"}
    return call(number, Role.SUB, **given | fields)


def step(turn: int, code: str = "pass", **fields: Any) -> Step:
    """The first block of a turn."""
    stdout = fields.pop("stdout", "")
    given: dict[str, Any] = {
        "call": turn, "position": f"t{turn}.b0", "code": code, "stdout": stdout,
        "stdout_chars": len(stdout), "stderr": "", "stderr_chars": 0, "cpu_seconds": 0.01,
        "wall_seconds": 0.02,
    }  # fmt: skip
    return Step(**given | fields)


def trajectory(calls: list[Call], steps: list[Step], answer: str | None = "done") -> Trajectory:
    """The whole."""
    return Trajectory("s", 0, Answer(answer), Outcome.OK, tuple(calls), tuple(steps), 1.0)
