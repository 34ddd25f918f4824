"""The client against the fake server: what comes back, what is billed, what is retried."""

import asyncio
import socket
from dataclasses import replace

import pytest
from fake_server import FakeServer, Fault, Out, always, in_order

from rlm_eval.core.errors import (
    BadRequest,
    CallCancelled,
    ConfigError,
    ContextOverflow,
    EndpointUnusable,
    ProviderError,
    Refused,
)
from rlm_eval.core.types import Message, Outcome
from rlm_eval.models import Sampling
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.model import OpenAIModel

ASK = [Message("system", "Be brief."), Message("user", "What is the answer? " * 5)]
KINDS = {"openai": OpenAIModel, "anthropic": AnthropicModel}


def model(server, kind="openai", **fields):
    fields = {"backoff_s": 0.001, "retries": 2, **fields}
    return KINDS[kind]("tested", "fake-model", base_url=server.url, **fields)


async def ask(config, sampling=None, messages=ASK):
    async with config.open() as client:
        return await client.complete(messages, sampling or Sampling())


# -- what comes back


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_is_the_same_in_every_dialect_streamed_or_not(kind, stream):
    out = Out("Forty-two, of course.", reasoning="I count to it.", cached=9)
    async with FakeServer(reply=lambda _request: out) as server:
        reply = await ask(model(server, kind, stream=stream))
    assert (reply.text, reply.reasoning) == (out.text, out.reasoning)
    assert (reply.finish_reason, reply.attempts) == ("stop", 1)
    assert reply.model == "fake-model-fake-1"
    total = server.total
    assert reply.usage.input == total["prompt_tokens"]
    assert reply.usage.output == total["completion_tokens"]
    assert reply.usage.cached == 9
    assert reply.usage.reasoning == (4 if kind == "openai" else None)
    assert (reply.first_token_seconds is not None) == stream
    assert 0 < reply.service_seconds < 5


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "think"])
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_is_stripped_the_same_wherever_it_comes(field, stream):
    out = Out("```repl\nprint(1)\n```", reasoning="first\nthen")
    async with FakeServer(reply=lambda _request: out, reasoning_field=field) as server:
        reply = await ask(model(server, stream=stream))
    assert (reply.text, reply.reasoning) == (out.text, out.reasoning)


@pytest.mark.parametrize(("dialect", "cached"), [("openai", 12), ("deepseek", 12), ("bare", None)])
async def test_cached_tokens_of_the_common_dialects(dialect, cached):
    server = FakeServer(reply=lambda _request: Out("yes", cached=12), usage_dialect=dialect)
    async with server:
        reply = await ask(model(server))
    assert reply.usage.cached == cached


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_cut_at_the_limit_says_so(kind, stream):
    async with FakeServer(reply=lambda _r: "x" * 80, faults=always(Fault("length"))) as server:
        reply = await ask(model(server, kind, stream=stream))
    assert reply.finish_reason == "length"
    assert (reply.text, reply.usage.output) == ("x" * 40, 10)


async def test_sampling_is_sent_over_the_models_defaults_and_none_is_left_out():
    defaults = Sampling(temperature=0.7, top_k=20, extra={"min_p": 0.0})
    async with FakeServer() as server:
        over = Sampling(temperature=0.0, max_output_tokens=7, seed=3, extra={"logprobs": True})
        await ask(model(server, sampling=defaults, max_tokens_field="max_completion_tokens"), over)
    sent = server.log[0]["request"]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    del sent["messages"]
    assert sent == {
        "model": "fake-model",
        "temperature": 0.0,
        "top_k": 20,
        "min_p": 0.0,
        "max_completion_tokens": 7,
        "seed": 3,
        "logprobs": True,
    }


async def test_anthropic_sends_the_system_message_apart_and_always_a_limit():
    async with FakeServer() as server:
        await ask(model(server, "anthropic", output_cap=99))
    sent = server.log[0]["request"]
    assert sent["system"] == "Be brief."
    assert [m["role"] for m in sent["messages"]] == ["user"]
    assert sent["max_tokens"] == 99


# -- faults that pass: retried, then a reply


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        (Fault("status", 429), False),
        (Fault("status", 429, retry_after="0.05"), False),
        (Fault("status", 500), False),
        (Fault("status", 502), True),
        (Fault("drop"), False),
        (Fault("reset"), False),
        (Fault("reset"), True),
        (Fault("stall"), False),
        (Fault("stall"), True),
        (Fault("hang"), False),
        (Fault("bad_json"), False),
        (Fault("bad_json"), True),
        (Fault("stream_error"), True),
        (Fault("stream_cut"), True),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_transient_fault_is_retried(kind, fault, stream):
    async with FakeServer(faults=in_order(fault), chunk_seconds=0.001) as server:
        waits = fault.kind in ("stall", "hang")  # else a busy machine must not look like a fault
        seconds = 0.25 if waits else 10.0
        config = model(server, kind, stream=stream, timeout_s=seconds, stall_s=0.8 * seconds)
        reply = await ask(config)
        assert reply.text == ASK[-1].content
        assert reply.attempts == 2
        billed = (reply.usage.output or 0) + (reply.failed_usage.output or 0)
        assert billed == server.total["completion_tokens"]
        # The third is one too many.
        server.faults, before = always(fault), len(server.log)
        with pytest.raises(ProviderError, match="gave up after 2 attempt") as caught:
            await ask(replace(config, retries=1))
    assert len(server.log) == before + 2
    assert (caught.value.attempts, caught.value.outcome) == (2, Outcome.PROVIDER_ERROR)


async def test_tokens_of_a_failed_attempt_are_charged_apart():
    async with FakeServer(faults=in_order(Fault("empty_choices"))) as server:
        reply = await ask(model(server))
        assert reply.failed_usage == reply.usage
        assert 2 * reply.usage.input == server.total["prompt_tokens"]
        server.faults = always(Fault("empty_choices"))
        server.totals.clear()
        with pytest.raises(ProviderError, match="no choice") as caught:
            await ask(model(server))
        assert len(caught.value.failed) == 3
        told = sum(usage.input for usage in caught.value.failed)
        assert told == server.total["prompt_tokens"] == 3 * reply.usage.input


async def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    config = OpenAIModel("tested", "m", base_url=url, retries=1, backoff_s=0.001)
    with pytest.raises(ProviderError, match="gave up after 2 attempt.*Cannot connect"):
        await ask(config)


async def test_retry_after_is_waited_for_by_the_whole_endpoint():
    plan = in_order(Fault("status", 429, retry_after="0.4"))
    async with FakeServer(faults=plan) as server:
        config = model(server)
        async with config.open() as client:
            first = asyncio.create_task(client.complete(ASK, Sampling()))
            while not client.gate.throttled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await client.complete(ASK, Sampling())
            reply = await first
    begun = [entry["time"] for entry in server.log]
    assert min(begun[1:]) - begun[0] >= 0.4
    assert reply.queue_seconds >= 0.4


async def test_retry_after_beyond_patience_ends_the_call():
    plan = always(Fault("status", 429, retry_after="3600"))
    async with FakeServer(faults=plan) as server:
        with pytest.raises(ProviderError, match="asked to wait 3600 s, patience_s=600"):
            await ask(model(server))
    assert len(server.log) == 1


# -- faults that stay: one request, one typed error


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("auth"), EndpointUnusable, "authentication failed"),
        (Fault("unknown_model"), EndpointUnusable, "does not exist.*check `model`"),
        (Fault("prompt_filter"), Refused, "filtered"),
        (Fault("refusal"), Refused, "refused"),
        (Fault("status", 400), BadRequest, "HTTP 400: trouble"),
        (Fault("status", 402), EndpointUnusable, "no credit"),
        (Fault("status", 404), EndpointUnusable, "check `model` and `base_url`"),
        *(
            (Fault(f"context:{name}"), ContextOverflow, "token")
            for name in ("openai", "openai_input", "vllm", "vllm_old", "llama_cpp", "anthropic")
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_final_fault_is_typed_and_not_retried(kind, fault, error, words):
    async with FakeServer(faults=always(fault)) as server:
        with pytest.raises(error, match=words) as caught:
            await ask(model(server, kind))
    assert type(caught.value) is error
    assert len(server.log) == 1
    assert "tested (fake-model)" in str(caught.value) or error is Refused


@pytest.mark.parametrize("end", ["abort", "error", "insufficient_system_resource"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_the_server_gave_up_is_asked_again_and_charged(stream, end):
    async with FakeServer(faults=in_order(Fault(f"given_up:{end}"))) as server:
        reply = await ask(model(server, stream=stream))
    assert (reply.text, reply.finish_reason, reply.attempts) == (ASK[-1].content, "stop", 2)
    assert reply.failed_usage.output
    assert reply.lost_attempts == 0


async def test_a_content_filter_is_a_refusal_and_charged():
    async with FakeServer(faults=always(Fault("content_filter"))) as server:
        with pytest.raises(Refused, match="content filter") as caught:
            await ask(model(server))
    assert caught.value.usage.output == server.total["completion_tokens"] > 0
    assert len(server.log) == 1


@pytest.mark.parametrize("fault", ["no_usage", "absurd_usage"])
@pytest.mark.parametrize("kind", KINDS)
async def test_usage_that_is_missing_or_absurd_is_unknown_not_zero(kind, fault):
    async with FakeServer(faults=always(Fault(fault))) as server:
        reply = await ask(model(server, kind))
    assert reply.text == ASK[-1].content
    assert reply.usage.input is None
    assert reply.usage.cached is None
    assert reply.usage.reasoning is None


async def test_a_reply_of_no_text_is_a_reply():
    async with FakeServer(faults=always(Fault("null_content"))) as server:
        reply = await ask(model(server))
    assert (reply.text, reply.finish_reason, reply.attempts) == ("", "stop", 1)


# -- keys


async def test_the_key_comes_from_the_environment_and_appears_nowhere(monkeypatch):
    secret = "sk-planted-0123456789abcdef"
    monkeypatch.setenv("TESTED_KEY", secret)
    async with FakeServer(api_key=secret) as server:
        config = model(server, api_key_env="TESTED_KEY")
        async with config.open() as client:
            info = await client.check()
        server.api_key = "another"
        with pytest.raises(EndpointUnusable, match="check the key in TESTED_KEY") as caught:
            await ask(config)
        said = [str(caught.value), str(info), str(config)]
        for status in (400, 500):
            server.faults = always(Fault("status", status))
            with pytest.raises((BadRequest, ProviderError), match="trouble") as caught:
                await ask(config)
            said.append(str(caught.value))
    assert not [text for text in said if secret[:8] in text]


async def test_a_missing_key_says_what_to_export(monkeypatch):
    monkeypatch.delenv("TESTED_KEY", raising=False)
    config = OpenAIModel("x", "m", base_url="http://127.0.0.1:1/v1", api_key_env="TESTED_KEY")
    with pytest.raises(ConfigError, match="export TESTED_KEY="):
        await ask(config)


# -- preflight


@pytest.mark.parametrize("dialect", ["vllm", "llama_cpp"])
async def test_the_preflight_proves_key_name_and_window(dialect):
    async with FakeServer(models=["fake-model"], window=4096, dialect=dialect) as server:
        async with model(server, window=4096).open() as client:
            info = await client.check()
        assert (info.model, info.window) == ("fake-model-fake-1", 4096)
        assert info.check_usage.input == server.total["prompt_tokens"]
        assert len(server.log) == 1
        async with model(server, window=8192).open() as client:
            with pytest.raises(EndpointUnusable, match="window is 4096 .* says 8192"):
                await client.check()
        async with replace(model(server), model="fake-modle").open() as client:
            with pytest.raises(EndpointUnusable, match="does not exist"):
                await client.check()
        server.faults = always(Fault("status", 500))
        async with model(server, retries=9).open() as client:
            with pytest.raises(ProviderError, match="gave up after 2"):  # of 10 attempts
                await client.check()


# -- life


async def test_a_cancelled_call_frees_its_slot():
    async with FakeServer(latency=30) as server:
        config = model(server, concurrency=1)
        async with config.open() as client:
            task = asyncio.create_task(client.complete(ASK, Sampling()))
            await server.arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            server.latency = 0
            assert (await client.complete(ASK, Sampling())).attempts == 1


async def test_a_cancelled_call_tells_what_it_had_sent():
    billed = Fault("given_up:abort")
    async with FakeServer(latency=30) as server:
        config = model(server, concurrency=1, backoff_s=60.0)
        async with config.open() as client:
            flying = asyncio.create_task(client.complete(ASK, Sampling()))
            await server.arrived.wait()
            waiting = asyncio.create_task(client.complete(ASK, Sampling()))
            await asyncio.sleep(0.05)
            told = [await cancelled(waiting), await cancelled(flying)]
            server.latency, server.faults = 0, always(billed)
            pausing = asyncio.create_task(client.complete(ASK, Sampling()))
            while len(server.log) < 2 or client.gate.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            told.append(await cancelled(pausing))
    assert [(t.attempts, t.lost_attempts) for t in told] == [(0, 0), (1, 1), (1, 0)]
    assert [bool(t.failed) for t in told] == [False, False, True]


async def cancelled(task):
    task.cancel()
    with pytest.raises(CallCancelled) as caught:
        await task
    return caught.value


async def test_equal_endpoints_share_one_limit():
    async with FakeServer(latency=0.02) as server:
        config = model(server, concurrency=2)
        async with config.open() as root, config.open() as sub:
            calls = [c.complete(ASK, Sampling()) for c in (root, sub) for _ in range(5)]
            await asyncio.gather(*calls)
    assert server.peak == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"server": "start"}, "attach, spawn or shared"),
        ({"server": "spawn"}, "needs an engine"),
        ({"base_url": None}, "needs base_url"),
        ({"base_url": "127.0.0.1:8000"}, "http://"),
        ({"concurrency": 0}, "at least 1"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        OpenAIModel(**{"name": "x", "model": "m", "base_url": "http://h/v1", **fields})
