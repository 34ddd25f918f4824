"""Many calls at once: started together, results in the order asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `jobs`. The first failure cancels the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failures:
        # The outcome of a sample is one error's; the group has the first failure first.
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]
