"""The preflight: one request that checks address, key, model name and the order of turns.

It sends what the run will send where that matters: its turns and its cap. A cap of a few tokens
would fail on models that think first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm_eval.core.errors import ModelError
from rlm_eval.core.types import Message, Outcome
from rlm_eval.models import Sampling
from rlm_eval.models.http import address
from rlm_eval.models.http.reading import loads
from rlm_eval.models.http.transport import Transport

if TYPE_CHECKING:
    from rlm_eval.models.http.settings import HttpSettings

CAP = 1024
"""Tokens that a thinking model may need for a word; a smaller configured cap takes precedence."""

_WORDS = {
    "system": "Answer with one word.",
    "assistant": "ready",
    "user": "Reply with the word: ready",
}
_UNFINISHED = re.compile(r"could not finish the message", re.IGNORECASE)
_OF_A_WORKING_MODEL = (Outcome.TRUNCATED, Outcome.REFUSED, Outcome.CONTEXT_OVERFLOW)


def messages(history: Sequence[str]) -> list[Message]:
    """Return a short conversation whose turns have these roles."""
    return [Message(role, _WORDS[role]) for role in history]


def sampling(config: HttpSettings, window: int | None) -> Sampling:
    """Return the preflight's sampling: a cap of at most the model's and half of its window."""
    own = config.sampling.max_output_tokens or getattr(config, "output_cap", None)
    # Further fields may need room of their own (a thinking budget must be below the cap).
    cap = own if own and config.sampling.extra else min(own or CAP, CAP)
    window = window or config.window
    return Sampling(max_output_tokens=cap if window is None else max(16, min(cap, window // 2)))


def proves(error: ModelError) -> bool:
    """Return whether this error shows that the model was found and called."""
    return error.outcome in _OF_A_WORKING_MODEL or bool(_UNFINISHED.search(str(error)))


async def reported_window(transport: Transport, model: str) -> int | None:
    """Return the context length from `/models` (vLLM, llama.cpp, some gateways), else `None`."""
    words = await transport.get(address.below(transport.base_url, "/models"), 10.0)
    try:
        for row in loads(words or b"{}").get("data", []):
            if row.get("id") == model:
                of_slot = (row.get("meta") or {}).get("n_ctx")  # llama.cpp
                found = row.get("max_model_len") or row.get("context_length") or of_slot
                return found if isinstance(found, int) else None
    except (ValueError, AttributeError, TypeError):
        return None  # optional; the completion request reports what is wrong
    return None
