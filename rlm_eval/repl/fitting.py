"""The standard library's thread pools, adapted to a worker: no processes, limited threads.

Runs in the fork server before any worker is forked. Code that requests more threads than
`repl.threads` allows gets a pool of the available ones, as on a machine with fewer processors; the
results are the same. A pool of threads needs no semaphore in shared memory, which is refused.
"""

from __future__ import annotations

import _thread
import importlib
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

_RECURSIVE = 0  # kind of an `RLock`; `multiprocessing.synchronize` has the name
_MODULES = ("multiprocessing.pool", "multiprocessing.synchronize", "multiprocessing.heap")
_SERVING = 4  # the main thread and those that serve a `ThreadPool`


class ThreadLock:
    """`_multiprocessing.SemLock` within one process: a worker has no other to share it with."""

    SEM_VALUE_MAX = 2**31 - 1
    handle = 0
    name = None  # in no file system: nothing to remove, and no other process can open it

    def __init__(self, kind: int, value: int, maxvalue: int, *_: object) -> None:
        self.kind, self.maxvalue = kind, maxvalue
        self._value = value
        self._changed = threading.Condition(threading.Lock())
        self._owner = self._depth = 0

    @property
    def _held_again(self) -> bool:
        return self.kind == _RECURSIVE and self._is_mine()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """As `threading.Semaphore.acquire`, or as that of an `RLock` for its kind."""
        if self._held_again:
            self._depth += 1
            return True
        with self._changed:
            if not self._changed.wait_for(lambda: self._value > 0, timeout if block else 0):
                return False
            self._value -= 1
            self._owner, self._depth = _thread.get_ident(), self._depth + 1
        return True

    def release(self) -> None:
        """Raises AssertionError or ValueError as the original does."""
        if self._held_again and self._depth > 1:
            self._depth -= 1
            return
        if self.kind == _RECURSIVE and not self._is_mine():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        with self._changed:
            if self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._value += 1
            self._depth -= 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return max(self._depth, 0)

    def _is_mine(self) -> bool:
        return self._depth > 0 and self._owner == _thread.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        """No worker forks."""


def _threads_left() -> int:
    """Return the threads that a pool may start here, in addition to the running ones."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    limit = 1 << 15 if limit == resource.RLIM_INFINITY else limit
    return max(1, limit - threading.active_count() - _SERVING)


def fit() -> None:
    """Change the classes for all workers."""
    _fit_executor(ThreadPoolExecutor)
    with suppress(ImportError):  # not every build has semaphores; then such pools do not exist
        _fit_pools(*map(importlib.import_module, _MODULES))


def _fit_executor(executor: Any) -> None:
    start_one = executor._adjust_thread_count

    def adjust(self: Any) -> None:
        try:
            start_one(self)
        except RuntimeError:
            if not self._threads:
                raise

    executor._adjust_thread_count = adjust


def _fit_pools(pools: Any, synchronize: Any, heap: Any) -> None:
    begin = pools.ThreadPool.__init__

    def init(self: Any, processes: int | None = None, *args: Any, **kwargs: Any) -> None:
        wanted = (os.cpu_count() or 1) if processes is None else processes
        begin(self, min(wanted, _threads_left()), *args, **kwargs)

    pools.ThreadPool.__init__ = init
    heap.Arena._dir_candidates = []  # shared values are in the scratch folder, not in /dev/shm
    synchronize._multiprocessing.SemLock = ThreadLock  # locks, queues, events use it
