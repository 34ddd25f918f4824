"""Values exchanged between a model and its callers: sampling, and facts about an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from rlm_eval.core.types import Usage


@dataclass(frozen=True)
class Sampling:
    """Sampling settings of a model. `None` leaves a field to the provider's default."""

    temperature: float | None = None
    """0 is greedy."""
    top_p: float | None = None
    """Nucleus mass."""
    top_k: int | None = None
    """Sent only where the dialect supports it."""
    max_output_tokens: int | None = None
    """Completion tokens per call, reasoning included."""
    seed: int | None = None
    """Base of the per-sample request seed; sent where the dialect supports it."""
    reasoning_effort: str | None = None
    """`low`, `medium`, `high` where the model supports it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further request fields, passed through unchanged."""


def merged(base: Sampling, over: Sampling | None) -> Sampling:
    """`base` with every field that `over` sets; `extra` is merged key by key."""
    if over is None:
        return base
    values = {f.name: getattr(over, f.name) for f in fields(Sampling)}
    chosen = {k: getattr(base, k) if v is None else v for k, v in values.items()}
    return Sampling(**chosen | {"extra": {**base.extra, **over.extra}})


@dataclass(frozen=True)
class EndpointInfo:
    """Facts about an opened model, for the manifest. Holds no key."""

    model: str
    """Model name used by the provider."""
    base_url: str | None = None
    """Address; `None` where there is no endpoint (scripted)."""
    engine: str | None = None
    """`llama.cpp`, `vllm`, `transformers`, `scripted`; `None` = a server that we did not start."""
    version: str | None = None
    """Engine version."""
    command: tuple[str, ...] = ()
    """Command line of a server that we started, keys left out."""
    revision: str | None = None
    """Revision or SHA-256 of the weights."""
    chat_template_hash: str | None = None
    """`core.types.text_hash` of the chat template, where the server reports it."""
    template_opens_thought: bool | None = None
    """Whether that template opens a thought in every prompt; `None` = unknown."""
    window: int | None = None
    """Context window that the server reports, tokens; for a server started with less than its
    model's (`started_window`) the model's window, since the server can grow to it."""
    started_window: int | None = None
    """Window in tokens with which our server was started, where that is less than its model's
    (`engine.window_of_job`)."""
    gpus: float | None = None
    """GPUs that our server uses, 0 on a CPU; a fraction where servers share them; `None` = not our
    server."""
    cores: int | None = None
    """CPU cores that our server uses where it has no GPU; `None` = not our server, or GPUs."""
    cache_tokens: int | None = None
    """Tokens that the server's key-value cache holds, over all replicas; `None` = not reported."""
    check_usage: Usage = field(default_factory=Usage)
    """Tokens of the preflight request: billed, outside any sample."""


@dataclass(frozen=True)
class ServerUsage:
    """Usage of the server behind a client so far, beyond what single calls report."""

    server: str
    """Identifier of the server: equal for clients of one server."""
    held_s: float | None = None
    """Seconds for which our server was ready; `None` = not our server."""
    busy_s: float = 0.0
    """Seconds of `held_s` with a call of this process in flight."""
    model_s: float = 0.0
    """Sum of these calls' service seconds: divided by `busy_s`, the mean number in flight."""
    prefix_cache: dict[str, float] = field(default_factory=dict)
    """Prompt tokens looked up (`queries`) and found (`hits`) in the server's prefix cache, by all
    clients since its start; empty where it does not report them."""


Account = ServerUsage
"""The name of earlier releases, which clients of plug-ins import from `rlm_eval.models`."""
