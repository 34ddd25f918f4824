"""The sweep's budget in one process: spends what it has claimed from the run's ledger."""

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
    """A `Budget` whose totals include what other processes of the run spent and claimed."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, name="sweep")
        self._ledger: Ledger | None = None
        self._others: Amounts = dict.fromkeys(NAMES, 0)
        self._granted: Amounts = dict.fromkeys(NAMES, 0)

    @asynccontextmanager
    async def shared(self, run: Path) -> AsyncIterator[None]:
        """Take part in the budget of the run directory. Raises `RlmEvalError` where that cannot be.

        Without limits of its own a process may not run beside those that share a budget.
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
            # Of a folder that is gone or full the cells have told; the journals hold the truth.
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
        """What this process spent or reserved."""
        return {name: getattr(self, name) - self._others[name] for name in NAMES}

    def _look(self, ledger: Ledger) -> None:
        """Count the other processes as the ledger saw them last."""
        own = self._own()
        self._others = dict(ledger.others)
        for name in NAMES:
            setattr(self, name, own[name] + self._others[name])


async def _renew(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        with suppress(OSError, RlmEvalError):  # the next claim raises it
            await asyncio.to_thread(ledger.renew)
