"""Records of a block, and conversion of the worker's untrusted report into a result."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlm_eval.repl.host import BlockClock
from rlm_eval.repl.interface import JSON, BlockResult, ReplConfig, ReplValueError, Value
from rlm_eval.repl.wire import Op, WireError

INTERRUPTED = "limit:interrupted"
_ERROR_CHARS = 200
_WHY = {
    "limit:time": "the block ran longer than {config.block_seconds:g} s",
    "limit:cpu": "the block used more than {config.block_cpu_seconds:g} s of processor time",
    "stopped": "the block was stopped",
}

Reply = tuple[Op, JSON]
Mark = tuple[int, int]
"""Bytes and checksum of a call."""


def why(error: str, config: ReplConfig) -> str | None:
    """Return the model's error text for a limit; `None` where the error is not a limit."""
    return _WHY[error].format(config=config) if error in _WHY else None


@dataclass(slots=True)
class Recorded:
    """One call that a block made."""

    reply: Reply | None = None
    """The reply; `None` = no reply, or not yet."""
    told: Callable[[Reply | None], None] | None = None
    """Passes the reply on while the call is in flight."""


@dataclass
class Block:
    """A block as it ran, and the replies to its calls: enough to run it again."""

    code: str
    replies: dict[Mark, list[Recorded]] = field(default_factory=dict)
    """Checksum of a call -> the calls with it, in order."""
    trace: tuple[Any, ...] = ()
    """Error and hashes of the output: compared when the block is run again."""
    interrupted: bool = False
    calls: int = 0
    failed: int = 0
    reply_bytes: int = 0
    is_replay: bool = False
    """True where only the record answers."""
    asked: Counter[Mark] = field(default_factory=Counter)
    """Calls of this run."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Its calls in flight."""

    def next(self, mark: Mark) -> Recorded | None:
        """Return the record of the next call with this checksum, if an earlier run made it."""
        place, known = self.asked[mark], self.replies.get(mark, ())
        self.asked[mark] += 1
        return known[place] if place < len(known) else None

    def record(self, mark: Mark) -> Recorded:
        """Record a new call."""
        new = Recorded()
        self.replies.setdefault(mark, []).append(new)
        return new

    def replay(self) -> Block:
        """Return a copy to run again from the record alone."""
        return Block(self.code, self.replies, interrupted=self.interrupted, is_replay=True)

    def begin_again(self) -> None:
        """Reset, to run again from the start: the machine ended its worker."""
        self.calls = self.failed = self.reply_bytes = 0
        self.asked = Counter()

    @property
    def has_unasked(self) -> bool:
        """Return true if an earlier run made calls that the last one did not."""
        return any(len(known) > self.asked[mark] for mark, known in self.replies.items())

    async def end_calls(self, *, wait: bool = False) -> None:
        """Cancel the calls in flight, or `wait` for them where the journal will need them."""
        for task in () if wait else self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass
class Binding:
    """A variable set by the host."""

    name: str
    value: JSON


def checked(done: Any) -> dict[str, Any]:
    """Validate a worker's report on a block. Raises `WireError` for an impossible one."""
    if not isinstance(done, dict):
        raise WireError("a report that is no dict")
    error, names = done.get("error"), done.get("variables", {})
    if not (error is None or isinstance(error, str)) or not isinstance(names, dict):
        raise WireError("a report with an error or variables of another type")
    answer, replaced = done.get("answer"), done.get("replaced")
    try:
        found = None if answer is None else value_of(answer)
    except ReplValueError as failure:
        raise WireError(str(failure)) from failure
    return {
        "error": error and error[:_ERROR_CHARS],
        "variables": {str(k): str(v) for k, v in names.items()},
        "answer": found,
        "stdout": text_of(done, "stdout"),
        "stderr": text_of(done, "stderr"),
        "threads": done.get("threads"),
        "replaced": tuple(map(str, replaced)) if isinstance(replaced, list) else (),
    }


def result(
    block: Block, done: dict[str, Any], clock: BlockClock, config: ReplConfig, *, diverged: bool
) -> BlockResult:
    """Return the result of a block that ended in its worker; `done` as `checked` returns it."""
    stdout, stderr = done["stdout"], done["stderr"]
    error = done["error"]
    if block.interrupted:
        error = clock.reached or INTERRUPTED
        reason = why(error, config) or "the block was interrupted"
        note = f"{error}: {reason}; variables assigned so far are kept.\n"
        stderr = (stderr[0] + note, stderr[1] + len(note))
    return BlockResult(
        stdout=stdout[0],
        stdout_chars=stdout[1],
        stderr=stderr[0],
        stderr_chars=stderr[1],
        error=error,
        cpu_seconds=clock.cpu(),
        wall_seconds=clock.wall(),
        waited_seconds=clock.waited(),
        n_calls=block.calls,
        n_failed_calls=block.failed,
        variables=done["variables"],
        answer=done["answer"],
        replaced=done["replaced"],
        diverged=diverged,
    )


def text_of(done: dict[str, Any], stream: str) -> tuple[str, int]:
    """Return (text, full length) as a worker reports it, made consistent."""
    captured = done.get(stream)
    if not (isinstance(captured, list) and len(captured) == 2):
        return "", 0
    text, chars = captured
    text = text if isinstance(text, str) else ""
    return text, max(len(text), chars) if isinstance(chars, int) else len(text)


def value_of(described: Any) -> Value:
    """Return a variable as a worker described it. Raises `ReplValueError` for an invalid one."""
    if isinstance(described, dict):
        value, text = described.get("value"), described.get("text")
        if text is None and isinstance(value, str):
            text = value
        if isinstance(text, str):
            plain = described.get("plain") is True
            kind = str(described.get("type"))
            return Value(text, kind, value if plain else None, plain)
    raise ReplValueError("the worker described a value in a way that cannot be")
