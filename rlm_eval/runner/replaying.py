"""Offline replay of stored trajectories, for `rlm-eval replay`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rlm_eval.budget.limits import Budget
from rlm_eval.config.trust import replayed_cell
from rlm_eval.core.terminal import printable
from rlm_eval.repl import open_pool
from rlm_eval.runner.resources import offline_endpoints
from rlm_eval.runner.rollout import run_rollout
from rlm_eval.session.session import Session
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.damage import damaged
from rlm_eval.storage.journal import JournalReader, ReplayJournal
from rlm_eval.storage.jsonl import read_lines
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.prompt_slices import SourceIndex
from rlm_eval.storage.stale_code import HASHES, replayed, today

_GONE = "not drawn any more: the data or the task changed"


def accept(folder: Path, same: int) -> str | None:
    """Record that the installed code reproduces this cell's results (`same` of them).

    Returns the reason for not recording it, or `None`. Raises `LeaseHeld` while a run writes the
    cell.
    """
    with Lease(folder) as lease:
        store = CellStore(folder)
        results = sum(not a.trajectory.outcome.is_missing for a in store.attempts.values())
        if same < results or not results:
            return f"not recorded: {same} of {results} results came out the same"
        manifest, now = store.manifest, today(store.manifest)
        if manifest.get(HASHES) != now:
            lease.check()
            store.amend(replayed(manifest, now, results))
        return None


async def replay_cell(
    folder: Path, prefix: str, trust: bool, note: Callable[[str], None]
) -> tuple[int, int, int]:
    """Replay the attempts at samples whose id starts with `prefix`; pass a line each to `note`.

    An attempt at a sample that the task no longer draws counts as one that differs: `--accept`
    records that today's code and data give the stored results. Returns (attempts that reproduced
    the stored result, stored attempts, results among the first).
    """
    store = CellStore(folder)
    cell = replayed_cell(store.manifest, trust=trust)
    with damaged(folder / "journal.jsonl"):
        calls = JournalReader(folder / "journal.jsonl")
    same = results = 0
    left = {key: None for key in store.attempts if key[0].startswith(prefix)}
    seen, epochs = len(left), 1 + max((epoch for _, epoch in left), default=0)
    async with AsyncExitStack() as stack:
        pool = (
            await stack.enter_async_context(open_pool(cell.repl)) if cell.method.runs_code else None
        )
        task = _holding(cell.task, folder)
        for sample in getattr(task, "drawn", task.samples)():
            for epoch in range(epochs):  # of all stored attempts: a later run may ask for fewer
                if (sample.id, epoch) not in left:
                    continue
                del left[sample.id, epoch]
                stored = store.attempts[sample.id, epoch]
                session = Session(
                    sample,
                    epoch,
                    offline_endpoints(cell, stored.trajectory.outcome),
                    ReplayJournal(calls, stored.number),
                    Budget(cell.limits),
                    pool,
                    SourceIndex(sample.context.hash, ""),  # these prompts are not stored
                )
                trajectory, scores = await run_rollout(cell.task, cell.method, sample, session)
                now = RolloutResult(stored.number, trajectory, scores, 0, 0)
                _, then = store.one(sample.id, epoch)
                equal = _said(now) == _said(then)
                same += equal
                results += equal and not stored.trajectory.outcome.is_missing
                note(printable(f"{folder.name}  {sample.id[:8]}  {_told(now, then)}"))
    for sample_id, _ in left:
        note(printable(f"{folder.name}  {sample_id[:8]}  {_GONE}"))
    return same, seen, results


def _holding(task: Any, folder: Path) -> Any:
    """Return the task with an n that covers all stored samples: a later run with a smaller n
    removes none."""
    n, stored = getattr(task, "n", None), sum(1 for _ in read_lines(folder / "samples.jsonl"))
    return task if n is None or stored <= n else dataclasses.replace(task, n=stored)


def _said(result: RolloutResult) -> tuple[Any, ...]:
    trajectory = result.trajectory
    values = tuple((score.scorer, score.value) for score in result.scores)
    # The same answer from different calls has a different cost.
    calls = sorted((call.position, call.role.value, call.reply) for call in trajectory.calls)
    return trajectory.outcome, trajectory.answer.text, values, calls


def _told(now: RolloutResult, stored: RolloutResult) -> str:
    """Describe the replayed result, and the stored one if it differs."""

    def words(result: RolloutResult) -> str:
        outcome, text, values, calls = _said(result)
        score = result.scores[0].value if values else None
        why = f" ({result.trajectory.error})" if result.trajectory.error else ""
        return f"{outcome}  {score}  {str(text)[:200]!r}  {len(calls)} calls{why}"

    same = _said(now) == _said(stored)
    return f"{words(now)}  same" if same else f"{words(now)}  DIFFERS from  {words(stored)}"
