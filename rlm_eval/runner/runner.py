"""Runs the cells of a sweep: opens their models, runs one after the other (`cell_run`).

The same command again runs missing samples and retries those that failed for reasons outside the
method (`Outcome.is_missing`).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from rlm_eval.budget.limits import Limits
from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import (
    ConfigError,
    EndedBySignal,
    ProviderError,
    RlmEvalError,
    RunStopped,
)
from rlm_eval.core.group_errors import is_of_storage, leaves_of
from rlm_eval.core.secrets import redact
from rlm_eval.core.types import Outcome
from rlm_eval.models.waiting import INTERRUPT
from rlm_eval.runner.cell_run import GONE, CellRun, SweepRun
from rlm_eval.runner.planning.fit import check_fit
from rlm_eval.runner.planning.job_window import prepare
from rlm_eval.runner.progress import Progress
from rlm_eval.runner.resources import OpenModels, Pools
from rlm_eval.runner.signals import Signals, StopRequest
from rlm_eval.runner.summary import Summary
from rlm_eval.runner.sweep_budget import SweepBudget
from rlm_eval.storage import cell_store
from rlm_eval.storage.cell_folders import check_cells
from rlm_eval.storage.cell_store import output_folder
from rlm_eval.storage.done import MARKER, covers
from rlm_eval.storage.lease import NotTheWriter, holder_of
from rlm_eval.storage.plan import plan


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
        self.progress = progress = Progress(cells, folder)
        self.summary = Summary(folder)
        self.stop = stop = StopRequest(progress.note)
        self._redo = frozenset(redo)
        self._shared = SweepRun(folder, self.budget, progress, self.summary, stop, self._redo)
        self._signals = stop.signals(signals)

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

    async def _run_or_report(self, cell: Cell, models: OpenModels, pools: Pools) -> None:
        why: str | None
        is_writer = True
        try:
            why = await CellRun(cell, self._shared).run(models, pools)
        except* (RlmEvalError, OSError) as group:
            leaves = list(leaves_of(group))
            is_writer = not any(isinstance(error, NotTheWriter) for error in leaves)
            if any(isinstance(error, ConfigError) for error in leaves):
                self.summary.wrong.add(cell.plan_id)
            why = "; ".join(dict.fromkeys(str(error) or repr(error) for error in leaves))
            if any(isinstance(error, OSError) for error in leaves):
                why += "; remove the cause, then the same command resumes"
            if self._shared.is_gone():  # replaces any error caused by it
                why = f"{self.folder}: {GONE}"
            if self._shared.is_gone() or any(map(is_of_storage, leaves)):
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
