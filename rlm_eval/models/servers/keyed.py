"""Runs a uvicorn program that has no key check with one: `... SCRIPT [ARGUMENT ...]`.

Runs in the engine's interpreter, so it imports nothing of this package. The key is the value of
`RLM_EVAL_SERVER_KEY`; every request needs it as a bearer token. A program that serves other than
through uvicorn's `Config` does not start, rather than without a key.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose `http` would hide the standard one

import hmac
import os
import runpy
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

VARIABLE = "RLM_EVAL_SERVER_KEY"
_REFUSAL = b'{"error": {"message": "this server needs its key", "code": "invalid_api_key"}}'

App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[..., Any]], Any]


class Keyed:
    """An ASGI application with a key check before it."""

    def __init__(self, app: App, key: str) -> None:
        self._app, self._wanted = app, f"Bearer {key}".encode()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer 401 to a request without the key; close a websocket without it."""
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "lifespan" or hmac.compare_digest(given, self._wanted):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:
            await send({"type": "websocket.close", "code": 1008})


def main() -> None:
    """Run the script of the command line, its applications with the key check."""
    import uvicorn

    key = os.environ.pop(VARIABLE)
    plain = uvicorn.Config.__init__

    def keyed(self: Any, app: Any, *arguments: Any, **options: Any) -> None:
        if not callable(app) or options.get("factory"):
            raise SystemExit(f"{app!r} cannot be put behind a key")
        plain(self, Keyed(app, key), *arguments, **options)

    uvicorn.Config.__init__ = keyed
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
