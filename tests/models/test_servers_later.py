"""What a server sends instead of a reply behind a good one, and replies of other statuses."""

import json

import pytest
from aiohttp import web
from odd_server import chat, odd_server

from rlm_eval.core.errors import BadRequest, EndpointUnusable, ProviderError
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.model import OpenAIModel

ASK = [Message("user", "hello")]
PAGE = "<html><h1>We are down for maintenance</h1></html>"
CLOSED = "<html><h1>403 Forbidden</h1><center>Application-Gateway</center></html>"


def page(text, status=200, **headers):
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def good(status=200):
    return web.json_response(chat("fine"), status=status)


async def replies(*answers, calls=1, retries=1, base="/v1"):
    """(the last call's reply, requests) where each request gets the next answer; the last stays."""
    left, seen = [*answers], []

    async def answer(request):
        seen.append(request.path)
        return (left.pop(0) if len(left) > 1 else left[0])()

    async with odd_server(answer) as url:
        config = OpenAIModel("tested", "m", base_url=url + base, backoff_s=0.001, retries=retries)
        async with config.open() as client:
            for _ in range(calls):
                reply = await client.complete(ASK, Sampling())
    return reply, len(seen)


PASSING = {
    "web page": lambda: page(PAGE),
    "redirect": lambda: page("", 302, Location="/maintenance"),
    "no such page": lambda: page("default backend - 404", 404),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("base", ["/v1", "/other"])
async def test_what_is_no_api_at_first_is_a_passing_fault_later(fault, base):
    with pytest.raises(EndpointUnusable):
        await replies(fault, base=base)
    reply, requests = await replies(good, fault, good, calls=2, base=base)
    assert (reply.text, reply.attempts, requests) == ("fine", 2, 3)
    with pytest.raises(ProviderError, match="gave up after 2"):
        await replies(good, fault, calls=2, base=base)


async def test_a_model_that_is_gone_later_is_named_at_once():
    told = json.dumps({"error": {"message": "The model `m` does not exist"}})
    with pytest.raises(EndpointUnusable, match="check `model`"):
        await replies(good, lambda: web.Response(status=404, text=told), calls=2)


@pytest.mark.parametrize("inside", [False, True])
async def test_a_403_is_about_the_key_only_until_it_was_accepted(inside):
    told = {"error": {"code": 403, "message": "Forbidden by rule 7"}}

    def closed():
        return web.json_response(told) if inside else page(CLOSED, 403)

    with pytest.raises(EndpointUnusable, match="authentication failed"):
        await replies(closed)
    quoted = "Forbidden by rule 7" if inside else "403 Forbidden Application-Gateway"
    with pytest.raises(BadRequest, match=quoted):
        await replies(good, closed, calls=2)


async def test_a_401_is_about_the_key_whenever_it_comes():
    with pytest.raises(EndpointUnusable, match="authentication failed"):
        await replies(good, lambda: web.Response(status=401), calls=2)


@pytest.mark.parametrize("status", [200, 201, 203])
async def test_a_reply_is_read_under_every_status_that_means_one(status):
    reply, requests = await replies(lambda: good(status))
    assert (reply.text, requests) == ("fine", 1)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda: web.Response(status=202), "HTTP 202: .*answers later, at another address"),
        (lambda: web.Response(status=204), "HTTP 204: .*it holds no reply"),
        (lambda: web.Response(status=206, text="half"), "HTTP 206: half; it holds no reply"),
        (lambda: web.Response(status=201), "the reply is not JSON"),
        (lambda: web.Response(status=200), "the reply is not JSON"),
    ],
)
async def test_a_2xx_without_a_reply_is_lost_and_retried(answer, told):
    reply, requests = await replies(answer, good)
    assert (reply.text, reply.lost_attempts, requests) == ("fine", 1, 2)
    with pytest.raises(ProviderError, match=told):
        await replies(answer)
