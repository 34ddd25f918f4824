"""Parse the bytes of a response into a `Reply` or an error.

Whatever the bytes are, the result is a `Reply`, a `TransientError` or a `ModelError`. A reply that
violates its API's format is retried; the message quotes its first bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import EndpointUnusable, ModelError
from rlm_eval.core.secrets import SECRETS
from rlm_eval.core.types import Reply
from rlm_eval.models.endpoint import Dialect, Stream
from rlm_eval.models.http import reply_checks, sse
from rlm_eval.models.http.http_errors import (
    Malformed,
    TransientError,
    error_from_response,
    fault_in,
)


@dataclass(frozen=True)
class Reader:
    """Reads the replies to one request."""

    dialect: Dialect
    """The API's dialect."""
    headers: Mapping[str, str]
    """Headers of the response: they may state a wait."""
    where: str
    """Model and address, for messages."""
    key_env: str | None
    """Name of the environment variable that holds the key."""
    prompt_bytes: int
    """Bytes of the request: a bound on its tokens."""
    texts: int | None = None
    """Texts to embed; `None` for a chat."""
    accepted: bool = False
    """True where an earlier reply shows that address and key are right."""

    def fault(self, status: int, raw: bytes) -> ModelError | TransientError:
        """Return the error for a response without a reply. Some echo keys: they are redacted."""
        return error_from_response(
            status,
            SECRETS.data(raw),
            self.headers,
            where=self.where,
            key_env=self.key_env,
            accepted=self.accepted,
        )

    async def whole(self, raw: bytes) -> Reply:
        """Parse an unstreamed body; some gateways stream all the same."""
        if raw.lstrip().startswith(sse.BEGINNINGS):
            return (await self.stream(_once(raw)))[0]
        value = self._decoded(raw, "the reply")
        return self._reply(value, raw)

    async def stream(
        self, chunks: AsyncIterable[bytes], on_token: Callable[[], None] = lambda: None
    ) -> tuple[Reply, float | None]:
        """Return (the reply of a stream, `awake_time` of its first token or `None`).

        `on_token` is called at every event that holds a token. Nothing is read behind the event
        that ends the stream: some servers leave the connection open, or end it the wrong way.
        """
        import aiohttp

        stream, first = self.dialect.stream(), None
        check = reply_checks.StreamCheck()
        try:
            async with contextlib.aclosing(sse.events(chunks)) as events:
                async for data in events:
                    failed = isinstance(data, sse.Failed)
                    for raw in [bytes(data)] if failed else sse.objects(data):
                        if raw == sse.DONE:
                            stream.end()
                            break
                        event = self._decoded(raw, "a stream event", first is not None, failed)
                        if _is_whole(event):
                            return self._reply(event, raw), None
                        if self._fed(stream, check, event, raw):
                            on_token()
                            check.has_text = True
                            first = awake_time() if first is None else first
                    if stream.over:
                        break
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            if not stream.done:  # else the connection broke behind the reply: it is whole
                raise
        if not stream.done:
            raise TransientError("the stream ended before the reply did", lost=True)
        return self._reply(stream.body(), b""), first

    def _decoded(self, raw: bytes, what: str, begun: bool = False, failed: bool = False) -> Any:
        """Return a JSON value without an error in it; `begun`: tokens came before it; `failed`: it
        is known to be an error."""
        try:
            value = loads(raw)
        except ValueError as error:
            if not failed:
                quoted = Malformed(f"{what} is not JSON: {error}").quoting(SECRETS.data(raw))
                raise quoted from error
            value = raw.decode("utf-8", "replace")
        fault = self._fault_in(value)
        if fault is None and failed:
            fault = self._fault_in({"type": "error", "error": value})
        if fault is None:
            return value
        if (clean := SECRETS.data(raw)) != raw:  # redact an echoed key before the error is cut
            return self._decoded(clean, what, begun, failed)
        fault.usage = self.dialect.usage(value, self.prompt_bytes)
        if isinstance(fault, TransientError):
            answered = begun or (isinstance(value, dict) and bool(value.get("choices")))
            fault.lost = (fault.lost or answered) and fault.usage.output is None
        raise fault

    def _fault_in(self, value: Any) -> ModelError | TransientError | None:
        return fault_in(
            value,
            self.headers,
            where=self.where,
            key_env=self.key_env,
            accepted=self.accepted,
        )

    def _fed(self, stream: Stream, check: reply_checks.StreamCheck, event: Any, raw: bytes) -> bool:
        try:
            return stream.feed(check.one_reply(event))
        except Malformed as fault:
            raise fault.quoting(SECRETS.data(raw)) from fault

    def _reply(self, body: Any, raw: bytes) -> Reply:
        if self.texts is None and (header := reply_checks.cache_header(self.headers)) is not None:
            raise EndpointUnusable(
                f"{self.where}: the reply is a gateway's copy ({header}): its time is not the "
                "model's, and repeats are one reply; turn the cache off in the gateway, or by its "
                "header: Cloudflare root.headers={cf-aig-skip-cache: 'true'}, others "
                "root.headers={cache-control: no-cache}"
            )
        body = reply_checks.with_numbers(body)
        try:
            reply = self.dialect.reply(body, self.prompt_bytes)
            if self.texts is not None:
                reply_checks.check_vectors(reply, body, self.texts)
        except Malformed as fault:
            raise fault.quoting(SECRETS.data(raw)) from fault
        return reply if self.texts is not None else reply_checks.with_known_usage(reply)


async def _once(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


def _is_whole(event: Any) -> bool:
    """Return true for the finished body of an unstreamed reply: the server did not stream."""
    if not isinstance(event, dict):
        return False
    if event.get("type") == "message":
        return bool(event.get("stop_reason"))
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return (
        isinstance(first, dict)
        and "delta" not in first
        and isinstance(first.get("message"), dict)
        and bool(first.get("finish_reason"))
    )


def loads(words: bytes) -> Any:
    """Parse JSON leniently, as servers send it. Raises `ValueError`.

    Half a surrogate pair becomes `?`, as in requests (`session.request_key.sendable`); NaN and
    infinities become null; bytes that are not UTF-8, raw control characters and a byte order mark
    are accepted.
    """
    try:
        return orjson.loads(words)
    except orjson.JSONDecodeError:
        text = words.decode("utf-8-sig", "replace")
    try:
        return _without_halves(json.loads(text, strict=False, parse_constant=lambda _name: None))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_halves(k): _without_halves(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_halves(v) for v in value]
    return value
