"""The scripted model: deterministic, labelled, and a fair player that sees only the prompt."""

import re

import pytest

from rlm_eval.core.errors import ContextOverflow
from rlm_eval.core.types import Answer, Context, Message, Sample, Usage
from rlm_eval.models import Sampling
from rlm_eval.models.scripted import ScriptedModel, asked_keys, numbers_for
from rlm_eval.tasks.browsecomp.plus import BrowseCompPlus

TEXT = (
    "The tall-harbor is old. One of the special magic numbers for tall-harbor is: 1234567. "
    "Nobody counts. One of the special magic numbers for tall-willow is: 7654321. "
) + "The quiet-willow has 55555 leaves. " * 100
QUESTION = "What is the special magic number for tall-harbor mentioned in the provided text?"


async def say(model, *contents, sampling=None):
    roles = ["user", "assistant"] * len(contents)
    messages = [Message(role, text) for role, text in zip(roles, contents, strict=False)]
    async with model.open() as client:
        return await client.complete(messages, sampling or Sampling())


async def test_the_player_reads_the_asked_number_and_no_look_alike():
    reply = await say(ScriptedModel(), f"{TEXT}\n\n{QUESTION}")
    assert reply.text == "1234567"
    assert (await say(ScriptedModel(), f"Nothing here.\n\n{QUESTION}")).text == "none"


@pytest.mark.parametrize(
    ("question", "keys"),
    [
        (QUESTION, ["tall-harbor"]),
        ("What are all the special magic numbers for a-b, c-d, and e-f mentioned in it?",
         ["a-b", "c-d", "e-f"]),
        ("Which value did the clerk write beside the name tall-harbor? Answer alone.",
         ["tall-harbor"]),
        ("Who is there?", []),
    ],
)  # fmt: skip
def test_keys_are_read_from_the_question(question, keys):
    assert asked_keys(f"Is the old-mill far? {question}") == (keys or ["old-mill"])


def test_a_number_in_the_key_is_not_its_value():
    assert numbers_for("9999999", "The number for 9999999 is: 1234567.") == ["1234567"]


@pytest.mark.parametrize(
    ("prompt", "end"),
    [
        ('write ```python; `llm_query(p)`; set `answer["content"]`', 'answer["ready"] = True'),
        ("write ```repl; llm_query(p); set the variable `Final`", "Final = result"),
        ("write ```repl; llm_query(p); then FINAL(x) or FINAL_VAR(name)", "print(result)"),
    ],
)
async def test_as_a_root_it_writes_a_block_that_runs_and_finds(prompt, end):
    reply = await say(ScriptedModel(), f"{prompt}\nQuestion: {QUESTION}")
    assert end in reply.text
    fence, code = re.search(r"```(\w+)\n(.*)```", reply.text, re.S).groups()
    assert f"```{fence}" in prompt

    asked = []

    def llm_query_batched(prompts):
        asked.extend(prompts)
        keys = asked_keys(prompts[0])
        return [", ".join(n for k in keys for n in numbers_for(k, p)) or "none" for p in prompts]

    names = {"context": TEXT, "llm_query_batched": llm_query_batched, "answer": {}}
    exec(code, names)
    assert names["result"] == "1234567"
    assert len(asked) > 1
    if "FINAL_VAR" in prompt:
        last = await say(ScriptedModel(), prompt, reply.text, "Output: 1234567")
        assert last.text == "FINAL_VAR(result)"


@pytest.mark.parametrize(
    ("answer", "verdict"), [("Exact Answer: it is\nHolm", True), ("no", False)]
)
async def test_as_a_judge_it_looks_for_the_reference_in_the_answer(answer, verdict):
    task = BrowseCompPlus()
    sample = Sample("s", "t", 0, "Where is it?", context(), ["Holm"], 1024, "c", "i")
    prompt = task.judge_prompt(sample, Answer(answer))
    reply = await say(ScriptedModel(), prompt)
    assert task.judge_score(sample, Answer(answer), reply.text).value == float(verdict)


def context():
    return Context("h", 1, 1, "approx4", lambda: "x")


async def test_tokens_limits_and_the_window_are_simulated():
    model = ScriptedModel(program="replies", replies=["one " * 10, "two"], window=100)
    first = await say(model, "a" * 41, sampling=Sampling(max_output_tokens=5))
    assert (first.text, first.finish_reason) == ("one " * 5, "length")
    assert first.usage == Usage(input=11, output=5)
    assert (await say(model, "a", "one", "b")).text == "two"
    with pytest.raises(ContextOverflow, match="exceed the window of 100"):
        await say(model, "a" * 400, sampling=Sampling(max_output_tokens=5))


async def test_it_is_labelled():
    assert ScriptedModel().scripted
    async with ScriptedModel().open() as client:
        assert (await client.check()).engine == "scripted"


def test_programs_are_named():
    with pytest.raises(ValueError, match="player, replies, echo"):
        ScriptedModel(program="playr")
    with pytest.raises(ValueError, match="belong together"):
        ScriptedModel(program="replies")
