"""Replies as servers and gateways really send them: errors in a 200, odd ends, odd figures."""

import json
from dataclasses import replace

import pytest
from bodies import OVERFLOW, SOME, ZERO, chat, events, sent, with_end
from fake_server import FakeServer, always, in_order

from rlm_eval.core.errors import (
    BadRequest,
    ContextOverflow,
    CutShort,
    EndpointUnusable,
    ModelError,
    ProviderError,
    Refused,
)
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.error_details import trouble_of
from rlm_eval.models.http.finish import finish_of
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import count

ASK = [Message("user", "What is the answer? " * 5)]
KINDS = {"openai": OpenAIModel, "anthropic": AnthropicModel}


def model(server, kind="openai", **fields):
    fields = {"backoff_s": 0.001, "retries": 1, **fields}
    return KINDS[kind]("tested", "fake-model", base_url=server.url, **fields)


async def ask(config):
    async with config.open() as client:
        return await client.complete(ASK, Sampling())


def raw(error, code=502):
    metadata = {"raw": json.dumps({"error": error}), "provider_name": "x"}
    return {"error": {"code": code, "message": "Provider returned error", "metadata": metadata}}


# -- a gateway's error in a 200

FINAL = [
    ({"error": {"code": 401, "message": "No auth credentials found"}}, EndpointUnusable),
    ({"error": {"code": 402, "message": "Insufficient credits"}}, EndpointUnusable),
    ({"error": {"code": "402", "message": "?"}}, EndpointUnusable),
    ({"error": {"code": 404, "message": "No endpoints found for x"}}, EndpointUnusable),
    ({"error": {"code": 400, "message": "stop must be a list"}}, BadRequest),
    ({"error": {"code": 400, "message": OVERFLOW}}, ContextOverflow),
    ({"error": {"message": OVERFLOW}}, ContextOverflow),
    ({"error": OVERFLOW}, ContextOverflow),
    (chat(None, None, error={"message": OVERFLOW}), ContextOverflow),
    (raw({"message": OVERFLOW, "code": 400}), ContextOverflow),
    (raw({"message": "Insufficient Balance", "code": 402}), EndpointUnusable),
    (raw({"message": "flagged by moderation", "code": 403}, 403), Refused),
    ({"object": "error", "message": "model `x` does not exist", "code": 404}, EndpointUnusable),
    ({"detail": "Could not validate credentials: invalid api key"}, EndpointUnusable),
    ({"errors": [{"code": 5021, "message": OVERFLOW}], "success": False}, ContextOverflow),
    ({"code": "InvalidApiKey", "message": "Invalid API-key provided."}, EndpointUnusable),
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, EndpointUnusable),
    ({"base_resp": {"status_code": 1027, "status_msg": "?"}, "choices": None}, Refused),
    ([{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
     EndpointUnusable),
    ({"promptFeedback": {"blockReason": "SAFETY"}, "choices": []}, Refused),
    ({"error": {"message": "Could not finish the message because max_tokens or model output limit "
      "was reached."}}, CutShort),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "error"), FINAL)
async def test_an_error_in_a_200_is_what_its_words_or_code_say(body, error, kind, stream):
    bodies = [sent(body)] if not stream else [sent(body), sent(events(body), "events")]
    for fault in bodies:
        async with FakeServer(faults=always(fault)) as server:
            with pytest.raises(ModelError) as caught:
                await ask(model(server, kind, stream=stream))
        assert type(caught.value) is error
        assert len(server.log) == 1  # asked again only where that may help


TRANSIENT = [
    {"choices": [{"message": {"content": None}}], "error": {"code": 429}},
    {"error": {"code": 429, "message": "Rate limit exceeded"}},
    {"error": "Rate limit exceeded"},
    {"error": {"message": "boom"}},
    {"error": {"code": 0, "message": "upstream failed"}},
    {"error": {"type": "overloaded_error", "message": "Overloaded"}},
    raw({"message": "temporarily rate-limited", "code": 429}),
    raw("no JSON at all"),
    [{"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}],
    {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
    chat("", usage=ZERO),
    chat(None, usage=ZERO),
    chat("", None),
    chat(None, "error"),
    chat("half of a", "error", error={"code": 502, "message": "upstream"}),
    {"choices": [], "usage": SOME},
    {"message": "Internal server error"},
    {"code": 503},
    {},
    None,
    5,
    "text",
    "<html>Bad gateway</html>",
    "",
    "\udcff\udcfe{",
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", TRANSIENT)
async def test_an_error_in_a_200_that_may_pass_is_retried(body, stream):
    text = body if isinstance(body, str) else json.dumps(body)
    faults = [sent(text)] if not stream else [sent(text), sent(events(text, done=False), "events")]
    for fault in faults:
        async with FakeServer(faults=in_order(fault)) as server:
            reply = await ask(model(server, stream=stream))
            assert (reply.text, reply.attempts) == (ASK[-1].content, 2)
            server.faults = always(fault)
            with pytest.raises(ProviderError, match="gave up after 2"):
                await ask(model(server, stream=stream))


@pytest.mark.parametrize(
    "more",
    [
        {"error": None}, {"error": {}}, {"error": ""}, {"error": False}, {"error": []},
        {"error": {"code": 0, "message": ""}}, {"error": {"message": None, "code": None}},
        {"base_resp": {"status_code": 0, "status_msg": ""}}, {"code": 0, "message": "success"},
        {"code": 200, "msg": "OK"}, {"detail": None}, {"errors": []}, {"status": "completed"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["42", "error: code 429, Rate limit exceeded", ""])
async def test_a_fine_reply_stays_fine(more, text):
    async with FakeServer(faults=always(sent(chat(text, **more)))) as server:
        reply = await ask(model(server, stream=False))
    assert (reply.text, reply.finish_reason, reply.attempts) == (text, "stop", 1)


async def test_the_wait_that_an_error_asks_for_is_kept():
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "900s"}
    body = [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [wait]}}]
    async with FakeServer(faults=always(sent(body))) as server:
        with pytest.raises(ProviderError, match="asked to wait 900 s"):
            await ask(model(server))


async def test_a_key_that_is_echoed_in_a_200_is_not_quoted(monkeypatch):
    monkeypatch.setenv("TESTED_KEY", "sk-planted-0123456789")
    for text in ('{"error": "no sk-planted-0123456789"}', "no sk-planted-0123456789"):
        for stream in (False, True):
            fault = sent(events(text) if stream else text, "events" if stream else "body")
            async with FakeServer(faults=always(fault)) as server:
                with pytest.raises(ProviderError, match="no") as caught:
                    await ask(model(server, api_key_env="TESTED_KEY", stream=stream))
            assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("try again in 7m12.5s.", 432.5), ("Please retry after 20 seconds", 20.0),
        ("try again in 350ms", 0.35), ("try again in 2h", 7200.0), ("try again in 3 min", 180.0),
        ("try again later", None), ("again in the morning", None),
        ("Try again in 868 milliseconds.", 0.868), ("Retry after 30 Seconds", 30.0),
        ("try again in 1 hour and 20 minutes", 4800.0), ("try again in 1 day, 2 hrs", 93600.0),
        ("try again in 5 msecs", 0.005), ("try again in 21.6µs", 0.0), ("retry in 1m0.5s", 60.5),
        ("try again in 2 months", None), ("try again in 3 more", None), ("retry in 90 secs", 90.0),
    ],
)  # fmt: skip
def test_a_wait_in_words_is_understood(said, seconds):
    told = trouble_of({"error": {"message": f"Rate limit reached. {said}"}})
    assert told.retry_after == seconds


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ({"retryDelay": "38s"}, 38.0), ({"retryDelay": "868ms"}, 0.868), ({"retry_after": 7}, 7.0),
        ({"retry_after": "1.5"}, 1.5), ({"retry_after_ms": 868}, 0.868),
        ({"retry_after": "x"}, None),
    ],
)  # fmt: skip
def test_a_wait_in_a_field_is_understood(field, seconds):
    assert trouble_of({"error": {"message": "Rate limit reached.", **field}}).retry_after == seconds


# -- why a reply ended

ENDS = {
    "stop": ["stop", "STOP", "end_turn", "eos", "eos_token", "stop_sequence", "COMPLETE",
             "FinishReason.STOP", "FINISH_REASON_STOP", {"type": "stop"}],
    "length": ["length", "MAX_TOKENS", "max_tokens", "model_length", "max_output_tokens",
               "model_context_window_exceeded", "max_completion_tokens", "FinishReason.MAX_TOKENS",
               "token_limit", "ERROR_LIMIT", "context_length_exceeded", "REASON_MAX_CONTEXT",
               "maxTokens", "max_new_tokens", {"type": "length", "length": 12}],
    "content_filter": ["content_filter", "SAFETY", "RECITATION", "content_filter: RECITATION",
                       "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "refusal",
                       "ERROR_TOXIC", "guardrail_intervened", "content-filter", "sensitive"],
    "error": ["abort", "error", "insufficient_system_resource", "network_error", "CANCELLED",
              "time_limit", "internal_error", "overloaded"],
    "tool_calls": ["tool_calls", "tool_use", "function_call"],
    "": [None, "", "null", "FINISH_REASON_UNSPECIFIED", [], {}],
}  # fmt: skip
KEPT = ["OTHER", "repetition", "pause_turn", "MALFORMED_FUNCTION_CALL",
        "function_call_filter: UNEXPECTED_TOOL_CALL"]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "ours"),
    [(said, ours) for ours, words in ENDS.items() for said in words] + [(w, w) for w in KEPT],
)
def test_every_vendors_word_for_an_end_is_one_of_ours(said, ours):
    assert finish_of(said) == ours


def test_the_first_known_word_counts():
    assert finish_of(None, "SAFETY") == "content_filter"
    assert finish_of("odd", "length") == "length"
    assert finish_of("stop", "SAFETY") == "stop"
    assert finish_of("", "odd", "odder") == "odd"


@pytest.mark.parametrize("kind", KINDS)
async def test_ends_in_both_dialects(kind):
    for end, ours in (("MAX_TOKENS", "length"), ("odd", "odd"), (None, ""), ("eos", "stop")):
        async with FakeServer(faults=always(sent(with_end(kind, end)))) as server:
            reply = await ask(model(server, kind))
        assert (reply.text, reply.finish_reason) == ("a b", ours)
    async with FakeServer(faults=always(sent(with_end(kind, "SAFETY")))) as server:
        with pytest.raises(Refused, match="SAFETY") as caught:
            await ask(model(server, kind))
    assert (len(server.log), caught.value.usage.output) == (1, 2)
    async with FakeServer(faults=in_order(sent(with_end(kind, "ERROR")))) as server:
        reply = await ask(model(server, kind))
    assert (reply.attempts, reply.failed_usage.output) == (2, 2)


@pytest.mark.parametrize("message", [None, {}, {"role": "assistant"}, {"content": None}])
async def test_geminis_reply_without_a_message(message):
    usage = {"prompt_tokens": 25, "total_tokens": 125}
    for end, expected in (("length", "length"), ("MAX_TOKENS", "length"), ("stop", "stop")):
        body = chat("", end, usage)
        body["choices"][0]["message"] = message
        async with FakeServer(faults=always(sent(body))) as server:
            reply = await ask(model(server))
        assert (reply.text, reply.finish_reason) == ("", expected)
        assert (reply.usage.input, reply.usage.output) == (25, 100)
    body["choices"][0]["finish_reason"] = "content_filter: PROHIBITED_CONTENT"
    async with FakeServer(faults=always(sent(body))) as server:
        with pytest.raises(Refused, match="PROHIBITED_CONTENT"):
            await ask(model(server))


async def test_the_text_of_an_older_completion_is_not_lost():
    body = {"choices": [{"text": "7", "index": 0, "finish_reason": "stop"}]}
    async with FakeServer(faults=always(sent(body))) as server:
        assert (await ask(model(server))).text == "7"


@pytest.mark.parametrize(
    "content",
    [
        42, {"answer": "42"}, {}, {"type": "json", "json": {"answer": 42}}, [{"answer": "42"}],
        [{"type": "text", "text": "It is "}, {"type": "text", "text": {"value": "42"}}],
        [{"type": "output_text", "content": "42"}],
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
async def test_a_content_whose_text_is_not_found_is_no_empty_answer(content, kind):
    body = chat(content) if kind == "openai" else with_end(kind, "stop") | {"content": content}
    async with FakeServer(faults=in_order(sent(body))) as server:
        reply = await ask(model(server, kind))
    assert (reply.text, reply.attempts) == (ASK[-1].content, 2)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""), ([], ""), ("", ""), ([{"type": "text", "text": None}], ""),
        ([{"type": "tool_use", "input": {}}, {"type": "text", "text": "42"}], "42"),
        ([{"type": "redacted_thinking", "data": "x"}, {"text": "42"}], "42"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
async def test_a_content_without_text_may_be_empty(content, text, kind):
    body = chat(content) if kind == "openai" else with_end(kind, "stop") | {"content": content}
    async with FakeServer(faults=in_order(sent(body))) as server:
        reply = await ask(model(server, kind))
    assert (reply.text, reply.attempts) == (text, 1)


async def test_a_refusal_field_is_a_refusal_whatever_its_form():
    for refusal in ("No.", [{"type": "refusal", "text": "No."}]):
        body = chat(None)
        body["choices"][0]["message"]["refusal"] = refusal
        async with FakeServer(faults=always(sent(body))) as server:
            with pytest.raises(Refused, match=r"refused: No\."):
                await ask(model(server))


# -- usage


def test_a_count_may_be_written_as_a_float():
    assert [count(v) for v in (12, 12.0, 0, 0.0)] == [12, 12, 0, 0]
    for value in (12.5, -1, -1.0, "12", "12.0", True, None, [], float("nan"), float("inf")):
        assert count(value) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_usage_as_floats_counts(kind):
    body = with_end(kind, "stop")
    body["usage"] = {name: float(value) for name, value in body["usage"].items()}
    async with FakeServer(faults=always(sent(body))) as server:
        reply = await ask(replace(model(server, kind), retries=0))
    assert (reply.usage.input, reply.usage.output) == (25, 2)
    assert isinstance(reply.usage.input, int)


# -- a gateway's cache in place of the model

HITS = [
    ("cf-aig-cache-status", "HIT"),
    ("x-portkey-cache-status", "SEMANTIC HIT"),
    ("Helicone-Cache", "HIT"),
    ("x-litellm-cache-hit", "True"),
    ("X-Cache", "Hit from cloudfront"),
    ("Cache-Status", "gateway; hit; ttl=60"),
]
MISSES = [
    ("cf-aig-cache-status", "MISS"),
    ("x-portkey-cache-status", "DISABLED"),
    ("x-litellm-cache-hit", "False"),
    ("x-litellm-cache-key", "a1-hit-9"),
    ("X-Cache", "Miss from cloudfront"),
    ("Cache-Status", "gateway; fwd=miss; stored"),
    ("Cache-Control", "no-cache, white-list"),
    ("x-prompt-cache", "HIT"),
    ("x-kv-cache-hit", "true"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), HITS)
async def test_servers_whose_cache_replies_are_found_out_at_once(name, value, kind, stream):
    async with FakeServer(headers={name: value}) as server:
        config = model(server, kind, stream=stream)
        with pytest.raises(EndpointUnusable, match=f"gateway's copy \\({name}: {value}") as found:
            await ask(config)
        assert "turn the cache off" in str(found.value)
        assert len(server.log) == 1


@pytest.mark.parametrize(("name", "value"), MISSES)
async def test_servers_that_only_have_a_cache_are_asked(name, value):
    async with FakeServer(headers={name: value}) as server:
        assert (await ask(model(server))).text
