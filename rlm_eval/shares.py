"""A sweep's budget over jobs that do not see each other: each gets a share when it is submitted.

A job may spend its share and no more. What it leaves over goes back: submitting the same sweep
again hands out all that was neither spent nor is held by jobs that still wait or run. Not here: the
budgets themselves (`limits`), what was spent (`spending`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlm_eval.cell import Cell
from rlm_eval.errors import RlmEvalError
from rlm_eval.lease import holder_of
from rlm_eval.limits import Limits
from rlm_eval.plan import planned
from rlm_eval.queue import job_states, jobs_of
from rlm_eval.spending import Spending, first_requests, total, total_of_run
from rlm_eval.store import folder_of

NAMES = ("tokens", "cost", "calls")


@dataclass(frozen=True)
class Pot:
    """Where a sweep's budget is."""

    budget: Limits
    """Of the whole sweep."""
    spent: Spending
    """By every cell of the run, endpoints' proofs included."""
    held: Spending
    """What waiting and running jobs may still spend."""
    holders: int
    """Those jobs."""

    def free(self, name: str) -> float | None:
        """What nobody has; `None` = no such limit."""
        limit: float | None = getattr(self.budget, name)
        if limit is None:
            return None
        taken: float = getattr(self.spent, name) + getattr(self.held, name)
        return max(0, limit - taken)

    def __str__(self) -> str:
        def told(name: str) -> str:
            of = [getattr(of, name) for of in (self.budget, self.spent, self.held)]
            numbers = [f"${n:,.2f}" if name == "cost" else f"{n:,}" for n in [*of, self.free(name)]]
            whole, spent, held, free = numbers
            return f"{name} {whole}: {spent} spent, {held} held by {self.holders} jobs, {free} free"

        return "; ".join(told(name) for name in NAMES if getattr(self.budget, name) is not None)


def pot(run: Path, budget: Limits) -> Pot:
    """Where the budget is now, by the run's journals and its jobs' files."""
    held, holders = _held(run)
    spent = total_of_run(run, planned(run)) + _proofs(run)
    return Pot(budget, spent, held, holders)


def left_by_jobs(run: Path, budget: Limits) -> Limits:
    """`budget` without what the run's waiting and running jobs may still spend.

    Raises `RlmEvalError` where they hold all of it.
    """
    held, holders = _held(run)
    left = {n: v - getattr(held, n) for n in NAMES if (v := getattr(budget, n)) is not None}
    if gone := [name for name, value in left.items() if value <= 0]:
        raise RlmEvalError(
            f"budget: {holders} waiting or running jobs of {run} hold all of its {gone[0]}: wait "
            f"for them (`rlm-eval status {run}`), or raise budget.{gone[0]}"
        )
    return replace(budget, **left)


def check_alone(run: Path, cells: Sequence[Cell]) -> None:
    """Raises `RlmEvalError` where another process than a job spends from these cells' budget: the
    two would not see each other, and each would spend all of it.
    """
    shared = {name for job in jobs_of(run) if job.get("budget") for name in job["cells"]}
    for cell in cells:
        if cell.name_in_plan not in shared and (other := holder_of(run / cell.folder)) is not None:
            raise RlmEvalError(
                f"budget: process {other.pid} on {other.host} is running {cell.name_in_plan} and "
                "spends from the same budget: wait for it, or divide the budget over jobs with "
                "`rlm-eval submit`"
            )


def _held(run: Path) -> tuple[Spending, int]:
    """What waiting and running jobs may still spend, and how many they are."""
    jobs = jobs_of(run)
    states = job_states(jobs)
    last = {name: job["number"] for job in jobs for name in job["cells"]}
    held, holders = Spending(), 0
    for job in jobs:
        folders = [folder_of(run, name) for name in job["cells"]]
        # A lease is the later job's where several had the cell; a planned job has no state.
        own = [folder_of(run, name) for name in job["cells"] if last[name] == job["number"]]
        lives = states.get(job["number"]) is not None or any(map(holder_of, own))
        if lives and job.get("budget"):
            had = total(folders)
            left = {n: max(0, (job["budget"][n] or 0) - getattr(had, n)) for n in NAMES}
            held, holders = held + Spending(**left), holders + 1
    return held, holders


def shares(run: Path, budget: Limits, jobs: Sequence[Sequence[Cell]]) -> list[dict[str, Any]]:
    """What each job may have spent in all when it ends: the limits of its own budget.

    The free part is divided by samples (calls) and by samples times length (tokens, money). Raises
    `RlmEvalError` where too little is free.
    """
    now = pot(run, budget)
    proofs = _proofs(run)  # a job counts these, too
    weights = [{n: sum(_weight(cell, n) for cell in cells) for n in NAMES} for cells in jobs]
    whole = {n: sum(weight[n] for weight in weights) for n in NAMES}
    given = []
    for cells, weight in zip(jobs, weights, strict=True):
        had = total(run / cell.folder for cell in cells) + proofs
        share: dict[str, Any] = dict.fromkeys(NAMES)
        for name in NAMES:
            if (free := now.free(name)) is None:
                continue
            part = free * weight[name] / whole[name]
            part = part if name == "cost" else int(part)
            if part <= 0:
                raise RlmEvalError(f"budget: too little is free for {len(jobs)} jobs: {now}")
            share[name] = getattr(had, name) + part
        given.append(share)
    return given


def _weight(cell: Cell, name: str) -> float:
    samples = cell.n * cell.epochs / (cell.shard.of if cell.shard else 1)
    return samples if name == "calls" else samples * cell.length


def _proofs(run: Path) -> Spending:
    proofs = first_requests(run)
    return Spending(0, proofs.tokens, proofs.cost)
