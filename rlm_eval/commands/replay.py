"""Re-run stored trajectories offline from their journal, to debug a method or a changed parser.

    rlm-eval replay results/runs/scratch --sample 3f2a91bc

Nothing is sent and the run is not changed. Each finished attempt gets its own replies and errors
again; a request that it did not make then is reported by its place. Generated samples are drawn
anew.

    rlm-eval replay results/runs/scratch --accept

With --accept, a cell of which every attempt came to the stored result by the same calls is recorded
as made by today's code: the proof of a refactoring. What models are sent over the wire and how
their servers' replies are read is not run again by a replay.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.commands import TRUST

if TYPE_CHECKING:
    from rlm_eval.storage.cell_store import Attempt


def main(argv: Sequence[str]) -> int:
    """Print, per sample, whether the replay came to the stored result; 1 where one did not."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--sample", default="", help="only samples whose id starts so")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="record in the manifests of cells that came out the same that today's code made them",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.records.build import cell_folders

    if arguments.accept and arguments.sample:
        parser.error("--accept needs every sample: leave --sample out")
    same = seen = refused = 0
    for folder in cell_folders(arguments.run):
        counts = asyncio.run(_replay_cell(folder, arguments.sample, arguments.trust))
        same, seen = same + counts[0], seen + counts[1]
        if arguments.accept:
            told = _accept(folder, counts[2])
            refused += told is not None
            print(f"{folder.name}: {told or 'its code is recorded: today it gives the same'}")
    print(f"{same} of {seen} came to the stored result")
    return 0 if same == seen and not refused else 1


def _accept(folder: Path, same: int) -> str | None:
    """Record that today's code gives this cell's results (`same` of them); why not, or `None`.

    Raises `LeaseHeld` where a run writes the cell.
    """
    from rlm_eval.storage.cell_store import CellStore
    from rlm_eval.storage.lease import Lease
    from rlm_eval.storage.stale_code import HASHES, replayed, today

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


async def _replay_cell(folder: Path, prefix: str, trust: bool) -> tuple[int, int, int]:
    """(attempts that came to the stored result, attempts replayed, results among the first)."""
    from contextlib import AsyncExitStack

    from rlm_eval.budget.limits import Budget
    from rlm_eval.config.trust import replayed_cell
    from rlm_eval.core.terminal import printable
    from rlm_eval.repl import open_pool
    from rlm_eval.runner.resources import offline_endpoints
    from rlm_eval.runner.rollout import attempt
    from rlm_eval.session.session import Session
    from rlm_eval.storage.cell_store import Attempt, CellStore
    from rlm_eval.storage.journal import Calls, ReplayJournal
    from rlm_eval.storage.prompt_slices import SourceIndex

    store = CellStore(folder)
    cell = replayed_cell(store.manifest, trust=trust)
    calls = Calls(folder / "journal.jsonl")
    same = seen = results = 0
    async with AsyncExitStack() as stack:
        pool = (
            await stack.enter_async_context(open_pool(cell.repl)) if cell.method.runs_code else None
        )
        for sample in getattr(cell.task, "drawn", cell.task.samples)():
            for epoch in range(cell.epochs):
                stored = store.attempts.get((sample.id, epoch))
                if stored is None or not sample.id.startswith(prefix):
                    continue
                session = Session(
                    sample,
                    epoch,
                    offline_endpoints(cell, stored.trajectory.outcome),
                    ReplayJournal(calls, stored.number),
                    Budget(cell.limits),
                    pool,
                    SourceIndex(sample.context.hash, ""),  # nobody reads these prompts
                )
                trajectory, scores = await attempt(cell.task, cell.method, sample, session)
                now = Attempt(stored.number, trajectory, scores, 0, 0)
                _, then = store.one(sample.id, epoch)
                equal = _said(now) == _said(then)
                same += equal
                results += equal and not stored.trajectory.outcome.is_missing
                seen += 1
                print(printable(f"{folder.name}  {sample.id[:8]}  {_told(now, then)}"))
    return same, seen, results


def _said(attempt: Attempt) -> tuple[Any, ...]:
    trajectory = attempt.trajectory
    values = tuple((score.scorer, score.value) for score in attempt.scores)
    # The same answer by other calls has another price.
    calls = sorted((call.position, call.role.value, call.reply) for call in trajectory.calls)
    return trajectory.outcome, trajectory.answer.text, values, calls


def _told(now: Attempt, stored: Attempt) -> str:
    """What came out, and what came out then where it differs."""

    def words(attempt: Attempt) -> str:
        outcome, text, values, calls = _said(attempt)
        score = attempt.scores[0].value if values else None
        why = f" ({attempt.trajectory.error})" if attempt.trajectory.error else ""
        return f"{outcome}  {score}  {str(text)[:200]!r}  {len(calls)} calls{why}"

    same = _said(now) == _said(stored)
    return f"{words(now)}  same" if same else f"{words(now)}  DIFFERS from  {words(stored)}"
