"""Values exchanged between a REPL and its callers: results of blocks, variables, host functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

JSON: TypeAlias = Any
"""None, bool, int, float, str, and lists and dicts of these (dict keys may be any scalar)."""
HostFunction: TypeAlias = Callable[..., Awaitable[JSON]]
"""Called with the JSON arguments of the model's code; its result is returned to that code.

Raising `ReplCallError` raises `SubCallError` in the model's code, which may catch it. Arguments
that do not match the signature raise `TypeError` there. Any other exception ends the block and is
raised from `Repl.run`. A batch is one call with the whole list.
"""


@dataclass(frozen=True, slots=True)
class Value:
    """A variable of the worker, copied to the host."""

    text: str
    """`str()` of the variable, computed in the worker."""
    type_name: str
    """Name of its type."""
    value: JSON = None
    """The object itself where it is plain data (`is_plain`), tuples as lists; else `None`."""
    is_plain: bool = False
    """True where `value` holds the object."""


@dataclass(frozen=True, slots=True)
class BlockResult:
    """The result of one block."""

    stdout: str
    """Captured output; beyond `output_keep_chars`, its head and tail around a mark."""
    stdout_chars: int
    """Full length of stdout."""
    stderr: str
    """Captured stderr, then the traceback cut to the model's own lines; capped like stdout."""
    stderr_chars: int
    """Full length of stderr."""
    error: str | None
    """Exception type name; `limit:time`, `limit:cpu`, `limit:output`; `worker_lost`; `exit:TYPE`,
    with a `scaffold`, for one that is no `Exception`; or `None`."""
    cpu_seconds: float | None
    """Processor time of the block, seconds, measured by the host; `None` where not measurable."""
    wall_seconds: float
    """Seconds from start to end, host calls included."""
    waited_seconds: float
    """The part of `wall_seconds` during which a host call was in flight."""
    n_calls: int
    """Host calls made (a batch is one)."""
    n_failed_calls: int
    """Host calls that raised an error in the model's code."""
    variables: Mapping[str, str]
    """Name -> type name of the user's variables after the block; no functions, no modules."""
    answer: Value | None = None
    """`answer["content"]` once `answer["ready"]` is truthy, else `None`."""
    restored: bool = False
    """The worker was lost; a new one has the state before this block."""
    diverged: bool = False
    """On restoring, an earlier block printed or raised something different from the first time."""
    replaced: tuple[str, ...] = ()
    """With `keep_names`: session names that the code replaced and the harness restored;
    `answer=content` where a text or number in place of `answer` became its content."""
