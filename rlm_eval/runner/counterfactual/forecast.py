"""Forecast of a counterfactual: shared calls and expected cost, computed offline before the run.

Each stored trajectory is replayed under the changed settings, without a model, up to its first
request without a stored reply. The original's calls after that point, priced for the new models,
are the expected spending; the real counterfactual may make more or fewer. If the diverging unit
requests more calls than the original made there (fewer records per call), the requested calls are
counted; tokens and price of the excess calls are unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, fields
from typing import Any

from rlm_eval.budget.limits import Budget
from rlm_eval.budget.prices import cold_cost
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import ModelError, RlmEvalError
from rlm_eval.core.types import Call, Message, Reply, Usage
from rlm_eval.models import EndpointInfo, Sampling
from rlm_eval.repl import open_pool
from rlm_eval.runner.counterfactual.change import Counterfactual
from rlm_eval.runner.counterfactual.shared import Original, SharedReplies, unit
from rlm_eval.runner.resources import endpoint
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.session.session import Session
from rlm_eval.storage.journal import Journal, StoredReplies
from rlm_eval.storage.prompt_slices import SourceIndex


@dataclass
class Forecast:
    """Sums over the samples of one cell."""

    samples: int = 0
    """Samples times epochs with a stored result."""
    without: int = 0
    """Samples without a stored result: they would be run from the start, unpaired."""
    same: int = 0
    """Samples whose whole trajectory is shared: the change does not affect them."""
    shared: int = 0
    """Calls reused from the original."""
    new: int = 0
    """Calls that the original made after the first divergence."""
    tokens: int = 0
    """Input and output tokens of the `new` calls, as far as reported."""
    cost: float = 0.0
    """Cost of the `new` calls in US dollars, at the new models' list prices."""
    unpriced: int = 0
    """`new` calls whose price or usage is unknown."""

    def add(self, other: Forecast) -> None:
        """Add the sums of another cell."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def __str__(self) -> str:
        money = f"${self.cost:.4f}"
        if self.unpriced == self.new:
            money = "price unknown or not billed"
        elif self.unpriced:
            money += f" and {self.unpriced:,} calls of unknown price"
        told = (
            f"{self.samples} samples, {self.same} of them untouched; {self.shared:,} calls shared, "
            f"about {self.new:,} new ({self.tokens:,} tokens, {money})"
        )
        if self.without:
            told += f"; {self.without} samples without a stored result, from the start"
        return told


_TOGETHER_S = 0.1
"""Seconds within which concurrent calls have all been requested."""


class _Nobody:
    """Client that never answers; it fails only after the concurrent calls were requested too."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:  # noqa: ARG002
        """Raise `ModelError`."""
        await asyncio.sleep(_TOGETHER_S)
        raise ModelError("forecast: no model is called")

    async def check(self) -> EndpointInfo:
        """Send no request."""
        return EndpointInfo("nobody")

    async def account(self) -> None:
        """Do nothing: there is no usage."""


@dataclass
class _Seen(SharedReplies):
    """Stored replies that record the requests without one."""

    lacking: list[str] = field(default_factory=list)
    """Positions of the requests without a stored reply."""

    def take(self, position: str, request: str, occurrence: int) -> dict[str, Any] | None:
        """See `SharedReplies.take`."""
        line = super().take(position, request, occurrence)
        if line is None:
            self.lacking.append(position)
        return line


class _Probe(Journal):
    """The original's replies up to the first divergence; writes nothing."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self.counts = dict(original.calls.counts)
        self.seen = _Seen()

    def check(self) -> None:
        """Do nothing."""

    def replies(self, sample: str, epoch: int) -> StoredReplies:
        """Return the replies of the valid attempt."""
        self.seen = _Seen(original=self._original.replies((sample, epoch)))
        return self.seen

    def start(self, sample: str, epoch: int, context: str) -> int:  # noqa: ARG002
        """Return a dummy number: nothing is stored."""
        return 0

    def write(self, trajectory: int, request: str, call: Call, **more: Any) -> None:
        """Do nothing."""

    def write_sent(self, trajectory: int, call: Call, estimate: Usage, attempts: int) -> None:
        """Do nothing."""

    def write_count(self, request: str, tokens: int) -> None:
        """Write nothing to disk."""
        self.counts[request] = tokens

    def write_again(self, trajectory: int, stored: Mapping[str, Any], call: Call) -> None:
        """Do nothing."""


async def forecast(one: Counterfactual) -> Forecast:
    """Forecast one cell. No model is called; the shared part's stored code is executed again."""
    cell, original, found = one.cell, Original(one.folder), Forecast()
    nobody = {slot: endpoint(model, _Nobody()) for slot, model in cell.models.items()}
    async with AsyncExitStack() as stack:
        pool = None
        if cell.method.runs_code:
            pool = await stack.enter_async_context(open_pool(cell.repl))
        for sample in cell.task.samples():
            for epoch in range(cell.epochs):
                lines = list(original.lines((sample.id, epoch)))
                if not lines:
                    found.without += 1
                    continue
                found.samples += 1
                probe = _Probe(original)
                session = Session(
                    sample, epoch, nobody, probe,
                    Budget(cell.limits), pool, SourceIndex(sample.context.hash, ""),
                )  # fmt: skip
                with suppress(RlmEvalError):  # no model answers; replies replayed until then count
                    await run_rollout(cell.task, cell.method, sample, session)
                taken = set(probe.seen.taken)
                found.shared += len(taken)
                found.same += probe.seen.diverged_in is None
                if (place := probe.seen.diverged_in) is not None:
                    behind = [line for line in lines if line["c"] not in taken]
                    _behind(found, cell, behind)
                    there = sum(
                        _asked(line, cell) and unit(line["position"]) == place for line in behind
                    )
                    more = max(0, sum(unit(p) == place for p in probe.seen.lacking) - there)
                    found.new += more
                    found.unpriced += more
    return found


def _behind(found: Forecast, cell: Cell, lines: list[dict[str, Any]]) -> None:
    """Add the calls after the divergence, at the prices of the new models."""
    for line in lines:
        if not _asked(line, cell):
            continue
        slot = line.get("slot", line["role"])
        usage = Usage(*line["usage"])
        price = cold_cost(cell.models[slot].price)(usage) if usage.total is not None else None
        found.new += 1
        found.tokens += usage.total or 0
        found.cost += price or 0.0
        found.unpriced += price is None


def _asked(line: Mapping[str, Any], cell: Cell) -> bool:
    """Return whether the counterfactual has a model in the slot of a stored call."""
    return line.get("slot", line["role"]) in cell.models
