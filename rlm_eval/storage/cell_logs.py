"""The three logs of a cell, opened for appending by the holder of its lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.paths import replace_file
from rlm_eval.storage.group_commit import Sync
from rlm_eval.storage.jsonl import SYNC_SECONDS, JsonlLog, Writer, highest_number
from rlm_eval.storage.lease import Lease

RESULT_SECONDS = 1.0
"""Longest delay until a result is on the disk, seconds; a lost one is redone from the journal."""
_NAMES = ("trajectories.jsonl", "scores.jsonl", "journal.jsonl")
"""In the order of opening. A result is written after its calls; so if a process that lost its lease
still writes while the next one opens the logs, no result counts without its calls."""


@dataclass(frozen=True)
class CellLogs:
    """The logs that a running cell appends to."""

    journal: JsonlLog
    """Every model call."""
    trajectories: JsonlLog
    """Finished attempts."""
    scores: JsonlLog
    """Their scores."""


@asynccontextmanager
async def cell_logs(folder: Path, sealed: bool, lease: Lease) -> AsyncIterator[CellLogs]:
    """Open the logs of a cell under its `lease`. Raises `LeaseLost`, `OSError`, `RlmEvalError`."""
    writer = await asyncio.to_thread(writer_of, folder, lease)
    async with AsyncExitStack() as stack:
        sync = await stack.enter_async_context(Sync())
        opened = []
        for name in _NAMES:
            every = SYNC_SECONDS if name == "journal.jsonl" else RESULT_SECONDS
            log = await asyncio.to_thread(JsonlLog, folder / name, sealed, writer, sync, every)
            opened.append(await stack.enter_async_context(log))
        trajectories, scores, journal = opened
        yield CellLogs(journal, trajectories, scores)


def writer_of(folder: Path, lease: Lease) -> Writer:
    """Return the mark of the cell's log lines. Raises `LeaseLost` and `OSError`."""
    paths = [folder / name for name in _NAMES]
    if lease.is_contested:
        # The last holder may still write at the old ends of open files: it writes to the files that
        # are replaced here. Where replacing fails, the tokens remain.
        for path in filter(Path.exists, paths):
            with suppress(OSError):
                replace_file(path, path, durable=True)
    return Writer(lease.claim(max(map(highest_number, paths))), lease.check)
