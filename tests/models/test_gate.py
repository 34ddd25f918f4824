"""The entrance of an endpoint: limits, turns, halving and slow recovery, rates."""

import asyncio
import time

import pytest
from fake_server import FakeServer, Fault, every, in_order

from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.rate_limiter import CALLER, AdaptiveLimiter, Rate


async def occupy(gate: AdaptiveLimiter, name: str, order: list[str]):
    CALLER.set(name)
    async with gate.slot(1):
        order.append(name)
        await asyncio.sleep(0)


async def test_callers_take_turns_however_many_requests_one_has():
    gate, order = AdaptiveLimiter(1), []
    async with asyncio.TaskGroup() as group:
        for name in ["busy"] * 50 + ["late", "later"]:
            group.create_task(occupy(gate, name, order))
    assert len(order) == 52
    assert order.index("late") <= 3
    assert order.index("later") <= 4


async def test_no_more_than_the_limit_is_inside_and_none_is_lost():
    gate, peak, done = AdaptiveLimiter(7), 0, 0

    async def one(number):
        nonlocal peak, done
        async with gate.slot(1):
            peak = max(peak, gate.in_flight)
            await asyncio.sleep(0.001 * (number % 3))
        done += 1

    tasks = [asyncio.create_task(one(number)) for number in range(100)]
    await asyncio.sleep(0.002)
    for task in tasks[::9]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert peak == 7
    assert done == results.count(None) >= 80
    assert gate.in_flight == 0


async def test_one_burst_of_refusals_halves_once_and_success_restores_slowly():
    gate = AdaptiveLimiter(16)
    entered = time.monotonic()
    for _ in range(10):
        gate.on_throttled(entered, None)
    assert gate.limit == 8
    await asyncio.sleep(0.001)
    gate.on_throttled(time.monotonic(), None)
    assert gate.limit == 4
    for _ in range(4):
        gate.on_success(0)
    assert 4.8 < gate.limit < 5.1
    for _ in range(1000):
        gate.on_success(0)
    assert gate.limit == 16


async def test_the_limit_never_falls_below_one():
    gate = AdaptiveLimiter(2)
    for _ in range(5):
        await asyncio.sleep(0.001)
        gate.on_throttled(time.monotonic(), None)
    assert gate.limit == 1
    async with gate.slot(1):
        assert gate.in_flight == 1


async def test_a_refused_endpoint_is_sent_less_at_once():
    plan = in_order(*[None] * 8, *[Fault("status", 429)] * 8)
    async with FakeServer(faults=plan, latency=0.01) as server:
        config = OpenAIModel("x", "m", base_url=server.url, concurrency=8, backoff_s=0.001)
        async with config.open() as client:
            ask = [Message("user", "hello")]
            replies = [client.complete(ask, Sampling()) for _ in range(20)]
            replies = await asyncio.gather(*replies)
            assert client.gate.throttled == 8
            assert client.gate.limit < 8
    assert len(server.log) == 20 + 8
    assert sum(reply.attempts for reply in replies) == 28


async def test_every_third_request_failing_costs_no_call():
    async with FakeServer(faults=every(3, Fault("status", 503))) as server:
        config = OpenAIModel("x", "m", base_url=server.url, backoff_s=0.001, retries=20)
        async with config.open() as client:
            asked = [f"question {number}" for number in range(60)]
            calls = [client.complete([Message("user", text)], Sampling()) for text in asked]
            replies = await asyncio.gather(*calls)
    assert [reply.text for reply in replies] == asked
    assert server.total["replies"] == 60
    assert sum(reply.usage.input for reply in replies) == server.total["prompt_tokens"]


def test_a_rate_lets_three_seconds_worth_burst():
    rate, waits = Rate(per_minute=60), []
    for _ in range(4):
        waits.append(rate.wait(1))
        rate.book(1)
    assert waits == [0, 0, 0, pytest.approx(1, abs=0.05)]
    assert rate.wait(1) == pytest.approx(2, abs=0.05)
    rate.book(-2)
    assert rate.wait(1) == 0


def test_a_request_larger_than_the_bucket_goes_first_and_is_paid_for_later():
    rate = Rate(per_minute=600)
    assert rate.wait(300) == 0
    rate.book(300)
    assert rate.wait(1) == pytest.approx(27.1, abs=0.1)


async def test_a_sample_that_asks_much_does_not_use_up_the_rate_of_the_others():
    gate, order = AdaptiveLimiter(64, rpm=1200), []
    async with asyncio.TaskGroup() as group:
        for name in ["busy"] * 70 + ["late"]:
            group.create_task(occupy(gate, name, order))
    # Sixty may burst; whoever came last with one request goes next, not after the other ten.
    assert order.index("late") <= 62
    assert gate.in_flight == 0


async def test_a_cancelled_wait_for_the_rate_uses_none_of_it():
    gate = AdaptiveLimiter(4, rpm=60)
    for _ in range(3):
        async with gate.slot(1):
            pass
    waiting = [asyncio.create_task(occupy(gate, str(n), [])) for n in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    waiting[1].cancel()
    began = time.monotonic()
    await waiting[2]
    assert time.monotonic() - began < 2.5  # one second's worth, not three


async def test_requests_per_minute_are_kept_on_the_wire():
    async with FakeServer() as server:
        config = OpenAIModel("x", "m", base_url=server.url, rpm=120)
        async with config.open() as client:
            ask = [Message("user", "hello")]
            await asyncio.gather(*[client.complete(ask, Sampling()) for _ in range(7)])
    times = [entry["time"] for entry in server.log]
    assert times[-1] - times[0] >= 0.45


async def test_tokens_per_minute_are_kept_on_the_wire_and_corrected_by_what_was_used():
    async with FakeServer() as server:
        # Each request is estimated at 17 + 400 tokens, and used far fewer.
        config = OpenAIModel("x", "m", base_url=server.url, tpm=24000, concurrency=1)
        async with config.open() as client:
            ask = [Message("user", "hello")]
            sampling = Sampling(max_output_tokens=400)
            began = time.monotonic()
            await asyncio.gather(*[client.complete(ask, sampling) for _ in range(8)])
            one_by_one = time.monotonic() - began
        server.latency = 0.5
        config = OpenAIModel("x", "m", base_url=server.url, tpm=24001, concurrency=8)
        async with config.open() as client:
            await asyncio.gather(*[client.complete(ask, sampling) for _ in range(4)])
    times = [entry["time"] for entry in server.log]
    assert one_by_one < 4.0  # the estimates alone would have taken over five seconds
    assert times[10] - times[8] >= 0.1  # 1,200 tokens may burst, three requests want 1,251
    assert times[11] - times[8] >= 0.45  # what the first two did not use is given back then


async def test_tokens_given_back_let_the_next_one_in_at_once():
    gate = AdaptiveLimiter(8, tpm=60_000)
    async with asyncio.timeout(5):  # by the estimate alone it would wait for 28 s
        async with gate.slot(30_000):
            waiting = asyncio.create_task(occupy(gate, "next", []))
            await asyncio.sleep(0)
        gate.on_success(-29_900)
        await waiting


async def test_who_gives_up_waiting_for_a_rate_holds_up_nobody():
    gate, order = AdaptiveLimiter(8, tpm=1200), []  # 20 tokens a second, 60 at once
    async with gate.slot(60):
        waiting = asyncio.create_task(gate.slot(10_000).__aenter__())
        await asyncio.sleep(0)
        behind = asyncio.create_task(occupy(gate, "behind", order))
        await asyncio.sleep(0)
        waiting.cancel()
        async with asyncio.timeout(2):  # a token takes 0.05 s, a full bucket 3 s
            await behind
    assert order == ["behind"]


async def test_requests_together_fill_no_more_than_the_servers_cache():
    gate, peak, most = AdaptiveLimiter(64), 0.0, 0
    gate.capacity = 1000

    async def one(tokens):
        nonlocal peak, most
        async with gate.slot(tokens):
            peak, most = max(peak, gate._cached), max(most, gate.in_flight)
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(one(300)) for _ in range(12)] + [asyncio.create_task(one(5000))]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (peak, most) == (5000, 3)  # one that is larger than the cache goes alone
    assert (gate.in_flight, gate._cached) == (0, 0)
