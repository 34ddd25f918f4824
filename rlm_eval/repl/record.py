"""What is kept of a block, and the worker's claims about it turned into what methods are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlm_eval.repl.host import BlockClock
from rlm_eval.repl.interface import JSON, BlockResult, ReplConfig, ReplValueError, Value
from rlm_eval.repl.wire import Op

INTERRUPTED = "limit:interrupted"
_WHY = {
    "limit:time": "the block ran longer than {config.block_seconds:g} s",
    "limit:cpu": "the block used more than {config.block_cpu_seconds:g} s of processor time",
    "stopped": "the block was stopped",
}

Reply = tuple[Op, JSON]


def why(error: str, config: ReplConfig) -> str | None:
    """What a model is told about a limit; `None` where it is no limit."""
    return _WHY[error].format(config=config) if error in _WHY else None


@dataclass
class Block:
    """A block as it ran, and what its calls were told: enough to run it again."""

    code: str
    replies: dict[tuple[int, int], list[Reply | None]] = field(default_factory=dict)
    """Checksum of a call -> its replies in order; `None` = it never got one."""
    trace: tuple[Any, ...] = ()
    """Error and hashes of the output: compared when the block is run again."""
    interrupted: bool = False
    calls: int = 0
    failed: int = 0


@dataclass
class Binding:
    """A variable set by the host."""

    name: str
    value: JSON


def result(
    block: Block, done: dict[str, Any], clock: BlockClock, config: ReplConfig
) -> BlockResult:
    """The result of a block that came to an end in its worker."""
    stdout, stderr = done["stdout"], done["stderr"]
    error = done.get("error")
    if block.interrupted:
        error = clock.reached or INTERRUPTED
        reason = why(error, config) or "the block was interrupted"
        note = f"{error}: {reason}; variables assigned so far are kept.\n"
        stderr = (stderr[0] + note, stderr[1] + len(note))
    answer = done.get("answer")
    names = done.get("variables")
    return BlockResult(
        stdout=stdout[0],
        stdout_chars=stdout[1],
        stderr=stderr[0],
        stderr_chars=stderr[1],
        error=None if error is None else str(error),
        cpu_seconds=clock.cpu(),
        wall_seconds=clock.wall(),
        waited_seconds=clock.waited(),
        n_calls=block.calls,
        n_failed_calls=block.failed,
        variables={str(k): str(v) for k, v in names.items()} if isinstance(names, dict) else {},
        answer=None if answer is None else value_of(answer),
    )


def text_of(done: dict[str, Any], stream: str) -> tuple[str, int]:
    """(text, full length) as a worker claims it, made consistent."""
    captured = done.get(stream)
    if not (isinstance(captured, list) and len(captured) == 2):
        return "", 0
    text, chars = captured
    text = text if isinstance(text, str) else ""
    return text, max(len(text), chars) if isinstance(chars, int) else len(text)


def value_of(described: Any) -> Value:
    """A variable as a worker described it. Raises `ReplValueError` where it makes no sense."""
    if isinstance(described, dict):
        value, text = described.get("value"), described.get("text")
        if text is None and isinstance(value, str):
            text = value
        if isinstance(text, str):
            plain = described.get("plain") is True
            kind = str(described.get("type"))
            return Value(text, kind, value if plain else None, plain)
    raise ReplValueError("the worker described a value in a way that cannot be")
