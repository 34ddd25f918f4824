"""WHO answers. A `Model` is configuration; opened, it gives a `Client` that completes messages.

The contracts of both are in `rlm_eval.protocols`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from rlm_eval.core.endpoints import Account as Account
from rlm_eval.core.endpoints import EndpointInfo as EndpointInfo
from rlm_eval.core.endpoints import Sampling as Sampling
from rlm_eval.core.endpoints import ServerUsage as ServerUsage
from rlm_eval.core.endpoints import merged as merged
from rlm_eval.protocols import Client as Client
from rlm_eval.protocols import Model as Model

ON_SEND: ContextVar[Callable[[int], None]] = ContextVar(
    "rlm_eval_on_send", default=lambda _lost: None
)
"""Called by a client just before it sends an attempt, with the number of lost attempts of this call
so far. The session sets it, to journal calls in flight. Where it raises `LimitReached` (no budget
for a retry), the call fails with a `ProviderError` from it; any other error ends the call.
"""


def shown_name(model: Model) -> str:
    """Return a model's name in tables, with the switches that change the messages it is sent."""
    return model.name + str(getattr(getattr(model, "turns", None), "label", ""))
