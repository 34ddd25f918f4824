"""Memory admission of REPLs: one that does not fit waits until another one is closed.

Workers and decoded contexts are counted, each once however many REPLs share it; objects that the
code makes are not, since `repl.memory_mb` bounds them for each. No REPL waits for its own owner: a
REPL that is opened while its task, or the task that called it, holds one (a child of a recursive
call) is admitted at once, and so is one that finds no other open, whatever its size.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

_LOG = logging.getLogger(__name__)
_HOLDS: ContextVar[int] = ContextVar("REPLs held by this task and those that called it", default=0)
WORKER_BYTES = 8 << 20
"""Bytes counted for a worker: 3 MB when idle, and some room for variables."""
_LEAST = 32 * WORKER_BYTES
_SHARE = 0.8


def free_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the free bytes: of the machine, or of a cgroup around us (container, Slurm job)."""
    rows = dict(line.split(":") for line in (proc / "meminfo").read_text().splitlines())
    free = int(rows["MemAvailable"].split()[0]) << 10
    return max(0, min([free, *_cgroup_bytes(proc, cgroups)]))


def _cgroup_bytes(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the free bytes of each memory cgroup around this process; file caches count as free."""
    kinds = {
        "": (cgroups, "memory.max", "memory.current", "inactive_file"),
        "memory": (
            cgroups / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    }
    own = proc / "self" / "cgroup"
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers not in kinds:
            continue
        root, limit, usage, cache = kinds[controllers]
        folder = root / path.strip("/")
        for group in (folder, *folder.parents):
            # Without a limit the file says `max`; in a container the path may not be mounted.
            with suppress(OSError, ValueError, KeyError):
                most, used = int((group / limit).read_text()), int((group / usage).read_text())
                stat = dict(row.split() for row in (group / "memory.stat").read_text().splitlines())
                yield most - used + int(stat[cache])
            if group == root:
                break


def held_bytes(value: object) -> int:
    """Return the memory of the decoded texts in a context, bytes (one emoji: 4 bytes each)."""
    if isinstance(value, list | tuple):
        return sum(map(held_bytes, value))
    if isinstance(value, dict):
        return sum(map(held_bytes, value.values()))
    return sys.getsizeof(value)


class Memory:
    """Memory that the open REPLs of a pool may use together, bytes."""

    def __init__(self, total: int | None = None) -> None:
        """`total`: by default four fifths of the free memory, but at least room for 32 workers."""
        self.total = max(int(_SHARE * free_bytes()), _LEAST) if total is None else total
        self.used = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._told = False

    async def wait(self, size: Callable[[], int]) -> None:
        """Wait until so many bytes fit (for the moment). Take them before an `await`."""
        while self.used and self.used + size() > self.total and not _HOLDS.get():
            if not self._told:
                self._told = True
                _LOG.warning(
                    "REPLs wait for memory: those open and their contexts are taken to use %d of "
                    "%d MiB. Fewer samples at once (max_samples) or more memory would end it.",
                    self.used >> 20,
                    self.total >> 20,
                )
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            finally:
                self._waiting.remove(turn)

    def take(self, size: int) -> None:
        """Count the bytes as used."""
        self.used += size

    def give(self, size: int) -> None:
        """Count the bytes as free; waiting REPLs check again."""
        self.used -= size
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)


def entered() -> None:
    """Record one more REPL held by this task and the tasks that it starts from now on."""
    _HOLDS.set(_HOLDS.get() + 1)


def left() -> None:
    """Record one REPL fewer held by this task."""
    _HOLDS.set(max(0, _HOLDS.get() - 1))
