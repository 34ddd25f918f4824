"""How streams end: errors between events, connections left open or broken behind a reply."""

import asyncio
import json

import pytest
from aiohttp import web
from bodies import OVERFLOW, SOME, events
from odd_server import odd_server

from rlm_eval.core.errors import ContextOverflow, ProviderError
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http import sse
from rlm_eval.models.http.anthropic import AnthropicDialect, AnthropicModel
from rlm_eval.models.http.http_errors import TransientError
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import OpenAIDialect
from rlm_eval.models.http.reading import Reader

ASK = [Message("user", "What is the answer? " * 5)]
PIECES = [
    {"choices": [{"delta": {"role": "assistant", "content": "Forty"}}], "model": "m-1"},
    {"choices": [{"delta": {"content": "-two"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": SOME},
]
MESSAGE = [
    {"type": "message_start", "message": {"model": "m-1", "usage": {"input_tokens": 25}}},
    {"type": "content_block_delta", "index": 0, "delta": {"text": "Forty-two"}},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]
DONE = "data: [DONE]\n\n"


async def read(text, size=10_000, dialect=None):
    async def come():
        data = text.encode()
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return await Reader(dialect or OpenAIDialect(), {}, "m at url", None, 1000).stream(come())


# -- errors between events

ERROR = {"error": {"message": "upstream died", "code": 502}}
HALF = events(PIECES[0], done=False)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (json.dumps(ERROR) + "\n\n", "upstream died"),
        (json.dumps(ERROR) + "\n", "upstream died"),
        (json.dumps(ERROR) + "\r\n\r\n", "upstream died"),
        (json.dumps(ERROR, indent=2) + "\n\n", "upstream died"),
        ("\n  " + json.dumps([ERROR]) + "\n\n", "upstream died"),
        ("<html>\n\n<h1>502 Bad Gateway</h1></html>\n\n", "502 Bad Gateway"),
        ("{broken\n\n", "broken"),
        ("event: error\ndata: upstream connect error\n\n", "upstream connect error"),
        ('event: error\ndata: {"status":"fail","text":"overloaded"}\n\n', "overloaded"),
        ('event:error\r\ndata:{"type":"error","message":"overloaded"}\r\n\r\n', "overloaded"),
        ("event: server_error\ndata: {}\n\n", "error"),
        ("event: error\n\n", "error"),
        ("event: x\nevent: error\ndata: busy\n", "busy"),
    ],
)
async def test_an_error_between_events_is_found_in_every_cut(error, words, size):
    with pytest.raises(TransientError, match=words) as caught:
        await read(HALF + error + DONE, size)
    assert caught.value.lost


async def test_an_error_event_is_what_its_words_say():
    for data in (OVERFLOW, json.dumps({"text": OVERFLOW}), json.dumps({"message": OVERFLOW})):
        with pytest.raises(ContextOverflow):
            await read(f"{HALF}event: error\ndata: {data}\n\n{DONE}")


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_an_event_that_no_field_announces_is_one_all_the_same(size):
    text = HALF + json.dumps(PIECES[1]) + "\n\n" + events(*PIECES[2:])
    assert (await read(text, size))[0].text == "Forty-two"


async def test_the_name_of_an_event_is_its_own_alone():
    text = "event: errors_none\ndata: 1\n\nevent: error\ndata: 2\n\ndata: 3\n\nevent: x\ndata: 4"

    async def come():
        yield text.encode()

    found = [(bytes(data), isinstance(data, sse.Failed)) async for data in sse.events(come())]
    assert found == [(b"1", False), (b"2", True), (b"3", False), (b"4", False)]


# -- connections that do not end behind a reply


async def hang(_http):
    await asyncio.Event().wait()


async def reset(http):
    http.transport.abort()


async def ask(bodies, after, kind=OpenAIModel, calls=1, **fields):
    """The replies to `calls` requests; a server that sends `bodies`, and then does `after`."""
    seen = []

    async def answer(http):
        seen.append(http.transport.get_extra_info("peername"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        for body in bodies:
            await response.write(body.encode())
        if after:
            await after(http)
        return response

    fields = {"backoff_s": 0.001, "retries": 0, "timeout_s": 30.0, **fields}
    async with odd_server(answer) as url:
        config = kind("t", "m", base_url=f"{url}/v1", stream=True, **fields)
        async with config.open() as client:
            replies = [await client.complete(ASK, Sampling()) for _ in range(calls)]
    return replies, len(set(seen))


@pytest.mark.parametrize("after", [hang, reset])
@pytest.mark.parametrize("limits", [{}, {"first_token_s": 30.0}])
@pytest.mark.parametrize("end", [DONE, "data: [DONE]\r\r", "data: [DONE]\n", "data: [DONE]"])
async def test_a_connection_that_stays_or_breaks_behind_the_end_loses_no_reply(after, limits, end):
    ((reply,), _) = await ask([events(*PIECES, done=False) + end], after, **limits)
    assert (reply.text, reply.finish_reason, reply.usage.output) == ("Forty-two", "stop", 2)
    assert reply.attempts == 1


@pytest.mark.parametrize("after", [hang, reset])
async def test_a_message_ends_with_its_last_event(after):
    ((reply,), _) = await ask([events(*MESSAGE, done=False)], after, AnthropicModel)
    assert (reply.text, reply.finish_reason, reply.usage.output) == ("Forty-two", "stop", 2)


@pytest.mark.parametrize("limits", [{}, {"first_token_s": 30.0}])
async def test_a_reply_whose_end_was_said_is_whole_however_its_connection_ends(limits):
    text = events(*PIECES, done=False)
    for after in (reset, hang):
        ((reply,), _) = await ask([text], after, stall_s=0.1, **limits)
        assert (reply.text, reply.usage.output) == ("Forty-two", 2)
    for half in (text[:-9], events(*PIECES[:3], done=False)):  # its usage is unknown, not zero
        ((reply,), _) = await ask([half], reset, **limits)
        assert (reply.text, reply.usage.output) == ("Forty-two", None)


@pytest.mark.parametrize("limits", [{}, {"first_token_s": 30.0}])
async def test_a_reply_whose_end_was_not_said_is_none(limits):
    for after in (reset, hang):
        with pytest.raises(ProviderError, match="gave up"):
            await ask([events(*PIECES[:2], done=False)], after, stall_s=0.1, **limits)


async def test_a_connection_serves_many_streams():
    replies, connections = await ask([events(*PIECES, done=False), DONE], None, calls=4)
    assert [reply.text for reply in replies] == ["Forty-two"] * 4
    assert connections == 1


async def test_the_dialects_tell_an_end_from_the_last_event():
    for dialect, pieces in ((OpenAIDialect(), PIECES), (AnthropicDialect(9), MESSAGE)):
        stream, states = dialect.stream(), []
        for piece in pieces:
            stream.feed(piece)
            states.append((stream.done, stream.over))
        stream.end()
        assert states[1] == (False, False)
        assert states[2] == (True, False)
        assert stream.over
