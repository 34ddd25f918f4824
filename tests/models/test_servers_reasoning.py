"""Thoughts are not answers, whatever the server makes of them: over HTTP, through whole runs."""

import json
from dataclasses import dataclass, replace

import orjson
import pytest
from fake_server import FakeServer, Out, rules, text_of
from runs import RULES, cell_folder, overrides, records, run_here
from test_servers import FakeEngine, local

from rlm_eval.commands.score import main as score
from rlm_eval.core.types import Message
from rlm_eval.models import Sampling
from rlm_eval.models.http.anthropic import AnthropicModel
from rlm_eval.models.http.model import OpenAIModel
from rlm_eval.models.http.openai_dialect import OpenAIDialect
from rlm_eval.models.http.thoughts import Thoughts
from rlm_eval.storage.jsonl import read_lines

ASK = [Message("user", "hello")]
READER = ["method=long_context", "length=1k", "n=2"]
HARMONY = (
    "<|channel|>analysis<|message|>maybe {n}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>I do not know.<|return|>"
)
GUESSES = {
    "think": "<think>maybe {n}</think>I do not know.",
    "thinking": "<thinking>maybe {n}</thinking>I do not know.",
    "upper case": "<THINK>maybe {n}</THINK>\n\nI do not know.",
    "Magistral": "[THINK]maybe {n}[/THINK]I do not know.",
    "gpt-oss": HARMONY,
    "interleaved": "I look.\n<think>maybe {n}</think>\nI do not know.",
    "unclosed": "<think>maybe {n}",
    "unclosed harmony": "<|channel|>analysis<|message|>maybe {n}",
}
"""Replies that only think of the number."""


@pytest.fixture(autouse=True)
def _shared_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def guessing(template: str, reasoning: str = ""):
    """A reader that puts the number it finds where the template has `{n}`."""
    find = rules(RULES)
    return lambda request: Out(template.replace("{n}", str(find(request))), reasoning)


async def complete(server: FakeServer, kind: type[OpenAIModel] = OpenAIModel, **fields):
    model = kind("m", "fake", base_url=server.url, backoff_s=0.001, **fields)
    async with model.open() as client:
        return await client.complete(ASK, Sampling())


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES)
async def test_a_number_that_was_only_thought_of_scores_0(tmp_path, guess):
    async with FakeServer(reply=guessing(guess)) as server:
        await run_here(overrides(tmp_path, server.url, *READER))
    assert [(row["score"], row["score_strict"]) for row in records(tmp_path)] == [(0.0, 0.0)] * 2
    journal = (cell_folder(tmp_path) / "journal.jsonl").read_text().splitlines()
    calls = [line for line in map(json.loads, journal) if line["k"] == "call"]
    assert all("maybe" not in call["reply"] and "maybe" in call["reasoning"] for call in calls)


@pytest.mark.parametrize(
    "said",
    [
        "<think>hm</think>It is {n}.",
        "The tag `<think>` has nothing to do with {n}.",
        '"<think>" opens a thought. It is {n}.',
        "```\n<think>\n```\n{n}",
        "Thoughts stand between <think> and </think>. It is {n}.",
        "It is {n}.</think>",
    ],
)
async def test_a_number_that_was_said_scores_1(tmp_path, said):
    async with FakeServer(reply=guessing(said)) as server:
        await run_here(overrides(tmp_path, server.url, *READER))
    assert [row["score"] for row in records(tmp_path)] == [1.0] * 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_where_reasoning_came_apart_the_text_is_the_answer(tmp_path, field):
    reply = guessing("<think>{n}</think>", reasoning="I look for it.")
    async with FakeServer(reply=reply, reasoning_field=field) as server:
        await run_here(overrides(tmp_path, server.url, *READER))
    assert [row["score"] for row in records(tmp_path)] == [1.0] * 2
    assert score([str(tmp_path / "test")]) == 0  # and again from what is stored
    assert [row["score"] for row in records(tmp_path)] == [1.0] * 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [OpenAIModel, AnthropicModel])
async def test_both_dialects_follow_the_rule(kind, stream):
    out = Out("<thinking>hm</thinking>\n\n42")
    async with FakeServer(reply=lambda _: out) as server:
        reply = await complete(server, kind, stream=stream)
    assert (reply.text, reply.reasoning) == ("42", "hm")
    apart = replace(out, reasoning="I count.")
    async with FakeServer(reply=lambda _: apart) as server:
        reply = await complete(server, kind, stream=stream)
    assert (reply.text, reply.reasoning) == (out.text, "I count.")


def test_thinking_parts_of_a_content_are_reasoning():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "42"},
    ]
    body = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    reply = OpenAIDialect().reply(body, 10)
    assert (reply.text, reply.reasoning) == ("42", "hm")


@pytest.mark.parametrize(
    "field",
    [
        {"reasoning_content": "hm"}, {"reasoning": "hm"}, {"thinking": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    ],
)  # fmt: skip
def test_every_field_of_reasoning_keeps_the_text_as_it_is(field):
    message = {"content": "<think>x</think>42", **field}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    reply = Thoughts("m", None).apart(OpenAIDialect().reply(body, 10), None)
    assert (reply.text, reply.reasoning) == ("<think>x</think>42", "hm")


async def test_a_client_that_is_no_server_follows_the_rule_too(tmp_path):
    replies = "root.replies=['<thinking>maybe 1234567</thinking>I do not know.']"
    given = [o for o in overrides(tmp_path, "-", *READER) if not o.startswith(("root.", "model@"))]
    await run_here([*given, "model@root=scripted", "root.program=replies", replies])
    lines = list(read_lines(cell_folder(tmp_path) / "journal.jsonl"))
    calls = [line for line in lines if line["k"] == "call"]
    assert [call["reply"] for call in calls] == ["I do not know."] * 2
    assert [call["reasoning"] for call in calls] == ["maybe 1234567"] * 2


CLOSING = Out("hm, 41 or so\n</think>\n\n42")


@pytest.mark.parametrize(
    ("opens", "text"), [(True, "42"), (False, CLOSING.text), (None, CLOSING.text)]
)
async def test_a_closing_tag_alone_ends_a_thought_where_the_config_says_so(opens, text, capsys):
    async with FakeServer(reply=lambda _: CLOSING) as server:
        for _ in range(2):
            reply = await complete(server, template_opens_thought=opens)
            assert reply.text == text
    told = capsys.readouterr().err
    assert told.count("template_opens_thought=true") == (2 if opens is None else 0)


async def test_a_reply_cut_in_the_template_s_thought_says_nothing():
    cut = Out("hm, 41 or", finish_reason="length")
    async with FakeServer(reply=lambda _: cut) as server:
        reply = await complete(server, template_opens_thought=True)
        assert (reply.text, reply.reasoning) == ("", cut.text)
        assert (await complete(server)).text == cut.text


@dataclass(frozen=True)
class Templated(FakeEngine):
    """A server of ours with a chat template."""

    template: str = ""

    def found(self, model):
        return self.template, None


@pytest.mark.parametrize(("end", "text"), [("<think>\n", "42"), ("", "41</think>42")])
async def test_the_template_of_a_server_of_ours_tells(end, text, tmp_path):
    template = "{% if add_generation_prompt %}<|assistant|>" + end + "{% endif %}"
    table = tmp_path / "rules.json"
    table.write_text(json.dumps([{"match": "", "reply": "41</think>42"}]))
    engine = Templated(template=template, reply=str(table))
    async with local(engine=engine).open() as client:
        assert (await client.complete(ASK, Sampling())).text == text
        info = await client.check()
    assert info.template_opens_thought is bool(end)


async def test_code_that_holds_a_tag_runs_unchanged(tmp_path):
    code = "```python\nanswer['content'] = '<think>' + str(6 * 7)\nanswer['ready'] = True\n```"
    thought = "<think>\nI could answer:\n```python\nanswer['content'] = 1\n```\n</think>\n"
    async with FakeServer(reply=lambda _: thought + code) as server:
        await run_here(overrides(tmp_path, server.url, "method=rlm", "length=1k", "n=1"))
    (line,) = map(json.loads, (cell_folder(tmp_path) / "trajectories.jsonl").open())
    assert line["answer"]["text"] == "<think>42"
    assert [step["code"] for step in line["steps"]] == [code.split("\n", 1)[1][:-4]]


@pytest.mark.parametrize(
    "method",
    [
        ("codeact",), ("rag",), ("react_bm25", "method.chunk_by=lines"),
        ("summary_agent", "method.piece_tokens=600"), ("rlm",), ("rlm_official_0_1_1",),
    ],
    ids=lambda method: method[0],
)  # fmt: skip
async def test_no_method_takes_a_thought_for_an_answer(tmp_path, method):
    name, *more = method
    thought = "<thinking>\nANSWER: {n}\nFINAL({n})\n</thinking>\nANSWER: I do not know."
    async with FakeServer(reply=guessing(thought)) as server:
        own = [f"method={name}", "length=1k", "n=1", *more]
        await run_here(overrides(tmp_path, server.url, *own))
    (row,) = records(tmp_path)
    assert row["score"] == 0.0
    assert row["outcome"] in ("ok", "limit:turns")
    assert not any("thinking>" in text_of(entry["request"]) for entry in server.log)


def age(folder, text: str | None = None) -> None:
    """Make stored scores those of an older scorer, and the answers `text`."""
    path = folder / "scores.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines() if line]
    for line in lines:
        for verdict in line.get("scores", ()):
            verdict |= {"version": "0", "value": 1.0}
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    if text is not None:
        path = folder / "trajectories.jsonl"
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        for line in (line for line in lines if "answer" in line):
            line["answer"]["text"] = text
        path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def versions(folder) -> list[list[str]]:
    lines = {line["t"]: line["scores"] for line in read_lines(folder / "scores.jsonl")}
    return [[verdict["version"] for verdict in verdicts] for verdicts in lines.values()]


@pytest.mark.parametrize("more", [(), ("n=3",)])
async def test_a_resumed_cell_never_mixes_two_versions_of_a_scorer(tmp_path, more, capsys):
    async with FakeServer(reply=guessing("none")) as server:
        given = overrides(tmp_path, server.url, *READER)
        await run_here(given)
        age(cell_folder(tmp_path))
        before = len(server.log)
        summary = await run_here([*given, *more])
        assert len(server.log) - before == (2 if more else 0)  # the proof, the new sample
    assert not summary.unfinished
    assert [row["score"] for row in records(tmp_path)] == [0.0] * (3 if more else 2)
    assert len({tuple(found) for found in versions(cell_folder(tmp_path))}) == 1
    assert "2 stored answer(s) scored again" in capsys.readouterr().err
    await run_here([*given, *more])
    assert "scored again" not in capsys.readouterr().err


async def test_stored_answers_are_scored_by_the_same_rule(tmp_path):
    async with FakeServer(reply=guessing("{n}")) as server:
        await run_here(overrides(tmp_path, server.url, *READER))
    folder = cell_folder(tmp_path)
    golds = [json.loads(line)["target"] for line in (folder / "samples.jsonl").open()]
    said = "<thinking>maybe " + " ".join(str(gold) for gold in golds) + "</thinking>I do not know."
    age(folder, said)
    assert score([str(tmp_path / "test")]) == 0
    assert [row["score"] for row in records(tmp_path)] == [0.0] * 2
