"""Clocks that leave out time in which nothing could be done: suspensions, and outages.

A suspension (SIGSTOP by a scheduler, a frozen container, a paused virtual machine) stops every
thread. A thread that only beats detects it: a gap between two beats in which the process used
hardly any processor time. A plug-in that blocks the event loop does not stop the beats. Gaps of up
to `LEAST_S` are not told apart from a busy machine, and count as time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rlm_eval.core.messages import warn

LEAST_S = 5.0
"""Seconds that a process must stand still to count as suspended."""
_BEAT_S = 0.5


class _Detector:
    """The beats of this process, and the seconds for which it was suspended."""

    def __init__(self) -> None:
        self.asleep = 0.0
        self._lock = threading.Lock()
        self._monotonic, self._process_time = time.monotonic, time.process_time
        self._latest, self._cpu = self._monotonic(), self._process_time()
        threading.Thread(target=self._beat, name="rlm-eval clock", daemon=True).start()

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(_BEAT_S):
            self.read()

    def read(self) -> float:
        """Return monotonic seconds without suspensions. The first reading after one detects it."""
        with self._lock:
            now, cpu = self._monotonic(), self._process_time()
            still = now - self._latest - (cpu - self._cpu)
            self._latest, self._cpu = now, cpu
            gap = still - _BEAT_S if still > LEAST_S else 0.0  # it may have idled for one beat
            self.asleep += gap
            awake = now - self.asleep
        if gap:
            warn(
                f"this process stood still for {gap:.0f} s (suspended, or a machine that froze); "
                "that time counts in no limit and in no latency"
            )
        return awake


_starting = threading.Lock()
_detector: _Detector | None = None


def _running() -> _Detector:
    """Return the process's detector, started by its first use."""
    global _detector
    with _starting:
        if _detector is None:
            _detector = _Detector()
        return _detector


def awake_time() -> float:
    """Return monotonic seconds, without those in which the process was suspended."""
    return _running().read()


def time_asleep() -> float:
    """Return the seconds for which the process was suspended since the clock's first use."""
    found = _running()
    found.read()
    return found.asleep


_out_s = 0.0
_outages = 0
_since = 0.0


def working_time() -> float:
    """Return `awake_time`, without that in which calls waited for an endpoint that was gone.

    A time limit and a latency measure the method; neither an outage nor a suspension is part of it.
    """
    now = awake_time()
    return now - _out_s - (now - _since if _outages else 0.0)


@contextmanager
def suspended() -> Iterator[None]:
    """Stop the working time of the process. Overlapping suspensions count once."""
    global _out_s, _outages, _since
    if not _outages:
        _since = awake_time()
    _outages += 1
    try:
        yield
    finally:
        _outages -= 1
        if not _outages:
            _out_s += awake_time() - _since
