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
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

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
    found = _last_holder(folder, time.time())
    return None if found is None or _is_gone(*found) else found[0]


def _last_holder(folder: Path, now: float) -> tuple[Holder, float] | None:
    """Who wrote the lease, and how many seconds ago it was renewed."""
    path = folder / "lease.json"
    try:
        holder = Holder(**orjson.loads(path.read_bytes()))
        return holder, now - path.stat().st_mtime
    except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
        return None


def _is_gone(holder: Holder, age: float) -> bool:
    alive = holder.is_alive_here()
    return age > STALE_SECONDS if alive is None else not alive


class Lease:
    """Holds `folder` as an async context manager. Raises `RlmEvalError` where another does."""

    def __init__(self, folder: Path) -> None:
        """`folder` must exist."""
        self._folder = folder
        self._path = folder / "lease.json"
        self._renewal: asyncio.Task[None] | None = None
        self._mine = b""
        self._lost = False
        self.taken_over = ""
        """Whose lease was replaced, in words; empty where it was free."""

    async def __aenter__(self) -> Lease:
        me = Holder.me()
        self._mine = orjson.dumps(asdict(me))
        draft = self._path.with_suffix(f".{me.host}-{me.pid}")
        draft.write_bytes(self._mine)
        try:
            self._take(me, draft)
        finally:
            draft.unlink(missing_ok=True)
        self._renewal = asyncio.create_task(self._renew(asyncio.current_task()))
        return self

    def _take(self, me: Holder, draft: Path) -> None:
        """A link is made by one process only, also on network file systems."""
        for _ in range(3):
            try:
                os.link(draft, self._path)
            except FileExistsError:
                # By the clock of the file system: those of two machines may differ.
                self._break(me, draft.stat().st_mtime)
            else:
                return
        raise RlmEvalError(f"{self._folder}: several processes want it at once; try again")

    def _break(self, me: Holder, now: float) -> None:
        """Remove a lease that nobody holds. Raises `RlmEvalError` where somebody does."""
        try:
            judged = self._path.read_bytes()
        except FileNotFoundError:
            return
        found = _last_holder(self._folder, now)
        if found is not None:
            other, age = found
            who = f"process {other.pid} on {other.host}"
            # A living process of the same job and machine is another task of it, no predecessor.
            requeued = me.job is not None and me.job == other.job and other.is_alive_here() is None
            if not requeued and not _is_gone(other, age):
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(other.since))
                raise RlmEvalError(
                    f"{self._folder} is being written by {who} since {since}, last sign of life "
                    f"{max(0.0, age):.0f} s ago; wait for it, or stop it and run the same command "
                    f"again (another machine's counts as lost after {STALE_SECONDS:g} s)"
                )
            self.taken_over = f"taken over from {who}, which left {max(0.0, age):.0f} s ago"
        # Another process may have judged the same file and replaced it since: what is taken away is
        # looked at, and a lease that is not the judged one is put back.
        removed = self._path.with_suffix(f".{me.host}-{me.pid}.removed")
        with suppress(FileNotFoundError):
            self._path.rename(removed)
            if removed.read_bytes() != judged:
                with suppress(FileExistsError):
                    os.link(removed, self._path)
            removed.unlink()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        if self._is_mine():
            self._path.unlink(missing_ok=True)
        elif isinstance(error, asyncio.CancelledError) and self._lost:
            raise RlmEvalError(
                f"{self._folder}: another process took it over while this one did not run for "
                f"{STALE_SECONDS:g} s; nothing more is written here"
            ) from error

    def _is_mine(self) -> bool:
        try:
            return self._path.read_bytes() == self._mine
        except FileNotFoundError:
            return False

    async def _renew(self, owner: asyncio.Task[Any] | None) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not self._is_mine():
                self._lost = True
                assert owner is not None
                owner.cancel()
                return
            os.utime(self._path)
