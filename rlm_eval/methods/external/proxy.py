"""A loopback endpoint for chat completions that forwards every request to one session.

An external engine's usage is thus metered, limited and journalled by the session, regardless of the
engine's own accounting. The models are named by slot (`root`, `sub`). Sampling settings are the
run's, as for every other method: the engine's are ignored and noted. A model without an output cap
gets one, because the engine's request does not cap it. Not supported: streaming, tools, several
choices (rejected with a clear message).

A request that the engine gives up before its reply, as on a time-out of its client, is a failed
call: our own waits (back-off, an endpoint that is gone, queues) happen within one request of the
engine, so its time-out is no fault of the model.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rlm_eval.core.endpoints import Sampling
from rlm_eval.core.errors import (
    ContextOverflow,
    EndpointUnusable,
    LimitReached,
    ModelError,
    ProviderError,
)
from rlm_eval.core.types import Call, Message, Role
from rlm_eval.protocols import Session

if TYPE_CHECKING:
    from aiohttp import web

_REFUSED = ("stream", "tools", "functions")
_OWN = {"model", "messages", "stream", "n"}
_Request = tuple[str, tuple[Message, ...]]  # the model's slot, and the messages
_LARGEST_BODY = 1 << 30


class Proxy:
    """The endpoint of one sample. Created by `open_proxy`."""

    def __init__(self, session: Session, cap: int) -> None:
        """`cap`: maximum reply tokens of a model whose sampling has no cap."""
        self._session = session
        self._cap = cap
        self.key = secrets.token_urlsafe(24)
        self.url = ""
        """Address up to and including `/v1`."""
        self.stop: Exception | None = None
        """The error that ends the sample, whatever the engine does with it."""
        self.failure: ModelError | None = None
        """The last call that failed."""
        self.failed = 0
        """Failed requests after which the engine may have continued, rejected ones included."""
        self.peak = 0
        """Maximum number of requests in flight."""
        self.first_chars: int | None = None
        """Characters of the first request to the root model; `None` before it."""
        self._ended_at: int | None = None
        self._given_up: dict[_Request, ProviderError] = {}
        self._flying = 0
        self._errors = 0
        self._ignored: set[str] = set()
        self._turns = 0
        self._last_root: int | None = None

    def end(self) -> None:
        """Record that the engine has ended or is killed now: it gives up no further request."""
        self._ended_at = len(self._session.calls)

    @property
    def given_up(self) -> ProviderError | None:
        """The first request that the engine gave up and that no equal one repaired later."""
        return next(iter(self._given_up.values()), None)

    @property
    def unsent(self) -> ProviderError | None:
        """A call whose attempts had all failed and which waited for the next one at the end.

        Known once the proxy is closed. A call that was lost, or is in flight, may be a slow one.
        """
        for call in self._session.calls[self._ended_at :] if self._ended_at is not None else ():
            if (call.error or "").startswith("Cancelled:") and not call.lost_attempts:
                return ProviderError(
                    f"{call.slot}: {call.attempts} attempt(s) of a call had failed and it waited "
                    "to be sent again when the engine's time ended"
                )
        return None

    async def complete(self, request: web.Request) -> web.Response:
        """`POST /v1/chat/completions`."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            return _error(401, "wrong key", "invalid_api_key")
        self._flying += 1
        self.peak = max(self.peak, self._flying)
        status = 500
        try:
            response = await self._answer(await request.read())
            status = response.status
        finally:
            self._flying -= 1
            # A limit ends the sample: the engine does not continue after that failure. Nor does it
            # where it was killed with requests in flight.
            self.failed += status != 200 and self.stop is None and self._ended_at is None
        return response

    async def _answer(self, body: bytes) -> web.Response:
        try:
            asked = json.loads(body)
            slot, messages = asked.get("model"), [_message(m) for m in asked["messages"]]
        except (ValueError, TypeError, AttributeError, KeyError):
            return _error(400, "no JSON object with a list of messages", "invalid_request")
        named = [s for s in ("root", "sub") if s in self._session.slots]
        if slot not in named:
            told = f"model {slot!r}: there is {' and '.join(named)}"
            return _error(404, told, "model_not_found")
        for name in _REFUSED:
            if asked.get(name):
                return _error(400, f"{name} is not supported by this endpoint", "unsupported")
        if asked.get("n") not in (None, 1):
            told = f"n={asked['n']} is not supported by this endpoint: one choice per request"
            return _error(400, told, "unsupported")
        if ignored := {name for name, value in asked.items() if value is not None} - _OWN:
            self._ignored |= ignored
            self._session.note("engine_sampling_ignored", ",".join(sorted(self._ignored)))
        began, errors = time.monotonic(), self._errors
        try:
            call = await self._call(slot, messages)
        except asyncio.CancelledError:
            # An error that the engine got meanwhile may end its whole batch: not a time-out.
            if self.stop is None and self._ended_at is None and self._errors == errors:
                self._give_up((slot, tuple(messages)), time.monotonic() - began)
            raise
        except (LimitReached, EndpointUnusable) as error:
            self.stop = error
            return _error(403, str(error), "limit_reached")
        except ModelError as error:
            self.failure = error
            self._errors += 1
            code = "context_length_exceeded" if isinstance(error, ContextOverflow) else error.kind
            # Our own client has made the retries; 400 prevents further ones by the engine's
            # client.
            return _error(400, str(error), code)
        except Exception as error:
            self.stop = error  # of the harness (its storage, a bug): no engine must go over it
            raise
        self._given_up.pop((slot, tuple(messages)), None)
        return _json(_completion(call))

    def _give_up(self, request: _Request, seconds: float) -> None:
        told = (
            f"the engine closed its request to {request[0]} after {seconds:.1f} s, before the "
            "reply: give its client a time-out of at least method.seconds"
        )
        self._given_up.setdefault(request, ProviderError(told))

    async def _call(self, slot: str, messages: list[Message]) -> Call:
        capless = not self._session.reply_cap_of(slot)
        sampling = Sampling(max_output_tokens=self._cap) if capless else None
        if slot == "sub":
            return await self._session.call(
                messages,
                sampling=sampling,
                role=Role.SUB,
                position="engine.sub",
                model="sub",
                depth=1,
                turn=max(0, self._turns - 1),
                parent=self._last_root,
            )
        turn = self._turns
        self._turns += 1
        if self.first_chars is None:
            self.first_chars = sum(len(message.content) for message in messages)
        call = await self._session.call(
            messages, sampling=sampling, role=Role.ROOT, position="engine", turn=turn
        )
        self._last_root = call.id
        return call


@asynccontextmanager
async def open_proxy(session: Session, cap: int) -> AsyncIterator[Proxy]:
    """Serve `session` on a free port of 127.0.0.1, with a random key.

    `cap`: maximum reply tokens of a model whose sampling has no cap.
    """
    from aiohttp import web

    proxy = Proxy(session, cap)
    app = web.Application(client_max_size=_LARGEST_BODY)
    app.router.add_post("/v1/chat/completions", proxy.complete)
    # A killed engine must not leave its billed calls running.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.url = f"http://{host}:{port}/v1"
        yield proxy
    finally:
        await runner.cleanup()


def _message(message: dict[str, Any]) -> Message:
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content)
    return Message(str(message.get("role", "user")), str(content or ""))


def _completion(call: Call) -> dict[str, Any]:
    usage = call.usage
    body: dict[str, Any] = {
        "id": f"call-{call.id}",
        "object": "chat.completion",
        "created": 0,
        "model": "sub" if call.role is Role.SUB else "root",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": call.as_sent},
                "finish_reason": call.finish_reason,
            }
        ],
    }
    if usage.input is not None and usage.output is not None:
        body["usage"] = {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
        }
    return body


def _error(status: int, message: str, code: str) -> web.Response:
    return _json({"error": {"message": message, "type": "proxy", "code": code}}, status)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    from aiohttp import web

    response = web.json_response(body, status=status)
    # Each batch of rlms runs in its own event loop; a connection left open by an earlier loop
    # makes requests of the next batch fail ("Event loop is closed").
    response.force_close()
    return response
