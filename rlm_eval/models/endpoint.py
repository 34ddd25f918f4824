"""A client's view of an API (`Dialect`) and of an address (`ServerHandle`): protocols only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from rlm_eval.core.types import Message, Reply, Usage
from rlm_eval.models import EndpointInfo, Sampling


class Stream(Protocol):
    """Collects stream events into the body that an unstreamed reply has."""

    done: bool
    """True once the reply is whole; counts and repetitions may follow."""
    over: bool
    """True once nothing follows."""

    def feed(self, event: Any) -> bool: ...
    def end(self) -> None: ...
    def body(self) -> dict[str, Any]: ...


class Dialect(Protocol):
    """The differences between APIs."""

    path: str
    most_bytes: int
    """Largest decoded reply, bytes; more is not read."""

    def headers(self, key: str | None) -> dict[str, str]: ...
    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]: ...
    def reply(self, body: Any, prompt_bytes: int) -> Reply: ...
    def usage(self, body: Any, prompt_bytes: int) -> Usage: ...
    def stream(self) -> Stream: ...


class Meter:
    """Seconds with a call in flight, and the sum of the calls' service seconds, of one server."""

    def __init__(self) -> None:
        self._busy_s = self._model_s = 0.0
        self._in_flight = 0
        self._until = time.monotonic()
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()

    def read(self) -> tuple[float, float]:
        """Return (busy seconds, model-seconds) so far."""
        now = time.monotonic()
        if self._in_flight:
            self._busy_s += now - self._until
            self._model_s += (now - self._until) * self._in_flight
        self._until = now
        return self._busy_s, self._model_s

    @contextmanager
    def call(self) -> Iterator[None]:
        """Measure a request, from sending it to the end of its reply."""
        self.read()
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.read()
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()


class ServerHandle(Protocol):
    """The server behind an endpoint. One that we started may die and restart at another address."""

    @property
    def base_url(self) -> str: ...
    @property
    def info(self) -> EndpointInfo: ...
    @property
    def meter(self) -> Meter: ...
    @property
    def held(self) -> tuple[str, float] | None:
        """Return (server, seconds for which it was ready so far); `None` if we did not start it."""
        ...

    def last_words(self) -> str | None:
        """Return why the server is gone; `None` while it runs or where we did not start it."""
        ...

    async def ensure(self) -> None:
        """Restart the server where it is gone. Raises `EndpointUnusable` where that was done
        already in this cell."""
        ...


@dataclass(frozen=True)
class RemoteServer:
    """An endpoint that we did not start."""

    base_url: str
    info: EndpointInfo
    meter: Meter = field(default_factory=Meter)
    held: None = None

    def last_words(self) -> str | None:
        """Return `None`: unknown."""
        return None

    async def ensure(self) -> None:
        """Do nothing: we do not manage this server."""


@runtime_checkable
class Fetches(Protocol):
    """An engine whose weights are downloaded before its start, which has a time limit."""

    def fetch(self) -> None:
        """Download the weights; blocking. Raises `EndpointUnusable`."""
        ...


@runtime_checkable
class TellsCache(Protocol):
    """An engine whose log reports the size of its key-value cache."""

    def cache_tokens(self, log: str) -> int | None:
        """Return the tokens that the cache holds; `None` where the log does not report them."""
        ...


@runtime_checkable
class Widens(Protocol):
    """A host that may have started its server with a smaller window than its model's."""

    async def widen(self) -> None:
        """Restart the server with the whole window. Raises `EndpointUnusable`."""
        ...
