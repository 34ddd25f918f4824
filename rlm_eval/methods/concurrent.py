"""Run calls concurrently and return the results in request order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from rlm_eval.core.errors import EndpointUnusable, LimitReached, ModelError, Suspended

T = TypeVar("T")


async def all_of(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of `jobs`; if some fail, raise the first failure after all have ended.

    A call in progress is billed, so its reply is recorded and the next attempt at the sample
    replays it. Only failures that affect every job cancel the others: an unusable endpoint, or a
    bug. `Suspended` takes precedence over other failures: the sample has no outcome yet.
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
        # A sample's outcome comes from one error; the group lists the first one first.
        raise several.exceptions[0] from several
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(jobs))]
