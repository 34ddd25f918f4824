"""The host's side of a fork server: its control socket, and the processes it starts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl import wire

START_SECONDS = 60.0
ENDED = "the fork server has ended"
_FORKS_AT_ONCE = 16
_SO_SNDBUFFORCE = 32
_BUFFER_BYTES = 1 << 21
OF_THE_JOB = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Signals that a cluster or a terminal sends to every process of a job."""


class ProcessLink:
    """A worker started by the fork server, known by a descriptor that no other process inherits."""

    def __init__(self, sock: socket.socket, handle: int, ended: asyncio.Future[int | None]) -> None:
        self.sock = sock
        self._handle = handle
        self._ended = ended
        ended.add_done_callback(self._close)
        self._clock: int | None = None
        with open(f"/proc/self/fdinfo/{handle}") as file:
            found = re.search(r"^Pid:\s*(\d+)", file.read(), re.MULTILINE)
        self.pid = int(found.group(1)) if found else None
        if self.pid:
            self._clock = (~self.pid << 3) | 2  # clock_getcpuclockid(3): the process's own clock

    def signal(self, number: int) -> None:
        """See `host.Link`."""
        if self._handle >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def cpu_seconds(self) -> float | None:
        """See `host.Link`."""
        if self._clock is None or self._ended.done():
            return None
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            return None

    async def ended(self) -> int | None:
        """See `host.Link`."""
        return await asyncio.shield(self._ended)

    def _close(self, ended: asyncio.Future[int | None]) -> None:
        if ended.result() is None:  # its fork server is gone, which ends it too; make sure of it
            self.signal(signal.SIGKILL)
        os.close(self._handle)
        self._handle = -1


class ForkClient:
    """The host's end of a fork server's control socket."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int | None]] = {}
        self._slots = asyncio.Semaphore(_FORKS_AT_ONCE)
        self.ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self.lost = False
        self._loop.add_reader(control.fileno(), self._read)

    async def start(
        self, request: dict[str, Any], fds: list[int]
    ) -> tuple[int, asyncio.Future[int | None]]:
        """Fork: return (process descriptor, future exit code, `None` if the server ended first).

        Raises `ReplUnavailable`.
        """
        number = request["id"]
        async with self._slots:
            if self.lost:
                raise ReplUnavailable(ENDED)
            self._started[number] = started = self._loop.create_future()
            self._ended[number] = ended = self._loop.create_future()
            try:
                order = json.dumps(request | {"fds": len(fds)}).encode()
                socket.send_fds(self._control, [order], fds)
                async with asyncio.timeout(START_SECONDS):
                    return await started, ended
            except BaseException as error:
                self._ended.pop(number, None)
                if isinstance(error, TimeoutError):
                    self.close()  # stopped or stuck: the next one needs another server
                    raise ReplUnavailable(
                        f"the fork server did not answer in {START_SECONDS:g} s"
                    ) from error
                if isinstance(error, OSError):
                    raise ReplUnavailable(f"the fork server cannot be reached: {error}") from error
                raise
            finally:
                self._started.pop(number, None)

    def _read(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, 1 << 18, 4)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            message = json.loads(data)
            if "ready" in message:
                self.ready.set_result(message["ready"])
            elif "failed" in message:
                self._fail(message["failed"], message["error"])
            elif "started" in message and not fds:  # it ends when its channel is closed
                self._fail(message["started"], "no descriptor left for it (too many open files)")
            elif "started" in message:
                waiting = self._started.get(message["started"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(fds[0])
                else:  # the request was cancelled: nothing else will end the process
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fds[0], signal.SIGKILL)
                    os.close(fds[0])
            elif "exit" in message:
                ended = self._ended.pop(message["exit"], None)
                if ended is not None and not ended.done():
                    ended.set_result(message["status"])

    def _fail(self, number: int, why: str) -> None:
        waiting = self._started.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_exception(ReplUnavailable(f"a REPL worker cannot be started: {why}"))

    def close(self) -> None:
        """Close the socket: the fork server ends, with all it started."""
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        error = ReplUnavailable(ENDED)
        if not self.ready.done():
            self.ready.set_exception(error)
        for started in self._started.values():
            if not started.done():
                started.set_exception(error)
        for ended in self._ended.values():
            if not ended.done():
                ended.set_result(None)
        self._ended.clear()


def large_buffer(sock: socket.socket) -> None:
    """Enlarge a socket's buffer: fewer switches per large message; memory is used only then."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_BYTES)
    except PermissionError:  # not root: up to the system's maximum
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)


def context_file(context: Any) -> int:
    """Return a context as an anonymous file: it never goes through a pipe or a command line."""
    fd = os.memfd_create("context")
    try:
        wire.store(fd, context)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def of_the_machine() -> Iterator[None]:
    """Raise errors of the host itself (descriptors, memory, disk) as `ReplUnavailable`."""
    try:
        yield
    except OSError as error:
        raise ReplUnavailable(f"a REPL cannot be started: {error}") from error


@contextmanager
def deaf_to(signals: set[signal.Signals]) -> Iterator[None]:
    """Block these signals for children started here, and for theirs: the mask is inherited.

    A cluster signals every process of a job. A worker that ends so must not look like a crash of
    the model's code while the harness finishes the samples in flight.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def end_process(process: subprocess.Popen[bytes]) -> None:
    """Wait for the fork server, which ends when its socket closes; else kill it."""
    for _ in range(1000):
        if process.poll() is not None:
            return
        await asyncio.sleep(0.005)
    process.kill()
    process.wait()
