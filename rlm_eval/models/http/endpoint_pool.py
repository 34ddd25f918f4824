"""Several endpoints of one model as one client: replicas on a node, or servers of several jobs.

A sample stays with one endpoint, whose prefix cache holds its conversation; a new one goes to the
endpoint with the fewest calls. One that cannot be reached is left out, reported, and retried after
a while; its call goes to another. Elsewhere: starting the servers, and limits (`gate`): each
endpoint gets its part of the model's.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import EndpointGone, EndpointUnusable, RunStopped
from rlm_eval.core.messages import say
from rlm_eval.core.types import Message, Reply, added
from rlm_eval.models import EndpointInfo, Sampling, ServerUsage
from rlm_eval.models.http.client import HttpClient
from rlm_eval.models.http.rate_limiter import CALLER
from rlm_eval.models.waiting import INTERRUPT

if TYPE_CHECKING:
    from rlm_eval.models.http.settings import Replicated

LEFT_OUT_S = 30.0
"""Seconds after which an endpoint that was left out is tried again."""
PATIENCE_S = 15.0
"""Seconds to wait for one endpoint, where there are others."""
_MOST_REMEMBERED = 10_000
_PAUSE_S = 2.0


@dataclass
class _Member:
    client: HttpClient
    calls: int = 0
    """Calls of this process in flight at it."""
    gone_at: float | None = None
    """Monotonic time at which it was last found gone."""

    def is_out(self) -> bool:
        return self.gone_at is not None and time.monotonic() - self.gone_at < LEFT_OUT_S


class Pool:
    """A client of several endpoints; satisfies `models.Client`."""

    def __init__(self, name: str, clients: Sequence[HttpClient], patience_s: float) -> None:
        self._name, self._patience_s = name, patience_s
        self._members = [_Member(client) for client in clients]
        self._places: OrderedDict[str, _Member] = OrderedDict()

    @property
    def base_url(self) -> str:
        """Address of the first endpoint."""
        return self._members[0].client.base_url

    def _member(self, avoid: Sequence[_Member]) -> _Member | None:
        """Return the endpoint for the caller's next call; `None` where every endpoint was tried."""
        caller = CALLER.get()
        kept = self._places.get(caller)
        if kept is not None and kept not in avoid and not kept.is_out():
            return kept
        free = [m for m in self._members if m not in avoid]
        free = [m for m in free if not m.is_out()] or free
        if not free:
            return None
        chosen = min(free, key=lambda member: member.calls)
        self._places[caller] = chosen
        self._places.move_to_end(caller)
        while len(self._places) > _MOST_REMEMBERED:
            self._places.popitem(last=False)
        return chosen

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """See `models.Client.complete`: the first endpoint that can be reached answers.

        Raises `EndpointGone` where none could be reached for the model's `patience_s`.
        """
        began, lost, attempts = awake_time(), 0, 0
        tried: list[_Member] = []
        while True:
            member = self._member(tried)
            assert member is not None
            entered = awake_time()
            member.calls += 1
            try:
                reply = await member.client.complete(messages, sampling)
            except RunStopped:
                raise
            except EndpointGone as error:
                lost, attempts = lost + error.lost_attempts, attempts + error.attempts
                self._leave_out(member, error)
                tried.append(member)
                if len(tried) == len(self._members):
                    if awake_time() - began > self._patience_s:
                        error.lost_attempts, error.attempts = lost, attempts
                        raise
                    await INTERRUPT.get().sleep(_PAUSE_S)
                    tried = []
                continue
            finally:
                member.calls -= 1
            self._back(member)
            return replace(
                reply,
                attempts=reply.attempts + attempts,
                lost_attempts=reply.lost_attempts + lost,
                queue_seconds=(reply.queue_seconds or 0.0) + entered - began,
            )

    def _leave_out(self, member: _Member, error: Exception) -> None:
        if not member.is_out():
            others = sum(not other.is_out() for other in self._members) - 1
            say(f"{self._name}: {member.client.base_url} is left out, {others} left: {error}")
        member.gone_at = time.monotonic()

    def _back(self, member: _Member) -> None:
        if member.gone_at is not None:
            member.gone_at = None
            say(f"{self._name}: {member.client.base_url} answers again")

    async def check(self) -> EndpointInfo:
        """See `models.Client.check`, and `prove`."""
        return await self.prove(("user",))

    async def prove(self, history: Sequence[str]) -> EndpointInfo:
        """Run `HttpClient.prove` on every endpoint; one that fails is left out.

        Raises the first endpoint's error where none works, and `EndpointUnusable` where two serve
        different models.
        """
        found = await asyncio.gather(
            *(member.client.prove(history) for member in self._members), return_exceptions=True
        )
        infos: list[EndpointInfo] = []
        for member, one in zip(self._members, found, strict=True):
            if isinstance(one, EndpointInfo):
                infos.append(one)
            elif isinstance(one, EndpointUnusable) and len(found) > 1:
                self._leave_out(member, one)
            else:
                raise one
        if not infos:
            first = found[0]
            assert isinstance(first, BaseException)
            raise first
        if len(models := {info.model for info in infos}) > 1:
            raise EndpointUnusable(
                f"{self._name}: the addresses of base_url serve different models: "
                f"{', '.join(sorted(models))}; list replicas of one model alone"
            )
        windows = [info.window for info in infos if info.window is not None]
        usage = functools.reduce(added, (info.check_usage for info in infos))
        caches = [info.cache_tokens for info in infos]
        return replace(
            infos[0],
            window=min(windows, default=None),
            check_usage=usage,
            cache_tokens=None if None in caches else sum(filter(None, caches)),
        )

    async def account(self) -> ServerUsage | None:
        """See `models.Client.account`: the prefix caches of all endpoints together."""
        accounts = [await m.client.account() for m in self._members if not m.is_out()]
        known = [account for account in accounts if account is not None]
        if not known:
            return None
        cache: dict[str, float] = {}
        for account in known:
            for name, value in account.prefix_cache.items():
                cache[name] = cache.get(name, 0.0) + value
        return replace(known[0], prefix_cache=cache)

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """See `models.http.counting.ServerCount.count`, for an endpoint that can be reached."""
        member = self._member(()) or self._members[0]
        return await member.client.count_tokens(messages)


def parts(total: int, of: int) -> list[int]:
    """Split `total` into `of` parts that differ by at most one; none is below 1."""
    return [max(1, total // of + (index < total % of)) for index in range(of)]


@asynccontextmanager
async def opened(config: Replicated, urls: Sequence[str]) -> AsyncIterator[Pool]:
    """Open the endpoints at these addresses as one client; each gets its part of the limits."""
    stated, count = config.concurrency, len(urls)
    shares: list[int | None] = [None] * count if stated is None else [*parts(stated, count)]
    async with AsyncExitStack() as stack:
        clients = []
        for url, most in zip(urls, shares, strict=True):
            one = replace(
                config, base_url=url, concurrency=most,
                rpm=config.rpm and config.rpm / len(urls),
                tpm=config.tpm and config.tpm / len(urls),
                patience_s=min(config.patience_s, PATIENCE_S),
            )  # fmt: skip
            client = await stack.enter_async_context(one.open())
            assert isinstance(client, HttpClient)
            clients.append(client)
        yield Pool(config.name, clients, config.patience_s)
