"""WHO answers. A `Model` is configuration; opened, it gives a `Client` that completes messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from rlm_eval.core.types import Message, Reply, Usage

ON_SEND: ContextVar[Callable[[int], None]] = ContextVar(
    "rlm_eval_on_send", default=lambda _lost: None
)
"""Called by a client just before it sends an attempt, with the attempts of this call lost so far.
The session sets it, to journal what is in flight. Where it raises `LimitReached` (no budget for a
retry), the call fails with a `ProviderError` from it; what else it raises ends the call.
"""


@dataclass(frozen=True)
class Sampling:
    """How a model draws its reply. `None` leaves a field to the provider's default."""

    temperature: float | None = None
    """0 is greedy."""
    top_p: float | None = None
    """Nucleus mass."""
    top_k: int | None = None
    """Sent only where the dialect knows it."""
    max_output_tokens: int | None = None
    """Completion tokens per call, reasoning included."""
    seed: int | None = None
    """Base of the per-sample request seed; sent where the dialect knows it."""
    reasoning_effort: str | None = None
    """`low`, `medium`, `high` where the model has it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further request fields, passed through as they are."""


def merged(base: Sampling, over: Sampling | None) -> Sampling:
    """`base` with every field that `over` sets; `extra` is merged key by key."""
    if over is None:
        return base
    values = {f.name: getattr(over, f.name) for f in fields(Sampling)}
    chosen = {k: getattr(base, k) if v is None else v for k, v in values.items()}
    return Sampling(**chosen | {"extra": {**base.extra, **over.extra}})


@dataclass(frozen=True)
class EndpointInfo:
    """What is known of an opened model; goes into the manifest. Holds no key."""

    model: str
    """Model as the provider names it."""
    base_url: str | None = None
    """Address; `None` where there is no endpoint (scripted)."""
    engine: str | None = None
    """`llama.cpp`, `vllm`, `transformers`, `scripted`; `None` = not ours."""
    version: str | None = None
    """Engine version."""
    command: tuple[str, ...] = ()
    """Command line of a server that we started, keys left out."""
    revision: str | None = None
    """Revision or SHA-256 of the weights."""
    chat_template_hash: str | None = None
    """`types.text_hash` of the chat template, where the server tells it."""
    template_opens_thought: bool | None = None
    """Whether that template opens a thought in every prompt; `None` = unknown."""
    window: int | None = None
    """Context window that the server reports, in tokens; of a server that was started with less
    than its model's (`started_window`) the model's, for it grows."""
    started_window: int | None = None
    """Window in tokens with which a server of ours was started, where that is less than its
    model's (`engine.window_of_job`)."""
    gpus: float | None = None
    """GPUs that a server of ours holds, 0 on a CPU; a part of them where servers share them; `None`
    = not ours."""
    cores: int | None = None
    """Cores that a server of ours computes on where it holds no GPU; `None` = not ours, or GPUs."""
    cache_tokens: int | None = None
    """Tokens that the key-value cache of a server of ours holds; `None` = not told."""
    check_usage: Usage = field(default_factory=Usage)
    """Tokens of the preflight request: paid, outside any sample."""


@dataclass(frozen=True)
class Account:
    """What the server behind a client did so far, beyond what single calls tell."""

    server: str
    """Which: equal for clients of one server."""
    held_s: float | None = None
    """Seconds that a server of ours was ready; `None` = not ours."""
    busy_s: float = 0.0
    """Seconds of them with a call of this process in flight."""
    model_s: float = 0.0
    """Sum of these calls' own seconds: divided by `busy_s`, the mean number in flight."""
    prefix_cache: dict[str, float] = field(default_factory=dict)
    """Prompt tokens looked up (`queries`) and found (`hits`) in the server's prefix cache, by
    anyone since it started; empty where it does not tell."""


class Client(Protocol):
    """An opened model."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One chat completion, retries included.

        Raises a subclass of `errors.ModelError` where it failed for good. One that may have sent
        something raises `errors.CallCancelled` where it is cancelled.
        """
        ...

    async def check(self) -> EndpointInfo:
        """One cheap request that proves key, model name and chat template.

        Raises a subclass of `errors.ModelError` whose message says what to change. A client that
        also has `prove(history)` is asked that instead, with the roles of the turns to come.
        """
        ...

    async def account(self) -> Account | None:
        """What its server did so far; `None` where there is nothing to tell. Never raises."""
        ...


def shown_name(model: Model) -> str:
    """A model's name in tables, with the switches that change what it is sent."""
    return model.name + str(getattr(getattr(model, "turns", None), "label", ""))


class Model(Protocol):
    """A model's configuration: a frozen dataclass, one YAML in `configs/model/`."""

    @property
    def name(self) -> str:
        """Name in tables and requests."""
        ...

    @property
    def window(self) -> int | None:
        """Context window in tokens, prompt and reply together; `None` = unknown."""
        ...

    @property
    def price(self) -> str | None:
        """Key into the price table; `None` = no price known."""
        ...

    @property
    def sampling(self) -> Sampling:
        """Defaults of this model."""
        ...

    def open(self) -> AbstractAsyncContextManager[Client]:
        """Start or attach to the server and hand over a client; leaving stops what was started."""
        ...
