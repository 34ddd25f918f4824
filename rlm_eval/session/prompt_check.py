"""Detect prompts that a server cut: some servers drop what exceeds their window and answer 200.

Ollama does so beyond `num_ctx`, embedding servers beyond their 512 tokens, and some gateways. The
only trace is a reported prompt token count far below the prompt's real one. The real count comes
from the endpoint's counting address if there is one, else from the model's named tokenizer, else it
is bounded from the text.

A low count may have a harmless cause, which must not raise an alarm: a tokenizer with a third fewer
tokens than expected, or a server that leaves cached tokens out of the count. Such a server counts
the new turns only, while a growing history that was cut counts more. Not detected: a cut of less
than about two fifths of prose, or half of other text, where only the text is available; a history
whose turns are each as large as the window; a server that reports no usage or invents it (fewer
than 64 tokens).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call, Message, Usage

SMALL = 200
"""Prompts of fewer tokens are not checked: no server has so small a window."""
LEAST_WINDOW = 64
"""Tokens. A smaller count is an invented figure, since no server has so small a window."""
BOUND_SHARE = 0.7
"""Share of the bound from the text. Measured on prose, code, tables and CJK (o200k, cl100k,
characters / 4): the lowest count is 0.83 of the bound; a tokenizer with a third fewer tokens gives
0.71 on prose."""
_COUNTED_SHARE = {True: 0.85, False: 0.6}
"""Share of the count: by the server itself (exact, template included), or by a named tokenizer."""
_OWN_SHARE, _OWN_PART = 0.8, 0.8
"""Share of the server's own count of an earlier prompt, and how much of that prompt must be shared.
"""
_GROWTH = 1.1
"""A prompt is counted when it exceeds the largest prompt seen whole by this factor."""
_MOST_SHARE = 1.15  # of `likely_most`
_FRAME = 300  # tokens: a chat template, and the blocks of a cache (up to 128)
_OFF_LOOP_CHARS = 20_000  # longer texts are measured in a thread
_REMEMBERED, _REMEMBERED_CHARS = 2000, 8_000_000  # whole prompts: a server may have cached them

_RUN = re.compile(r"(.)\1\1\1\1*", re.DOTALL)  # three times as fast as `\1{3,}`
_WIDE = re.compile("[\u2e80-\U0010ffff]")  # CJK and beyond: no spaces between words
_WIDE_TOKENS = 0.3
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_SPACE = re.compile(r"(?<!\s)\s")
_PIECES = re.compile(r"(?:[A-Za-z]+|[0-9]{1,3}|[^\w\s]+)[\s_]*")  # a match begins where one ended
_PIECE_TOKENS, _MOST_CHARS = 0.85, 4.5
_LONG_WORD = 8  # most characters per token of text without spaces

Count = Callable[[Sequence[Message]], Awaitable[int | None]]


@dataclass(frozen=True)
class Expected:
    """The expected token count of a prompt, before it is sent."""

    text: str
    """Every message, joined."""
    bound: float
    """`least_tokens` of the text, tokens."""
    counted: int | None
    """Tokens of the prompt; `None` where they were not counted."""


class PromptCheck:
    """The check of one endpoint; it calibrates itself on prompts that arrived whole."""

    def __init__(self, count: Count | None, *, exact: bool) -> None:
        """`count` counts a prompt's tokens; `exact` is true where the server itself counts."""
        self._count = count
        self._share = _COUNTED_SHARE[exact]
        self._largest = 0.0  # bound of the largest prompt that was counted and seen whole
        self._lowest = 1.0  # tokens reported for such a prompt, as a share of its bound
        self._whole: deque[tuple[str, int]] = deque()  # text, tokens by the server or 0
        self._remembered = 0  # characters

    def replayed(self, messages: Sequence[Message]) -> None:
        """Record a prompt that an earlier process sent: the server may have it cached."""
        self._remember(_joined(messages), 0)

    async def expect(self, messages: Sequence[Message]) -> Expected:
        """Measure a prompt that is about to be sent. Calls the counter only where prompts grow."""
        text = _joined(messages)
        long = len(text) > _OFF_LOOP_CHARS
        bound = await asyncio.to_thread(least_tokens, text) if long else least_tokens(text)
        counted = None
        if self._count is not None and bound > max(SMALL, _GROWTH * self._largest):
            with suppress(RlmEvalError):  # the bound remains
                counted = await self._count(messages)
            if counted is None and self._largest == 0.0:
                self._count = None  # the address does not exist: do not look for it at every call
        return Expected(text, bound, counted)

    def cut(self, expected: Expected, usage: Usage) -> int | None:
        """Return the least tokens of the prompt where the server counted far fewer; else `None`."""
        if usage.input is None:
            return None
        reported = usage.input + (usage.cached or 0)  # some leave cached tokens out of the input
        needed = self._needed(expected)
        small = expected.bound < SMALL or reported < LEAST_WINDOW
        if not small and needed <= reported < expected.bound:  # low, but not low enough on its own
            needed = max(needed, self._grown(expected.text))
        low = not small and reported < needed
        if low and not self._cached(expected.text, reported):
            return expected.counted or int(expected.bound)
        if not small and expected.counted is not None and usage.input >= needed:
            self._largest = max(self._largest, expected.bound)
            self._lowest = min(self._lowest, usage.input / expected.bound)
        self._remember(expected.text, 0 if low else reported)
        return None

    def _needed(self, expected: Expected) -> float:
        if expected.counted is not None:
            return self._share * expected.counted
        return BOUND_SHARE * self._lowest * expected.bound

    def _grown(self, text: str) -> float:
        """Return the least tokens, from the server's own count of the beginning of this history."""
        own = [(tokens / len(whole), whole) for whole, tokens in self._whole if tokens and whole]
        own.sort(reverse=True)  # histories that were cut unnoticed have fewer tokens per character
        for density, whole in own:
            if (shared := _shared(text, whole)) >= _OWN_PART * len(whole):
                rest = _OWN_SHARE * least_tokens(text[shared:])
                return _OWN_SHARE * (density * shared + rest)
        return 0.0

    def _cached(self, text: str, reported: int) -> bool:
        """Return true if the count may cover only what follows an earlier, cached prompt."""
        shared = max((_shared(text, whole) for whole, _ in self._whole), default=0)
        rest = text[shared:]
        least = BOUND_SHARE * self._lowest * least_tokens(rest)
        # A growing history that the server cut counts more than its new turns.
        return bool(shared) and least <= reported <= _MOST_SHARE * likely_most(rest) + _FRAME

    def _remember(self, text: str, tokens: int) -> None:
        self._whole.append((text, tokens))
        self._remembered += len(text)
        while self._remembered > _REMEMBERED_CHARS or len(self._whole) > _REMEMBERED:
            self._remembered -= len(self._whole.popleft()[0])


def _joined(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _shared(one: str, other: str) -> int:
    """Return the number of characters that both texts share at their beginning."""
    same, differ = 0, min(len(one), len(other)) + 1
    while differ - same > 1:  # comparing slices is faster than comparing characters
        middle = (same + differ) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            differ = middle
    return same


def least_tokens(text: str) -> float:
    """Return a conservative lower bound of a text's tokens, for prose, code, tables and CJK.

    Counts one token per word, one per 8 characters of text without spaces, and 0.3 per CJK
    character; in text rich in digits and signs, one for most pieces, up to one per 4.5 characters.
    A run of one repeated character counts as one.
    """
    text = _RUN.sub(r"\1", text)
    wide = 0
    if not text.isascii():
        text, wide = _WIDE.subn(" ", text)
    apart = text.split()
    long = [len(word) // _LONG_WORD - 1 for word in apart if len(word) >= 2 * _LONG_WORD]
    words = len(apart) + sum(long)
    pieces = _PIECE_TOKENS * len(_PIECES.findall(text))
    return max(words, min(pieces, len(text) / _MOST_CHARS)) + _WIDE_TOKENS * wide


def likely_most(text: str) -> int:
    """Return the most tokens that a text is likely to have: one per four letters of a word, one per
    digit, sign, further space and byte of another script. Sharper than
    `budget.reservation.most_tokens`, which is a certain bound.
    """
    merged = sum(len(word) - 1 - len(word) // 4 for word in _WORD.findall(text))
    return len(_SPACE.sub("", text).encode("utf-8", "replace")) - merged


def cut_note(call: Call, window: int | None = None) -> str:
    """Return the error text of a call whose prompt was cut, with the next step.

    `window` is the declared window of its model, `None` = unknown.
    """
    counted = call.usage.input or 0
    if window is None or window > counted:
        then = f"state its window, {call.slot}.window={counted}, so that longer prompts count as "
    else:
        then = (
            f"name its tokenizer, {call.slot}.tokenizer, so that prompts over the window count as "
        )
    return (
        f"{call.model}: the server counted {counted:,} prompt tokens where the prompt has at least "
        f"{call.prompt_tokens_at_least or 0:,}: it cut the prompt without an error. Raise the "
        "server's own window (Ollama: OLLAMA_CONTEXT_LENGTH, or num_ctx) and run the same command "
        f"again; or {then}context_overflow"
    )
