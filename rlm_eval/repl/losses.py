"""The cause of a worker's loss: its own code, an outside kill, or its fork server.

Own code (it exited, crashed, broke the channel, hit a limit and did not stop): the model sees the
error. Killed from outside, as by the kernel where memory runs out: the block is run once more,
since the model did nothing; if that happens again, the model sees it. Lost with its fork server:
the block is run again.
"""

from __future__ import annotations

import asyncio
import signal

from rlm_eval.core.errors import ReplUnavailable
from rlm_eval.repl.host import Link

OWN_LOSSES = 2
"""Losses by the code itself: after so many it will repeat."""
LOSSES = 20
"""Losses from outside, in one operation: the machine cannot hold a worker."""
_EXIT_SECONDS = 5.0  # between the end of a worker's channel and its own: else it broke the channel


class Lost(Exception):
    """Raised where a worker is gone: `is_own` by its code, `killed` from outside, or its server."""

    is_own = True
    killed = False
    how = ""

    async def find_out(self, link: Link) -> None:
        """Determine how a worker ended whose channel broke."""
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                code = await link.ended()
        except TimeoutError:
            return  # it continues without its channel
        self.killed = code == -signal.SIGKILL
        self.is_own = code is not None and not self.killed
        self.how = "it ended with its fork server" if code is None else f"exit code {code}"


class Losses:
    """The losses of successive workers in the same operation."""

    def __init__(self) -> None:
        self._total = self._killed = 0

    def blame(self, lost: Lost) -> bool:
        """Return true if the code is the cause; a second kill from outside counts as the code's.

        Raises `ReplUnavailable` after too many losses caused by the machine.
        """
        self._total += 1
        self._killed += lost.killed
        if lost.is_own or self._killed == OWN_LOSSES:
            return True
        if self._total == LOSSES:
            raise ReplUnavailable(f"{LOSSES} workers in a row were lost: {lost.how}")
        return False
