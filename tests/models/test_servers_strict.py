"""Servers that refuse a history or the first request: what is sent, what is said, what stops."""

import pytest
from aiohttp import web
from fake_server import FakeServer, Fault, Out, always
from odd_server import chat, odd_server

from rlm_eval.core.errors import BadRequest, EndpointUnusable
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling, shown_name
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.embedding import EmbeddingModel
from rlm_eval.models.http.histories import EMPTY_TURN, Turns, remedy
from rlm_eval.models.http.model import OpenAIModel

OFFICIAL = ("system", "assistant", "user")
KINDS = {"openai": OpenAIModel, "anthropic": AnthropicModel}


def turns(*roles):
    return [Message(role, f"{role}{number}") for number, role in enumerate(roles)]


def shown(messages):
    return [(m.role, m.content) for m in messages]


def model(url, kind="openai", **fields):
    fields = {"backoff_s": 0.001, "retries": 2, **fields}
    return KINDS[kind]("tested", "m", base_url=url, **fields)


# -- what is sent


@pytest.mark.parametrize("roles", [OFFICIAL, ("user", "user"), ("system", "user", "assistant")])
def test_by_default_the_protocols_own_turns_are_sent(roles):
    assert Turns().sent(turns(*roles)) == turns(*roles)


def test_a_system_message_becomes_the_first_user_turn_or_part_of_it():
    fold = Turns(fold_system=True)
    assert shown(fold.sent(turns("system", "user", "user"))) == [
        ("user", "system0\n\nuser1"),
        ("user", "user2"),
    ]
    # Before an assistant turn it is a turn of its own: strict templates want the user first.
    assert [m.role for m in fold.sent(turns(*OFFICIAL))] == ["user", "assistant", "user"]
    assert shown(fold.sent([Message("system", ""), Message("user", "a")])) == [("user", "a")]


def test_merged_turns_alternate_from_user_to_user():
    merge = Turns(merge_turns=True)
    assert shown(merge.sent(turns("system", "user", "user", "assistant", "assistant", "user"))) == [
        ("system", "system0"),
        ("user", "user1\n\nuser2"),
        ("assistant", "assistant3\n\nassistant4"),
        ("user", "user5"),
    ]
    sent = shown(merge.sent(turns("system", "assistant", "user", "assistant")))
    assert [role for role, _ in sent] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert sent[1] == sent[-1] == ("user", EMPTY_TURN)
    both = Turns(fold_system=True, merge_turns=True).sent(turns(*OFFICIAL, "user"))
    assert shown(both)[-1] == ("user", "user2\n\nuser3")
    assert [m.role for m in both] == ["user", "assistant", "user"]


@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("kind", KINDS)
async def test_servers_get_a_stand_in_for_an_empty_turn(kind, text):
    history = [*turns("system", "user"), Message("assistant", text), *turns("user")]
    async with FakeServer() as server, model(server.url, kind).open() as client:
        await client.complete(history, Sampling())
    sent = server.log[0]["request"]["messages"]
    assert [m["content"] for m in sent if m["role"] == "assistant"] == [EMPTY_TURN]


async def test_an_empty_system_message_is_sent_as_it_is():
    """It keeps a template's default away, so that a stand-in would say something else."""
    async with FakeServer() as server, model(server.url).open() as client:
        await client.complete([Message("system", ""), Message("user", "a")], Sampling())
    assert server.log[0]["request"]["messages"][0] == {"role": "system", "content": ""}


def test_embedded_texts_are_no_turns():
    config = EmbeddingModel("e", "m", base_url="http://h/v1", merge_turns=True)
    body = config.dialect.body("m", [Message("user", "a"), Message("user", "")], Sampling(), False)
    assert body["input"] == ["a", ""]


# -- what their errors mean

REFUSALS = [
    ("Conversation roles must alternate user/assistant/user/assistant/...", "merge_turns"),
    (
        "After the optional system message, conversation roles must alternate user and assistant "
        "roles except for tool calls and results.",
        "merge_turns",
    ),
    (
        "After the (optional) system message(s), user and assistant roles should be alternating.",
        "merge_turns",
    ),
    ('messages: roles must alternate between "user" and "assistant"', "merge_turns"),
    ("Please ensure that multiturn requests alternate between user and model.", "merge_turns"),
    ("A conversation must start with a user message.", "merge_turns"),
    ('messages: first message must use the "user" role', "merge_turns"),
    ("does not support successive user or assistant messages (messages[1])", "merge_turns"),
    ("Expected last role User or Tool (or Assistant with prefix True)", "merge_turns"),
    ("Unexpected role 'user' after role 'user'", "merge_turns"),
    ("This model does not support assistant message prefill.", "merge_turns"),
    ("System role not supported", "fold_system"),
    ("Unsupported value: 'messages[0].role' does not support 'system' with this", "fold_system"),
    ("This model doesn't support system messages. Try again without", "fold_system"),
    ("Developer instruction is not enabled for models/gemma-3-27b-it", "fold_system"),
    ("Only user, assistant and tool roles are supported, got system.", "fold_system"),
    ("Only user and assistant roles are supported!", "fold_system"),
    ("Please use a valid role: user, model.", "fold_system"),
    ("System message must be at the beginning.", "fold_system"),
    ("Input should be 'user' or 'assistant'", "fold_system"),
]
OTHERS = [
    "This model's maximum context length is 8192 tokens. However, you requested 9001 tokens.",
    "max_tokens is not supported with this model. Use max_completion_tokens instead.",
    "temperature does not support 0.2 with this model. Only the default (1) value is supported.",
    "Invalid value for 'reasoning_effort': supported values are low, medium, high.",
    "Too many requests: the system is not able to take more. Please try again.",
    "messages: text content blocks must be non-empty",
    "Internal Server Error",
]


@pytest.mark.parametrize(("words", "switch"), REFUSALS)
def test_servers_that_refuse_turns_are_understood(words, switch):
    found = remedy(words, ["system", "user", "user"])
    assert found is not None
    assert f"root.{switch}=true" in found


@pytest.mark.parametrize("words", OTHERS)
def test_servers_that_refuse_something_else_are_not_misread(words):
    assert remedy(words, ["system", "user", "user"]) is None


def test_turns_in_perfect_order_are_refused_because_of_the_system_message():
    words = "Conversation roles must alternate user/assistant/user/assistant/..."
    assert "root.fold_system=true" in remedy(words, ["system", "user", "assistant", "user"])
    assert "root.merge_turns=true" in remedy(words, ["system", "user", "user"])


# -- the preflight and the samples


def strict(log, status=400, system=True):
    """A server whose chat template demands alternating turns, or knows no system role."""

    async def answer(request):
        if request.method == "GET":
            return web.json_response({"data": []})
        roles = [m["role"] for m in (await request.json())["messages"]]
        log.append(roles)
        if not system and "system" in roles:
            told = "Jinja Exception: System role not supported"
            return web.json_response({"error": {"message": told}}, status=status)
        after = roles[1:] if roles[0] == "system" else roles
        if after != (["user", "assistant"] * len(after))[: len(after)]:
            told = "Conversation roles must alternate user/assistant/user/assistant/..."
            return web.json_response({"error": {"message": told}}, status=status)
        return web.json_response(chat())

    return answer


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(("system", "switch"), [(True, "merge_turns"), (False, "fold_system")])
async def test_strict_servers_are_found_out_by_the_first_request(status, system, switch):
    log = []
    async with odd_server(strict(log, status, system)) as url:
        async with model(url + "/v1").open() as client:
            with pytest.raises(EndpointUnusable, match=f"root.{switch}=true") as caught:
                await client.prove(OFFICIAL)
            assert log == [list(OFFICIAL)]
            assert caught.value.attempts == 1
            await client.check()  # a method that sends one user turn can have this model
            with pytest.raises(EndpointUnusable, match=f"root.{switch}=true"):
                await client.complete(turns(*OFFICIAL), Sampling())
        async with model(url + "/v1", **{switch: True}).open() as client:
            assert (await client.prove(OFFICIAL)).model == "odd-1"
            assert (await client.complete(turns(*OFFICIAL), Sampling())).text == "ready"


def test_the_switches_stand_behind_the_models_name():
    fields = {"name": "m", "model": "m", "base_url": "http://h/v1"}
    assert shown_name(OpenAIModel(**fields)) == "m"
    assert shown_name(OpenAIModel(**fields, fold_system=True)) == "m [fold_system]"
    both = OpenAIModel(**fields, fold_system=True, merge_turns=True)
    assert shown_name(both) == "m [fold_system, merge_turns]"


# -- the first request


async def test_thinking_servers_have_room_in_the_first_request():
    """As gpt-5: effort, no cap named; a small cap is answered with a 400."""
    seen = []

    async def answer(request):
        if request.method == "GET":
            return web.json_response({"data": []})
        body = await request.json()
        seen.append(body["max_completion_tokens"])
        if seen[-1] < 200:
            told = "Could not finish the message because max_tokens or model output limit was "
            told += "reached. Please try again with higher max_tokens."
            return web.json_response({"error": {"message": told}}, status=400)
        return web.json_response(chat())

    fields = {"max_tokens_field": "max_completion_tokens"}
    async with odd_server(answer) as url:
        effort = Sampling(reasoning_effort="medium")
        async with model(url + "/v1", sampling=effort, **fields).open() as client:
            assert (await client.check()).model == "odd-1"
        own = Sampling(max_output_tokens=100)
        async with model(url + "/v1", sampling=own, **fields).open() as client:
            assert (await client.check()).base_url == url + "/v1"  # the 400 proves it as well
    assert seen == [1024, 100]


@pytest.mark.parametrize(
    ("ours", "other", "words"),
    [
        ("max_tokens", "max_completion_tokens", "Unsupported parameter: 'max_tokens' is not "
         "supported with this model. Use 'max_completion_tokens' instead."),
        ("max_completion_tokens", "max_tokens",
         "Unrecognized request argument supplied: max_completion_tokens"),
        ("max_completion_tokens", "max_tokens",
         "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra "
         "inputs are not permitted'}]"),
        ("max_tokens", None, "Unsupported parameter: 'top_k' is not supported with this model."),
        ("max_completion_tokens", None, "max_completion_tokens must be at most 8192"),
    ],
)  # fmt: skip
async def test_servers_that_want_another_name_of_the_cap_have_it_named(ours, other, words):
    async def answer(request):
        if request.method == "GET":
            return web.json_response({"data": []})
        return web.json_response({"error": {"message": words}}, status=400)

    kind, said = (EndpointUnusable, f"root.max_tokens_field={other}")
    if other is None:
        kind, said = BadRequest, words[:20]
    async with (
        odd_server(answer) as url,
        model(url + "/v1", max_tokens_field=ours).open() as client,
    ):
        with pytest.raises(kind, match=said) as caught:
            await client.check()
    assert ("max_tokens_field=" in str(caught.value)) == (other is not None)


async def test_a_thinking_budget_is_below_the_cap_of_the_first_request():
    sampling = Sampling(max_output_tokens=8000, extra={"thinking": {"budget_tokens": 4096}})
    async with (
        FakeServer() as server,
        model(server.url, "anthropic", sampling=sampling).open() as client,
    ):
        await client.check()
    assert server.log[0]["request"]["max_tokens"] == 8000


async def test_the_first_request_fits_a_small_window():
    async with FakeServer(models=["m"], window=400) as server, model(server.url).open() as client:
        await client.prove(("system", "user", "assistant", "user", "user"))
    assert server.log[0]["request"]["max_tokens"] == 200


@pytest.mark.parametrize("fault", ["refusal", "prompt_filter", "length", "content_filter"])
async def test_servers_that_refuse_or_cut_the_first_reply_are_proved_by_that(fault):
    async with (
        FakeServer(faults=always(Fault(fault))) as server,
        model(server.url).open() as client,
    ):
        assert (await client.check()).base_url == server.url


async def test_the_first_request_can_be_switched_off():
    async with (
        FakeServer(faults=always(Fault("status", 400)), window=100) as server,
        model(server.url, preflight=False, window=200).open() as client,
    ):
        assert (await client.check()).model == "m"
        assert not server.log
        async with model(server.url).open() as client:
            with pytest.raises(BadRequest):
                await client.check()


async def test_a_loading_server_is_waited_for_by_the_first_request():
    loading = Fault("status", 503)
    async with (
        FakeServer(faults=lambda n, _r: loading if n < 3 else None) as server,
        model(server.url, retries=5).open() as client,
    ):
        assert (await client.check()).model == "m-fake-1"


async def test_reasoning_alone_proves_an_endpoint():
    async with (
        FakeServer(reply=lambda _r: Out("", reasoning="hm " * 50)) as server,
        model(server.url).open() as client,
    ):
        assert (await client.check()).model == "m-fake-1"
