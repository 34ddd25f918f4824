"""Calls at once: what one failure does to the others."""

import asyncio

import pytest

from rlm_eval.core.errors import EndpointUnusable, LimitReached, ProviderError
from rlm_eval.core.types import Outcome
from rlm_eval.methods.concurrent import all_of


async def give(value, seconds=0.0):
    await asyncio.sleep(seconds)
    if isinstance(value, Exception):
        raise value
    return value


async def test_results_come_in_the_order_asked_for():
    assert await all_of([give("a", 0.02), give("b"), give("c", 0.01)]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "failure", [ProviderError("down"), LimitReached(Outcome.LIMIT_TOKENS, "full")]
)
async def test_a_failed_call_lets_the_others_be_answered_and_is_raised_then(failure):
    answered = []

    async def ask():
        answered.append(await give("paid for", 0.02))

    with pytest.raises(type(failure)) as caught:
        await all_of([ask(), give(failure), give(ProviderError("later"), 0.01), ask()])
    assert caught.value is failure
    assert answered == ["paid for"] * 2


@pytest.mark.parametrize("failure", [EndpointUnusable("no key"), ZeroDivisionError("a bug")])
async def test_what_nobody_survives_cancels_the_others_at_once(failure):
    asked = asyncio.create_task(all_of([give("late", 60), give(failure)]))
    with pytest.raises(type(failure)):
        await asyncio.wait_for(asked, 5)
