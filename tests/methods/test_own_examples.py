"""Prompts with several worked examples: each runs, shows what it prints, and is left out fairly."""

import contextlib
import io
import re

import pytest
from rlm_bench import block, rlm_bench, sample_of

from rlm_eval.methods.prompts import load_prompt
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.rlm.own import Own, example_names
from rlm_eval.methods.rlm.protocol import HEAD_CHARS, View, head_of, lengths_of
from rlm_eval.methods.text import sections

PROMPTS = ("rlm/read", "rlm/read_2", "rlm/general")
TEXTS = {
    "|": "[06:40] line 2 | Is the fuel pump at the north pier in use today?",
    "->": "1 -> class 4 -> We all meet behind the gym on Friday at eight.",
    "##": "Room 12 ## 4 May ## Our towels were changed before we asked.",
    "ottilie": "Ottilie Brand came to the supper of the rowing club late. The end",
}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("kind", ["str", "list", "dict"])
def test_each_worked_example_runs_on_a_context_of_its_kind(prompt, kind):
    texts = list(TEXTS.values())
    keyed = dict(zip("abcd", texts, strict=True))
    context = {"str": "\n".join(texts), "list": texts, "dict": keyed}[kind]
    found, lengths = lengths_of(context)
    view = View("Who came?", found, lengths, 0, 1, 5, head_of(context))
    messages = Own(prompt=prompt).opening(view)
    codes = [m.content for m in messages if "```python" in m.content and "answer[" not in m.content]
    assert len(codes) == 3
    asked = []

    def batched(prompts):
        asked.extend(prompts)
        return ["Order." for _ in prompts]

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for code in codes:
            names = {"context": context, "llm_query_batched": batched}
            exec(re.search(r"```python\n(.*?)```", code, re.S)[1], names)

    if prompt == "rlm/read_2":  # the question first
        assert asked[0].startswith("Which of these labels fits this call best: order, ")
        assert "\n\nIs the fuel pump" in asked[0]
    else:
        assert asked[0].startswith("Call: Is the fuel pump")
        assert all("Which of these labels fits it best: " in prompt for prompt in asked)
    assert printed.getvalue().startswith("order 1 > question 0")
    assert ("Ottilie Brand came" in printed.getvalue()) == (prompt == "rlm/general")
    assert texts[0] in messages[-1].content, "the beginning of the context is shown"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_examples_and_cue_go_with_the_sub_calls(prompt):
    view = View("Who came?", "str", (9,), 0, 0, 5, "Once upon")
    messages = Own(prompt=prompt).opening(view)
    assert "llm_query" not in "".join(m.content for m in messages)
    assert len(messages) == 2 + 4 * (prompt == "rlm/general"), "its search needs no sub-call"
    assert messages[-1].content.endswith("Once upon...")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_examples_show_each_answer_in_the_prompts_own_frame(prompt):
    part = sections(load_prompt(prompt).text)
    assert example_names(part) == ["example_1", "example_2", "example_3"]
    opening = Own(prompt=prompt).opening(View("Q?", "str", (9,), 0, 1, 5, "Once"))
    outputs = [m.content for m in opening if m.content.startswith("Output:")]
    assert len(outputs) == 3
    for name, output in zip(example_names(part), outputs, strict=True):
        assert f"The question was: {part[f'{name}_question']}" in output
        assert output.endswith("If the output shows the answer, finish with it.")
    assert "{" not in re.sub(r"```.*?```", "", "".join(m.content for m in opening[1:]), flags=re.S)


async def test_the_question_stands_behind_an_output_and_an_error_asks_for_a_correction(tmp_path):
    replies = iter([block("print(1)"), block("1 / 0"), block("answer['ready'] = True")])
    sample = sample_of("abc " * 400, "How many {things}?")
    async with rlm_bench(tmp_path, lambda _: next(replies), sample=sample) as bench:
        await RLM(protocol=Own(prompt="rlm/read")).solve(sample, bench.session)
    first, printed, failed = (bench.contents(n)[-1][1] for n in range(3))
    assert first.count("abc ") == HEAD_CHARS // 4
    assert "Output:\n1\n\nThe question was: How many {things}?" in printed
    assert "ZeroDivisionError" in failed
    assert "Correct it" in failed
    assert "finish with it" not in failed


def test_the_head_of_a_context_in_parts_is_that_of_its_first():
    assert head_of([]) == ""
    assert head_of({"a": "first", "b": "second"}) == "first"
    assert head_of([{"role": "user", "content": "said"}]) == "said"
    assert len(head_of("x" * 5000)) == HEAD_CHARS
