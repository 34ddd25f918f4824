"""One HTTP exchange with an endpoint: sent, read up to a limit, every failure typed.

Elsewhere: retries, queueing and outages (`client`), the meaning of a body (the dialect and
`http_errors`). Redirects are never followed: a redirected POST would arrive as another request.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import BadRequest, EndpointUnusable, ModelError, ProviderError
from rlm_eval.core.secrets import redact
from rlm_eval.core.types import Reply
from rlm_eval.models.endpoint import ServerHandle
from rlm_eval.models.http import address
from rlm_eval.models.http.histories import remedy
from rlm_eval.models.http.http_errors import TransientError
from rlm_eval.models.http.keys import request_headers
from rlm_eval.models.http.reading import Reader, loads
from rlm_eval.models.outage import Outage, Unreachable

if TYPE_CHECKING:
    import aiohttp

    from rlm_eval.models.http.settings import HttpSettings

KEEP_ALIVE_S = 4.0
"""Idle connections are closed after this: before the server does (uvicorn and Node: 5 s)."""
REUSED: ContextVar[bool] = ContextVar("rlm_eval_reused", default=False)
"""Whether this task's last request reused a connection."""
_STALE_S = 2.0
"""A reused connection that fails sooner, without a byte of a reply, was already closed."""
_TAIL_S = 0.2
"""Seconds for a stream's end to arrive after its last event; the server has sent it already."""
_MOST_OF_AN_ERROR = 1 << 20
_WITH_A_REPLY = {200, 201, 203}
"""Statuses whose body is the reply: some gateways create one (201) or pass one on (203)."""
_NAMES_OF_THE_CAP = {"max_tokens", "max_completion_tokens"}
_UNKNOWN_FIELD = re.compile(
    rb"unsupported[ _]param|not supported with this model|unrecogni[sz]ed (request )?argument"
    rb"|unknown (field|param|name|argument)|extra[ _](inputs|fields)|extra_forbidden"
    rb"|unexpected (keyword|field)|deprecated",
    re.IGNORECASE,
)


class StaleConnection(TransientError):
    """Raised where the server had closed this idle connection: the request did not arrive."""


class Transport:
    """HTTP with one endpoint."""

    def __init__(
        self,
        config: HttpSettings,
        host: ServerHandle,
        key: str | None,
        session: aiohttp.ClientSession,
        outage: Outage,
    ) -> None:
        import aiohttp

        self._config, self._host, self._session = config, host, session
        self._dialect = config.dialect
        self._key_env = config.api_key_env or ", ".join(config.headers_env.values())
        self.outage = outage
        self._accepted = False
        """True once a reply has shown that address and key are right."""
        # The same for every request: a gateway requires its key at all of its addresses.
        self._headers = request_headers(
            config.headers, self._dialect.headers(key), config.secret_headers()
        )
        # A stream with a limit to its first token is timed separately: see `complete`.
        self._timeout = aiohttp.ClientTimeout(
            total=None if config.first_token_s else config.timeout_s,
            sock_connect=min(30.0, config.timeout_s),
            sock_read=config.stall_s if config.stream and not config.first_token_s else None,
        )

    @property
    def base_url(self) -> str:
        """Address up to and including `/v1`."""
        return self._host.base_url

    @property
    def where(self) -> str:
        """Model and address, for messages."""
        return f"{self._config.name} ({self._config.model}) at {self.base_url}"

    async def complete(self, payload: bytes) -> tuple[Reply, float | None]:
        """Return the reply, and the `awake_time` of its first token where it was streamed.

        Raises `TransientError` or a `ModelError`.
        """
        found = await self._exchange(payload)
        self._accepted = True
        return found

    async def _exchange(self, payload: bytes) -> tuple[Reply, float | None]:
        import aiohttp

        began, answered = awake_time(), False
        loop, limit_s = asyncio.get_running_loop(), self._config.first_token_s
        try:
            async with (
                asyncio.timeout(limit_s) as limit,
                self._session.post(
                    address.below(self.base_url, self._dialect.path),
                    data=payload,
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response,
            ):
                answered = True
                self._answered()
                reader = Reader(
                    self._dialect,
                    response.headers,
                    self.where,
                    self._key_env,
                    len(payload),
                    _texts(payload) if self._dialect.path == "/embeddings" else None,
                    self._accepted,
                )
                if response.status not in _WITH_A_REPLY:
                    raise await self._refusal(response, reader, payload)
                if self._config.stream:
                    ends: list[float] = []
                    until = [limit.when()]
                    limit.reschedule(None)  # from here on a limit of its own for every wait

                    def on_token() -> None:
                        """Set the next wait's end: a stall's, within the reply's limit."""
                        if not limit_s:
                            return
                        if not ends:
                            ends.append(loop.time() + self._config.timeout_s)
                        until[0] = min(ends[0], loop.time() + self._config.stall_s)

                    async with contextlib.aclosing(
                        self._pieces(response, lambda: until[0])
                    ) as pieces:
                        found = await reader.stream(pieces, on_token)
                    await _to_its_end(response)
                    return found
                return await self._whole(response, reader), None
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"no connection: {error}") from error
        except TimeoutError as error:
            seconds = awake_time() - began
            raise TransientError(f"no reply within {seconds:.0f} s", lost=True) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            is_stale = REUSED.get() and not answered and awake_time() - began < _STALE_S
            raise self._broken(error, is_stale=is_stale) from error

    async def get(self, url: str, seconds: float) -> bytes | None:
        """Return the body of a GET; `None` where it has none or nothing answers."""
        import aiohttp

        try:
            async with self._session.get(
                url,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                self._answered()
                return await self._read(response) if response.status in _WITH_A_REPLY else None
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ModelError):
            return None

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return (status, JSON) of a POST other than a completion, `path` relative to the base; the
        JSON is `None` where the status is another or the body is none. Raises `TransientError`."""
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
                words, status = await self._read(response), response.status
                try:
                    return status, loads(words) if status in _WITH_A_REPLY else None
                except ValueError:
                    return status, None
        except TimeoutError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._broken(error, is_stale=False) from error

    async def is_reachable(self) -> bool:
        """Return whether the address answers a request for the list of models."""
        await self.get(address.below(self.base_url, "/models"), 10.0)
        return self.outage.since is None

    def _answered(self) -> None:
        if self.outage.since is not None or not self.outage.reached:
            self.outage.answered(self.where)

    def _broken(self, error: Exception, *, is_stale: bool) -> TransientError | ModelError:
        """Return the typed error of a connection error."""
        import aiohttp

        told = f"{type(error).__name__}: {error}"
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
        if (gone := self._host.last_words()) is not None:
            told = f"the server is gone, {gone}"
            return Unreachable(told) if unsent else TransientError(told, lost=True)
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
        self, response: aiohttp.ClientResponse, reader: Reader, payload: bytes
    ) -> ModelError | TransientError:
        """Return the error for a status without a reply."""
        status, path = response.status, self._dialect.path
        if 300 <= status < 400:
            to = redact(response.headers.get("Location", ""))[:200]
            told = f"{self.where}: HTTP {status}: redirected to {to or 'nowhere'}"
            if self._accepted:
                return TransientError(told)
            return EndpointUnusable(f"{told}; {address.moved(self.base_url, path, to)}")
        words = await read(response, _MOST_OF_AN_ERROR, cut=True)
        fault = reader.fault(status, words)
        if status in (400, 422, 500):  # llama.cpp answers 500 where a chat template raises
            change = remedy(words.decode(errors="replace"), _roles(payload))
            if change:
                return EndpointUnusable(f"{fault}; {change}")
        if isinstance(fault, BadRequest) and (change := self._other_name_of_the_cap(words)):
            return EndpointUnusable(f"{fault}; {change}")
        hint = "" if self._accepted else address.hint(self.base_url)
        if status in (404, 405) and hint:
            return EndpointUnusable(f"{fault}{hint}")
        return fault

    def _other_name_of_the_cap(self, words: bytes) -> str | None:
        """Return the setting to change if the server refuses the output cap's name; else `None`."""
        sent = getattr(self._dialect, "max_tokens_field", None)
        if sent not in _NAMES_OF_THE_CAP or not _UNKNOWN_FIELD.search(words):
            return None
        (other,) = _NAMES_OF_THE_CAP - {sent}
        if not re.search(rb"\b%b\b" % sent.encode(), words):
            return None
        return (
            f"set max_tokens_field: {other} in this model's configuration "
            f"(root.max_tokens_field={other} for the root model)"
        )

    async def _whole(self, response: aiohttp.ClientResponse, reader: Reader) -> Reply:
        """Parse an unstreamed body. Raises `EndpointUnusable` for a web page instead of the first
        reply; a later one is passing, a note about maintenance."""
        try:
            return await reader.whole(await self._read(response))
        except TransientError as error:
            if self._accepted or response.content_type != "text/html":
                raise
            told = f"{self.where}: the address answers with a web page, not with JSON"
            raise EndpointUnusable(told + address.hint(self.base_url)) from error

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

    async def _pieces(
        self, response: aiohttp.ClientResponse, until: Callable[[], float | None]
    ) -> AsyncGenerator[bytes]:
        """Yield the chunks of a stream, up to the limit of its size; none is waited for beyond
        `until`, in the loop's time. Raises `TimeoutError`."""
        size, chunks = 0, response.content.iter_any()
        while True:
            async with asyncio.timeout_at(until()):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            size += len(chunk)
            if size > self._dialect.most_bytes:
                raise self._too_large()
            yield chunk


async def _to_its_end(response: aiohttp.ClientResponse) -> None:
    """Read the rest of a stream whose reply is whole: else its connection is used only once.

    A server that leaves it open, or breaks it, has spoiled this connection and no reply.
    """
    import aiohttp

    with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
        async with asyncio.timeout(_TAIL_S):
            while not response.content.at_eof():
                await response.content.readany()


def _texts(payload: bytes) -> int:
    """Return the number of texts of a request for embeddings."""
    return len(orjson.loads(payload)["input"])


def _roles(payload: bytes) -> list[str]:
    """Return the roles of a request's turns."""
    body = orjson.loads(payload)
    system = ["system"] if body.get("system") else []  # Anthropic's is a separate field
    return system + [message["role"] for message in body.get("messages", ())]


class TooLarge(Exception):
    """Raised where a body exceeds its limit."""


async def read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """Return the decoded body. One of more than `most` bytes raises `TooLarge`, or is `cut` there:
    a few hundred kilobytes of gzip can decode to gigabytes."""
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > most:
            if cut:
                break
            raise TooLarge
    return b"".join(pieces)[:most]
