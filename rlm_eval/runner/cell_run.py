"""Runs one cell: what is stored, what is missing, the missing samples, the end.

Order of events: lease, check of the stored results, preflight, manifest and samples on disk, model
calls, completion marker.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import LimitReached, NoSamples, NoStorage, RunStopped, Suspended
from rlm_eval.core.types import Outcome, Sample, Score, Trajectory
from rlm_eval.models.http.rate_limiter import CALLER
from rlm_eval.models.servers.managed import CELL
from rlm_eval.records import baselines
from rlm_eval.records.rescoring import scored_again
from rlm_eval.repl import ReplPool
from rlm_eval.runner import resume
from rlm_eval.runner.counterfactual.shared import journal_of
from rlm_eval.runner.kept_samples import samples_of
from rlm_eval.runner.manifest import manifest, price_facts
from rlm_eval.runner.progress import CellProgress, Progress
from rlm_eval.runner.resources import Indexes, OpenModels, Pools
from rlm_eval.runner.rollout import check_headline, run_rollout
from rlm_eval.runner.signals import StopRequest
from rlm_eval.runner.summary import Summary
from rlm_eval.runner.sweep_budget import SweepBudget
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage import stale_code
from rlm_eval.storage.cell_logs import CellLogs, cell_logs
from rlm_eval.storage.cell_store import CellStore, RolloutResult
from rlm_eval.storage.done import MARKER
from rlm_eval.storage.journal import Journal
from rlm_eval.storage.lease import Lease
from rlm_eval.storage.shards import recover, shard_facts
from rlm_eval.storage.spend import spent
from rlm_eval.suites.evidence.commitment import began_under

GONE = "the run directory was deleted or moved; no further request is sent"
_SAMPLES_WITHOUT_REPL = 3  # consecutive, then the run stops: each costs its first model call
Todo = Sequence[tuple[Sample, int]]
"""Samples to run, with their epochs."""
RunOne = Callable[[Sample, int], Awaitable[None]]


@dataclass(slots=True)
class SweepRun:
    """What the cells of one process share."""

    folder: Path
    budget: SweepBudget
    progress: Progress
    summary: Summary
    stop: StopRequest
    redo: frozenset[Outcome]
    """Outcomes of finished samples to run again."""
    without_repl: int = 0
    """Consecutive samples that got no REPL from this machine."""

    def is_gone(self) -> bool:
        """Return true if the run directory was deleted or moved."""
        return not (self.folder / "plan.json").exists()

    def no_sandbox(self, trajectory: Trajectory) -> str | None:
        """Stop the run after several consecutive samples without a REPL; return the reason."""
        if trajectory.outcome is not Outcome.REPL_UNAVAILABLE:
            self.without_repl = 0
            return None
        self.without_repl += 1
        if self.without_repl < _SAMPLES_WITHOUT_REPL:
            return None
        why = (
            f"{self.without_repl} samples in a row got no REPL from this machine "
            f"({trajectory.error}); repair it (`rlm-eval doctor` tries it) and run the same "
            "command again"
        )
        if not self.stop.asked:
            self.stop.ask(f"{why}; stopping")
        return why


@dataclass(frozen=True, slots=True)
class Stored:
    """A cell as it was found, and what is missing."""

    store: CellStore
    whole: list[Sample]
    """Samples of the cell."""
    samples: list[Sample]
    """Samples of this process's shard."""
    todo: Todo
    keeps: bool
    """Whether results of earlier runs stay."""
    began: Mapping[str, Any]
    """Manifest of the earlier runs, empty without one."""
    code: Mapping[str, str | None]
    """Hashes of the installed code."""
    replaces: Sequence[str]
    """Cells of earlier releases that this one replaces."""


class CellRun:
    """One cell, run by one process under the cell's lease."""

    def __init__(self, cell: Cell, shared: SweepRun) -> None:
        self.cell = cell
        self.shared = shared
        self._stop_reason: str | None = None

    async def run(self, models: OpenModels, pools: Pools) -> str | None:
        """Run the cell's missing samples; return why it is unfinished, or `None`.

        Raises `NoStorage` without the run directory, `NotTheWriter` while another process runs the
        cell, `ConfigError` and `RlmEvalError` for stored results that do not belong to it.
        """
        folder = self.shared.folder / self.cell.folder
        if self.shared.is_gone():  # do not recreate it: the earlier results are elsewhere
            raise NoStorage(f"{self.shared.folder}: {GONE}")
        if self.cell.shard is None:
            await asyncio.to_thread(recover, self.shared.folder, self.cell.id)
        folder.mkdir(parents=True, exist_ok=True)
        async with Lease(folder) as lease:
            if lease.taken_over:
                self._note(lease.taken_over)
            CELL.set(self.cell.plan_id)
            found = await self._stored(folder, lease)
            progress = self.shared.progress.cell(self.cell, found.store, found.samples, found.todo)
            if not found.todo and (folder / MARKER).exists():
                lease.check()
                facts = price_facts(self.cell) | stale_code.hashes_in(found.began)
                await asyncio.to_thread(found.store.amend, facts)  # a new price needs no call
                progress.done("from the journal")
                return None
            await self._run_missing(found, models, pools, lease, progress)
            lease.check()
            why = await self._close(found, progress)
            return f"{self._stop_reason}; {why}" if self._stop_reason and why else why

    async def _stored(self, folder: Path, lease: Lease) -> Stored:
        """Check and rescore what is stored; return it with what is missing."""
        cell = self.cell
        if not (whole := await asyncio.to_thread(samples_of, cell, folder)):
            raise NoSamples
        store = CellStore(folder)
        began: Mapping[str, Any] = {}
        if (folder / "manifest.json").exists():
            began = store.manifest
        resume.check_settings(cell, began)
        replaces = resume.replaced_cells(self.shared.folder, cell)
        if replaces and not began:
            self._note(
                f"starts again from the first sample: an earlier release made "
                f"{', '.join(replaces)}, and results of two releases are not mixed"
            )
        code = await asyncio.to_thread(stale_code.code_of_cell, cell)
        other = stale_code.changed(began, code)
        samples = cell.share(whole)
        todo = resume.waiting(store, samples, cell.epochs, self.shared.redo)
        kept = store.attempts.keys() - {(sample.id, epoch) for sample, epoch in todo}
        await asyncio.to_thread(store.check, kept)
        await self._score_anew(store, whole, lease, everything=stale_code.SCORER in other)
        if kept and (told := stale_code.check_kept(self.shared.folder, began, code, todo)):
            self._note(told)
        began = stale_code.rescored(began, code, store, whole)
        return Stored(store, whole, samples, todo, bool(kept), began, code, replaces)

    async def _score_anew(
        self, store: CellStore, samples: Sequence[Sample], lease: Lease, *, everything: bool
    ) -> None:
        """Rescore stored answers if a scorer has changed: a cell never mixes versions.

        `everything`: rescore all answers, whatever the scorer's version.
        """
        cell = self.cell

        def anew() -> list[RolloutResult]:
            before = {who: found.scores for who, found in store.attempts.items()}
            found = scored_again(store, cell.task, cell.method, samples, everything=everything)
            return [a for a in found if a.scores != before[a.trajectory.sample, a.trajectory.epoch]]

        if again := await asyncio.to_thread(anew):
            self.shared.summary.rescored += len(again)
            async with cell_logs(store.folder, cell.task.protected, lease) as logs:
                for attempt_ in again:
                    store.append_scores(logs.scores, attempt_)
            told = f"{len(again)} stored answer(s) scored again: a scorer has changed"
            self.shared.progress.note(f"{cell.plan_id}: {told}")

    async def _run_missing(
        self, found: Stored, models: OpenModels, pools: Pools, lease: Lease, progress: CellProgress
    ) -> None:
        """Open the cell's models and REPL, write its manifest, run the missing samples."""
        cell, store = self.cell, found.store
        clients = {slot: await models.client(m) for slot, m in cell.models.items()}
        pool = await pools.get(cell)
        isolation = pool.report if pool is not None else None
        infos = {slot: await models.info(m) for slot, m in cell.models.items()}
        lease.check()
        facts = manifest(cell, isolation, infos) | shard_facts(cell.shard, found.whole)
        facts |= stale_code.continued(found.began, found.code, keeps=found.keeps)
        facts |= {"replaces": found.replaces, **began_under(found.began, self.shared.folder)}
        endpoints = {slot: await models.endpoint(m) for slot, m in cell.models.items()}
        async with (
            models.accounts.cell(cell.plan_id, clients),
            cell_logs(store.folder, cell.task.protected, lease) as logs,
        ):
            # Set aside first: the manifest must not name the installed code for older results.
            await resume.invalidate(store, logs, found.todo, self.shared.redo)
            await asyncio.to_thread(store.begin, facts, found.samples)
            note = self.shared.progress.note
            await asyncio.to_thread(baselines.keep, store.folder, cell, found.whole, note)
            await self._run_samples(store, found.todo, endpoints, logs, pool, progress)

    async def _run_samples(
        self,
        store: CellStore,
        todo: Todo,
        endpoints: dict[str, Endpoint],
        logs: CellLogs,
        pool: ReplPool | None,
        progress: CellProgress,
    ) -> None:
        """Run these samples until a spent budget, a lost endpoint or a signal stops them."""
        cell = self.cell
        journal = await self._journal(store, todo, logs)
        budget = Budget(cell.budget, self.shared.budget, "cell")
        if cell.budget != Limits():
            earlier = (await asyncio.to_thread(spent, store.folder)).budgeted
            budget.recount(int(earlier["tokens"]), earlier["cost"], int(earlier["calls"]))
        indexes = Indexes()
        # Of earlier results too: a resume does not accept what the first try refused.
        headline = {found.scores[0].scorer for found in store.attempts.values() if found.scores}

        async def run_one(sample: Sample, epoch: int) -> None:
            CALLER.set(sample.id)
            limits, index = Budget(cell.limits, budget), await indexes.get(sample)
            session = Session(sample, epoch, endpoints, journal, limits, pool, index)
            trajectory, scores = await run_rollout(cell.task, cell.method, sample, session)
            check_headline(cell.task, scores, headline)
            if self.shared.stop.asked and trajectory.outcome is Outcome.REPL_CRASH:
                return  # the signal may have killed the worker: a resume runs it again
            done = _result(store, session, trajectory, scores)
            # A machine failure must not leave a result without its calls.
            if trajectory.calls:
                await logs.journal.sync()
            store.append(logs.trajectories, logs.scores, done)
            self.shared.summary.attempted += 1
            progress.finished(done)
            self._stop_reason = self._stop_reason or self.shared.no_sandbox(trajectory)

        queue = iter(todo)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(cell.max_samples, len(todo))):
                group.create_task(self._work(queue, run_one))

    async def _work(self, queue: Iterator[tuple[Sample, int]], run_one: RunOne) -> None:
        """Run samples of the queue, one after the other, until it ends or the cell must stop."""
        for sample, epoch in queue:
            if self.shared.stop.asked or self._stop_reason:
                return
            try:
                await run_one(sample, epoch)
            except Suspended as error:
                if not isinstance(error, RunStopped):
                    self._stop_reason = self._stop_reason or str(error)
                return
            except LimitReached as limit:
                if not self._stop_reason:  # the other workers reach the same limit
                    self._stop_reason = f"{limit}; raise it and run the same command again"
                    if limit.scope != "cell":
                        self.shared.stop.ask("stopping: the budget of the run is spent")
                return

    async def _journal(self, store: CellStore, todo: Todo, logs: CellLogs) -> Journal:
        """Return the cell's journal; stored replies of samples to run are replayed first."""
        wanted = {
            (s.id, epoch): resume.first_that_counts(store, (s.id, epoch)) for s, epoch in todo
        }
        origin = self.cell.origin
        journal = await asyncio.to_thread(journal_of, origin, logs.journal, wanted, store.free)
        if journal.torn:
            self._note(f"{journal.torn} torn journal line(s) skipped")
        if stale := journal.stale + store.stale:
            self._note(f"{stale} line(s) of a process that had lost its lease ignored")
        return journal

    async def _close(self, found: Stored, progress: CellProgress) -> str | None:
        """Mark the cell as finished, or return what is missing."""
        cell, store = self.cell, found.store
        everyone = [(s.id, epoch) for epoch in range(cell.epochs) for s in found.samples]
        missing = [store.attempts.get(who) for who in everyone if store.needs_run(who)]
        if missing:
            counts = Counter(
                r.trajectory.outcome.value if r and r.trajectory.outcome.is_missing else "not run"
                for r in missing
            )
            told = ", ".join(f"{count} {what}" for what, count in counts.items())
            first = next((r.trajectory.error for r in missing if r and r.trajectory.error), None)
            progress.done("unfinished")
            return f"{told}; first error: {first}" if first else told
        whole = {"samples": len(found.samples), "epochs": cell.epochs, "n": cell.n}
        await asyncio.to_thread(store.finish, whole)
        (store.folder / "unfinished.json").unlink(missing_ok=True)
        progress.done()
        return None

    def _note(self, text: str) -> None:
        self.shared.progress.note(f"{self.cell.plan_id}: {text}")


def _result(
    store: CellStore, session: Session, trajectory: Trajectory, scores: tuple[Score, ...]
) -> RolloutResult:
    before = store.attempts.get((trajectory.sample, trajectory.epoch))
    rerolls = before.rerolls + 1 if before else 0
    return RolloutResult(session.trajectory, trajectory, scores, rerolls, session.diverged)
