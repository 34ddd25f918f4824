"""Interruptible waits: a stop request ends a wait, and an outage does not count as working time.

Waits are back-off, a provider's pause, and an endpoint that is gone. A request in flight is not a
wait: it is paid for, and its reply is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from rlm_eval.core.clock import suspended as suspended
from rlm_eval.core.clock import working_time as working_time
from rlm_eval.core.errors import RunStopped


class Interrupt:
    """A stop request for the waiting calls of one run; those in flight continue."""

    def __init__(self) -> None:
        self.asked = False
        """True where calls no longer wait."""
        self._waits: set[asyncio.Timeout] = set()
        self._watchers: set[Callable[[], None]] = set()

    def ask(self) -> None:
        """End every wait with `RunStopped`, now and from now on."""
        self.asked = True
        for wait in self._waits:
            wait.reschedule(asyncio.get_running_loop().time())
        for changed in self._watchers:
            changed()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` once a stop is requested; the same function is kept once."""
        self._watchers.add(changed)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Make a wait interruptible. Raises `RunStopped` where a stop is or was requested."""
        if self.asked:
            raise stopped()
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if wait.expired():
                raise stopped() from None
            raise

    async def sleep(self, seconds: float) -> None:
        """Sleep. Raises `RunStopped` as `waiting` does."""
        async with self.waiting():
            await asyncio.sleep(seconds)


def stopped() -> RunStopped:
    """Return the error of a call that waited when the run was stopped."""
    return RunStopped("the run was stopped while this call waited; the same command resumes")


INTERRUPT: ContextVar[Interrupt] = ContextVar("rlm_eval_interrupt", default=Interrupt())  # noqa: B039 - never asked
"""The stop request of this run; set by the runner."""
