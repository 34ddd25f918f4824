"""How much of a context fits a window.

The model's own tokenizer decides, where its server or a name in its configuration tells it
(`Session.count_tokens`). Elsewhere tokens are estimated at the context's own rate of characters per
token, which the task measured under its tokenizer; then nothing may hang on the estimate being
right: a cut leaves room for its error, and of a whole prompt the server decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rlm_eval.core.errors import ContextOverflow
from rlm_eval.core.types import Message, Sample
from rlm_eval.protocols import Session

MARGIN = 0.05
"""Share of a window that pieces of a context leave free, since their sizes are estimates."""
CAREFUL = 0.75
"""Share of an estimated room that a cut keeps: a tokenizer may take a third more tokens."""
CERTAIN = 2.0
"""An estimate of that many windows is an overflow under any tokenizer."""
FRAME = 64
"""Tokens for a chat template, which a tokenizer called by its name does not count."""

_SLACK = 8  # tokens of a room that may stay unused
_MOST_COUNTS = 16  # of prompts per cut; the rate is nearly constant, so that three or four do


def chars_per_token(sample: Sample) -> float:
    """Of the sample's context, under the tokenizer that measured it."""
    context = sample.context
    return context.chars / context.tokens if context.tokens else 4.0


def estimate_tokens(sample: Sample, chars: int) -> int:
    """Tokens of `chars` characters of text such as the sample's context, rounded up."""
    return -int(-chars // chars_per_token(sample))


async def refuse_overflow(
    sample: Sample, session: Session, slot: str, messages: Sequence[Message]
) -> None:
    """Raises `ContextOverflow` where the prompt does not fit the window of the model in `slot`.

    Some servers cut a long prompt silently, and none needs to be sent 40 MB to refuse them. Where
    the window is unknown, or nobody can count and it is not `CERTAIN`, the server decides.
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
    """Characters of a context in the longest prompt found that takes at most `most` tokens.

    `count` tells the tokens of a prompt with so many of the context's `chars` characters; `rate` is
    a first guess of characters per token. At most `_SLACK` tokens stay unused. 0 where not even the
    prompt without the context fits, `None` where a count is refused.
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
