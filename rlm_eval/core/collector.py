"""Pauses of Python's garbage collector, for work that makes many objects and few cycles."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Context manager: no object is searched for cycles; it is restored as it was before.

    Its passes over all objects of pandas and matplotlib take a tenth of a report's time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
