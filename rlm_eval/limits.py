"""Limits of a trajectory, budgets of a cell and a sweep: reserved before a call, settled after it.

A reservation counts in-flight calls too, so that concurrent siblings cannot overspend together.
Budgets nest: what a sample spends, its cell and its sweep have spent.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlm_eval.errors import LimitReached
from rlm_eval.types import Outcome


@dataclass(frozen=True)
class Limits:
    """What one budget may spend; `None` = no limit."""

    tokens: int | None = None
    """Input and output tokens together."""
    cost: float | None = None
    """US dollars at list price, cache discounts ignored."""
    calls: int | None = None
    """Model calls, failed ones included."""
    seconds: float | None = None
    """Wall seconds of a trajectory, checked before each call."""

    def __post_init__(self) -> None:
        for name in ("tokens", "cost", "calls", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}: a limit is positive; null means none")

    def part(self, of: int) -> Limits:
        """One of `of` equal parts. Raises `ValueError` where a part would be nothing."""
        tokens, calls = (None if v is None else v // of for v in (self.tokens, self.calls))
        return Limits(tokens, None if self.cost is None else self.cost / of, calls, self.seconds)

    @property
    def needs_output_cap(self) -> bool:
        """True where a call's largest cost must be known beforehand."""
        return self.tokens is not None or self.cost is not None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call may cost at most, held until `Budget.settle` or `release`."""

    tokens: int
    cost: float


class Budget:
    """Running totals against `Limits`, in-flight reservations included."""

    def __init__(self, limits: Limits, parent: Budget | None = None, name: str = "sample") -> None:
        """`name` says in messages whose limit was reached."""
        self.limits = limits
        self.parent = parent
        self.name = name
        self.tokens = 0
        self.cost = 0.0
        self.calls = 0

    def reserve(self, tokens: int, cost: float | None, *, closing: bool = False) -> Reservation:
        """Hold room for one call. Raises `LimitReached` where it does not fit, holding nothing.

        A `closing` call, the one that a reached limit still allows, passes over this budget's own
        limits, not over those of its parents.
        """
        reservation = Reservation(tokens, cost or 0.0)
        budget = self.parent if closing else self
        while budget is not None:
            budget._check(reservation)
            budget = budget.parent
        self._add(reservation.tokens, reservation.cost, 1)
        return reservation

    def settle(self, held: Reservation, tokens: int | None, cost: float | None) -> None:
        """Replace a reservation by what was billed; unknown figures leave the estimate."""
        used_tokens = held.tokens if tokens is None else tokens
        used_cost = held.cost if cost is None else cost
        self._add(used_tokens - held.tokens, used_cost - held.cost, 0)

    def release(self, held: Reservation) -> None:
        """Give a reservation back: the call was never sent."""
        self._add(-held.tokens, -held.cost, -1)

    def recount(self, tokens: int, cost: float | None, calls: int = 1) -> None:
        """Count what an earlier process paid for: not for the parents, who know it already."""
        self.tokens += tokens
        self.cost += cost or 0.0
        self.calls += calls

    def spend(self, tokens: int, cost: float | None, calls: int = 0) -> None:
        """Count what was billed outside a reservation: failed attempts, earlier processes."""
        self._add(tokens, cost or 0.0, calls)

    def check_seconds(self, elapsed: float) -> None:
        """Raises `LimitReached` where the trajectory's time is over."""
        limit = self.limits.seconds
        if limit is not None and elapsed >= limit:
            raise LimitReached(Outcome.LIMIT_TIME, f"{self.name}: {limit:g} s are over", self.name)

    def _check(self, wanted: Reservation) -> None:
        limits = self.limits
        if limits.calls is not None and self.calls + 1 > limits.calls:
            raise LimitReached(
                Outcome.LIMIT_CALLS, f"{self.name}: {limits.calls} calls made", self.name
            )
        if limits.tokens is not None and self.tokens + wanted.tokens > limits.tokens:
            raise LimitReached(
                Outcome.LIMIT_TOKENS,
                f"{self.name}: {self.tokens} of {limits.tokens} tokens used or reserved, "
                f"the next call may take {wanted.tokens}",
                self.name,
            )
        if limits.cost is not None and self.cost + wanted.cost > limits.cost:
            raise LimitReached(
                Outcome.LIMIT_COST,
                f"{self.name}: ${self.cost:.4f} of ${limits.cost:.4f} used or reserved, "
                f"the next call may cost ${wanted.cost:.4f}",
                self.name,
            )

    def _add(self, tokens: int, cost: float, calls: int) -> None:
        budget: Budget | None = self
        while budget is not None:
            budget.tokens += tokens
            budget.cost += cost
            budget.calls += calls
            budget = budget.parent
