"""Prompts counted by the servers that can, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rlm_eval.core.errors import ProviderError
from rlm_eval.core.types import Message
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.scripted import ScriptedModel
from rlm_eval.runner.resources import endpoint

PROMPT = [Message("system", "Be brief."), Message("user", "How many?")]


@asynccontextmanager
async def server(path: str, replies: list[Any]) -> AsyncIterator[tuple[str, list[Any]]]:
    """Answers at `path` in order, the last one for ever; a number is a status."""
    bodies: list[Any] = []

    async def serve(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        reply = replies[min(len(bodies), len(replies)) - 1]
        status = reply if isinstance(reply, int) else 200
        return web.json_response({} if isinstance(reply, int) else reply, status=status)

    app = web.Application()
    app.router.add_post(path, serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/v1", bodies
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("/v1/chat/completions/input_tokens", {"input_tokens": 41}),
        ("/tokenize", {"count": 41, "max_model_len": 8192, "tokens": [0] * 41}),
    ],
)
async def test_the_address_is_found_once(path: str, reply: Any) -> None:
    async with (
        server(path, [reply]) as (url, bodies),
        OpenAIModel(name="m", model="m", base_url=url).open() as client,
    ):
        assert [await client.count_tokens(PROMPT) for _ in range(2)] == [41, 41]
    messages = [{"role": m.role, "content": m.content} for m in PROMPT]
    assert len(bodies) == 3  # the first one looked for the address
    assert bodies[1] == bodies[2] == {"model": "m", "messages": messages}


async def test_anthropics_address_takes_the_system_message_apart() -> None:
    async with (
        server("/v1/messages/count_tokens", [{"input_tokens": 9}]) as (url, bodies),
        AnthropicModel(name="m", model="m", base_url=url).open() as client,
    ):
        assert await client.count_tokens(PROMPT) == 9
    messages = [{"role": "user", "content": "How many?"}]
    assert bodies[1] == {"model": "m", "messages": messages, "system": "Be brief."}


@pytest.mark.parametrize("replies", [[404], [{"tokens": []}], [500]])
async def test_a_server_that_cannot_count_is_asked_once(replies: list[Any]) -> None:
    async with (
        server("/tokenize", replies) as (url, bodies),
        OpenAIModel(name="m", model="m", base_url=url, retries=0).open() as client,
    ):
        assert [await client.count_tokens(PROMPT) for _ in range(3)] == [None] * 3
    assert len(bodies) == 1


async def test_one_that_can_but_does_not_answer_is_an_error_not_an_estimate() -> None:
    replies = [{"count": 3}, 503, {"count": 5}, 503]
    async with server("/tokenize", replies) as (url, _):
        model = OpenAIModel(name="m", model="m", base_url=url, retries=1, backoff_s=0.01)
        async with model.open() as client:
            assert await client.count_tokens(PROMPT) == 5
            with pytest.raises(ProviderError, match="cannot be counted at .*/tokenize: HTTP 503"):
                await client.count_tokens(PROMPT)


async def test_a_named_tokenizer_counts_the_texts_alone() -> None:
    model = OpenAIModel(name="m", model="m", base_url="http://127.0.0.1:9/v1", tokenizer="approx4")
    async with model.open() as client:
        opened = endpoint(model, client)
    assert opened.counter == "approx4"
    assert opened.count is not None
    assert await opened.count(PROMPT) == 6


async def test_a_script_counts_as_it_answers() -> None:
    async with ScriptedModel(window=100).open() as client:
        opened = endpoint(ScriptedModel(window=100), client)
    assert opened.count is not None
    assert (await opened.count(PROMPT), opened.counter) == (5, "server")
