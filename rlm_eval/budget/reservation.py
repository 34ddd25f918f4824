"""A call's reservation before it is sent, and its charge against the budgets after it.

Before a call is sent its prompt is bounded by its UTF-8 bytes (no tokenizer makes more tokens than
bytes). Where that bound does not fit, the prompt is counted: by the endpoint's own counter, else by
`most_tokens`, which holds for dense text too. The first such call of an endpoint runs alone, and
its reported usage widens the bound for later calls where the model's tokenizer is denser. An
attempt whose bill is unknown (its reply was lost, or reported no usage) is charged by an estimate:
the prompt at `_BYTES_PER_TOKEN`, or as counted, and its output cap.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from rlm_eval.budget.limits import Budget, Reservation
from rlm_eval.budget.prices import whole
from rlm_eval.core.errors import LimitReached, ProviderError
from rlm_eval.core.types import Message, Usage

_LOG = logging.getLogger(__name__)

FRAME = 64
"""Tokens that a chat template may add to a prompt."""
_PER_MESSAGE = 8  # tokens that a chat template may add per message
_BYTES_PER_TOKEN = 3  # English prose has 4 or more, code and most scripts about 3
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_SPACE = re.compile(r" (?=[A-Za-z])")

Cost = Callable[[Usage], float | None]
"""List price of a call, US dollars; `None` = unknown."""


def most_tokens(text: str) -> int:
    """Return the most tokens that `text` may have under any common tokenizer.

    Two letters of a longer word may be one token, and a space before a word is part of it; every
    digit, sign and byte of another script counts as a separate token.
    """
    merged = sum(len(word) // 2 for word in _WORD.findall(text)) + len(_SPACE.findall(text))
    return _bytes(text) - merged


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _most(messages: Sequence[Message]) -> int:
    return _frame(messages) + sum(most_tokens(message.content) for message in messages)


def _frame(messages: Sequence[Message]) -> int:
    return FRAME + _PER_MESSAGE * len(messages)


class Density:
    """How an endpoint's reported prompt tokens compare with `most_tokens`."""

    def __init__(self) -> None:
        self.worst: float | None = None
        """Largest ratio seen, 1 or more; `None` before the first report."""
        self._trying: asyncio.Future[None] | None = None

    async def bound(self, most: int) -> int:
        """Scale `most` to this endpoint's tokenizer; the first caller alone gets it unscaled."""
        while self.worst is None and self._trying is not None:
            await asyncio.shield(self._trying)
        if self.worst is None:
            self._trying = asyncio.get_running_loop().create_future()
            return most
        return math.ceil(most * self.worst)

    def saw(self, tokens: int | None, messages: Sequence[Message]) -> None:
        """Record the end of a call; `tokens` is the reported number of prompt tokens."""
        if tokens is not None:
            self.worst = max(1.0, self.worst or 1.0, tokens / _most(messages))
        if self._trying is not None and not self._trying.done():
            self._trying.set_result(None)
        self._trying = None


def _learn_nothing(_tokens: int | None) -> None:
    pass


@dataclass(frozen=True)
class Charge:
    """A call's reservation, until `settle` replaces it by what was billed."""

    budget: Budget
    """The sample's budget."""
    cost: Cost
    """Price function of the call's model."""
    most: Usage
    """The reserved usage: the most that the call may use."""
    each: Usage
    """Estimate of one attempt: prompt and output cap."""
    held: Reservation
    """The reservation in the budgets."""
    closing: bool = False
    """See `Budget.reserve`."""
    teaches: Callable[[int | None], None] = _learn_nothing
    """Receives the reported prompt tokens where the bound may depend on them."""
    lost: list[Reservation] = field(default_factory=list)
    """Lost attempts that are already charged."""

    def release(self) -> None:
        """Release the reservation: nothing was sent."""
        self.budget.release(self.held)
        self.teaches(None)

    def attempt(self, lost: int) -> None:
        """Charge the `lost` attempts before the next attempt is sent.

        Raises `LimitReached` where there is no room for another attempt.
        """
        price = self.cost(whole(self.each))
        while len(self.lost) < lost:
            one = Reservation(self.each.total or 0, price or 0.0, calls=0)
            self.budget.lose(one, closing=self.closing)
            self.lost.append(one)

    def check_seconds(self, elapsed: float) -> None:
        """Raise `LimitReached` if the sample's time ran out while the call waited for room."""
        try:
            self.budget.check_seconds(elapsed)
        except LimitReached:
            self.release()
            raise

    def settle(self, usage: Usage, failed: Sequence[Usage], lost: int, *, name: str = "") -> Usage:
        """Charge what the attempts were billed; returns `Call.estimate`.

        `name` is the model's name where it answered, and empty where the call failed: an unknown
        `usage` then counts as zero, since a refused request is free.
        """
        each = self.each if usage.input is None else replace(self.each, input=usage.input)
        price = self.cost(whole(each))
        own, cost = usage.total, self.cost(usage if name else whole(usage))
        if own is None:
            own, cost = (each.total, price) if name else (0, 0.0)
        lost_now = lost - len(self.lost)  # the others were charged before the attempt that followed
        estimate = Reservation(lost_now * (each.total or 0), lost_now * (price or 0.0), calls=0)
        self.budget.settle(self.held, own, cost, estimate if lost_now else None)
        for attempt in failed:
            self.budget.spend(attempt.total or 0, self.cost(whole(attempt)))
        if name:
            self._tell_excess(usage, name)
        self.teaches(usage.input)
        return each if lost or (name and usage.total is None) else Usage()

    def _tell_excess(self, usage: Usage, name: str) -> None:
        cap = self.most.output
        if cap is not None and usage.output is not None and usage.output > cap:
            _tell_once(name, f"a reply of {usage.output} tokens is above its cap of {cap}")
        elif self.most.input is not None and (usage.input or 0) > self.most.input:
            _tell_once(name, f"a prompt of {usage.input} tokens had {self.most.input} reserved")


@functools.cache
def _tell_once(name: str, what: str) -> None:
    _LOG.warning("%s: %s; it counts in full against the limits", name, what)


async def reserve(
    budget: Budget,
    cost: Cost,
    messages: Sequence[Message],
    cap: int | None,
    count: Callable[[], Awaitable[int | None]],
    density: Density,
    *,
    template: bool,
    closing: bool = False,
) -> Charge:
    """Reserve room for one call. Raises `LimitReached` where it does not fit, reserving nothing.

    `cap` is the call's output cap, tokens; `count` calls the endpoint's own counter for the prompt,
    its chat template included where `template` is true. It is called only where the bound by bytes
    does not fit.
    """
    size, frame = sum(_bytes(m.content) for m in messages), _frame(messages)
    most = Usage(input=size + frame, output=cap)
    each = Usage(input=-(-size // _BYTES_PER_TOKEN) + _PER_MESSAGE * len(messages), output=cap)
    told = density.worst is not None or not budget.needs_output_cap
    learn = functools.partial(density.saw, messages=messages)
    first = _learn_nothing if told else learn
    try:
        held = budget.reserve(most.total or 0, cost(whole(most)), closing=closing)
    except LimitReached:
        if not budget.needs_output_cap:  # a limit on calls: no count changes that
            raise
    else:
        return Charge(budget, cost, most, each, held, closing, first)
    try:
        counted = await count()
    except ProviderError:
        counted = None
    if counted is not None:
        counted += 0 if template else frame
        each = replace(each, input=counted)
    else:
        if density.worst is None:
            with suppress(LimitReached):
                held = await budget.wait_for(most.total or 0, cost(whole(most)), closing=closing)
                return Charge(budget, cost, most, each, held, closing, first)
        counted = await density.bound(await asyncio.to_thread(_most, messages))
        first = learn
    most = replace(most, input=min(size + frame, counted))
    try:
        held = await budget.wait_for(most.total or 0, cost(whole(most)), closing=closing)
    except BaseException:
        first(None)
        raise
    return Charge(budget, cost, most, each, held, closing, first)
