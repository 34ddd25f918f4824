"""Servers that are gone, and waits that a stop request ends."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import time

import pytest
from fake_server import FakeServer, Fault, always

from rlm_eval.core.errors import EndpointGone, EndpointUnusable, ProviderError, RunStopped
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling, outage
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.rate_limiter import CALLER, AdaptiveLimiter
from rlm_eval.models.http.transport import Transport
from rlm_eval.models.waiting import INTERRUPT, Interrupt, suspended, working_time

ASK = [Message("user", "hello")]


def model(url, **fields):
    return OpenAIModel("tested", "m", base_url=url, **{"backoff_s": 0.01, "retries": 2, **fields})


async def ask(client):
    return await client.complete(ASK, Sampling())


@pytest.fixture
def interrupt():
    mine = Interrupt()
    token = INTERRUPT.set(mine)
    yield mine
    INTERRUPT.reset(token)


# -- gone


async def test_servers_that_come_back_are_waited_for_by_all_calls(capsys):
    async with FakeServer() as first:
        port, config = first.port, model(first.url, patience_s=20)
        async with config.open() as client:
            await ask(client)
            await first.__aexit__()
            began, calls = working_time(), [asyncio.create_task(ask(client)) for _ in range(20)]
            wall, told = time.monotonic(), ""
            while "waiting up to" not in told:  # on a busy machine it takes a while to notice
                await asyncio.sleep(0.01)
                told += capsys.readouterr().err
            await asyncio.sleep(0.3)
            assert not [call for call in calls if call.done()]
            async with FakeServer(port=port) as second:
                replies = await asyncio.gather(*calls)
                probes = len(second.log) - 20
    assert [reply.attempts for reply in replies] == [1] * 20
    assert [reply.lost_attempts for reply in replies] == [0] * 20
    assert probes == 0  # the list of models is asked for, nothing is generated
    lines = (told + capsys.readouterr().err).splitlines()
    assert len([line for line in lines if "waiting up to 20 s (patience_s)" in line]) == 1
    assert len([line for line in lines if "answers again" in line]) == 1
    assert time.monotonic() - wall - (working_time() - began) >= 0.2  # no one's working time


async def test_servers_that_stay_away_end_every_call_at_once_after_patience(monkeypatch):
    probes, reachable = [], Transport.is_reachable

    async def probed(self):
        probes.append(self.base_url)
        return await reachable(self)

    monkeypatch.setattr(Transport, "is_reachable", probed)
    async with FakeServer() as server, model(server.url, patience_s=0.3).open() as client:
        await ask(client)
        await server.__aexit__()
        began = time.monotonic()
        failed = await asyncio.gather(*(ask(client) for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in failed} == {EndpointGone}
        assert "unreachable for" in str(failed[0])
        assert "the same command resumes" in str(failed[0])
        assert [error.attempts for error in failed] == [0] * 5
        assert time.monotonic() - began >= 0.3
        assert 1 <= len(probes) <= 6  # one caller probes for all of them
        probes.clear()
        with pytest.raises(EndpointGone):
            await ask(client)
        assert probes == []  # patience is over: it waits no more
        async with FakeServer(port=server.port):
            assert (await ask(client)).text == "hello"


async def test_servers_that_never_answered_are_no_outage():
    """More likely a wrong address: the retries, then the end of the cell."""
    config = model(unused(), patience_s=600)
    async with config.open() as client:
        with pytest.raises(EndpointGone, match="gave up after 3 attempt.*Cannot connect"):
            await ask(client)
        with pytest.raises(ProviderError, match="gave up after 2 attempt"):
            await client.check()


async def test_a_host_name_that_means_nothing_is_said():
    config = model("http://no-such-host.invalid/v1", retries=0)
    async with config.open() as client:
        with pytest.raises(EndpointGone, match="name cannot be resolved.*check base_url"):
            await ask(client)


async def test_a_server_without_tls_is_said_at_once():
    async with FakeServer() as server:
        url = server.url.replace("http:", "https:")
        async with model(url, retries=5, backoff_s=60.0).open() as client:
            with pytest.raises(EndpointUnusable, match=r"TLS.*base_url=http://"):
                await ask(client)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate")
async def test_servers_with_a_certificate_of_nobody_are_said_at_once(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj"]
    files = ["/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    met = []
    server = await asyncio.start_server(lambda r, w: met.append(w), "127.0.0.1", 0, ssl=tls)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with model(url, retries=5, backoff_s=60.0).open() as client:
            with pytest.raises(EndpointUnusable, match=r"TLS.*SSL_CERT_FILE") as caught:
                await ask(client)
    assert not isinstance(caught.value, EndpointGone)


async def test_servers_that_go_while_tokens_are_counted_have_a_counter_still():
    async with FakeServer() as server, model(server.url, patience_s=0.2).open() as client:
        await ask(client)
        await server.__aexit__()
        with pytest.raises(EndpointGone):
            await client.count_tokens(ASK)
        async with FakeServer(port=server.port):
            assert await client.count_tokens(ASK) is None  # searched again, and none is there


async def test_a_call_that_is_dismissed_and_cancelled_at_once_gives_back_no_slot(interrupt):
    gate = AdaptiveLimiter(2, rpm=1)

    async def hold():
        async with gate.slot(1):
            pass

    await hold()
    task = asyncio.create_task(hold())
    await asyncio.sleep(0.01)
    interrupt.ask()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gate.in_flight == 0


def unused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


# -- Retry-After


async def test_a_pause_beyond_patience_ends_its_call_and_leaves_the_others_alone():
    hour = Fault("status", 429, retry_after="3600")
    async with (
        FakeServer(faults=lambda n, _r: hour if n == 0 else None) as server,
        model(server.url).open() as client,
    ):
        with pytest.raises(ProviderError, match="asked to wait 3600 s, patience_s=600"):
            await ask(client)
        began = time.monotonic()
        assert (await ask(client)).text == "hello"
    assert time.monotonic() - began < 60  # it waits for no hour


# -- a stop request


async def test_a_stop_ends_calls_that_wait_and_no_others(interrupt):
    pause = Fault("status", 429, retry_after="300")
    async with FakeServer(latency=0.4) as server, model(server.url).open() as client:
        flying = asyncio.create_task(ask(client))
        await server.arrived.wait()
        server.faults = always(pause)
        pausing = asyncio.create_task(ask(client))  # asked to wait
        while client.gate.throttled == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        held = asyncio.create_task(ask(client))  # held back at the gate
        await asyncio.sleep(0.02)
        began = time.monotonic()
        interrupt.ask()
        for task in (pausing, held):
            with pytest.raises(RunStopped):
                await task
        assert time.monotonic() - began < 60  # of 300 s
        assert (await flying).text == "hello"
        with pytest.raises(RunStopped):
            await ask(client)  # nor does a later call wait
    assert len(server.log) == 2


async def test_a_stop_ends_the_wait_for_servers_that_are_gone(interrupt):
    async with FakeServer() as server, model(server.url, patience_s=60).open() as client:
        await ask(client)
        await server.__aexit__()
        waiting = [asyncio.create_task(ask(client)) for _ in range(3)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        interrupt.ask()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(error) for error in ended} == {RunStopped}
        assert time.monotonic() - began < 30  # of 60 s


async def test_a_stop_ends_a_back_off(interrupt):
    plan = always(Fault("status", 500))
    async with FakeServer(faults=plan) as server, model(server.url, backoff_s=60).open() as client:
        task = asyncio.create_task(ask(client))
        await server.arrived.wait()
        await asyncio.sleep(0.1)
        interrupt.ask()
        with pytest.raises(RunStopped) as caught:
            await task
    assert caught.value.attempts == 1


async def test_a_stop_lets_calls_that_queue_for_a_slot_go_on(interrupt):
    gate = AdaptiveLimiter(1)

    async def hold():
        async with gate.slot(1):
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0.01)
    interrupt.ask()
    await asyncio.gather(*tasks)
    assert gate.in_flight == 0


async def test_a_stop_ends_calls_that_a_rate_holds_back(interrupt):
    gate = AdaptiveLimiter(4, rpm=1)

    async def hold():
        async with gate.slot(1):
            pass

    await hold()
    held = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0.01)
    interrupt.ask()
    ended = await asyncio.gather(*held, return_exceptions=True)
    assert {type(error) for error in ended} == {RunStopped}


def test_overlapping_suspensions_count_once():
    wall, began = time.monotonic(), working_time()  # read outside of it: never the shorter one
    with suspended(), suspended():
        time.sleep(0.1)
    time.sleep(0.05)
    worked, elapsed = working_time() - began, time.monotonic() - wall
    assert 0.05 <= worked <= elapsed - 0.1


# -- answers that are no replies


@pytest.mark.parametrize("fault", [Fault("status", 502), Fault("status", 429), Fault("drop")])
async def test_servers_that_only_fail_for_longer_than_patience_end_the_cell(fault, monkeypatch):
    config = {"retries": 1, "patience_s": 300}
    later = [0.0]
    monkeypatch.setattr(outage, "awake_time", lambda: time.monotonic() + later[0])
    async with FakeServer() as server, model(server.url, **config).open() as client:
        await ask(client)
        server.faults = always(fault)
        assert type(await ended(client, "one")) is ProviderError
        assert type(await ended(client, "two")) is ProviderError  # within patience
        later[0] += 301
        gone = await ended(client, "two")
        assert type(gone) is EndpointGone
        assert "no call got a reply for" in str(gone)
        assert gone.attempts == 2
        server.faults = None
        assert (await ask(client)).text == "hello"
        server.faults = always(fault)
        assert type(await ended(client, "three")) is ProviderError  # it begins anew


async def test_servers_that_fail_at_one_sample_alone_do_not_end_the_cell():
    config = {"retries": 0, "patience_s": 0.1}
    async with (
        FakeServer(faults=always(Fault("status", 500))) as server,
        model(server.url, **config).open() as client,
    ):
        for _ in range(3):
            assert type(await ended(client, "one")) is ProviderError
            await asyncio.sleep(0.1)


async def ended(client, caller):
    token = CALLER.set(caller)
    try:
        return (await asyncio.gather(ask(client), return_exceptions=True))[0]
    finally:
        CALLER.reset(token)


@pytest.mark.parametrize("status", [408, 504, 524, 502, 503, 429])
async def test_a_gateway_that_waited_no_longer_may_have_a_bill(status):
    fault = Fault("status", status)
    async with (
        FakeServer(faults=lambda n, _r: fault if n == 0 else None) as server,
        model(server.url).open() as client,
    ):
        assert (await ask(client)).lost_attempts == (status in (408, 504, 524))


async def test_a_time_out_told_in_a_reply_of_status_200_may_have_a_bill():
    late = Fault("body", 200, '{"error": {"code": 504, "message": "upstream timed out"}}')
    async with (
        FakeServer(faults=lambda n, _r: late if n == 0 else None) as server,
        model(server.url).open() as client,
    ):
        assert (await ask(client)).lost_attempts == 1
