"""Group commit: syncs the writes of several files together, off the event loop.

Every file states how long it may wait; files that are due at the same time share one pass of a
dedicated thread (`fsync` of a network file system takes tens of milliseconds).
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
    """Longest delay of a write until it is on the disk, seconds."""
    failed: OSError | None
    """Error of a commit; earlier writes may be lost."""

    def fileno(self) -> int: ...


@dataclass
class _Pending:
    due: float
    """Start of its commit, seconds of the monotonic clock."""
    done: asyncio.Future[None]
    """Set when the commit has ended, with or without an error."""


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
        """Commit the touched files, then leave."""
        self._closing = True
        self._changed.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False)

    def touched(self, file: Syncable) -> None:
        """Record a write to `file`."""
        if file not in self._pending:
            now = time.monotonic()
            # The commit itself is part of the wait.
            due = max(now, self._last.get(file, 0.0) + file.every - self._took)
            done = asyncio.get_running_loop().create_future()
            self._pending[file] = _Pending(due, done)
            self._changed.set()

    async def committed(self, file: Syncable, *, at_once: bool = False) -> None:
        """Return once all that was written to `file` so far is on the disk, or `file.failed`.

        `at_once`: do not wait for other files.
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
        except OSError as error:  # the file's next write raises it: no further call is made in vain
            file.failed = error
