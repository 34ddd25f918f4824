"""Addresses, keys, connections and bodies as users give them and servers really send them."""

import asyncio
import gzip
import json
import tracemalloc
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from fake_server import FakeServer
from odd_server import chat, odd_server

from rlm_eval.core.errors import ConfigError, EndpointUnusable, ModelError, ProviderError
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http import address
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.reading import loads

ASK = [Message("user", "hello")]


def model(url, **fields):
    return OpenAIModel("tested", "m", base_url=url, **{"backoff_s": 0.001, "retries": 2, **fields})


async def ask(config):
    async with config.open() as client:
        return await client.complete(ASK, Sampling())


def always(body, **options):
    """A server with one answer."""

    async def answer(_request):
        return web.Response(body=body, **{"content_type": "application/json", **options})

    return odd_server(answer)


# -- addresses


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h/v1", "/models", "http://h/v1/models"),
        ("http://h/v1/", "/models", "http://h/v1/models"),
        (" http://h/v1\n", "/models", "http://h/v1/models"),
        ("https://h/d/x?api-version=1", "/models", "https://h/d/x/models?api-version=1"),
        ("http://0.0.0.0:8000/v1", "/models", "http://127.0.0.1:8000/v1/models"),
        ("http://[::]:8000/v1", "/models", "http://[::1]:8000/v1/models"),
        ("http://[::1]:8000/v1", "/models", "http://[::1]:8000/v1/models"),
    ],
)
def test_servers_are_asked_below_their_base(base, path, url):
    assert address.below(base, path) == url


def test_servers_have_pages_beside_their_base():
    base = "http://h:8000/v1?api-version=1"
    assert address.relative(base, "../tokenize") == "http://h:8000/tokenize?api-version=1"
    assert address.relative(base, "messages/x") == "http://h:8000/v1/messages/x?api-version=1"
    assert address.root(base) == "http://h:8000"


@pytest.mark.parametrize(
    ("base", "here"),
    [
        ("http://127.0.0.1/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://localhost:1/v1", True),
        ("http://0.0.0.0:1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://[::]/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://api.example.org/v1", False),
    ],
)
def test_servers_on_this_machine_are_asked_without_a_proxy(base, here):
    assert address.is_loopback(base) == here


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("127.0.0.1:8000/v1", "must start with http"),
        ("http://h:port/v1", "as http://127.0.0.1:8000/v1"),
        ("http:///v1", "no host"),
        ("http://::1:8000/v1", "brackets"),
        ("http://h/v1#x", "leave out #x"),
        ("http://h/v1/chat/completions", "leave out /chat/completions"),
        ("http://h/v1/chat/completions/?api-version=1", "leave out /chat/completions"),
    ],
)
def test_an_address_that_cannot_work_is_refused(base, words):
    with pytest.raises(ValueError, match=words):
        model(base)


def test_each_api_has_its_own_end():
    with pytest.raises(ValueError, match="leave out /messages"):
        AnthropicModel("x", "m", base_url="http://h/v1/messages")


async def test_servers_with_a_query_in_their_address_get_it_with_every_request():
    seen = []

    async def answer(request):
        seen.append((request.path, request.query_string))
        return web.json_response(chat() if request.method == "POST" else {"data": []})

    async with odd_server(answer) as url:
        config = model(url + "/openai/deployments/d?api-version=2024-10-21")
        async with config.open() as client:
            await client.check()
    path = "/openai/deployments/d"
    assert set(seen) == {
        (f"{path}/models", "api-version=2024-10-21"),
        (f"{path}/chat/completions", "api-version=2024-10-21"),
    }


async def test_servers_that_listen_everywhere_are_asked_here(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with FakeServer() as server:
        url = server.url.replace("127.0.0.1", "0.0.0.0")
        assert (await ask(model(url))).text == "hello"


async def test_servers_over_ipv6(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def answer(_request):
        return web.json_response(chat())

    try:
        async with odd_server(answer, host="::1") as url:
            assert (await ask(model(url + "/v1"))).text == "ready"
    except OSError:
        pytest.skip("no IPv6 here")


@pytest.mark.parametrize("status", [404, 405])
async def test_servers_asked_without_v1_say_what_to_try(status):
    async with always(b"not here", status=status, content_type="text/plain") as url:
        with pytest.raises(ModelError) as caught:
            await ask(model(url))
        assert f"try base_url={url}/v1" in str(caught.value)
        with pytest.raises(ModelError) as caught:
            await ask(model(url + "/v1"))
        assert "try base_url" not in str(caught.value)


async def test_servers_that_answer_with_a_web_page_are_no_api():
    async with always(b"<!doctype html><p>Welcome", content_type="text/html") as url:
        with pytest.raises(EndpointUnusable, match="answers with a web page.*try base_url"):
            await ask(model(url))


# -- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["same", "elsewhere"])
async def test_servers_that_redirect_are_named_not_followed(status, to):
    seen = []

    async def answer(request):
        seen.append((request.method, request.path))
        target = f"https://{request.host}{request.path}" if to == "same" else "/login"
        return web.Response(status=status, headers={"Location": target})

    async with odd_server(answer) as url:
        with pytest.raises(EndpointUnusable, match=f"HTTP {status}: redirected to") as caught:
            await ask(model(url + "/v1"))
        secure = url.replace("http:", "https:")
        better = f"set base_url={secure}/v1" if to == "same" else "check base_url"
        assert better in str(caught.value)
    assert seen == [("POST", "/v1/chat/completions")]


# -- keys


@pytest.mark.parametrize("given", ["sk-1\n", " sk-1\r\n", "sk-1"])
async def test_a_key_with_a_line_break_at_its_end_is_the_key(given, monkeypatch):
    monkeypatch.setenv("TESTED_KEY", given)
    async with FakeServer(api_key="sk-1") as server:
        assert (await ask(model(server.url, api_key_env="TESTED_KEY"))).text == "hello"


@pytest.mark.parametrize("given", ["sk-1\nsk-2", "sk-\u00e9", "sk-1\t2"])
async def test_a_key_that_no_header_takes_is_refused_before_any_call(given, monkeypatch):
    monkeypatch.setenv("TESTED_KEY", given)
    config = model("http://127.0.0.1:9/v1", api_key_env="TESTED_KEY")
    with pytest.raises(ConfigError, match="the value of TESTED_KEY") as caught:
        await ask(config)
    assert given not in str(caught.value)


# -- connections


@asynccontextmanager
async def closing(answers_first, delay=0.0):
    """A server that closes a connection when its next request arrives, after `answers_first` of
    them were answered; gives the address and the number of requests."""
    seen = [0]
    body = json.dumps(chat()).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"

    async def serve(reader, writer):
        answered = 0
        while True:
            try:
                sent = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(sent.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            seen[0] += 1
            if answered == answers_first:
                await asyncio.sleep(delay)
                break
            answered += 1
            writer.write(head.encode() + b"\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", seen


async def test_servers_that_closed_an_idle_connection_lose_no_reply_and_bill_none():
    async with closing(answers_first=1) as (url, seen), model(url, retries=0).open() as client:
        first = await client.complete(ASK, Sampling())
        second = await client.complete(ASK, Sampling())
    assert (first.attempts, second.attempts) == (1, 2)
    assert (second.text, second.lost_attempts) == ("ready", 0)
    assert seen[0] == 3


async def test_servers_that_drop_a_request_on_a_new_connection_may_bill_it():
    async with closing(answers_first=0) as (url, seen):
        with pytest.raises(ProviderError, match="gave up after 3 attempt") as caught:
            await ask(model(url))
    assert (seen[0], caught.value.lost_attempts) == (3, 3)


async def test_servers_that_drop_a_request_after_a_while_may_bill_it(monkeypatch):
    monkeypatch.setattr("rlm_eval.models.http.transport._STALE_S", 0.1)
    async with closing(1, delay=0.3) as (url, _), model(url).open() as client:
        await client.complete(ASK, Sampling())
        assert (await client.complete(ASK, Sampling())).lost_attempts == 1


# -- bodies


async def test_servers_that_send_half_a_surrogate_pair_lose_no_sample():
    words = json.dumps(chat("half \ud83d and whole \U0001f600")).encode()
    async with always(words) as url:
        reply = await ask(model(url))
        assert (reply.text, reply.attempts) == ("half ? and whole \U0001f600", 1)
    event = {
        "choices": [{"index": 0, "delta": {"content": "half \ud83d"}, "finish_reason": "stop"}]
    }
    stream = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
    async with always(stream, content_type="text/event-stream") as url:
        reply = await ask(model(url, stream=True))
    assert (reply.text, reply.attempts) == ("half ?", 1)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"\\udc00": ["\\ud83d\\ude00"]}', {"?": ["\U0001f600"]}),
        (b'{"p": [NaN, -Infinity, 1]}', {"p": [None, None, 1]}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "b\nc"}', {"a": "b\nc"}),
    ],
)
def test_json_as_servers_send_it(words, value):
    assert loads(words) == value
    json.dumps(loads(words)).encode()


@pytest.mark.parametrize("words", [b"", b"{", b"<html>", b"[" * 100_000])
def test_what_servers_send_that_is_no_json(words):
    with pytest.raises(ValueError, match=r"."):
        loads(words)


BOMB = gzip.compress(bytes(1 << 28), 1)  # 256 MiB in about 1 MiB


@pytest.mark.parametrize(("status", "stream"), [(200, False), (200, True), (500, False)])
async def test_servers_that_send_a_gzip_bomb_do_not_fill_the_memory(status, stream):
    options = {"status": status, "headers": {"Content-Encoding": "gzip"}}
    async with always(BOMB, **options) as url:
        tracemalloc.start()
        with pytest.raises(ProviderError) as caught:
            await ask(model(url, stream=stream, retries=0))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 200 << 20
    if status == 200:
        assert "larger than 64 MiB when decoded" in str(caught.value)
        assert (caught.value.attempts, caught.value.lost_attempts) == (1, 1)


async def test_a_bomb_is_not_asked_for_again_and_no_bomb_is_read_beside_the_calls():
    async with (
        always(BOMB, headers={"Content-Encoding": "gzip"}) as url,
        model(url, retries=5).open() as client,
    ):
        assert await client.account() is None
        with pytest.raises(ProviderError) as caught:
            await client.check()
        with pytest.raises(ProviderError, match="larger than 64 MiB"):
            await client.count_tokens(ASK) or await client.complete(ASK, Sampling())
    assert caught.value.attempts == 1
