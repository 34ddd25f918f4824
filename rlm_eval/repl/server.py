"""The host's view of a pool's fork server: started, watched, restarted where it ends.

A killed server takes its workers with it; `driver` rebuilds their state in workers of the next one.
Its tier never changes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl import sandbox
from rlm_eval.repl.fork import (
    ENDED,
    OF_THE_JOB,
    START_SECONDS,
    ForkClient,
    deaf_to,
    end_process,
)
from rlm_eval.repl.interface import ReplConfig, SandboxError

_LOG = logging.getLogger(__name__)
RESTARTS = 20
"""Restarts in `RESTART_SECONDS`; a server that ends more often cannot run on this machine."""
RESTART_SECONDS = 600.0


class Server:
    """A pool's fork server. See the module's docstring."""

    client: ForkClient
    """The control socket of the running or last server."""

    def __init__(self, config: ReplConfig, tier: str, overrides: Mapping[str, Any]) -> None:
        self._config = config
        self._tier = tier
        self._overrides = dict(overrides)
        self._stack = AsyncExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()
        self._ends: list[float] = []

    async def live(self) -> ForkClient:
        """Return the client of a running server, restarted where it has ended.

        Raises `ReplUnavailable` where it cannot be restarted, or ended too often.
        """
        async with self._lock:
            if not self.client.lost:
                return self.client
            now = time.monotonic()
            self._ends = [end for end in self._ends if now - end < RESTART_SECONDS]
            if len(self._ends) >= RESTARTS:
                raise ReplUnavailable(
                    f"{ENDED} {RESTARTS} times in {RESTART_SECONDS / 60:.0f} minutes and is not "
                    "restarted again: look for what ends it (the kernel's log names processes that "
                    "it killed for memory) and run the same command again"
                )
            self._ends.append(now)
            await self.close()
            code = self._process.returncode if self._process else None
            _LOG.warning(
                "%s (exit code %s): restarting it, %d of at most %d times in %.0f minutes; "
                "the REPLs that it held are restored",
                ENDED, code, len(self._ends), RESTARTS, RESTART_SECONDS / 60,
            )  # fmt: skip
            try:
                await self.start()
            except (SandboxError, OSError) as error:
                raise ReplUnavailable(f"the fork server cannot be restarted: {error}") from error
            return self.client

    async def close(self) -> None:
        """End it, with all that it started."""
        await self._stack.aclose()

    async def start(self) -> dict[str, Any]:
        """Start it; return the facts that it found on this machine.

        Raises `SandboxError` where the tier is unavailable, `ReplUnavailable` where it ended at
        once, OSError.
        """
        try:
            return await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> dict[str, Any]:
        stack, tier = self._stack, self._tier
        program = sandbox.bubblewrap() if tier == "A" else None
        if tier == "A" and (trouble := sandbox.bubblewrap_trouble(program)):
            raise SandboxError(f"bubblewrap {trouble}")
        scratch = sandbox.SCRATCH  # exists only inside, so that a killed harness leaves nothing
        if tier != "A":
            scratch = tempfile.mkdtemp(prefix="rlm-eval-repl-")
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            os.chmod(scratch, 0o711)  # noqa: S103 - other users pass through, none lists it
        try:
            policy = sandbox.policy(self._config, tier, scratch) | self._overrides
        except ValueError as error:
            raise SandboxError(str(error)) from error
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        with theirs:
            command = sandbox.command(theirs.fileno())
            if program:
                command = sandbox.bubblewrap_command(program, self._config, scratch) + command
            with deaf_to(OF_THE_JOB):
                self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
                    command,
                    pass_fds=[theirs.fileno()],
                    env=sandbox.ENVIRONMENT,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
        stack.push_async_callback(end_process, self._process)
        self.client = ForkClient(ours)
        stack.callback(self.client.close)
        ours.send(json.dumps(policy).encode())
        try:
            async with asyncio.timeout(START_SECONDS):
                found = await self.client.ready
        except TimeoutError:
            raise SandboxError(f"the fork server did not start in {START_SECONDS:g} s") from None
        if "error" in found:
            raise SandboxError(found["error"])
        if found["missing"]:
            raise SandboxError(f"repl.packages cannot be imported: {found['missing']}")
        return found
