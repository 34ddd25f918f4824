"""The host's end of one worker: untrusted frames in, orders and replies out, limits enforced.

Every size, id and type from a worker is checked; nothing is unpickled. Time, processor time and
calls are measured here, not by the worker. A lost worker is replaced and its state rebuilt by
running the earlier blocks with their recorded replies: the same in every tier, and exact where the
code is deterministic (fixed hash seed, seeded `random`). The `Link` starts and signals the process
(`pool.py`, `docker.py`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from rlm_eval.core.clock import awake_time, time_asleep
from rlm_eval.repl import wire
from rlm_eval.repl.wire import HEAD, Op, WireError

_SMALL = 1 << 14
_SPARE_BYTES = 1 << 26
_WRITES_AT_ONCE = 16
MAX_IN_FLIGHT = 1024
_IDLE_SECONDS = 0.02  # blocks often follow at once: two signals would be a tenth of a round trip
_UNREAD_BYTES = 1 << 26
"""Bytes of replies that a worker has not read: above it none of its calls are accepted."""
Frame = tuple[int, int, Any, tuple[int, int]]
"""Operation, id, value, and for a call (bytes, checksum) of the body."""


class Link(Protocol):
    """One started worker process."""

    sock: socket.socket
    """The host's end of its channel; closed by the connection."""

    def signal(self, number: int) -> None:
        """Send a signal; no effect where the process is gone."""
        ...

    def cpu_seconds(self) -> float | None:
        """Return the processor seconds so far, measured outside the worker; `None` if unknown."""
        ...

    async def ended(self) -> int | None:
        """Wait until the process is gone and cleaned up: return its exit code, or minus the signal.

        `None` where its parent is gone too, and the exit code is lost.
        """
        ...


_spare: list[bytearray] = []
"""At most one buffer of a long frame, for the next one: touching new memory is slower than reading
into old."""


class Connection:
    """Cuts a socket's bytes into frames; long bodies are received in place, without a copy.

    Uses the loop's readiness callbacks: a transport would copy sent data twice.
    """

    def __init__(
        self,
        sock: socket.socket,
        max_bytes: int,
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._max_bytes = max_bytes
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._buffer = bytearray(_SMALL)
        self._filled = 0
        self._outbox = wire.Outbox()
        self._reading = False
        self._writing = False
        self._held = False
        self.lost: str | None = None
        self.by_peer = False
        """True where the worker's end broke, not `drop`."""
        self._pace()

    def _readable(self) -> None:
        try:
            with memoryview(self._buffer) as view, view[self._filled :] as room:
                count = self._sock.recv_into(room)
        except BlockingIOError:
            return
        except OSError as error:
            self._broke(f"the channel broke: {error}")
            return
        if not count:
            self._broke("the channel was closed")
            return
        self._filled += count
        try:
            while self._filled >= HEAD.size and self.lost is None and self._take():
                pass
        except WireError as error:
            self.drop(f"the worker sent a frame that cannot be: {error}")

    def _take(self) -> bool:
        """Pass on one frame, if it is complete."""
        op, number, json_bytes, n_texts, body = HEAD.unpack_from(self._buffer)
        end = HEAD.size + body
        if end > self._max_bytes or json_bytes + 8 * n_texts > body:
            raise WireError(f"{end:,} bytes, of them {json_bytes:,} of JSON and {n_texts:,} texts")
        if self._filled < end:
            if end > len(self._buffer):
                larger = _spare.pop() if _spare and len(_spare[0]) >= end else bytearray(end)
                larger[: self._filled] = memoryview(self._buffer)[: self._filled]
                self._buffer = larger
            return False
        with memoryview(self._buffer) as view, view[HEAD.size : end] as part:
            value = wire.unpack(json_bytes, n_texts, part, self._max_bytes)
            mark = (body, zlib.crc32(part) if op == Op.CALL else 0)
            rest = bytes(view[end : self._filled])
        if len(self._buffer) > _SMALL:
            if len(self._buffer) <= _SPARE_BYTES:
                _spare[:] = [self._buffer]
            self._buffer = bytearray(max(_SMALL, len(rest)))
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)
        self._on_frame((op, number, value, mark))
        return True

    def send(self, op: Op, number: int, value: Any) -> int:
        """Write a frame; return its bytes. Raises `WireError` where `value` is not plain data."""
        frame = wire.pack(op, number, value)
        if self.lost is None:
            self._outbox.add(frame)
            if self._writing:
                self._pace()
            else:
                self._writable()
        return wire.size(frame)

    def _writable(self) -> None:
        try:
            for _ in range(_WRITES_AT_ONCE):
                if not self._outbox:
                    break
                self._outbox.wrote(self._sock.sendmsg(self._outbox.buffers()))
        except BlockingIOError:
            pass
        except OSError as error:
            self._broke(f"the channel broke: {error}")
            return
        if bool(self._outbox) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._sock, self._writable)
            else:
                self._loop.remove_writer(self._sock)
        self._pace()

    def hold(self, held: bool) -> None:
        """Stop reading while too many calls are in flight."""
        self._held = held
        self._pace()

    def _pace(self) -> None:
        """Read unless too much is in flight, in either direction."""
        reading = not self._held and self._outbox.pending < _UNREAD_BYTES
        if self.lost is None and reading != self._reading:
            self._reading = reading
            if reading:
                self._loop.add_reader(self._sock, self._readable)
            else:
                self._loop.remove_reader(self._sock)

    def _broke(self, why: str) -> None:
        self.by_peer = self.lost is None
        self.drop(why)

    def drop(self, why: str) -> None:
        """Close at once; `why` is reported once."""
        if self.lost is None:
            self.lost = why
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._on_lost(why)


class BlockClock:
    """Wall time that stops during host calls, and processor time; ends a block in two steps.

    First an interrupt, which keeps the state; after the grace a kill, which does not. Seconds for
    which this process was suspended do not count, except where the worker ran on in them.
    """

    def __init__(
        self,
        link: Link,
        *,
        seconds: float,
        cpu_seconds: float,
        grace: float,
        interrupt: Callable[[], None],
        kill: Callable[[], None],
        cpu_began: float | None = None,
    ) -> None:
        """`cpu_began`: processor seconds at the end of the block before, so that usage between the
        blocks counts."""
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds
        self._grace = grace
        self._interrupt = interrupt
        self._kill = kill
        self._began = awake_time()
        self._asleep = time_asleep()
        self._cpu_began = link.cpu_seconds() if cpu_began is None else cpu_began
        self._waited = 0.0
        self._calls = 0
        self._call_began = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._over = False
        self._stopped = 0.0
        self.reached: str | None = None
        """`limit:time`, `limit:cpu`, `stopped`: why the block was interrupted."""
        self._wait(seconds, cpu_seconds)

    def wall(self) -> float:
        """Return the seconds since the block began."""
        return awake_time() - self._began

    def waited(self) -> float:
        """Return the seconds during which a host call was in flight."""
        current = awake_time() - self._call_began if self._calls else 0.0
        return self._waited + current

    def cpu(self) -> float | None:
        """Return the processor seconds of the block so far."""
        now = self._link.cpu_seconds()
        return None if now is None or self._cpu_began is None else now - self._cpu_began

    def call_began(self) -> None:
        """Record the start of a host call."""
        if not self._calls:
            self._call_began = awake_time()
        self._calls += 1

    def call_ended(self) -> None:
        """Record the end of a host call; with the last one the block's clock continues."""
        self._calls -= 1
        if not self._calls:
            self._waited += awake_time() - self._call_began
            if self.reached is None and not self._over:
                self._tick()

    def stop(self, why: str) -> None:
        """Interrupt now, kill after the grace."""
        if self.reached is None and not self._over:
            self.reached = why
            self._cancel()
            self._interrupt()
            self._stopped = self.wall()
            self._expire()

    def close(self) -> None:
        """End the block. Its remaining calls end later: they must not interrupt the next one."""
        self._over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _expire(self) -> None:
        """Kill the worker if the grace is over, measured as the block's time is."""
        left = self._grace - (self.wall() - self._stopped)
        if left > 0:
            self._handle = self._loop.call_later(left, self._expire)
        else:
            self._kill()

    def _tick(self) -> None:
        self._cancel()
        cpu, wall = self.cpu() or 0.0, self.wall()
        # Only this process may have been suspended: what the worker computed meanwhile counts.
        slept = time_asleep() - self._asleep
        used = max(wall - self.waited(), min(cpu, wall + slept) if slept else 0.0)
        left = self._seconds - used
        cpu_left = self._cpu_seconds - cpu
        if left <= 0:
            self.stop("limit:time")
        elif cpu_left <= 0:
            self.stop("limit:cpu")
        else:
            self._wait(max(left, 0.05) if self._calls else left, cpu_left)

    def _wait(self, seconds: float, cpu_seconds: float) -> None:
        # Threads outside the interpreter's lock may use several processors at once.
        wait = min(seconds, max(cpu_seconds / 4, 0.02))
        self._handle = self._loop.call_later(wait, self._tick)


class Idle:
    """The time between two blocks: nothing runs in the worker.

    The worker is stopped at once where it reports remaining threads, else soon: whatever it
    reports, code that continues after its block (with a forged report) must not run unmetered.
    """

    def __init__(self) -> None:
        self.cpu_seconds: float | None = None
        """Processor time when the block ended: usage until the next block counts in that block."""
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def begin(self, link: Link, *, at_once: bool) -> None:
        """Record the end of a block."""
        self.cpu_seconds = link.cpu_seconds()
        if at_once:
            self._stop(link)
        elif self.cpu_seconds is not None:  # a link that cannot meter passes signals on too late
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_IDLE_SECONDS, self._stop, link)

    def _stop(self, link: Link) -> None:
        self._stopped = True
        link.signal(signal.SIGSTOP)

    def end(self, link: Link) -> None:
        """Prepare for the next order."""
        self.cancel()
        if self._stopped:
            self._stopped = False
            link.signal(signal.SIGCONT)

    def cancel(self) -> None:
        """Cancel the stop: the worker is ended."""
        if self._timer is not None:
            self._timer.cancel()
