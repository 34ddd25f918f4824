"""The processes of a run that use the same endpoint share its limits.

`concurrency`, `rpm` and `tpm` of an endpoint that no process of the run starts itself are those of
all of them together: jobs of one `submit` or of several, `rlm-eval run` by hand. Each process keeps
a file in `<run>/servers/users/`, rewritten every ten seconds (`registry.Registration`), counts
those of the others every two, and uses its part. Not counted: processes of other run directories.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from rlm_eval.core.types import text_hash
from rlm_eval.models.http.rate_limiter import AdaptiveLimiter
from rlm_eval.models.servers import registry
from rlm_eval.models.servers.registry import Registration, Registry

EXPECTED: ContextVar[int] = ContextVar("rlm_eval_users", default=1)
"""Processes that may begin together with this one: until all have had the time to register, an
endpoint counts at least as many users."""

LOOK_S = 2.0


def me() -> str:
    """Return this process's name for the others: its gates of one endpoint are one user."""
    return f"{socket.gethostname()}:{os.getpid()}"


def place(logs: Path) -> Path:
    """Return the folder of the users' files, of the run whose servers' folder is `logs`."""
    return logs / "users"


@asynccontextmanager
async def divided(gate: AdaptiveLimiter, logs: Path | None, endpoint: str) -> AsyncIterator[None]:
    """Limit `gate` to this process's part of its limits within the block.

    `endpoint` names it equally for all processes; outside a run (`logs` is `None`) the process is
    alone.
    """
    if logs is None:
        yield
        return
    name = text_hash(endpoint)[:16]
    own, others = Registration(place(logs), name), Registry(place(logs), name)
    gate.divide(max(EXPECTED.get(), await asyncio.to_thread(_registered, logs, own, others)))
    task = asyncio.create_task(_follow(gate, logs, own, others))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        own.end()
        for folder in (place(logs), logs):
            with suppress(OSError):  # others are there, or logs of servers
                folder.rmdir()


async def _follow(gate: AdaptiveLimiter, logs: Path, own: Registration, others: Registry) -> None:
    began = renewed = time.monotonic()
    while True:
        await asyncio.sleep(LOOK_S)
        now, mine = time.monotonic(), None
        if now - renewed >= registry.RENEW_S:
            renewed, mine = now, own
        count = await asyncio.to_thread(_registered, logs, mine, others)
        gate.divide(max(count, EXPECTED.get() if now - began < registry.RENEW_S else 1))


def _registered(logs: Path, own: Registration | None, others: Registry) -> int:
    """Renew `own`, and count the users. On a full disk, or where the run is gone, only the visible
    ones count; the cells report such errors themselves."""
    if own is not None:
        with suppress(OSError):
            for folder in (logs, place(logs)):  # not the run's own, where that was deleted
                folder.mkdir(exist_ok=True)
            own.renew(me())
    return max(1, len(set(others.addresses())))
