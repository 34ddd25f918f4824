"""Small real trajectories, built from the project's own types, for tests and the benchmark."""

from __future__ import annotations

from typing import Any

from rlm_eval.core.types import (
    Answer,
    Call,
    Context,
    Outcome,
    Prompt,
    Role,
    Sample,
    Score,
    Slice,
    Step,
    Times,
    Trajectory,
    Usage,
    text_hash,
)

CELL: dict[str, Any] = {
    "run": "demo",
    "cell_id": "c0",
    "seed": 0,
    "task": "s_niah",
    "density": "constant",
    "generated": True,
    "protected": False,
    "method": "rlm",
    "root": "model-a",
    "sub": "model-b",
    "prompt": "own_short",
    "prompt_hash": "abc",
    "isolation": "none (preview)",
    "scripted": True,
    "root_window": 8192,
    "concurrency": 1,
    "prices": "test 2026-01-01",
}
USAGE = Usage(100, 10, 20, 0)
TEXT = "filler " * 20 + "the key of the red door is 7412 " + "filler " * 20


def sample(text: str = TEXT, target: Any = "7412", index: int = 0, **changes: Any) -> Sample:
    at = text.find(str(target))
    facts: dict[str, Any] = {
        "id": f"s{index}",
        "task": "s_niah",
        "index": index,
        "question": "What is the key of the red door?",
        "context": Context(text_hash(text), len(text), len(text) // 4, "cl100k", lambda: text),
        "target": target,
        "length": 1024,
        "cluster": f"i{index}",
        "item": f"i{index}",
        "evidence": ((at, at + len(str(target))),) if at >= 0 else (),
        "meta": {"needle_depth": 0.5},
    }
    return Sample(**(facts | changes))


def call(
    number: int,
    start: float,
    end: float,
    *,
    parent: int | None = None,
    role: Role = Role.ROOT,
    parts: tuple[Slice | str, ...] = ("hello",),
    reply: str = "fine",
    submit: float | None = None,
    usage: Usage = USAGE,
    **changes: Any,
) -> Call:
    facts: dict[str, Any] = {
        "id": number,
        "parent": parent,
        "depth": 0 if role is Role.ROOT else 1,
        "role": role,
        "turn": 0,
        "position": f"t{number}",
        "slot": role.value,
        "model": "model-a",
        "prompt": Prompt((("user", parts),)),
        "reply": reply,
        "reasoning": "",
        "finish_reason": "stop",
        "usage": usage,
        "times": Times(start if submit is None else submit, start, None, end),
        "attempts": 1,
    }
    return Call(**(facts | changes))


def step(of: int, cpu: float = 0.5, **changes: Any) -> Step:
    facts: dict[str, Any] = {
        "call": of,
        "position": f"t{of}.b0",
        "code": "print(context[:10])",
        "stdout": "filler fil",
        "stdout_chars": 10,
        "stderr": "",
        "stderr_chars": 0,
        "cpu_seconds": cpu,
        "wall_seconds": cpu,
    }
    return Step(**(facts | changes))


def trajectory(of: Sample, calls: tuple[Call, ...], **changes: Any) -> Trajectory:
    facts: dict[str, Any] = {
        "sample": of.id,
        "epoch": 0,
        "answer": Answer("7412", call=calls[-1].id if calls else None),
        "outcome": Outcome.OK,
        "calls": calls,
        "steps": (),
        "wall_seconds": 12.0,
    }
    return Trajectory(**(facts | changes))


def score(value: float | None, parsed: str | None = "7412") -> tuple[Score, ...]:
    return (Score("official", value, parsed), Score("lenient", value, parsed))
