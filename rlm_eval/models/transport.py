"""One HTTP exchange with an endpoint: sent, read up to a limit, every failure typed.

Not here: retries, turns and outages (`client`), what a body means (the dialect and `faults`).
Redirects are never followed: a POST that was redirected would come out as something else.
"""

from __future__ import annotations

import json
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.errors import EndpointUnusable, ModelError, ProviderError
from rlm_eval.models import address
from rlm_eval.models.endpoint import Host
from rlm_eval.models.faults import TransientError, fault_of
from rlm_eval.models.histories import remedy
from rlm_eval.models.outage import Outage, Unreachable

if TYPE_CHECKING:
    import aiohttp

    from rlm_eval.models.http import OpenAIModel

KEEP_ALIVE_S = 4.0
"""Idle connections are closed after this: before the server does (uvicorn and Node: 5 s)."""
REUSED: ContextVar[bool] = ContextVar("rlm_eval_reused", default=False)
"""Whether the connection of this task's last request had carried another one before."""
_STALE_S = 2.0
"""A reused connection that fails sooner, without a byte of a reply, was already closed."""
_MOST_OF_AN_ERROR = 1 << 20


class StaleConnection(TransientError):
    """The server had closed this idle connection: the request did not arrive."""


class Transport:
    """HTTP with one endpoint."""

    def __init__(
        self,
        config: OpenAIModel,
        host: Host,
        key: str | None,
        session: aiohttp.ClientSession,
        outage: Outage,
    ) -> None:
        import aiohttp

        self._config, self._host, self._session = config, host, session
        self._key, self._dialect = key, config.dialect
        self.outage = outage
        self._headers = {**config.headers, **self._dialect.headers(key)}
        self._timeout = aiohttp.ClientTimeout(
            total=config.timeout_s,
            sock_connect=min(30.0, config.timeout_s),
            sock_read=config.stall_s if config.stream else None,
        )

    @property
    def base_url(self) -> str:
        """Address up to and including `/v1`."""
        return self._host.base_url

    @property
    def where(self) -> str:
        """Model and address, for messages."""
        return f"{self._config.name} ({self._config.model}) at {self.base_url}"

    async def complete(self, payload: bytes) -> tuple[Any, float | None]:
        """The body of a completion, and the monotonic time of its first token where streamed.

        Raises `TransientError` or a `ModelError`.
        """
        import aiohttp

        began, answered = time.monotonic(), False
        try:
            async with self._session.post(
                address.below(self.base_url, self._dialect.path),
                data=payload,
                headers={"Content-Type": "application/json", **self._headers},
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                answered = True
                self._answered()
                if response.status != 200:
                    raise await self._refusal(response, payload)
                if self._config.stream:
                    return await self._collect(response.content)
                return self._parsed(response, await self._read(response)), None
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"no connection: {error}") from error
        except TimeoutError as error:
            seconds = time.monotonic() - began
            raise TransientError(f"no reply within {seconds:.0f} s", lost=True) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            is_stale = REUSED.get() and not answered and time.monotonic() - began < _STALE_S
            raise self._broken(error, is_stale=is_stale) from error

    async def get(self, url: str, seconds: float) -> bytes | None:
        """The body of a GET; `None` where the status is not 200 or nothing answers."""
        import aiohttp

        try:
            async with self._session.get(
                url,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                self._answered()
                return await self._read(response) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ModelError):
            return None

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """(status, JSON) of a POST beside the completions, `path` relative to the base; the JSON is
        `None` where the status is not 200 or the body is none. Raises `TransientError`."""
        import aiohttp

        try:
            async with self._session.post(
                address.relative(self.base_url, path),
                json=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=self._config.timeout_s),
                allow_redirects=False,
            ) as response:
                self._answered()
                words = await self._read(response)
                try:
                    return response.status, loads(words) if response.status == 200 else None
                except ValueError:
                    return response.status, None
        except TimeoutError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._broken(error, is_stale=False) from error

    async def is_reachable(self) -> bool:
        """Does anything answer at the address? Asks for the list of models."""
        await self.get(address.below(self.base_url, "/models"), 10.0)
        return self.outage.since is None

    def _answered(self) -> None:
        if self.outage.since is not None or not self.outage.reached:
            self.outage.answered(self.where)

    def _broken(self, error: Exception, *, is_stale: bool) -> TransientError | ModelError:
        """What an error of the connection means."""
        import aiohttp

        told = f"{type(error).__name__}: {error}"
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
        if (gone := self._host.last_words()) is not None:
            return TransientError(f"the server is gone, {gone}", lost=not unsent)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return EndpointUnusable(
                f"{self.where}: TLS: {error}; name the authority's file in SSL_CERT_FILE, or use "
                "base_url=http://... on a network of your own"
            )
        if isinstance(error, aiohttp.ClientSSLError) and not self.outage.reached:
            return EndpointUnusable(
                f"{self.where}: TLS: {error}; a server that speaks no TLS there needs "
                "base_url=http://..."
            )
        if isinstance(error, aiohttp.InvalidURL):
            return EndpointUnusable(f"{self.where}: {told}; check base_url")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return Unreachable(f"the host name cannot be resolved: {error}; check base_url")
        if unsent:
            return Unreachable(told)
        if is_stale:
            return StaleConnection(told)
        return TransientError(told, lost=True)

    async def _refusal(
        self, response: aiohttp.ClientResponse, payload: bytes
    ) -> ModelError | TransientError:
        """The error that a status other than 200 means."""
        status, path = response.status, self._dialect.path
        if 300 <= status < 400:
            to = self._quoted(response.headers.get("Location", "").encode()).decode()[:200]
            return EndpointUnusable(
                f"{self.where}: HTTP {status}: redirected to {to or 'nowhere'}; "
                f"{address.moved(self.base_url, path, to)}"
            )
        words = self._quoted(await read(response, _MOST_OF_AN_ERROR, cut=True))
        key_env = self._config.api_key_env
        fault = fault_of(status, words, response.headers, where=self.where, key_env=key_env)
        if status in (400, 422, 500):  # llama.cpp answers 500 where a chat template raises
            change = remedy(words.decode(errors="replace"), _roles(payload))
            if change:
                return EndpointUnusable(f"{fault}; {change}")
        if status in (404, 405) and (hint := address.hint(self.base_url)):
            return EndpointUnusable(f"{fault}{hint}")
        return fault

    def _quoted(self, words: bytes) -> bytes:
        """A server's words without the key, which some servers echo."""
        return words.replace(self._key.encode(), b"[key]") if self._key else words

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await read(response, self._dialect.most_bytes)
        except TooLarge as error:
            raise self._too_large() from error

    def _too_large(self) -> ProviderError:
        most = self._dialect.most_bytes >> 20
        error = ProviderError(
            f"{self.where}: the reply is larger than {most} MiB when decoded; it was not read"
        )
        error.lost_attempts = 1
        return error

    def _parsed(self, response: aiohttp.ClientResponse, words: bytes) -> Any:
        """The JSON of a 200. Raises `TransientError`, or `EndpointUnusable` for a web page."""
        try:
            return loads(words)
        except ValueError as error:
            if response.content_type == "text/html":
                told = f"{self.where}: the address answers with a web page, not with JSON"
                raise EndpointUnusable(told + address.hint(self.base_url)) from error
            raise TransientError(f"the reply is not JSON: {error}", lost=True) from error

    async def _collect(self, lines: aiohttp.StreamReader) -> tuple[dict[str, Any], float | None]:
        """The body of a stream of server-sent events, and when its first token came."""
        stream, first, buffer, size = self._dialect.stream(), None, b"", 0
        async for chunk in lines.iter_any():
            size += len(chunk)
            if size > self._dialect.most_bytes:
                raise self._too_large()
            *whole, buffer = (buffer + chunk).split(b"\n")
            for line in whole:
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or data == b"[DONE]":
                    continue
                try:
                    event = loads(data)
                except ValueError as error:
                    told = f"the reply is not JSON: {error}"
                    raise TransientError(told, lost=True) from error
                if stream.feed(event) and first is None:
                    first = time.monotonic()
        if not stream.done:
            raise TransientError("the stream ended before the reply did", lost=True)
        return stream.body(), first


def _roles(payload: bytes) -> list[str]:
    """The roles of a request's turns."""
    body = orjson.loads(payload)
    system = ["system"] if body.get("system") else []  # Anthropic's stands apart
    return system + [message["role"] for message in body.get("messages", ())]


class TooLarge(Exception):
    """A body went over its limit."""


async def read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The decoded body. One of more than `most` bytes raises `TooLarge`, or is `cut` there: a few
    hundred kilobytes of gzip can decode to gigabytes."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            if cut:
                break
            raise TooLarge
    return b"".join(pieces)[:most]


def loads(words: bytes) -> Any:
    """JSON as servers really send it. Raises `ValueError`.

    Half a surrogate pair becomes `?`, as in what is sent (`request.sendable`); NaN and infinities
    become null; bytes that are no UTF-8, raw control characters and a byte order mark are accepted.
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
