"""Runs cells: opens models, passes samples to the method, stores the results, resumes.

Order of events in a cell: lease, preflight, manifest and samples on disk, model calls, completion
marker. The same command again runs missing samples and retries those that failed for reasons
outside the method (`Outcome.is_missing`).
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from rlm_eval.budget.limits import Budget, Limits
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import (
    ConfigError,
    EndedBySignal,
    LimitReached,
    NoSamples,
    NoStorage,
    ProviderError,
    RlmEvalError,
    RunStopped,
    Suspended,
)
from rlm_eval.core.group_errors import is_of_storage, leaves_of
from rlm_eval.core.secrets import redact
from rlm_eval.core.types import Outcome, Sample, Trajectory
from rlm_eval.models.http.rate_limiter import CALLER
from rlm_eval.models.servers.managed import CELL
from rlm_eval.models.waiting import INTERRUPT
from rlm_eval.records import baselines
from rlm_eval.records.rescoring import scored_again
from rlm_eval.repl import ReplPool
from rlm_eval.runner import resume
from rlm_eval.runner.counterfactual.shared import journal_of
from rlm_eval.runner.kept_samples import samples_of
from rlm_eval.runner.manifest import manifest, price_facts
from rlm_eval.runner.planning.fit import check_fit
from rlm_eval.runner.planning.job_window import prepare
from rlm_eval.runner.progress import CellProgress, Progress
from rlm_eval.runner.resources import Indexes, OpenModels, Pools
from rlm_eval.runner.rollout import with_one_headline
from rlm_eval.runner.signals import Signals, StopRequest
from rlm_eval.runner.summary import Summary
from rlm_eval.runner.sweep_budget import SweepBudget
from rlm_eval.session.session import Endpoint, Session
from rlm_eval.storage import cell_store, stale_code
from rlm_eval.storage.cell_folders import check_cells
from rlm_eval.storage.cell_logs import CellLogs, cell_logs
from rlm_eval.storage.cell_store import CellStore, RolloutResult, output_folder
from rlm_eval.storage.done import MARKER, covers
from rlm_eval.storage.lease import Lease, NotTheWriter, holder_of
from rlm_eval.storage.plan import plan
from rlm_eval.storage.shards import recover, shard_facts
from rlm_eval.storage.spend import spent
from rlm_eval.suites.evidence.commitment import began_under

_SAMPLES_WITHOUT_REPL = 3  # consecutive, then the run stops: each costs its first model call
_GONE = "the run directory was deleted or moved; no further request is sent"


class Runner:
    """Runs the cells of one sweep in one process."""

    def __init__(
        self,
        folder: Path,
        cells: Sequence[Cell],
        budget: Limits,
        redo: Collection[Outcome] = (),
        signals: Signals | None = None,
    ) -> None:
        """`folder` is the run directory; `budget` is that of the whole run directory, shared with
        other processes (`storage.budget_ledger`). Finished samples with an outcome in `redo` are
        run again. `signals` requires the main thread of our own process; `None` handles none.
        """
        self.folder = folder
        self.cells = cells = [cell.in_run(folder) for cell in cells]
        self.budget = SweepBudget(budget)
        self.progress = Progress(cells, folder)
        self.summary = Summary(folder)
        self.stop = StopRequest(self.progress.note)
        self._redo = frozenset(redo)
        self._without_repl = 0
        self._signals = self.stop.signals(signals)

    def run_now(self) -> Summary:
        """Run in a new event loop. Raises `EndedBySignal` if a second signal interrupted it."""
        try:
            return asyncio.run(self.run())
        except asyncio.CancelledError:
            if self.stop.signal is None:
                raise
            raise EndedBySignal("stopped; the same command resumes", self.stop.signal) from None

    async def run(self) -> Summary:
        """Run every cell. A failing cell is reported at once and does not stop the others.

        Raises `ConfigError` before any call where a method suits no sample of its task.
        """
        INTERRUPT.set(self.stop.interrupt)
        await asyncio.to_thread(check_fit, [cell for cell in self.cells if not self._is_done(cell)])
        prepare(self.folder, self.cells)
        models = OpenModels(self.cells, self.folder, self.budget)
        output_folder(self.folder)
        check_cells(map(self._folder, self.cells))
        await asyncio.to_thread(plan, self.folder, self.cells)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.progress)
            stack.push_async_callback(models.release)
            stack.enter_context(self._signals)
            await stack.enter_async_context(self.budget.shared(self.folder))
            await self._prove_endpoints(models)
            pools = Pools(stack)
            for index, cell in enumerate(self.cells):
                if self.stop.asked and not self._is_done(cell):
                    self.summary.unfinished[cell.plan_id] = "stopped before it began"
                    continue
                await self._run_or_report(cell, models, pools)
                await models.release(index)
        return self.summary

    async def _prove_endpoints(self, models: OpenModels) -> None:
        """Preflight: send one cheap request to every running endpoint, so that a typo fails now.

        Raises `EndpointUnusable` or `ConfigError`; an endpoint that is merely down is reported by
        its own cells. Servers that it starts have their preflight when they start.
        """
        todo = [
            model
            for cell in self.cells
            if not (self._folder(cell) / MARKER).exists() and holder_of(self._folder(cell)) is None
            for model in cell.models.values()
        ]
        for model in todo:  # check all keys first: a missing key must not cost another's request
            if (check := getattr(model, "check_keys", None)) is not None:
                check()
        for model in todo:
            if getattr(model, "server", None) == "attach":
                with suppress(ProviderError, RunStopped):
                    await models.client(model)

    def _folder(self, cell: Cell) -> Path:
        return self.folder / cell.folder

    def _is_done(self, cell: Cell) -> bool:
        return not self._redo and covers(self._folder(cell), cell.n, cell.epochs)

    def _is_gone(self) -> bool:
        return not (self.folder / "plan.json").exists()

    async def _run_or_report(self, cell: Cell, models: OpenModels, pools: Pools) -> None:
        why: str | None
        is_writer = True
        try:
            why = await self._run_cell(cell, models, pools)
        except* (RlmEvalError, OSError) as group:
            leaves = list(leaves_of(group))
            is_writer = not any(isinstance(error, NotTheWriter) for error in leaves)
            if any(isinstance(error, ConfigError) for error in leaves):
                self.summary.wrong.add(cell.plan_id)
            why = "; ".join(dict.fromkeys(str(error) or repr(error) for error in leaves))
            if any(isinstance(error, OSError) for error in leaves):
                why += "; remove the cause, then the same command resumes"
            if self._is_gone():  # replaces any error caused by it
                why = f"{self.folder}: {_GONE}"
            if self._is_gone() or any(map(is_of_storage, leaves)):
                self.stop.ask(f"stopping: {self.folder} cannot be written")
        except* (Exception, SystemExit) as group:  # noqa: BLE001 - a bug in a cell stops no other
            self.progress.note(redact("".join(traceback.format_exception(group))).rstrip())
            why = redact(f"{group.exceptions[0]!r} (traceback above)")
        name = cell.plan_id
        if why is None:
            self.summary.finished.append(name)
        else:
            self.summary.unfinished[name] = why
            self.progress.problem(name, why)
            if is_writer:
                with suppress(OSError):  # a full disk was already reported
                    cell_store.write_json(self._folder(cell) / "unfinished.json", {"why": why})

    async def _run_cell(self, cell: Cell, models: OpenModels, pools: Pools) -> str | None:
        """Run the cell's missing samples; return why it is unfinished, or `None`."""
        folder = self._folder(cell)
        if self._is_gone():  # do not recreate it: the earlier results are elsewhere
            raise NoStorage(f"{self.folder}: {_GONE}")
        if cell.shard is None:
            await asyncio.to_thread(recover, self.folder, cell.id)
        folder.mkdir(parents=True, exist_ok=True)
        async with Lease(folder) as lease:
            if lease.taken_over:
                self.progress.note(f"{cell.plan_id}: {lease.taken_over}")
            if not (whole := await asyncio.to_thread(samples_of, cell, folder)):
                raise NoSamples
            samples = cell.share(whole)
            CELL.set(cell.plan_id)
            store = CellStore(folder)
            began: Mapping[str, Any] = {}
            if (folder / "manifest.json").exists():
                began = store.manifest
            resume.check_settings(cell, began)
            replaces = resume.replaced_cells(self.folder, cell)
            if replaces and not began:
                self.progress.note(
                    f"{cell.plan_id}: starts again from the first sample: an earlier release made "
                    f"{', '.join(replaces)}, and results of two releases are not mixed"
                )
            code = await asyncio.to_thread(stale_code.code_of_cell, cell)
            other = stale_code.changed(began, code)
            todo = resume.waiting(store, samples, cell.epochs, self._redo)
            kept = store.attempts.keys() - {(sample.id, epoch) for sample, epoch in todo}
            await asyncio.to_thread(store.check, kept)
            await self._score_anew(cell, store, whole, lease, everything=stale_code.SCORER in other)
            if kept and (told := stale_code.check_kept(self.folder, began, code, todo)):
                self.progress.note(f"{cell.plan_id}: {told}")
            began = stale_code.rescored(began, code, store, whole)
            progress = self.progress.cell(cell, store, samples, todo)
            if not todo and (folder / "DONE").exists():
                lease.check()
                facts = price_facts(cell) | stale_code.hashes_in(began)
                await asyncio.to_thread(store.amend, facts)  # a new price needs no call
                progress.done("from the journal")
                return None
            clients = {slot: await models.client(m) for slot, m in cell.models.items()}
            pool = await pools.get(cell)
            isolation = pool.report if pool is not None else None
            infos = {slot: await models.info(m) for slot, m in cell.models.items()}
            lease.check()
            facts = manifest(cell, isolation, infos) | shard_facts(cell.shard, whole)
            facts |= stale_code.continued(began, code, keeps=bool(kept))
            facts |= {"replaces": replaces, **began_under(began, self.folder)}
            endpoints = {slot: await models.endpoint(m) for slot, m in cell.models.items()}
            async with (
                models.accounts.cell(cell.plan_id, clients),
                cell_logs(folder, cell.task.protected, lease) as logs,
            ):
                # Set aside first: the manifest must not name the installed code for older results.
                await resume.invalidate(store, logs, todo, self._redo)
                await asyncio.to_thread(store.begin, facts, samples)
                await asyncio.to_thread(baselines.keep, folder, cell, whole, self.progress.note)
                full = await self._run_samples(cell, store, todo, endpoints, logs, pool, progress)
            lease.check()
            why = await self._close(cell, store, samples, progress)
            return f"{full}; {why}" if full and why else why

    async def _score_anew(
        self,
        cell: Cell,
        store: CellStore,
        samples: Sequence[Sample],
        lease: Lease,
        *,
        everything: bool,
    ) -> None:
        """Rescore stored answers if a scorer has changed: a cell never mixes versions.

        `everything`: rescore all answers, whatever the scorer's version.
        """

        def anew() -> list[RolloutResult]:
            before = {who: found.scores for who, found in store.attempts.items()}
            found = scored_again(store, cell.task, cell.method, samples, everything=everything)
            return [a for a in found if a.scores != before[a.trajectory.sample, a.trajectory.epoch]]

        if again := await asyncio.to_thread(anew):
            self.summary.rescored += len(again)
            async with cell_logs(store.folder, cell.task.protected, lease) as logs:
                for attempt_ in again:
                    store.append_scores(logs.scores, attempt_)
            told = f"{len(again)} stored answer(s) scored again: a scorer has changed"
            self.progress.note(f"{cell.plan_id}: {told}")

    async def _run_samples(
        self,
        cell: Cell,
        store: CellStore,
        todo: Sequence[tuple[Sample, int]],
        endpoints: dict[str, Endpoint],
        logs: CellLogs,
        pool: ReplPool | None,
        progress: CellProgress,
    ) -> str | None:
        """Run these samples; return the reason if a spent budget or a lost endpoint ended it."""
        wanted = {
            (s.id, epoch): resume.first_that_counts(store, (s.id, epoch)) for s, epoch in todo
        }
        journal = await asyncio.to_thread(journal_of, cell.origin, logs.journal, wanted, store.free)
        if journal.torn:
            self.progress.note(f"{cell.id}: {journal.torn} torn journal line(s) skipped")
        if stale := journal.stale + store.stale:
            self.progress.note(
                f"{cell.id}: {stale} line(s) of a process that had lost its lease ignored"
            )
        budget = Budget(cell.budget, self.budget, "cell")
        if cell.budget != Limits():
            earlier = (await asyncio.to_thread(spent, store.folder)).budgeted
            budget.recount(int(earlier["tokens"]), earlier["cost"], int(earlier["calls"]))
        indexes = Indexes()
        queue, rollout = iter(todo), with_one_headline(store.attempts.values())
        full: list[str] = []

        async def work() -> None:
            for sample, epoch in queue:
                if self.stop.asked or full:
                    return
                CALLER.set(sample.id)
                session = Session(
                    sample,
                    epoch,
                    endpoints,
                    journal,
                    Budget(cell.limits, budget),
                    pool,
                    await indexes.get(sample),
                )
                try:
                    trajectory, scores = await rollout(cell.task, cell.method, sample, session)
                except Suspended as error:
                    if not isinstance(error, RunStopped):
                        full.append(str(error))
                    return
                except LimitReached as limit:
                    told = f"{limit}; raise it and run the same command again"
                    if not full:  # the other workers reach the same limit
                        full.append(told)
                        if limit.scope != "cell":
                            self.stop.ask("stopping: the budget of the run is spent")
                    return
                if self.stop.asked and trajectory.outcome is Outcome.REPL_CRASH:
                    continue  # the signal may have killed the worker: a resume runs it again
                before = store.attempts.get((sample.id, epoch))
                rerolls = before.rerolls + 1 if before else 0
                number, diverged = session.trajectory, session.diverged
                done = RolloutResult(number, trajectory, scores, rerolls, diverged)
                # A machine failure must not leave a result without its calls.
                if trajectory.calls:
                    await logs.journal.sync()
                store.append(logs.trajectories, logs.scores, done)
                self.summary.attempted += 1
                progress.finished(done)
                if why := self._no_sandbox(trajectory):
                    full.append(why)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(cell.max_samples, len(todo))):
                group.create_task(work())
        return full[0] if full else None

    def _no_sandbox(self, trajectory: Trajectory) -> str | None:
        """Stop the run after several consecutive samples without a REPL; return the reason."""
        if trajectory.outcome is not Outcome.REPL_UNAVAILABLE:
            self._without_repl = 0
            return None
        self._without_repl += 1
        if self._without_repl < _SAMPLES_WITHOUT_REPL:
            return None
        why = (
            f"{self._without_repl} samples in a row got no REPL from this machine "
            f"({trajectory.error}); repair it (`rlm-eval doctor` tries it) and run the same "
            "command again"
        )
        if not self.stop.asked:
            self.stop.ask(f"{why}; stopping")
        return why

    async def _close(
        self, cell: Cell, store: CellStore, samples: Sequence[Sample], progress: CellProgress
    ) -> str | None:
        everyone = [(s.id, epoch) for epoch in range(cell.epochs) for s in samples]
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
        whole = {"samples": len(samples), "epochs": cell.epochs, "n": cell.n}
        await asyncio.to_thread(store.finish, whole)
        (store.folder / "unfinished.json").unlink(missing_ok=True)
        progress.done()
        return None
