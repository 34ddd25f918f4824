"""The processes of a run that ask one endpoint share its limits, whichever command started them."""

import asyncio
import contextlib
import secrets

import pytest
from fake_server import FakeServer

from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.rate_limiter import AdaptiveLimiter
from rlm_eval.models.servers import registry, users
from rlm_eval.models.servers.managed import LOGS


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(users, "LOOK_S", 0.01)
    # The users are of one process here: each counts as one of its own.
    monkeypatch.setattr(users, "me", lambda: secrets.token_hex(8))
    monkeypatch.setattr(registry, "RENEW_S", 0.05)
    return tmp_path / "servers"


async def until(condition):
    while not condition():  # noqa: ASYNC110 - it is a number of another task
        await asyncio.sleep(0.005)


async def test_each_user_has_its_part_while_it_is_there(logs):
    one, two, other = AdaptiveLimiter(30, rpm=60, tpm=600), AdaptiveLimiter(30), AdaptiveLimiter(30)
    async with users.divided(one, logs, "a"), users.divided(other, logs, "b"):
        assert (one.ceiling, one.limit, other.ceiling) == (30, 30, 30)
        async with users.divided(two, logs, "a"):
            await until(lambda: one.ceiling == 15)
            assert two.ceiling == 15
            assert (one._rpm.per_second, one._tpm.per_second) == (0.5, 5)
        await until(lambda: one.ceiling == 30)
        assert (one.limit, one._rpm.per_second) == (30, 1)
    assert not logs.exists()


async def test_two_gates_of_one_process_are_one_user(tmp_path):
    one, two = AdaptiveLimiter(30), AdaptiveLimiter(20)
    async with users.divided(one, tmp_path, "a"), users.divided(two, tmp_path, "a"):
        assert (one.ceiling, two.ceiling) == (30, 20)


async def test_users_that_may_begin_together_count_until_they_had_time(logs):
    users.EXPECTED.set(20)
    gate = AdaptiveLimiter(30)
    async with users.divided(gate, logs, "a"):
        assert gate.ceiling == 1
        await until(lambda: gate.ceiling == 30)


async def test_one_that_was_killed_counts_no_more(logs, monkeypatch):
    monkeypatch.setattr(registry, "STALE_S", 0.2)
    folder = users.place(logs)
    folder.mkdir(parents=True)
    registry.Registration(folder, users.text_hash("a")[:16]).renew("other:1")
    gate = AdaptiveLimiter(30)
    async with users.divided(gate, logs, "a"):
        assert gate.ceiling == 15
        await until(lambda: gate.ceiling == 30)
        assert len(list(folder.iterdir())) == 1


async def test_a_run_that_was_deleted_is_not_made_again(logs):
    gate = AdaptiveLimiter(30)
    async with users.divided(gate, logs / "gone" / "servers", "a"):
        assert gate.ceiling == 30
    assert not logs.exists()


def test_a_limit_that_the_provider_lowered_stays_low():
    gate = AdaptiveLimiter(32)
    gate.on_throttled(1e12, None)
    assert gate.limit == 16
    for of, limit in ((4, 4), (1, 16), (64, 1)):
        gate.divide(of)
        assert (gate.limit, gate.ceiling) == (limit, max(1, 32 // of))


async def test_two_models_of_two_commands_stay_below_the_limit_together(logs):
    """Two clients with sessions of their own, as two processes have."""
    LOGS.set(logs)
    logs.mkdir()
    async with FakeServer(latency=0.02) as server, contextlib.AsyncExitStack() as stack:
        clients = []
        for stall in (100.0, 101.0):  # each with a gate of its own
            one = OpenAIModel("m", "m", base_url=server.url, concurrency=4, stall_s=stall)
            shared = one.open() if not clients else _apart(one)
            clients.append(await stack.enter_async_context(shared))
        await until(lambda: all(client.gate.ceiling == 2 for client in clients))
        ask = [Message("user", "hello")]
        calls = (client.complete(ask, Sampling()) for client in clients for _ in range(12))
        assert all(reply.text for reply in await asyncio.gather(*calls))
        assert server.peak == 4
    LOGS.set(None)


@contextlib.asynccontextmanager
async def _apart(model):
    """The model opened as another process opens it: it shares nothing within this one."""
    from rlm_eval.models import refcounted as shared

    kept, shared._entries = shared._entries, {}
    try:
        async with model.open() as client:
            own, shared._entries = shared._entries, kept
            yield client
            kept, shared._entries = shared._entries, own
    finally:
        shared._entries = kept
