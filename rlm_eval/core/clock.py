"""The working time of the process: monotonic seconds without outages of an endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_suspended_s = 0.0
_suspensions = 0
_since = 0.0


def working_time() -> float:
    """Return monotonic seconds, without those in which calls waited for an endpoint that was gone.

    A time limit and a latency measure the method; an outage is not part of it.
    """
    now = time.monotonic()
    return now - _suspended_s - (now - _since if _suspensions else 0.0)


@contextmanager
def suspended() -> Iterator[None]:
    """Stop the working time of the process. Overlapping suspensions count once."""
    global _suspended_s, _suspensions, _since
    if not _suspensions:
        _since = time.monotonic()
    _suspensions += 1
    try:
        yield
    finally:
        _suspensions -= 1
        if not _suspensions:
            _suspended_s += time.monotonic() - _since
