"""Group commit: what several files took is put on the disk together, beside the event loop.

Every file names how long it may wait; files that are due at the same time share one visit of a
thread of their own (`fsync` of a network file system takes tens of milliseconds).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol


class Syncable(Protocol):
    """An open file."""

    every: float
    """Most seconds that what was written waits for the disk."""
    failed: OSError | None
    """What a commit failed with; what was written before it may be lost."""

    def fileno(self) -> int: ...


@dataclass
class _Pending:
    due: float
    """When its commit begins, seconds of the monotonic clock."""
    done: asyncio.Future[None]
    """Set when it has ended, well or not."""


class Sync:
    """Commits the files that were `touched`. Use as an async context manager."""

    def __init__(self) -> None:
        self._pending: dict[Syncable, _Pending] = {}
        self._flying: dict[Syncable, _Pending] = {}
        self._last: dict[Syncable, float] = {}
        self._took = 0.0
        self._changed = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "sync")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Sync:
        self._task = asyncio.create_task(self._commit_what_is_due())
        return self

    async def __aexit__(self, *_: object) -> None:
        """What was touched is committed first."""
        self._closing = True
        self._changed.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False)

    def touched(self, file: Syncable) -> None:
        """Something was written to `file`."""
        if file not in self._pending:
            now = time.monotonic()
            # The commit itself is part of the wait.
            due = max(now, self._last.get(file, 0.0) + file.every - self._took)
            done = asyncio.get_running_loop().create_future()
            self._pending[file] = _Pending(due, done)
            self._changed.set()

    async def committed(self, file: Syncable, *, at_once: bool = False) -> None:
        """Return once all that was written to `file` so far is on the disk, or `file.failed`.

        `at_once`: without waiting for others.
        """
        if at_once and file in self._pending:
            self._pending[file].due = 0.0
            self._changed.set()
        pending = self._pending.get(file) or self._flying.get(file)
        if pending is not None:
            await asyncio.shield(pending.done)

    async def _commit_what_is_due(self) -> None:
        while self._pending or not self._closing:
            self._changed.clear()
            now = time.monotonic()
            due = [f for f, p in self._pending.items() if self._closing or p.due <= now]
            if due:
                await self._commit(due, now)
                continue
            first = min((p.due for p in self._pending.values()), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if first is None else first - now):
                    await self._changed.wait()

    async def _commit(self, files: Iterable[Syncable], now: float) -> None:
        self._flying = {file: self._pending.pop(file) for file in files}
        self._last |= dict.fromkeys(files, now)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, _fsync, list(files))
        self._took = time.monotonic() - now
        for pending in self._flying.values():
            pending.done.set_result(None)
        self._flying = {}


def _fsync(files: Iterable[Syncable]) -> None:
    for file in files:
        try:
            os.fsync(file.fileno())
        except OSError as error:  # the file's next write tells: nothing more is paid for in vain
            file.failed = error
