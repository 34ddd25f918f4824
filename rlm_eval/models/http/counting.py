"""Prompt tokens counted by the model's own server: exact, free, the chat template included.

llama.cpp, vLLM and Anthropic each have an address for it; others (transformers serve, most
gateways) have none. Not a meter: the tokens of a call are in its `Usage`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rlm_eval.core.errors import EndpointUnusable, ProviderError
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.endpoint import Dialect

ADDRESSES = (
    ("chat/completions/input_tokens", "input_tokens"),  # llama.cpp
    ("../tokenize", "count"),  # vLLM
    ("messages/count_tokens", "input_tokens"),  # Anthropic
)
"""Possible addresses, relative to the API's base, and the field that holds the count."""

_SENT = ("model", "messages", "system", "chat_template_kwargs", "thinking")

Ask = Callable[[str, dict[str, Any], int], Awaitable[Any]]
"""Posts a body to an address below the base, with so many retries, and returns its JSON; `None` for
a 4xx or no JSON.

Raises `ProviderError` where the server does not answer.
"""


class ServerCount:
    """The counting address of one endpoint, found by the first count."""

    def __init__(
        self, ask: Ask, dialect: Dialect, model: str, sampling: Sampling, retries: int
    ) -> None:
        self._ask, self._dialect, self._retries = ask, dialect, retries
        self._model, self._sampling = model, sampling
        self._lock = asyncio.Lock()
        self._found: tuple[str, str] | None = None
        self._searched = False

    async def count(self, messages: Sequence[Message]) -> int | None:
        """Count the tokens of a prompt; `None` where the server has no such address.

        Raises `ProviderError` where the address does not answer.
        """
        async with self._lock:
            if not self._searched:
                self._found = await self._search()
                self._searched = True
        return None if self._found is None else await self._at(self._found, messages, self._retries)

    async def _search(self) -> tuple[str, str] | None:
        for address in ADDRESSES:
            try:
                if await self._at(address, [Message("user", "ready")], 0) is not None:
                    return address
            except EndpointUnusable:  # gone, or stopped: not the same as a missing counter
                raise
            except ProviderError:
                # Some gateways answer an unknown path with a server error.
                continue
        return None

    async def _at(
        self, address: tuple[str, str], messages: Sequence[Message], retries: int
    ) -> int | None:
        path, field = address
        body = self._dialect.body(self._model, messages, self._sampling, False)
        sent = {name: body[name] for name in _SENT if name in body}
        told = await self._ask(path, sent, retries)
        count = told.get(field) if isinstance(told, dict) else None
        return count if isinstance(count, int) and count > 0 else None
