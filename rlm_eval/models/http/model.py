"""Configuration of an endpoint over HTTP, attached to or started by us.

Hosted APIs, gateways, vLLM, llama.cpp and transformers serve share one dialect; a second one
(`anthropic`) subclasses. `client.HttpClient` does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rlm_eval.core.secrets import check_url
from rlm_eval.models import Client, EndpointInfo, Sampling
from rlm_eval.models.endpoint import Dialect, RemoteServer, ServerHandle
from rlm_eval.models.http import address, endpoint_pool
from rlm_eval.models.http.client import HttpClient
from rlm_eval.models.http.histories import Turns
from rlm_eval.models.http.keys import check_names, from_environment
from rlm_eval.models.http.openai_dialect import OpenAIDialect
from rlm_eval.models.http.rate_limiter import AdaptiveLimiter
from rlm_eval.models.http.transport import Transport
from rlm_eval.models.outage import Outage, Silence
from rlm_eval.models.refcounted import refcounted
from rlm_eval.models.servers import users

if TYPE_CHECKING:
    import aiohttp

DEFAULT_AT_ONCE = 32
"""Requests in flight where neither the configuration nor the server sets a number."""


@dataclass(frozen=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint, attached to or started by us."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "base_url", "api_key_env", "price", "server", "concurrency", "rpm", "tpm", "timeout_s",
        "gpu_hour_usd", "stall_s", "first_token_s", "retries", "backoff_s", "patience_s", "stream",
        "headers", "headers_env", "remark", "preflight",
    ))
    # fmt: on
    """Fields that do not change a reply: they are not part of a cell's identity."""

    VERSION: ClassVar[int] = 2  # 1 had one kind of thought; a closing tag alone always ended one

    name: str
    """Name in tables."""
    model: str
    """Name in requests."""
    base_url: Any = None
    """Address up to and including `/v1`, or a list of those of replicas (`pool`); not needed where
    the server is spawned."""
    api_key_env: str | None = None
    """NAME of the environment variable that holds the key; `None` sends none."""
    window: int | None = None
    """Context window in tokens, prompt and reply together."""
    price: str | None = None
    """Key into the price table."""
    gpu_hour_usd: float | None = None
    """US dollars per GPU-hour of a server that we spawn; `None` = only GPU-seconds are reported."""
    revision: str | None = None
    """Revision of the weights, where known."""
    tokenizer: str | None = None
    """Name of its own tokenizer (`core.tokens.get_tokenizer`), for a server that does not count."""
    sampling: Sampling = field(default_factory=Sampling)
    """Default sampling, as the model's maker recommends."""
    server: str = "attach"
    """`attach` to a running endpoint, `spawn` one with `engine`, or `shared`: the server that
    `rlm-eval serve` runs for this run."""
    engine: Any = None
    """Start settings of a server (`servers.Engine`); read only with `server: spawn`."""
    concurrency: int | None = None
    """Most requests in flight at the endpoint; `None` = the capacity that a running server reports
    (`capacity`), else 32."""
    rpm: float | None = None
    """Requests per minute that the account allows."""
    tpm: float | None = None
    """Tokens per minute that the account allows, input and output."""
    timeout_s: float = 600.0
    """Timeout of one attempt, seconds; of a stream with `first_token_s`, from its first token."""
    first_token_s: float | None = None
    """Timeout to the first token of a stream, seconds: the server's queue and prefill; `None` =
    both count in `timeout_s`."""
    stall_s: float = 120.0
    """Seconds of silence after which a stream counts as dead."""
    retries: int = 5
    """Further attempts after a transient failure."""
    backoff_s: float = 1.0
    """First pause before a retry; doubles, with jitter, to at most a minute."""
    patience_s: float = 600.0
    """Seconds. A `Retry-After` longer than this ends the call. An endpoint that answered before and
    cannot be reached for so long, or returns no reply to any call, ends the cell, which the same
    command resumes."""
    preflight: bool = True
    """Send one short preflight request to the endpoint before anything else."""
    fold_system: bool = False
    """For servers without a system role: see `histories.Turns`."""
    merge_turns: bool = False
    """For servers that require alternating turns: see `histories.Turns`."""
    stream: bool = False
    """Stream replies, so that the time of the first token is known."""
    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for endpoints that require the newer name."""
    template_opens_thought: bool | None = None
    """Whether the chat template ends the prompt with an opening thought tag (`<think>`), so that
    replies have only the closing one; `None` = read from the template of a server that we started,
    else unknown: such a closing tag is then text."""
    headers: dict[str, str] = field(default_factory=dict)
    """Further headers; a key only as `${oc.env:NAME}`, better in `headers_env`."""
    headers_env: dict[str, str] = field(default_factory=dict)
    """Further headers with secret values: header -> NAME of the environment variable."""
    remark: str = ""
    """A sentence that every figure with this model's numbers must carry."""

    def __post_init__(self) -> None:
        if self.server not in ("attach", "spawn", "shared"):
            raise ValueError(f"server={self.server}: attach, spawn or shared")
        if self.server != "attach" and self.engine is None:
            raise ValueError(
                f"server={self.server} needs an engine; or server=attach with base_url"
            )
        if self.server == "attach" and not self.base_url:
            raise ValueError(
                "server=attach needs base_url, as base_url=http://127.0.0.1:8000/v1"
                + ("; or server=spawn" if self.engine is not None else "")
            )
        for url in self.addresses:
            if not isinstance(url, str) or not url:
                raise ValueError(f"base_url={self.base_url!r}: an address, or a list of them")
            check_url(url if "//" in url else f"//{url}")
            address.check(url, self.dialect.path)
        if len(set(self.addresses)) < len(self.addresses):
            raise ValueError(f"base_url={self.base_url!r}: contains one URL twice")
        check_names(self.api_key_env, self.headers, self.headers_env)
        if (self.concurrency is not None and self.concurrency < 1) or self.retries < 0:
            raise ValueError("concurrency must be at least 1, retries at least 0")
        if self.first_token_s is not None and not (self.stream and self.first_token_s > 0):
            raise ValueError("first_token_s: above 0, and with stream=true, which tells the token")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of `base_url`, one or more; empty where it is not set."""
        if not self.base_url:
            return ()
        listed = isinstance(self.base_url, list | tuple)
        return tuple(self.base_url) if listed else (self.base_url,)

    @property
    def turns(self) -> Turns:
        """The order of turns that this endpoint accepts."""
        return Turns(self.fold_system, self.merge_turns)

    @property
    def dialect(self) -> Dialect:
        """Return the dialect of this endpoint."""
        own = getattr(self.engine, "dialect", None) if self.server != "attach" else None
        if own is not None:
            spoken: Dialect = own(self.max_tokens_field, self.turns)
            return spoken
        return OpenAIDialect(self.max_tokens_field, self.turns)

    def _key(self) -> str | None:
        variable = self.api_key_env
        return from_environment(variable, self.name, "api_key_env") if variable else None

    def secret_headers(self) -> dict[str, str]:
        """Return the headers of `headers_env`. Raises `ConfigError` if a variable is not set."""
        return {
            header: from_environment(variable, self.name, f"headers_env.{header}")
            for header, variable in self.headers_env.items()
        }

    def check_keys(self) -> None:
        """Raise `ConfigError` where a variable that this model needs is not set."""
        if self.server == "attach":
            self._key()
        self.secret_headers()

    def open(self) -> AbstractAsyncContextManager[Client]:
        """Open a client; equal endpoints and servers are shared within the process."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        if self.server == "spawn":
            from rlm_eval.models.servers.managed import spawned

            async with (
                spawned(self.engine, self.model, self.window, self.name) as server,
                self._client(server, server.key) as client,
            ):
                yield client
            return
        if self.server == "shared":
            from rlm_eval.models.servers.managed import LOGS
            from rlm_eval.models.servers.registry import shared_host

            host = shared_host(self, LOGS.get())
            await host.ensure()
            patient = replace(self, patience_s=host.patience_s)
            async with patient._client(host, host.key) as client:
                yield client
            return
        if len(self.addresses) > 1:
            async with endpoint_pool.opened(self, self.addresses) as several:
                yield several
            return
        (url,) = self.addresses
        info = EndpointInfo(self.model, base_url=url, revision=self.revision)
        async with self._client(RemoteServer(url, info), self._key()) as client:
            yield client

    @asynccontextmanager
    async def _client(self, host: ServerHandle, key: str | None) -> AsyncIterator[Client]:
        most = getattr(self.engine, "at_once", None) if self.server != "attach" else None
        asked = self.concurrency or DEFAULT_AT_ONCE
        limits = (min(asked, most or asked), self.rpm, self.tpm)
        from rlm_eval.models.servers.managed import LOGS

        place = ("endpoint", host.base_url, self.model, self.api_key_env, limits)
        logs = None if self.server == "spawn" else LOGS.get()
        who = repr(place[1:4] if self.server == "attach" else (self.model, repr(self.engine)))

        @asynccontextmanager
        async def endpoint() -> AsyncIterator[
            tuple[aiohttp.ClientSession, AdaptiveLimiter, Silence]
        ]:
            async with (
                _endpoint(host.base_url, limits) as opened,
                users.divided(opened[1], logs, who),
            ):
                yield opened

        async with (
            refcounted(("outage", host.base_url), _outage) as outage,
            refcounted(place, endpoint) as (session, gate, silence),
        ):
            transport = Transport(self, host, key, session, outage)
            yield HttpClient(self, transport, host, gate, silence)


@asynccontextmanager
async def _outage() -> AsyncIterator[Outage]:
    yield Outage()


@asynccontextmanager
async def _endpoint(
    base_url: str, limits: tuple[int, float | None, float | None]
) -> AsyncIterator[tuple[aiohttp.ClientSession, AdaptiveLimiter, Silence]]:
    import aiohttp

    from rlm_eval.models.http.connections import Connector

    # Proxies of the environment are for remote hosts: requests to a loopback server must not use
    # one.
    is_elsewhere = not address.is_loopback(base_url)
    async with aiohttp.ClientSession(connector=Connector(), trust_env=is_elsewhere) as session:
        yield session, AdaptiveLimiter(*limits), Silence()
