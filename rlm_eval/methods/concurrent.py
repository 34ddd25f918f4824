"""Many calls at once: started together, results in the order asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from rlm_eval.core.errors import EndpointUnusable, LimitReached, ModelError, Suspended

T = TypeVar("T")


async def all_of(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `jobs`; where some failed, the first failure is raised when all have ended.

    A call that a provider is already answering is paid for: its reply is kept, and the next attempt
    at the sample does not ask for it again. Only what no other job can survive cancels them: an
    endpoint that cannot be used, or a bug. `Suspended` is raised before any other failure: the
    sample has no outcome yet.
    """
    results: dict[int, T] = {}
    failures: list[ModelError | LimitReached] = []

    async def run(index: int, job: Coroutine[Any, Any, T]) -> None:
        try:
            results[index] = await job
        except EndpointUnusable as error:
            if not isinstance(error, Suspended):
                raise
            failures.insert(0, error)
        except (ModelError, LimitReached) as error:
            failures.append(error)

    try:
        async with asyncio.TaskGroup() as group:
            for index, job in enumerate(jobs):
                group.create_task(run(index, job))
    except BaseExceptionGroup as several:
        # The outcome of a sample is one error's; the group has the first one first.
        raise several.exceptions[0] from several
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(jobs))]
