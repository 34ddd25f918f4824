"""Processes that work beside this one, and the division of lines and figures among them.

The processes start before there is anything to draw: they import matplotlib while this process
reads the records. They take tasks in order; this one takes what no other has taken when it has
nothing else to do. A file per task says that it is taken: the pool's own queue gives each process a
task in advance, for which this one would wait.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import importlib
import itertools
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import pandas as pd

from rlm_eval.core import collector

T = TypeVar("T")

_IMPORTED = (
    "rlm_eval.report.summary",
    "rlm_eval.report.figures.files",
    "rlm_eval.report.figures.panels",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
)
"""Modules that every process needs, imported when it starts."""


class Beside:
    """Context manager: `count` new interpreters; leaving it ends them and drops what is queued."""

    def __init__(self, count: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rlm_eval_")
        self._number = itertools.count()
        self._frames: dict[int, tuple[Path, pd.DataFrame]] = {}  # held: an id is not used again
        # `spawn`: a fork of a process with threads (pyarrow, BLAS) may deadlock.
        self._count = count
        self._pool = ProcessPoolExecutor(count, get_context("spawn"), _begin)
        for _ in range(count):
            self._submit(int)  # a process is started by a task, not by the pool

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def share(self, function: Callable[[Any, int], T], given: object, count: int) -> Shared[T]:
        """Begin `function(given, n)` for n = 0 to `count` - 1 in the other processes.

        `given` is written once to a file that each process reads once: a task of its own would
        carry it every time. So is every data frame in it, also for later calls.
        """
        path = self._write(given, {pd.DataFrame: self._kept})
        taken = path.with_suffix(".taken")
        taken.mkdir()
        return Shared(
            taken,
            count,
            [self._submit(_worked, function, path, taken, count) for _ in range(self._count)],
        )

    def _write(self, value: object, how: Mapping[type, Callable[[Any], Any]]) -> Path:
        path = Path(self._folder.name) / f"{next(self._number)}.pickle"
        with path.open("wb") as file:  # large columns are written as they are, not copied
            pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
            pickler.dispatch_table = copyreg.dispatch_table | dict(how)
            pickler.dump(value)
        return path

    def _kept(self, frame: pd.DataFrame) -> tuple[Callable[[Path], Any], tuple[Path]]:
        """Return how a process reads a frame: from its own file, written at first."""
        if id(frame) not in self._frames:
            self._frames[id(frame)] = (self._write(frame, {}), frame)
        return _given, (self._frames[id(frame)][0],)

    def _submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Submit a task; where the pool is broken already, return a future that says so."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            failed: Future[T] = Future()
            failed.set_exception(error)
            return failed


@dataclass(frozen=True, slots=True)
class Shared(Generic[T]):
    """Tasks that this process and others work on."""

    taken: Path
    """Folder with a file for each task that a process has taken."""
    count: int
    """Number of tasks."""
    begun: Sequence[Future[dict[int, T]]]
    """What each other process gives: the results of the tasks that it took, by number."""

    def results(self, here: Callable[[int], T]) -> list[T]:
        """Return all results in order; call `here(n)` for those that no other process has taken.

        All take the first that is left, so the longest tasks should come first. `here(n)` also
        replaces what a killed process (out of memory) has left.
        """
        made = {n: here(n) for n in range(self.count) if _takes(self.taken, n)}
        for future in self.begun:
            with contextlib.suppress(BrokenProcessPool):
                made |= future.result()
        return [made[n] if n in made else here(n) for n in range(self.count)]


def _takes(folder: Path, number: int) -> bool:
    """Take a task; false where another process has."""
    try:
        (folder / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _begin() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)


def _worked(function: Callable[[Any, int], T], path: Path, taken: Path, count: int) -> dict[int, T]:
    """Work on tasks until all are taken."""
    with collector.paused():
        given = _given(path)
        return {n: function(given, n) for n in range(count) if _takes(taken, n)}


@functools.cache
def _given(path: Path) -> Any:
    """Return the shared input; only this program's own process writes the folder (mode 0700)."""
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - written by `share`
