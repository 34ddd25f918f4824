"""Limits of a trajectory, budgets of a cell and a sweep: reserved before a call, settled after it.

A reservation counts in-flight calls too, so that concurrent siblings cannot overspend together; a
call that fits only after these are settled waits for them. Budgets nest: what a sample spends also
counts for its cell and its sweep. Elsewhere: budgets shared by processes (`storage.budget_ledger`)
and the size of a reservation (`budget.reservation`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rlm_eval.core.errors import LimitReached
from rlm_eval.core.types import Outcome

NAMES = ("tokens", "cost", "calls")
"""Quantities that a budget limits."""

_OUTCOMES = {
    "tokens": Outcome.LIMIT_TOKENS,
    "cost": Outcome.LIMIT_COST,
    "calls": Outcome.LIMIT_CALLS,
}


@dataclass(frozen=True)
class Limits:
    """Limits of one budget; `None` = no limit."""

    tokens: int | None = None
    """Input and output tokens together."""
    cost: float | None = None
    """US dollars at list price, cache discounts ignored."""
    calls: int | None = None
    """Model calls, failed ones included; a call and its retries are one."""
    seconds: float | None = None
    """Wall seconds of a trajectory, checked before each call."""

    def __post_init__(self) -> None:
        for name in ("tokens", "cost", "calls", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:  # NaN would never be reached
                raise ValueError(f"{name}={value}: a limit is positive; null means none")

    def part(self, of: int) -> Limits:
        """Return one of `of` equal parts. Raises `ValueError` where a part would be empty."""
        tokens, calls = (None if v is None else v // of for v in (self.tokens, self.calls))
        return Limits(tokens, None if self.cost is None else self.cost / of, calls, self.seconds)

    @property
    def needs_output_cap(self) -> bool:
        """Return true if a call's largest cost must be known before it is sent."""
        return self.tokens is not None or self.cost is not None


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that a call may cost, reserved until `Budget.settle` or `release`."""

    tokens: int
    cost: float
    calls: int = 1
    """0 for a retry: a call and its retries are one."""


class Budget:
    """Running totals against `Limits`, in-flight reservations included."""

    def __init__(self, limits: Limits, parent: Budget | None = None, name: str = "sample") -> None:
        """`name` names the budget in error messages."""
        self.limits = limits
        self.parent = parent
        self.name = name
        self.tokens = 0
        self.cost = 0.0
        self.calls = 0
        self._held_tokens = 0
        self._held_cost = 0.0
        self._in_flight = 0
        self._lost_tokens = 0
        self._lost_cost = 0.0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def needs_output_cap(self) -> bool:
        """Return true if this budget or one of its parents limits tokens or cost."""
        above = self.parent is not None and self.parent.needs_output_cap
        return self.limits.needs_output_cap or above

    def reserve(self, tokens: int, cost: float | None, *, closing: bool = False) -> Reservation:
        """Reserve room for one call. Raises `LimitReached` and reserves nothing if it does not fit.

        A `closing` call, the one that a reached limit still allows, ignores this budget's own
        limits, not those of its parents.
        """
        wanted = Reservation(tokens, cost or 0.0)
        if refused := self._refused(wanted, closing):
            raise refused[1]
        self._hold(wanted, 1)
        return wanted

    async def wait_for(
        self, tokens: int, cost: float | None, *, closing: bool = False
    ) -> Reservation:
        """Reserve like `reserve`, but wait for calls in flight if their reservations prevent it.

        Calls in flight mostly cost less than they reserve: reservations alone must not trigger a
        limit.
        """
        wanted = Reservation(tokens, cost or 0.0)
        while refused := self._refused(wanted, closing):
            budget, why = refused
            if not budget._may_fit_later(wanted):
                raise why
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            budget._waiting.append(future)
            await future
        self._hold(wanted, 1)
        return wanted

    def settle(
        self,
        held: Reservation,
        tokens: int | None,
        cost: float | None,
        lost: Reservation | None = None,
    ) -> None:
        """Replace a reservation by what was billed; unknown figures keep the estimate.

        `lost` is the estimate of attempts whose replies never arrived; it is charged in addition.
        """
        used_tokens = held.tokens if tokens is None else tokens
        used_cost = held.cost if cost is None else cost
        self._hold(held, -1)
        self._add(used_tokens, used_cost, 1)
        if lost is not None:
            self._lose(lost)

    def lose(self, lost: Reservation, *, closing: bool = False) -> None:
        """Count a lost attempt before another one is sent.

        Raises `LimitReached` where there is no room for both.
        """
        if refused := self._refused(lost, closing):
            raise refused[1]
        self._lose(lost)

    def release(self, held: Reservation) -> None:
        """Release a reservation: the call was never sent."""
        self._hold(held, -1)

    def recount(self, tokens: int, cost: float | None, calls: int = 1) -> None:
        """Count what an earlier process paid for; the parents have counted it already."""
        self.tokens += tokens
        self.cost += cost or 0.0
        self.calls += calls

    def spend(self, tokens: int, cost: float | None, calls: int = 0) -> None:
        """Count what was billed outside a reservation: failed attempts, preflight requests."""
        self._add(tokens, cost or 0.0, calls)

    def check_seconds(self, elapsed: float) -> None:
        """Raise `LimitReached` if the trajectory's time is used up."""
        limit = self.limits.seconds
        if limit is not None and elapsed >= limit:
            raise LimitReached(Outcome.LIMIT_TIME, f"{self.name}: {limit:g} s are over", self.name)

    def _lose(self, lost: Reservation) -> None:
        self._add(lost.tokens, lost.cost, 0)
        budget: Budget | None = self
        while budget is not None:
            budget._lost_tokens += lost.tokens
            budget._lost_cost += lost.cost
            budget = budget.parent

    def _refused(self, wanted: Reservation, closing: bool) -> tuple[Budget, LimitReached] | None:
        """Return the first budget that has no room, and its error message."""
        budget = self.parent if closing else self
        while budget is not None:
            if (why := budget._check(wanted)) is not None:
                return budget, why
            budget = budget.parent
        return None

    def _check(self, wanted: Reservation) -> LimitReached | None:
        """Return why this budget has no room for one more call, or `None`."""
        calls, tokens, cost = self.limits.calls, self.limits.tokens, self.limits.cost
        if calls is not None and wanted.calls and self.calls + wanted.calls > calls:
            return self._reached("calls", f"{calls} calls made")
        if tokens is not None and self.tokens + wanted.tokens > tokens:
            return self._reached(
                "tokens",
                f"{self.tokens} of {tokens} tokens used or reserved, "
                f"the next call may take {wanted.tokens}",
                only_lost=self.tokens - self._lost_tokens + wanted.tokens <= tokens,
            )
        if cost is not None and self.cost + wanted.cost > cost:
            return self._reached(
                "cost",
                f"${self.cost:.4f} of ${cost:.4f} used or reserved, "
                f"the next call may cost ${wanted.cost:.4f}",
                only_lost=self.cost - self._lost_cost + wanted.cost <= cost,
            )
        return None

    def _reached(self, name: str, told: str, only_lost: bool = False) -> LimitReached:
        outcome = _OUTCOMES[name]
        if only_lost:  # the server's fault, not the method's: the sample is missing
            outcome = Outcome.PROVIDER_ERROR
            told += (
                f"; without the estimate for lost replies ({self._lost_tokens} tokens, "
                f"${self._lost_cost:.4f}) it would fit"
            )
        return LimitReached(outcome, f"{self.name}: {told}", self.name)

    def _may_fit_later(self, wanted: Reservation) -> bool:
        """Return true if the call fits without the reservations in flight, and there are some."""
        limits = self.limits
        return (
            self._in_flight > 0
            and (limits.calls is None or self.calls < limits.calls)
            and (
                limits.tokens is None
                or self.tokens - self._held_tokens + wanted.tokens <= limits.tokens
            )
            and (limits.cost is None or self.cost - self._held_cost + wanted.cost <= limits.cost)
        )

    def _hold(self, reservation: Reservation, sign: int) -> None:
        """Add a reservation (`sign` 1), or remove it (-1) and wake the calls that wait for room."""
        self._add(sign * reservation.tokens, sign * reservation.cost, sign)
        budget: Budget | None = self
        while budget is not None:
            budget._in_flight += sign
            budget._held_tokens += sign * reservation.tokens
            held = budget._held_cost + sign * reservation.cost
            budget._held_cost = held if budget._in_flight else 0.0  # no rounding errors are kept
            if sign < 0:
                waiting, budget._waiting = budget._waiting, []
                for future in waiting:
                    if not future.done():
                        future.set_result(None)
            budget = budget.parent

    def _add(self, tokens: int, cost: float, calls: int) -> None:
        budget: Budget | None = self
        while budget is not None:
            budget.tokens += tokens
            budget.cost += cost
            budget.calls += calls
            budget = budget.parent
