"""One writer per folder: a lease file, renewed while in use, which a dead holder loses.

A holder that died on this machine, or whose lease was not renewed for `STALE_SECONDS`, is replaced;
the same Slurm job (requeued) takes over at once. A process that lost its lease, or cannot renew it,
stops before it writes again (`Lease.check`); lines that it wrote too late are identified by its
token (`Lease.claim`, `jsonl`). Locks of the file system are not used here: on the network file
systems of clusters they may work within one machine only. Assumptions about the file system:
`docs/cluster.md`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.messages import say
from rlm_eval.core.paths import sync_folder
from rlm_eval.storage.lease_holder import Holder
from rlm_eval.storage.lockfile import Seen, clock_of, create_once, read

RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0
_PATIENCE = 0.2  # seconds between two polls of a process that waits
_LONG_WAIT = 5.0  # seconds after which the wait is reported
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # continues while suspended


class NotTheWriter(RlmEvalError):
    """Raised where another process writes this folder: this one must not change any file of it."""


class LeaseHeld(NotTheWriter):
    """Raised where another process holds the lease."""


class LeaseLost(NotTheWriter):
    """Raised where this process held the lease and can no longer rely on it."""


def holder_of(folder: Path) -> Holder | None:
    """Return the holder of the folder; `None` where it is free, or the holder is dead."""
    seen = read(folder / "lease.json")
    if seen is None:
        return None
    alive = seen.holder.is_alive_here()
    if alive is None:
        alive = abs(clock_of(folder) - seen.changed) <= STALE_SECONDS
    return seen.holder if alive else None


class Lease:
    """Holds `folder` as a context manager, `async` or not. Raises `LeaseHeld`, `LeaseLost`."""

    def __init__(
        self,
        folder: Path,
        renew: float | None = None,
        stale: float | None = None,
        *,
        waits: bool = False,
    ) -> None:
        """`folder` must exist. `renew`, `stale`: seconds, else `RENEW_SECONDS`, `STALE_SECONDS`.

        `waits`: wait until a living holder releases it, instead of raising `LeaseHeld`.
        """
        self._folder = folder
        self._waits = waits
        self._path = folder / "lease.json"
        self._renew = RENEW_SECONDS if renew is None else renew
        self._stale = STALE_SECONDS if stale is None else stale
        # A process that cannot renew stops before another one may take over.
        self._give_up = self._stale - 1.5 * self._renew
        self._me = Holder.me()
        self._mine = self._me.stored()
        self._watched: Seen | None = None
        self._left = 0.0  # seconds since the watched lease was renewed, at the first poll
        self._waited = 0.0
        self._confirmed = _now()
        self._lost = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewal: threading.Thread | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._cancelled = False
        self.taken_over = ""
        """Description of the replaced holder; empty where the lease was free."""
        self.is_contested = False
        """True if the last holder is not known to be dead: it may still have writes in flight."""

    async def __aenter__(self) -> Lease:
        while wait := self._try():  # noqa: ASYNC110 - a file of another process has no event
            await asyncio.sleep(wait)
        self._owner = asyncio.current_task()
        self._begin(asyncio.get_running_loop())
        return self

    def __enter__(self) -> Lease:
        while wait := self._try():
            time.sleep(wait)
        self._begin(None)
        return self

    def _try(self) -> float:
        """Take the lease; else return the seconds until the next poll. Raises `LeaseHeld`."""
        for _ in range(5):
            self._confirmed = _now()
            if create_once(self._path, self._mine):
                return 0.0
            seen = read(self._path)
            if seen is not None and (wait := self._judge(seen)):
                return wait
        if self._waits:
            return _PATIENCE
        raise LeaseHeld(
            f"{self._folder}: several processes request the lease at the same time; try again"
        )

    def _judge(self, seen: Seen) -> float:
        """Remove the lease of a dead holder; else return the seconds until the next poll.

        Raises `LeaseHeld` where the holder is alive, or may be.
        """
        other = seen.holder
        alive = other.is_alive_here()
        age = abs(clock_of(self._folder) - seen.changed)
        # A living process of the same job and machine is another task of it, not a predecessor.
        requeued = alive is None and self._me.is_requeued(other)
        if alive or (alive is None and not requeued and age <= self._stale):
            if self._waits:
                return self._wait_for(other)
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(other.since))
            seen_here = "the process runs, or is suspended, on this machine"
            unseen = f"not visible from here; the lease expires after {self._stale:g} s"
            raise LeaseHeld(
                f"{self._folder} is being written by {other} since {since}, lease renewed "
                f"{age:.0f} s ago ({seen_here if alive else unseen}); wait for it, or stop it and "
                "run the same command again"
            )
        if alive is None and not requeued and self._watched != seen:
            # A clock that was set makes a lease look old: it must also be unchanged for a while.
            self._watched, self._left = seen, age
            return 1.2 * self._renew
        self._remove(seen)
        left = self._left if self._watched == seen else age
        self.taken_over = f"taken over from {other}, which left {left:.0f} s ago"
        self.is_contested = alive is None
        return 0.0

    def _wait_for(self, other: Holder) -> float:
        """Return the seconds until the next poll; report a long wait once."""
        before, self._waited = self._waited, self._waited + _PATIENCE
        if before < _LONG_WAIT <= self._waited:
            say(f"{self._folder}: waiting for {other}, which is writing it")
        return _PATIENCE

    def _remove(self, seen: Seen) -> None:
        """Remove a lease judged dead; one that was renewed or replaced since is put back."""
        removed = self._path.with_name(f".lease.{self._me.id}.removed")
        with suppress(FileNotFoundError):
            if read(self._path) != seen:
                return
            self._path.rename(removed)
            if read(removed) != seen:
                try:
                    os.link(removed, self._path)
                except FileExistsError:
                    pass
                except OSError:  # no hard links here
                    removed.rename(self._path)
                    return
            removed.unlink()

    def _begin(self, loop: asyncio.AbstractEventLoop | None) -> None:
        # A thread: neither a busy event loop nor a hanging file system stops the other.
        self._renewal = threading.Thread(target=self._keep, args=(loop,), daemon=True)
        self._renewal.start()

    def claim(self, at_least: int = 0) -> str:
        """Return a token for every line that is written now: `number.id`, the number above
        `at_least` and above those of all earlier holders. Raises `LeaseLost` and `OSError`.

        The number is claimed by making a file while the lease is held, and counts only if the lease
        is still held then: a later holder's is higher.
        """
        folder = self._folder / "writers"
        folder.mkdir(exist_ok=True)
        known = (int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit())
        number = 1 + max(at_least, *known, 0)
        while True:
            try:
                with (folder / f"{number}.json").open("xb") as file:
                    file.write(self._mine)
                    file.flush()
                    os.fsync(file.fileno())
                break
            except FileExistsError:
                number += 1
        sync_folder(folder)
        self._confirm()
        return f"{number}.{self._me.id[:4]}"

    def check(self) -> None:
        """Raise `LeaseLost` where this process may not write. Cheap, except after a pause."""
        if self._lost:
            raise LeaseLost(self._lost)
        now = _now()
        if max(now.boot - self._confirmed.boot, now.wall - self._confirmed.wall) <= 2 * self._renew:
            return
        try:
            self._confirm()
        except OSError as error:
            self._check_renewed(error)

    def _check_renewed(self, error: OSError) -> None:
        """Raise `LeaseLost` where the lease could not be renewed for too long."""
        gap = _now().boot - self._confirmed.boot
        if gap > self._give_up:
            self._lost = (
                f"{self._folder}: lease lost: it could not be renewed for {gap:.0f} s "
                f"({error.strerror or error}); stopped writing before another process takes over; "
                "the same command resumes"
            )
            raise LeaseLost(self._lost) from error

    def _confirm(self) -> None:
        """Renew the lease and check that it is this process's. Raises `LeaseLost` and `OSError`.

        In this order: a process that judged the lease before it was renewed puts it back.
        """
        if not self._lock.acquire(timeout=max(1.0, self._renew / 10)):
            raise OSError("the file system does not answer")
        try:
            now = _now()
            gap = now.boot - self._confirmed.boot
            seen = self._renewed()
            if seen is not None and seen.content == self._mine:
                self._confirmed = now
                return
            if not self._folder.exists():
                why = "the folder was deleted or moved"
            elif gap > self._stale:
                paused = f"this process was suspended for over {self._stale:g} s"
                why = f"{paused} and another one took over"
            elif seen is None:
                why = "its lease.json was removed"
            else:
                why = f"another one took over ({seen.holder})"
            self._lost = f"{self._folder}: lease lost: {why}; stopped writing"
            raise LeaseLost(self._lost)
        finally:
            self._lock.release()

    def _renewed(self) -> Seen | None:
        """Return the lease after a renewal. A missing one may come back: see `_remove`."""
        for pause in (0.0, 0.05, 0.2):
            time.sleep(pause)
            with suppress(FileNotFoundError):
                os.utime(self._path)
                return read(self._path)
            if not self._folder.exists():
                break
        return None

    def _keep(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Renew until the lease is released or lost."""
        pause = self._renew
        while not self._closed.wait(pause):
            try:
                self._confirm()
                pause = self._renew
            except LeaseLost:
                break
            except OSError as error:  # ESTALE, EIO, EDQUOT: most of them pass
                pause = self._renew / 10
                try:
                    self._check_renewed(error)
                except LeaseLost:
                    break
        if loop is not None and not self._closed.is_set():
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._stop_owner)

    def _stop_owner(self) -> None:
        if self._owner is not None and not self._closed.is_set():
            self._cancelled = True
            self._owner.cancel()

    def _end(self) -> None:
        self._closed.set()
        if self._renewal is not None:
            self._renewal.join(timeout=1.0)
        with suppress(OSError, LeaseLost):
            if not self._lost:
                # Renewed once more: no process takes it over between this check and its removal.
                self._confirm()
                self._path.unlink()
            elif (seen := read(self._path)) is not None and seen.content == self._mine:
                self._remove(seen)  # it could not be renewed; this process may live for hours

    def __exit__(self, *_: object) -> None:
        self._end()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if not self._cancelled or self._owner is None:
            return
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # it may not have arrived yet
        self._owner.uncancel()  # it applied to this folder alone
        if isinstance(error, asyncio.CancelledError):
            raise LeaseLost(self._lost) from error


@dataclass(frozen=True)
class _Time:
    boot: float
    """Seconds since boot, suspended time included."""
    wall: float
    """Seconds since 1970: only this clock shows that a machine was frozen from outside."""


def _now() -> _Time:
    return _Time(time.clock_gettime(_BOOT_CLOCK), time.time())
