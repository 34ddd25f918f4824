"""Fit of a context in a model's window.

The model's own tokenizer decides where its server or its configuration provides one
(`Session.count_tokens`). Otherwise tokens are estimated at the context's rate of characters per
token, which the task measured under its tokenizer. No outcome may depend on that estimate: a cut
leaves a margin for its error, and for a whole prompt the server decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rlm_eval.core.errors import ContextOverflow
from rlm_eval.core.types import Message, Sample
from rlm_eval.protocols import Session

MARGIN = 0.05
"""Share of a window left free by pieces of a context, because their sizes are estimates."""
CAREFUL = 0.75
"""Share of an estimated room that a cut uses: a tokenizer may need a third more tokens."""
CERTAIN = 2.0
"""An estimate of this many windows is an overflow under any tokenizer."""
FRAME = 64
"""Tokens reserved for a chat template, which a tokenizer given by name does not count."""

_SLACK = 8  # tokens of the room that may stay unused
_MOST_COUNTS = 16  # counts per cut; the rate is nearly constant, so three or four suffice


def chars_per_token(sample: Sample) -> float:
    """Characters per token of the sample's context, under the tokenizer that measured it."""
    context = sample.context
    return context.chars / context.tokens if context.tokens else 4.0


def estimate_tokens(sample: Sample, chars: int) -> int:
    """Estimate the tokens of `chars` characters of text like the sample's context, rounded up."""
    return -int(-chars // chars_per_token(sample))


async def refuse_overflow(
    sample: Sample, session: Session, slot: str, messages: Sequence[Message]
) -> None:
    """Raise `ContextOverflow` where the prompt exceeds the window of the model in `slot`.

    Some servers truncate a long prompt silently, and none needs to receive 40 MB to reject it.
    Where the window is unknown, or there is no exact count and no `CERTAIN` overflow, the server
    decides.
    """
    window = session.window_of(slot)
    if window is None:
        return
    estimate = estimate_tokens(sample, sum(len(message.content) for message in messages))
    if estimate * CERTAIN <= window:
        return
    if estimate > window * CERTAIN:
        found, about = estimate, "about "
    else:
        found, about = await session.count_tokens(messages, slot) or 0, ""
    if found > window:
        raise ContextOverflow(
            f"the prompt takes {about}{found} tokens, the window of {session.model_of(slot)} has "
            f"{window}: nothing was sent"
        )


async def largest_fit(
    count: Callable[[int], Awaitable[int | None]], chars: int, rate: float, most: int
) -> int | None:
    """Characters of context in the longest prompt found with at most `most` tokens.

    `count` returns the tokens of a prompt with that many of the context's `chars` characters;
    `rate` is an initial guess of characters per token. At most `_SLACK` tokens stay unused. Returns
    0 where not even the prompt without context fits, `None` where a count is refused.
    """
    bare = await count(0)
    if bare is None:
        return None
    low, tokens, high = 0, bare, chars + 1
    guess = min(chars, int((most - bare) * rate))
    for _ in range(_MOST_COUNTS):
        if not low < guess < high:
            guess = (low + high) // 2
        if guess == low or most - tokens <= _SLACK:
            break
        found = await count(guess)
        if found is None:
            return None
        if found <= most:
            low, tokens = guess, found
        else:
            high = guess
        rate = guess / max(1, found - bare)
        guess = min(chars, guess + int((most - _SLACK / 2 - found) * rate))
    return low
