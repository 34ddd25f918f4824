"""Values that pass between a model and its callers: sampling, and what is known of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from rlm_eval.core.types import Usage


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
    """`core.types.text_hash` of the chat template, where the server tells it."""
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
    """Tokens that the server's key-value cache holds, over all replicas; `None` = not told."""
    check_usage: Usage = field(default_factory=Usage)
    """Tokens of the preflight request: paid, outside any sample."""


@dataclass(frozen=True)
class ServerUsage:
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


Account = ServerUsage
"""The name of earlier releases, which clients of plug-ins import from `rlm_eval.models`."""
