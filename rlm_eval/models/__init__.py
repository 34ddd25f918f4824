"""WHO answers. A `Model` is configuration; opened, it gives a `Client` that completes messages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlm_eval.types import Message, Reply


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


class Client(Protocol):
    """An opened model."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One chat completion, retries included.

        Raises a subclass of `errors.ModelError` where it failed for good.
        """
        ...


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
