"""What a client needs of an API (`Dialect`) and of an address (`Host`): roles, no work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlm_eval.models import EndpointInfo, Sampling
from rlm_eval.types import Message, Reply


class Stream(Protocol):
    """Collects stream events into the body that an unstreamed reply has."""

    done: bool

    def feed(self, event: dict[str, Any]) -> bool: ...
    def body(self) -> dict[str, Any]: ...


class Dialect(Protocol):
    """What differs between APIs."""

    path: str

    def headers(self, key: str | None) -> dict[str, str]: ...
    def body(
        self, model: str, messages: Sequence[Message], sampling: Sampling, stream: bool
    ) -> dict[str, Any]: ...
    def reply(self, body: Any, prompt_bytes: int) -> Reply: ...
    def stream(self) -> Stream: ...


class Host(Protocol):
    """Where the endpoint is. A server of ours may die and come back under another address."""

    @property
    def base_url(self) -> str: ...
    @property
    def info(self) -> EndpointInfo: ...
    @property
    def held_s(self) -> float | None: ...

    def last_words(self) -> str | None:
        """Why it is gone; `None` while it runs or where it is not ours."""
        ...

    async def ensure(self) -> None:
        """Start it again where it is gone."""
        ...


@dataclass(frozen=True)
class Elsewhere:
    """An endpoint that is not ours."""

    base_url: str
    info: EndpointInfo
    held_s: float | None = None

    def last_words(self) -> str | None:
        """Not known."""
        return None

    async def ensure(self) -> None:
        """Not our business."""
