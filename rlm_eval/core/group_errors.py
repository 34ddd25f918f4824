"""The meaning of the errors of a cell's tasks: a task group raises them together."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from rlm_eval.core.errors import NoStorage
from rlm_eval.core.paths import FULL


def is_of_storage(error: BaseException) -> bool:
    """Return true if the run directory can no longer be written, whichever cell detected it."""
    if isinstance(error, OSError):
        return error.errno in (*FULL, errno.EROFS)
    return isinstance(error, NoStorage)


def leaves_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The single errors of a group, groups in groups included."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves_of(error)
        else:
            yield error
