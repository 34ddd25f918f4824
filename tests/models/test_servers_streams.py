"""Streams as servers really send them, and any bytes at all: a reply or a typed error."""

import contextlib
import json

import pytest
from bodies import OVERFLOW, SOME, chat, events, sent, with_end
from fake_server import FakeServer, in_order
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_eval.core.errors import ContextOverflow, ModelError
from rlm_eval.core.types import Message, Reply
from rlm_eval.models import Sampling
from rlm_eval.models.http import sse
from rlm_eval.models.http.anthropic import AnthropicDialect
from rlm_eval.models.http.http_errors import TransientError
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import OpenAIDialect
from rlm_eval.models.http.reading import Reader

DIALECTS = {"openai": OpenAIDialect(), "anthropic": AnthropicDialect(100)}
ASK = [Message("user", "What is the answer? " * 5)]

PIECES = [
    {"choices": [{"delta": {"role": "assistant", "content": None}}], "model": "m-1"},
    {"choices": [{"delta": {"content": "For"}}]},
    {"choices": [{"delta": {"content": "ty-two ü"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": SOME},
]


def chunks(*texts):
    """Texts or bytes, as they come from a socket."""

    async def come():
        for text in texts:
            yield text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")

    return come()


def reader(kind="openai"):
    return Reader(DIALECTS[kind], {}, "m at url", None, 1000)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", "\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("head", ["", "\ufeff", ": keep-alive\n\n", "retry: 10\nid: 1\n"])
async def test_a_stream_of_every_line_end_in_every_cut(end, size, head):
    text = head + events(*PIECES, end=end)
    text = text.replace("data: ", ": comment\nevent: x\ndata:", 2)
    data = text.encode()
    reply, first = await reader().stream(
        chunks(*(data[i : i + size] for i in range(0, len(data), size)))
    )
    assert (reply.text, reply.finish_reason) == ("Forty-two ü", "stop")
    assert (reply.usage.input, reply.usage.output, reply.model) == (25, 2, "m-1")
    assert first is not None


async def test_data_over_several_lines_is_one_event():
    body = json.dumps(PIECES[1], indent=1).replace("\n", "\ndata: ")
    found = [data async for data in sse.events(chunks(f"data: {body}\n\ndata: x"))]
    assert json.loads(found[0]) == PIECES[1]
    assert found[1] == b"x"


PARTS = [
    {"choices": [{"delta": {"content": [
        {"type": "thinking", "thinking": [{"type": "text", "text": "I count. "}]}]}}]},
    {"choices": [{"delta": {"content": [{"type": "text", "text": "Forty"}, {"type": "odd"}]}}]},
    {"choices": [{"delta": {"content": ["-two"]}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
]  # fmt: skip


async def test_content_parts_come_as_lists_in_deltas_and_in_messages():
    reply, _ = await reader().stream(chunks(events(*PARTS)))
    assert (reply.text, reply.reasoning) == ("Forty-two", "I count.")
    parts = [part for piece in PARTS[:3] for part in piece["choices"][0]["delta"]["content"]]
    whole = await reader().whole(json.dumps(chat(parts)).encode())
    assert (whole.text, whole.reasoning) == (reply.text, reply.reasoning)


async def test_the_end_may_come_without_a_finish_reason_but_not_without_an_end():
    for said in (PIECES[:3], PIECES[:3] + PIECES[4:]):
        reply, _ = await reader().stream(chunks(events(*said)))
        assert (reply.text, reply.finish_reason) == ("Forty-two ü", "")
        with pytest.raises(TransientError, match="ended before the reply did") as caught:
            await reader().stream(chunks(events(*said, done=False)))
        assert caught.value.lost
    with pytest.raises(TransientError):
        await reader().stream(chunks(events(PIECES[0], PIECES[4])))


async def test_the_first_finish_reason_stands_where_a_closing_chunk_has_another():
    cut = {"choices": [{"delta": {}, "finish_reason": "length"}]}
    reply, _ = await reader().stream(chunks(events(*PIECES[:3], cut, *PIECES[3:])))
    assert reply.finish_reason == "length"


MALFORMED = [
    [], [1], "null", 5, '"text"', "{broken", "\udcff", True, "[DONE",
    {"choices": "none"}, {"choices": {}}, {"choices": 5}, {"choices": [None]},
    {"choices": ["x"]}, {"choices": [{"delta": "x"}]}, {"choices": [{"delta": [1]}]},
    {"choices": [{"delta": {"content": 5}}]}, {"choices": [{"delta": {"content": [5]}}]},
    {"choices": [{"delta": {"content": {"answer": "42"}}}]},
]  # fmt: skip


@pytest.mark.parametrize("event", MALFORMED)
async def test_a_malformed_event_is_one_transient_error_that_quotes_it(event):
    text = event if isinstance(event, str) else json.dumps(event)
    with pytest.raises(TransientError) as caught:
        await reader().stream(chunks(events(PIECES[1], text, *PIECES[2:])))
    assert caught.value.lost
    assert "it begins with" in str(caught.value)
    shown = text.replace("\udcff", "\ufffd").replace("\\", "")
    assert shown[:6] in str(caught.value)
    fault = sent(events(PIECES[1], text, *PIECES[2:]), "events")
    async with FakeServer(faults=in_order(fault)) as server:
        config = OpenAIModel("x", "m", base_url=server.url, backoff_s=0.001, stream=True)
        async with config.open() as client:
            reply = await client.complete(ASK, Sampling())
    assert (reply.text, reply.attempts, reply.lost_attempts) == (ASK[-1].content, 2, 1)


@pytest.mark.parametrize(
    "event",
    [
        [], None, 5, "x",
        {"type": "message_start", "message": 5}, {"type": "message_start"},
        {"type": "message_start", "message": {"usage": 5}},
        {"type": "content_block_delta", "index": {}, "delta": 5},
        {"type": "content_block_delta", "delta": {"text": 5}},
        {"type": "message_delta", "delta": None}, {"type": "message_delta"},
        {"type": "message_delta", "delta": {}, "usage": [1]},
    ],
)  # fmt: skip
async def test_a_malformed_event_of_the_messages_api(event):
    fine = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    text = {"type": "content_block_delta", "index": 0, "delta": {"text": "x"}}
    with pytest.raises(TransientError, match="it begins with") as caught:
        await reader("anthropic").stream(chunks(events(text, event, fine)))
    assert caught.value.lost


async def test_a_server_that_does_not_stream_is_read_all_the_same():
    for kind in DIALECTS:
        body = json.dumps(with_end(kind, "stop"))
        reply, first = await reader(kind).stream(chunks(body[:20], body[20:]))
        assert (reply.text, reply.finish_reason, first) == ("a b", "stop", None)
    for head in ("", ": processing\n\n", "\n"):  # and one that always streams
        reply = await reader().whole((head + events(*PIECES)).encode())
        assert (reply.text, reply.finish_reason) == ("Forty-two ü", "stop")


async def test_an_error_after_tokens_is_typed_and_lost_only_where_it_passes():
    for error, kind in (({"message": OVERFLOW}, ContextOverflow), ({"code": 500}, TransientError)):
        for text in (events(*PIECES[:2], {"error": error}), events(*PIECES[:2], done=False)
                     + f"error: {json.dumps({'error': error})}\n\n"):  # fmt: skip
            with pytest.raises(kind) as caught:
                await reader().stream(chunks(text))
            assert getattr(caught.value, "lost", True)


async def test_figures_of_a_message_stream_are_not_undone_by_zeros():
    start = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 25, "output_tokens": 1}},
    }
    text = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": "x"},
    }
    usage = {"input_tokens": 0, "cache_read_input_tokens": None, "output_tokens": 7}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    reply, _ = await reader("anthropic").stream(chunks(events(start, text, last, done=False)))
    assert (reply.text, reply.usage.input, reply.usage.output) == ("x", 25, 7)


# -- any bytes at all

NAMES = st.sampled_from([
    "choices", "message", "delta", "content", "finish_reason", "error", "code", "usage", "type",
    "prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details", "text",
    "reasoning_content", "refusal", "model", "index", "stop_reason", "input_tokens", "metadata",
    "output_tokens", "thinking", "raw", "status", "detail", "base_resp", "content_block", "errors",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
KIND = st.sampled_from(["message", "message_start", "content_block_delta", "message_delta", "error",
                        "content_block_start", "message_stop", "text"])  # fmt: skip
BODY = JSON | st.builds(lambda kind, rest: {**rest, "type": kind}, KIND,
                        st.dictionaries(NAMES, JSON, max_size=4))  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(body=BODY, kind=st.sampled_from(list(DIALECTS)))
async def test_any_body_is_a_reply_or_a_typed_error(body, kind):
    try:
        reply = await reader(kind).whole(json.dumps(body).encode())
    except (TransientError, ModelError):
        return
    assert isinstance(reply, Reply)
    assert isinstance(reply.text, str)


@settings(max_examples=400, deadline=None)
@given(parts=st.lists(BODY, max_size=4), kind=st.sampled_from(list(DIALECTS)), done=st.booleans())
async def test_any_stream_is_a_reply_or_a_typed_error(parts, kind, done):
    try:
        reply, _ = await reader(kind).stream(chunks(events(*map(json.dumps, parts), done=done)))
    except (TransientError, ModelError):
        return
    assert isinstance(reply.text, str)


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize(
    "name", ["error", "detail", "content", "choices", "delta", "usage", "type"]
)
async def test_levels_without_end_are_a_typed_error(name, kind):
    for deep in ("[" * 900 + "]" * 900, '{"error":' * 900 + "1" + "}" * 900):
        for body in (
            f'{{"{name}": {deep}}}',
            f'{{"choices": [{{"message": {{"{name}": {deep}}}, "finish_reason": "stop"}}]}}',
            f'{{"type": "message", "stop_reason": "end_turn", "content": [{deep}]}}',
        ):
            with contextlib.suppress(TransientError, ModelError):
                # A field that is not read may be as deep as it likes.
                assert not (await reader(kind).whole(body.encode())).text


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=5), kind=st.sampled_from(list(DIALECTS)))
async def test_any_bytes_are_a_typed_error(pieces, kind):
    with pytest.raises((TransientError, ModelError)):
        await reader(kind).stream(chunks(*pieces))
    with pytest.raises((TransientError, ModelError)):
        await reader(kind).whole(b"".join(pieces))


@pytest.mark.parametrize(
    ("latency", "limits", "works"),
    [
        (1.1, {"timeout_s": 1.0, "first_token_s": 60.0}, True),  # waiting in the server is no fault
        (1.1, {"timeout_s": 5.0, "first_token_s": 0.1}, False),
        (0.0, {"timeout_s": 5.0, "first_token_s": 5.0, "stall_s": 0.02}, False),
        (0.0, {"timeout_s": 0.02, "first_token_s": 5.0, "stall_s": 5.0}, False),
    ],
)
async def test_the_time_to_the_first_token_the_reply_and_a_stall_have_limits_of_their_own(
    latency, limits, works
):
    pause = 0.01 if works else 0.1
    async with FakeServer(reply=lambda _: "a b c", latency=latency, chunk_seconds=pause) as server:
        config = OpenAIModel("m", "m", server.url, stream=True, retries=0, **limits)
        async with config.open() as client:
            if works:
                reply = await client.complete(ASK, Sampling())
                assert reply.first_token_seconds >= latency
            else:
                with pytest.raises(ModelError, match="no reply within"):
                    await client.complete(ASK, Sampling())


def test_a_first_token_can_be_timed_in_a_stream_alone():
    with pytest.raises(ValueError, match="stream=true"):
        OpenAIModel("m", "m", "http://x/v1", first_token_s=5.0)
