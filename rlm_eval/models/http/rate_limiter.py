"""Concurrency and rate limits of an endpoint, and the order of its queue.

One `AdaptiveLimiter` per endpoint: a limit that is halved on a rate-limit response and grows back
with success (additive increase, multiplicative decrease, as TCP does), a pause for `Retry-After`,
requests and tokens per minute, and fair queueing between samples: the caller that waits longest
without a start goes first, so that one sample's thousand sub-calls do not starve others.

It does not retry; `client.HttpClient` does. Back-off happens outside the gate, holding no slot.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from rlm_eval.core.clock import awake_time
from rlm_eval.models.waiting import INTERRUPT, Interrupt, stopped

CALLER: ContextVar[str] = ContextVar("rlm_eval_caller", default="")
"""Fair-queueing key; the session sets it to the sample id."""


class Rate:
    """At most `per_minute` units a minute, started evenly; three seconds' worth may burst.

    One request that is larger than the bucket waits for a full one.
    """

    def __init__(self, per_minute: float) -> None:
        self.per_second = per_minute / 60
        self.bucket = max(1.0, 3 * self.per_second)
        self._level = self.bucket
        self._time = time.monotonic()

    def change(self, per_minute: float) -> None:
        """Change the rate from now on."""
        self.wait(0)  # accrue at the old rate so far
        self.per_second = per_minute / 60
        self.bucket = max(1.0, 3 * self.per_second)
        self._level = min(self._level, self.bucket)

    def wait(self, units: float) -> float:
        """Return the seconds until `units` may be used; uses nothing."""
        now = time.monotonic()
        self._level = min(self.bucket, self._level + (now - self._time) * self.per_second)
        self._time = now
        return max(0.0, (min(units, self.bucket) - self._level) / self.per_second)

    def book(self, units: float) -> None:
        """Use `units`, or return them, where negative."""
        self._level -= units


class AdaptiveLimiter:
    """The queue of one endpoint. See the module docstring."""

    def __init__(self, limit: int, rpm: float | None = None, tpm: float | None = None) -> None:
        self.ceiling = limit
        self.limit = float(limit)
        """Requests allowed at once now; between 1 and `ceiling`."""
        self.in_flight = 0
        self.capacity: float | None = None
        """Tokens that the server's key-value cache holds: more would wait inside the server, where
        no latency column separates waiting from work. One larger request goes alone."""
        self.throttled = 0
        """Number of rate-limit responses."""
        self._rpm = Rate(rpm) if rpm else None
        self._tpm = Rate(tpm) if tpm else None
        self._whole = (limit, rpm, tpm)
        self._parts = 1
        self._queues: OrderedDict[str, deque[tuple[asyncio.Future[None], float]]] = OrderedDict()
        self._cached = 0.0
        """Tokens that the requests in flight may fill."""
        self._paused_until = 0.0
        self._halved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._interrupt = Interrupt()

    def divide(self, of: int) -> None:
        """Reduce the limits to one part in `of`, at least one request at a time."""
        limit, rpm, tpm = self._whole
        self._parts = of
        ceiling = max(1, limit // of)
        # A reduction caused by the provider applies to the new part, too.
        self.limit, self.ceiling = max(1.0, self.limit * ceiling / self.ceiling), ceiling
        for rate, per_minute in ((self._rpm, rpm), (self._tpm, tpm)):
            if rate is not None and per_minute:
                rate.change(per_minute / of)
        self._admit()

    def set_limit(self, limit: int) -> None:
        """Set the limit of requests at once, for all parts together."""
        if limit != self._whole[0]:
            self._whole = (limit, *self._whole[1:])
            self.divide(self._parts)

    @asynccontextmanager
    async def slot(self, tokens: float) -> AsyncIterator[float]:
        """Hold one of the slots; yields the time of entry (`awake_time`). `tokens` is an estimate.

        Raises `RunStopped` where it waits for a pause or a rate when the run is stopped.
        """
        await self._enter(CALLER.get(), tokens)
        try:
            yield awake_time()
        finally:
            self._leave(tokens)
            self._admit()

    def _leave(self, tokens: float) -> None:
        self.in_flight -= 1
        self._cached -= tokens

    async def _enter(self, caller: str, tokens: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append((future, tokens))
        self._interrupt = INTERRUPT.get()
        self._interrupt.watch(self._admit)
        self._admit()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._leave(tokens)  # admitted and cancelled in one tick
            self._admit()
            raise

    def _admit(self) -> None:
        """Start as many requests as allowed: callers in turn, each one's requests in order.

        Called whenever the answer may have changed, so that no request waits longer than the next
        one must.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queues and self.in_flight < int(self.limit):
            caller, queue = next(iter(self._queues.items()))
            future, tokens = queue[0]
            if not future.cancelled():
                room = self.capacity and self.capacity / self._parts
                if room and self.in_flight and self._cached + tokens > room:
                    return  # the next request that ends makes room
                # The fair order, not the arrival, also decides which caller waits for the rates.
                if (wait := self._wait(tokens)) > 0:
                    if self._interrupt.asked:
                        self._dismiss()
                        return
                    self._timer = asyncio.get_running_loop().call_later(wait, self._admit)
                    return
                self._book(1, tokens)
                self.in_flight += 1
                self._cached += tokens
                future.set_result(None)
                self._queues.move_to_end(caller)
            queue.popleft()
            if not queue:
                del self._queues[caller]

    def _dismiss(self) -> None:
        """End the wait of all queued requests."""
        for queue in self._queues.values():
            for future, _ in queue:
                if not future.done():
                    future.set_exception(stopped())
        self._queues.clear()

    def _wait(self, tokens: float) -> float:
        """Return the seconds until the next request may go, by pause and rates."""
        return max(
            self._paused_until - time.monotonic(),
            self._rpm.wait(1) if self._rpm else 0.0,
            self._tpm.wait(tokens) if self._tpm else 0.0,
        )

    def _book(self, requests: float, tokens: float) -> None:
        if self._rpm:
            self._rpm.book(requests)
        if self._tpm:
            self._tpm.book(tokens)

    def on_throttled(self, entered: float, retry_after: float | None) -> None:
        """Handle a rate-limit response to a request that entered at `entered`: halve, and pause."""
        self.throttled += 1
        if entered >= self._halved_at:  # one burst of refusals halves once, not once per request
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = awake_time()
        if retry_after:
            self._paused_until = max(self._paused_until, time.monotonic() + retry_after)

    def on_success(self, tokens_over_estimate: float) -> None:
        """Handle a reply: the limit grows by one per `limit` replies."""
        self.limit = min(float(self.ceiling), self.limit + 1 / self.limit)
        self._book(0, tokens_over_estimate)
        self._admit()
