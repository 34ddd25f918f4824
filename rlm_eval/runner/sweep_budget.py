"""The sweep's budget in one process: spends amounts claimed from the run's ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from rlm_eval.budget.limits import NAMES, Budget, Limits, Reservation
from rlm_eval.core.errors import LimitReached, RlmEvalError
from rlm_eval.storage.budget_ledger import Amounts, Ledger, check_no_budget
from rlm_eval.storage.lease import RENEW_SECONDS


class SweepBudget(Budget):
    """A `Budget` whose totals include the spending and claims of the run's other processes."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, name="sweep")
        self._ledger: Ledger | None = None
        self._others: Amounts = dict.fromkeys(NAMES, 0)
        self._granted: Amounts = dict.fromkeys(NAMES, 0)

    @asynccontextmanager
    async def shared(self, run: Path) -> AsyncIterator[None]:
        """Join the budget of the run directory. Raises `RlmEvalError` if that is not possible.

        A process without limits may not run at the same time as processes that share a budget.
        """
        if not any(getattr(self.limits, name) is not None for name in NAMES):
            check_no_budget(run)
            yield
            return
        ledger = Ledger(run, self.limits)
        await asyncio.to_thread(ledger.open)
        self._ledger = ledger
        self._look(ledger)
        renewal = asyncio.create_task(_renew(ledger))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            # The cells reported a missing or full folder; the journals are authoritative.
            with suppress(OSError, RlmEvalError):
                ledger.close(self._own())

    def _check(self, wanted: Reservation) -> LimitReached | None:
        ledger = self._ledger
        if ledger is None:
            return super()._check(wanted)
        own = self._own()
        needed = {
            "tokens": own["tokens"] + wanted.tokens,
            "cost": own["cost"] + wanted.cost,
            "calls": own["calls"] + wanted.calls,
        }
        limited = [name for name in NAMES if ledger.limit(name) is not None]
        if all(needed[name] <= self._granted[name] for name in limited):
            return None
        granted = ledger.claim(own, needed)
        self._look(ledger)
        if granted is None:
            return super()._check(wanted)
        self._granted = granted
        return None

    def _own(self) -> Amounts:
        """Return the amounts that this process spent or reserved."""
        return {name: getattr(self, name) - self._others[name] for name in NAMES}

    def _look(self, ledger: Ledger) -> None:
        """Update the other processes' totals from the ledger's last entries."""
        own = self._own()
        self._others = dict(ledger.others)
        for name in NAMES:
            setattr(self, name, own[name] + self._others[name])


async def _renew(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(OSError, RlmEvalError):  # the next claim raises it
            await asyncio.to_thread(ledger.renew)
