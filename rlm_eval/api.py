"""The Python interface: `import rlm_eval as rl`, then `await rl.evaluate(...)`.

Every function here works in a running event loop (a notebook) and in any thread, and installs no
signal handlers; the `_sync` forms are for code without an event loop. `evaluate` and `ask` write an
ordinary run directory, which the same call or the same command line resumes.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Set
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rlm_eval.config.cell import Cell, sweep_budget
from rlm_eval.core.errors import ConfigError, NoRecords
from rlm_eval.core.types import Outcome
from rlm_eval.methods import Method
from rlm_eval.models import Model
from rlm_eval.records.build import write_records
from rlm_eval.records.record import FILE
from rlm_eval.records.record import load_records as load_records_of
from rlm_eval.runner.execution import (
    check_cost,
    contexts_of,
    open_inputs,
    outcomes,
    update_records,
)
from rlm_eval.runner.objects import cells_of, user_path
from rlm_eval.runner.questions import ask as ask
from rlm_eval.runner.rollouts import sample as sample
from rlm_eval.runner.rollouts import solve as solve
from rlm_eval.runner.runner import Runner
from rlm_eval.runner.settings import EVALUATE, models_of
from rlm_eval.storage.cell_store import output_folder
from rlm_eval.suites.reporting import write_report
from rlm_eval.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Run:
    """A run directory and the state of its cells."""

    folder: Path
    """The run directory; every `rlm-eval` command takes it."""
    finished: tuple[str, ...] = ()
    """Cells with a result for every sample."""
    unfinished: Mapping[str, str] = field(default_factory=dict)
    """Cell -> why some of its samples have no result. The same call resumes them."""
    attempted: int = 0
    """Samples that this call ran; results of earlier calls are not counted."""
    cells: tuple[Cell, ...] = field(default=(), repr=False)
    """The requested cells."""

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per sample and epoch of every cell in the run directory (docs/report.md).

        Raises `NoRecords` where the run directory has no finished sample.
        """
        if self.unfinished and not (self.folder / FILE).exists():
            why = "; ".join(dict.fromkeys(self.unfinished.values()))
            raise NoRecords(f"{self.folder}: no sample has finished: {why}")
        return load_records_of([self.folder])

    def report(self, out: str | Path | None = None) -> str:
        """Write the tables, figures and report page, by default to `report/` in the run directory.

        Returns the headline tables and the file paths as text. Raises `NoRecords` where the run
        directory has no finished sample.
        """
        place = self.folder / "report" if out is None else user_path(out, "out")
        return write_report([self.folder], place, contexts_of(self.cells))


async def evaluate(
    task: Task | str,
    methods: Iterable[Method | str],
    *,
    root: Model | str | None = None,
    sub: Model | str | None = None,
    models: Mapping[str, Model | str] | None = None,
    folder: str | Path = "results/runs/scratch",
    redo: Collection[Outcome | str] | str | None = (),
    **settings: Any,
) -> Run:
    """Run each method on the task's samples, or resume an earlier call.

    A name in place of an object is the name of a YAML file, as on the command line. `sub` defaults
    to the root model; `models` fills further slots (`judge`, `embed`, `summary`). `settings` are
    those of `configs/run.yaml`: `n=20`, `length="8k"`, `epochs=3`, `max_samples=4`,
    `limits={"calls": 50}`, `budget={"cost": 5.0}`, `repl={"isolation": "best"}`. `redo` lists the
    outcomes whose finished samples run again, or is "all".

    A cell that cannot be finished does not stop the others; `Run.unfinished` lists it. Raises
    `ConfigError` for bad input, or where the expected cost exceeds `confirm_above` (10) US dollars,
    before any model call; raises `EndpointUnusable` where a model fails its preflight. Bad input is
    also a field of an object with another type than its class declares, a missing file of a task,
    an unknown tokenizer, and a setting without an effect (`shard`, `sweep`, `name`, `results`).
    """
    EVALUATE.check(settings)
    place = user_path(folder)
    if not isinstance(redo or "", Collection) or not all(isinstance(of, str) for of in redo or ()):
        raise ConfigError(f"redo={redo!r:.80}: give outcomes, as ['truncated'], or 'all'")
    again = outcomes(redo if isinstance(redo, str) else ",".join(redo or ()) or None)
    slots = models_of(root, sub, models)
    settings |= {"name": place.absolute().name, "results": str(place.parent)}
    configs, cells = await asyncio.to_thread(cells_of, task, methods, slots, **settings)
    output_folder(place)
    await asyncio.to_thread(open_inputs, place, cells)
    await check_cost(configs[0], place, cells, again)
    runner = Runner(place, cells, sweep_budget(configs[0]), again)
    # Its own task, so that context variables set by the run do not leak into the caller's
    # context.
    ended = await asyncio.create_task(runner.run())
    if any((place / "cells").glob("*/manifest.json")):
        await asyncio.to_thread(update_records, place, ended)
    return Run(place, tuple(ended.finished), ended.unfinished, ended.attempted, tuple(cells))


def load_records(*folders: str | Path, refresh: bool = False) -> pd.DataFrame:
    """Load the records of run directories as one table; a cell found in several counts once.

    `refresh` first rebuilds the records from the journals, with today's prices. Raises
    `RlmEvalError` naming a folder without records.
    """
    if other := [folder for folder in folders if isinstance(folder, list | tuple | Set)]:
        raise ConfigError(
            f"load_records: {other[0]!r:.80} is not a path; give each folder as an argument of its "
            "own, as load_records(*folders)"
        )
    places = [user_path(folder, "load_records: folder") for folder in folders]
    if refresh:
        for place in places:
            write_records(place)
    return load_records_of(places)


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine; where an event loop is running, run it in another thread.

    The running loop blocks meanwhile: async code should `await` instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    context = contextvars.copy_context()
    ended: Future[T] = Future()
    interrupted = threading.Event()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    async def main() -> T:
        task = asyncio.ensure_future(work)
        tasks.append((asyncio.get_running_loop(), task))
        if interrupted.is_set():
            task.cancel()
        return await task

    def run() -> None:
        try:
            ended.set_result(context.run(asyncio.run, main()))
        except BaseException as error:  # noqa: BLE001 - re-raised in the caller's thread
            ended.set_exception(error)

    thread = threading.Thread(target=run, name="rlm-eval", daemon=True)
    try:
        thread.start()
        return ended.result()
    except BaseException:  # Ctrl-C in a notebook also stops the work
        interrupted.set()
        for loop, task in tasks:
            with suppress(RuntimeError):  # the loop has already closed
                loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        if thread.ident is not None:
            thread.join()


def _synchronous(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Wrap `work` for code without an event loop; the arguments are the same."""

    @functools.wraps(work)
    def call(*arguments: P.args, **settings: P.kwargs) -> T:
        return run_sync(work(*arguments, **settings))

    call.__doc__ = f"`{work.__name__}`, for code without an event loop.\n\n    {work.__doc__}"
    return call


solve_sync = _synchronous(solve)
evaluate_sync = _synchronous(evaluate)
ask_sync = _synchronous(ask)
