"""Refuse prompts that certainly exceed a model's declared window, before they are sent.

Some servers cut such a prompt without an error. The decision depends on the text, the window and
the journal's counts alone, so that a replay decides alike. Between the bounds the server decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rlm_eval.core.errors import ContextOverflow, ProviderError
from rlm_eval.core.types import Call, Message, Role
from rlm_eval.session.prompt_check import BOUND_SHARE, least_tokens, likely_most

_OFF_LOOP_CHARS = 20_000  # longer texts are measured in a thread
_CERTAIN = 2.0  # a bound of this many windows is an overflow under any tokenizer


async def check_window(
    model: str,
    window: int | None,
    messages: Sequence[Message],
    draft: Call,
    count: Callable[[Sequence[Message], str], Awaitable[int | None]],
) -> None:
    """Raise `ContextOverflow` where the prompt exceeds the model's `window`, tokens, if known.

    `count` gives the tokens under the model's own tokenizer, `None` = unknown. It is called only
    for a prompt that may be near the window: most prompts are far smaller. An embedder's call
    passes: its window is that of one text.
    """
    if window is None or draft.role is Role.EMBED:
        return
    chars = sum(len(message.content) for message in messages)
    if 4 * chars <= window:  # at most four bytes a character, and a token has at least one
        return
    text = "\n".join(message.content for message in messages)

    def bounds() -> tuple[float, int]:
        return least_tokens(text), likely_most(text)

    long = chars > _OFF_LOOP_CHARS
    least, most = await asyncio.to_thread(bounds) if long else bounds()
    if most <= window:
        return
    found: float | None = least if least > _CERTAIN * window else None
    about = "about " if found is not None else ""
    if found is None:
        try:
            found = await count(messages, draft.slot)
        except ProviderError:  # the bound remains
            found = None
    if found is None:  # a smaller count by the server would mean that it cut the prompt
        found, about = BOUND_SHARE * least, "at least "
    if found > window:
        raise ContextOverflow(
            f"{model}: the prompt takes {about}{int(found)} tokens, the window has "
            f"{window}: nothing was sent",
            attempts=0,
        )
