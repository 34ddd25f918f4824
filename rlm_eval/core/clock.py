"""Clocks that leave out time in which nothing could be done: suspensions, and outages.

A suspension (SIGSTOP by a scheduler, a frozen container, a paused virtual machine) is detected by a
heartbeat on the event loop: a gap in which the process used hardly any processor time. Gaps of up
to `LEAST_S` are not told apart from a busy machine, and count as time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from rlm_eval.core.messages import warn

LEAST_S = 5.0
"""Seconds that a process must stand still to count as suspended."""
_BEAT_S = 0.5


class _Heartbeat:
    """The heartbeat of one event loop, and the seconds for which it was suspended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asleep = 0.0
        self._latest, self._cpu = time.monotonic(), time.process_time()
        self._beat(loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self.read()
        loop.call_later(_BEAT_S, self._beat, loop)

    def read(self) -> float:
        """Return monotonic seconds without suspensions. The first reading after one detects it."""
        now, cpu = time.monotonic(), time.process_time()
        still = now - self._latest - (cpu - self._cpu)
        self._latest, self._cpu = now, cpu
        if still > LEAST_S:
            gap = still - _BEAT_S  # the loop may have idled for one beat before
            self.asleep += gap
            warn(
                f"this process stood still for {gap:.0f} s (suspended, or a machine that froze); "
                "that time counts in no limit and in no latency"
            )
        return now - self.asleep


_heartbeats: WeakKeyDictionary[asyncio.AbstractEventLoop, _Heartbeat] = WeakKeyDictionary()


def _heartbeat() -> _Heartbeat | None:
    """Return the running loop's heartbeat, started by its first use; `None` without a loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if loop not in _heartbeats:
        _heartbeats[loop] = _Heartbeat(loop)
    return _heartbeats[loop]


def awake_time() -> float:
    """Return monotonic seconds, without those in which the process was suspended."""
    heartbeat = _heartbeat()
    return time.monotonic() if heartbeat is None else heartbeat.read()


def time_asleep() -> float:
    """Return the seconds for which the process was suspended since the running loop began."""
    heartbeat = _heartbeat()
    if heartbeat is None:
        return 0.0
    heartbeat.read()
    return heartbeat.asleep


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
