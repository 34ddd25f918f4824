"""Endpoints that are gone: report, wait, then stop cleanly.

`Outage` covers an address that cannot be reached; all clients of it share one, and one call at a
time probes. An endpoint that has answered before is awaited for up to `patience_s` from the first
refused connection; after that every call fails at once until a connection succeeds again. One that
has never answered is more likely a wrong address: its calls retry as for any other fault. `Silence`
covers an endpoint that answers, but never with a reply: a gateway before a dead server, an engine
that died, a quota that is used up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import EndpointGone
from rlm_eval.core.messages import say
from rlm_eval.models.http.http_errors import TransientError
from rlm_eval.models.waiting import INTERRUPT, suspended

_PROBE_EVERY_S = 5.0


class Unreachable(TransientError):
    """Raised where no connection could be made: nothing was sent."""


class Outage:
    """Reachability of the endpoint at an address."""

    def __init__(self) -> None:
        self.reached = False
        """True once it has answered."""
        self.since: float | None = None
        """`awake_time` of the first failed connection since it last answered."""
        self._waits = asyncio.Lock()

    def answered(self, where: str) -> None:
        """Record a response, whatever its content."""
        self.reached = True
        if self.since is not None:
            say(f"{where}: answers again after {awake_time() - self.since:.0f} s")
            self.since = None

    def failed(self, where: str, fault: Unreachable, patience_s: float) -> None:
        """Record a failed connection; the first one is reported."""
        if self.since is None:
            self.since = awake_time()
            then = f"waiting up to {patience_s:.0f} s (patience_s) for it" if self.reached else ""
            say(f"{where}: {fault}; {then or 'trying again'}; Ctrl-C stops")

    async def over(
        self,
        where: str,
        fault: Unreachable,
        *,
        patience_s: float,
        probe: Callable[[], Awaitable[bool]],
        every_s: float,
    ) -> None:
        """Return once `probe` succeeds: one caller at a time probes, every `every_s` seconds at
        first and every 5 s later. Raises `EndpointGone` after `patience_s`, and `RunStopped`."""
        interrupt = INTERRUPT.get()
        with suspended():
            async with interrupt.waiting(), self._waits:
                while self.since is not None:
                    left = self.since + patience_s - awake_time()
                    if left <= 0:
                        raise EndpointGone(
                            f"{where}: unreachable for {awake_time() - self.since:.0f} s "
                            f"(patience_s={patience_s:g}): {fault}; start it again, then the "
                            "same command resumes"
                        )
                    await asyncio.sleep(min(every_s, left))
                    every_s = min(_PROBE_EVERY_S, 2 * every_s)
                    if await probe():
                        self.answered(where)


class Silence:
    """Time for which no call of an endpoint has got a reply."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._given_up: set[str] = set()

    def reply(self) -> None:
        """Record that a call got a reply."""
        self._since = None
        self._given_up.clear()

    def failed(self) -> None:
        """Record that an attempt got no reply."""
        self._since = self._since or awake_time()

    def gone_for(self, caller: str, patience_s: float) -> float | None:
        """Return the seconds without a reply if the endpoint counts as gone, else `None`.

        `caller` is the sample of a call that used up its retries. If only one sample fails, the
        request itself may be the cause.
        """
        self._given_up.add(caller)
        seconds = awake_time() - (self._since or awake_time())
        return seconds if seconds > patience_s and len(self._given_up) > 1 else None
