"""The REPL room's interface: data, settings and roles. Nothing here starts a process.

A REPL is a sandboxed Python process with a persistent namespace. Model-written code runs in it as
blocks and calls named host functions (`llm_query`, ...); the host awaits them. Resources are
limited per block; a limit is an error that the model sees, never an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeAlias

from rlm_eval.core.blocks import JSON as JSON
from rlm_eval.core.blocks import BlockResult as BlockResult
from rlm_eval.core.blocks import HostFunction as HostFunction
from rlm_eval.core.blocks import Value as Value
from rlm_eval.core.errors import RlmEvalError
from rlm_eval.protocols import Repl as Repl

ContextValue: TypeAlias = "str | list[Any] | tuple[Any, ...] | dict[Any, Any] | None"
"""Possible values of the variable `context`; `None` leaves the variable out."""


ISOLATION = ("strict", "best", "none")


@dataclass(frozen=True)
class ReplConfig:
    """Settings of the REPL: isolation, what code may import, and the limits of one block."""

    isolation: str = "strict"
    """`strict`: tier A or B, else refuse; `best`: A, B or C; `none`: no confinement, marked so."""
    backend: str = "rlm_eval.repl.pool.SandboxPool"
    """Dotted name of the backend class: the built-in one, or a remote sandbox."""
    image: str = "python:3.12-slim"
    """Image of the Docker backend; it decides the Python and the packages that code can use."""
    block_seconds: float = 60.0
    """Wall seconds of one block; waiting for host calls does not count."""
    block_cpu_seconds: float = 120.0
    """Processor seconds of one block, all threads together."""
    interrupt_grace_seconds: float = 0.4
    """Seconds between the interrupt, which keeps the state, and the kill, which does not."""
    memory_mb: int = 2048
    """Address space of one worker beyond its context, in MiB; beyond it `MemoryError`."""
    threads: int = 64
    """Threads of one worker. New processes are never allowed under isolation."""
    file_mb: int = 256
    """Largest file a block may write, in MiB."""
    open_files: int = 256
    """Open descriptors of one worker."""
    output_mb: int = 64
    """Characters (in 2^20) that a block may print before it is stopped with `limit:output`."""
    output_keep_chars: int = 1_000_000
    """Characters of stdout, and of stderr, brought to the host: the head and the tail of more."""
    message_mb: int = 512
    """Largest single message between a worker and the host, in MiB (a batch, a value)."""
    packages: list[str] = field(default_factory=list)
    """Third-party packages that code may import; they and what they import are preloaded."""

    def __post_init__(self) -> None:
        if self.isolation not in ISOLATION:
            raise ValueError(f"isolation={self.isolation!r}: use one of {', '.join(ISOLATION)}")
        for name, value in asdict(self).items():
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"{name}={value}: must be positive")


@dataclass(frozen=True)
class IsolationReport:
    """The isolation found by testing it. Goes into the manifest."""

    tier: str
    """`A` bubblewrap + Landlock + seccomp, `B` Landlock + seccomp, `C` seccomp without any file,
    `none`, or the name of a remote backend."""
    layers: Mapping[str, str]
    """Layer -> what it blocks here, or why it is absent."""
    canaries: Mapping[str, bool]
    """Attempt, made by a real worker -> true where it was blocked."""
    kernel: str
    """Kernel release, architecture."""
    python: str
    """Version of the workers' interpreter."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Importable third-party packages and their versions."""
    notes: tuple[str, ...] = ()
    """Notes for readers; how to get a stronger tier."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


class ReplCallError(Exception):
    """Raised by a host function: the model's code sees `SubCallError` with the same fields.

    `kind` is a stable short name (`ProviderError`, `Truncated`, ...); `results` is what a failed
    batch did get, `None` in the failed places.
    """

    def __init__(self, message: str, kind: str = "error", results: JSON = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.results = results


class SandboxError(RlmEvalError):
    """Raised where this machine lacks the required isolation; names what to install or switch."""


class ReplValueError(Exception):
    """Raised for a variable that cannot reach the host: `str()` raised, hung or is too large."""


class ReplPool(Protocol):
    """A source of REPLs: a backend, opened with `async with`; closing leaves nothing behind."""

    @property
    def report(self) -> IsolationReport:
        """Return the isolation in force. Raises `RuntimeError` before the backend is opened."""
        ...

    async def __aenter__(self) -> ReplPool: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def open(
        self,
        context: ContextValue,
        functions: Mapping[str, HostFunction],
        *,
        variables: Mapping[str, JSON] | None = None,
        answer_dict: bool = False,
        seed: int = 0,
        key: str | None = None,
        echo: bool = False,
        hints: bool = True,
        scaffold: JSON = None,
        keep_names: bool = False,
    ) -> AbstractAsyncContextManager[Repl]:
        """Open a new REPL with `context`, the functions and `variables` in its namespace.

        `answer_dict` adds `answer = {"content": "", "ready": False}`. `seed` seeds `random`. `key`
        is the content hash of the context where the caller has it: REPLs that are open at the same
        time on the same large context share its memory. `echo` prints the value of a block's last
        expression, as an interactive interpreter does. `hints` appends to the error of a missing
        package the setting that provides it (`repl.packages`). `scaffold` gives the namespace the
        rules of a published release (`repl.scaffold`): `{"release": "0.1.3", "texts": {...}}`, with
        `"children": "loops"` or `"calls"` where `rlm_query` starts such children; `answer_dict`,
        `echo`, `hints` and `keep_names` have no effect then. `keep_names` restores `context`,
        `answer` and the functions after a block that replaced them, and reports it
        (`BlockResult.replaced`).

        Entering it raises `core.errors.ReplUnavailable` where the machine cannot provide one.
        """
        ...


def clip(text: str, chars: int, side: str = "head", total: int | None = None) -> str:
    """Cut `text` for a model to at most `chars` characters, with a mark for the missing part.

    `side` is the part that is kept: `head`, `tail` or `middle` (both ends). `total` is the full
    length where `text` itself was already capped. The mark is not counted in `chars`.
    """
    total = len(text) if total is None else total
    if total <= chars and len(text) <= chars:
        return text
    mark = f"... [{total - chars:,} more characters] ..."
    if side == "head":
        return f"{text[:chars]}\n{mark}"
    if side == "tail":
        return f"{mark}\n{text[len(text) - chars :]}"
    if side == "middle":
        head = chars // 2
        return f"{text[:head]}\n{mark}\n{text[len(text) - (chars - head) :]}"
    raise ValueError(f"side={side!r}: use head, tail or middle")
