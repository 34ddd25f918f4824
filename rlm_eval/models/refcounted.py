"""One open resource shared by all users in the process with the same key.

Root, sub, judge and every cell open servers and endpoints; equal keys share one, and the last user
closes it. To keep one open beyond a cell, hold it open for longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    users: int = 0
    value: Any = None


_entries: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Entry] = {}


@asynccontextmanager
async def refcounted(
    key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]
) -> AsyncIterator[T]:
    """Enter `make()` once per `key` and event loop; leave it with the last user."""
    place = (asyncio.get_running_loop(), key)
    entry = _entries.setdefault(place, _Entry())
    entry.users += 1
    try:
        async with entry.lock:  # the second user waits for the first one's start
            if entry.value is None:
                entry.value = await entry.stack.enter_async_context(make())
        yield entry.value
    finally:
        entry.users -= 1
        if entry.users == 0:
            del _entries[place]
            await entry.stack.aclose()
