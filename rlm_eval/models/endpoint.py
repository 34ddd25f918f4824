"""What a client needs of an API (`Dialect`) and of an address (`ServerHandle`): roles, no work."""

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

    def feed(self, event: Any) -> bool: ...
    def end(self) -> None: ...
    def body(self) -> dict[str, Any]: ...


class Dialect(Protocol):
    """What differs between APIs."""

    path: str
    most_bytes: int
    """Of a reply when decoded; more is not read."""

    def headers(self, key: str | None) -> dict[str, str]: ...
    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]: ...
    def reply(self, body: Any, prompt_bytes: int) -> Reply: ...
    def usage(self, body: Any, prompt_bytes: int) -> Usage: ...
    def stream(self) -> Stream: ...


class Meter:
    """Seconds with a call in flight, and the sum of the calls' own seconds, of one server."""

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
        """(busy seconds, model-seconds) so far."""
        now = time.monotonic()
        if self._in_flight:
            self._busy_s += now - self._until
            self._model_s += (now - self._until) * self._in_flight
        self._until = now
        return self._busy_s, self._model_s

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around a request: from sending it to the end of its reply."""
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
    """Where the endpoint is. A server of ours may die and come back under another address."""

    @property
    def base_url(self) -> str: ...
    @property
    def info(self) -> EndpointInfo: ...
    @property
    def meter(self) -> Meter: ...
    @property
    def held(self) -> tuple[str, float] | None:
        """(server, seconds that it was ready so far); `None` where it is not ours."""
        ...

    def last_words(self) -> str | None:
        """Why it is gone; `None` while it runs or where it is not ours."""
        ...

    async def ensure(self) -> None:
        """Start it again where it is gone. Raises `EndpointUnusable` where that was done already
        in this cell."""
        ...


@dataclass(frozen=True)
class RemoteServer:
    """An endpoint that is not ours."""

    base_url: str
    info: EndpointInfo
    meter: Meter = field(default_factory=Meter)
    held: None = None

    def last_words(self) -> str | None:
        """Not known."""
        return None

    async def ensure(self) -> None:
        """Not our business."""


@runtime_checkable
class Fetches(Protocol):
    """An engine whose weights are fetched before its start, which has a time limit."""

    def fetch(self) -> None:
        """Fetch them; blocking. Raises `EndpointUnusable`."""
        ...


@runtime_checkable
class TellsCache(Protocol):
    """An engine whose log tells the size of its key-value cache."""

    def cache_tokens(self, log: str) -> int | None:
        """Tokens that the cache holds; `None` where the log does not tell."""
        ...


@runtime_checkable
class Widens(Protocol):
    """A host whose server may have a smaller window than its model, and can get the whole one."""

    async def widen(self) -> None:
        """Give it the whole window. Raises `EndpointUnusable`."""
        ...
