"""Re-run stored trajectories offline from their journal, to debug a method or a changed parser.

    rlm-eval replay results/runs/scratch --sample 3f2a91bc

Nothing is sent and the run is not changed; a call that the journal does not hold is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Print, per sample, whether the replay came to the stored answer; 1 where one did not."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--sample", default="", help="only samples whose id starts so")
    arguments = parser.parse_args(argv)

    from rlm_eval.results import cell_folders

    folders = cell_folders(arguments.run)
    same = [asyncio.run(_replay_cell(folder, arguments.sample)) for folder in folders]
    return 0 if all(same) else 1


async def _replay_cell(folder: Path, prefix: str) -> bool:
    from contextlib import AsyncExitStack

    from omegaconf import OmegaConf

    from rlm_eval.attempt import attempt
    from rlm_eval.cell import build_cell
    from rlm_eval.journal import AppendLog, Journal
    from rlm_eval.limits import Budget
    from rlm_eval.repl import open_pool
    from rlm_eval.run import offline_endpoints
    from rlm_eval.session import Session
    from rlm_eval.slices import SourceIndex
    from rlm_eval.store import CellStore

    store = CellStore(folder)
    cell = build_cell(OmegaConf.create(store.manifest["config"]))
    all_same = True
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        shutil.copy(folder / "journal.jsonl", scratch)
        log = await stack.enter_async_context(AppendLog(Path(scratch) / "journal.jsonl"))
        pool = (
            await stack.enter_async_context(open_pool(cell.repl)) if cell.method.runs_code else None
        )
        journal = Journal(log)
        for sample in cell.task.samples():
            for epoch in range(cell.epochs):
                stored = store.attempts.get((sample.id, epoch))
                if stored is None or not sample.id.startswith(prefix):
                    continue
                session = Session(
                    sample,
                    epoch,
                    offline_endpoints(cell),
                    journal,
                    Budget(cell.limits),
                    pool,
                    SourceIndex(sample.context.hash, sample.context.text()),
                )
                trajectory, scores = await attempt(cell.task, cell.method, sample, session)
                same = trajectory.answer.text == stored.trajectory.answer.text
                all_same &= same
                told = (
                    "same" if same else f"differs: {trajectory.error or trajectory.answer.text!r}"
                )
                value = scores[0].value if scores else None
                print(
                    f"{folder.name}  {sample.id[:8]}  {trajectory.outcome.value}  {value}  {told}"
                )
    return all_same
