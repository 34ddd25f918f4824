"""The connections of one endpoint; they record whether a request used a new or a reused one.

aiohttp's own tracing reports that too, at a quarter of the client's processor time. Imported where
a client is opened: it loads aiohttp.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import aiohttp

from rlm_eval.models.http.transport import KEEP_ALIVE_S, REUSED

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection


class Connector(aiohttp.TCPConnector):
    """Sets `transport.REUSED` in the task that makes the request. Create it in a running loop.

    It has no limit: the gate limits, and a second limit here would only hide its queue.
    """

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        self._known: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()

    async def connect(self, *request: Any, **options: Any) -> Connection:
        """See `aiohttp.BaseConnector.connect`."""
        connection = await super().connect(*request, **options)
        protocol = connection.protocol
        REUSED.set(protocol in self._known)
        if protocol is not None:
            self._known.add(protocol)
        return connection
