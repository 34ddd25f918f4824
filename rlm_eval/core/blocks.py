"""Values that pass between a REPL and its callers: results of blocks, variables, host functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

JSON: TypeAlias = Any
"""None, bool, int, float, str, and lists and dicts of these (dict keys may be any scalar)."""
HostFunction: TypeAlias = Callable[..., Awaitable[JSON]]
"""Called with the JSON arguments of the model's code; its result goes back to that code.

Raising `ReplCallError` raises `SubCallError` in the model's code, which may catch it. Arguments
that do not fit the signature raise `TypeError` there. Any other exception ends the block: it is
raised from `Repl.run`. A batch is one call with the whole list."""


@dataclass(frozen=True, slots=True)
class Value:
    """A variable of the worker, brought to the host."""

    text: str
    """`str()` of it, made in the worker."""
    type_name: str
    """Name of its type."""
    value: JSON = None
    """The object itself where it is plain data (`is_plain`), tuples as lists; else `None`."""
    is_plain: bool = False
    """True where `value` holds the object."""


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What one block did."""

    stdout: str
    """Captured output; where more than `output_keep_chars`, its head and tail around a mark."""
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
    """The block's own processor time, measured by the host; `None` where it cannot be."""
    wall_seconds: float
    """Start to end, host calls included."""
    waited_seconds: float
    """The part of `wall_seconds` during which a host call was under way."""
    n_calls: int
    """Host calls made (a batch is one)."""
    n_failed_calls: int
    """Host calls that raised in the model's code."""
    variables: Mapping[str, str]
    """Name -> type name of the user's variables after the block; no functions, no modules."""
    answer: Value | None = None
    """`answer["content"]` once `answer["ready"]` is truthy, else `None`."""
    restored: bool = False
    """The worker was lost; a new one holds the state before this block."""
    diverged: bool = False
    """While restoring, an earlier block printed or raised something else than the first time."""
    replaced: tuple[str, ...] = ()
    """With `keep_names`: names of the session that the code replaced, which were put back;
    `answer=content` where a text or number in place of `answer` became its content."""
