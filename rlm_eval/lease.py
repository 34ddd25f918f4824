"""One writer per cell directory: a lease file, renewed while held, that a dead holder loses.

A holder that died on this machine, or whose lease was not renewed for `STALE_SECONDS`, is
replaced; the same Slurm job (requeued) takes over at once. Locks of the file system are not used:
they are unreliable on the network file systems of clusters.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import orjson
import psutil

from rlm_eval.errors import RlmEvalError

RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """Who writes a cell."""

    host: str
    """Machine name."""
    pid: int
    """Process."""
    started: float
    """Start time of the process (seconds since 1970): a reused pid is another process."""
    job: str | None
    """Slurm job id, `None` outside Slurm."""
    since: float
    """When the lease was taken, seconds since 1970."""

    @classmethod
    def me(cls) -> Holder:
        """This process."""
        pid = os.getpid()
        job = os.environ.get("SLURM_JOB_ID")
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time(), job, time.time())

    def is_alive_here(self) -> bool | None:
        """Whether the process still runs; `None` where it is another machine's."""
        if self.host != socket.gethostname():
            return None
        try:
            started: float = psutil.Process(self.pid).create_time()
            return abs(started - self.started) < 1.0
        except psutil.NoSuchProcess:
            return False


def holder_of(folder: Path) -> Holder | None:
    """Who holds the cell now; `None` where nobody does, or only a dead process."""
    path = folder / "lease.json"
    try:
        holder = Holder(**orjson.loads(path.read_bytes()))
        age = time.time() - path.stat().st_mtime
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None
    alive = holder.is_alive_here()
    gone = age > STALE_SECONDS if alive is None else not alive
    return None if gone else holder


class Lease:
    """Holds `folder` as an async context manager. Raises `RlmEvalError` where another does."""

    def __init__(self, folder: Path) -> None:
        """`folder` must exist."""
        self._folder = folder
        self._path = folder / "lease.json"
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lease:
        me = Holder.me()
        other = holder_of(self._folder)
        if other is not None and not (me.job is not None and me.job == other.job):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(other.since))
            raise RlmEvalError(
                f"{self._folder} is being written by process {other.pid} on {other.host} "
                f"since {since}; wait for it, or stop it and run the same command again"
            )
        draft = self._path.with_suffix(f".{me.pid}")
        draft.write_bytes(orjson.dumps(asdict(me)))
        draft.replace(self._path)
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            os.utime(self._path)
