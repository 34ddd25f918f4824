"""Replies that are well formed and yet wrong: figures, streams of two replies, vectors, waits."""

import time
from email.utils import formatdate

import pytest
from bodies import chat, events, sent
from fake_server import FakeServer, always, in_order

from rlm_eval.core.errors import ProviderError
from rlm_eval.core.types import Message, Usage
from rlm_eval.models import Sampling
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.embedding import EmbeddingModel
from rlm_eval.models.http.http_errors import seconds_until
from rlm_eval.models.http.model import OpenAIModel

ASK = [Message("user", "What is the answer? " * 5)]


async def ask(fault, kind=OpenAIModel, plan=always, messages=ASK, **fields):
    async with FakeServer(faults=plan(fault)) as server:
        fields = {"backoff_s": 0.001, "retries": 1, **fields}
        config = kind("tested", "fake-model", base_url=server.url, **fields)
        async with config.open() as client:
            return await client.complete(messages, Sampling())


# -- usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("told", "usage"),
    [
        # No text has 0 tokens: unknown, or its cost would be too low.
        ({"prompt_tokens": 25, "completion_tokens": 0, "total_tokens": 25}, Usage(input=25)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
        ({"prompt_tokens": "25", "completion_tokens": "2"}, Usage(input=25, output=2)),
        ({"prompt_tokens": "many", "completion_tokens": 2}, Usage(output=2)),
        # Cached tokens left out of the input, but not out of the total, are no output.
        (
            {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 160,
             "prompt_tokens_details": {"cached_tokens": 50}},
            Usage(input=150, cached=50, output=10),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 160,
             "prompt_tokens_details": {"cached_tokens": 50},
             "completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(input=150, cached=50, output=10, reasoning=4),
        ),
        # Reasoning that was left out of the output stays what it is, cached tokens or not.
        (
            {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 160,
             "prompt_tokens_details": {"cached_tokens": 50},
             "completion_tokens_details": {"reasoning_tokens": 50}},
            Usage(input=100, cached=50, output=60, reasoning=50),
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 160,
             "prompt_tokens_details": {"cached_tokens": 64}},
            Usage(input=100, cached=64, output=60, reasoning=50),
        ),
        # The names of Anthropic beside those of OpenAI, the cache left out of the input or not.
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 215,
             "cache_read_input_tokens": 200},
            Usage(input=210, cached=200, output=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 215,
             "cache_creation_input_tokens": 200, "cache_read_input_tokens": 0},
            Usage(input=210, cached=0, output=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 265,
             "cache_creation_input_tokens": 50, "cache_read_input_tokens": 200},
            Usage(input=260, cached=200, output=5),
        ),
        (
            {"prompt_tokens": 210, "completion_tokens": 5, "total_tokens": 215,
             "cache_read_input_tokens": 200, "cache_creation_input_tokens": 0},
            Usage(input=210, cached=200, output=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "cache_creation_input_tokens": 200},
            Usage(input=210, output=5),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 215,
             "completion_tokens_details": {"reasoning_tokens": 200},
             "cache_read_input_tokens": 200},
            Usage(input=210, cached=200, output=205, reasoning=200),
        ),
    ],
)  # fmt: skip
async def test_servers_that_miscount_make_no_figure_that_cannot_be(told, usage, stream):
    body = chat("a b c", usage=told)
    if stream:
        first = {"choices": [{"delta": {"content": "a b c"}, "finish_reason": "stop"}]}
        fault = sent(events(first, {"choices": [], "usage": told}), "events")
    else:
        fault = sent(body)
    assert (await ask(fault, stream=stream)).usage == usage


# -- streams


def chunk(text, end=None, index=0, **more):
    delta = {"content": text} | {name: more.pop(name) for name in ("role",) if name in more}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": end}], **more}


async def test_servers_that_stream_several_choices_give_the_first_one_alone():
    mixed = events(
        chunk("first "), chunk("second ", index=1), chunk("one", "stop"), chunk("x", "stop", 1)
    )
    reply = await ask(sent(mixed, "events"), stream=True)
    assert reply.text == "first one"


async def test_servers_that_begin_a_stream_again_do_not_double_its_text():
    """A gateway whose server died in the middle of a reply asked another one."""
    halves = events(
        chunk("", role="assistant", id="a"), chunk("The number ", id="a"),
        chunk("", role="assistant", id="b"), chunk("The number is 7.", "stop", id="b"),
    )  # fmt: skip
    reply = await ask(sent(halves, "events"), plan=in_order, stream=True)
    assert (reply.text, reply.attempts, reply.lost_attempts) == (ASK[0].content, 2, 1)
    with pytest.raises(ProviderError, match="began again"):
        await ask(sent(halves, "events"), stream=True)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25}}}
    delta = {"type": "text_delta", "text": "The number "}
    piece = {"type": "content_block_delta", "index": 0, "delta": delta}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    for fault in (sent(events(start, piece, start, piece, end), "events"),):
        with pytest.raises(ProviderError, match="began again"):
            await ask(fault, AnthropicModel, stream=True)


@pytest.mark.parametrize(
    "chunks",
    [
        # An id for every chunk, with or without the role; a role in every chunk of one id.
        [chunk(text, role="assistant", id=text) for text in "abc"],
        [chunk(text, id=text) for text in "abc"],
        [chunk(text, role="assistant", id="x") for text in "abc"],
        [chunk(text, role="assistant") for text in "abc"],
        [chunk("", role="assistant", id="x"), chunk("a", id="y"), chunk("b"), chunk("c", id="y")],
    ],
)
async def test_servers_with_odd_ids_stream_one_reply_all_the_same(chunks):
    fault = sent(events(*chunks, chunk("", "stop")), "events")
    assert (await ask(fault, stream=True, retries=0)).text == "abc"


# -- vectors


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[0.5, 1.0]], "1 embeddings for 2 texts"),
        ([[0.5, 1.0]] * 4, "4 embeddings for 2 texts"),  # they would be read as two of four numbers
        ([[0.0, 0.0], [0.0, 0.0]], "zeros"),
        ([[1e9, 0.5], [0.5, 1.0]], "beyond 16-bit floats"),
    ],
)
async def test_servers_that_embed_other_than_what_was_asked_are_asked_again(vectors, said):
    rows = [{"index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 9, "total_tokens": 9}

    async def respond(rows):
        from aiohttp import web
        from odd_server import odd_server

        async def answer(request):
            known = request.path.endswith("/embeddings")
            return web.json_response({"data": rows, "usage": usage}, status=200 if known else 404)

        async with odd_server(answer) as url:
            config = EmbeddingModel("tested", "m", base_url=f"{url}/v1", retries=1, backoff_s=0.001)
            async with config.open() as client:
                return await client.complete([ASK[0]] * 2, Sampling())

    with pytest.raises(ProviderError, match=f"gave up after 2.*{said}"):
        await respond(rows)
    fine = [{"index": i, "embedding": [0.5, 1.0]} for i in range(2)]
    assert (await respond(fine)).usage == Usage(input=9, output=0)


# -- waits


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_wait_until_a_date_depends_on_no_time_zone(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        then = time.time() + 60
        for date in (formatdate(then, usegmt=True), formatdate(then), formatdate(then)[:-6]):
            assert 55 < seconds_until({"Retry-After": date}) <= 60
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_wait_until_a_date_is_by_the_clock_of_the_server():
    now = time.time() - 3 * 3600  # it is three hours behind ours
    headers = {"Retry-After": formatdate(now + 40, usegmt=True)}
    assert seconds_until(headers) == 0
    assert seconds_until({**headers, "Date": formatdate(now, usegmt=True)}) == 40
    assert seconds_until({**headers, "Date": "today"}) == 0
    for odd in ("Wed, 29 Feb 2027 00:00:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "", "soon"):
        assert seconds_until({"Retry-After": odd}) is None
