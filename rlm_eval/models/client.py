"""The client of one endpoint: no call lost, none charged twice, none left unexplained.

It retries what is transient with back-off (holding no slot meanwhile), honours `Retry-After`,
turns every failure into a typed error that says what was billed, and keeps the key out of
everything. aiohttp, because it was measured: 1,000 calls at 256 in flight against a 50 ms server
took it 0.5 s, and httpx 15 s.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import orjson

from rlm_eval.errors import (
    CallCancelled,
    EndpointUnusable,
    LimitReached,
    ModelError,
    ProviderError,
)
from rlm_eval.models import ON_SEND, Account, EndpointInfo, Sampling, merged
from rlm_eval.models.counting import ServerCount
from rlm_eval.models.endpoint import Host
from rlm_eval.models.faults import TransientError, fault_of
from rlm_eval.models.gate import Gate
from rlm_eval.types import Message, Reply, Usage, added

if TYPE_CHECKING:
    import aiohttp

    from rlm_eval.models.http import OpenAIModel


_CACHE_METRIC = re.compile(
    r"^\w+:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? ([\d.e+]+)$", re.MULTILINE
)


@dataclass
class _Sent:
    """What a call has sent so far."""

    attempts: int = 0
    failed: tuple[Usage, ...] = ()
    """Billed for each failed attempt, where the provider reported it."""
    lost: int = 0
    """Failed attempts that may be billed, for all that was told."""
    in_flight: bool = False


class HttpClient:
    """A client of one endpoint. Raises only subclasses of `errors.ModelError`."""

    def __init__(
        self,
        config: OpenAIModel,
        host: Host,
        key: str | None,
        session: aiohttp.ClientSession,
        gate: Gate,
    ) -> None:
        self.config, self.gate = config, gate
        self._host, self._key, self._session = host, key, session
        self._dialect = config.dialect
        self._count = ServerCount(self._ask, self._dialect, config.model, config.sampling)
        self._tells_cache = True

    @property
    def base_url(self) -> str:
        """Address up to and including `/v1`."""
        return self._host.base_url.rstrip("/")

    @property
    def _where(self) -> str:
        return f"{self.config.name} ({self.config.model}) at {self.base_url}"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One chat completion. Fields that `sampling` leaves open are the model's defaults.

        A server of ours that dies during the call is an error; one that died before is restarted.
        Where it is cancelled, raises `CallCancelled`.
        """
        sent = _Sent()
        try:
            await self._host.ensure()
            chosen = merged(self.config.sampling, sampling)
            body = self._dialect.body(self.config.model, messages, chosen, self.config.stream)
            payload = orjson.dumps(body)
            estimate = len(payload) / 4 + (chosen.max_output_tokens or 0)
            return await self._complete(payload, estimate, sent)
        except asyncio.CancelledError as error:
            raise CallCancelled(sent.failed, sent.attempts, sent.lost + sent.in_flight) from error

    async def _complete(self, payload: bytes, estimate: float, sent: _Sent) -> Reply:
        """Attempts until one is answered, or must be the last."""
        submitted, in_service = time.monotonic(), 0.0
        while True:
            entered = 0.0
            try:
                async with self.gate.slot(estimate) as entered:
                    self._about_to_send(sent)
                    sent.attempts, sent.in_flight = sent.attempts + 1, True
                    try:
                        with self._host.meter.call():
                            reply = await self._attempt(payload, entered)
                    finally:
                        in_service += time.monotonic() - entered
                sent.in_flight = False
            except TransientError as fault:
                billed = () if fault.usage == Usage() else (fault.usage,)
                sent.failed, sent.lost = sent.failed + billed, sent.lost + fault.lost
                sent.in_flight = False
                await self._after(fault, entered, sent)
                continue
            except ModelError as error:
                error.failed, error.attempts = sent.failed, sent.attempts
                error.service_seconds = time.monotonic() - entered
                error.lost_attempts = sent.lost
                raise
            used = (reply.usage.input or 0) + (reply.usage.output or 0)
            self.gate.went_well(used - estimate if used else 0.0)
            return replace(
                reply,
                attempts=sent.attempts,
                failed=sent.failed,
                lost_attempts=sent.lost,
                queue_seconds=max(0.0, time.monotonic() - submitted - in_service),
            )

    def _about_to_send(self, sent: _Sent) -> None:
        """Raises `ProviderError` where a budget has no room for a retry: see `ON_SEND`."""
        try:
            ON_SEND.get()(sent.lost)
        except LimitReached as limit:
            why = f"{self._where}: not tried again: {limit}"
            error = ProviderError(why, attempts=sent.attempts)
            error.failed, error.lost_attempts = sent.failed, sent.lost
            raise error from limit

    async def _after(self, fault: TransientError, entered: float, sent: _Sent) -> None:
        """Wait before the next attempt, or raise where there is none."""
        if fault.throttled:
            self.gate.too_many(entered, fault.retry_after)
        after = fault.retry_after or 0.0
        if sent.attempts > self.config.retries or after > self.config.patience_s:
            why = f"gave up after {sent.attempts} attempt(s)"
            if after > self.config.patience_s:
                why = f"asked to wait {after:.0f} s, patience_s={self.config.patience_s:.0f}"
            error = ProviderError(f"{self._where}: {why}: {fault}", attempts=sent.attempts)
            error.failed = sent.failed
            error.service_seconds = time.monotonic() - entered
            error.lost_attempts = sent.lost
            raise error from fault
        pause = min(60.0, self.config.backoff_s * 2 ** (sent.attempts - 1))
        await asyncio.sleep(max(after, pause * random.uniform(0.5, 1.0)))

    async def _attempt(self, payload: bytes, entered: float) -> Reply:
        """One request. Raises `TransientError` or a `ModelError`."""
        import aiohttp

        config = self.config
        timeout = aiohttp.ClientTimeout(
            total=config.timeout_s,
            sock_connect=min(30.0, config.timeout_s),
            sock_read=config.stall_s if config.stream else None,
        )
        headers = {"Content-Type": "application/json", **config.headers}
        headers |= self._dialect.headers(self._key)
        first: float | None = None
        try:
            async with self._session.post(
                self.base_url + self._dialect.path, data=payload, headers=headers, timeout=timeout
            ) as response:
                if response.status != 200:
                    words = await response.read()
                    if self._key:  # some servers echo it
                        words = words.replace(self._key.encode(), b"[key]")
                    raise fault_of(
                        response.status,
                        words,
                        response.headers,
                        where=self._where,
                        key_env=config.api_key_env,
                    )
                if config.stream:
                    body, first = await self._collect(response.content)
                else:
                    body = orjson.loads(await response.read())
        except aiohttp.ConnectionTimeoutError as error:
            raise TransientError(f"no connection: {error}") from error
        except TimeoutError as error:
            seconds = time.monotonic() - entered
            raise TransientError(f"no reply within {seconds:.0f} s", lost=True) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            if (gone := self._host.last_words()) is not None:
                raise EndpointUnusable(f"{self._where}: the server is gone, {gone}") from error
            sent = not isinstance(error, aiohttp.ClientConnectorError)
            raise TransientError(f"{type(error).__name__}: {error}", lost=sent) from error
        except orjson.JSONDecodeError as error:
            raise TransientError(f"the reply is not JSON: {error}", lost=True) from error
        end = time.monotonic()
        reply = self._dialect.reply(body, len(payload))
        return replace(
            reply,
            service_seconds=end - entered,
            first_token_seconds=None if first is None else first - entered,
        )

    async def _collect(self, lines: aiohttp.StreamReader) -> tuple[dict[str, Any], float | None]:
        """The body of a stream of server-sent events, and when its first token came."""
        stream, first, buffer = self._dialect.stream(), None, b""
        async for chunk in lines.iter_any():
            *whole, buffer = (buffer + chunk).split(b"\n")
            for line in whole:
                data = line.removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or data == b"[DONE]":
                    continue
                if stream.feed(orjson.loads(data)) and first is None:
                    first = time.monotonic()
        if not stream.done:
            raise TransientError("the stream ended before the reply did", lost=True)
        return stream.body(), first

    async def check(self) -> EndpointInfo:
        """See `models.Client.check`. Costs one request of a few tokens, and asks `/models`.

        A server of ours that died is started again.
        """
        await self._host.ensure()
        window = await self._reported_window()
        if window is not None and self.config.window is not None and window < self.config.window:
            raise EndpointUnusable(
                f"{self._where}: the server's window is {window} tokens, the configuration says "
                f"{self.config.window}; set window={window} or start the server with more"
            )
        sampling = Sampling(max_output_tokens=16, temperature=None)
        once = replace(self.config, retries=min(1, self.config.retries), timeout_s=60.0)
        probe = HttpClient(once, self._host, self._key, self._session, self.gate)
        reply = await probe.complete([Message("user", "Reply with the word: ready")], sampling)
        info = self._host.info
        return replace(
            info,
            model=reply.model or info.model,
            window=window or info.window,
            check_usage=added(reply.usage, reply.failed_usage),
        )

    async def account(self) -> Account | None:
        """See `models.Client.account`."""
        held = self._host.held
        cache = await self._prefix_cache()
        if held is None:
            return Account(self.base_url, prefix_cache=cache) if cache else None
        return Account(*held, *self._host.meter.read(), cache)

    async def _prefix_cache(self) -> dict[str, float]:
        """Prefix-cache figures of the server's `/metrics`, summed over its engines (vLLM:
        `vllm:prefix_cache_queries_total` and `_hits_total`, in tokens); empty where it has none.
        """
        import aiohttp

        if not self._tells_cache:
            return {}

        url = self.base_url.removesuffix("/v1") + "/metrics"
        found: dict[str, float] = {}
        try:
            async with self._session.get(
                url, headers=self._dialect.headers(self._key), timeout=aiohttp.ClientTimeout(5)
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return found
        for name, value in _CACHE_METRIC.findall(text if response.status == 200 else ""):
            found[name] = found.get(name, 0.0) + float(value)
        self._tells_cache = bool(found)  # a hosted API is asked once
        return found

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """See `models.counting.ServerCount.count`."""
        await self._host.ensure()
        return await self._count.count(messages)

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        """See `models.counting.Ask`."""
        import aiohttp

        url, error = urljoin(self.base_url + "/", path), ""
        headers = {**self.config.headers, **self._dialect.headers(self._key)}
        timeout = aiohttp.ClientTimeout(total=self.config.timeout_s)
        for attempt in range(self.config.retries + 1):
            if attempt:
                await asyncio.sleep(min(60.0, self.config.backoff_s * 2 ** (attempt - 1)))
            try:
                async with self._session.post(
                    url, json=body, headers=headers, timeout=timeout
                ) as response:
                    if response.status < 500 and response.status != 429:
                        words = await response.read()
                        return orjson.loads(words) if response.status == 200 else None
                    error = f"HTTP {response.status}"
                    if response.status == 501:
                        return None
            except orjson.JSONDecodeError:
                return None
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as fault:
                error = f"{type(fault).__name__}: {fault}"
        raise ProviderError(f"{self._where}: tokens cannot be counted at {url}: {error}")

    async def _reported_window(self) -> int | None:
        """Context length that `/models` tells (vLLM, llama.cpp, some gateways), else `None`."""
        import aiohttp

        headers = self._dialect.headers(self._key)
        try:
            async with self._session.get(
                f"{self.base_url}/models", headers=headers, timeout=aiohttp.ClientTimeout(total=10)
            ) as response:
                rows = orjson.loads(await response.read()).get("data", [])
                for row in rows:
                    if row.get("id") == self.config.model:
                        of_slot = (row.get("meta") or {}).get("n_ctx")  # llama.cpp
                        found = row.get("max_model_len") or row.get("context_length") or of_slot
                        return found if isinstance(found, int) else None
        except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError, TypeError):
            return None  # optional knowledge; the completion request tells what is wrong
        return None
